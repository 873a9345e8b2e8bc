"""zoo's daemon, whose workers have torch from their start: failed tasks end workers, and the next need it again.

No thread may run before the fork: torch starts none, pandas and pyarrow are left to the workers.
"""

import gc
import sys
from pathlib import Path

import torch._dynamo  # noqa: F401  optimizers import it

sys.path.append(str(Path(__file__).parents[2] / "src/zoo/engine/clusters/spark/daemon"))
import zoo_python_daemon

if __name__ == "__main__":
    gc.freeze()  # a worker collects garbage behind each task, and would look at all of torch
    zoo_python_daemon.main()
