"""Random changes to training films: what other clinics' detectors, exposures and exports do to a film.

All act on one grey film, a uint8 tensor (1, 224, 224), in the worker processes of the loader.
"""

import io
import math
import random
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from handler.exposure import find_window, stretch
from training.figures.metrics import Pixels
from training.learn.look import OtherLook, OtherMarks, OtherShading
from training.learn.recipe import Augmentation
from training.learn.view import RandomFraming, RandomView

Transform = Callable[[Tensor], Tensor]

_KERNELS = (Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
_SIGNS = "LRAPSUPINE0123456789"
"""Of the texts that are burnt in."""
_EDGE = 0.12
"""How far from the edge they begin, as a share of the side."""


def with_gamma(film: Tensor, *, limit: float) -> Tensor:
    """Change the exposure: raise the film, in [0, 1], to a log-uniform power between 1 / limit and limit."""
    changed: Tensor = functional.adjust_gamma(film, math.exp(random.uniform(-math.log(limit), math.log(limit))))  # noqa: S311
    return changed


def with_detail(film: Tensor, *, low: float, high: float) -> Tensor:
    """Change the processing: scale all detail finer than a random radius of 1 to 8 pixels by a gain of `low` to `high`.

    Detectors' software enhances detail, each maker's in another way, and in the public data set most NORMAL films carry
    a quarter more of it than the PNEUMONIA ones do: a model that leans on that fails on films of other detectors.
    """
    image = Image.fromarray(film[0].numpy())
    radius_px = math.exp(random.uniform(0.0, math.log(8.0)))  # noqa: S311
    gain = math.exp(random.uniform(math.log(low), math.log(high)))  # noqa: S311
    # Beyond 1, blend extrapolates: smooth + gain * (image - smooth).
    return _tensor(Image.blend(image.filter(ImageFilter.GaussianBlur(radius_px)), image, gain))


def resampled(film: Tensor, *, low_px: int) -> Tensor:
    """Change the resolution: shrink to between `low_px` and the full size with one kernel, and grow with another."""
    image = Image.fromarray(film[0].numpy())
    size_px = random.randint(low_px, image.width)  # noqa: S311
    small = image.resize((size_px, size_px), random.choice(_KERNELS))  # noqa: S311
    return _tensor(small.resize(image.size, random.choice(_KERNELS)))  # noqa: S311


def compressed(film: Tensor, *, low: int, high: int) -> Tensor:
    """Encode as a JPEG of a quality between `low` and `high`, and decode again."""
    file = io.BytesIO()
    Image.fromarray(film[0].numpy()).save(file, format="JPEG", quality=random.randint(low, high))  # noqa: S311
    return _tensor(Image.open(file))


def with_noise(film: Tensor, *, limit: float) -> Tensor:
    """Add grain: Gaussian noise of a standard deviation up to `limit` grey levels."""
    noise = torch.randn(film.shape) * random.uniform(0.0, limit)  # noqa: S311
    return (film + noise).round_().clamp_(0, 255).to(torch.uint8)


def with_letters(film: Tensor) -> Tensor:
    """Burn one to three short texts of 9 to 36 pixels into the film's edges, as sides and dates are."""
    image = Image.fromarray(film[0].numpy())
    draw = ImageDraw.Draw(image)
    for _ in range(random.randint(1, 3)):  # noqa: S311
        text = "".join(random.choices(_SIGNS, k=random.randint(1, 7)))  # noqa: S311
        along, across = random.random(), random.uniform(0.0, _EDGE)  # noqa: S311
        place = random.choice([(along, across), (along, 1 - across), (across, along), (1 - across, along)])  # noqa: S311
        draw.text(
            (place[0] * image.width, place[1] * image.height),
            text,
            fill=random.choice([0, 255, random.randint(120, 255)]),  # noqa: S311
            font=ImageFont.load_default(random.randint(9, 36)),  # noqa: S311
            anchor="mm",
        )
    return _tensor(image)


def exposed(film: Tensor) -> Tensor:
    """Stretch a film to the window of its levels, as the server does with every film: the last of the changes."""
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
            exposed,
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
_PROCESSING: list[Transform] = [
    partial(with_gamma, limit=1.4),
    v2.ColorJitter(brightness=0.15, contrast=0.25),
    v2.RandomApply([partial(with_detail, low=0.45, high=1.8)], p=0.5),
    v2.RandomApply([with_letters], p=0.25),
    v2.RandomApply([partial(resampled, low_px=80)], p=0.3),
    v2.RandomApply([partial(with_noise, limit=10.0)], p=0.3),
    v2.RandomApply([partial(compressed, low=35, high=95)], p=0.5),
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
            partial(with_gamma, limit=1.7),
            v2.ColorJitter(brightness=0.25, contrast=0.35),
            v2.RandomEqualize(p=0.05),
            v2.RandomAutocontrast(p=0.2),
            v2.RandomAdjustSharpness(2.5, p=0.2),
            v2.RandomApply([v2.GaussianBlur(5, sigma=(0.3, 1.5))], p=0.2),
            v2.RandomApply([partial(resampled, low_px=90)], p=0.3),
            v2.RandomApply([partial(with_noise, limit=14.0)], p=0.3),
            v2.RandomApply([partial(compressed, low=35, high=95)], p=0.5),
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
    "framing": v2.Compose([_VIEW, *_PROCESSING, exposed]),
}


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).unsqueeze(0)  # (1, H, W)
