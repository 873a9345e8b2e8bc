"""Stages of Spark ML on a Master and two Workers on loopback, one rank of which is killed."""

from __future__ import annotations

from typing import Any

import pytest
from driver import answer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return answer("nnframes_program.py", tmp_path_factory.mktemp("scratch"), timeout=240)


def test_image_files_become_predictions_there(seen: dict[str, Any]) -> None:
    assert seen["pictures"]["partitions"] == 4
    assert seen["pictures"]["right"] == seen["pictures"]["loaded"] == 60


def test_a_fit_outlives_a_killed_rank(seen: dict[str, Any]) -> None:
    assert "Regrouped" in seen["struck"]["told"]
    assert seen["struck"]["weights"] == pytest.approx(seen["undisturbed"]["weights"], abs=2e-5)


def test_so_does_one_with_checkpoints(seen: dict[str, Any]) -> None:
    assert seen["from checkpoint"]["told"]
    assert seen["from checkpoint"]["weights"] == pytest.approx(seen["undisturbed"]["weights"], abs=2e-5)


def test_nothing_runs_on(seen: dict[str, Any]) -> None:
    assert seen["active stages"] == []
