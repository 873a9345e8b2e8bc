"""Images: sets of them, and the steps that prepare them for a model."""

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
from zoo.feature.image.image_feature import ImageFeature
from zoo.feature.image.imageset import DistributedImageSet, ImageSet, LocalImageSet
from zoo.feature.image.steps import ImagePreprocessing, ImageRandomPreprocessing

__all__ = [
    "DistributedImageSet",
    "ImageAspectScale",
    "ImageBrightness",
    "ImageBytesToMat",
    "ImageCenterCrop",
    "ImageChannelNormalize",
    "ImageChannelOrder",
    "ImageColorJitter",
    "ImageContrast",
    "ImageExpand",
    "ImageFeature",
    "ImageFeatureToSample",
    "ImageFeatureToTensor",
    "ImageFiller",
    "ImageFixedCrop",
    "ImageHFlip",
    "ImageHue",
    "ImageMatToTensor",
    "ImageMirror",
    "ImagePixelBytesToMat",
    "ImagePixelNormalize",
    "ImagePreprocessing",
    "ImageRandomAspectScale",
    "ImageRandomCrop",
    "ImageRandomPreprocessing",
    "ImageResize",
    "ImageSaturation",
    "ImageSet",
    "ImageSetToSample",
    "LocalImageSet",
    "PerImageNormalize",
    "RowToImageFeature",
]
