"""`Net`: loads models of BigDL, Keras, TorchScript, TensorFlow and ONNX.

Owns: which loader a file is for.
Leaves: the loaders.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from zoo.engine import storage
from zoo.engine.errors import UsageError

if TYPE_CHECKING:
    from zoo.orca.learn.tf.net import TFNet
    from zoo.pipeline.api.net.computing import ComputingNet
    from zoo.pipeline.api.net.graph_net import GraphNet
    from zoo.pipeline.api.net.torch_net import TorchNet

_ZIP, _HDF5 = b"PK\x03\x04", b"\x89HDF"


class Net:
    """Loads models; paths may be URLs."""

    @staticmethod
    def load(model_path: str, weight_path: str | None = None) -> Any:
        """A model of this package, or of BigDL.

        Args:
            model_path: a ``.keras`` (or ``.h5``) file that `save_model` has written, or a file of BigDL.
            weight_path: of weights that were saved apart.

        Raises:
            UsageError: the file is of neither kind.
        """
        with storage.open_for_reading(model_path) as file:
            start = bytes(file.read(4))
        if start not in (_ZIP, _HDF5):
            return Net.load_bigdl(model_path, weight_path)
        from zoo.pipeline.api.keras.models import load_model

        return load_model(model_path, weight_path)

    @staticmethod
    def load_bigdl(model_path: str, weight_path: str | None = None, input_shape: Any = None) -> GraphNet:
        """A model that BigDL's ``saveModule`` / ``saveModel`` has written, as a graph of Keras layers.

        Args:
            model_path: of the file.
            weight_path: of the weights, where they were saved apart.
            input_shape: without the batch, or a list of shapes; needed where the modules do not tell it.

        Raises:
            UsageError: no file of BigDL, truncated, of a newer version, an unknown module, weights that are missing.
        """
        from zoo.pipeline.api.net.loading import load_bigdl

        return load_bigdl(model_path, weight_path, input_shape)

    @staticmethod
    def load_keras(json_path: str | None = None, hdf5_path: str | None = None, by_name: bool = False) -> Any:
        """A model of Keras 3.

        Args:
            json_path: its architecture (``model.to_json()``).
            hdf5_path: its weights; without `json_path`, the whole model (``.keras`` or ``.h5``).
            by_name: whether weights go to the layers of the same names, and others keep theirs.

        Returns:
            a `GraphNet` of a functional model, any other as it is.

        Raises:
            UsageError: no path, or files that Keras 3 cannot read.
        """
        if json_path is None and hdf5_path is None:
            raise UsageError("load_keras needs json_path, hdf5_path or both.")
        from zoo.pipeline.api.net import keras_files

        return keras_files.load(json_path, hdf5_path, by_name)

    @staticmethod
    def load_torch(path: str) -> TorchNet:
        """A module of TorchScript (``torch.jit.save``), as a layer of BigDL: it predicts, and can be trained.

        Pickled modules and exported programs are refused: reading them may run code that is in the file.

        Raises:
            UsageError: another file.
        """
        from zoo.pipeline.api.net.torch_net import TorchNet

        return TorchNet(path)

    @staticmethod
    def load_tf(
        path: str,
        inputs: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
        tag: str = "serve",
        signature: str = "serving_default",
    ) -> TFNet:
        """A SavedModel or frozen graph of TensorFlow, which computes: alone, in an `NNModel`, or below other layers.

        Args:
            path: directory of a SavedModel, or of ``export_tf``, or a ``.pb`` file.
            inputs: names of tensors that are fed; None for those that the file tells.
            outputs: likewise, computed.
            tag: of the graph in a SavedModel.
            signature: which of its functions.

        Raises:
            UsageError: nothing of that kind there; no such tag, signature or tensor.
        """
        from zoo.orca.learn.tf.net import TFNet

        return TFNet.of_file(path, inputs, outputs, tag, signature)

    @staticmethod
    def load_onnx(path: str, threads: int = 0) -> ComputingNet:
        """A model in an ``.onnx`` file, which predicts through ONNX Runtime.

        Args:
            path: of the file.
            threads: that compute; 0 lets the runtime choose.

        Raises:
            UsageError: no ONNX model.
            MissingDependency: onnxruntime is not installed.
        """
        from zoo.engine.frameworks.onnx.graph import OnnxGraph
        from zoo.pipeline.api.net.computing import ComputingNet

        graph = OnnxGraph(path, threads)
        return ComputingNet(graph, len(graph.inputs))

    @staticmethod
    def load_caffe(def_path: str, model_path: str) -> NoReturn:
        """Caffe's files are not read.

        Raises:
            UsageError: always; says what to do.
        """
        raise UsageError("Caffe's files are not read. Convert the model to ONNX, and use Net.load_onnx(path).")
