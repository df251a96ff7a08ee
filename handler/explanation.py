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
AGAINST, FOR = (64, 130, 230), (240, 140, 20)
"""Blue and orange, which colour-blind people tell apart as well."""
STRIP = "{least:+.2f}  against  |  for  {most:+.2f}   log odds of pneumonia"
DISCLAIMER = "Not a medical device. Not for diagnosis."

Map = npt.NDArray[np.float32]
"""(S, S), over the film without its bars, rows from top to bottom."""


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
        share = each / largest  # -1 to 1
        for colour, part in ((AGAINST, -share), (FOR, share)):
            strength = Image.fromarray(np.rint(255 * opacity * part.clip(0, 1)).astype(np.uint8))
            canvas.paste(colour, (box[0], box[1]), strength.resize(size, Image.Resampling.BICUBIC))
        canvas = _with_legend(canvas, largest)
    # Stored: to compress it takes as long as to draw it, and 270 kB become no less than 100.
    return bytes(imagecodecs.png_encode(np.asarray(canvas), level=0, filter=imagecodecs.PNG.FILTER.NO))


@cache
def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(11)


def _with_legend(film: Image.Image, largest: float) -> Image.Image:
    """Return the film (W, H) above a strip with the colours, what they mean, and the disclaimer."""
    whole = Image.new("RGB", (max(film.width, LONGEST_PX), film.height + LEGEND_PX))
    whole.paste(film, ((whole.width - film.width) // 2, 0))
    draw = ImageDraw.Draw(whole)
    ends = ((4, AGAINST), (whole.width - 20, FOR))
    for left, colour in ends:
        draw.rectangle((left, film.height + 6, left + 15, film.height + 18), fill=colour)
    middle = whole.width // 2
    text = STRIP.format(least=-largest, most=largest)
    draw.text((middle, film.height + 12), text, fill="white", font=_font(), anchor="mm")
    draw.text((middle, film.height + 32), DISCLAIMER, fill="white", font=_font(), anchor="mm")
    return whole
