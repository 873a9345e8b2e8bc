"""Orca: scale out ordinary programs. `init_orca_context` is the door."""

from zoo.orca.common import OrcaContext, init_orca_context, stop_orca_context

__all__ = ["OrcaContext", "init_orca_context", "stop_orca_context"]
