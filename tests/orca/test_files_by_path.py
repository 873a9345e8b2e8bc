"""`zoo.orca.data.file` on local disks and on S3."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from zoo.engine.errors import DataError, StorageFailed, UsageError
from zoo.orca.data import file
from zoo.orca.learn.pytorch import Estimator


@pytest.fixture(params=["path", "file://", "s3", "s3a"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param.startswith("s3"):
        yield request.getfixturevalue("s3").replace("s3://", f"{request.param}://")
    else:
        yield ("file://" if request.param == "file://" else "") + str(tmp_path / "root")


def test_text(root: str) -> None:
    assert not file.exists(f"{root}/a/x.txt")
    assert file.write_text(f"{root}/a/x.txt", "größe\r\nzwei\u2028drei\n\nvier") == 22
    assert file.open_text(f"{root}/a/x.txt") == ["größe", "zwei\u2028drei", "", "vier"]
    assert file.exists(f"{root}/a/x.txt") and file.exists(f"{root}/a") and file.is_file(f"{root}/a/x.txt")
    assert not file.is_file(f"{root}/a")
    file.write_text(f"{root}/a/x.txt", "\ufeffnew")
    assert file.open_text(f"{root}/a/x.txt") == ["new"]
    with pytest.raises(StorageFailed, match="does not exist"):
        file.open_text(f"{root}/none")
    with pytest.raises(UsageError, match="takes a str.*bytes"):
        file.write_text(f"{root}/a/x.txt", b"x")


def test_text_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes("größe".encode("latin-1"))
    with pytest.raises(DataError, match="x is not UTF-8"):
        file.open_text(str(tmp_path / "x"))


def test_directories(root: str) -> None:
    file.makedirs(f"{root}/d/e")
    file.makedirs(f"{root}/d/e")
    for name in ("b", "a"):
        file.write_text(f"{root}/d/{name}", name)
    assert file.listdir(f"{root}/d") == ["a", "b", "e"]
    with pytest.raises(UsageError, match="removes directories"):
        file.rmdir(f"{root}/d/a")
    file.rmdir(f"{root}/d")
    assert not file.exists(f"{root}/d/a") and not file.exists(f"{root}/d/e")
    for call in (file.listdir, file.rmdir):
        with pytest.raises(StorageFailed, match="No such file or directory: .*/none"):
            call(f"{root}/none")


def test_arrays(root: str, tmp_path: Path) -> None:
    x, y = np.arange(6, dtype="f4").reshape(2, 3), np.array(["ü"])
    np.save(tmp_path / "x.npy", x)
    np.savez_compressed(tmp_path / "xy.npz", x=x, y=y)
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "text").write_text("text")
    for name in ("x.npy", "xy.npz", "objects.npy", "text"):
        file.put_local_file_to_remote(str(tmp_path / name), f"{root}/{name}")
    np.testing.assert_array_equal(file.load_numpy(f"{root}/x.npy"), x, strict=True)
    both = file.load_numpy(f"{root}/xy.npz")
    np.testing.assert_array_equal(both["x"], x, strict=True)
    assert sorted(both) == ["x", "y"] and both["y"][0] == "ü"
    for name in ("objects.npy", "text"):
        with pytest.raises(DataError, match=f"{name} holds no arrays.*allow_pickle=True.*trust"):
            file.load_numpy(f"{root}/{name}")
    assert file.load_numpy(f"{root}/objects.npy", allow_pickle=True)[0] == {"a": 1}


def test_pictures(root: str, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.full((4, 5, 3), 7, "u1")).save(tmp_path / "x.png")
    data = (tmp_path / "x.png").read_bytes()
    (tmp_path / "half.png").write_bytes(data[: len(data) // 2])
    for name in ("x.png", "half.png"):
        file.put_local_file_to_remote(str(tmp_path / name), f"{root}/{name}")
    found = file.open_image(f"{root}/x.png")
    assert found.size == (5, 4) and np.asarray(found).max() == 7
    with pytest.raises(DataError, match="half.png is no picture"):
        file.open_image(f"{root}/half.png")


def test_copies(root: str, tmp_path: Path) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    for name in ("a-1", "a-2.gz", "b", "deep/er/c"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(os.urandom(2_000_000 if name == "b" else 10))
    contents = {str(one.relative_to(source)): one.read_bytes() for one in source.rglob("*") if one.is_file()}

    file.put_local_dir_tree_to_remote(str(source), f"{root}/tree")
    file.get_remote_dir_to_local(f"{root}/tree", str(back))
    assert {str(one.relative_to(back)): one.read_bytes() for one in back.rglob("*") if one.is_file()} == contents
    file.put_local_dir_to_remote(str(source), f"{root}/flat")
    assert file.listdir(f"{root}/flat") == ["a-1", "a-2.gz", "b"]
    file.put_local_files_with_prefix_to_remote(str(source / "a-"), f"{root}/some")
    assert file.listdir(f"{root}/some") == ["a-1", "a-2.gz"]
    file.get_remote_files_with_prefix_to_local(f"{root}/flat/a-2", str(tmp_path / "one"))
    assert os.listdir(tmp_path / "one") == ["a-2.gz"]

    with pytest.raises(UsageError, match="is there already.*over_write=True"):
        file.put_local_file_to_remote(str(source / "b"), f"{root}/flat/a-1")
    file.put_local_file_to_remote(str(source / "b"), f"{root}/flat/a-1", over_write=True)
    file.get_remote_file_to_local(f"{root}/flat/a-1", str(tmp_path / "b"))
    assert (tmp_path / "b").read_bytes() == contents["b"]
    assert file.listdir(f"{root}/flat") == ["a-1", "a-2.gz", "b"]

    with pytest.raises(UsageError, match="no file begins with this prefix.*flat/z"):
        file.get_remote_files_with_prefix_to_local(f"{root}/flat/z", str(tmp_path / "none"))
    with pytest.raises(StorageFailed, match="none"):
        file.get_remote_file_to_local(f"{root}/none", str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


def test_permissions(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    file.put_local_file_to_remote(str(tmp_path / "x"), str(tmp_path / "y"), filemode=0o640)
    assert (tmp_path / "y").stat().st_mode & 0o777 == 0o640


def test_the_local_side_is_local(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a path of this machine"):
        file.put_local_file_to_remote("s3://bucket/x", str(tmp_path / "x"))
    with pytest.raises(UsageError, match="not a path of this machine"):
        file.get_remote_file_to_local(str(tmp_path / "x"), "s3://bucket/x")


def test_training_from_parquet_on_s3(inline: None, s3: str, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    x = np.random.default_rng(0).normal(size=100).astype("f4")
    pq.write_table(pa.table({"x": x, "y": 2 * x}), tmp_path / "x.parquet", row_group_size=30)
    file.put_local_file_to_remote(str(tmp_path / "x.parquet"), f"{s3}/set/x.parquet")

    class Line(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.slope = torch.nn.Parameter(torch.zeros(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.slope * x

    def slope(data: str) -> float:
        model = Line()
        est = Estimator.from_torch(
            model=model, optimizer=torch.optim.SGD(model.parameters(), 0.1), loss=torch.nn.MSELoss()
        )
        est.fit(data, epochs=10, batch_size=20, feature_cols=["x"], label_cols=["y"])
        assert est.predict(data, feature_cols=["x"]).num_rows == 100
        return model.slope.item()

    trained = slope(f"{s3}/set/x.parquet")
    assert trained == slope(str(tmp_path / "x.parquet")) and abs(trained - 2) < 0.1
