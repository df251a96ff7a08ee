"""The class-activation map of a film: where the model found what it says, as numbers or as a picture.

The map is exact: the model ends in a mean over places and a linear layer, so each place adds its own to the log odds.

Source: Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016.
"""

from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from handler.imaging import Facts, Film

UNIT = "uncalibrated log odds of PNEUMONIA that each place adds, before the model's constant"

LONGEST_PX = 320
"""Of the film in the picture: the model sees 160 pixels, and a larger picture takes longer to draw."""
LEGEND_PX = 44
"""Height of the strip below the film."""
LEGEND_ROWS = (12, 32)
"""Middles of its rows."""
MIDDLE = 127.5
"""Of the 256 levels of a picture: neither for nor against."""
AGAINST, FOR = (64, 130, 230), (240, 140, 20)
"""Blue and orange, which colour-blind people tell apart as well."""
MEANING = "against | for pneumonia, in log odds"
DISCLAIMER = "Not a medical device. Not for diagnosis."

Map = npt.NDArray[np.float32]
"""(S, S), over the film without its bars, rows from top to bottom."""
Shares = npt.NDArray[np.floating[Any]]
"""Of a map, -1 to 1: of the strongest colour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """Where a map lies: a rectangle of the film as it is seen, turned by its EXIF orientation, in stored pixels."""

    width_px: int
    height_px: int
    """Of the whole film, with its bars."""
    left_px: int
    top_px: int
    right_px: int
    bottom_px: int

    @classmethod
    def of(cls, facts: Facts) -> "Area":
        """Return where the film without its bars lies."""
        bars = facts.bars
        sides = (bars.left, bars.top, bars.right, bars.bottom)
        width, height = facts.width_px, facts.height_px
        if facts.orientation > 4:  # noqa: PLR2004  (rows and columns exchanged, and then as the four before)
            sides = (bars.top, bars.left, bars.bottom, bars.right)
            width, height = height, width
        left, top, right, bottom = sides
        flips = (facts.orientation - 1) % 4
        if flips in (1, 2):
            left, right = right, left
        if flips in (2, 3):
            top, bottom = bottom, top
        return cls(
            width_px=width,
            height_px=height,
            left_px=left,
            top_px=top,
            right_px=width - right,
            bottom_px=height - bottom,
        )


def explanation(activation_map: Map, facts: Facts) -> dict[str, Any]:
    """Return the map and where it lies, of what JSON holds. Its sum and a constant are the film's log odds."""
    each = activation_map / activation_map.size
    return {
        "map": [[round(float(value), 4) for value in row] for row in each],
        "unit": UNIT,
        **asdict(Area.of(facts)),
    }


def picture(film: Film, activation_map: Map, *, opacity: float) -> bytes:
    """Return a PNG file of the film as the model sees it, in its own geometry, with the map over it and a legend.

    Args:
        film: Its pixels are squashed; they are drawn as wide and as high as the film is.
        activation_map: (S, S), of the film.
        opacity: Of the map, 0 to 1; at 0 the film is drawn alone, without a legend.
    """
    area = Area.of(film.facts)
    scale = LONGEST_PX / max(area.width_px, area.height_px)
    box = [round(scale * side) for side in (area.left_px, area.top_px, area.right_px, area.bottom_px)]
    size = (max(box[2] - box[0], 1), max(box[3] - box[1], 1))
    canvas = Image.new("RGB", (round(scale * area.width_px), round(scale * area.height_px)))
    grey = Image.fromarray(film.pixels).resize(size, Image.Resampling.BICUBIC)
    canvas.paste(grey, (box[0], box[1]))
    if opacity:
        each = activation_map / activation_map.size
        largest = max(float(np.abs(each).max()), 1e-6)
        _colour(canvas, each / largest, box=(box[0], box[1]), size=size, opacity=opacity)
        canvas = _with_legend(canvas, largest)
    # Stored: to compress it takes as long as to draw it, and 270 kB become no less than 100.
    return bytes(imagecodecs.png_encode(np.asarray(canvas), level=0, filter=imagecodecs.PNG.FILTER.NO))


def _colour(
    canvas: Image.Image,
    shares: Shares,
    *,
    box: tuple[int, int],
    size: tuple[int, int],
    opacity: float,
) -> None:
    """Lay the colours over the film."""
    # Resized once: below the middle is AGAINST, above it FOR, and the further from it the stronger.
    signed = Image.fromarray(np.rint(MIDDLE * (1 + shares)).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    levels = np.arange(256)
    strength = np.rint(255 * opacity * np.abs(levels / MIDDLE - 1).clip(0, 1)).astype(int).tolist()
    colours = [
        signed.point(np.where(levels < MIDDLE, against, in_favour).tolist())
        for against, in_favour in zip(AGAINST, FOR, strict=True)
    ]
    canvas.paste(Image.merge("RGB", colours), box, signed.point(strength))


def _with_legend(film: Image.Image, largest: float) -> Image.Image:
    """Return the film (W, H) above a strip with the colours, what they mean, and the disclaimer."""
    whole = Image.new("RGB", (LONGEST_PX, film.height + LEGEND_PX))
    whole.paste(film, ((whole.width - film.width) // 2, 0))
    whole.paste(_strip(), (0, film.height))
    draw = ImageDraw.Draw(whole)
    y = film.height + LEGEND_ROWS[0]
    draw.text((24, y), f"{-largest:+.2f}", fill="white", font=_font(), anchor="lm")
    draw.text((whole.width - 24, y), f"{largest:+.2f}", fill="white", font=_font(), anchor="rm")
    return whole


@cache
def _strip() -> Image.Image:
    """Return what is the same in all legends; text takes long to draw."""
    strip = Image.new("RGB", (LONGEST_PX, LEGEND_PX))
    draw = ImageDraw.Draw(strip)
    for left, colour in ((4, AGAINST), (LONGEST_PX - 20, FOR)):
        draw.rectangle((left, LEGEND_ROWS[0] - 6, left + 15, LEGEND_ROWS[0] + 6), fill=colour)
    for y, text in zip(LEGEND_ROWS, (MEANING, DISCLAIMER), strict=True):
        # Twice, because the font's own spaces cannot be seen at this size.
        draw.text((LONGEST_PX // 2, y), text.replace(" ", "  "), fill="white", font=_font(), anchor="mm")
    return strip


@cache
def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(11)
