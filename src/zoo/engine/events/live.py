"""The one line at the bottom of a terminal that moves while a model trains.

Owns: drawing it with rich, and giving the terminal back as it was.
Leaves: what it says (console).

Nothing runs in the background: the line is redrawn when there is news, so no thread can outlive a run.
"""

from __future__ import annotations

import atexit
import sys
from dataclasses import dataclass
from typing import IO, Any

_BAR_WIDTH = 28


@dataclass(frozen=True, slots=True)
class Now:
    """Where a run stands.

    Attributes:
        title: e.g. ``"epoch 2/5"``.
        done: steps completed in this epoch.
        steps: steps of this epoch; None where nobody knows.
        told: loss, speed and the time left, in words.
    """

    title: str
    done: int
    steps: int | None
    told: str


class LiveView:
    """A moving line below lines that stay.

    Args:
        stream: a terminal.
    """

    def __init__(self, stream: IO[str]) -> None:
        from rich.console import Console

        self._console = Console(file=stream, highlight=False, soft_wrap=True)
        self._bar: Any = None
        self._task: Any = None

    def line(self, text: str, style: str = "") -> None:
        """Prints a line that stays, above the moving one.

        Args:
            text: printed as it is.
            style: ``""``, ``"result"`` (its numbers stand out), ``"warning"`` or ``"error"``.
        """
        from rich.text import Text

        colours = {"warning": "yellow", "error": "red"}
        printed = Text(text, style=colours.get(style, ""))
        if style == "result":
            printed.highlight_regex(r"^\S+( \d\S*)?", "bold")
            printed.highlight_regex(r"(?<=\s)-?\d[\d.,]*(e[+-]?\d+)?(?=\s|$)", "cyan")
            printed.highlight_regex(r" rows/s| in \d+:\d+(:\d+)?$", "dim")
        self._console.print(printed)

    def show(self, now: Now) -> None:
        """Draws the moving line."""
        first = self._bar is None
        if first:
            self._make()
        self._bar.update(
            self._task,
            description=now.title,
            completed=now.done,
            total=now.steps,
            count=f"{now.done:,}/{now.steps:,}" if now.steps else f"step {now.done:,}",
            told=now.told,
        )
        if not first:
            self._bar.refresh()
            return
        atexit.register(self.hide)  # for a run that nobody closes
        self._bar.start()
        self._console.show_cursor(True)  # rich hides it, and a killed program could not bring it back

    def hide(self) -> None:
        """Takes the moving line away and gives the terminal back. Idempotent."""
        if self._bar is not None:
            bar, self._bar = self._bar, None
            atexit.unregister(self.hide)
            bar.stop()

    def _make(self) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=_BAR_WIDTH, complete_style="cyan", finished_style="cyan"),
            TextColumn("{task.fields[count]}"),
            TextColumn("[dim]{task.fields[told]}", markup=True),
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),  # prints stay above the line; into a pipe or a file they go as ever
            redirect_stderr=sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("", total=None, count="", told="")
