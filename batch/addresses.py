"""Films at addresses: file systems of fsspec, S3 and Google Cloud Storage among them by Arrow's clients.

Packages of fsspec's own for these two, s3fs and gcsfs, want other releases than the service pins. Arrow's take
credentials from where the vendors' tools do, and an endpoint from the address (`s3://bucket/films?endpoint_override=
localhost:9000&scheme=http`).
"""

from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import fsspec

from batch.listing import SCHEME

BY_ARROW = frozenset({"s3", "gs", "gcs"})


def split(url: str) -> tuple[str, str]:
    """Return the root that `file_system` takes, and the path in it.

    Raises:
        Exception: There is no such file system; each has errors of its own.
    """
    scheme = url.partition(SCHEME)[0]
    if scheme not in BY_ARROW:
        return scheme + SCHEME, fsspec.url_to_fs(url)[1]
    parts = urlsplit(url, allow_fragments=False)
    bucket = parts.netloc.rpartition("@")[2]
    query = f"?{parts.query}" if parts.query else ""
    return f"{scheme}{SCHEME}{parts.netloc}{query}", bucket + parts.path


@lru_cache(maxsize=64)
def file_system(root: str) -> Any:
    """Return the file system of a root, as fsspec has them.

    Raises:
        Exception: It cannot be reached, or a package is missing.
    """
    scheme = root.partition(SCHEME)[0]
    if scheme not in BY_ARROW:
        return fsspec.filesystem(scheme)
    from fsspec.implementations.arrow import ArrowFSWrapper  # noqa: PLC0415  (the package may be missing)
    from pyarrow.fs import FileSystem  # noqa: PLC0415

    return ArrowFSWrapper(FileSystem.from_uri(root.replace("gcs" + SCHEME, "gs" + SCHEME, 1))[0])
