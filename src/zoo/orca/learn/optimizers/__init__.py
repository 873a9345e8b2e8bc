"""Old address of the optimizers; they live in `zoo.engine.optim`."""

from zoo.engine.optim import LBFGS, SGD, Adadelta, Adagrad, Adam, Adamax, Ftrl, ParallelAdam, RMSprop

__all__ = ["Adadelta", "Adagrad", "Adam", "Adamax", "Ftrl", "LBFGS", "ParallelAdam", "RMSprop", "SGD"]
