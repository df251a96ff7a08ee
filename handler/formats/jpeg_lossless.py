"""Whether a lossless JPEG was decoded whole: its decoder makes up what is missing and does not report it.

Predicted again from what was decoded, each sample says how many bits it was coded with. Their sum is the length of the
scan, or the decoder did not read what the encoder wrote. Where bytes are missing, decoding may by chance use up as many
bits as are left: of losses of 12 bytes, under 2 in 100 pass.

Source:
    ITU-T T.81, annex H.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from handler.formats.jpeg_structure import Scan, Structure
from handler.formats.source import Pixels

_BAND_SAMPLES = 100_000
"""About what is looked at together: it stays in the processor's cache."""
_MOST_BITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class _Coding:
    """How one component of a scan is coded."""

    predictor: int
    point: int
    first: int
    """What the first sample after a restart is predicted as."""
    rows: int
    """Between two restarts."""
    price: npt.NDArray[np.uint8]
    """Bits of each difference, modulo 65,536."""


def check(pixels: Pixels, data: memoryview, structure: Structure) -> None:
    """Refuse a film whose scans are longer or shorter than its samples are.

    Args:
        pixels: (H, W) or (H, W, C), as coded: before any change of colours.
        data: The whole file.
        structure: Its markers.

    Raises:
        ValueError: a scan is longer or shorter, or its parameters are none that can be checked.
    """
    planes = pixels[..., np.newaxis] if pixels.ndim == 2 else pixels  # noqa: PLR2004 - (H, W, C)
    height, width, _ = planes.shape
    for scan in structure.scans:
        if not 1 <= scan.first <= 7 or scan.low >= structure.bits or scan.restart % width:  # noqa: PLR2004
            raise ValueError("a scan has impossible parameters")
        rows = scan.restart // width or height
        bits_of_row = np.zeros(height, np.int64)
        for component, (table, _) in zip(scan.components, scan.tables, strict=True):
            first = 1 << (structure.bits - scan.low - 1)
            coding = _Coding(predictor=scan.first, point=scan.low, first=first, rows=rows, price=_price(scan, table))
            bits_of_row += _bits_of_rows(planes[..., component], coding)
        intervals = np.add.reduceat(bits_of_row, np.arange(0, height, rows))
        if not np.array_equal(-(-intervals // 8), _coded_bytes(data, scan)):
            raise ValueError("a scan does not hold what was decoded from it")


def _price(scan: Scan, table: int) -> npt.NDArray[np.uint8]:
    """Return how many bits each difference, modulo 65,536, is coded with; 255 bits stand for one that has no code."""
    of_category = np.full(_MOST_BITS + 1, 255, np.uint8)
    codes = scan.codes.get(table, bytes(16))
    symbols = iter(codes[16:])
    for length, count in enumerate(codes[:16], start=1):
        for _, category in zip(range(count), symbols, strict=False):
            if category <= _MOST_BITS:
                # The difference of 32,768 is its whole category, and needs no further bits.
                of_category[category] = length + (category if category < _MOST_BITS else 0)
    categories = np.zeros(1 << 16, np.uint8)
    for category in range(1, _MOST_BITS):
        low = 1 << (category - 1)
        categories[low : 2 * low] = category
        categories[(1 << 16) - 2 * low + 1 : (1 << 16) - low + 1] = category
    categories[1 << 15] = _MOST_BITS
    return of_category[categories]


def _bits_of_rows(samples: Pixels, coding: _Coding) -> npt.NDArray[np.int64]:
    """Return the bits that each row (H,) of a component (H, W) was coded with."""
    height, width = samples.shape
    bits = np.empty(height, np.int64)
    step = max(1, _BAND_SAMPLES // width)
    for start in range(0, height, step):
        stop = min(start + step, height)
        band = samples[max(start - 1, 0) : stop].astype(np.uint16) >> np.uint16(coding.point)
        if start == 0:
            band = np.concatenate([band[:1], band])  # the row above the first is never looked at
        differences = band[1:] - _predictions(band, coding.predictor)
        # The first row after a restart is predicted from its left, and its first sample from nothing.
        for row in range(-start % coding.rows, stop - start, coding.rows):
            differences[row, 1:] = band[row + 1, 1:] - band[row + 1, :-1]
            differences[row, :1] = band[row + 1, :1] - np.uint16(coding.first)
        bits[start:stop] = coding.price[differences].sum(axis=1, dtype=np.int64)
    return bits


def _predictions(band: npt.NDArray[np.uint16], predictor: int) -> npt.NDArray[np.uint16]:
    """Return what rows 1 to H of a band (H + 1, W) are predicted as, (H, W), modulo 65,536."""
    above = band[:-1]
    predicted = above.copy()  # of each row's first sample, whatever the predictor
    left, up, corner = band[1:, :-1], above[:, 1:], above[:, :-1]
    if predictor == 1:
        predicted[:, 1:] = left
    elif predictor == 3:  # noqa: PLR2004 - the predictors are T.81's, table H.1
        predicted[:, 1:] = corner
    elif predictor == 4:  # noqa: PLR2004
        predicted[:, 1:] = left + up - corner
    elif predictor == 5:  # noqa: PLR2004
        predicted[:, 1:] = left + ((up.astype(np.int32) - corner) >> 1).astype(np.uint16)
    elif predictor == 6:  # noqa: PLR2004
        predicted[:, 1:] = up + ((left.astype(np.int32) - corner) >> 1).astype(np.uint16)
    elif predictor == 7:  # noqa: PLR2004
        predicted[:, 1:] = (left.astype(np.uint32) + up) >> 1
    return predicted


def _coded_bytes(data: memoryview, scan: Scan) -> npt.NDArray[np.int64]:
    """Return the length of each stretch between restart markers, (N,), without the zeros stuffed into it."""
    coded = np.frombuffer(data[scan.start : scan.end], np.uint8)
    places = np.flatnonzero(coded[:-1] == 0xFF)  # noqa: PLR2004
    following = coded[places + 1]
    stuffed = places[following == 0]
    restarts = places[(following & 0xF8) == 0xD0]  # noqa: PLR2004
    starts = np.concatenate([[0], restarts + 2])
    ends = np.concatenate([restarts, [len(coded)]])
    lengths: npt.NDArray[np.int64] = ends - starts - np.searchsorted(stuffed, ends) + np.searchsorted(stuffed, starts)
    return lengths
