"""Tables of Hive and of PostgreSQL train like any DataFrame; where rows come from is told, and no password ever is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pgserver
import pytest

from zoo.engine.clusters.spark import java
from zoo.engine.clusters.spark.origins import jdbc_name

pytestmark = pytest.mark.timeout(280)  # the first test waits for the program
PROGRAM = Path(__file__).with_name("tables_program.py")
PASSWORD = "pa55-of-the-tests"
TABLES = """
CREATE TABLE readings AS
    SELECT id, (id % 11)::float8 AS x, (id % 13)::float8 AS y, array_fill((id % 5)::float8, ARRAY[8]) AS v
    FROM generate_series(0, 19999) AS id;
CREATE TABLE prices AS SELECT id::bigint, id * 1.5 AS price FROM generate_series(0, 9) AS id;
CREATE VIEW broken AS SELECT (1 / (id - 5))::float8 AS x, 1::float8 AS y FROM generate_series(0, 9) AS id;
CREATE TABLE kinds (price numeric(10, 2), wide numeric, small smallint, big bigint, real4 real, yes boolean,
    at timestamp, zoned timestamptz, day date, v float8[], n int[], word text, hole float8);
INSERT INTO kinds VALUES
    (19.99, 1.5, 1, 9007199254740993, 0.5, true, '2024-02-29 12:30:00.000005', '2024-02-29 12:30:00+02', '2024-02-29',
     '{1, 2.5}', '{1, 2, 3}', '12', 1),
    (-0.01, 2, -1, -1, -0.5, false, '1969-12-31 23:59:59', '1970-01-01 00:00:00+00', '1970-01-02',
     '{3, 4}', '{4, 5, 6}', '7.5', NULL);
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    missing = [name for name in ("initdb", "postgres", "psql") if pgserver.binary(name) is None]
    jar, found = pgserver.driver(), java.find()
    if missing or jar is None:
        pytest.skip(f"no {', '.join(missing) or 'JDBC driver'} of PostgreSQL on this machine")
    assert found is not None, "Spark needs a Java"
    scratch = tmp_path_factory.mktemp("tables")
    with pgserver.serving(PASSWORD) as server:
        server.run(TABLES)
        own = {
            "JAVA_HOME": str(found.home),
            "PGPASSWORD": PASSWORD,
            "PYSPARK_PYTHON": sys.executable,
            "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "TZ": "UTC",
        }
        command = [sys.executable, str(PROGRAM), jar, str(server.port), str(scratch)]
        done = subprocess.run(
            command, env=os.environ | own, cwd=scratch, capture_output=True, text=True, timeout=240, check=False
        )
    assert done.returncode == 0, done.stderr[-5000:]
    return json.loads(done.stdout.splitlines()[-1]) | {"stderr": done.stderr, "scratch": scratch, "port": server.port}


def test_ranks_read_their_partitions_of_a_database_and_the_driver_reads_none(run: dict[str, Any]) -> None:
    seen = run["jdbc"]
    assert seen["partitions"] == 4 and seen["rows"] == seen["evaluated"] == seen["predicted"] == 20_000
    assert seen["of ranks"] == [10_000, 10_000]
    assert "maxResultSize" in seen["collected"], "rows through the driver would have been refused"


def test_where_the_rows_come_from_is_in_the_report_and_in_the_checkpoint(run: dict[str, Any]) -> None:
    name = f"public.readings at postgresql://127.0.0.1:{run['port']}/postgres"
    assert run["jdbc"]["report"] == [f"JDBC table {name} (no version known)"]
    assert run["jdbc"]["kept"] == [{"kind": "JDBC table", "name": name, "version": ""}]
    place = f"postgresql://127.0.0.1:{run['port']}/postgres"
    assert run["query"] == [f"JDBC table of a query at {place} (no version known)"]


def test_a_catalogs_table_is_named_as_spark_names_it(run: dict[str, Any]) -> None:
    assert run["catalog"] == ["Table pg.public.readings (no version known)"]


def test_no_password_is_shown_logged_or_kept(run: dict[str, Any]) -> None:
    assert len(run["shown"]) > 8 and " INFO SparkContext: Running Spark version" in run["stderr"]
    assert not [text for text in run["shown"] if PASSWORD in text]
    assert PASSWORD not in run["stderr"]
    files = [path for path in (run["scratch"] / "models").rglob("*") if path.is_file()]
    assert any(path.name == "progress.json" for path in files) and any(path.name == "events.jsonl" for path in files)
    assert not [path for path in files if PASSWORD.encode() in path.read_bytes()]


def test_an_error_of_the_database_arrives_in_its_words(run: dict[str, Any]) -> None:
    assert "division by zero" in run["broken"]


def test_types_of_postgres_become_arrays(run: dict[str, Any]) -> None:
    noon = 1_709_209_800 * 10**6
    assert run["kinds"] == {
        "price": ["float32", [pytest.approx(19.99), pytest.approx(-0.01)]],
        "wide": ["float32", [1.5, 2.0]],
        "small": ["int64", [1, -1]],
        "big": ["int64", [9007199254740993, -1]],
        "real4": ["float32", [0.5, -0.5]],
        "yes": ["float32", [1.0, 0.0]],
        "at": ["int64", [noon + 5, -1_000_000]],
        "zoned": ["int64", [noon - 7200 * 10**6, 0]],
        "day": ["int64", [19782, 1]],
        "v": ["float32", [[1.0, 2.5], [3.0, 4.0]]],
        "n": ["int64", [[1, 2, 3], [4, 5, 6]]],
        "word": ["object", ["12", "7.5"]],
    }


def test_columns_that_cannot_train_are_named_with_a_way_out(run: dict[str, Any]) -> None:
    assert "'word' holds text" in run["text"] and run["cast"] == 2
    assert "column 'hole' has 1 null" in run["null"]


def test_tables_of_hive_train_and_tell_since_when_they_are_so(run: dict[str, Any]) -> None:
    for name in ("texts", "columns", "days"):
        rows, told, kept = run[f"hive {name}"]
        assert rows == 100
        assert told.startswith(f"Hive table shop.{name} (so in the metastore since 20") and " UTC" in told
        assert kept[0]["kind"] == "Hive table" and kept[0]["version"] in told
    assert "files, " in run["hive columns"][1] and "bytes" in run["hive columns"][1]


def test_all_tables_of_a_join_are_told_and_rows_made_here_come_from_none(run: dict[str, Any]) -> None:
    assert [text.partition(" (")[0] for text in run["joined"]] == [
        "Hive table shop.columns",
        f"JDBC table prices at postgresql://127.0.0.1:{run['port']}/postgres",
    ]
    (files,) = run["files"]
    assert files.startswith("Parquet files file:") and "/shop.db/columns (" in files
    assert run["made here"] == []


def test_going_on_with_another_version_is_said(run: dict[str, Any]) -> None:
    (warning,) = run["other version"]
    assert warning.startswith("the checkpoint was trained on Hive table shop.columns (so in the metastore since ")
    assert "; training goes on with Hive table shop.columns (so in the metastore since " in warning


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("jdbc:postgresql://h:5432/db?user=u&password=hidden", "t at postgresql://h:5432/db"),
        ("jdbc:mysql://u:hidden@h/db", "t at jdbc:mysql"),
        ("jdbc:mysql://address=(host=h)(password=hidden)/db", "t at jdbc:mysql"),
        ("jdbc:sqlserver://h:1433;databaseName=d;password=hidden", "t at jdbc:sqlserver"),
        ("jdbc:oracle:thin:scott/hidden@//h:1521/s", "t at jdbc:oracle"),
        ("jdbc:db2://h:50000/db:user=u;password=hidden;", "t at jdbc:db2"),
        ("jdbc:postgresql://h/db;hidden\nhidden", "t at postgresql://h/db"),
        ("hidden", "t at jdbc"),
    ],
)
def test_a_database_is_named_without_its_secrets(url: str, shown: str) -> None:
    assert jdbc_name(url, "t") == shown
    assert jdbc_name("jdbc:h2:mem", "(SELECT 'hidden') AS t") == "of a query at jdbc:h2"
