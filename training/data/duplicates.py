"""Films that are in a data set more than once: byte for byte, or nearly so.

Near duplicates are found by a difference hash (dHash): does each pixel of a thumbnail outshine its left neighbour?
It takes 16x16 differences. The usual 8x8 distinguish photographs, but not chests: of 5,216 films 775 pairs share that
hash, 747 of them of no kinship. Of 16x16 differences no unrelated pair of theirs has fewer than 13, while the same film
at JPEG quality 50, another size, brightness or gamma, or with noise of 5 grey levels differs in at most 11.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.data.films import DecodedFilms

HASH_SIDE = 16
MAX_DISTANCE = 11
"""Of the 256 differences, in how many two films of the same picture may disagree."""

_BLOCK = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class NearPair:
    """Two films that look the same and are not byte for byte."""

    first: int
    second: int
    """Indices of the films, first < second."""
    distance: int
    """Of their hashes, 0 to `MAX_DISTANCE` bits."""


def exact_copies(films: DecodedFilms) -> list[list[int]]:
    """Return the groups of films, by index, whose bytes are equal."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for index, digest in enumerate(films.digests):
        groups[digest].append(index)
    return [group for group in groups.values() if len(group) > 1]


def near_copies(films: DecodedFilms) -> list[NearPair]:
    """Return the pairs of films that look the same and are not byte for byte, the likest first."""
    hashes = np.stack([dhash(pixels) for pixels in films.pixels])  # (N, 4)
    pairs = [
        NearPair(first=first, second=second, distance=distance)
        for first, second, distance in _close(hashes)
        if films.digests[first] != films.digests[second]
    ]
    return sorted(pairs, key=lambda pair: (pair.distance, pair.first, pair.second))


def dhash(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Return the difference hash (4,) of a grey film (height, width): 256 bits."""
    thumbnail = Image.fromarray(pixels).resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BOX)
    levels = np.asarray(thumbnail)  # (16, 17)
    return np.packbits(levels[:, 1:] > levels[:, :-1]).view(np.uint64)


def _close(hashes: npt.NDArray[np.uint64]) -> Iterator[tuple[int, int, int]]:
    """Yield the pairs, first < second, at most `MAX_DISTANCE` bits apart, with the distance."""
    for start in range(0, len(hashes), _BLOCK):
        # A block of rows against all later films: every pair of 5,000 films in a second, in a few megabytes.
        differing = hashes[start : start + _BLOCK, None] ^ hashes[None, start:]  # (block, later, 4)
        distances = np.bitwise_count(differing).sum(axis=2, dtype=np.uint16)  # (block, later)
        for first, second in np.argwhere(distances <= MAX_DISTANCE):
            if first < second:
                yield int(first) + start, int(second) + start, int(distances[first, second])
