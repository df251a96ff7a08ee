"""How far films lie from those that were learned from: the fit, and the limits of what is marked."""

from dataclasses import replace

import numpy as np

from handler.engine import Outputs
from handler.gate import Detector

DIRECTIONS = 192
"""Of those in which films differ most; all others count together. More would fill the file and catch no more adults."""

LEAST_VARIANCE = 1e-4
"""Of standardised statistics: what differs less among films differs by rounding."""

MARKED = 0.004
"""Share of the children's films held out that may be called unlike the training films. Contrast, levels, size and
mirrored films add as much again: all reasons together are to mark less than one in a hundred, at other sites too."""


def fit(statistics: Outputs, *, model_sha256: str) -> Detector:
    """Fit the distances on the statistics (N, D) of films; nothing is beyond a limit yet.

    The directions are rounded as their file rounds them.

    Source: Tipping and Bishop, Probabilistic Principal Component Analysis, J. R. Stat. Soc. B 61 (1999) 611-622.
    """
    exact = statistics.astype(np.float64)
    mean, scale = exact.mean(axis=0), exact.std(axis=0) + 1e-6
    standard = (exact - mean) / scale
    variances, directions = np.linalg.eigh(standard.T @ standard / len(standard))  # ascending
    variances = np.maximum(variances, LEAST_VARIANCE)
    kept = min(DIRECTIONS, len(variances) // 2)
    return Detector(
        mean=mean.astype(np.float32),
        scale=scale.astype(np.float32),
        directions=directions[:, : -kept - 1 : -1].astype(np.float16).astype(np.float32),
        variances=variances[: -kept - 1 : -1].astype(np.float32),
        rest=float(variances[:-kept].mean()),
        unlike=np.inf,
        foreign=np.inf,
        model_sha256=model_sha256,
    )


def limited(detector: Detector, held_out: Outputs, acquired: Outputs) -> Detector:
    """Return the detector with its limits, by distances of films that were not fitted on.

    Args:
        detector: the fitted one.
        held_out: (N,), of films as they are: the share MARKED of them is unlike those of the training.
        acquired: (M,), of the same films under other acquisitions: none of them is taken for another picture.
    """
    unlike = float(np.quantile(held_out, 1 - MARKED))
    return replace(detector, unlike=unlike, foreign=max(unlike, float(acquired.max())))
