"""Image sets for tests, written with pyarrow alone: as ours are, and as Analytics Zoo wrote them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from zoo.orca.data.image.manifest import Chunk, Manifest
from zoo.orca.data.image.schema import DType, FeatureType, SchemaField, to_arrow

SCHEMA = {
    "image": SchemaField(FeatureType.IMAGE, DType.BYTES, ()),
    "label": SchemaField(FeatureType.NDARRAY, DType.FLOAT32, (None, 6)),
    "mask": SchemaField(FeatureType.NDARRAY, DType.UINT8, (2, 3)),
    "number": SchemaField(FeatureType.SCALAR, DType.INT32, ()),
    "image_id": SchemaField(FeatureType.SCALAR, DType.STRING, ()),
}


def picture(seed: int, height: int = 8, width: int = 12) -> np.ndarray:
    """Smooth colours, uint8 (height, width, 3)."""
    small = np.random.default_rng(seed).integers(0, 255, (3, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height)))


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    """As a file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def boxes(row: int) -> np.ndarray:
    """float32 (0 .. 3, 6)."""
    return np.arange(row % 4 * 6, dtype=np.float32).reshape(-1, 6) + row


def mask(row: int) -> np.ndarray:
    """uint8 (2, 3)."""
    return np.arange(6, dtype=np.uint8).reshape(2, 3) + row % 200


def write(path: Path, chunks: list[int], group: int = 4, images: dict[int, bytes] | None = None) -> str:
    """A set of ours; record k, counted over the chunks, is made of k.

    Args:
        path: of the set.
        chunks: rows of each.
        group: rows of a row group.
        images: other files in some records' place.
    """
    schema, row, sizes = to_arrow(SCHEMA), 0, []
    for number, rows in enumerate(chunks):
        numbers = range(row, row + rows)
        columns = [
            [{"bytes": (images or {}).get(k, encoded(picture(k))), "path": f"a/{k}.png"} for k in numbers],
            [boxes(k).tolist() for k in numbers],
            [mask(k).reshape(-1).tolist() for k in numbers],
            list(numbers),
            [f"id-{k}" for k in numbers],
        ]
        table = pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)
        file = path / f"chunk={number}" / "part-0.parquet"
        file.parent.mkdir(parents=True)
        pq.write_table(table, file, row_group_size=group)
        sizes.append(Chunk(rows, file.stat().st_size))
        row += rows
    (path / "_orca_metadata").write_text(Manifest(SCHEMA, tuple(sizes)).text())
    return str(path)


def write_upstream(path: Path, chunks: list[int]) -> str:
    """As Analytics Zoo wrote it: raw bytes, ``.npy`` bytes, several files a chunk, the fields alone as metadata."""
    row = 0
    for number, rows in enumerate(chunks):
        folder = path / f"chunk={number}"
        folder.mkdir(parents=True)
        for name, numbers in (("p-0", range(row, row + rows // 2)), ("p-1", range(row + rows // 2, row + rows))):
            table = pa.table({
                "image": pa.array([encoded(picture(k)) for k in numbers], pa.binary()),
                "label": pa.array([npy(boxes(k)) for k in numbers], pa.binary()),
                "number": pa.array(list(numbers), pa.int32()),
                "image_id": pa.array([f"id-{k}" for k in numbers], pa.string()),
            })  # fmt: skip
            pq.write_table(table, folder / f"{name}-c000.snappy.parquet")
        (folder / "_SUCCESS").touch()
        row += rows
    said = {
        "image": {"feature_type": "IMAGE", "dtype": "BYTES", "shape": []},
        "label": {"feature_type": {"__enum__": "FeatureType.NDARRAY"}, "dtype": "float32", "shape": [None, 6]},
        "number": {"feature_type": "scalar", "dtype": "int32", "shape": []},
        "image_id": {"feature_type": "SCALAR", "dtype": "STRING", "shape": []},
    }
    (path / "_orca_metadata").write_text(json.dumps(said))
    return str(path)


def npy(array: np.ndarray, *, pickled: bool = False) -> bytes:
    """As numpy saves it."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=pickled)
    return file.getvalue()
