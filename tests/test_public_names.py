"""Every promised name can be imported, and no public name comes or goes without a line of `public_names.txt`."""

import importlib
from pathlib import Path

import pytest

PROMISED = Path(__file__).with_name("public_names.txt").read_text().split()


def test_the_list_is_in_order_and_says_each_name_once():
    assert sorted(set(PROMISED)) == PROMISED


@pytest.mark.parametrize("name", PROMISED)
def test_a_promised_name_imports(name):
    module, _, attribute = name.partition(":")
    assert hasattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize("module", sorted({name.partition(":")[0] for name in PROMISED}))
def test_what_a_module_offers_is_promised(module):
    offered = {f"{module}:{name}" for name in getattr(importlib.import_module(module), "__all__", ())}
    assert offered - set(PROMISED) == set()
