"""The look and the marks of other films, mixed into a film at random: what a scanner leaves, of either class.

In the public data set some scanners took films of hardly any but one class; their exposure curve, their shading and the
letters that they burn in give the class away without lungs. A film that has these of another film, drawn from either
class alike, keeps its label: what they say of it is no longer true, and there is nothing to gain by reading them.

Only films of the part that is learned from are drawn: nothing of a film held out is ever seen.
"""

import random

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.figures.metrics import Pixels

Floats = npt.NDArray[np.float32]

LEVELS = 256


class OtherLook(torch.nn.Module):
    """Exposure: move a film's levels towards those that have the same rank in another film, by a random share.

    Source: Gonzalez and Woods, Digital Image Processing, histogram specification; as an augmentation against other
    scanners, Yaras et al., Randomized Histogram Matching, IEEE JSTARS 2024 (arXiv:2104.14032).
    """

    def __init__(self, others: Pixels) -> None:
        """Note the histograms of films (N, S, S) to draw from."""
        super().__init__()
        self.ranks = np.stack([_ranks(film) for film in others])  # (N, 256)

    def forward(self, film: Tensor) -> Tensor:
        """Change one film (1, H, W), uint8."""
        pixels: Pixels = film[0].numpy()
        levels = np.arange(LEVELS, dtype=np.float32)
        other = np.interp(_ranks(pixels), random.choice(self.ranks), levels)  # noqa: S311
        share = random.random()  # noqa: S311
        table = np.rint((1 - share) * levels + share * other).astype(np.uint8)
        return torch.from_numpy(table[pixels]).unsqueeze(0)  # (1, H, W)


class OtherShading(torch.nn.Module):
    """Shading: move the amplitude of a film's lowest frequencies towards another film's, and keep the phase.

    Source: Yang and Soatto, FDA: Fourier Domain Adaptation for Semantic Segmentation, CVPR 2020; mixed by a random
    share as in Xu et al., A Fourier-based Framework for Domain Generalization, CVPR 2021.
    """

    def __init__(self, others: Pixels, *, waves: int) -> None:
        """Note the films (N, S, S) to draw from, and up to how many waves a side are exchanged."""
        super().__init__()
        self.others, self.waves = others, waves

    def forward(self, film: Tensor) -> Tensor:
        """Change one film (1, S, S), uint8."""
        pixels: Pixels = film[0].numpy()
        waves = random.randint(1, self.waves)  # noqa: S311
        mine, other = np.fft.rfft2(pixels), np.fft.rfft2(random.choice(self.others))  # noqa: S311
        low = np.r_[0 : waves + 1, -waves:0][:, None], np.arange(waves + 1)[None]
        share = random.random()  # noqa: S311
        amplitude = (1 - share) * np.abs(mine[low]) + share * np.abs(other[low])
        mine[low] = amplitude * np.exp(1j * np.angle(mine[low]))
        changed = np.fft.irfft2(mine, s=pixels.shape)
        return torch.from_numpy(np.clip(np.rint(changed), 0, 255).astype(np.uint8)).unsqueeze(0)  # (1, S, S)


class OtherMarks(torch.nn.Module):
    """Marks: lay corners and edges of another film over a film's, where letters, dates and collimation are.

    Source: the cut-and-paste of Yun et al., CutMix, ICCV 2019, but of borders only, and the label is kept.
    """

    def __init__(self, others: Pixels, *, corner: float, edge: float, corners: float, edges: float) -> None:
        """Set where marks come from.

        Args:
            others: (N, S, S), the films to draw from.
            corner: largest side of a corner that is exchanged, as a share of the film's; a third of it at least.
            edge: greatest width of an edge that is exchanged.
            corners: share of the corners that are exchanged.
            edges: share of the edges.
        """
        super().__init__()
        self.others, self.corner, self.edge = others, corner, edge
        self.corners, self.edges = corners, edges

    def forward(self, film: Tensor) -> Tensor:
        """Change one film (1, S, S), uint8."""
        pixels: Pixels = film[0].numpy().copy()
        other: Pixels = random.choice(self.others)  # noqa: S311
        side = len(pixels)
        for turns in range(4):
            mine, theirs = np.rot90(pixels, turns), np.rot90(other, turns)  # views
            if random.random() < self.corners:  # noqa: S311
                height, width = (round(side * random.uniform(self.corner / 3, self.corner)) for _ in range(2))  # noqa: S311
                mine[:height, :width] = theirs[:height, :width]
            if random.random() < self.edges:  # noqa: S311
                depth = round(side * random.uniform(0, self.edge))  # noqa: S311
                mine[:depth] = theirs[:depth]
        return torch.from_numpy(pixels).unsqueeze(0)  # (1, S, S)


def _ranks(pixels: Pixels) -> Floats:
    """Return the rank (256,) of each level in a film: the share of pixels below it, and half of those at it."""
    counts = np.bincount(pixels.reshape(-1), minlength=LEVELS)
    ranks: Floats = ((np.cumsum(counts) - counts / 2) / pixels.size).astype(np.float32)
    return ranks
