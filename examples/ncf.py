"""Neural collaborative filtering: which film will a user watch next? PyTorch, inline with a Spark program.

    python examples/ncf.py                               generated ratings, in about a minute
    python examples/ncf.py --data ml-1m/ratings.dat      MovieLens: ratings.dat, u.data or ratings.csv
    spark-submit examples/ncf.py --cluster-mode spark-submit --data hdfs://...

Two id columns -> embeddings -> multi-layer perceptron -> class (seen or not), after He et al., "Neural Collaborative
Filtering", WWW 2017. Its protocol: the last item of each user is held out and ranked among 99 items that the user
never saw. HR@10 is the share of users whose item is among the first ten; NDCG@10 also counts at which place.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from pyspark.ml.feature import StringIndexer
from pyspark.ml.functions import vector_to_array
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from torch import nn

from zoo.orca import OrcaContext, init_orca_context, stop_orca_context
from zoo.orca.learn.metrics import Accuracy
from zoo.orca.learn.optimizers import Adam
from zoo.orca.learn.pytorch import Estimator

FORMATS = {  # end of the file's name -> (separator, whether the first line holds names)
    "ratings.dat": ("::", False),  # ml-1m, ml-10m
    "u.data": ("\t", False),  # ml-100k
    "ratings.csv": (",", True),  # ml-latest, ml-20m, ml-25m, ml-32m
}
NEGATIVES_IN_TRAINING = 4  # for each item that a user saw
NEGATIVES_IN_TEST = 99
FIRST = 10


class NCF(nn.Module):
    """A user's and an item's embeddings, and their product (the paper's "GMF" half), through a perceptron."""

    def __init__(self, users: int, items: int, factors: int = 32) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(users, factors), nn.Embedding(items, factors)
        nn.init.normal_(self.user.weight, std=0.05)
        nn.init.normal_(self.item.weight, std=0.05)
        self.layers = nn.Sequential(
            nn.Linear(3 * factors, 64), nn.ReLU(),
            nn.Linear(64, 32), nn.ReLU(),
            nn.Linear(32, 2),
        )  # fmt: skip

    def forward(self, user: torch.Tensor, item: torch.Tensor) -> torch.Tensor:
        """(rows, 2) scores of "not seen" and "seen" for (rows,) ids."""
        u, i = self.user(user), self.item(item)
        return self.layers(torch.cat([u, i, u * i], dim=1))


# --- the data: user, item, time --------------------------------------------------------------------------------------


def movielens(spark: SparkSession, path: str) -> DataFrame:
    """Who rated what and when; ids counted from 0, the most frequent first."""
    known = [form for name, form in FORMATS.items() if path.endswith(name)]
    if not known:
        raise SystemExit(f"--data must end with {', '.join(FORMATS)}. Received: {path}")
    separator, header = known[0]
    names = "user_id INT, item_id INT, rating DOUBLE, time LONG"
    rows = spark.read.csv(path, schema=names, sep=separator, header=header)
    counted = StringIndexer(inputCols=["user_id", "item_id"], outputCols=["user", "item"]).fit(rows).transform(rows)
    return counted.select(F.col("user").cast("int"), F.col("item").cast("int"), "time")


def generated(spark: SparkSession, users: int, items: int, each: int, seed: int = 0) -> DataFrame:
    """Users that pick items by taste: 8 hidden factors and a little popularity decide, as in a low-rank matrix."""
    rng = np.random.default_rng(seed)
    taste = rng.normal(size=(users, 8)) @ rng.normal(size=(8, items)) + 0.7 * rng.normal(size=items)
    luck = rng.gumbel(size=(users, items))  # the `each` largest of liking + Gumbel noise: drawn without replacement
    chosen = np.argsort(-(1.5 * taste + luck), axis=1)[:, :each]
    times = rng.permuted(np.tile(np.arange(each), (users, 1)), axis=1)
    rows = np.stack([np.repeat(np.arange(users), each), chosen.ravel(), times.ravel()], axis=1)
    return spark.createDataFrame(rows.tolist(), "user INT, item INT, time LONG")


def unseen(items: int, seed: int, *, per_seen: int = 0, fixed: int = 0) -> Column:
    """For a row (user, seen): items the user has not seen; `fixed` different ones, or `per_seen` for each seen one."""

    @F.udf("array<int>")
    def draw(user, seen):  # type hints would make Spark look for a vectorised function
        rng = np.random.default_rng([seed, user])
        others = np.setdiff1d(np.arange(items), seen)
        if fixed:
            return rng.choice(others, min(fixed, len(others)), replace=False).tolist()
        return rng.choice(others, per_seen * len(seen)).tolist() if len(others) else []

    return draw("user", "seen")


def with_negatives(positives: DataFrame, seen: DataFrame, negatives: Column) -> DataFrame:
    """Columns user, item, label: 1 for the rows of `positives`, 0 for items that `negatives` draws."""
    drawn = seen.groupBy("user").agg(F.collect_list("item").alias("seen"))
    drawn = drawn.select("user", F.explode(negatives).alias("item"), F.lit(0).alias("label"))
    return positives.select("user", "item", F.lit(1).alias("label")).unionByName(drawn)


# --- the test --------------------------------------------------------------------------------------------------------


def ranked(candidates: DataFrame, score: Column | str) -> tuple[float, float]:
    """(HR@10, NDCG@10) of ranking each user's candidates by `score`; where scores are equal the seen item loses."""
    order = Window.partitionBy("user").orderBy(F.desc(score), F.asc("label"))
    place = candidates.withColumn("place", F.row_number().over(order)).where("label = 1")
    hit = F.col("place") <= FIRST
    gain = F.when(hit, 1 / F.log2(F.col("place") + 1)).otherwise(0.0)
    found = place.agg(F.avg(hit.cast("double")), F.avg(gain)).first()
    return found[0], found[1]


def main(options: argparse.Namespace) -> None:
    init_orca_context(options.cluster_mode, cores=2)
    spark = OrcaContext.get_spark_session()
    torch.manual_seed(0)

    size = {"users": 400, "items": 200, "each": 30} if options.small else {"users": 2000, "items": 1000, "each": 40}
    rated = (movielens(spark, options.data) if options.data else generated(spark, **size)).cache()
    users, items = (count + 1 for count in rated.agg(F.max("user"), F.max("item")).first())
    print(f"{rated.count():,} ratings of {items:,} items by {users:,} users")

    latest_first = F.row_number().over(Window.partitionBy("user").orderBy(F.desc("time"), F.desc("item")))
    numbered = rated.withColumn("age", latest_first)
    past, last = numbered.where("age > 1"), numbered.where("age = 1")
    train = with_negatives(past, past, unseen(items, seed=1, per_seen=NEGATIVES_IN_TRAINING))
    test = with_negatives(last, rated, unseen(items, seed=2, fixed=NEGATIVES_IN_TEST))

    model = NCF(users, items)
    estimator = Estimator.from_torch(
        model=model, optimizer=Adam(3e-3), loss=nn.CrossEntropyLoss(), metrics=Accuracy(),
        workers_per_node=options.workers,
    )  # fmt: skip
    estimator.fit(
        train, feature_cols=["user", "item"], label_cols=["label"], epochs=options.epochs, batch_size=options.batch_size
    )

    scored = estimator.predict(test, feature_cols=["user", "item"])
    scores = vector_to_array("prediction")
    model_found = ranked(scored, scores[1] - scores[0])
    popularity = past.groupBy("item").agg(F.count("*").alias("views"))
    popular_found = ranked(test.join(popularity, "item", "left").fillna(0, ["views"]), "views")
    for name, (hits, gain) in (("the model", model_found), ("popularity", popular_found)):
        print(f"{name:12} HR@{FIRST} {hits:.4f}   NDCG@{FIRST} {gain:.4f}")
    stop_orca_context()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="MovieLens ratings: a path or URL that Spark reads; generated ones by default")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=512, help="rows per step over all ranks")
    parser.add_argument("--workers", type=int, default=2, help="ranks on each node (Spark executor)")
    parser.add_argument("--cluster-mode", default="local", help="as in init_orca_context (default: local)")
    parser.add_argument("--small", action="store_true", help="fewer generated ratings, for a quick look")
    main(parser.parse_args())
