"""pyspark's daemon, whose workers have torch from their start: failed tasks end workers, and the next need it again.

Where the tests' own process has Keras, so have the workers. The threads that run before the fork are OpenBLAS's and
jemalloc's (of pyarrow): both know what a fork is.
"""

import gc
import importlib
import os

MODULES = ("pandas", "torch._dynamo", "zoo.engine.clusters.local_rank", "zoo.engine.loop", "zoo.orca.learn.pytorch")
"""What ranks import; torch's optimizers import torch._dynamo."""

PRELOAD = "ZOO_TESTS_PRELOAD"
"""A variable: further modules, with commas between."""

if __name__ == "__main__":
    for name in (*MODULES, *filter(None, os.environ.get(PRELOAD, "").split(","))):
        importlib.import_module(name)
    gc.freeze()  # a worker collects garbage behind each task, and would look at all of torch

    from pyspark.daemon import manager

    manager()
