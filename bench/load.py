"""What a load generator needs to know of a contender."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Films for one contender."""

    urls: Sequence[str]
    """All its addresses; clients, or films, are shared evenly among them."""
    headers: Mapping[str, str]
    bodies: Sequence[Path]
    """Request bodies as files, sent in turn as they are."""
    folder: Path
    """For the generator's own files."""
