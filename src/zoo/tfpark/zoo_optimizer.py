"""Old address of `ZooOptimizer`; it lives in `zoo.engine.frameworks.graph.marks`."""

from zoo.engine.frameworks.graph.marks import ZooOptimizer

__all__ = ["ZooOptimizer"]
