"""The steps over images, at the address that programs import them from."""

from zoo.feature.image.colour import (
    ImageBrightness,
    ImageChannelNormalize,
    ImageChannelOrder,
    ImageColorJitter,
    ImageContrast,
    ImageHue,
    ImagePixelNormalize,
    ImageSaturation,
    PerImageNormalize,
)
from zoo.feature.image.conversion import (
    ImageBytesToMat,
    ImageFeatureToSample,
    ImageFeatureToTensor,
    ImageMatToTensor,
    ImagePixelBytesToMat,
    ImageSetToSample,
    RowToImageFeature,
)
from zoo.feature.image.geometry import (
    ImageAspectScale,
    ImageCenterCrop,
    ImageExpand,
    ImageFiller,
    ImageFixedCrop,
    ImageHFlip,
    ImageMirror,
    ImageRandomAspectScale,
    ImageRandomCrop,
    ImageResize,
)
from zoo.feature.image.steps import ImagePreprocessing, ImageRandomPreprocessing

__all__ = [
    "ImageAspectScale", "ImageBrightness", "ImageBytesToMat", "ImageCenterCrop", "ImageChannelNormalize",
    "ImageChannelOrder", "ImageColorJitter", "ImageContrast", "ImageExpand", "ImageFeatureToSample",
    "ImageFeatureToTensor", "ImageFiller", "ImageFixedCrop", "ImageHFlip", "ImageHue", "ImageMatToTensor",
    "ImageMirror", "ImagePixelBytesToMat", "ImagePixelNormalize", "ImagePreprocessing", "ImageRandomAspectScale",
    "ImageRandomCrop", "ImageRandomPreprocessing", "ImageResize", "ImageSaturation", "ImageSetToSample",
    "PerImageNormalize", "RowToImageFeature",
]  # fmt: skip
