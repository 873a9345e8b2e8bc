"""Preprocessing, FeatureSet and relations, at the address that programs import them from."""

from zoo.feature.feature_set import FeatureSet
from zoo.feature.preprocessing import ChainedPreprocessing, Preprocessing
from zoo.feature.relations import Relation, Relations
from zoo.feature.samples import BigDLAdapter, FeatureToTupleAdapter, SampleToMiniBatch, TensorToSample, ToTuple
from zoo.feature.tensors import (
    ArrayToTensor,
    FeatureLabelPreprocessing,
    MLlibVectorToTensor,
    ScalarToTensor,
    SeqToMultipleTensors,
    SeqToTensor,
)

__all__ = [
    "ArrayToTensor", "BigDLAdapter", "ChainedPreprocessing", "FeatureLabelPreprocessing", "FeatureSet",
    "FeatureToTupleAdapter", "MLlibVectorToTensor", "Preprocessing", "Relation", "Relations", "SampleToMiniBatch",
    "ScalarToTensor", "SeqToMultipleTensors", "SeqToTensor", "TensorToSample", "ToTuple",
]  # fmt: skip
