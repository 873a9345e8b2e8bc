"""What the tests of XShards compare."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


def same(got: Any, wanted: Any) -> None:
    """Equal types, names, dtypes and values, in nests of any form."""
    assert type(got) is type(wanted)
    if isinstance(wanted, dict):
        assert list(got) == list(wanted)
        got, wanted = list(got.values()), list(wanted.values())
    if isinstance(wanted, list | tuple):
        assert len(got) == len(wanted)
        for one, other in zip(got, wanted, strict=True):
            same(one, other)
    elif isinstance(wanted, pd.DataFrame):
        pd.testing.assert_frame_equal(got, wanted)
    elif isinstance(wanted, pd.Series):
        pd.testing.assert_series_equal(got, wanted)
    else:
        np.testing.assert_array_equal(got, wanted, strict=isinstance(wanted, np.ndarray))
