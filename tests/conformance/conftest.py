"""One suite, every cluster and every framework: the tables are in `places` and `rooms`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from clusters_under_test import CLUSTERS, Here
from rooms import FRAMEWORKS, Framework, marks

from zoo.engine import session


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`here, world` run over every cluster and its worlds, `here` alone over every cluster, `framework` over all.

    A test may name its clusters or frameworks itself.
    """
    if "framework" in metafunc.fixturenames and not _names_its(metafunc, "framework"):
        named = [pytest.param(name, marks=marks(name)) for name in FRAMEWORKS]
        metafunc.parametrize("framework", named, indirect=True)
    if "world" in metafunc.fixturenames:
        pairs = [(name, world) for name, place in CLUSTERS.items() for world in place.worlds]
        metafunc.parametrize("here, world", pairs, indirect=["here"], ids=[f"{name}-{world}" for name, world in pairs])
    elif "here" in metafunc.fixturenames and not _names_its(metafunc, "here"):
        metafunc.parametrize("here", CLUSTERS, indirect=True)


def _names_its(metafunc: pytest.Metafunc, what: str) -> bool:
    return any(what in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))


@pytest.fixture
def framework(request: pytest.FixtureRequest) -> Framework:
    """One of `FRAMEWORKS`; a gap that it declares is a strict expected failure."""
    found = FRAMEWORKS[request.param]()
    gap = found.gaps.get(request.node.callspec.params.get("model", ""))
    if gap is not None:
        request.applymarker(pytest.mark.xfail(strict=True, reason=gap))
    return found


@pytest.fixture
def here(request: pytest.FixtureRequest) -> Here:
    """One of `CLUSTERS`, at work."""
    place = CLUSTERS[request.param]
    running: Any = request.getfixturevalue("spark") if place.needs_spark else None
    return Here(request.param, place, running)


@pytest.fixture
def current(here: Here) -> Iterator[Here]:
    """Each of `CLUSTERS` in turn, as the current one."""
    session.begin(here.cluster, spark=here.session)
    yield here
    session.end()
