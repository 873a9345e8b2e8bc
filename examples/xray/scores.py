"""How well each finding is told: the area under its receiver operating characteristic (AUC), as table and picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

ENOUGH = 5  # images with a finding from which on its AUC counts for the mean


class Score(NamedTuple):
    """Of one finding; an AUC of None where all images have it, or none."""

    finding: str
    positives: int
    auc: float | None


def scores_of(predicted: DataFrame, findings: Sequence[str]) -> list[Score]:
    """The AUC of each finding.

    Args:
        predicted: with ``label`` and ``prediction``, arrays in the order of `findings`.
        findings: their names.
    """
    evaluator = BinaryClassificationEvaluator()
    rows = predicted.count()
    found = []
    for number, finding in enumerate(findings, start=1):
        one = predicted.select(
            F.element_at("label", number).cast("double").alias("label"),
            F.element_at("prediction", number).cast("double").alias("rawPrediction"),
        )
        positives = int(one.agg(F.sum("label")).first()[0] or 0)
        found.append(Score(finding, positives, evaluator.evaluate(one) if 0 < positives < rows else None))
    return found


def mean_auc(scores: Sequence[Score]) -> float:
    """Over findings with enough images; NaN where there are none."""
    counted = [score.auc for score in scores if score.auc is not None and score.positives >= ENOUGH]
    return float(np.mean(counted)) if counted else float("nan")


def table(scores: Sequence[Score]) -> str:
    """The scores as lines, the best first."""
    lines = [f"{'finding':<20}{'positives':>9}{'AUC':>8}"]
    for one in sorted(scores, key=lambda score: -(score.auc or 0)):
        auc = "-" if one.auc is None else f"{one.auc:.3f}"
        lines.append(f"{one.finding:<20}{one.positives:>9}{auc:>8}{'' if one.positives >= ENOUGH else '  (few)'}")
    return "\n".join(lines)


def curve(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(false positive rates, true positive rates), from (0, 0) to (1, 1); one point for each different score."""
    order = np.argsort(-scores, kind="stable")
    ends = np.r_[np.flatnonzero(np.diff(scores[order])), len(scores) - 1]
    hits = np.r_[0, labels[order].cumsum()[ends]]
    seen = np.r_[0, ends + 1]
    return (seen - hits) / (seen[-1] - hits[-1]), hits / hits[-1]


def plot(path: Path, predicted: DataFrame, scores: Sequence[Score]) -> None:
    """Draws bars of the AUCs beside the curves, as PNG.

    Args:
        path: of the file.
        predicted: as of `scores_of`.
        scores: of all findings, in the order of the arrays.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = predicted.select("label", "prediction").collect()
    labels, values = (np.array([row[name] for row in rows]) for name in ("label", "prediction"))
    known = sorted((number for number, one in enumerate(scores) if one.auc is not None), key=lambda n: scores[n].auc)
    figure, (bars, curves) = plt.subplots(1, 2, figsize=(12, 5.5), layout="constrained")
    colours = plt.colormaps["tab20"](np.arange(len(known)) % 20)
    names = [f"{scores[number].finding} ({scores[number].positives})" for number in known]
    drawn = bars.barh(names, [scores[number].auc for number in known], color=colours)
    bars.bar_label(drawn, fmt="%.2f", padding=3)
    bars.axvline(0.5, color="grey", linestyle=":")
    bars.set(xlim=(0, 1.1), xlabel="AUC (in brackets: images with the finding)", title="Held-out patients")
    for number, colour in zip(known, colours, strict=True):
        curves.plot(*curve(labels[:, number], values[:, number]), color=colour)
    curves.plot([0, 1], [0, 1], color="grey", linestyle=":")
    curves.set(xlabel="false positive rate", ylabel="true positive rate", title="Receiver operating characteristic")
    figure.savefig(path, dpi=110)
    plt.close(figure)
