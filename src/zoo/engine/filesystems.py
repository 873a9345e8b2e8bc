"""The one place where the URL of another machine's file becomes a connection.

Owns: the file systems that Arrow brings along (S3, HDFS, Google's), their settings, how long they may try to connect.
Leaves: local paths and fsspec's file systems (storage), what is read and written.

Nothing here holds a key: S3 finds AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or ``~/.aws``, or the machine's role)
by itself, on whichever machine reads. Only keys that the URL itself holds travel with it.
"""

from __future__ import annotations

import os
import re
import socket
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit
from urllib.request import getproxies

from zoo.engine.errors import MissingDependency, StorageFailed, UsageError

CONNECT_SECONDS = 5.0
"""How long a host may take to answer at all."""
REQUEST_SECONDS = 20.0
"""How long a request to S3 may stand still."""
ATTEMPTS = 3

SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""Variables whose values are never shown."""

_NATIVE = {"s3": "s3", "s3a": "s3", "s3n": "s3", "gs": "gs", "gcs": "gs", "hdfs": "hdfs", "viewfs": "viewfs"}
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_EMULATORS = ("STORAGE_EMULATOR_HOST", "CLOUD_STORAGE_EMULATOR_ENDPOINT")
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_OPTIONS = {"region": str, "scheme": str, "endpoint_override": str, "tls_ca_file_path": str, "anonymous": bool}
_QUERY = re.compile(r"\?(?=[A-Za-z_]+=)")  # another `?` is a wildcard
_PATIENCE = {  # Hadoop's own would be minutes
    "ipc.client.connect.timeout": str(int(CONNECT_SECONDS * 1000)),
    "ipc.client.connect.max.retries": "1",
    "ipc.client.connect.max.retries.on.timeouts": "1",
}
_ADVICE = (
    (
        re.compile(r"AWS Error (ACCESS_DENIED|INVALID_\w+|SIGNATURE_\w+|UNRECOGNIZED_CLIENT|EXPIRED_\w+)|status 403"),
        "S3 refused the credentials. Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and what they may do.",
    ),
    (
        re.compile(r"AWS Error (NETWORK_CONNECTION|NO_RESPONSE|REQUEST_TIMEOUT)"),
        "S3 could not be reached. Check AWS_ENDPOINT_URL, AWS_REGION and the network.",
    ),
    (re.compile(r"AWS Error NO_SUCH_BUCKET"), "There is no such bucket. Check its name and AWS_ENDPOINT_URL."),
    (
        re.compile(r"[Cc]onnectException|UnknownHostException|NoRouteToHost"),
        "The HDFS name node could not be reached. Check the host and port of the URL, or fs.defaultFS in "
        "HADOOP_CONF_DIR/core-site.xml.",
    ),
)


def is_native(scheme: str) -> bool:
    """Whether Arrow reads paths of this scheme itself."""
    return scheme.lower() in _NATIVE


def split_options(url: str) -> tuple[str, str]:
    """A URL without its options, and these with their question mark; empty where it has none."""
    found = _QUERY.search(url)
    return (url[: found.start()], url[found.start() :]) if found else (url, "")


def connect(url: str) -> tuple[Any, str]:
    """A `pyarrow.fs.FileSystem` and the path of a URL within it.

    Args:
        url: of a scheme that `is_native`.

    Raises:
        StorageFailed: the host does not answer within `CONNECT_SECONDS`.
        UsageError: an option of the URL is not known.
        MissingDependency: Hadoop's client is not installed.
    """
    scheme, _, rest = url.partition(":")
    kind, rest = _NATIVE[scheme.lower()], rest.removeprefix("//")
    if kind == "s3":
        return _s3(rest)
    if kind in ("hdfs", "viewfs"):
        return _hadoop(kind, rest)
    return _google(rest)


def check_name_node(url: str) -> None:
    """Raises StorageFailed where nobody listens at the host and port of an ``hdfs://`` URL.

    Others find this out by themselves; Hadoop's client would try for minutes. A host without a port may be the name of
    a pair of name nodes, which only Hadoop's configuration knows.
    """
    found = urlsplit(url)
    if found.scheme == "hdfs" and found.port is not None:
        _reach(found.hostname or "", found.port, "the path")


def advice(text: str) -> str:
    """What to do about the text of a remote file system's error; empty where it says nothing that is known."""
    return next((told for pattern, told in _ADVICE if pattern.search(text)), "")


def _s3(rest: str) -> tuple[Any, str]:
    from pyarrow import fs

    location, query = _QUERY.split(rest, maxsplit=1) if _QUERY.search(rest) else (rest, "")
    bucket, slash, below = location.partition("/")
    user, _, bucket = bucket.rpartition("@")
    if not bucket:
        raise UsageError("an S3 path names a bucket: s3://bucket/path. Received one without.")
    options = _with_endpoint(_named_options(query, bucket))
    options.setdefault("region", _region(bucket, "endpoint_override" in options))
    if user:
        key, _, secret = user.partition(":")
        options |= {"access_key": unquote(key), "secret_key": unquote(secret)}
    store = fs.S3FileSystem(
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
        allow_delayed_open=True,  # a small file is one put, which is there whole or not at all
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        **options,
    )
    return store, f"{bucket}{slash}{below}".rstrip("/")


def _with_endpoint(options: dict[str, Any]) -> dict[str, Any]:
    """The options with the server that a variable names, unless they name one; somebody listens there."""
    variable = next((name for name in _ENDPOINTS if os.environ.get(name)), None)
    if "endpoint_override" in options:
        endpoint = str(options["endpoint_override"])
        _reach_url(endpoint if "://" in endpoint else f"{options.get('scheme', 'https')}://{endpoint}", "the URL")
    elif variable is not None:
        _reach_url(os.environ[variable], variable)
        return options | {"endpoint_override": os.environ[variable]}
    return options


def _google(rest: str) -> tuple[Any, str]:
    from pyarrow.fs import FileSystem

    location, query = _QUERY.split(rest, maxsplit=1) if _QUERY.search(rest) else (rest, "")
    options = dict(parse_qsl(query, keep_blank_values=True))
    variable = next((name for name in _EMULATORS if os.environ.get(name)), None)
    if "endpoint_override" in options:
        _reach_url(f"{options.get('scheme', 'https')}://{options['endpoint_override']}", "the URL")
    elif variable is not None:
        _reach_url(os.environ[variable], variable)
    elif not getproxies().get("https"):
        _reach("storage.googleapis.com", 443, "gs:// paths")
    options.setdefault("retry_limit_seconds", f"{REQUEST_SECONDS:.0f}")  # Google's own would be 15 minutes
    found: tuple[Any, str] = FileSystem.from_uri(f"gs://{location}?{urlencode(options)}")
    return found


def _named_options(query: str, bucket: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _OPTIONS:
            raise UsageError.unknown_argument(f"s3://{bucket}/...?", [name], _OPTIONS)
        found[name] = value.lower() == "true" if _OPTIONS[name] is bool else value
    return found


def _region(bucket: str, has_endpoint: bool) -> str:
    said = next((os.environ[name] for name in _REGIONS if os.environ.get(name)), None)
    if said is not None or has_endpoint:
        return said or "us-east-1"
    from pyarrow.fs import resolve_s3_region

    return str(resolve_s3_region(bucket))


def _hadoop(kind: str, rest: str) -> tuple[Any, str]:
    from pyarrow.fs import HadoopFileSystem

    check_name_node(f"{kind}://{rest}")
    found = urlsplit(f"hdfs://{rest}")
    host = found.hostname or "default"
    try:
        files = HadoopFileSystem(
            host if kind == "hdfs" else f"viewfs://{found.netloc}",
            found.port or 0,
            user=found.username,
            extra_conf=_PATIENCE,
        )
    except OSError as error:
        if "libhdfs" not in str(error) and "libjvm" not in str(error):
            raise
        raise MissingDependency(
            "hdfs:// paths need Hadoop's client on this machine, and libhdfs or libjvm could not be loaded. Set "
            "JAVA_HOME, HADOOP_HOME (or ARROW_LIBHDFS_DIR) and CLASSPATH=$(hadoop classpath --glob). "
            "Readers on Spark do without: Spark has its own."
        ) from error
    return files, unquote(found.path) or "/"


def _reach_url(url: str, setting: str) -> None:
    found = urlsplit(url)
    if not found.hostname:
        raise UsageError(f"{setting} must be a URL like http://host:9000. Received one without a host.")
    _reach(found.hostname, found.port or (80 if found.scheme == "http" else 443), setting)


def _reach(host: str, port: int, setting: str) -> None:
    """Raises StorageFailed where nobody listens there: the libraries' own attempts would take minutes."""
    try:
        socket.create_connection((host, port), CONNECT_SECONDS).close()
    except OSError as error:
        raise StorageFailed(
            f"could not reach {host}:{port}, which is named by {setting} ({error or type(error).__name__}; "
            f"tried for at most {CONNECT_SECONDS:.0f} s). Check the name, the port and the network."
        ) from error
