"""pyspark's daemon, whose workers have torch from their start: failed tasks end workers, and the next need it again.

No thread may run before the fork: torch starts none, pandas and pyarrow are left to the workers. Where the tests' own
process has Keras, so have the workers: the threads that come with it are OpenBLAS's, which knows what a fork is.
"""

import gc
import importlib
import os

PRELOAD = "ZOO_TESTS_PRELOAD"
"""A variable: further modules, with commas between."""

if __name__ == "__main__":
    for name in ("torch._dynamo", *filter(None, os.environ.get(PRELOAD, "").split(","))):
        importlib.import_module(name)  # torch._dynamo: optimizers import it
    gc.freeze()  # a worker collects garbage behind each task, and would look at all of torch

    from pyspark.daemon import manager

    manager()
