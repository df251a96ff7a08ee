"""From codes to brightness: rescale or modality LUT, VOI LUT or window, and polarity (PS3.3, C.11; PS3.4, N.2)."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from handler.formats.dicom_codes import CODE_BITS, Codes
from handler.formats.dicom_layout import Layout
from handler.formats.dicom_values import Values

MAX_SATURATED = 0.2
"""Share of the film's bulk beyond which a window is ignored because it leaves black or white what it should show."""
_SATURATED_NEAR = 0.005
"""How near to black or white a level is saturated, as a share of what the window spans."""
_MAX_NUMBER = 1e9
"""What no slope, intercept or window of a film reaches: others are ignored."""
_SAMPLE_STEP = 3

Levels = npt.NDArray[np.float64]
Curve = Callable[[Levels], Levels]

_CODES = 1 << CODE_BITS


class Brightness:
    """What a film's codes stand for: bright is dense tissue."""

    def __init__(self, values: Values, layout: Layout) -> None:
        self._values = values
        self._layout = layout
        shape = values.text("PresentationLUTShape")
        # A film of MONOCHROME1 has INVERSE beside it (PS3.3, C.8.11.3.1.2): both say one and the same thing.
        self._inverted = layout.photometric == "MONOCHROME1" or shape == "INVERSE"
        self._modality = _modality(values, layout)

    @property
    def rises(self) -> bool:
        """Whether a higher code is brighter."""
        ends = np.array([-self._layout.sign, self._layout.mask - self._layout.sign], np.float64)
        first, last = ends if self._modality is None else self._modality(ends)
        return bool(first <= last) != self._inverted

    def of(self, codes: Codes) -> Codes:
        """Return a film's brightness (H, W), 0 to 65535 over all that its bits could hold, or over its window.

        A window or VOI LUT that would leave most of the film black or white is not applied.
        """
        stored = np.arange(_CODES, dtype=np.float64) / (1 << (CODE_BITS - self._layout.stored)) - self._layout.sign
        levels = stored if self._modality is None else self._modality(stored)
        sample = codes[::_SAMPLE_STEP, ::_SAMPLE_STEP]
        shown = next((curve for curve in self._windowed(levels) if _shows(curve, sample)), levels)
        if shown is stored:
            return ~codes if self._inverted else codes
        least, most = shown.min(), shown.max()
        if least == most:
            return ~codes if self._inverted else codes
        scaled = (shown - least) * ((_CODES - 1) / (most - least))
        table = (scaled + 0.5).astype(np.uint16)
        if self._inverted:
            table = ~table
        return _looked_up(table, codes)

    def _windowed(self, levels: Levels) -> Iterator[Levels]:
        """Yield `levels` through the VOI LUT, and then through the first window, as far as the file has them."""
        lut = self._values.item("VOILUTSequence")
        curve = None if lut is None else _lut(lut, signed=bool(levels.min() < 0))
        if curve is not None:
            yield curve(levels)
        centre, width = self._values.number("WindowCenter"), self._values.number("WindowWidth")
        if centre is not None and width is not None and 0 < width < _MAX_NUMBER and abs(centre) < _MAX_NUMBER:
            yield window(levels, centre, width, self._values.text("VOILUTFunction"))


def window(levels: Levels, centre: float, width: float, function: str = "LINEAR") -> Levels:
    """Return levels through a window, 0 to 1.

    Args:
        levels: Any shape.
        centre: Window Center.
        width: Window Width, over 0. LINEAR is for 1 and more: below, it is taken as LINEAR_EXACT.
        function: VOI LUT Function; an unknown one is LINEAR.

    Source:
        PS3.3, C.11.2.1.2 and C.11.2.1.3.
    """
    if function == "SIGMOID":
        shown: Levels = 1 / (1 + np.exp(np.clip(-4 * (levels - centre) / width, -50, 50)))
        return shown
    if function != "LINEAR_EXACT" and width > 1:
        centre, width = centre - 0.5, width - 1
    return np.clip((levels - centre) / width + 0.5, 0, 1)


def _shows(shown: Levels, sample: Codes) -> bool:
    """Whether a curve over all codes leaves the bulk of a film between black and white.

    What has the lowest or the highest code of the film is no part of the bulk: bars, a shutter, burnt-out background.
    """
    least, most = shown.min(), shown.max()
    if not most > least:
        return False
    bulk = sample[(sample > sample.min()) & (sample < sample.max())]
    margin = _SATURATED_NEAR * (most - least)
    saturated = (shown <= least + margin) | (shown >= most - margin)
    return bulk.size == 0 or float(saturated[bulk].mean()) <= MAX_SATURATED


def _looked_up(table: Codes, codes: Codes) -> Codes:
    """Return table[codes], in place and a band at a time: numpy makes indices of 8 bytes of each code."""
    step = max(1, _CODES // codes.shape[1])
    for start in range(0, len(codes), step):
        codes[start : start + step] = table[codes[start : start + step]]
    return codes


def _modality(values: Values, layout: Layout) -> Curve | None:
    """Return what makes modality values of stored ones; None where that changes nothing (PS3.3, C.11.1)."""
    item = values.item("ModalityLUTSequence")
    lut = None if item is None else _lut(item, signed=layout.signed)
    if lut is not None:
        return lut
    slope, intercept = values.number("RescaleSlope"), values.number("RescaleIntercept")
    if slope is None or slope == 0 or abs(slope) > _MAX_NUMBER:
        slope = 1.0
    if intercept is None or abs(intercept) > _MAX_NUMBER:
        intercept = 0.0
    if (slope, intercept) == (1.0, 0.0):
        return None
    return lambda levels: levels * slope + intercept


def _lut(item: Values, *, signed: bool) -> Curve | None:
    """Return the LUT of a Modality or VOI LUT Sequence's item; None where it is none (PS3.3, C.11.1.1 and C.11.2.1.1).

    Args:
        item: The item.
        signed: Whether the values that are looked up can be negative: then the first that is mapped can be, too.
    """
    descriptor = np.frombuffer(item.raw("LUTDescriptor")[:6].ljust(6, b"\0"), f"{item.order}u2").tolist()
    entries, first, _ = descriptor
    entries = entries or _CODES
    if (signed or item.vr("LUTDescriptor") == b"SS") and first >= _CODES // 2:
        first -= _CODES
    raw = item.raw("LUTData")
    size = 2 if len(raw) >= 2 * entries else 1
    if not raw or len(raw) < entries:
        return None
    table = np.frombuffer(raw, f"{item.order}u{size}", count=entries).astype(np.float64)
    if table.min() == table.max():
        return None
    return lambda levels: np.interp(levels, np.arange(first, first + entries), table)
