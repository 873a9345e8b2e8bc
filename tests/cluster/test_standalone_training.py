"""Training on a Master and two Workers on loopback: what a user gets when ranks and executors are killed."""

from __future__ import annotations

from typing import Any

import pytest
from driver import answer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return answer("standalone_program.py", tmp_path_factory.mktemp("scratch"), timeout=300)


def test_each_rank_sits_on_an_executor_of_its_own(seen: dict[str, Any]) -> None:
    assert seen["executors"] == 2


@pytest.mark.parametrize("what", ["rank", "executor"])
def test_after_a_death_training_goes_on_from_the_last_checkpoint_where_that_is_asked_for(
    seen: dict[str, Any], what: str
) -> None:
    assert seen[what]["resumed_at"] == [10]  # killed at step 13, a checkpoint every 5 steps
    assert seen[what]["epochs"] == 3
    assert seen[what]["weights"] == pytest.approx(seen["undisturbed"], abs=2e-5)


def test_without_a_model_dir_the_error_says_how_to_get_recovery(seen: dict[str, Any]) -> None:
    error = seen["without checkpoints"]
    assert error.startswith("RankLost: 1 of 2 ranks were lost") and "model_dir" in error


def test_too_many_ranks_are_refused_with_the_setting_to_change(seen: dict[str, Any]) -> None:
    assert seen["too many"].startswith("NotEnoughSlots: 8 ranks need 8 free task slots at once")
    assert "spark.executor.instances" in seen["too many"]


def test_the_cluster_is_as_good_as_before(seen: dict[str, Any]) -> None:
    assert seen["after all that"] == pytest.approx(seen["undisturbed"], abs=2e-5)
    assert seen["predicted"] == [101, ["a", "b", "y", "prediction"]]
    assert seen["evaluated"] == 101
    assert seen["active stages"] == []


def test_a_keras_model_trains_and_predicts_there(seen: dict[str, Any]) -> None:
    first, last, evaluated, rows = seen["keras"]
    assert last < first and evaluated < first
    assert rows == 101
