"""Second copies of films: the same ones at another size, as another archive or viewer would have saved them.

The public data set is spread squashed to 224x224; some of its films are at hand at their full size too. A film that is
learned from is then seen as either copy, so that what the squashing left in it carries no information.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from training.data.films import DecodedFilms, decode_films, find_films
from training.errors import DataError
from training.figures.metrics import Pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """Copies of some films of a data set."""

    pixels: Mapping[int, Pixels]
    """(224, 224) each, by the index of the film that it is a copy of."""
    sha256: str
    """Over the names and contents of the copies."""


NO_COPIES = Copies(pixels={}, sha256="")


def find_copies(films: DecodedFilms, folder: Path) -> Copies:
    """Return the copies of films, which bear their names; those of other films are left out.

    Args:
        films: those that are learned from: a copy of a film held out is never seen.
        folder: `{NORMAL,PNEUMONIA}/*`, or a CSV, as for the films themselves.

    Raises:
        DataError: there is none, or one is labelled otherwise than the film of its name.
    """
    index = {file.path.stem: i for i, file in enumerate(films.files)}
    files = [file for file in find_films(folder) if file.path.stem in index]
    if not files:
        raise DataError(f"{folder}: has no copy of a film that is learned from")
    for file in files:
        if file.label != films.files[index[file.path.stem]].label:
            raise DataError(f"{file.path}: is labelled otherwise than the film of its name")
    copies = decode_films(files)
    lines = sorted(f"{digest},{file.path.stem}\n" for file, digest in zip(copies.files, copies.digests, strict=True))
    return Copies(
        pixels={index[file.path.stem]: pixels for file, pixels in zip(copies.files, copies.pixels, strict=True)},
        sha256=hashlib.sha256("".join(lines).encode()).hexdigest(),
    )
