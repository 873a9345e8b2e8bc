"""Aggregates of groups of rows, in three steps: within each shard, of the shards' results, the final value.

Owns: the aggregate functions and their names, the columns of the result (Spark's: ``sum(price)``, ``count``).
Leaves: bringing equal keys together (frames, zoo.engine.data.exchange), DataFrames (tables).

Nulls are no values: they are skipped, a group without values has a null (a count of 0). A null key is a key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from zoo.engine.errors import UsageError
from zoo.orca.data.collection import Collection
from zoo.orca.data.frames import exchanged
from zoo.orca.data.tables import ByKeys, OnFrames, Outline, listed, refused


class Aggregate(NamedTuple):
    """One column of the result.

    Attributes:
        column: that it is made of; None for whole rows.
        function: of `FUNCTIONS`.
        name: of the result's column.
    """

    column: Any
    function: str
    name: str


@dataclass(frozen=True, slots=True)
class Function:
    """An aggregate function.

    Attributes:
        name: in the result's columns.
        start: from a shard's column and each row's group to some columns with a row for each group.
        join: from such columns of several shards and each row's group to such columns again.
        end: from these to the final column.
        numeric: whether it is for numbers only.
    """

    name: str
    start: Callable[[Any, np.ndarray], list[Any]]
    join: Callable[[Sequence[Any], np.ndarray], list[Any]]
    end: Callable[..., Any] = lambda column: column
    numeric: bool = False


def _by(name: str, **arguments: Any) -> Callable[[Any, np.ndarray], Any]:
    """Pandas' aggregate of that name."""
    return lambda column, codes: getattr(column.groupby(codes), name)(**arguments)


def _each(fn: Callable[[Any, np.ndarray], Any]) -> Callable[[Sequence[Any], np.ndarray], list[Any]]:
    return lambda columns, codes: [fn(column, codes) for column in columns]


def _simple(name: str, pandas_name: str, numeric: bool = False, **arguments: Any) -> Function:
    """A function of which the whole is the same of its parts."""
    fn = _by(pandas_name, **arguments)
    return Function(name, lambda column, codes: [fn(column, codes)], _each(fn), numeric=numeric)


_total, _count = _by("sum", min_count=1), _by("count")
_sums = _each(_by("sum"))


def _moments(column: Any, codes: np.ndarray) -> list[Any]:
    """(count, mean, sum of squared distances from it) of each group."""
    column = column.astype("float64")
    count, mean = _count(column, codes), _by("mean")(column, codes)
    return [count, mean, _by("sum")((column - mean.reindex(codes).to_numpy()) ** 2, codes)]


def _join_moments(columns: Sequence[Any], codes: np.ndarray) -> list[Any]:
    """Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for sample variances", 1979."""
    counts, means, spreads = columns
    count = _by("sum")(counts, codes)
    mean = _by("sum")((means * counts).fillna(0.0), codes) / count.where(count > 0)
    apart = (means - mean.reindex(codes).to_numpy()) ** 2 * counts
    return [count, mean, _by("sum")(spreads + apart.fillna(0.0), codes)]


def _variance(degrees: int, root: bool = False) -> Callable[..., Any]:
    def end(count: Any, mean: Any, spread: Any) -> Any:
        found = spread / (count - degrees).where(count > degrees)
        return np.sqrt(found) if root else found

    return end


def _lists(column: Any, codes: np.ndarray) -> list[Any]:
    return [_listed(column, codes, lambda values: [value for value in values if not _null(value)])]


def _sets(column: Any, codes: np.ndarray) -> list[Any]:
    return [_listed(column, codes, lambda values: list(dict.fromkeys(value for value in values if not _null(value))))]


def _join_lists(columns: Sequence[Any], codes: np.ndarray) -> list[Any]:
    return [_listed(columns[0], codes, lambda lists: list(chain.from_iterable(lists)))]


def _join_sets(columns: Sequence[Any], codes: np.ndarray) -> list[Any]:
    return [_listed(columns[0], codes, lambda lists: list(dict.fromkeys(chain.from_iterable(lists))))]


def _listed(column: Any, codes: np.ndarray, fn: Callable[[Any], list[Any]]) -> Any:
    """A list for each group; `pandas` would make several columns of them."""
    import pandas as pd

    groups: dict[int, list[Any]] = {}
    for code, value in zip(codes.tolist(), column, strict=True):
        groups.setdefault(code, []).append(value)
    return pd.Series([fn(groups[code]) for code in sorted(groups)], index=sorted(groups), dtype=object)


def _null(value: Any) -> bool:
    import pandas as pd

    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


FUNCTIONS: Mapping[str, Function] = {
    "count": Function("count", lambda column, codes: [_count(column, codes)], _sums),
    "sum": Function("sum", lambda column, codes: [_total(column, codes)], _each(_total), numeric=True),
    "min": _simple("min", "min"),
    "max": _simple("max", "max"),
    "first": _simple("first", "first"),
    "last": _simple("last", "last"),
    "avg": Function("avg", _moments, _join_moments, lambda count, mean, spread: mean, True),
    "stddev": Function("stddev", _moments, _join_moments, _variance(1, root=True), True),
    "stddev_pop": Function("stddev_pop", _moments, _join_moments, _variance(0, root=True), True),
    "variance": Function("variance", _moments, _join_moments, _variance(1), True),
    "var_pop": Function("var_pop", _moments, _join_moments, _variance(0), True),
    "collect_list": Function("collect_list", _lists, _join_lists),
    "collect_set": Function("collect_set", _sets, _join_sets),
    "count_distinct": Function("count_distinct", _sets, _join_sets, lambda column: column.map(len).astype("int64")),
}

ALIASES = {
    "mean": "avg", "std": "stddev", "stddev_samp": "stddev", "var": "variance", "var_samp": "variance",
    "nunique": "count_distinct", "countDistinct": "count_distinct",
}  # fmt: skip


def aggregates(agg: Any, keys: Sequence[Any], outline: Outline) -> list[Aggregate]:
    """The columns that `agg` asks for.

    Args:
        agg: a function's name or a list of them, for all columns that are no keys (``"count"`` alone counts rows); or
            ``{column: name or list of names}``.
        keys: the columns that make the groups.
        outline: of the shards.

    Raises:
        UsageError: unknown functions, functions of numbers for other columns, another kind of `agg`.
        ColumnNotFound: a column of `agg` that is not there.
    """
    if agg == "count":
        return [Aggregate(None, "count", "count")]
    if isinstance(agg, str | list | tuple) and agg:
        others = [name for name in outline.columns if name not in keys]
        wanted = {name: [one for one in listed(agg) if _fits(one, outline, name)] for name in others}
    elif isinstance(agg, Mapping) and agg:
        outline.check("group_by", list(agg), "agg")
        wanted = {name: listed(functions) for name, functions in agg.items()}
    else:
        raise UsageError(f"agg must be a function's name, a list of names, or a dict of columns. Received: {agg!r}")
    found = [(name, _function(one)) for name, functions in wanted.items() for one in functions]
    for name, one in found:
        if not _fits(one, outline, name):
            raise UsageError(f"'{one}' is for columns of numbers. Received: column '{name}' in agg={agg!r}")
    if not found:
        raise UsageError(f"no column is left for agg={agg!r}: {list(outline.columns)} without {list(keys)}.")
    return list(dict.fromkeys(Aggregate(name, one, f"{FUNCTIONS[one].name}({name})") for name, one in found))


def _fits(function: str, outline: Outline, name: Any) -> bool:
    import pandas as pd

    kind = outline.dtypes[outline.columns.index(name)]
    return not FUNCTIONS[_function(function)].numeric or bool(pd.api.types.is_numeric_dtype(kind))


def _function(name: Any) -> str:
    known = ALIASES.get(name, name) if isinstance(name, str) else None
    if known not in FUNCTIONS:
        raise UsageError(f"no aggregate function {name!r}. Known: {', '.join([*FUNCTIONS, *ALIASES])}")
    return known


def refuse_taken(made: Sequence[Aggregate], taken: Sequence[Any]) -> None:
    """Refuses aggregates whose names are those of columns that the result has as well.

    Raises:
        UsageError: there are such.
    """
    both = [one.name for one in made if one.name in taken]
    if both:
        raise UsageError(
            f"group_by makes columns {both}, and the shards have columns of that name. Rename these first."
        )


@dataclass(frozen=True)
class Grouping:
    """How rows become groups and their aggregates.

    Between its steps a DataFrame has the columns ``k0, k1, ...`` (keys) and ``p0, p1, ...`` (partial aggregates).

    Attributes:
        keys: the columns that make the groups; none for one group of all rows.
        aggregates: the columns of the result.
    """

    keys: tuple[Any, ...]
    aggregates: tuple[Aggregate, ...]

    @property
    def key_names(self) -> list[str]:
        """Of the keys between the steps."""
        return [f"k{number}" for number in range(len(self.keys))]

    def start(self, frame: Any) -> Any:
        """(shard) The partial aggregates of a DataFrame."""
        columns = list(self.keys), [one.column for one in self.aggregates if one.column is not None]
        Outline.of(frame).check("group_by", columns[0], "columns")
        Outline.of(frame).check("group_by", columns[1], "agg")
        codes, keys = self._codes(frame, list(self.keys))
        with refused("group_by"):
            parts = [FUNCTIONS[one.function].start(self._column(frame, one), codes) for one in self.aggregates]
        return self._table(keys, list(chain.from_iterable(parts)))

    def end(self, partial: Any) -> Any:
        """(assembled) The result, of the partial aggregates of all shards."""
        codes, keys = self._codes(partial, self.key_names)
        made, at = {}, 0
        for one in self.aggregates:
            function, width = FUNCTIONS[one.function], self._width(one)
            columns = [partial[f"p{number}"] for number in range(at, at + width)]
            with refused("group_by"):
                made[one.name] = function.end(*function.join(columns, codes)).reset_index(drop=True)
            at += width
        return self._result(keys, made)

    def beside(self, frame: Any) -> Any:
        """(assembled) The rows themselves, with their groups' aggregates as further columns."""
        result = self.end(self.start(frame))
        codes, _ = self._codes(frame, list(self.keys))
        rows = result[[one.name for one in self.aggregates]].iloc[codes]
        return frame.assign(**{one.name: rows[one.name].array for one in self.aggregates})

    def _codes(self, frame: Any, names: list[Any]) -> tuple[np.ndarray, Any]:
        """(the group of each row, the keys of each group), groups in the order of their first rows."""
        if not names:
            return np.zeros(len(frame), np.int64), frame.iloc[: min(1, len(frame)), :0]
        with refused("group_by"):
            grouped = frame.groupby(names, sort=False, dropna=False, observed=True)
            codes = grouped.ngroup().to_numpy()
        first = np.unique(codes, return_index=True)[1]
        return codes, frame[names].iloc[first]

    def _column(self, frame: Any, one: Aggregate) -> Any:
        import pandas as pd

        column = pd.Series(np.ones(len(frame), np.int64)) if one.column is None else frame[one.column]
        return column.reset_index(drop=True)

    def _width(self, one: Aggregate) -> int:
        """Partial columns of an aggregate."""
        return 3 if FUNCTIONS[one.function].start is _moments else 1

    def _table(self, keys: Any, parts: Sequence[Any]) -> Any:
        import pandas as pd

        columns = [keys.iloc[:, number].reset_index(drop=True) for number in range(len(self.keys))]
        names = [*self.key_names, *(f"p{number}" for number in range(len(parts)))]
        found = pd.concat([*columns, *(part.reset_index(drop=True) for part in parts)], axis=1)
        found.columns = names
        return found

    def _result(self, keys: Any, made: Mapping[str, Any]) -> Any:
        import pandas as pd

        columns = [keys.iloc[:, number].reset_index(drop=True) for number in range(len(self.keys))]
        found = pd.concat([*columns, *made.values()], axis=1)
        found.columns = [*self.keys, *made]
        return found


def group_by(objects: Collection, columns: Any, agg: Any, join: bool) -> Collection:
    """The aggregates of all groups, or all rows with theirs beside them (`join`).

    Raises:
        UsageError: no DataFrames, an unknown function, `join` without columns, a name that is taken.
        ColumnNotFound: a column that is not there.
    """
    keys = listed(columns)
    if join and not keys:
        raise UsageError("join=True needs columns to group by. Received: columns=[]")
    outline = objects.outline
    outline.check("group_by", keys, "columns")
    made = aggregates(agg, keys, outline)
    refuse_taken(made, outline.columns if join else keys)
    groups = Grouping(tuple(keys), tuple(made))
    parts = objects.partitions if keys else 1
    if join:
        return exchanged(objects, ByKeys("group_by", keys, parts), parts, groups.beside)
    within = OnFrames("group_by", groups.start, keys, "columns")
    return exchanged(objects, ByKeys("group_by", groups.key_names, parts), parts, groups.end, within)
