"""Two tables joined by equal keys.

Owns: which columns, which kind of join, joining what has come together.
Leaves: cutting and moving rows (zoo.engine.data.exchange).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zoo.engine.data.exchange import Assemble
from zoo.engine.errors import UsageError
from zoo.orca.data.collection import Collection
from zoo.orca.data.frames import scatter
from zoo.orca.data.tables import ByKeys, Outline, listed, refused

_KINDS = {
    "inner": "inner", "left": "left", "right": "right", "outer": "outer",
    "left_outer": "left", "leftouter": "left", "right_outer": "right", "rightouter": "right",
    "full": "outer", "full_outer": "outer", "fullouter": "outer",
}  # fmt: skip


@dataclass(frozen=True)
class Join:
    """How two DataFrames become one.

    Attributes:
        how: as pandas names it.
        on: the key columns.
    """

    how: str
    on: tuple[Any, ...]

    @classmethod
    def of(cls, how: Any, on: Any, left: Outline, right: Outline) -> Join:
        """Checks what was asked for.

        Raises:
            UsageError: an unknown `how`, no columns to join on, no DataFrames.
            ColumnNotFound: columns that one side does not have.
        """
        if not isinstance(how, str) or how.lower() not in _KINDS:
            raise UsageError(f"how must be 'inner', 'left', 'right' or 'outer'. Received: {how!r}")
        left.check("merge")
        right.check("merge")
        names = listed(on) if on is not None else [name for name in left.columns if name in right.columns]
        if not names:
            raise UsageError(
                f"there is no column to merge on. Received: on={on!r}; the left has {list(left.columns)}, "
                f"the right {list(right.columns)}."
            )
        left.check("merge", names, "on")
        right.check("merge", names, "on")
        return cls(_KINDS[how.lower()], tuple(names))

    def __call__(self, left: Any, right: Any) -> Any:
        """Joins the rows of one partition."""
        with refused(f"merge on {list(self.on)}"):
            return left.merge(right, how=self.how, on=list(self.on))


def merge(left: Collection, right: Collection, how: Any, on: Any) -> Collection:
    """The rows of both with equal keys beside each other, in as many partitions as `left` has.

    Raises:
        UsageError: see `Join.of`.
        ColumnNotFound: likewise.
    """
    join = Join.of(how, on, left.outline, right.outline)
    parts = left.partitions
    by = ByKeys("merge", join.on, parts, "on")
    sides = [(one, scatter(one, by, parts, side)) for side, one in enumerate((left, right))]
    return left.regrouped(sides, Assemble(join), [1] * parts).settled(left, right)
