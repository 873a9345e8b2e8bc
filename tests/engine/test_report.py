"""What a report says of a run's events: numbers that add up, every loss with its end, and advice that follows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import pytest

from zoo.engine.events.events import Event, Measured, RankLeft, Regrouped, Resumed, RunEnded, RunStarted
from zoo.engine.events.report import Report, Reporter

START = RunStarted(
    "fit", 2, 128, 4, 0, 2, place="Spark local[2]", threads=(1, 1), recovery="peers", virtual_ranks=0
)  # fmt: skip


def rank(**numbers: float) -> Mapping[str, float]:
    """One rank's second of work."""
    plain = {"rows": 64, "seconds": 1.0, "computing": 0.9, "waiting": 0.0, "syncing": 0.1, "moved": 4e6, "memory": 3e8}
    return {**plain, **numbers}


def epoch(number: int, *ranks: Mapping[str, float], seconds: float = 1.0) -> Measured:
    return Measured(number, 4, 128, seconds, ranks or (rank(), rank()))


def reported(*events: Event, start: RunStarted = START, seconds: float = 3.0, error: str = "") -> Report:
    reporter = Reporter()
    for event in (start, *events, RunEnded("fit", seconds, error=error)):
        reporter.put(event)
    assert reporter.report is not None
    return reporter.report


def test_epochs_add_up_and_memory_is_the_largest() -> None:
    report = reported(epoch(0), epoch(1, rank(memory=5e8), rank(syncing=0.3, computing=0.7)))
    assert (report.steps, report.rows, report.epochs, report.seconds) == (8, 256, 2, 2.0)
    assert [one["memory"] for one in report.ranks] == [5e8, 3e8]
    assert report.share("syncing") == pytest.approx((0.1 + 0.1 + 0.1 + 0.3) / 4)
    assert str(report).splitlines() == [
        "run       fit on Spark local[2]: 2 ranks, 1 thread each",
        "steps     8 in 2 epochs, 256 rows, 128 rows/s",
        "time      computing 85%, synchronising 15%, waiting for data 0%, else 0% of 2.0 s in epochs; 3.0 s in all",
        "moved     8 MB from each rank to others, 1 MB a step",
        "memory    at most 500 MB (rank 0), 300 MB (rank 1)",
        "recovery  peers: the ranks that are left go on from the same step",
        "order     by place: the same rows make a step on any number of ranks",
        "advice    computing takes 85% of the time: more ranks can help.",
    ]


def test_a_notebook_gets_the_same_words_as_a_table_without_markup_of_others() -> None:
    report = reported(RankLeft(1, "died of <b>&</b>"), Regrouped(2, 3), epoch(0))
    cells = re.findall(r"<td[^>]*>(.*?)</td>", report._repr_html_())
    assert len(cells) == len(report.lines)
    assert "died of &lt;b&gt;&amp;&lt;/b&gt;" in report._repr_html_() and "<b>" not in report._repr_html_()


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([RankLeft(1, "was killed"), Regrouped(2, 17)], r"rank 1 was killed; went on from step 17, 0\.0 s later"),
        ([RankLeft(1, "was killed"), Resumed("", 17, 1, "x")],
         r"rank 1 was killed; went on from step 17 in a new gang, 0\.0 s later"),
        ([Resumed("/m/checkpoint-10", 10, 2, "2 of 2 ranks were lost:")],
         r"2 of 2 ranks were lost:; went on from step 10 of a checkpoint, in a new gang"),
        ([Resumed("", 0, 2, "2 of 2 ranks were lost:")], "2 of 2 ranks were lost:; began anew"),
        ([RankLeft(0, "was stopped")], "rank 0 was stopped; the run did not go on"),
    ],
)  # fmt: skip
def test_each_loss_is_told_with_what_came_of_it(events: list[Event], told: str) -> None:
    report = reported(*events, epoch(0))
    (lost,) = [text for name, text in report.lines if name == "lost"]
    assert re.match(told, lost)


def test_two_losses_before_one_regrouping_are_two_lines() -> None:
    report = reported(RankLeft(0, "a"), RankLeft(1, "b"), Regrouped(2, 5), epoch(0))
    assert [one.cause for one in report.recoveries] == ["rank 0 a", "rank 1 b"]


def test_a_gang_of_another_size_goes_on_with_the_report() -> None:
    alone = rank(rows=128, syncing=0.0, moved=0.0)
    grown = RunStarted("fit", 2, 128, 4, 1, 2, recovery="peers")
    report = reported(epoch(0, alone), Resumed("", 4, 1, "the cluster has room for more than 1 ranks"), grown, epoch(1))
    assert report.started.world == 2 and report.epochs == 2 and len(report.ranks) == 2
    told = "the cluster has room for more than 1 ranks; went on from step 4 in another gang"
    assert ("resized", told) in report.lines


def test_an_error_is_told_with_the_run() -> None:
    assert "ended by: RankLost: gone" in str(reported(error="RankLost: gone"))


@pytest.mark.parametrize(
    ("ranks", "advice"),
    [
        ((rank(computing=0.4, syncing=0.6), rank(computing=0.43, syncing=0.57)),
         "synchronising takes 58% of the time: 1 rank would be 1.2x faster."),
        ((rank(computing=0.7, syncing=0.3), rank(computing=0.7, syncing=0.3)),
         "synchronising takes 30% of the time: a larger batch_size makes fewer, larger steps of the same rows."),
        ((rank(computing=0.4, syncing=0.6), rank(computing=1.0, syncing=0.0)),
         "rank 1 computes 2.5 times as long as rank 0, and the others wait for it: look for another load on its "
         "machine, or for rows that take longer."),
        ((rank(computing=0.6, waiting=0.4, syncing=0.0), rank(computing=0.7, waiting=0.3, syncing=0.0)),
         "waiting for data takes 35% of the time: give memory= more, so that rows need not come from the disk, or a "
         "loader of your own more workers."),
        ((rank(computing=0.5, syncing=0.1), rank(computing=0.5, syncing=0.1)), "nothing stands out."),
    ],
)  # fmt: skip
def test_advice_follows_from_the_measurements(ranks: tuple[Mapping[str, float], ...], advice: str) -> None:
    assert reported(epoch(0, *ranks)).advice == advice


@pytest.mark.parametrize(
    ("start", "order", "recovery"),
    [
        (RunStarted("fit", 1, 10, 1, 0, 1, virtual_ranks=8), "by content, 8 virtual ranks", "none: a lost rank ends"),
        (RunStarted("fit", 1, None, None, 0, 1, recovery="none"), "the data set's own", "none: a lost rank ends"),
        (RunStarted("fit", 1, 10, 1, 0, 1, recovery="checkpoint"), "by place", "checkpoint: a new gang"),
    ],
)  # fmt: skip
def test_which_order_and_which_recovery_were_in_force(start: RunStarted, order: str, recovery: str) -> None:
    lines = dict(reported(epoch(0, rank()), start=start).lines)
    assert lines["order"].startswith(order) and lines["recovery"].startswith(recovery)


def test_where_rows_come_from_is_told_a_line_each() -> None:
    start = replace(START, sources=("Delta table /t (version 3)", "JDBC table a (no version known)"))
    lines = [text for name, text in reported(epoch(0), start=start).lines if name == "data"]
    assert lines == list(start.sources)
