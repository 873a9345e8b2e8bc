"""Arguments, errors and layers beyond one input and one output; training through the engine."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

from layercases import CASES, FLAT, IDS, IMAGE, MOVIE, STEPS, Case, normal
from zoo.engine.errors import DataError, UsageError
from zoo.engine.frameworks.keras import travel
from zoo.orca.learn.keras_estimator import make_estimator
from zoo.pipeline.api.keras import layers as L
from zoo.pipeline.api.variable import Variable

BACKEND = keras.backend.backend()


def numbers(tensor: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(tensor)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: L.Dense(units=3), "Dense has no argument 'units': here it is 'output_dim'"),
        (lambda: L.Convolution2D(3, kernel_size=3), "no argument 'kernel_size': here it is 'nb_row' and 'nb_col'"),
        (lambda: L.LeakyReLU(negative_slope=1.0), "here it is 'alpha'"),
        (lambda: L.Dense(3, activaton="relu"), "(?s)no argument 'activaton'. Did you mean 'activation'.*Known arg"),
        (lambda: L.Dense(), r"Dense needs output_dim: Dense\(output_dim, init='glorot_uniform'"),
        (lambda: L.Dense(3, output_dim=4), "got its argument 'output_dim' twice"),
        (lambda: L.Flatten((3,), 4), "Flatten takes 1 arguments at most. Received: 2"),
        (lambda: L.Dense(0), "Dense: output_dim must be a whole number of at least 1. Received: 0"),
        (lambda: L.Dense(2.5), "whole number of at least 1. Received: 2.5"),
        (lambda: L.Dense(3, activation="rleu"), "activation must be one of .*Did you mean 'relu'. Received: 'rleu'"),
        (lambda: L.Dense(3, init="glorot"), "init must be one of .*Did you mean 'glorot_normal'"),
        (lambda: L.Dense(3, W_regularizer=3), "W_regularizer must be a regularizer.*Received: 3"),
        (lambda: L.Dense(3, limits=(0, 1)), "limits are those of init='uniform'"),
        (lambda: L.Dense(3, input_shape=4), "input_shape must be a tuple of sizes.*Received: 4"),
        (lambda: L.Dropout(1.5), "p must be at least 0 and below 1. Received: 1.5"),
        (lambda: L.Convolution2D(3, 3, 3, border_mode="full"), "border_mode must be 'valid' or 'same'"),
        (lambda: L.MaxPooling2D(dim_ordering="NCHW"), "dim_ordering must be 'th' .channels first. or 'tf'"),
        (lambda: L.MaxPooling2D(pads=(2, 2)), "padding must be narrower than the window"),
        (lambda: L.Convolution2D(3, 3, 3, pads=(1, 2, 3)), "pads must be .rows, columns. or .top, left, bottom, right"),
        (lambda: L.AtrousConvolution2D(3, 3, 3, subsample=(2, 2), atrous_rate=(2, 2)), "either subsample or atrous"),
        (lambda: L.BatchNormalization(mode=1), "mode must be 0"),
        (lambda: L.BatchNormalization(axis=2), "axis must be that of the channels"),
        (lambda: L.Bidirectional(L.Dense(3)), "layer must be a recurrent one.*Received: a Dense"),
        (lambda: L.Bidirectional(L.LSTM(3), "max"), "merge_mode must be 'concat'"),
        (lambda: L.TimeDistributed("Dense"), "layer must be a layer. Received: 'Dense'"),
        (lambda: L.Embedding(5, 3, weights=np.zeros((3, 5))), r"\(input_dim, output_dim\), \(5, 3\).*\(3, 5\)"),
        (lambda: L.SparseEmbedding(5, 3, combiner="max"), "combiner must be 'sum', 'mean' or 'sqrtn'"),
        (lambda: L.SparseDense(3, backward_start=1), "backward_start and backward_length go together"),
        (lambda: L.SparseDense(3, init_grad_weight=np.zeros(3)), "gradients begin at 0"),
        (lambda: L.WordEmbedding("/nowhere.txt"), "cannot read embedding_file: No such file.*'/nowhere.txt'"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_call_is_told(make: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        (L.Convolution2D(3, 3, 3, name="c"), (3, 8), r"'c' takes \(batch, channels, rows, columns\), .*8"),
        (L.MaxPooling2D(dim_ordering="tf", name="p"), (3, 8), r"'p' takes \(batch, rows, columns, channels\)"),
        (L.LSTM(3), (4,), r"takes \(batch, steps, features\), the batch first. Received: .*\(None, 4\)"),
        (L.Bidirectional(L.ConvLSTM2D(3, 3, 3)), (4, 3), r"\(batch, steps, channels, rows, columns\)"),
        (L.Select(0, 1), (4, 3), "takes an axis of 1 ... 2; 0 is the batch. Received: 0"),
        (L.Select(1, 4), (4, 3), "axis 1 has 4 entries. Received: index=4"),
        (L.Narrow(1, 2, 3), (4, 3), "axis 1 has 4 entries. Received: offset=2, length=3"),
        (L.Squeeze(1), (4, 3), "axis 1 has 4 entries and not one"),
        (L.CMul((2, 3)), (4, 3), r"weights of the size \(2, 3\), which does not broadcast .*\(None, 4, 3\)"),
        (L.PReLU(3), (4, 3), "weights for 3 planes"),
        (L.LocallyConnected1D(2, 5), (4, 3), r"its kernel \(5,\) is larger than its input"),
        (L.LocallyConnected1D(2, 2), (None, 3), "needs inputs of one size"),
        (L.ResizeBilinear(2, 2), (3, None, 4), "needs images of one size"),
        (L.GaussianSampler(), (4,), "takes two tensors of one shape"),
        (L.Deconvolution2D(2, 3, 3, (2, 9, 9)), (1, 4, 4), r"cannot make \(2, 9, 9\).*axis 2 would be 6 ... 6"),
    ],
)  # fmt: skip
def test_an_input_of_another_shape_is_told_with_the_layers_name(layer: Any, shape: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        layer(keras.Input(shape))


def test_weights_of_other_shapes_are_told_and_axes_of_one_entry_may_be_missing() -> None:
    layer = L.Convolution2D(4, 3, 2, name="c")
    layer(keras.Input((3, 7, 6)))
    weights = normal(4, 3, 3, 2), normal(4)
    layer.set_weights(weights)
    np.testing.assert_array_equal(layer.get_weights()[0], weights[0][None])
    with pytest.raises(
        UsageError, match=r"'c' has weights of the shapes \[\(1, 4, 3, 3, 2\), \(4,\)\]. Received: \[\(3, 2"
    ):
        layer.set_weights([normal(3, 2, 3, 4), normal(4)])


def test_signatures_are_those_of_the_old_library() -> None:
    assert str(inspect.signature(L.Dense)).startswith(
        "(output_dim, init='glorot_uniform', limits=None, activation=None"
    )
    assert list(inspect.signature(L.MaxPooling2D).parameters) == [
        "pool_size", "strides", "border_mode", "dim_ordering", "input_shape", "pads", "kwargs"]  # fmt: skip
    assert all(getattr(L, name.split()[0]).__doc__ for name in CASES)


def test_the_inputs_shape_can_be_said_in_old_ways() -> None:
    assert L.Dense(3, input_dim=4).given_input_shape == (4,)
    assert L.LSTM(3, input_dim=4, input_length=5).given_input_shape == (5, 4)
    assert L.LSTM(3, batch_input_shape=(None, 5, 4)).given_input_shape == (5, 4)
    assert L.Embedding(9, 3, input_length=5).given_input_shape == (5,)
    assert L.Dense(3, input_shape=[4], bigdl_type="float").given_input_shape == (4,)


def test_a_layer_takes_variables_and_gives_one() -> None:
    output = L.Dense(3)(Variable((4,)))
    assert isinstance(output, Variable) and output.shape == (None, 3)


def test_initial_values_and_regularizers_have_keras_1s_scales() -> None:
    class OfBigDL:
        l1, l2 = 0.0, 0.5

    layer = L.Dense(
        300, init="uniform", limits=(1, 2), W_regularizer=OfBigDL(), b_regularizer=keras.regularizers.L1(0.1)
    )
    layer(FLAT)
    weight, bias = layer.get_weights()
    assert weight.min() >= 1 and weight.max() <= 2 and weight.std() > 0.2 and not bias.any()
    assert float(numbers(layer.losses[0])) == pytest.approx(0.25 * (weight**2).sum(), rel=1e-4)
    assert type(layer).from_config(layer.get_config()).kernel_regularizer.l2 == pytest.approx(0.25)


def test_a_users_subclass_is_a_layer_too() -> None:
    class Doubled(L.Dense):
        def __init__(self, size: int):
            super().__init__(size * 2, activation="relu")

    assert Doubled(2)(FLAT).shape == (4, 4)


def test_frozen_stays_frozen_in_a_config() -> None:
    layer = L.Embedding(5, 3).freeze()
    assert not type(layer).from_config(layer.get_config()).trainable


def test_a_deconvolution_makes_the_output_that_is_asked_for() -> None:
    layer = L.Deconvolution2D(4, 3, 3, (None, 4, 16, 14), subsample=(2, 2))
    found = layer(IMAGE)
    weight, bias = map(torch.tensor, layer.get_weights())
    expected = torch.nn.functional.conv_transpose2d(torch.tensor(IMAGE), weight[0], bias, 2, output_padding=1)
    np.testing.assert_allclose(numbers(found), expected.numpy(), atol=1e-4)


def test_batch_normalization_has_running_statistics() -> None:
    layer = L.BatchNormalization(momentum=0.5)
    layer(IMAGE, training=True)
    np.testing.assert_allclose(layer.get_running_mean(), IMAGE.mean((0, 2, 3)) / 2, atol=1e-5)
    layer.set_running_mean([1, 2, 3]).set_running_std([4, 5, 6])
    layer.set_weights([np.ones(3), np.zeros(3)])
    np.testing.assert_array_equal(layer.get_running_std(), [4, 5, 6])
    layer.set_weights([*layer.get_weights(), np.zeros(3), np.ones(3)])
    np.testing.assert_array_equal(layer.get_running_mean(), [0, 0, 0])


def test_random_layers_have_the_moments_that_they_promise() -> None:
    mean, log_variance = np.full((200, 50), 2, "float32"), np.full((200, 50), np.log(0.25), "float32")
    sample = numbers(L.GaussianSampler()([mean, log_variance]))
    assert sample.mean() == pytest.approx(2, abs=0.03) and sample.std() == pytest.approx(0.5, abs=0.03)
    slopes = -numbers(L.RReLU(0.2, 0.6)(-np.ones((200, 50), "float32"), training=True))
    assert slopes.min() >= 0.2 and slopes.max() <= 0.6 and slopes.mean() == pytest.approx(0.4, abs=0.02)
    kept = numbers(L.Dropout(0.25)(np.ones((200, 50), "float32"), training=True))
    assert (kept == 0).mean() == pytest.approx(0.25, abs=0.03)


def test_shapes_and_indices_are_tensors() -> None:
    np.testing.assert_array_equal(numbers(L.GetShape()(STEPS)), STEPS.shape)
    np.testing.assert_array_equal(numbers(L.Max(1, return_value=False)(STEPS)), STEPS.argmax(1))


def test_an_embedding_begins_with_given_weights_and_does_not_train_its_padding() -> None:
    table = normal(5, 3)
    layer = L.Embedding(5, 3, weights=[table], mask_zero=True)
    np.testing.assert_array_equal(numbers(layer(IDS))[0, 0], table[1])
    assert not numbers(layer(IDS))[0, 2].any()
    model = keras.Sequential([layer, keras.layers.LSTM(2), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    model.train_on_batch(IDS, np.ones((2, 1)))
    (trained,) = layer.get_weights()
    np.testing.assert_array_equal(trained[0], table[0])
    assert (trained[1] != table[1]).any()


def test_masked_steps_are_left_out() -> None:
    ended = STEPS.copy()
    ended[:, 3:] = 0
    layer = L.LSTM(3)
    masked = keras.Sequential([L.Masking(), layer])
    np.testing.assert_allclose(numbers(masked(ended)), numbers(layer(STEPS[:, :3])), atol=1e-5)


@pytest.fixture
def glove(tmp_path: Path) -> Path:
    path = tmp_path / "vectors.txt"
    path.write_text("the 1 2 3\n. . . 4 5 6\ncat 0 0 2\n", encoding="utf-8")
    return path


def test_word_vectors_come_from_a_file(glove: Path) -> None:
    assert L.WordEmbedding.get_word_index(glove) == {"the": 1, ". . .": 2, "cat": 3}
    np.testing.assert_array_equal(
        L.prepare_embedding(glove, {"cat": 1, "dog": 3}), [[0] * 3, [0, 0, 2], [0] * 3, [0] * 3]
    )
    assert L.prepare_embedding(glove, {"dog": 1}, randomize_unknown=True)[1].all()
    np.testing.assert_allclose(L.prepare_embedding(glove, normalize=True)[3], [0, 0, 1])
    layer = L.WordEmbedding(glove, input_length=2)
    model = keras.Sequential([keras.Input((2,)), layer, keras.layers.Flatten(), keras.layers.Dense(1)])
    np.testing.assert_array_equal(numbers(layer(np.array([[2, 0]]))), [[[4, 5, 6], [0, 0, 0]]])
    assert not layer.trainable and layer.given_input_shape == (2,)
    model.save(glove.with_suffix(".keras"))
    glove.unlink()
    again = keras.models.load_model(glove.with_suffix(".keras"))
    np.testing.assert_array_equal(numbers(again.layers[0](np.array([[2, 0]]))), [[[4, 5, 6], [0, 0, 0]]])


def test_a_file_that_is_no_table_is_told(glove: Path) -> None:
    glove.write_text("2 3\nthe 1 2 3\ncat 0 x 2\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 3: a word and 3 numbers are expected.*'cat 0 x 2'"):
        L.prepare_embedding(glove)
    glove.write_text("")
    with pytest.raises(DataError, match="has no word vectors"):
        L.prepare_embedding(glove, {"the": 1})
    with pytest.raises(UsageError, match="word_index must map words to whole numbers from 1 on"):
        L.prepare_embedding(glove, {"the": 0})


def attended(block: Any, x: torch.Tensor, mask: torch.Tensor, gelu: Any) -> torch.Tensor:
    """One block, by PyTorch's own attention."""

    def dense(layer: Any, tensor: torch.Tensor) -> torch.Tensor:
        kernel, bias = (torch.tensor(np.array(one)) for one in layer.get_weights())
        return tensor @ kernel + bias

    def norm(layer: Any, tensor: torch.Tensor) -> torch.Tensor:
        weights = (torch.tensor(np.array(one)) for one in layer.get_weights())
        return torch.nn.functional.layer_norm(tensor, tensor.shape[-1:], *weights, eps=layer.epsilon)

    parts = dense(block.queries_keys_values, x).unflatten(2, (3, block.heads, -1)).permute(2, 0, 3, 1, 4)
    mixed = torch.nn.functional.scaled_dot_product_attention(*parts, attn_mask=mask)
    seen = norm(block.attention_norm, x + dense(block.projection, mixed.transpose(1, 2).flatten(2)))
    return norm(block.norm, seen + dense(block.outer, gelu(dense(block.inner, seen))))


def transformer(layer: Any, inputs: list[Any], tmp_path: Path) -> list[np.ndarray]:
    """What it gives, which it also gives out of a file; it trains on the way."""
    symbolic = [keras.Input(array.shape[1:], dtype=array.dtype.name) for array in inputs]
    model = keras.Model(symbolic, layer(symbolic))
    pooled = keras.Model(symbolic, keras.layers.Dense(1)(model.outputs[-1]))
    pooled.compile("sgd", "mse", run_eagerly=True)
    before = [np.array(variable) for variable in layer.trainable_variables]
    pooled.train_on_batch(inputs, np.ones((len(inputs[0]), 1), "float32"))
    changed = [(np.array(now) != old).any() for now, old in zip(layer.trainable_variables, before, strict=True)]
    assert all(changed)
    model.save(tmp_path / "model.keras")
    outputs = [numbers(one) for one in model(inputs)]
    again = keras.models.load_model(tmp_path / "model.keras")
    for found, expected in zip(again(inputs), outputs, strict=True):
        np.testing.assert_allclose(numbers(found), expected, atol=1e-5)
    assert [tuple(one.shape[1:]) for one in model.outputs] == [one.shape[1:] for one in outputs]
    return outputs


def test_gpt_sees_what_came_before(tmp_path: Path) -> None:
    layer = L.TransformerLayer.init(vocab=9, seq_len=4, n_block=2, n_head=2, hidden_size=6)
    inputs = [IDS, np.tile(np.arange(4, dtype="int32"), (2, 1))]
    last, pooled = transformer(layer, inputs, tmp_path)
    state = torch.tensor(numbers(layer.embedding_layer(inputs)))
    causal = torch.ones(4, 4, dtype=torch.bool).tril()
    for block in layer.blocks:
        state = attended(block, state, causal, lambda x: torch.nn.functional.gelu(x, approximate="tanh"))
    np.testing.assert_allclose(last, state.numpy(), atol=1e-4)
    assert pooled.shape == (2, 6) and layer.given_input_shape == [(4,), (4,)]


def test_bert_sees_what_its_mask_lets_it(tmp_path: Path) -> None:
    layer = L.BERT.init(vocab=9, hidden_size=6, n_block=2, n_head=3, seq_len=4, intermediate_size=8)
    mask = (IDS != 0).astype("float32")[:, None, None]
    inputs = [IDS, np.zeros_like(IDS), np.tile(np.arange(4, dtype="int32"), (2, 1)), mask]
    first, second, _ = transformer(layer, inputs, tmp_path)
    state = torch.tensor(numbers(layer.embedding_layer(inputs[:3])))
    for block, found in zip(layer.blocks, (first, second), strict=True):
        state = attended(block, state, torch.tensor(mask) > 0, torch.nn.functional.gelu)
        np.testing.assert_allclose(found, state.numpy(), atol=1e-4)
    again = L.BERT.init_from_existing_model(tmp_path / "model.keras", hidden_drop=0.3, output_all_block=False)
    np.testing.assert_allclose(numbers(again(inputs)[0]), second, atol=1e-5)
    assert (again.given.hidden_drop, again.given.attn_drop) == (0.3, 0.1)
    with pytest.raises(UsageError, match="takes 4 inputs: token ids, token types, positions, mask"):
        again(inputs[:3])


def test_layer_norm_is_a_function_of_variables_and_tensors() -> None:
    found = numbers(L.layer_norm(STEPS, np.full(4, 2, "float32"), np.ones(4, "float32")))
    expected = torch.nn.functional.layer_norm(torch.tensor(STEPS), (4,)) * 2 + 1
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
    assert L.layer_norm(Variable((5, 4)), np.ones(4, "float32"), np.ones(4, "float32")).shape == (None, 5, 4)


@pytest.mark.skipif(BACKEND == "torch", reason="there it works")
def test_a_module_of_pytorch_asks_for_the_torch_backend() -> None:
    with pytest.raises(
        UsageError, match=f"Keras computes with {BACKEND} here. Start the program with KERAS_BACKEND=torch"
    ):
        L.KerasLayerWrapper(torch.nn.Linear(4, 3))


@pytest.mark.skipif(BACKEND != "torch", reason="a module of PyTorch needs it")
def test_a_module_of_pytorch_is_a_layer(tmp_path: Path) -> None:
    module = torch.nn.Linear(6, 3)
    layer = L.KerasLayerWrapper(module, input_shape=(6,))
    model = keras.Sequential([keras.Input((6,)), layer])
    np.testing.assert_allclose(numbers(model(FLAT)), module(torch.tensor(FLAT)).detach().numpy(), atol=1e-6)
    model.save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="safe_mode=False"):
        keras.models.load_model(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=False)
    np.testing.assert_allclose(numbers(again(FLAT)), numbers(model(FLAT)), atol=1e-6)
    with pytest.raises(UsageError, match="takes a torch.nn.Module. Received: a Dense"):
        L.KerasLayerWrapper(L.Dense(3))


UNPACK = """
import sys
from zoo.engine.frameworks.keras import backends, travel
backends.begin(sys.argv[1])
model = travel.unpack(sys.stdin.buffer.read())
print([type(layer).__name__ for layer in model.layers])
"""


def test_layers_travel_to_a_process_that_has_not_imported_them() -> None:
    def cubed(x: Any) -> Any:
        return x**3

    flat = keras.Input((6,))
    model = keras.Model(flat, L.Dense(3, activation="hard_sigmoid")(L.Highway(activation=cubed)(flat)))
    done = subprocess.run(
        [sys.executable, "-c", UNPACK, BACKEND], input=travel.pack(model), capture_output=True, timeout=100
    )
    assert done.stdout.decode().strip() == "['InputLayer', 'Highway', 'Dense']", done.stderr.decode()[-2000:]


def branches(shape: tuple[int, ...]) -> list[Case]:
    """The layers that take one input of a shape."""
    plain = [case for name, case in CASES.items() if " " not in name and len(case.inputs) == 1]
    return [case for case in plain if case.inputs[0].shape[1:] == shape]


@pytest.mark.parametrize(
    "inputs", [np.abs(FLAT) + 0.1, STEPS, IMAGE, IDS, MOVIE], ids=["flat", "steps", "image", "ids", "movie"]
)
@pytest.mark.filterwarnings("ignore:.*does not support masking")
def test_layers_train_through_the_engine(inputs: np.ndarray, inline: None) -> None:
    symbol = keras.Input(inputs.shape[1:], dtype=inputs.dtype.name)
    ends = [keras.layers.Flatten()(case.make()(symbol)) for case in branches(inputs.shape[1:])]
    joined = keras.layers.Concatenate()(ends) if len(ends) > 1 else ends[0]
    model = keras.Model(symbol, keras.layers.Dense(1)(joined))
    model.compile(keras.optimizers.SGD(1e-6), "mse", jit_compile=False)
    before = [np.array(variable) for variable in model.trainable_variables]
    rows = np.concatenate([inputs, inputs])
    targets = np.ones((len(rows), 1), "float32")
    stats = make_estimator(model).fit((rows, targets), epochs=2, batch_size=len(inputs))
    assert all(np.isfinite(one["train_loss"]) for one in stats)
    assert any((np.array(now) != old).any() for now, old in zip(model.trainable_variables, before, strict=True))
