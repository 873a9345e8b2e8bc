"""Steps over volumes, against slices and scipy's interpolation."""

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.engine.errors import DataError, UsageError
from zoo.feature.image import ImageFeature
from zoo.feature.image3d.transformation import (
    AffineTransform3D,
    CenterCrop3D,
    Crop3D,
    RandomCrop3D,
    Rotate3D,
    Warp3D,
)

VOLUME = np.random.default_rng(0).random((7, 8, 9)).astype(np.float32)


def made(step: Any, volume: np.ndarray = VOLUME) -> np.ndarray:
    return pickle.loads(pickle.dumps(step)).apply(volume)["imageTensor"]


def test_crops() -> None:
    assert np.array_equal(made(Crop3D([1, 2, 3], [2, 3, 4])), VOLUME[1:3, 2:5, 3:7])
    assert np.array_equal(made(CenterCrop3D(4, 4, 4)), VOLUME[1:5, 2:6, 2:6])
    assert made(CenterCrop3D(4, 4, 4), VOLUME[..., None]).shape == (4, 4, 4, 1)
    parts = {RandomCrop3D(6, 8, 9).seeded(seed).apply(VOLUME)["imageTensor"].tobytes() for seed in range(20)}
    assert parts == {VOLUME[:6].tobytes(), VOLUME[1:].tobytes()}
    with pytest.raises(DataError, match=r"volume of shape \(7, 8, 9\)"):
        made(Crop3D([5, 0, 0], [3, 3, 3]))


@given(st.lists(st.floats(-1.5, 1.5), min_size=9, max_size=9), st.lists(st.floats(-3, 3), min_size=3, max_size=3))
def test_affine_mappings_interpolate_as_scipy_does(numbers: list[float], move: list[float]) -> None:
    scipy = pytest.importorskip("scipy.ndimage")
    matrix = np.array(numbers).reshape(3, 3)
    centre = (np.array(VOLUME.shape) - 1) / 2
    offset = centre + move - matrix @ centre
    wanted = scipy.affine_transform(VOLUME.astype(np.float64), matrix, offset, order=1, mode="nearest")
    assert np.allclose(made(AffineTransform3D(matrix, move)), wanted, atol=1e-5)


def test_padding_fills_what_comes_from_outside() -> None:
    moved = made(AffineTransform3D(np.eye(3), [2, 0, 0], "padding", -1.0))
    assert np.array_equal(moved[:5], VOLUME[2:]) and (moved[5:] == -1).all()
    clamped = made(AffineTransform3D(np.eye(3), [2, 0, 0]))
    assert np.array_equal(clamped[5], VOLUME[6])


def test_quarter_turns() -> None:
    cube = VOLUME[:7, :7, :7]
    quarter = np.pi / 2
    for angles, axes in [([quarter, 0, 0], (0, 1)), ([0, quarter, 0], (2, 0)), ([0, 0, quarter], (1, 2))]:
        assert np.allclose(made(Rotate3D(angles), cube), np.rot90(cube, -1, axes), atol=1e-5)
    assert np.allclose(made(Rotate3D([0, 0, 0])), VOLUME)
    back = made(Rotate3D([0, 0, -quarter]), made(Rotate3D([0, 0, quarter]), cube))
    assert np.allclose(back, cube, atol=1e-5)


def test_warps() -> None:
    field = np.zeros((3, *VOLUME.shape))
    assert np.array_equal(made(Warp3D(field)), VOLUME)
    assert (made(Warp3D(field, offset=False)) == VOLUME[0, 0, 0]).all()
    field[2] = 0.5
    halves = (VOLUME[:, :, :-1] + VOLUME[:, :, 1:]) / 2
    assert np.allclose(made(Warp3D(field, True, "padding", 9.0))[:, :, :-1], halves)
    assert (made(Warp3D(field, True, "padding", 9.0))[:, :, -1] == 9).all()


def test_chains_and_images() -> None:
    chain = Crop3D([0, 0, 0], [5, 5, 5]) >> Rotate3D([0.1, 0, 0]) >> CenterCrop3D(3, 3, 3)
    image = chain.apply(ImageFeature(imageTensor=VOLUME, label=1))
    assert image["imageTensor"].shape == (3, 3, 3) and image["label"] == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: Crop3D([1, 2], [1, 1, 1]),
        lambda: Crop3D([0, 0, 0], [1, 1, 0]),
        lambda: RandomCrop3D(1, 2, 0),
        lambda: Rotate3D([1, 2]),
        lambda: AffineTransform3D(np.eye(2)),
        lambda: AffineTransform3D(np.eye(3), clamp_mode="wrap"),
        lambda: AffineTransform3D(np.eye(3), pad_val=1.0),
        lambda: Warp3D(np.zeros((2, 3, 3, 3))),
    ],
)
def test_mistakes(make: Any) -> None:
    with pytest.raises(UsageError, match="Received"):
        make()


def test_what_is_no_volume() -> None:
    with pytest.raises(DataError, match=r"Received: shape \(3, 3\)"):
        made(CenterCrop3D(1, 1, 1), np.zeros((3, 3)))
    with pytest.raises(DataError, match="Received: none"):
        CenterCrop3D(1, 1, 1).apply(ImageFeature(np.zeros((3, 3), np.uint8)))
