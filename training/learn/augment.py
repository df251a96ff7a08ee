"""Random changes to training films: what other clinics' detectors, exposures and exports do to a film.

All act on one grey film, a uint8 tensor (1, 224, 224), in the worker processes of the loader.
"""

import io
import math
import random
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from handler.exposure import find_window, stretch
from training.learn.look import OtherLook, OtherMarks, OtherShading
from training.learn.recipe import Augmentation
from training.learn.view import RandomFraming, RandomView

Transform = Callable[[Tensor], Tensor]
Pixels = npt.NDArray[np.uint8]


class RandomGamma(torch.nn.Module):
    """Exposure: raise the film, in [0, 1], to a log-uniform power between 1 / limit and limit."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = math.log(limit)

    def forward(self, film: Tensor) -> Tensor:
        """Change one film (1, H, W)."""
        gamma = math.exp(random.uniform(-self.limit, self.limit))  # noqa: S311
        changed: Tensor = functional.adjust_gamma(film, gamma)
        return changed


class RandomDetail(torch.nn.Module):
    """Processing: scale all detail finer than a random radius of 1 to 8 pixels by a gain of `low` to `high`.

    Detectors' software enhances detail, each maker's its own way, and in the public data set most NORMAL films carry a
    quarter more of it than the PNEUMONIA ones do: a model that may lean on that fails on films of other detectors.
    """

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.limits = math.log(low), math.log(high)

    def forward(self, film: Tensor) -> Tensor:
        """Change one film (1, H, W)."""
        image = Image.fromarray(film[0].numpy())
        radius_px = math.exp(random.uniform(0.0, math.log(8.0)))  # noqa: S311
        gain = math.exp(random.uniform(*self.limits))  # noqa: S311
        # Beyond 1, blend extrapolates: smooth + gain * (image - smooth).
        return _tensor(Image.blend(image.filter(ImageFilter.GaussianBlur(radius_px)), image, gain))


class RandomResampling(torch.nn.Module):
    """Resolution: shrink to between `low_px` and the full size with one kernel, and grow again with another."""

    _KERNELS = (Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)

    def __init__(self, low_px: int) -> None:
        super().__init__()
        self.low_px = low_px

    def forward(self, film: Tensor) -> Tensor:
        """Change one film (1, H, W)."""
        image = Image.fromarray(film[0].numpy())
        size_px = random.randint(self.low_px, image.width)  # noqa: S311
        small = image.resize((size_px, size_px), random.choice(self._KERNELS))  # noqa: S311
        return _tensor(small.resize(image.size, random.choice(self._KERNELS)))  # noqa: S311


class RandomJpeg(torch.nn.Module):
    """Compression: encode as a JPEG of a quality between `low` and `high`, and decode again."""

    def __init__(self, low: int, high: int) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, film: Tensor) -> Tensor:
        """Change one film (1, H, W)."""
        file = io.BytesIO()
        quality = random.randint(self.low, self.high)  # noqa: S311
        Image.fromarray(film[0].numpy()).save(file, format="JPEG", quality=quality)
        return _tensor(Image.open(file))


class RandomNoise(torch.nn.Module):
    """Grain: add Gaussian noise of a standard deviation up to `limit` grey levels."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, film: Tensor) -> Tensor:
        """Change one film (1, H, W)."""
        noise = torch.randn(film.shape) * random.uniform(0.0, self.limit)  # noqa: S311
        return (film + noise).round_().clamp_(0, 255).to(torch.uint8)


class RandomLetters(torch.nn.Module):
    """Marks: burn one to three short texts of 9 to 36 pixels into the film's edges, as sides and dates are."""

    _SIGNS = "LRAPSUPINE0123456789"
    _EDGE = 0.12

    def forward(self, film: Tensor) -> Tensor:
        """Change one film (1, H, W)."""
        image = Image.fromarray(film[0].numpy())
        draw = ImageDraw.Draw(image)
        for _ in range(random.randint(1, 3)):  # noqa: S311
            text = "".join(random.choices(self._SIGNS, k=random.randint(1, 7)))  # noqa: S311
            along, across = random.random(), random.uniform(0.0, self._EDGE)  # noqa: S311
            place = random.choice([(along, across), (along, 1 - across), (across, along), (1 - across, along)])  # noqa: S311
            draw.text(
                (place[0] * image.width, place[1] * image.height),
                text,
                fill=random.choice([0, 255, random.randint(120, 255)]),  # noqa: S311
                font=ImageFont.load_default(random.randint(9, 36)),  # noqa: S311
                anchor="mm",
            )
        return _tensor(image)


class Exposed(torch.nn.Module):
    """Stretch a film to the window of its levels, as the server does with every film: the last of the changes."""

    def forward(self, film: Tensor) -> Tensor:
        """Change one film (1, H, W)."""
        pixels = film[0].numpy()
        return torch.from_numpy(stretch(pixels, find_window(pixels)).copy()).unsqueeze(0)  # (1, H, W)


def augmentation(strength: Augmentation, others: Pixels | None = None) -> Transform:
    """Return the transform of a recipe's `augmentation`.

    Args:
        strength: its name.
        others: (N, 224, 224), the films that are learned from: the look and the marks of any are mixed into others.

    Raises:
        ValueError: the augmentation mixes films, and there are none.
    """
    if strength in _AUGMENTATIONS:
        return _AUGMENTATIONS[strength]
    if others is None or not len(others):
        raise ValueError(f"augmentation {strength!r} mixes films, and there are none to mix in")
    return _mixing(strength, others)


def _mixing(strength: Augmentation, others: Pixels) -> Transform:
    """Return the transform of an augmentation that mixes the look, the shading or the marks of other films in."""
    look, shading, marks, corners, edges = _MIXED[strength]
    mixing: Transform = v2.Compose(
        [
            v2.RandomApply([OtherLook(others)], p=look),
            v2.RandomApply([OtherShading(others, waves=4)], p=shading),
            _VIEW,
            # Where they are, however it is framed.
            v2.RandomApply([OtherMarks(others, corner=0.3, edge=0.1, corners=corners, edges=edges)], p=marks),
            *_PROCESSING,
            Exposed(),
        ]
    )
    return mixing


_MIXED: dict[str, tuple[float, float, float, float, float]] = {
    "look": (0.5, 0.0, 0.0, 0.0, 0.0),
    "shading": (0.5, 0.5, 0.0, 0.0, 0.0),
    "marks": (0.5, 0.0, 0.5, 0.5, 0.25),
    "others": (0.8, 0.25, 0.4, 0.5, 0.25),
    "scanners": (1.0, 0.5, 0.9, 0.75, 0.5),
}
"""How many films are given the look, the shading and the marks of another; how many corners and edges of those are."""

_BILINEAR = v2.InterpolationMode.BILINEAR

# What a detector's software, an export and an archive do to a film, while what it shows stays where it is.
_PROCESSING: list[torch.nn.Module] = [
    RandomGamma(1.4),
    v2.ColorJitter(brightness=0.15, contrast=0.25),
    v2.RandomApply([RandomDetail(0.45, 1.8)], p=0.5),
    v2.RandomApply([RandomLetters()], p=0.25),
    v2.RandomApply([RandomResampling(80)], p=0.3),
    v2.RandomApply([RandomNoise(10.0)], p=0.3),
    v2.RandomApply([RandomJpeg(35, 95)], p=0.5),
]

_VIEW = RandomView(inwards=0.25, outwards=0.08, degrees=10, shear=6)

_AUGMENTATIONS: dict[str, Transform] = {
    "none": v2.Identity(),
    "light": v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomAffine(degrees=7, translate=(0.05, 0.05), scale=(0.9, 1.1), interpolation=_BILINEAR),
            v2.ColorJitter(brightness=0.1, contrast=0.1),
        ]
    ),
    "strong": v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomResizedCrop(224, scale=(0.7, 1.0), ratio=(0.8, 1.25), antialias=True),
            v2.RandomAffine(degrees=12, translate=(0.06, 0.06), scale=(0.85, 1.1), shear=6, interpolation=_BILINEAR),
            RandomGamma(1.7),
            v2.ColorJitter(brightness=0.25, contrast=0.35),
            v2.RandomEqualize(p=0.05),
            v2.RandomAutocontrast(p=0.2),
            v2.RandomAdjustSharpness(2.5, p=0.2),
            v2.RandomApply([v2.GaussianBlur(5, sigma=(0.3, 1.5))], p=0.2),
            v2.RandomApply([RandomResampling(90)], p=0.3),
            v2.RandomApply([RandomNoise(14.0)], p=0.3),
            v2.RandomApply([RandomJpeg(35, 95)], p=0.5),
            v2.RandomErasing(p=0.25, scale=(0.02, 0.15), value=0),
        ]
    ),
    "processing": v2.Compose(_PROCESSING),
    # And how the child lay and the beam was framed.
    "acquisition": v2.Compose(
        [
            v2.RandomApply([RandomFraming(0.1)], p=0.25),
            v2.RandomApply([v2.RandomRotation(6, interpolation=_BILINEAR)], p=0.25),
            *_PROCESSING,
        ]
    ),
    # The same, but so wide that neither framing nor side carries information, and seen as the server would see it.
    "framing": v2.Compose([_VIEW, *_PROCESSING, Exposed()]),
}


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).unsqueeze(0)  # (1, H, W)
