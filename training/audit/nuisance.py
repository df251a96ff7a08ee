"""How much of the label shows without lungs: by the edges of films, their framing, levels, detail and files.

A small classifier, the same for all, sees one of these and nothing else. It is judged on patients that it has not
learned from. What it recognises, a network can: where that is much, accuracy on films of the same source says little of
the lungs. No model of ours is needed, so a site can look at its films before it relies on any.

Source: the idea of Maguolo and Nanni, A critic evaluation of methods for COVID-19 automatic detection from X-ray
images, Information Fusion 76 (2021) 1-7, who blacked the lungs out.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline

from training.changes.framing import find_frames
from training.data.films import DecodedFilms, folds_for, split_by_patient
from training.figures.metrics import Floats, Labels, Pixels, bootstrap_ci, roc_auc, with_ends

BAND = 0.12
"""Width of the band along the edges, as a share of the side."""
MIDDLE = 0.25
"""How far the blanked middle begins from the sides: lungs, heart and spine lie in it, whatever the framing."""
BLOCK_PX = 8
"""A picture is seen as the means of blocks of so many pixels a side."""
COMPONENTS = 48
"""Principal components that a picture is seen by: 28x28 blocks are too many for trees."""
QUANTILES = np.linspace(0.01, 0.99, 33)
RINGS = 24
"""Bands of frequency that the spectrum of fine detail has."""
ROUNDS = 500
"""Of the bootstrap."""
FINE = 0.25
"""Where fine detail begins, as a share of the highest frequency: what spans fewer than 8 pixels."""


def border(films: DecodedFilms) -> Floats:
    """Return what is within 12 % of the edges, (N, K)."""
    return _blocks_outside(films.pixels, BAND)


def blanked(films: DecodedFilms) -> Floats:
    """Return all but the middle half of each side, (N, K)."""
    return _blocks_outside(films.pixels, MIDDLE)


def framing(films: DecodedFilms) -> Floats:
    """Return where the chest lies, (N, 4), but not how well it was found, which depends on the lungs.

    Where consolidation hides it, it may be found in a wrong place: what framing shows is a little less than this.
    """
    return find_frames(films.pixels, films.labels).boxes


def levels(films: DecodedFilms) -> Floats:
    """Return the quantiles of each film's grey levels, (N, 33)."""
    return np.stack([np.quantile(film, QUANTILES) for film in films.pixels])


def detail(films: DecodedFilms) -> Floats:
    """Return the logarithm of the power at high frequencies, (N, 24), of nothing coarser than 8 pixels.

    Source: van der Schaaf and van Hateren, Modelling the power spectra of natural images, Vision Research 36 (1996).
    """
    side = films.pixels.shape[1]
    rows, columns = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    radius = np.hypot(rows, columns) / 0.5
    ring = np.floor((radius - FINE) / (1 - FINE) * RINGS).astype(np.int64)
    inside = (ring >= 0) & (ring < RINGS)
    counts = np.bincount(ring[inside], minlength=RINGS)
    window = np.hanning(side)[:, None] * np.hanning(side)  # else the edges' leap would be taken for detail
    powers = [np.abs(np.fft.rfft2((film - film.mean()) * window)) ** 2 for film in films.pixels]
    sums = np.stack([np.bincount(ring[inside], weights=power[inside], minlength=RINGS) for power in powers])
    spectrum: Floats = np.log(sums / counts + 1.0)
    return spectrum


def file_facts(films: DecodedFilms) -> Floats:
    """Return size in bytes, width, height, aspect and format of the files, (N, 5)."""
    kinds = sorted({facts.kind for facts in films.facts})
    return np.array(
        [
            (
                file.path.stat().st_size,
                facts.width_px,
                facts.height_px,
                facts.width_px / facts.height_px,
                kinds.index(facts.kind),
            )
            for file, facts in zip(films.files, films.facts, strict=True)
        ],
        dtype=np.float64,
    )


def whole(films: DecodedFilms) -> Floats:
    """Return the whole film, (N, 784): what the same small classifier reaches where nothing is hidden from it."""
    return _blocks(films.pixels).reshape(len(films.pixels), -1)


CLUES: Mapping[str, Callable[[DecodedFilms], Floats]] = {
    "edges, 12 % of each side": border,
    "film with its middle blanked": blanked,
    "framing": framing,
    "grey levels": levels,
    "fine detail": detail,
    "file: size, width, height, format": file_facts,
    "whole film, for comparison": whole,
}
"""What the classifier sees, by the name that reports give it."""


def shown_without_lungs(films: DecodedFilms) -> list[dict[str, Any]]:
    """Return how well each of CLUES by itself separates the classes: cross-fitted ROC-AUC, 95 % interval by patient.

    Raises:
        DataError: a class has films of one patient only.
    """
    patients = [file.patient for file in films.files]
    rows = []
    for name, clue in CLUES.items():
        answers = cross_fitted(films, clue(films))
        ends = bootstrap_ci(partial(_area, films.labels, answers), patients, rounds=ROUNDS)[0]
        rows.append({"clue": name, "roc_auc": with_ends(roc_auc(films.labels, answers), ends.tolist())})
    return rows


def cross_fitted(films: DecodedFilms, seen: Floats) -> Floats:
    """Return the probability (N,) of PNEUMONIA by what is seen (N, K) of films, each predicted without its patient.

    Raises:
        DataError: a class has films of one patient only.
    """
    answers = np.zeros(len(seen))
    folds = folds_for(films)
    for fold in range(folds):
        learned, judged = split_by_patient(films, folds=folds, fold=fold, seed=0)
        answers[judged] = _learned(seen[learned], films.labels[learned]).predict_proba(seen[judged])[:, 1]
    return answers


def _learned(seen: Floats, labels: Labels) -> Any:
    trees = HistGradientBoostingClassifier(max_iter=120, max_leaf_nodes=8, learning_rate=0.1, random_state=0)
    if seen.shape[1] > 2 * COMPONENTS:
        components = min(COMPONENTS, len(seen) - 1)
        model = make_pipeline(PCA(components, svd_solver="randomized", random_state=0), trees)
    else:
        model = trees
    return model.fit(seen, labels)


def _blocks(pixels: Pixels) -> Floats:
    """Return films (N, S, S) as the means of blocks, (N, S / 8, S / 8)."""
    count, side = len(pixels), pixels.shape[1] // BLOCK_PX
    means: Floats = pixels.reshape(count, side, BLOCK_PX, side, BLOCK_PX).mean(axis=(2, 4))
    return means


def _blocks_outside(pixels: Pixels, depth: float) -> Floats:
    """Return the blocks (N, K) of films that begin within a share `depth` of the edges."""
    blocks = _blocks(pixels)
    side = blocks.shape[1]
    margin = round(depth * side)
    outside = np.ones((side, side), dtype=np.bool_)
    outside[margin : side - margin, margin : side - margin] = False
    return blocks[:, outside]


def _area(labels: Labels, answers: Floats, weights: Floats) -> Floats:
    return np.array([roc_auc(labels, answers, weights)])
