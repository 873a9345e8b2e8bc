"""Steps over images, each against OpenCV's or numpy's own definition."""

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pictures
from zoo.engine.data.images import decoder
from zoo.engine.errors import DataError, UsageError
from zoo.feature.common import ChainedPreprocessing
from zoo.feature.draws import Draws
from zoo.feature.image import (
    ImageAspectScale,
    ImageBrightness,
    ImageBytesToMat,
    ImageCenterCrop,
    ImageChannelNormalize,
    ImageChannelOrder,
    ImageColorJitter,
    ImageContrast,
    ImageExpand,
    ImageFeature,
    ImageFeatureToSample,
    ImageFeatureToTensor,
    ImageFiller,
    ImageFixedCrop,
    ImageHFlip,
    ImageHue,
    ImageMatToTensor,
    ImageMirror,
    ImagePixelBytesToMat,
    ImagePixelNormalize,
    ImagePreprocessing,
    ImageRandomAspectScale,
    ImageRandomCrop,
    ImageRandomPreprocessing,
    ImageResize,
    ImageSaturation,
    ImageSetToSample,
    PerImageNormalize,
    RowToImageFeature,
)
from zoo.feature.image.image_feature import mat_of, mode_of

cv2 = decoder()  # with the settings that zoo chooses when OpenCV is loaded
MAT = pictures.pixels(1, (41, 30))
GREY = MAT[:, :, 0]
STEPS = [
    ImageResize(20, 25), ImageResize(20, 25, -1), ImageBrightness(-20, 20), ImageContrast(0.5, 1.5), ImageHue(-18, 18),
    ImageSaturation(0.5, 1.5), ImageChannelOrder(), ImageColorJitter(1, 32, 1, 0.5, 1.5, 1, 18, 1, 0.5, 1.5, 1, True),
    ImageAspectScale(20), ImageRandomAspectScale([20, 40]), ImageRandomCrop(9, 8), ImageCenterCrop(9, 8),
    ImageFixedCrop(0.1, 0.2, 0.7, 0.9), ImageExpand(), ImageFiller(0, 0, 0.5, 0.5), ImageHFlip(), ImageMirror(),
    ImageChannelNormalize(1, 2, 3, 4, 5, 6), ImagePixelNormalize(np.ones(MAT.shape)), PerImageNormalize(0, 1),
    ImageRandomPreprocessing(ImageHFlip(), 0.5), ImageMatToTensor(), RowToImageFeature(),
]  # fmt: skip
RANDOM = [step for step in STEPS if type(step).__name__ in {
    "ImageBrightness", "ImageContrast", "ImageHue", "ImageSaturation", "ImageColorJitter", "ImageRandomCrop",
    "ImageExpand", "ImageChannelOrder",
}]  # fmt: skip


def made(step: Any, mat: np.ndarray = MAT, seed: int = 0) -> np.ndarray:
    """The pixels that a step makes; its argument must stay as it was."""
    before = mat.copy()
    after = step.seeded(seed).apply(mat).mat
    assert np.array_equal(mat, before)
    return after


def drawn(low: float, high: float, mat: np.ndarray = MAT, seed: int = 0) -> float:
    """What a step that begins with `mat` draws first."""
    return Draws(seed).over(mat).uniform(low, high)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_steps_are_plain_values(step: Any) -> None:
    again = pickle.loads(pickle.dumps(step))
    assert again == step and hash(again) == hash(step)
    one, other = step.apply(MAT), again.apply(MAT)
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("step", RANDOM, ids=lambda step: type(step).__name__)
def test_random_steps_draw_by_seed_epoch_and_image(step: Any) -> None:
    several = [step.seeded(0, epoch).apply(MAT).mat for epoch in range(8)]
    assert any(not np.array_equal(several[0], other) for other in several[1:])
    other = pictures.pixels(2, (41, 30))
    alone = step.apply(other).mat
    assert np.array_equal(step([MAT, other])[1].mat, alone), "its neighbours do not matter"
    named = ImageFeature(MAT, path="elsewhere.jpg", label=1)
    assert np.array_equal(step.apply(named).mat, step.apply(MAT).mat)


@pytest.mark.parametrize("mode", range(5))
def test_resize(mode: int) -> None:
    assert np.array_equal(made(ImageResize(20, 25, mode)), cv2.resize(MAT, (25, 20), interpolation=mode))
    assert made(ImageResize(20, 25, mode), GREY).shape == (20, 25)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 50), st.integers(20, 80), st.integers(1, 8))
def test_aspect_scale(height: int, width: int, short: int, long: int, multiple: int) -> None:
    step = ImageAspectScale(short, 1, long)
    mat = np.zeros((height, width, 3), np.uint8)
    found = step.apply(mat).mat.shape[:2]
    scale = short / min(height, width)
    if round(scale * max(height, width)) > long:
        scale = long / max(height, width)
    assert found == tuple(max(round(side * scale), 1) for side in (height, width))
    assert max(found) <= max(long, 1)
    units = ImageAspectScale(short, multiple, long).apply(mat).mat.shape[:2]
    assert all(side % multiple == 0 for side in units)


def test_aspect_scale_has_a_floor() -> None:
    mat = np.zeros((10, 100, 3), np.uint8)
    assert ImageAspectScale(10, 1, 50).apply(mat).mat.shape[:2] == (5, 50)
    assert ImageAspectScale(10, 1, 50, min_scale=0.8).apply(mat).mat.shape[:2] == (8, 80)
    sizes = {min(made(ImageRandomAspectScale([10, 20, 30]), seed=seed).shape[:2]) for seed in range(20)}
    assert sizes == {10, 20, 30}


def test_crops() -> None:
    assert np.array_equal(made(ImageCenterCrop(9, 8)), MAT[11:19, 16:25])
    assert np.array_equal(made(ImageFixedCrop(0.1, 0.2, 0.7, 0.9)), MAT[6:27, 4:28])
    assert np.array_equal(made(ImageFixedCrop(3, 4, 13, 9, normalized=False)), MAT[4:9, 3:13])
    assert made(ImageCenterCrop(100, 10)).shape == (10, 41, 3)
    assert made(ImageFixedCrop(-5, 0, 20, 99, normalized=False)).shape == (30, 20, 3)
    with pytest.raises(DataError, match=r"sticks out.*is_clip=True"):
        made(ImageCenterCrop(100, 10, is_clip=False))
    with pytest.raises(DataError, match="nothing is left"):
        made(ImageFixedCrop(50, 0, 60, 10, normalized=False))


@given(st.integers(1, 41), st.integers(1, 30), st.integers(0, 1000))
def test_a_random_crop_is_a_part_of_the_image(width: int, height: int, seed: int) -> None:
    found = made(ImageRandomCrop(width, height), seed=seed)
    draws = Draws(seed).over(MAT)
    left, top = int(draws.integers(41 - width + 1)), int(draws.integers(30 - height + 1))
    assert np.array_equal(found, MAT[top : top + height, left : left + width])


def test_random_crops_reach_every_place() -> None:
    small = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert {int(made(ImageRandomCrop(2, 2), small, seed)[0, 0]) for seed in range(200)} == {0, 1, 2, 4, 5, 6}


def test_flips() -> None:
    assert np.array_equal(made(ImageHFlip()), MAT[:, ::-1])
    assert np.array_equal(made(ImageMirror()), MAT[::-1, ::-1])


@pytest.mark.parametrize("seed", range(5))
def test_expand(seed: int) -> None:
    found = made(ImageExpand(1, 2, 3, 1, 3), seed=seed)
    draws = Draws(seed).over(MAT)
    ratio = draws.uniform(1, 3)
    height, width = int(30 * ratio), int(41 * ratio)
    top, left = int(draws.integers(height - 29)), int(draws.integers(width - 40))
    wanted = np.empty((height, width, 3), np.uint8)
    wanted[:] = (3, 2, 1)
    wanted[top : top + 30, left : left + 41] = MAT
    assert np.array_equal(found, wanted)


def test_filler() -> None:
    wanted = MAT.copy()
    wanted[15:30, 10:20] = 7
    assert np.array_equal(made(ImageFiller(0.25, 0.5, 0.5, 1.0, 7)), wanted)


@pytest.mark.parametrize("seed", range(4))
def test_brightness_and_contrast(seed: int) -> None:
    delta = drawn(-200, 200, seed=seed)
    bright = np.clip(np.rint(MAT.astype(np.float64) + delta), 0, 255)
    assert np.array_equal(made(ImageBrightness(-200, 200), seed=seed), bright)
    factor = drawn(0.1, 3, seed=seed)
    assert np.array_equal(made(ImageContrast(0.1, 3), seed=seed), np.clip(np.rint(MAT * factor), 0, 255))
    floats = MAT.astype(np.float32)
    factor = drawn(0.1, 3, floats, seed)
    assert np.allclose(made(ImageContrast(0.1, 3), floats, seed), floats * factor, rtol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_hue_and_saturation(seed: int) -> None:
    hsv = cv2.cvtColor(MAT, cv2.COLOR_BGR2HSV)
    turned, fuller = hsv.copy(), hsv.copy()
    turned[:, :, 0] = np.clip(np.rint(hsv[:, :, 0] + drawn(-18, 18, seed=seed)), 0, 255)
    fuller[:, :, 1] = np.clip(np.rint(hsv[:, :, 1] * drawn(0.5, 1.5, seed=seed)), 0, 255)
    assert np.array_equal(made(ImageHue(-18, 18), seed=seed), cv2.cvtColor(turned, cv2.COLOR_HSV2BGR))
    assert np.array_equal(made(ImageSaturation(0.5, 1.5), seed=seed), cv2.cvtColor(fuller, cv2.COLOR_HSV2BGR))


def test_hue_of_floats_turns_round() -> None:
    floats = MAT.astype(np.float32)
    assert np.allclose(made(ImageHue(180, 180), floats), floats, atol=1e-3)


def test_channel_order_and_jitter() -> None:
    orders = {tuple(made(ImageChannelOrder(), np.uint8([[[1, 2, 3]]]), seed)[0, 0].tolist()) for seed in range(60)}
    assert len(orders) == 6
    nothing = ImageColorJitter(0, 32, 0, 0.5, 1.5, 0, 18, 0, 0.5, 1.5, 0)
    assert np.array_equal(made(nothing), MAT)
    bright = ImageColorJitter(1, 32, 0, 0.5, 1.5, 0, 18, 0, 0.5, 1.5, 0)
    for seed in range(4):
        delta = made(bright, np.full((2, 2, 3), 100, np.uint8), seed).astype(int) - 100
        assert -32 <= delta.min() == delta.max() <= 32
    assert len({made(bright, seed=seed).tobytes() for seed in range(6)}) > 1


def test_normalising() -> None:
    found = made(ImageChannelNormalize(1.5, 2.5, 3.5, 2, 4, 8))
    wanted = (MAT.astype(np.float32) - np.float32([3.5, 2.5, 1.5])) / np.float32([8, 4, 2])
    assert found.dtype == np.float32 and np.array_equal(found, wanted)
    means = np.random.default_rng(0).random(MAT.size)
    wanted = MAT.astype(np.float32) - means.astype(np.float32).reshape(MAT.shape)
    assert np.array_equal(made(ImagePixelNormalize(means)), wanted)
    low, high = int(MAT.min()), int(MAT.max())
    assert np.allclose(made(PerImageNormalize(-1, 1)), (MAT - float(low)) / (high - low) * 2 - 1, atol=1e-5)
    with pytest.raises(DataError, match="for 3 channels"):
        made(ImageChannelNormalize(1, 2, 3), GREY)
    with pytest.raises(DataError, match="there are 5 means"):
        made(ImagePixelNormalize([1] * 5))


def test_random_preprocessing() -> None:
    flipped = [np.array_equal(made(ImageRandomPreprocessing(ImageHFlip(), 0.3), seed=seed), MAT[:, ::-1])
               for seed in range(200)]  # fmt: skip
    assert 30 < sum(flipped) < 90
    assert np.array_equal(made(ImageRandomPreprocessing(ImageHFlip(), 0)), MAT)
    assert np.array_equal(made(ImageRandomPreprocessing(ImageHFlip(), 1)), MAT[:, ::-1])


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("mat", [MAT, GREY, np.dstack([MAT, GREY])], ids=["colours", "grey", "alpha"])
def test_tensors(mat: np.ndarray, kind: Any) -> None:
    pixels = mat.astype(kind)
    three = pixels.reshape(*pixels.shape[:2], -1).astype(np.float32)
    turned = three[:, :, [2, 1, 0, 3][: three.shape[2]]] if three.shape[2] > 1 else three
    for step, wanted in [
        (ImageMatToTensor(), three.transpose(2, 0, 1)),
        (ImageMatToTensor(to_RGB=True), turned.transpose(2, 0, 1)),
        (ImageMatToTensor(format="NHWC"), three),
        (ImageMatToTensor(to_RGB=True, format="NHWC"), turned),
    ]:
        found = (step >> ImageFeatureToTensor()).apply(pixels)
        assert found.dtype == np.float32 and found.flags.c_contiguous and np.array_equal(found, wanted)


@pytest.mark.parametrize("codec", [-1, 0, 1])
def test_bytes(codec: int) -> None:
    data = pictures.encoded(4)
    wanted = cv2.imdecode(np.frombuffer(data, np.uint8), codec)
    assert np.array_equal(ImageBytesToMat(image_codec=codec).apply(ImageFeature(bytes=data)).mat, wanted)
    assert np.array_equal(ImageBytesToMat(image_codec=codec).apply(data).mat, wanted)
    with pytest.raises(DataError, match="broken.jpg cannot be decoded"):
        ImageBytesToMat().apply(ImageFeature(bytes=data[:40], path="broken.jpg"))
    with pytest.raises(DataError, match="no bytes under 'content'"):
        ImageBytesToMat("content").apply(ImageFeature(bytes=data))


def test_pixel_bytes() -> None:
    raw = ImageFeature(bytes=MAT.tobytes(), original_size=MAT.shape)
    assert np.array_equal(ImagePixelBytesToMat().apply(raw).mat, MAT)
    with pytest.raises(DataError, match="original_size None"):
        ImagePixelBytesToMat().apply(ImageFeature(bytes=MAT.tobytes()))


def test_samples() -> None:
    chain = ImageMatToTensor() >> ImageSetToSample() >> ImageFeatureToSample()
    sample = chain.apply(ImageFeature(MAT, label=np.float32(3)))
    assert sample.feature.shape == (3, 30, 41) and sample.label == 3
    assert chain.apply(MAT).labels == ()
    with pytest.raises(DataError, match=r"x\.png has no imageTensor"):
        ImageSetToSample().apply(ImageFeature(MAT, path="x.png"))
    with pytest.raises(DataError, match="ImageMatToTensor"):
        ImageFeatureToTensor().apply(MAT)
    with pytest.raises(DataError, match="ImageSetToSample"):
        ImageFeatureToSample().apply(MAT)


@given(st.sampled_from([np.uint8, np.int8, np.uint16, np.int16, np.int32, np.float32, np.float64]), st.integers(1, 5),
       st.integers(1, 4), st.integers(1, 4))  # fmt: skip
def test_pixels_as_a_struct_are_the_pixels(kind: Any, channels: int, height: int, width: int) -> None:
    shape = (height, width) if channels == 1 else (height, width, channels)
    mat = np.arange(height * width * channels).astype(kind).reshape(shape)
    sizes = {"height": height, "width": width, "nChannels": channels}
    struct = sizes | {"origin": "a", "mode": mode_of(mat), "data": mat.tobytes()}
    found = mat_of(struct)
    assert found.dtype == kind and np.array_equal(found, mat)
    assert np.array_equal(RowToImageFeature().apply({"image": struct, "label": 1}).mat, mat)
    with pytest.raises(DataError, match="a should have"):
        mat_of(struct | {"height": height + 1})


def test_opencvs_modes() -> None:
    assert [mode_of(MAT), mode_of(GREY), mode_of(np.dstack([MAT, GREY]))] == [16, 0, 24]
    assert mode_of(MAT.astype(np.float32)) == 21  # CV_32FC3 until OpenCV 5, which counts channels otherwise
    with pytest.raises(DataError, match="no pixels of bool"):
        mode_of(MAT > 3)


@pytest.mark.parametrize("value", [None, 3, "text", {"x": 1}, {"image": None}])
def test_what_is_no_image(value: Any) -> None:
    with pytest.raises(DataError, match="must be|is null"):
        RowToImageFeature().apply(value)


def test_errors_name_the_image_and_its_shape() -> None:
    with pytest.raises(DataError, match=r"a/b\.png, uint8 of shape \(30, 41\): this is for 3 channels"):
        ImageHue(0, 1).apply(ImageFeature(GREY, path="a/b.png"))
    with pytest.raises(DataError, match="has no pixels yet; decode it first"):
        ImageHFlip().apply(ImageFeature(bytes=b"x"))
    with pytest.raises(DataError, match=r"ImageResize.* of a/b\.png, bool of shape \(30, 41\)"):
        ImageResize(4, 5).apply(ImageFeature(GREY > 3, path="a/b.png"))
    for step in (ImageResize(4, 5), ImageAspectScale(4), ImageColorJitter(), ImageHFlip()):
        with pytest.raises(DataError, match=r"a/b\.png has no pixels: its shape is \(0, 41, 3\)"):
            step.apply(ImageFeature(MAT[:0], path="a/b.png"))


@pytest.mark.parametrize(
    "make",
    [
        lambda: ImageResize(0, 3), lambda: ImageResize(3, 3, 9), lambda: ImageBrightness(2, 1),
        lambda: ImageHue("a", 1), lambda: ImageColorJitter(brightness_prob=2),
        lambda: ImageChannelNormalize(1, 2, 3, 0),
        lambda: ImageAspectScale(1.5), lambda: ImageRandomAspectScale([]), lambda: ImageFiller(0, 0, 2, 1),
        lambda: ImageExpand(min_expand_ratio=0.5), lambda: ImageMatToTensor(format="CHW"),
        lambda: ImageSetToSample([]), lambda: ImageRandomPreprocessing(ImageHFlip(), 1.5),
        lambda: ImageRandomPreprocessing(3, 0.5), lambda: ImageBytesToMat(image_codec="colour"),
        lambda: PerImageNormalize(0, 1, 3), lambda: ImagePixelNormalize("x"), lambda: ImageCenterCrop(3, None),
    ],
)  # fmt: skip
def test_mistakes(make: Any) -> None:
    with pytest.raises(UsageError, match=r"Received|Name at least"):
        make()


def test_a_step_of_ones_own() -> None:
    class Inverted(ImagePreprocessing):
        def image(self, feature: ImageFeature) -> ImageFeature:
            return feature.having(mat=255 - feature.mat)

    chain = ChainedPreprocessing([Inverted(), lambda feature: feature.having(label=1)])
    found = chain.apply(MAT)
    assert np.array_equal(found.mat, 255 - MAT) and found["label"] == 1
