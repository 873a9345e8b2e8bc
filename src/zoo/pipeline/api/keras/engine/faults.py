"""What an error of Keras says, in one line.

Owns: finding the cause among the paragraphs that Keras puts around it.
Leaves: which layer it was (layers.words, net.assembly, net.graph_net).
"""

from __future__ import annotations

import re

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_AROUND = ("Exception encountered when calling", "Could not automatically infer", "Arguments received by")


def reason(error: BaseException) -> str:
    """The first line that tells the cause."""
    lines = [line.strip() for line in _COLOURS.sub("", str(error)).splitlines()]
    told = [line for line in lines if line and not line.startswith(_AROUND)]
    return told[0] if told else type(error).__name__


def wrapped(error: BaseException) -> bool:
    """Whether Keras has put its paragraphs around the cause."""
    return any(text in str(error) for text in _AROUND)
