"""Training from tables of Hive and of PostgreSQL: a program with a Spark session of its own, run by tests.

Usage: python tables_program.py JAR PORT SCRATCH, with the server's password in PGPASSWORD.
Prints one JSON object: what was seen.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from pyspark.sql import DataFrame, SparkSession
from torch import nn

from zoo.engine import checkpoint
from zoo.engine.clusters import spark as clusters
from zoo.engine.data.adapters import adapt
from zoo.engine.data.columns import describe, to_array
from zoo.orca import init_orca_context, stop_orca_context
from zoo.orca.learn.pytorch import Estimator

JAR, PORT, SCRATCH = sys.argv[1], sys.argv[2], Path(sys.argv[3])
PASSWORD = os.environ["PGPASSWORD"]
URL = f"jdbc:postgresql://127.0.0.1:{PORT}/postgres"
OPEN = f"{URL}?user=postgres&password={PASSWORD}"  # as many programs write it
LOG = Path(clusters.__file__).with_name("log4j2-quiet.properties")  # it says all, at the level that is asked for
SEEN: dict[str, Any] = {}
SHOWN: list[str] = []  # whatever a user may see or send on


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(9, 1)

    def forward(self, x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return self.out(torch.cat([x[:, None], v], 1))[:, 0]


COLUMNS = {"feature_cols": ["x", "v"], "label_cols": ["y"]}


def begun() -> SparkSession:
    pg = "spark.sql.catalog.pg"
    settings = {
        "spark.jars": JAR,
        "spark.driver.extraJavaOptions": f"-XX:TieredStopAtLevel=1 -Djava.io.tmpdir={SCRATCH} "
        f"-Dderby.system.home={SCRATCH} -Dlog4j2.configurationFile={LOG.as_uri()} -Dzoo.log.level=INFO",
        "spark.driver.maxResultSize": "300k",
        "spark.hadoop.javax.jdo.option.ConnectionURL": f"jdbc:derby:;databaseName={SCRATCH}/metastore;create=true",
        "spark.executorEnv.PYTHONPATH": str(Path(__file__).parents[1] / "sparkdaemon"),
        "spark.local.dir": str(SCRATCH),
        "spark.python.daemon.module": "warm_daemon",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.warehouse.dir": str(SCRATCH / "warehouse"),
        "spark.ui.enabled": "false",
        pg: "org.apache.spark.sql.execution.datasources.v2.jdbc.JDBCTableCatalog",
        f"{pg}.url": URL, f"{pg}.driver": "org.postgresql.Driver",
        f"{pg}.user": "postgres", f"{pg}.password": PASSWORD,
    }  # fmt: skip
    builder = SparkSession.builder.master("local[2]").enableHiveSupport()
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def of_postgres(spark: SparkSession, **options: Any) -> DataFrame:
    return spark.read.format("jdbc").options(url=OPEN, driver="org.postgresql.Driver", **options).load()


def estimator(name: str = "", net: nn.Module | None = None) -> Estimator:
    torch.manual_seed(1)
    return Estimator.from_torch(
        model=net or Net(), optimizer=torch.optim.Adam, loss=nn.MSELoss(), workers_per_node=2,
        model_dir=str(SCRATCH / "models" / name) if name else None,
    )  # fmt: skip


def kept_of(made: Estimator) -> Any:
    return checkpoint.load(made.latest_checkpoint()).plan["sources"]


def error_of(call: Callable[[], Any]) -> str:
    try:
        call()
    except Exception as error:
        SHOWN.append("".join(traceback.format_exception(error)))
        return f"{type(error).__name__}: {error}"
    return "no error"


def trains_from_postgres(spark: SparkSession) -> None:
    bounds = {"partitionColumn": "id", "lowerBound": 0, "upperBound": 20_000, "numPartitions": 4}
    frame = of_postgres(spark, dbtable="public.readings", **bounds)
    made = estimator("jdbc")
    (stats,) = made.fit(frame, epochs=1, batch_size=500, **COLUMNS)
    report = made.report()
    SHOWN.extend([str(report), repr(report), repr(made), repr(adapt(frame, "x").shards), report._repr_html_()])
    SEEN["jdbc"] = {
        "partitions": frame.rdd.getNumPartitions(),
        "rows": stats["num_samples"],
        "of ranks": [rank["rows"] for rank in report.ranks],
        "report": [text for name, text in report.lines if name == "data"],
        "kept": kept_of(made),
        "evaluated": made.evaluate(frame, **COLUMNS)["num_samples"],
        "predicted": made.predict(frame, feature_cols=["x", "v"]).selectExpr("count(prediction)").first()[0],
        "collected": error_of(frame.collect),
    }
    SEEN["query"] = of(of_postgres(spark, query="SELECT x, 'in a query' AS y FROM readings"))
    SEEN["catalog"] = of(spark.table("pg.public.readings"))
    broken = of_postgres(spark, dbtable="broken")
    SEEN["broken"] = error_of(lambda: estimator().fit(broken, feature_cols="x", label_cols="y"))


def of(frame: DataFrame) -> list[str]:
    return [str(source) for source in adapt(frame, frame.columns[0]).sources()]


def reads_types_of_postgres(spark: SparkSession) -> None:
    frame = of_postgres(spark, dbtable="kinds")
    names = ["price", "wide", "small", "big", "real4", "yes", "at", "zoned", "day", "v", "n", "word"]
    shards = adapt(frame, names).shards
    specs = describe(shards.schema, names)
    rows = pa.Table.from_batches([batch for _, batch in shards.open(0, 1)])
    arrays = {spec.name: to_array(rows.column(spec.name), spec) for spec in specs}
    SEEN["kinds"] = {name: [array.dtype.name, array.tolist()] for name, array in arrays.items()}
    fit = estimator(net=nn.Sequential(nn.Linear(1, 1), nn.Flatten(0))).fit
    SEEN["text"] = error_of(lambda: fit(frame, feature_cols="word", label_cols="price"))
    SEEN["null"] = error_of(lambda: fit(frame, feature_cols="hole", label_cols="price", batch_size=2))
    SEEN["cast"] = fit(
        frame.selectExpr("array(cast(word as float)) w", "price"), feature_cols="w", label_cols="price", batch_size=2
    )[0]["num_samples"]


def trains_from_hive(spark: SparkSession) -> None:
    spark.sql("CREATE DATABASE shop")
    numbers = spark.range(0, 101, 1, 3)
    rows = numbers.selectExpr("id", "double(id % 7) x", "array_repeat(float(id), 8) v", "double(id) y")
    columns = "(id bigint, x double, v array<float>, y double)"
    spark.sql(f"CREATE TABLE shop.texts {columns} STORED AS TEXTFILE")
    spark.sql(f"CREATE TABLE shop.columns {columns} STORED AS PARQUET")
    spark.sql(f"CREATE TABLE shop.days {columns} PARTITIONED BY (day date) STORED AS ORC")
    for name in ("texts", "columns"):
        rows.write.insertInto(f"shop.{name}")
    rows.selectExpr("*", "date'2024-02-29' day").write.insertInto("shop.days", overwrite=True)
    for name in ("texts", "columns", "days"):
        made = estimator(f"hive-{name}")
        made.fit(spark.table(f"shop.{name}").where("id > 0"), batch_size=20, **COLUMNS)
        SEEN[f"hive {name}"] = [made.report().rows, dict(made.report().lines)["data"], kept_of(made)]
    prices = of_postgres(spark, dbtable="prices")
    SEEN["joined"] = of(spark.table("shop.columns").join(prices, "id").cache())
    SEEN["files"] = of(spark.read.parquet(str(SCRATCH / "warehouse/shop.db/columns")))
    SEEN["made here"] = of(rows)
    goes_on_with_another_version(spark, rows)


def goes_on_with_another_version(spark: SparkSession, rows: DataFrame) -> None:
    heard: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("zoo").addHandler(handler)
    made = estimator("hive-columns")
    rows.write.insertInto("shop.columns")
    made.load_checkpoint(str(SCRATCH / "models/hive-columns"))
    made.fit(spark.table("shop.columns").where("id > 0"), batch_size=20, **COLUMNS)
    SEEN["other version"] = heard


def main() -> None:
    spark = begun()
    init_orca_context()
    trains_from_postgres(spark)
    reads_types_of_postgres(spark)
    trains_from_hive(spark)
    stop_orca_context()
    spark.stop()
    print(json.dumps(SEEN | {"shown": SHOWN}))


logging.basicConfig()
main()
