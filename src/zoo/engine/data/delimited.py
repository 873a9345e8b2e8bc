"""What a program asks of a CSV file, in pandas' words, settled before the file is read.

Owns: which columns there are, which are used, their names, types and index, found from the file's first row alone; so
that whatever then reads the file, Spark or pandas, gives the same columns.
Leaves: reading (pieces; Spark's room).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zoo.engine.errors import ColumnNotFound, UsageError

MISSING = frozenset({
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
})  # fmt: skip
"""Texts that are missing values to pandas."""

_TRANSLATED = {"comment", "encoding", "keep_default_na", "na_values", "quotechar"}
_UNNAMED = "Unnamed: {}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvRequest:
    """The arguments of ``read_csv`` that decide on columns; others are in `options`.

    Attributes:
        sep: between cells.
        header: the row that holds the names: 0 for the first, None for no such row; others only pandas knows.
        names: of the columns, in place of the file's.
        usecols: positions, names, or a function of a name.
        index_col: position, name, or a list of them; None and False for none.
        dtype: one type for all, or by name or position among the used columns.
        squeeze: a single column becomes a Series.
        options: further arguments of pandas.
    """

    sep: str | None = ","
    header: Any = 0
    names: tuple[Any, ...] | None = None
    usecols: Any = None
    index_col: Any = None
    dtype: Any = None
    squeeze: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> CsvRequest:
        """From the arguments of a call of ``read_csv``.

        Raises:
            UsageError: `names` or `usecols` cannot be what they are.
        """
        given = dict(arguments)
        names = _listed(given.pop("names", None), "names")
        header = given.pop("header", "infer")
        sep = given.pop("delimiter", None) or given.pop("sep", ",")
        given.pop("sep", None)
        usecols = given.pop("usecols", None)
        return cls(
            sep=sep,
            header=(0 if names is None else None) if header == "infer" else header,
            names=names,
            usecols=usecols if callable(usecols) else _listed(usecols, "usecols"),
            index_col=given.pop("index_col", None),
            dtype=given.pop("dtype", None),
            squeeze=bool(given.pop("squeeze", False)),
            options=given,
        )

    @property
    def is_plain(self) -> bool:
        """Whether the first row decides on the columns, and nothing is asked that only pandas can do."""
        values = self.options.get("na_values", ())
        return (
            isinstance(self.sep, str)
            and len(self.sep) == 1
            and (self.header is None or (type(self.header) is int and self.header == 0))
            and self.options.keys() <= _TRANSLATED
            and not isinstance(values, Mapping)
        )

    @property
    def missing(self) -> frozenset[str]:
        """Texts that are missing values."""
        more = self.options.get("na_values") or ()
        named = {str(value) for value in ([more] if isinstance(more, str | int | float) else more)}
        return frozenset(named) | (MISSING if self.options.get("keep_default_na", True) else frozenset())

    def settled(self, first: Sequence[str | None]) -> CsvColumns:
        """The columns of a file with this first row.

        Raises:
            UsageError: names, positions or types that do not fit them.
        """
        names = self._all_names(first)
        used = self._used(names)
        chosen = [names[at] for at in used]
        return CsvColumns(
            tuple(names), tuple(used), _index(self.index_col, chosen), _types(self.dtype, chosen), self.squeeze
        )

    def _all_names(self, first: Sequence[str | None]) -> list[Any]:
        if self.names is None:
            return _mangled(first) if self.header == 0 else [str(at) for at in range(len(first))]
        if len(self.names) == len(first):
            return list(self.names)
        used = self.usecols
        positions = set(used) if isinstance(used, tuple) else set()
        if len(positions) == len(self.names) and positions <= set(range(len(first))):
            at = dict(zip(sorted(positions), self.names, strict=True))
            return [at.get(number, str(number)) for number in range(len(first))]
        if used is not None:
            raise UsageError(
                f"Passed names did not match usecols. Received: {len(self.names)} names, usecols={used!r}, and a file "
                f"of {len(first)} columns. Name all columns of the file, or exactly those of usecols=[positions]."
            )
        raise UsageError(
            f"the number of names does not match the file's columns. Received: {len(self.names)} names for "
            f"{len(first)} columns. Name each column, or give usecols=[positions] as well."
        )

    def _used(self, names: Sequence[Any]) -> list[int]:
        every, wanted = range(len(names)), self.usecols
        if wanted is None:
            return list(every)
        if callable(wanted):
            return [at for at in every if wanted(names[at])]
        if all(isinstance(one, int) and not isinstance(one, bool) for one in wanted):
            beyond = [one for one in wanted if not 0 <= one < len(names)]
            if beyond:
                raise UsageError(f"usecols: no column {beyond} in a file of {len(names)} columns: {list(names)}")
            return sorted(set(wanted))
        unknown = [one for one in wanted if one not in names]
        if unknown:
            raise ColumnNotFound.among(unknown, [str(name) for name in names], "usecols")
        return [at for at in every if names[at] in wanted]


@dataclass(frozen=True, slots=True)
class CsvColumns:
    """The columns of CSV files.

    Attributes:
        names: of all columns in the file.
        used: positions of those that are read, in the file's order.
        index: names of those that become the index.
        dtypes: by name; those of the others follow from their values.
        squeeze: a single column becomes a Series.
    """

    names: tuple[Any, ...]
    used: tuple[int, ...]
    index: tuple[Any, ...]
    dtypes: Mapping[Any, Any]
    squeeze: bool

    @property
    def chosen(self) -> list[Any]:
        """Names of the columns that are read."""
        return [self.names[at] for at in self.used]

    def finished(self, frame: Any) -> Any:
        """The frame with its index, or the Series."""
        if self.index:
            frame = frame.set_index(list(self.index) if len(self.index) > 1 else self.index[0])
        return squeezed(frame) if self.squeeze else frame


def squeezed(frame: Any) -> Any:
    """The only column of a DataFrame; the frame itself where it has several."""
    return frame.iloc[:, 0] if getattr(frame, "ndim", 0) == 2 and frame.shape[1] == 1 else frame


def by_name(dtype: Any, names: Sequence[Any]) -> Any:
    """`dtype` with positions replaced by names.

    Raises:
        UsageError: a position or name that is not there.
    """
    if not isinstance(dtype, Mapping):
        return dtype
    return _types(dtype, names)


def _types(dtype: Any, names: Sequence[Any]) -> dict[Any, Any]:
    if dtype is None:
        return {}
    if not isinstance(dtype, Mapping):
        return dict.fromkeys(names, dtype)
    found = {}
    for key, kind in dtype.items():
        if key in names:
            found[key] = kind
        elif isinstance(key, int) and 0 <= key < len(names):
            found[names[key]] = kind
        elif isinstance(key, int):
            raise UsageError(
                f"column index to be set type is not in current dataframe. Received: dtype={{{key}: ...}} for the "
                f"columns {list(names)}"
            )
        else:
            raise UsageError(
                f"column to be set type is not in current dataframe. Received: dtype={{{key!r}: ...}} for the columns "
                f"{list(names)}"
            )
    return found


def _index(index_col: Any, names: Sequence[Any]) -> tuple[Any, ...]:
    if index_col is None or index_col is False:
        return ()
    wanted = list(index_col) if isinstance(index_col, list | tuple) else [index_col]
    found = []
    for one in wanted:
        if one in names:
            found.append(one)
        elif isinstance(one, int) and -len(names) <= one < len(names):
            found.append(names[one])
        else:
            raise UsageError(f"index_col is not in current dataframe. Received: {one!r} for the columns {list(names)}")
    return tuple(found)


def _listed(value: Any, argument: str) -> tuple[Any, ...] | None:
    if value is None:
        return None
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        raise UsageError(f"{argument} must be a list. Received: {value!r}; write {argument}=[{value!r}]")
    listed = tuple(value)
    if argument == "names" and len(set(listed)) < len(listed):
        raise UsageError(f"names are each given once. Received: {list(listed)}")
    if argument == "usecols" and len({isinstance(one, str) for one in listed}) > 1:
        raise UsageError(f"usecols are all positions or all names. Received: {list(listed)}")
    return listed


def _mangled(first: Sequence[str | None]) -> list[str]:
    """A header's names, each once: ``a``, ``a.1``; those without a name by their position."""
    names = [_UNNAMED.format(at) if cell in (None, "") else str(cell) for at, cell in enumerate(first)]
    last: Counter[str] = Counter()
    made: list[str] = []
    for name in names:
        new = name
        while new in made or (new != name and new in names):
            last[name] += 1
            new = f"{name}.{last[name]}"
        made.append(new)
    return made
