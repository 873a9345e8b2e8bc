"""ResNet-50 with the names of layers that its Caffe model has, and BigDL's copy of that: conv1, res2a_branch2a, pool5.

After He et al., "Deep Residual Learning for Image Recognition", 2016. Its weights are random: it stands in for a
trained file where there is none.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

STAGES = ((2, 1, 3), (3, 2, 4), (4, 4, 6), (5, 8, 3))  # number, channels in widths, blocks
CLASSES = 1000


def resnet50(side: int, width: int = 64, seed: int = 0) -> keras.Model:
    """The network: pictures (rows, 3, side, side) to probabilities (rows, 1000).

    Args:
        side: pixels.
        width: channels of the first convolution.
        seed: of the weights.
    """
    seeds = iter(range(seed * 1000, seed * 1000 + 1000))
    pictures = keras.Input((3, side, side), name="data")
    x = layers.Permute((2, 3, 1), name="channels_last")(pictures)  # convolutions on CPUs want them so
    x = layers.ZeroPadding2D(3, name="pad1")(x)
    x = convolved(x, ("conv1", "bn_conv1"), (width, 7, 2), seeds)
    x = layers.Activation("relu", name="conv1_relu")(x)
    x = layers.MaxPooling2D(3, 2, "same", name="pool1")(x)
    for number, widths, blocks in STAGES:
        for block in range(blocks):
            strides = 2 if number > 2 and block == 0 else 1
            x = residual(x, f"{number}{'abcdef'[block]}", widths * width, strides, seeds)
    x = layers.Permute((3, 1, 2), name="channels_first")(x)
    x = layers.GlobalAveragePooling2D(data_format="channels_first", keepdims=True, name="pool5")(x)
    x = layers.Dense(CLASSES, name="fc1000")(layers.Flatten(name="flatten")(x))
    return keras.Model(pictures, layers.Softmax(name="prob")(x), name="ResNet-50")


def residual(x: Any, name: str, channels: int, strides: int, seeds: Any) -> Any:
    """A block: three convolutions, added to what went in."""
    short = x
    if x.shape[-1] != 4 * channels:
        short = convolved(x, (f"res{name}_branch1", f"bn{name}_branch1"), (4 * channels, 1, strides), seeds)
    for part, size, kernel, step in (("a", channels, 1, strides), ("b", channels, 3, 1), ("c", 4 * channels, 1, 1)):
        branch = f"{name}_branch2{part}"
        x = convolved(x, (f"res{branch}", f"bn{branch}"), (size, kernel, step), seeds)
        if part != "c":
            x = layers.Activation("relu", name=f"res{branch}_relu")(x)
    return layers.Activation("relu", name=f"res{name}_relu")(layers.Add(name=f"res{name}")([short, x]))


def convolved(x: Any, names: tuple[str, str], form: tuple[int, int, int], seeds: Any) -> Any:
    """A convolution of (channels, kernel, strides) and batch normalisation, by their names."""
    channels, kernel, strides = form
    start = keras.initializers.HeNormal(next(seeds))
    padding = "valid" if kernel == 7 else "same"
    x = layers.Conv2D(channels, kernel, strides, padding, use_bias=False, kernel_initializer=start, name=names[0])(x)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=names[1])(x)
