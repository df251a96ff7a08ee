"""python -m training.data.composites --data DIR_OR_CSV [--out reference] [--seed 1]

Make reference films that are no patient's: the mean of the typical films of a class plus their principal components
with random coefficients. Each is written at 224x224, and about 1,500 pixels wide with film grain, so that decoding it
costs what a real film's does.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.decomposition import PCA

from handler.imaging import INPUT_PX
from training import cli
from training.data.films import DecodedFilms, decode_films, find_films, without_copies
from training.figures.metrics import LABELS, Pixels
from training.files import make_folder

logger = logging.getLogger(__name__)

COUNT = 2
"""Composites of each class."""
TYPICAL = 300
"""Films of each class, those nearest to its mean, that a composite is made of: lungs that lie in the same place, for a
mean with ribs in it. Taken from all films it is a blur, and a blur looks like pneumonia."""
COMPONENTS = 200
"""Principal components: with these, composites compress to the size of real films and have their contrast."""

_WIDTH_PX = (1400, 1700)
_ASPECT = (1.15, 1.45)
"""Width over height of published originals."""
_SMALL_QUALITY = 90
_LARGE_QUALITY = 85
_GRAIN_STD = 3.0
"""In grey levels: a squash to 224x224 averages it away, a JPEG spends the bytes of a real film on it."""


def composites(films: Pixels, rng: np.random.Generator, *, count: int = COUNT, components: int = COMPONENTS) -> Pixels:
    """Return random members of a class that are none of its films.

    Args:
        films: (N, height, width), grey.
        rng: draws the coefficients, normally distributed with the variance that the films have.
        count: how many composites.
        components: how many principal components; at most N - 1 are used.

    Returns:
        (count, height, width), 0 to 255.

    Source: Turk and Pentland, Eigenfaces for Recognition, Journal of Cognitive Neuroscience 3 (1991) 71-86.
    """
    flat = films.reshape(len(films), -1).astype(np.float32)  # (N, height * width)
    pca = PCA(min(components, len(flat) - 1), svd_solver="randomized", random_state=0).fit(flat)
    coefficients = rng.normal(size=(count, pca.n_components_)) * np.sqrt(pca.explained_variance_)
    mixed: npt.NDArray[np.float64] = pca.mean_ + coefficients @ pca.components_
    return np.clip(mixed.round(), 0, 255).astype(np.uint8).reshape(count, *films.shape[1:])


def typical(films: Pixels, *, count: int = TYPICAL) -> Pixels:
    """Return the films (count, height, width) that correlate best with the mean of all."""
    mean = films.mean(axis=0, dtype=np.float32).ravel()
    likenesses = [_correlation(film.ravel(), mean) for film in films]
    return films[np.argsort(likenesses)[-count:]]


def enlarge(film: Pixels, rng: np.random.Generator) -> Pixels:
    """Return a film as a detector might have given it: larger, of another aspect ratio, with grain."""
    width = int(rng.integers(*_WIDTH_PX))
    height = round(width / rng.uniform(*_ASPECT))
    smooth = np.asarray(Image.fromarray(film).resize((width, height), Image.Resampling.LANCZOS), dtype=np.float32)
    grain = rng.normal(scale=_GRAIN_STD, size=smooth.shape)
    return np.clip((smooth + grain).round(), 0, 255).astype(np.uint8)


def likeness(composite: Pixels, films: Pixels) -> float:
    """Return the highest correlation, -1 to 1, of a composite (height, width) with any film (N, height, width).

    What all films share is taken off first, else two chests are always much alike.
    """
    mean = films.mean(axis=0, dtype=np.float32)
    return max(_correlation((film - mean).ravel(), (composite - mean).ravel()) for film in films)


def _correlation(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    return float(np.corrcoef(one, other)[0, 1])


def write(films: DecodedFilms, out: Path, *, seed: int) -> None:
    """Write the composites of both classes to the folder `out`."""
    for label, name in enumerate(LABELS):
        of_class = films.pixels[films.labels == label]
        # A generator for each class, so that one does not depend on the films of the other.
        rng = np.random.default_rng((seed, label))
        for number, film in enumerate(composites(typical(of_class), rng), start=1):
            stem = out / f"{name.lower()}-{number}"
            Image.fromarray(film).save(f"{stem}-{INPUT_PX}.jpeg", quality=_SMALL_QUALITY)
            Image.fromarray(enlarge(film, rng)).save(f"{stem}-1500.jpeg", quality=_LARGE_QUALITY)
            logger.info("%s: correlation with the likest film %.2f", stem, likeness(film, of_class))


def main() -> None:
    """Make composites, as the command line says."""
    parser = cli.parser(__doc__, "--data")
    parser.add_argument("--out", type=Path, default=Path("reference"), help="folder for the composites")
    parser.add_argument("--seed", type=int, default=1, help="of the coefficients, sizes and grain")
    args = parser.parse_args()
    films = without_copies(decode_films(find_films(args.data)))
    make_folder(args.out)
    write(films, args.out, seed=args.seed)


if __name__ == "__main__":
    cli.run(main)
