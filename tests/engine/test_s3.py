"""S3: the same files as on a disk, unreachable servers in seconds, and no key in any text."""

from __future__ import annotations

import logging
import pickle
import socket
import traceback
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import objectstore
from zoo.engine import filesystems, storage
from zoo.engine.data.files import FileShards
from zoo.engine.errors import MissingDependency, StorageFailed, UsageError

USES: dict[str, Callable[[str], object]] = {
    "exists": storage.exists,
    "list": storage.list_names,
    "read": storage.read_bytes,
    "write": lambda url: storage.write_atomically(url, b"x"),
    "remove": storage.remove_tree,
    "Parquet": FileShards,
}


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[BaseException], str]:
    """All that a user may get to see of an error: its text, cause, traceback, and the log."""
    caplog.set_level(logging.DEBUG)
    return lambda error: "\n".join([repr(error), *traceback.format_exception(error), caplog.text])


def test_files_come_back(s3: str) -> None:
    url = storage.join(s3, "deep", "ünder scores?.txt")
    assert not storage.exists(url) and storage.list_names(s3) == []
    storage.write_atomically(url, b"one")
    storage.write_atomically(url, b"two")
    assert storage.read_bytes(url) == b"two" and storage.is_file(url)
    assert storage.read_bytes(url.replace("s3://", "s3a://")) == b"two"
    assert storage.list_names(s3) == ["deep"] and not storage.is_file(storage.join(s3, "deep"))
    assert storage.list_names(storage.join(s3, "deep")) == ["ünder scores?.txt"]
    with storage.open_for_writing(url) as file:
        file.write(b"three")
    assert storage.read_bytes(url) == b"three"
    storage.make_dirs(storage.join(s3, "deep", "er"))
    storage.remove_tree(storage.join(s3, "deep"))
    storage.remove_tree(storage.join(s3, "deep"))
    assert not storage.exists(url)


def test_a_copy_that_breaks_leaves_the_old_file(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = storage.join(s3, "file"), tmp_path / "new"
    new.write_bytes(b"n" * (3 << 20))
    storage.write_atomically(old, b"old")

    def break_off(source: object, target: object, size: int) -> None:
        target.write(source.read(size))  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(storage.shutil, "copyfileobj", break_off)
        for url in (old, storage.join(s3, "fresh")):
            with pytest.raises(KeyboardInterrupt):
                storage.copy(str(new), url, over_write=True)
    assert storage.list_names(s3) == ["file"] and storage.read_bytes(old) == b"old"
    storage.copy(str(new), old, over_write=True)
    assert storage.list_names(s3) == ["file"] and storage.read_bytes(old) == new.read_bytes()


def test_what_travels_holds_no_key(s3: str) -> None:
    files, path = storage.file_system(storage.join(s3, "x.parquet"))
    with files.open_output_stream(path) as file:
        pq.write_table(pa.table({"a": [1, 2]}), file)
    shards = FileShards(storage.join(s3, "x.parquet"))
    packed = pickle.dumps(shards)
    assert objectstore.SECRET.encode() not in packed and objectstore.KEY.encode() not in packed
    assert [batch.to_pylist() for _, batch in pickle.loads(packed).open(0, 1)] == [[{"a": 1}, {"a": 2}]]


@pytest.mark.parametrize("use", USES)
def test_a_wrong_secret_is_told_without_it(
    use: str, object_store: objectstore.ObjectStore, monkeypatch: pytest.MonkeyPatch, told: Callable
) -> None:
    object_store.use(monkeypatch, "wrongwrongwrong/secret+1234")
    object_store.check_keys("0")
    try:
        with pytest.raises(StorageFailed, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") as caught:
            USES[use]("s3://bucket/some/where")
    finally:
        object_store.check_keys("inf")
    assert "s3://bucket/some/where" in str(caught.value)
    assert "wrongwrong" not in told(caught.value)


@pytest.mark.parametrize("use", USES)
def test_a_server_that_is_not_there(use: str, monkeypatch: pytest.MonkeyPatch, told: Callable) -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        objectstore.ObjectStore(f"http://127.0.0.1:{port}").use(monkeypatch)
        with pytest.raises(StorageFailed, match=f"127.0.0.1:{port}, which is named by AWS_ENDPOINT_URL") as caught:
            USES[use]("s3://bucket/some/where")
    assert objectstore.SECRET not in told(caught.value)


def test_a_server_that_does_not_take_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []

    def never(address: tuple[str, int], seconds: float) -> None:
        waited.append(seconds)
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", never)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://10.0.0.1:9000")
    with pytest.raises(StorageFailed, match="10.0.0.1:9000.*AWS_ENDPOINT_URL.*timed out"):
        storage.exists("s3://bucket/x")
    assert waited == [filesystems.CONNECT_SECONDS] and filesystems.CONNECT_SECONDS <= 10


def test_a_name_node_that_is_not_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(StorageFailed, match=f"could not reach 127.0.0.1:{port}, which is named by the path"):
            storage.read_bytes(f"hdfs://127.0.0.1:{port}/x")


def test_hadoops_client_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object, **__: object) -> None:
        raise OSError("Unable to load libhdfs: ./libhdfs.so: cannot open shared object file")

    monkeypatch.setattr("pyarrow.fs.HadoopFileSystem", absent)
    with pytest.raises(MissingDependency, match="HADOOP_HOME.*CLASSPATH"):
        storage.exists("hdfs://nameservice/x")


def test_what_a_url_asks_of_hadoop(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("pyarrow.fs.HadoopFileSystem", lambda *args, **named: asked.append((args, named)))
    monkeypatch.setattr(socket, "create_connection", lambda *_: socket.socket())
    assert [filesystems.connect(url)[1] for url in ("hdfs://me@nn:8020/a%20b", "hdfs:/x", "hdfs://pair")] == [
        "/a b", "/x", "/",
    ]  # fmt: skip
    assert [(args, named["user"]) for args, named in asked] == [
        (("nn", 8020), "me"), (("default", 0), None), (("pair", 0), None),
    ]  # fmt: skip
    assert asked[0][1]["extra_conf"]["ipc.client.connect.max.retries.on.timeouts"] == "1"


def test_the_urls_own_server_and_keys(object_store: objectstore.ObjectStore) -> None:
    host = object_store.endpoint.removeprefix("http://")
    url = f"s3://KEY:SE%2FCRET@bucket/own?endpoint_override={host}&scheme=http&region=eu-west-1"
    storage.write_atomically(url, b"x")
    assert storage.read_bytes(url) == b"x"
    assert pickle.loads(pickle.dumps(filesystems.connect(url)[0])).region == "eu-west-1"


@pytest.mark.parametrize("url", ["s3://", "s3:///x", "s3://bucket/x?acess_key=1"])
def test_urls_that_name_nothing(url: str) -> None:
    with pytest.raises(UsageError):
        storage.exists(url)


def test_google_storage_that_does_not_answer_is_told_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def nobody(address: tuple[str, int], patience: float) -> None:
        asked.append(address)
        raise ConnectionRefusedError("nobody listens")

    for name in ("STORAGE_EMULATOR_HOST", "CLOUD_STORAGE_EMULATOR_ENDPOINT", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("socket.create_connection", nobody)
    for url in ("gs://bucket/a", "gcs://anonymous@bucket/a?endpoint_override=127.0.0.1:9&scheme=http"):
        with pytest.raises(StorageFailed, match="could not reach .*nobody listens.*Check the name, the port"):
            storage.file_system(url)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:10")
    with pytest.raises(StorageFailed, match="named by STORAGE_EMULATOR_HOST"):
        storage.file_system("gs://bucket/a")
    assert asked == [("storage.googleapis.com", 443), ("127.0.0.1", 9), ("127.0.0.1", 10)]


def test_google_storage_is_asked_for_seconds_and_not_for_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystems, "_reach", lambda host, port, setting: None)
    files, path = filesystems.connect("gs://anonymous@bucket/a%20b/c")
    assert path == "bucket/a b/c"
    (options,) = files.__reduce__()[1]
    assert options["retry_time_limit"].total_seconds() == filesystems.REQUEST_SECONDS
