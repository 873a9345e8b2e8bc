"""Files behind local paths and URLs: whole or not at all, and errors that name the way out."""

from __future__ import annotations

import errno
import os
import pickle
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from zoo.engine import storage
from zoo.engine.errors import MissingDependency, StorageFailed, UsageError


@pytest.fixture(params=["path", "file:", "file://", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "memory":
        url = f"memory://{uuid.uuid4().hex}"
        yield url
        storage.remove_tree(url)
    else:
        yield {"path": "", "file:": "file:", "file://": "file://"}[request.param] + str(tmp_path / "place")


def test_bytes_come_back_from_every_kind_of_place(place: str) -> None:
    url = storage.join(place, "deep", "ünder scores.gz")
    assert not storage.exists(url)
    storage.write_atomically(url, b"one")
    storage.write_atomically(url, b"two")
    assert storage.read_bytes(url) == b"two"
    assert storage.exists(url)
    assert storage.list_names(place) == ["deep"]
    assert storage.list_names(storage.join(place, "deep")) == ["ünder scores.gz"]


def test_a_removed_tree_is_gone_and_removing_it_again_is_fine(place: str) -> None:
    storage.write_atomically(storage.join(place, "a", "b"), b"x")
    storage.remove_tree(storage.join(place, "a"))
    storage.remove_tree(storage.join(place, "a"))
    assert storage.list_names(storage.join(place, "a")) == []
    assert not storage.exists(storage.join(place, "a"))


def test_a_file_open_for_writing_holds_its_bytes_once_closed(place: str) -> None:
    with storage.open_for_writing(storage.join(place, "log")) as file:
        file.write(b"abc")
    assert storage.read_bytes(storage.join(place, "log")) == b"abc"


def test_made_directories_exist(tmp_path: Path) -> None:
    storage.make_dirs(f"file://{tmp_path}/a/b")
    storage.make_dirs(f"file://{tmp_path}/a/b")
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize(
    ("url", "local"),
    [
        *((path, True) for path in ("/x", "x/y", "~/x", "file:/x", "file:///x", "C:/x")),
        *((url, False) for url in ("s3://b/x", "memory://x", "hdfs:/x", "abfss://c@a/x")),
    ],
)
def test_which_paths_are_local(url: str, local: bool) -> None:
    assert storage.is_local(url) is local


def test_file_urls_are_decoded() -> None:
    assert storage.local_path("file:///a%20b") == Path("/a b")
    assert storage.local_path("~/x") == Path.home() / "x"


def test_a_file_url_with_a_host_is_refused() -> None:
    with pytest.raises(UsageError, match="file:///path"):
        storage.local_path("file://tmp/x")


@pytest.mark.parametrize(
    ("url", "joined"),
    [
        ("/", "/a"), ("/x/", "/x/a"), ("x", "x/a"), ("/x?y=z", "/x?y=z/a"), ("memory://", "memory://a"),
        ("s3://b/x?region=r&scheme=http", "s3://b/x/a?region=r&scheme=http"),
    ],
)  # fmt: skip
def test_join(url: str, joined: str) -> None:
    assert storage.join(url, "a") == joined


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "disk is full"), (errno.EDQUOT, "disk is full"), (errno.EACCES, "permis"), (errno.EIO, "OSErr")],
)
def test_a_failed_write_keeps_the_old_bytes_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    target = tmp_path / "f"
    storage.write_atomically(str(target), b"old")

    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageFailed, match=words) as failure:
        storage.write_atomically(str(target), b"new")
    assert str(target) in str(failure.value)
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_ctrl_c_while_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        storage.write_atomically(str(tmp_path / "f"), b"new")
    assert os.listdir(tmp_path) == []


def test_a_file_system_that_cannot_sync_directories_is_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, synced = os.fsync, []

    def fsync(handle: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            synced.append(handle)
            raise OSError(errno.EINVAL, "no")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    storage.write_atomically(str(tmp_path / "f"), b"x")
    assert len(synced) == 1


def test_missing_and_misplaced_files_say_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match="does not exist"):
        storage.read_bytes(str(tmp_path / "nothing"))
    with pytest.raises(StorageFailed, match="a file is where a directory should be"):
        storage.write_atomically(str(tmp_path / "file" / "below"), b"")
    with pytest.raises(StorageFailed, match="does not exist"):
        storage.read_bytes(f"memory://{uuid.uuid4().hex}/nothing")


def test_a_protocol_without_its_package_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install adlfs to access Azure")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(MissingDependency, match="adlfs") as failure:
        storage.read_bytes("abfs://me:secret@bucket/x?sig=123")
    assert "secret" not in str(failure.value)
    assert "123" not in str(failure.value)


def test_an_unknown_protocol_is_the_callers_mistake() -> None:
    with pytest.raises(UsageError, match="nonsuch://"):
        storage.exists("nonsuch://x/y")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://key:pass@b/x?sig=1 gone", "s3://***@b/x?*** gone"),
        ("https://token@host/my dir/x?sig=1", "https://***@host/my dir/x?***"),
        ("abfs://container@account/x", "abfs://container@account/x"),
        ("hdfs://host:8020/user@home", "hdfs://host:8020/user@home"),
        ("/local?x", "/local?x"),
        ("jdbc:postgresql://h/db?user=u&password=p", "jdbc:postgresql://h/db?***"),
        (
            "at jdbc:sqlserver://h;user=u;Password = p@ss!;x=1, port=1",
            "at jdbc:sqlserver://h;user=u;Password = ***;x=1, port=1",
        ),
        ("mysql: address=(host=h)(password=p)", "mysql: address=(host=h)(password=***)"),
    ],
)
def test_credentials_are_masked(text: str, shown: str) -> None:
    assert storage.masked(text) == shown


def test_a_cause_that_shows_credentials_is_not_printed() -> None:
    with pytest.raises(StorageFailed) as failure, storage.explained("s3://u:secret@b/x", "read"):
        raise RuntimeError("403 for s3://u:secret@b/x")
    assert "secret" not in str(failure.value)
    assert failure.value.__cause__ is None and failure.value.__suppress_context__


def test_programming_errors_are_not_taken_for_a_broken_disk() -> None:
    with pytest.raises(TypeError), storage.explained("/x", "read"):
        raise TypeError("ours")


def test_the_error_pickles() -> None:
    error = pickle.loads(pickle.dumps(StorageFailed("could not read /x")))
    assert isinstance(error, OSError) and str(error) == "could not read /x"


def test_a_place_is_shown_whole_and_without_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage.shown("t/") == storage.shown(f"file://{tmp_path}/t") == f"{tmp_path}/t"
    assert storage.shown("s3://key:pass@b/x/?sig=1") == "s3://***@b/x/?***" and storage.shown("/") == "/"


def test_a_new_file_is_there_whole_or_not_at_all(place: str) -> None:
    url = storage.join(place, "deep", "file")
    with storage.new_file(url) as file:
        file.write(b"one")
        assert not storage.exists(url)
    with pytest.raises(ZeroDivisionError), storage.new_file(url) as file:  # noqa: PT012
        file.write(b"half of tw")
        raise ZeroDivisionError
    assert storage.read_bytes(url) == b"one"
    assert storage.list_names(storage.join(place, "deep")) == ["file"]


def test_arrow_sees_the_same_files(place: str) -> None:
    url = storage.join(place, "ä b")
    storage.write_atomically(url, b"one")
    files, path = storage.file_system(url)
    with files.open_input_file(path) as file:
        assert file.read() == b"one"
