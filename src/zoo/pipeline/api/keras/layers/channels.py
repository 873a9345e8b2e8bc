"""Convolutions of tensors whose channels come first, on TensorFlow.

Owns: computing them with the channels last.
Leaves: the layers (convolutional, zoo.pipeline.api.net.layers).
"""

from __future__ import annotations

from typing import Any

from zoo.pipeline.api.library import library

keras = library()
ops = keras.ops


class ChannelsFirst:
    """Mixed into a convolution of Keras: TensorFlow computes it with the channels last, between two transpositions.

    Keras 3.15 adds the bias with ``tf.nn.bias_add`` wherever the last axis has as many entries as there are filters:
    along the width, where an image with its channels first is as wide as that. And TensorFlow on a CPU has no
    convolution of volumes with the channels first (Keras compiles each call for itself), and images it computes more
    slowly so.
    """

    def call(self, inputs: Any) -> Any:
        if self.data_format == "channels_last" or keras.backend.backend() != "tensorflow":  # type: ignore[attr-defined]
            return super().call(inputs)  # type: ignore[misc]
        outputs = self.convolved(ops.moveaxis(inputs, 1, -1), "channels_last")
        if self.use_bias:  # type: ignore[attr-defined]
            outputs = outputs + self.bias  # type: ignore[attr-defined]
        outputs = ops.moveaxis(outputs, -1, 1)
        return self.activation(outputs) if self.activation else outputs  # type: ignore[attr-defined]

    def convolved(self, inputs: Any, data_format: str) -> Any:
        """Without bias and activation."""
        return ops.conv(inputs, self.kernel, list(self.strides), self.padding, data_format, self.dilation_rate)  # type: ignore[attr-defined]
