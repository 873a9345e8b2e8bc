"""Random numbers that ranks draw alike, torch's among them.

Owns: torch's generator.
Leaves: the others, and how they are used (zoo.engine.data.draws).
"""

from __future__ import annotations

import torch

from zoo.engine.data import draws

GENERATORS = (
    *draws.GENERATORS,
    draws.Generator(torch.default_generator.manual_seed, torch.get_rng_state, torch.set_rng_state),
)
"""Python's, NumPy's and torch's (on CPUs)."""
