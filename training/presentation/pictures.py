"""Variations of films, and pictures that are none, from which `training.presentation.net` learns.

All act on batches: films as uint8 (B, 56, 56), pictures as the network sees them, (B, 32, 32) from -1, black, to 1.
"""

from functools import cache

import torch
import torch.nn.functional as F  # noqa: N812
from sklearn.datasets import load_sample_images
from torch import Tensor

from handler.presentation import SIDE


class _Dice:
    """Random numbers, one for each picture of a batch."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.count, self.generator = count, generator

    def between(self, low: float, high: float) -> Tensor:
        """Return uniform numbers (B, 1, 1)."""
        return low + (high - low) * torch.rand(self.count, 1, 1, generator=self.generator)

    def near(self, limit: float) -> Tensor:
        """Return numbers (B, 1, 1) from -limit to limit, most of them small."""
        return self.between(-limit, limit) * self.between(0.0, 1.0)

    def happens(self, share: float) -> Tensor:
        """Return for which pictures, (B, 1, 1), something happens."""
        return self.between(0.0, 1.0) < share

    def level(self) -> Tensor:
        """Return grey levels (B, 1, 1), 0 to 1: two fifths of them black or white."""
        extreme = self.happens(0.6).float()
        return torch.where(self.happens(0.4), extreme, self.between(0.0, 1.0))

    def normal(self, *size: int) -> Tensor:
        """Return normal numbers (B, *size)."""
        return torch.randn(self.count, *size, generator=self.generator)

    def rectangle(self, least: float, most: float) -> Tensor:
        """Return where, (B, 32, 32), a rectangle lies, its sides `least` to `most`, perhaps partly outside."""
        along = torch.arange(SIDE, dtype=torch.float32)
        inside = []
        for shape in ((self.count, SIDE, 1), (self.count, 1, SIDE)):
            start = self.between(-most / 2, SIDE)
            places = along.expand(self.count, SIDE).reshape(shape)
            inside.append((places >= start) & (places < start + self.between(least, most)))
        return inside[0] & inside[1]


def varied(films: Tensor, generator: torch.Generator) -> Tensor:
    """Return films as another clinic might take, frame, expose, mark and store them."""
    dice = _Dice(len(films), generator)
    pictures = _reframed(films.unsqueeze(1) / 255.0, dice)
    gamma = torch.exp(dice.between(-0.7, 0.7))
    # Either end of the levels may be the one that is spread.
    pictures = torch.where(dice.happens(0.5), pictures**gamma, 1.0 - (1.0 - pictures) ** gamma)
    for _ in range(2):  # letters, shields, cables
        mark = dice.happens(0.3) & dice.rectangle(1.0, 10.0)
        pictures = torch.where(mark, dice.level(), pictures)
    low, high = dice.near(0.2), 1.0 + dice.near(0.2)  # other percentiles for the window
    pictures = (pictures - low) / (high - low)
    pictures = pictures + dice.normal(SIDE, SIDE) * dice.near(0.08)
    return pictures.clamp(0.0, 1.0) * 2.0 - 1.0


def _reframed(films: Tensor, dice: _Dice) -> Tensor:
    """Return films (B, 1, 56, 56), 0 to 1, turned by up to 17 degrees, moved, scaled and squashed, (B, 32, 32)."""
    angle = 0.3 * dice.between(-1.0, 1.0) ** 3
    across = torch.exp(dice.near(0.3))
    along = across * torch.exp(dice.near(0.25))
    rows = [
        torch.cat([angle.cos() * across, -angle.sin() * along, dice.near(0.2)], dim=2),
        torch.cat([angle.sin() * across, angle.cos() * along, dice.near(0.2)], dim=2),
    ]
    grid = F.affine_grid(torch.cat(rows, dim=1), [len(films), 1, SIDE, SIDE], align_corners=False)
    pictures = F.grid_sample(films, grid, padding_mode="border", align_corners=False)[:, 0]
    inside = F.grid_sample(torch.ones_like(films), grid, padding_mode="zeros", align_corners=False)[:, 0]
    bars = inside * pictures + (1.0 - inside) * torch.where(dice.happens(0.6), 0.0, dice.between(0.0, 1.0))
    return torch.where(dice.happens(0.4), pictures, bars).clamp(0.0, 1.0)


def other_pictures(films: Tensor, generator: torch.Generator) -> Tensor:
    """Return as many pictures that are no chest film, made partly of pieces of `films`."""
    dice = _Dice(len(films), generator)
    makers = (_pieces, _shuffled, _sheets, _noise, _rectangles, _ellipses, _photographs)
    kinds = torch.stack([make(films, dice) for make in makers])  # (7, B, 32, 32)
    chosen = torch.randint(len(makers), (len(films),), generator=generator)
    pictures = kinds[chosen, torch.arange(len(films))]
    low, high = (pictures.flatten(1).quantile(share, dim=1).view(-1, 1, 1) for share in (0.01, 0.99))
    return ((pictures - low) / (high - low).clamp(min=1e-3)).clamp(0.0, 1.0) * 2.0 - 1.0


def _pieces(films: Tensor, dice: _Dice) -> Tensor:
    """Return pieces of films, an eighth to two fifths of their sides."""
    return _pieces_of(films.unsqueeze(1).float(), dice, low=0.12, high=0.4)


def _pieces_of(pictures: Tensor, dice: _Dice, *, low: float, high: float) -> Tensor:
    """Return pieces of pictures (B, 1, H, W), `low` to `high` of their sides, (B, 32, 32)."""
    scale, none = dice.between(low, high), torch.zeros(dice.count, 1, 1)
    rows = [
        torch.cat([scale, none, dice.between(-1.0, 1.0) * (1.0 - scale)], dim=2),
        torch.cat([none, scale, dice.between(-1.0, 1.0) * (1.0 - scale)], dim=2),
    ]
    grid = F.affine_grid(torch.cat(rows, dim=1), [dice.count, 1, SIDE, SIDE], align_corners=False)
    pieces: Tensor = F.grid_sample(pictures, grid, align_corners=False)
    return pieces[:, 0]


def _shuffled(films: Tensor, dice: _Dice) -> Tensor:
    """Return films cut into sixteen squares that lie in another order."""
    small = F.interpolate(films.unsqueeze(1).float(), size=(SIDE, SIDE), mode="area")
    squares = F.unfold(small, SIDE // 4, stride=SIDE // 4)  # (B, 64, 16)
    order = torch.rand(dice.count, 16, generator=dice.generator).argsort(dim=1)
    squares = squares.gather(2, order.unsqueeze(1).expand_as(squares))
    return F.fold(squares, (SIDE, SIDE), SIDE // 4, stride=SIDE // 4)[:, 0]


def _sheets(films: Tensor, dice: _Dice) -> Tensor:
    """Return sheets of films: two beside each other, two below each other, or four."""
    order = torch.randperm(dice.count, generator=dice.generator)
    half, quarter = SIDE // 2, (SIDE // 2, SIDE // 2)
    tall, wide, small = (
        F.interpolate(films.unsqueeze(1).float(), size=size, mode="area")[:, 0]
        for size in ((SIDE, half), (half, SIDE), quarter)
    )
    beside = torch.cat([tall, tall[order]], dim=2)
    below = torch.cat([wide, wide[order]], dim=1)
    row = torch.cat([small, small[order]], dim=2)
    four = torch.cat([row, row.flip(0)], dim=1)
    return torch.where(dice.happens(0.2), four, torch.where(dice.happens(0.5), beside, below))


def _noise(_films: Tensor, dice: _Dice) -> Tensor:
    """Return noise of several scales."""
    pictures = 0.01 * dice.normal(SIDE, SIDE)
    for size in (2, 3, 4, 8, 16, 32):
        layer = F.interpolate(dice.normal(1, size, size), size=(SIDE, SIDE), mode="bicubic")[:, 0]
        pictures = pictures + layer * dice.between(0.0, 1.0) ** 3 * dice.happens(0.5)
    return pictures


def _rectangles(_films: Tensor, dice: _Dice) -> Tensor:
    """Return pages, screens and windows: rectangles on each other, some with grain."""
    pictures = dice.level().expand(-1, SIDE, SIDE)
    for _ in range(8):
        shown = dice.happens(0.6) & dice.rectangle(1.0, 24.0)
        pictures = torch.where(shown, dice.level(), pictures)
    return pictures + 0.05 * dice.normal(SIDE, SIDE) * dice.between(0.0, 1.0)


def _ellipses(_films: Tensor, dice: _Dice) -> Tensor:
    """Return a slope of light with soft ellipses: a head, a limb, a lamp."""
    across = torch.linspace(-1.0, 1.0, SIDE).view(1, 1, SIDE)
    along = across.transpose(1, 2)
    pictures = dice.between(-1.0, 1.0) * across + dice.between(-1.0, 1.0) * along
    for _ in range(3):
        x = (across - dice.between(-0.8, 0.8)) / dice.between(0.15, 1.0)
        y = (along - dice.between(-0.8, 0.8)) / dice.between(0.15, 1.0)
        edge = torch.sigmoid((1.0 - x**2 - y**2) * dice.between(1.0, 10.0))
        pictures = pictures + dice.between(-1.5, 1.5) * edge
    return pictures


def _photographs(_films: Tensor, dice: _Dice) -> Tensor:
    """Return pieces of photographs, a fifth of their sides to the whole."""
    photographs = _sample_photographs()
    chosen = torch.randint(len(photographs), (dice.count,), generator=dice.generator)
    return _pieces_of(photographs[chosen], dice, low=0.2, high=1.0)


@cache
def _sample_photographs() -> Tensor:
    """Return scikit-learn's photographs, grey, each also mirrored and turned, (N, 1, 128, 128)."""
    grey = torch.stack([torch.from_numpy(image.copy()).float().mean(dim=2) for image in load_sample_images().images])
    small = F.interpolate(grey.unsqueeze(1), size=(128, 128), mode="area")
    turned = torch.cat([small.rot90(quarters, dims=(2, 3)) for quarters in range(4)])
    return torch.cat([turned, turned.flip(3), 255.0 - turned])
