"""How the child lay and how the beam was framed, at random: mirrored, turned, sheared, cropped close or taken wide.

In the public data set the films of one class were framed closer than those of the other: a model may learn that instead
of the lungs. So every side of the frame moves on its own, and by much more inwards than films of the set differ by.
"""

import math
import random

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from training.figures.metrics import Pixels

MARGIN = 0.5
"""Of a film's side, added around it before it is turned, so that no corner shows what lies outside."""


class RandomFraming(torch.nn.Module):
    """Field of view: move each side of the frame by up to `limit` of the film, inwards or outwards over black."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, film: Tensor) -> Tensor:
        """Change one film (1, H, W), uint8."""
        image = Image.fromarray(film[0].numpy())
        width, height = image.size
        left, top, right, bottom = (random.uniform(-self.limit, self.limit) for _ in range(4))  # noqa: S311
        box = (left * width, top * height, (1 + right) * width, (1 + bottom) * height)
        framed = image.transform(image.size, Image.Transform.EXTENT, box, Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(framed)).unsqueeze(0)  # (1, H, W)


class RandomView(torch.nn.Module):
    """Mirror, turn, shear and frame a film in one resampling, and fill the outside by its edge, or evenly.

    The outside is not always black: the server trims even bars, and black corners would show that a film was turned.
    """

    def __init__(self, *, inwards: float, outwards: float, degrees: float, shear: float, framed: float = 0.9) -> None:
        """Set the limits.

        Args:
            inwards: how far each side of the frame moves inwards at most, as a share of the film's side.
            outwards: how far outwards.
            degrees: to which a film is turned at most, either way.
            shear: to which its upright lines lean at most, in degrees, either way.
            framed: how many films are framed anew; the others are only mirrored, turned and sheared.
        """
        super().__init__()
        self.inwards, self.outwards, self.framed = inwards, outwards, framed
        self.degrees, self.shear = degrees, shear

    def forward(self, film: Tensor) -> Tensor:
        """Change one square film (1, S, S), uint8."""
        pixels: Pixels = film[0].numpy()
        side = len(pixels)
        margin = round(MARGIN * side)
        image = Image.fromarray(_surrounded(pixels, margin))
        matrix = _shifted(self._matrix(), side, margin)
        seen = image.transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(seen)).unsqueeze(0)  # (1, S, S)

    def _matrix(self) -> npt.NDArray[np.float64]:
        """Draw where a point of the new film lies in the old one: (2, 3), both from -0.5 to 0.5."""
        left, top, right, bottom = 0.0, 0.0, 1.0, 1.0
        if random.random() < self.framed:  # noqa: S311
            insets = [random.uniform(-self.outwards, self.inwards) for _ in range(4)]  # noqa: S311
            left, top, right, bottom = insets[0], insets[1], 1 - insets[2], 1 - insets[3]
        angle = math.radians(random.uniform(-self.degrees, self.degrees))  # noqa: S311
        lean = math.tan(math.radians(random.uniform(-self.shear, self.shear)))  # noqa: S311
        mirrored = random.choice((-1.0, 1.0))  # noqa: S311
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        frame = np.array([[(right - left) * mirrored, 0.0], [0.0, bottom - top]])
        centre = np.array([(left + right - 1) / 2, (top + bottom - 1) / 2])
        around = turn @ np.array([[1.0, lean], [0.0, 1.0]])
        return np.column_stack([around @ frame, around @ centre])


def _surrounded(pixels: Pixels, margin: int) -> Pixels:
    """Return a film (S, S) with a margin that repeats its edge, or is of one level."""
    if random.choice((True, False)):  # noqa: S311
        return np.pad(pixels, margin, mode="edge")
    return np.pad(pixels, margin, constant_values=random.choice((0, int(np.median(pixels[0])))))  # noqa: S311


def _shifted(matrix: npt.NDArray[np.float64], side: int, margin: int) -> tuple[float, ...]:
    """Return a matrix between points from -0.5 to 0.5 as one between pixels, from (S, S) to (S + 2 margin) a side."""
    middle = side / 2
    linear = matrix[:, :2]
    offset = margin + middle + side * matrix[:, 2] - linear @ np.array([middle, middle])
    return (*linear[0], offset[0], *linear[1], offset[1])
