"""How samples lie in their cells by what neighbours have in common, where a file misstates their bits or their sign.

Read with too few bits or with the wrong sign, a film wraps around: what rises past the greatest level goes on at the
least. Detectors blur, so neighbours in a row hardly ever differ by most of the range; where many do, at all levels, and
do not when read otherwise, the file is wrong. Overlays in unused bits, extended signs, padding, bars and letters are no
such thing: of them, either the levels are few or the other reading tears the film elsewhere.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from handler.formats.dicom_layout import Layout, of_other_sign
from handler.formats.source import Pixels

_ROWS = 64
"""That are looked at."""
_MIN_TORN = 0.002
"""Share of neighbours that differ by most of the range where a film wraps around."""
_MIN_LEVELS = 32
"""On either side of them: letters and bars have few."""
_LESS_TORN = 50
"""How many times less the film is torn when it is read rightly."""

_Codes = npt.NDArray[np.int32]


def as_continuous(cells: Pixels, layout: Layout) -> Layout:
    """Return the layout under which the film is continuous; the one given, unless it is certainly wrong.

    Args:
        cells: (H, W), uncompressed, of either byte order.
        layout: As the file has it.
    """
    if not layout.is_grey or layout.shift or layout.stored <= 8:  # noqa: PLR2004 - of 8 bits, any two may be neighbours
        return layout
    rows = cells[:: max(1, len(cells) // _ROWS)].astype(np.int32)
    torn = _torn(_codes(rows, layout), layout.mask)
    if torn < _MIN_TORN:
        return layout
    whole = replace(layout, stored=layout.allocated)
    for other in (whole, of_other_sign(layout), of_other_sign(whole)):
        if other != layout and _torn(_codes(rows, other), other.mask, levels=1, most=layout.mask) * _LESS_TORN <= torn:
            return other
    return layout


def _codes(rows: _Codes, layout: Layout) -> _Codes:
    return rows & layout.mask ^ layout.sign


def _torn(codes: _Codes, top: int, *, levels: int = _MIN_LEVELS, most: int | None = None) -> float:
    """Return the share of neighbours (H, W - 1) that differ by over three quarters of the range.

    Args:
        codes: (H, W), 0 to `top`.
        top: The greatest code: what is there, or at 0, is no film.
        levels: How many different ones each side of the tears needs; none counts otherwise.
        most: The range, if not up to `top`.
    """
    left, right = codes[:, :-1], codes[:, 1:]
    is_torn = np.abs(left - right) > (top if most is None else most) * 3 // 4
    for side in (left, right):
        is_torn &= (side > 0) & (side < top)
    low, high = np.minimum(left, right)[is_torn], np.maximum(left, right)[is_torn]
    if min(len(np.unique(low)), len(np.unique(high))) < levels:
        return 0.0
    return float(is_torn.mean())
