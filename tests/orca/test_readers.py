"""Files as XShards of DataFrames: the same from Spark and from pandas, and each mistake is named."""

from __future__ import annotations

import gzip
import shutil
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import objectstore
from zoo.engine import session, storage
from zoo.engine.clusters.spark import readers
from zoo.engine.data import ddl, pieces
from zoo.engine.data.delimited import CsvRequest
from zoo.engine.data.objects import collected
from zoo.engine.errors import ColumnNotFound, DataError, StorageFailed, UsageError, WorkerFailed
from zoo.orca import OrcaContext
from zoo.orca.data import XShards, file
from zoo.orca.data.pandas import read_csv, read_json, read_parquet
from zoo.orca.data.pandas.preprocessing import read_csv as read_csv_by_its_older_address

ROWS = pd.DataFrame({
    "id": range(8),
    "x": [1.5, -2.0, None, 4e10, 5.25, 0.0, 7.0, 8.0],
    "größe": ["a", "NA", "ü", "d,e", 'q"q', " s ", "", "日本"],
    "on": [True, False] * 4,
    "code": ["007", "1", "22", "333", "4", "5", "6", "7"],
})  # fmt: skip


@pytest.fixture(params=["python", "spark"])
def place(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "spark":
        request.getfixturevalue("spark")
        session.adopt()
    else:
        session.begin_local(2)
    yield request.param
    session.end()


@pytest.fixture
def python() -> Iterator[None]:
    session.begin_local(2)
    yield
    session.end()


@pytest.fixture(params=["python-spark", "python-pandas", "spark-spark"])
def reader(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where files are read, and by which backend."""
    place, backend = request.param.split("-")
    OrcaContext.pandas_read_backend = backend
    if place == "spark":
        request.getfixturevalue("spark")
        session.adopt()
    else:
        session.begin_local(2)
    yield request.param
    session.end()
    OrcaContext.pandas_read_backend = "spark"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """8 rows in two files, one of them packed, beside files that are no data."""
    folder = tmp_path / "data [1]"
    folder.mkdir()
    ROWS[:5].to_csv(folder / "a.csv", index=False)
    ROWS[5:].to_csv(folder / "b.csv.gz", index=False)
    for name in ("_SUCCESS", ".a.csv.crc", "empty.csv", "notes.txt"):
        (folder / name).write_text("no, data\n" * (name != "empty.csv"))
    return folder


def whole(shards: XShards, by: str | None = "id") -> Any:
    """All rows; Spark takes the largest file first."""
    found = pd.concat(shards.collect())
    return found if by is None else found.sort_values(by).reset_index(drop=True)


def same(got: Any, wanted: Any) -> None:
    (pd.testing.assert_series_equal if wanted.ndim == 1 else pd.testing.assert_frame_equal)(got, wanted)


def plain(folder: Path, **how: Any) -> pd.DataFrame:
    return pd.concat([pd.read_csv(folder / name, **how) for name in ("a.csv", "b.csv.gz")], ignore_index=True)


# --- CSV --------------------------------------------------------------------------------------------------------------


EVERYWHERE = pytest.mark.parametrize(
    "reader", ["python-spark", "python-pandas", "spark-spark", "spark-pandas"], indirect=True
)


@EVERYWHERE
def test_a_directory(reader: str, folder: Path) -> None:
    shards = read_csv(str(folder))
    assert shards.num_partitions() == len(shards.collect()) == 2 and len(shards) == 8
    same(whole(shards), plain(folder))
    assert read_csv_by_its_older_address is read_csv


def test_a_file_a_glob_and_a_list(place: str, folder: Path) -> None:
    expected = plain(folder)
    same(whole(read_csv(f"file://{folder.parent}/data*/?.csv*")), expected)
    same(whole(read_csv([str(folder / "b.csv.gz"), folder / "a.csv"])), expected)


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # arguments, and those of plain pandas
    "names of columns": ({"usecols": ["x", "id"]}, {}),
    "positions of columns": ({"usecols": [3, 0]}, {}),
    "a function of the name": ({"usecols": lambda name: name in ("id", "on")}, {}),
    "types by name": ({"dtype": {"code": str, "x": "float32"}}, {}),
    "types by position": ({"dtype": {0: "int16", 4: "category"}}, {"dtype": {"id": "int16", "code": "category"}}),
    "one type": ({"dtype": str}, {}),
    "other names": ({"names": list("abcde"), "header": 0}, {}),
    "names of some columns": ({"names": ["a", "b"], "usecols": [0, 2], "header": 0}, {}),
    "missing values": ({"na_values": ["a", 5], "keep_default_na": False, "usecols": [0, 2, 4]}, {}),
}


ON_SPARK = ("types by name", "types by position", "one type", "names of some columns", "missing values")


@pytest.mark.parametrize(
    ("place", "case"),
    [*(("python", case) for case in CASES), *(("spark", case) for case in ON_SPARK)],
    indirect=["place"],
)
def test_arguments_mean_what_they_mean_to_pandas(place: str, folder: Path, case: str) -> None:
    given, to_pandas = CASES[case]
    got = whole(read_csv(str(folder), **given), by=None)
    expected = plain(folder, **(given | to_pandas))
    by = expected.columns[0]
    for frame in (got, expected):
        if isinstance(frame.dtypes.iloc[-1], pd.CategoricalDtype) or case == "types by position":
            frame[frame.columns[-1]] = frame[frame.columns[-1]].astype(str)  # categories are those of each file
    same(got.sort_values(by).reset_index(drop=True), expected.sort_values(by).reset_index(drop=True))


def test_an_index_and_a_squeezed_column(place: str, folder: Path) -> None:
    (series,) = read_csv(folder / "a.csv", usecols=["id", "x"], index_col="id", squeeze=True).collect()
    same(series, pd.read_csv(folder / "a.csv", usecols=["id", "x"], index_col="id")["x"])
    (frame,) = read_csv(folder / "a.csv", index_col=[0, 3]).collect()
    same(frame, pd.read_csv(folder / "a.csv", index_col=[0, 3]))
    (two,) = read_csv(folder / "a.csv", usecols=[0, 1], squeeze=True).collect()
    assert two.shape == (5, 2)


def test_columns_without_a_header_are_numbered_as_text(place: str, folder: Path) -> None:
    (frame,) = read_csv(folder / "a.csv", header=None).collect()
    assert list(frame.columns) == ["0", "1", "2", "3", "4"] and len(frame) == 6
    (frame,) = read_csv(folder / "a.csv", header=None, skiprows=1).collect()  # what only pandas can do
    assert list(frame.columns) == ["0", "1", "2", "3", "4"] and list(frame["0"]) == [0, 1, 2, 3, 4]


TRICKY = {
    "empty": ["", "", ""], "one missing": ["1", "", "3"], "na": ["NA", "2", "null"], "text na": ["x", "None", "y"],
    "float": ["1", "2.5", "1e3"], "inf": ["inf", "-inf", "1"], "dots": ["1.", ".5", "+2"], "letters": ["1d", "2f", "3"],
    "digits": ["1" * 25, "1", "2"], "bool": ["True", "false", "TRUE"], "bool na": ["True", "", "False"],
    "bool text": ["True", "yes", "no"], "zeros": ["007", "1", "2"], "dates": ["2020-01-01", "2021-02-03", ""],
    "dash": ["-", "1", "2"], "hex": ["0x1", "2", "3"], "quotes": ['"a ""b"""', "c", "d"], "comma": ['"a,b"', "c", "d"],
    "ünï code": ["é", "日本", "🙂"], "a.b": ["1", "2", "3"], "same": ["1", "2", "3"], "1": ["x", "y", "z"],
}  # fmt: skip


def test_types_follow_pandas_rules(place: str, tmp_path: Path) -> None:
    lines = [",".join(TRICKY), *(",".join(row) for row in zip(*TRICKY.values(), strict=True))]
    path = tmp_path / "tricky.csv"
    path.write_text("\ufeff" + "\n".join(lines) + "\n\n", "utf-8")
    (got,) = read_csv(path).collect()
    same(got, pd.read_csv(path))


def test_doubled_and_missing_names(place: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,a,,A,a.1\n1,2,3,4,5\n")
    (got,) = read_csv(tmp_path / "x.csv").collect()
    same(got, pd.read_csv(tmp_path / "x.csv"))
    (got,) = read_csv(tmp_path / "x.csv", usecols=[1, 4], sep=",").collect()
    same(got, pd.read_csv(tmp_path / "x.csv", usecols=[1, 4]))


def test_all_shards_have_the_same_types(reader: str, tmp_path: Path) -> None:
    for name, cell in (("a", "1"), ("b", ""), ("c", "2.5")):
        (tmp_path / f"{name}.csv").write_text(f"n,s\n{cell},{cell}{name}\n")
    dtypes = {tuple(map(str, frame.dtypes)) for frame in read_csv(str(tmp_path)).collect()}
    assert dtypes == {("float64", "object")}


def test_a_header_alone(reader: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n")
    shards = read_csv(tmp_path / "x.csv")
    assert len(shards) == 0 and [list(frame.columns) for frame in shards.collect()] in ([["a", "b"]], [])


def test_shards_of_at_most_so_many_rows(reader: str, folder: Path) -> None:
    OrcaContext._shard_size = 2
    try:
        shards = read_csv(str(folder))
        assert sorted(map(len, shards.collect())) == [1, 1, 2, 2, 2]
        assert shards.num_partitions() == 2 and len(shards) == 8
    finally:
        OrcaContext._shard_size = None


def test_lazily(place: str, folder: Path) -> None:
    OrcaContext._eager_mode = False
    try:
        shards = read_csv(str(folder)).transform_shard(lambda frame: frame[["id"]] * 2)
        assert not shards.is_cached() and sorted(whole(shards)["id"]) == list(range(0, 16, 2))
    finally:
        OrcaContext._eager_mode = True


def test_a_large_file_is_cut_in_pieces(on_spark: Any, tmp_path: Path) -> None:
    table = pd.DataFrame({"id": range(60_000), "text": "some text"})
    table.to_csv(tmp_path / "x.csv", index=False)
    on_spark.conf.set("spark.sql.files.maxPartitionBytes", 300_000)
    try:
        shards = read_csv(tmp_path / "x.csv")
        assert shards.num_partitions() > 2
        same(whole(shards), table)
    finally:
        on_spark.conf.unset("spark.sql.files.maxPartitionBytes")


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [read_csv, read_json, read_parquet])
def test_no_such_path(reader: str, tmp_path: Path, read: Any) -> None:
    how = {"lines": True} if read is read_json else {}
    for path in (tmp_path / "none", tmp_path / "none*.csv", [tmp_path / "none"]):
        with pytest.raises(UsageError, match="No such file or directory.*none"):
            read(path, **how)
    (tmp_path / "_hidden.csv").write_text("a\n1\n")
    with pytest.raises(UsageError, match="no data file in .*'_' or '.'"):
        read(tmp_path, **how)


def test_empty_files(reader: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("")
    with pytest.raises(UsageError, match="No columns to parse from file.*empty in .*x.csv"):
        read_csv(tmp_path / "x.csv")


def test_malformed_lines(reader: str, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n3,4,5\n")
    with pytest.raises(DataError, match="Error tokenizing data(.|\n)*bad.csv"):
        read_csv(tmp_path / "bad.csv")
    with gzip.open(tmp_path / "cut.csv.gz", "wb") as file:
        file.write(b"a,b\n" + bytes(range(48, 58)) * 5000)
    whole_file = (tmp_path / "cut.csv.gz").read_bytes()
    (tmp_path / "cut.csv.gz").write_bytes(whole_file[: len(whole_file) // 2])
    with pytest.raises((DataError, WorkerFailed), match="cut.csv.gz"):
        read_csv(tmp_path / "cut.csv.gz")


def test_files_with_different_columns(reader: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    (tmp_path / "b.csv").write_text("a,c\n1,2\n")
    with pytest.raises(DataError, match="(?s)different headers|has the columns.*usecols"):
        read_csv(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"seperator": ";"}, "no argument 'seperator'.*Known"),
        ({"names": ["a"] * 6}, "names are each given once"),
        ({"names": list("abcdef")}, "number of names does not match.*6 names for 5 columns"),
        ({"names": list("ab"), "usecols": ["a"]}, "Passed names did not match usecols.*2 names"),
        ({"usecols": ["id", "lable"]}, "no column 'lable'"),
        ({"usecols": [0, 9]}, r"no column \[9\] in a file of 5 columns"),
        ({"usecols": "id"}, r"usecols=\['id'\]"),
        ({"usecols": [0, "id"]}, "all positions or all names"),
        ({"dtype": {9: "int"}}, "column index to be set type is not in current dataframe.*9"),
        ({"dtype": {"y": "int"}}, "column to be set type is not in current dataframe.*'y'"),
        ({"index_col": "y"}, "index_col is not in current dataframe.*'y'"),
        ({"chunksize": 10}, "reads all rows.*chunksize=10"),
    ],
)
def test_mistakes_in_arguments(python: None, folder: Path, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=f"(?s){words}"):
        read_csv(str(folder), **arguments)


def test_mistakes_on_spark(on_spark: Any, folder: Path) -> None:
    with pytest.raises(ColumnNotFound, match="'lable'"):
        read_csv(str(folder), usecols=["lable"])
    with pytest.raises(UsageError, match="no argument 'multiline'.*'multiLine'"):
        read_csv(str(folder), multiline=True)
    (folder / "lines.csv").write_text('a,b\n1,"two\nlines"\n')
    (frame,) = read_csv(folder / "lines.csv", multiLine=True).collect()
    assert frame["b"].tolist() == ["two\nlines"]
    with pytest.raises(DataError, match="multiLine=True"):
        read_csv(folder / "lines.csv")


def test_paths_that_only_spark_knows(on_spark: Any, folder: Path) -> None:
    """As with HDFS, which only Spark's Hadoop may reach: nothing is looked at from Python."""
    request, there = CsvRequest.of({"usecols": ["id", "code"], "dtype": {"code": str}}), folder.parent / "there"
    urls = [f"file://{there}"]
    with pytest.raises(UsageError, match="Path does not exist: No such file or directory: .*there"):
        readers.csv_first_row(on_spark, urls, request)
    there.mkdir()
    (there / "empty.csv").write_text("")
    with pytest.raises(UsageError, match="No columns to parse from file"):
        readers.csv_first_row(on_spark, urls, request)
    for name in ("a.csv", "b.csv.gz", "_SUCCESS"):
        shutil.copy(folder / name, there)
    first = readers.csv_first_row(on_spark, urls, request)
    assert first == list(ROWS.columns)
    frames = readers.csv_frames(on_spark, urls, request, first, None)
    found = pd.concat([item.value for item in collected(frames)])
    assert sum(readers.counts(frames)) == 2 and sorted(found["code"]) == sorted(ROWS["code"])


def test_a_name_node_that_is_not_there(on_spark: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        for read in (read_csv, read_json, read_parquet):
            with pytest.raises(StorageFailed, match=f"could not reach 127.0.0.1:{port}, which is named by the path"):
                read(f"hdfs://127.0.0.1:{port}/x", **({"lines": True} if read is read_json else {}))


@pytest.mark.parametrize("path", [None, 3, [], [None], "", {"a": 1}])
def test_what_is_no_path(python: None, path: Any) -> None:
    for read in (read_csv, read_json, read_parquet):
        with pytest.raises(UsageError, match="file_path must be a path, or a list"):
            read(path)


def test_a_type_that_does_not_fit(place: str, folder: Path) -> None:
    with pytest.raises(DataError, match="invalid literal|could not convert|int"):
        read_csv(str(folder), dtype={"größe": "int64"})


# --- JSON, Parquet ----------------------------------------------------------------------------------------------------


def test_json_lines(reader: str, tmp_path: Path) -> None:
    ROWS[:5].to_json(tmp_path / "a.json", orient="records", lines=True, force_ascii=False)
    ROWS[5:].drop(columns="x").to_json(tmp_path / "b.jsonl.gz", orient="records", lines=True)
    shards = read_json(tmp_path, lines=True, dtype={"code": str})
    expected = ROWS.assign(x=[*ROWS["x"][:5], None, None, None])
    same(whole(shards)[ROWS.columns], expected)
    assert {tuple(sorted(frame.columns)) for frame in shards.collect()} == {tuple(sorted(ROWS.columns))}
    (tmp_path / "c.json").write_text('{"id": 1}\n{"id": \n')
    with pytest.raises(DataError, match="c.json|lines of JSON"):
        read_json(tmp_path / "c.json", lines=True)


@pytest.mark.parametrize(
    ("place", "orient"),
    [("python", "columns"), ("python", "split"), ("python", "records"), ("spark", "columns")],
    indirect=["place"],
)
def test_json_of_every_orientation(place: str, tmp_path: Path, orient: str) -> None:
    ROWS.to_json(tmp_path / "a.json", orient=orient)
    (got,) = read_json(tmp_path / "a.json", orient=orient, dtype={"code": str}).collect()
    same(got, ROWS)


@EVERYWHERE
def test_parquet(reader: str, tmp_path: Path) -> None:
    rows = ROWS.assign(at=pd.date_range("2024-03-30 23:00", periods=8, freq="h"))
    for number, part in enumerate((rows[:3], rows[3:])):
        (tmp_path / f"day={number}").mkdir()
        table = pa.Table.from_pandas(part, preserve_index=False)
        pq.write_table(table, tmp_path / f"day={number}" / "x.parquet", row_group_size=2)
    (tmp_path / "_SUCCESS").write_text("")
    got = whole(read_parquet(tmp_path))
    assert list(got["day"]) == [0] * 3 + [1] * 5
    got["at"] = got["at"].astype("datetime64[ns]")
    got["größe"] = got["größe"].astype(object)
    same(got.drop(columns="day"), rows)
    got = whole(read_parquet(str(tmp_path), columns=["x", "id"]))
    assert list(got.columns) == ["x", "id"]
    got = whole(read_parquet(str(tmp_path), schema="id bigint, code string, new double"))
    assert list(got.columns)[:3] == ["id", "code", "new"] and got["new"].isna().all() and got["code"][0] == "007"
    with pytest.raises(ColumnNotFound, match="'lable'"):
        read_parquet(tmp_path, columns=["lable"])
    with pytest.raises(UsageError, match="columns must be a list"):
        read_parquet(tmp_path, columns="id")


def test_options_of_spark_where_there_is_none(python: None, tmp_path: Path) -> None:
    ROWS.to_parquet(tmp_path / "x.parquet")
    with pytest.raises(UsageError, match=r"where Spark does not read.*\['mergeSchema'\]"):
        read_parquet(tmp_path / "x.parquet", mergeSchema=True)


# --- S3 ---------------------------------------------------------------------------------------------------------------


def test_files_on_s3(python: None, s3: str, folder: Path, tmp_path: Path) -> None:
    file.put_local_dir_to_remote(str(folder), f"{s3}/csv")
    same(whole(read_csv(f"{s3}/csv")), plain(folder))
    same(whole(read_csv(f"{s3}/csv/*.gz", usecols=["id", "on"])), ROWS[5:][["id", "on"]].reset_index(drop=True))
    ROWS.to_json(tmp_path / "x.json", orient="records", lines=True)
    ROWS.to_parquet(tmp_path / "x.parquet")
    for name in ("x.json", "x.parquet"):
        file.put_local_file_to_remote(str(tmp_path / name), f"{s3}/{name}")
    assert len(read_json(f"{s3}/x.json", lines=True)) == len(read_parquet(f"{s3}/x.parquet")) == 8
    for read in (read_csv, read_parquet):
        with pytest.raises(UsageError, match=f"No such file or directory.*{s3}/none"):
            read(f"{s3}/none")


def test_files_on_s3_where_spark_has_no_client(
    on_spark: Any, object_store: objectstore.ObjectStore, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The URL's own server and keys reach the executors, whose environment has none."""
    caplog.set_level("INFO", "zoo")
    host, name = object_store.endpoint.removeprefix("http://"), uuid.uuid4().hex
    options = f"?endpoint_override={host}&scheme=http"
    for one in ("a.csv", "b.csv.gz"):
        url = f"s3://KEY:{objectstore.SECRET}@bucket/{name}/{one}{options}"
        storage.write_atomically(url, (folder / one).read_bytes())
    shards = read_csv(f"s3://KEY:{objectstore.SECRET}@bucket/{name}{options}")
    same(whole(shards), plain(folder))
    assert "Spark has no file system for s3://***@bucket" in caplog.text and objectstore.SECRET not in caplog.text


# --- laws -------------------------------------------------------------------------------------------------------------

CELLS = st.lists(st.sampled_from(["a", "b", "a.1", "A", "", "a.2"]), min_size=1, max_size=6)


@given(CELLS)
def test_names_are_mangled_as_pandas_does(header: list[str]) -> None:
    from io import StringIO

    text = ",".join(f'"{cell}"' if cell else "" for cell in header) + "\n" + ",".join("1" * len(header)) + "\n"
    if not any(header):
        return
    wanted = pd.read_csv(StringIO(text)).columns
    names = CsvRequest.of({}).settled(header).names
    assert len(set(names)) == len(names) == len(wanted)
    if "a.1" not in header and "a.2" not in header:
        assert list(names) == list(wanted)


COLUMN = st.sampled_from([[1, 2], [1.5, None], ["x", "y"], [True, False], [True, None], [None, None]])
FRAMES = st.lists(st.dictionaries(st.sampled_from("abc"), COLUMN, max_size=3), min_size=1, max_size=4)


@given(FRAMES)
def test_frames_made_alike_have_the_columns_and_rows_of_all(found: list[dict[str, list]]) -> None:
    frames = [pd.DataFrame(columns, index=range(2)) for columns in found]
    goal = pieces.common([pieces.shape_of(frame) for frame in frames])
    made = [goal.of(frame) for frame in frames]
    assert len({(tuple(frame.columns), tuple(frame.dtypes)) for frame in made}) == 1
    for before, after in zip(frames, made, strict=True):
        assert set(after.columns) == {name for columns in found for name in columns}
        for name in before.columns:
            assert [None if pd.isna(one) else one for one in after[name]] == [
                None if pd.isna(one) else one for one in before[name]
            ]


TYPES = st.recursive(
    st.sampled_from([pa.int32(), pa.int64(), pa.string(), pa.float64(), pa.bool_(), pa.decimal128(12, 3), pa.date32()]),
    lambda inner: st.one_of(
        inner.map(pa.list_),
        st.tuples(inner, inner).map(lambda pair: pa.map_(*pair)),
        st.lists(inner, min_size=1, max_size=3).map(
            lambda kinds: pa.struct([pa.field(f"f{number}", kind) for number, kind in enumerate(kinds)])
        ),
    ),
    max_leaves=4,
)


@given(st.lists(TYPES, min_size=1, max_size=3))
def test_ddl_comes_back(kinds: list[pa.DataType]) -> None:
    from pyspark.sql.pandas.types import from_arrow_schema

    wanted = pa.schema([(f"c{number}", kind) for number, kind in enumerate(kinds)])
    spark = from_arrow_schema(wanted)
    assert ddl.to_arrow(spark) == wanted
    written = ", ".join(f"`{one.name}` {one.dataType.simpleString().upper()} NOT NULL" for one in spark)
    assert ddl.to_arrow(written) == pa.schema([(f"c{number}", _upper(kind)) for number, kind in enumerate(kinds)])


def _upper(kind: pa.DataType) -> pa.DataType:
    """`simpleString().upper()` writes the names of fields large, too."""
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(one.name.upper(), _upper(one.type)) for one in kind])
    if pa.types.is_list(kind):
        return pa.list_(_upper(kind.value_type))
    if pa.types.is_map(kind):
        return pa.map_(_upper(kind.key_type), _upper(kind.item_type))
    return kind


@pytest.mark.parametrize("schema", ["", "id", "id bigint, x complex", 3])
def test_what_is_no_schema(schema: Any) -> None:
    with pytest.raises(UsageError, match="schema"):
        ddl.to_arrow(schema)


def test_blocks_cover_all_files() -> None:
    for count in range(5):
        for most in range(1, 4):
            blocks = pieces.spread(list(range(count)), most)
            assert [one for block in blocks for one in block] == list(range(count))
            assert len(blocks) == min(most, count) and all(blocks)
    assert np.all([pieces.blocks(rows, 2) == len(pieces.cut(ROWS[:rows], 2)) for rows in range(9)])
