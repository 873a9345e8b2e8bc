"""Image sets on S3: written, read and trained on; servers that are not there; no key in any text."""

from __future__ import annotations

import logging
import socket
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import objectstore
import pictures
from zoo.engine import session, storage
from zoo.engine.errors import StorageFailed
from zoo.orca.data.image import folders, read_parquet, write_from_directory, write_parquet, write_voc
from zoo.orca.data.image.claims import Claim
from zoo.orca.data.image.listing import sizes_below
from zoo.orca.data.image.manifest import METADATA, Manifest, chunk_name

torch = pytest.importorskip("torch")

LABELS = {"cats": 0, "dogs": 1}


def uploaded(url: str, **sizes: int) -> dict[str, bytes]:
    """Folders of pictures; gives the bytes by name."""
    made = {f"{folder}/{at:02}.png": plain(at, folder == "dogs") for folder in sizes for at in range(sizes[folder])}
    for name, data in made.items():
        storage.write_atomically(storage.join(url, name), data)
    return made


def plain(seed: int, blue: bool) -> bytes:
    """A dark picture that is red, or blue."""
    import io

    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 40, (6, 8, 3), np.uint8)
    pixels[..., 2 if blue else 0] += 200
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, "PNG")
        return file.getvalue()


def halves(image: np.ndarray) -> np.ndarray:
    """Mean red and blue, in [0, 1]."""
    return (image[..., [0, 2]].mean((0, 1)) / 255).astype(np.float32)


def same(records: list[Any]) -> list[Any]:
    return records


def images(loader: Any) -> list[bytes]:
    return [record["image"] for batch in loader for record in batch]


@pytest.fixture
def by_url(object_store: objectstore.ObjectStore) -> Callable[[str], str]:
    """Makes a URL that holds the server and the keys: Spark's workers and ranks have none of their own."""
    host = object_store.endpoint.removeprefix("http://")
    options = f"?endpoint_override={host}&scheme=http"
    return lambda url: url.replace("s3://", f"s3://{objectstore.KEY}:{objectstore.SECRET}@") + options


# --- written and read ------------------------------------------------------------------------------------------------


def test_folders_on_s3_become_a_set_on_s3(s3: str, inline: None) -> None:
    made, out = uploaded(f"{s3}/in", cats=5, dogs=4), f"{s3}/set"
    write_parquet("image_folder", out, directory=f"{s3}/in", label_map=LABELS, shuffle=False, block_size=4)
    assert sorted(sizes_below(out)) == [METADATA, *map(chunk_name, range(3))]
    wanted = [made[name] for name in sorted(made)]
    asked = {"batch_size": 2, "collate_fn": same}
    assert images(read_parquet("dataloader", out, **asked)) == wanted
    assert sorted(images(read_parquet("dataloader", out, config={"num_workers": 2}, **asked))) == sorted(wanted)
    config = {"num_shards": 2, "rank": 0, "num_workers": 2}
    steps = [list(read_parquet("dataloader", out, config | {"rank": rank}, order="plan", **asked)) for rank in range(2)]
    alone = list(read_parquet("dataloader", out, order="plan", **asked))
    together = [sorted(r["image"] for rank in of for r in rank) for of in zip(*steps, strict=True)]
    assert together == [sorted(record["image"] for record in step) for step in alone]
    assert sorted(images(alone)) == sorted(wanted)


def test_voc_on_s3_is_appended_to_and_replaced(s3: str, tmp_path: Path, inline: None) -> None:
    for year in (2007, 2012):
        pictures.voc(tmp_path, year)
    for file in tmp_path.rglob("*.*"):
        storage.write_atomically(f"{s3}/kit/{file.relative_to(tmp_path)}", file.read_bytes())
    out = f"{s3}/set"
    write_voc(f"{s3}/kit", [(2007, "trainval")], out, block_size=3)
    write_voc(f"{s3}/kit", [(2012, "trainval")], out, block_size=3, write_mode="append")
    assert [chunk.rows for chunk in Manifest.read(out).chunks or ()] == [3, 2, 3, 2]
    records = [record for (record,) in read_parquet("dataloader", out, collate_fn=same)]
    assert [len(record["label"]) for record in records] == [*range(5)] * 2
    assert records[5]["image_id"].startswith(f"{s3}/kit/VOC2012/JPEGImages/")
    write_voc(f"{s3}/kit", [(2012, "trainval")], out, block_size=9)
    assert sorted(sizes_below(out)) == [METADATA, chunk_name(0)]
    assert len(list(read_parquet("dataloader", out, collate_fn=same))) == 5


def test_tensorflow_reads_a_set_on_s3(s3: str, inline: None) -> None:
    tf = pytest.importorskip("tensorflow")
    made = uploaded(f"{s3}/in", cats=3, dogs=2)
    write_from_directory(f"{s3}/in", LABELS, f"{s3}/set", shuffle=False, block_size=2)
    kinds = {"image": tf.string, "label": tf.int32}
    found = [(one["image"].numpy(), int(one["label"])) for one in read_parquet("tf_dataset", f"{s3}/set", kinds)]
    assert found == [(made[name], LABELS[name.split("/")[0]]) for name in sorted(made)]


# --- trained on ------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["processes", "spark"])
def place(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "spark":
        request.getfixturevalue("on_spark")
    else:
        session.begin_local(2)
    yield request.param
    session.end()


def test_a_set_on_s3_is_written_and_trained_on_by_ranks(
    place: str,
    s3: str,
    by_url: Callable[[str], str],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from zoo.orca.learn.pytorch import Estimator

    caplog.set_level(logging.DEBUG, "zoo")
    uploaded(f"{s3}/in", cats=16, dogs=16)
    url = by_url(f"{s3}/set")
    write_from_directory(by_url(f"{s3}/in"), LABELS, url, block_size=8)
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    est = Estimator.from_torch(model=model, loss=torch.nn.CrossEntropyLoss(), optimizer=optimizer)
    asked = {"feature_cols": ["image"], "label_cols": ["label"], "transform": halves}
    stats = est.fit(url, epochs=12, batch_size=8, workers=2, **asked)
    assert stats[-1]["num_samples"] == 32 and stats[-1]["train_loss"] < 0.3 < stats[0]["train_loss"]
    out, err = capfd.readouterr()
    assert objectstore.SECRET not in caplog.text + out + err


# --- what can go wrong -----------------------------------------------------------------------------------------------


def silent(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    objectstore.ObjectStore(f"http://127.0.0.1:{port}").use(monkeypatch)


def test_a_server_that_is_not_there_is_named(
    tmp_path: Path, inline: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    pictures.folders(tmp_path / "in", cats=2)
    here, there, one = str(tmp_path / "in"), "s3://bucket/set", {"cats": 0}
    uses: list[Callable[[], Any]] = [
        lambda: write_from_directory(here, one, there),
        lambda: write_from_directory("s3://bucket/in", one, str(tmp_path / "out")),
        lambda: write_voc("s3://bucket/kit", [(2007, "val")], str(tmp_path / "out")),
        lambda: read_parquet("dataloader", there),
        lambda: read_parquet("tf_dataset", there, {"image": "string"}),
    ]
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        silent(port, monkeypatch)
        for use in uses:
            with pytest.raises(StorageFailed, match=f"127.0.0.1:{port}, which is named by AWS_ENDPOINT_URL") as caught:
                use()
            shown = "".join(traceback.format_exception(caught.value)) + caplog.text
            assert objectstore.SECRET not in shown and objectstore.KEY not in shown
    assert not (tmp_path / "out").exists()


def test_a_server_that_goes_away_while_a_set_is_written_is_named(
    s3: str, tmp_path: Path, inline: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pictures.folders(tmp_path / "in", cats=4)
    read = folders.FolderSource.reader
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

        def leave(self: Any, rows: Any) -> Any:
            silent(port, monkeypatch)
            return read(self, rows)

        with monkeypatch.context() as patch:
            patch.setattr(folders.FolderSource, "reader", leave)
            with pytest.raises(StorageFailed, match=f"127.0.0.1:{port}, which is named by AWS_ENDPOINT_URL"):
                write_from_directory(str(tmp_path / "in"), {"cats": 0}, f"{s3}/set", block_size=2)
    assert "The claim of this call stays behind" in caplog.text and objectstore.SECRET not in caplog.text


def test_a_refusal_and_the_values_that_travel_show_no_key(
    s3: str, by_url: Callable[[str], str], inline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo.orca.data.image import writing
    from zoo.orca.data.image.reading import ImageSet

    uploaded(f"{s3}/in", cats=2)
    travelled = []
    spread = writing.spread
    monkeypatch.setattr(writing, "spread", lambda fn, tasks: travelled.append(fn) or spread(fn, tasks))
    url = by_url(f"{s3}/set")
    write_from_directory(by_url(f"{s3}/in"), {"cats": 0}, url)
    assert f"s3://***@{s3[5:]}/set" in repr(travelled) and objectstore.SECRET not in repr(travelled)
    found = ImageSet.open(url)
    assert found.rows == 2 and objectstore.SECRET not in repr(found)
    with storage.open_for_writing(f"{s3}/set/{Claim('0' * 16, 7, 0, '0' * 12, 0, 'elsewhere').name}"):
        pass
    with pytest.raises(ValueError, match="process 7 on elsewhere, since 1970-01-01") as caught:
        write_from_directory(by_url(f"{s3}/in"), {"cats": 0}, url)
    assert objectstore.SECRET not in "".join(traceback.format_exception(caught.value))
