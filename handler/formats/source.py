"""What every format's module gives: a file whose structure has been checked, and its pixels when they are asked for."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from handler.errors import UnusableFilm

MAX_PIXELS = 40_000_000
"""The largest film that is decoded. A 43x43 cm detector at 0.1 mm a pixel has 18 million."""
MAX_COST_NS = 1e9
"""One second of a core, by the prices of the formats: a film estimated above it is refused."""
MIN_SIDE_PX = 64
MAX_ASPECT = 4.0
"""Longest over shortest side."""

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""(H, W) grey or (H, W, 3) RGB, bright is dense tissue unless the film is a negative; no alpha."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a file says of itself before a pixel is decoded."""

    kind: str
    """For people: "JPEG", "lossless JPEG", "JPEG-LS", "JPEG 2000", "PNG", "DICOM"."""
    width_px: int
    height_px: int
    """As stored, before `orientation`."""
    bits: int
    """Of a sample, 1 to 16, as the file declares them; a film may use fewer."""
    orientation: int = 1
    """EXIF's, 1 to 8: how the stored film is to be turned to be seen as it was meant (CIPA DC-008, 4.6.5)."""
    block_px: int = 1
    """Side of the blocks by which the pixels were compressed with loss, stored pixels: 8 of a JPEG, 1 without."""
    cost_ns: float = 0.0
    """An upper estimate of what decoding it once takes of a core; 0 where decoding it again is out of the question."""
    warnings: tuple[str, ...] = ()
    """What the answer's note should say of the file, a whole sentence each, without any value from the file."""


class Source(Protocol):
    """A file whose structure has been checked, and of which no pixel has been decoded yet."""

    @property
    def header(self) -> Header:
        """What the file says of itself."""

    def read(self, min_px: int) -> Pixels:
        """Decode the film.

        Args:
            min_px: No side of the result may be shorter, unless it is stored so; a format that can decode at a smaller
                scale for less does so.

        Raises:
            DamagedFilm: the film cannot be decoded whole.
        """


def check_shape(width_px: int, height_px: int) -> None:
    """Refuse a film of a size or shape that no radiograph has.

    Raises:
        UnusableFilm: the film has over 40 million pixels, a side under 64, or sides of more than 4:1.
    """
    if width_px * height_px > MAX_PIXELS:
        raise UnusableFilm(f"the film is too large: {width_px}x{height_px} pixels, at most {MAX_PIXELS:,} are decoded")
    shortest, longest = sorted((width_px, height_px))
    if shortest < MIN_SIDE_PX:
        raise UnusableFilm(f"the film is too small: {width_px}x{height_px} pixels, each side needs {MIN_SIDE_PX}")
    if longest > MAX_ASPECT * shortest:
        raise UnusableFilm(f"the film is too elongated: {width_px}x{height_px} pixels, at most {MAX_ASPECT:g} to 1")
