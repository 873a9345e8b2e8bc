"""NIH's table of findings as a DataFrame of labels, and the split by patients."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

COUNTS: Mapping[str, int] = {  # images of ChestX-ray14 with each finding, of 112,120
    "Atelectasis": 11559, "Cardiomegaly": 2776, "Effusion": 13317, "Infiltration": 19894, "Mass": 5782, "Nodule": 6331,
    "Pneumonia": 1431, "Pneumothorax": 5302, "Consolidation": 4667, "Edema": 2303, "Emphysema": 2516, "Fibrosis": 1686,
    "Pleural_Thickening": 3385, "Hernia": 227,
}  # fmt: skip
FINDINGS = tuple(COUNTS)
NO_FINDING = "No Finding"
COLUMNS = ("Image Index", "Finding Labels")
DIGITS_OF_PATIENT = 8  # 00000013_005.png is the sixth image of patient 13


def read_labels(spark: SparkSession, table: str) -> DataFrame:
    """The labels of a CSV file: ``Image_Index``, and ``label``, an array of 14 floats in the order of `FINDINGS`.

    Args:
        spark: reads.
        table: path or URL of NIH's ``Data_Entry_2017.csv``, or of one with its columns ``Image Index`` and ``Finding
            Labels`` (``A|B``, or ``No Finding``).
    """
    rows = spark.read.csv(table, header=True)
    if missing := [name for name in COLUMNS if name not in rows.columns]:
        sys.exit(f"{table} has no column {missing}. It has: {rows.columns}")
    names = F.transform(F.split("Finding Labels", r"\|"), lambda name: F.trim(name))
    rows = rows.select(F.trim("Image Index").alias("Image_Index"), names.alias("findings"))
    known = [*FINDINGS, NO_FINDING]
    strange = rows.where(F.col("findings").isNull() | (F.size(F.array_except("findings", _words(known))) > 0)).first()
    if strange is not None:
        sys.exit(f"{table}: {strange.Image_Index} has {strange.findings}. Findings are: {', '.join(known)}")
    found = [F.array_contains("findings", name).cast("float") for name in FINDINGS]
    return rows.select("Image_Index", F.array(*found).alias("label")).dropDuplicates(["Image_Index"])


def with_labels(images: DataFrame, labels: DataFrame) -> DataFrame:
    """Images (`NNImageReader.readImages`) with their labels; an image that has none is left out.

    The labels are small. Sent to every task, they leave the pixels where they are.
    """
    named = images.withColumn("Image_Index", F.element_at(F.split("image.origin", "/"), -1))
    return named.join(F.broadcast(labels), on="Image_Index", how="inner")


def split_by_patient(frame: DataFrame, held_back: float) -> tuple[DataFrame, DataFrame]:
    """(images to train on, images of other patients).

    Args:
        frame: with ``Image_Index``.
        held_back: the share of patients in the second part; who is among them follows from their numbers alone.
    """
    patient = F.substring("Image_Index", 1, DIGITS_OF_PATIENT)
    place = F.pmod(F.xxhash64(patient), F.lit(1000)) / 1000
    return frame.where(place >= held_back), frame.where(place < held_back)


def _words(names: list[str]) -> F.Column:
    return F.array(*map(F.lit, names))
