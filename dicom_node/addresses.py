"""Where results go: `AE@host:port` for C-STORE, a URL for STOW-RS."""

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit, urlunsplit

_AE_TITLE = re.compile(r"(?! )[\x20-\x5b\x5d-\x7e]{1,16}(?<! )")
"""PS3.5, 6.2: at most 16 characters of the default repertoire without backslash; outer spaces mean nothing."""
_DICOM = re.compile(r"(?P<ae_title>.+)@(?P<host>\[[0-9A-Fa-f:.]+\]|[^@:\s]+):(?P<port>\d{1,5})")


@dataclass(frozen=True, slots=True)
class DicomAddress:
    """An application entity that takes C-STORE."""

    ae_title: str
    host: str
    port: int

    @property
    def name(self) -> str:
        """Names it in the queue and the log."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.ae_title}@{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class StowAddress:
    """The base URL of a DICOMweb service, below which `studies` takes instances."""

    url: str
    """Without user and password."""
    user: str | None = None
    password: str | None = None

    @property
    def name(self) -> str:
        """Names it in the queue and the log."""
        return self.url

    def __repr__(self) -> str:
        return f"StowAddress({self.url!r})"


Address = DicomAddress | StowAddress


def read_ae_title(text: str) -> str:
    """Return an AE title without its padding.

    Raises:
        ValueError: It is none.
    """
    title = text.strip(" ")
    if not _AE_TITLE.fullmatch(title):
        raise ValueError("an AE title has 1 to 16 characters of ASCII without backslash")
    return title


def read_address(text: str) -> Address:
    """Read a destination.

    Raises:
        ValueError: It is none.
    """
    if text.startswith(("http://", "https://")):
        parts = urlsplit(text)
        if not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"{hide_password(text)!r} is no base URL of a DICOMweb service")
        bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
        password = None if parts.password is None else unquote(parts.password)
        return StowAddress(bare, None if parts.username is None else unquote(parts.username), password)
    match = _DICOM.fullmatch(text)
    if match is None or not 1 <= int(match["port"]) <= 65_535:  # noqa: PLR2004 - a port's number
        raise ValueError(f"{hide_password(text)!r} is no destination: AE@host:port, or an http(s) URL")
    return DicomAddress(read_ae_title(match["ae_title"]), match["host"].strip("[]"), int(match["port"]))


def hide_password(text: str) -> str:
    """Return a text without what stands before the host of a URL in it."""
    return re.sub(r"//.*@", "//...@", text)
