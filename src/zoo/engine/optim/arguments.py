"""What an argument may be: written in its type, checked when the value is made.

    class Step(Schedule):
        step_size: Count          # Annotated[int, Rule("a whole number, at least 1", ...)]

Owns: the rules and the one error that lists all broken ones.
Leaves: rules between arguments (the classes themselves).
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, get_type_hints

from zoo.engine.errors import UsageError


@dataclass(frozen=True)
class Rule:
    """What a value must be: in words that complete "must be ...", and whether it is."""

    words: str
    holds: Callable[[Any], bool]


def is_number(value: object) -> bool:
    """Whether `value` is a finite real number, numpy's among them; True and False are none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def is_count(value: object, least: int) -> bool:
    """Whether `value` is a whole number of at least `least`."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= least


def are_rising(values: object) -> bool:
    """Whether `values` are whole numbers, at least 1, each above the last."""
    if not isinstance(values, Sequence) or isinstance(values, str) or not all(is_count(value, 1) for value in values):
        return False
    return list(values) == sorted(set(values))


Number: TypeAlias = Annotated[float, Rule("a finite number", is_number)]
Positive: TypeAlias = Annotated[float, Rule("a number above 0", lambda v: is_number(v) and v > 0)]
NotNegative: TypeAlias = Annotated[float, Rule("a number, at least 0", lambda v: is_number(v) and v >= 0)]
NotPositive: TypeAlias = Annotated[float, Rule("a number, at most 0", lambda v: is_number(v) and v <= 0)]
Fraction: TypeAlias = Annotated[float, Rule("a number in [0, 1)", lambda v: is_number(v) and 0 <= v < 1)]
Part: TypeAlias = Annotated[float, Rule("a number in (0, 1)", lambda v: is_number(v) and 0 < v < 1)]
Count: TypeAlias = Annotated[int, Rule("a whole number, at least 1", lambda v: is_count(v, 1))]
Whole: TypeAlias = Annotated[int, Rule("a whole number, at least 0", lambda v: is_count(v, 0))]
Borders: TypeAlias = Annotated[Sequence[int], Rule("whole numbers, at least 1, each above the last", are_rising)]
Monitor: TypeAlias = Annotated[str, Rule("'Loss' or 'score'", lambda v: v in ("Loss", "score"))]
Mode: TypeAlias = Annotated[str, Rule("'min' or 'max'", lambda v: v in ("min", "max"))]
Decay: TypeAlias = Annotated[
    str, Rule("'linear', 'cosine' or 'constant'", lambda v: v in ("linear", "cosine", "constant"))
]
Absent: TypeAlias = Annotated[
    None, Rule("None (for rates per parameter give a torch optimizer with parameter groups)", lambda v: v is None)
]


def check(value: object) -> None:
    """Raises one UsageError for all arguments of `value` that break the rule in their type."""
    hints = get_type_hints(type(value), include_extras=True)
    problems = [
        f"{type(value).__name__}: {name} must be {rule.words}. Received: {getattr(value, name)!r}"
        for name, hint in hints.items()
        for rule in getattr(hint, "__metadata__", ())
        if not rule.holds(getattr(value, name))
    ]
    if problems:
        raise UsageError.listing(problems)
