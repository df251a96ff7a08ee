"""How well films are screened: pure functions of labels, probabilities and decisions.

Every measure takes weights, one a film: ones give the value itself, how often a film was drawn gives it for a
bootstrap resample, so that an interval is computed by the very formula that it belongs to. A measure that is not
defined (the ROC of one class) is NaN; `bootstrap_ci` leaves such resamples out.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from handler.contract import Interval

LABELS = ("NORMAL", "PNEUMONIA")
SENSITIVITIES = (0.997, 0.99)
"""At which specificities are compared, each at the best threshold for it on the same films."""
ROUNDS = 1000
"""Resamples of the bootstrap."""

Labels = npt.NDArray[np.int64]
"""(N,), 0 NORMAL, 1 PNEUMONIA."""
Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]
"""Grey films (N, 224, 224), or one (224, 224), 0 to 255."""
Logits = npt.NDArray[np.float32]
"""(N, 2); where films are seen under A acquisitions, (N, A, 2), the first of them as they are."""
Indices = npt.NDArray[np.int64]
"""Places of films in a data set."""
Decisions = npt.NDArray[np.bool_]
"""(N,), whether a film is answered PNEUMONIA."""

_Z95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What decisions at one operating point are worth, each in [0, 1]."""

    sensitivity: float
    """Recall of PNEUMONIA."""
    specificity: float
    """Recall of NORMAL."""
    precision: float
    """Of PNEUMONIA; 0 where no film is answered PNEUMONIA, as scikit-learn has it."""
    f1: float
    """Harmonic mean of precision and sensitivity."""
    accuracy: float


def rates(labels: Labels, decisions: Decisions, weights: Floats | None = None) -> Rates:
    """Return the rates of decisions (N,) against labels (N,); NaN what needs a class that is absent."""
    weights = np.ones(len(labels)) if weights is None else weights
    positive = labels == 1
    tp, fn = weights[positive & decisions].sum(), weights[positive & ~decisions].sum()
    fp, tn = weights[~positive & decisions].sum(), weights[~positive & ~decisions].sum()
    return Rates(
        sensitivity=_ratio(tp, tp + fn),
        specificity=_ratio(tn, tn + fp),
        precision=_ratio(tp, tp + fp) if tp + fp else 0.0,
        f1=_ratio(2 * tp, 2 * tp + fp + fn),
        accuracy=_ratio(tp + tn, tp + fn + fp + tn),
    )


def roc_auc(labels: Labels, p: Floats, weights: Floats | None = None) -> float:
    """Return the area under the ROC curve, in [0, 1]: how often a PNEUMONIA film scores above a NORMAL one.

    A tie counts half. NaN where a class is absent.

    Source: Hanley and McNeil, Radiology 143 (1982) 29-36.
    """
    weights = np.ones(len(labels)) if weights is None else weights
    values, places = np.unique(p, return_inverse=True)
    positives = np.bincount(places, weights=weights * (labels == 1), minlength=len(values))
    negatives = np.bincount(places, weights=weights * (labels == 0), minlength=len(values))
    below = np.cumsum(negatives) - 0.5 * negatives  # NORMAL films that a PNEUMONIA film of this value outranks
    return _ratio((positives * below).sum(), positives.sum() * negatives.sum())


def ece(labels: Labels, p: Floats, weights: Floats | None = None, *, bins: int = 15) -> float:
    """Return the expected calibration error of p_pneumonia, in [0, 1].

    `bins` bins of equal width on p_pneumonia; in each, the distance between the mean of p and the observed frequency
    of PNEUMONIA, averaged by the share of films. It judges the probability that is served, not the confidence in
    the predicted class, as the binary form of the measure does.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3.
    """
    weights = np.ones(len(labels)) if weights is None else weights
    places = bin_of(p, bins)
    surplus = np.bincount(places, weights=weights * (p - labels), minlength=bins)
    return _ratio(np.abs(surplus).sum(), weights.sum())


def log_loss(labels: Labels, p: Floats, weights: Floats | None = None) -> float:
    """Return the mean negative log-likelihood of the labels, in nats, 0 for certainty that was right.

    Clients are served four decimals: what rounds to 0.0000 or 1.0000 counts as the furthest that does, for one film of
    another label would weigh as much as all others together.
    """
    weights = np.ones(len(labels)) if weights is None else weights
    of_label = np.clip(np.where(labels == 1, p, 1.0 - p), 0.00005, 1.0)
    return _ratio((weights * -np.log(of_label)).sum(), weights.sum())


def bin_of(p: Floats, bins: int) -> npt.NDArray[np.int64]:
    """Return which of `bins` equal bins on [0, 1] each probability (N,) lies in; 1.0 lies in the last."""
    return np.minimum((p * bins).astype(np.int64), bins - 1)


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a proportion.

    Raises:
        ValueError: not 0 <= successes <= n, or n is 0.

    Source: Wilson, Journal of the American Statistical Association 22 (1927) 209-212.
    """
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"a proportion needs 0 <= successes <= n and n > 0, got {successes} of {n}")
    share, z2 = successes / n, _Z95**2
    centre = share + z2 / (2 * n)
    spread = _Z95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # The ends are exactly 0 and 1 there; rounding would leave them a hair inside or outside.
    low = 0.0 if successes == 0 else (centre - spread) / (1 + z2 / n)
    high = 1.0 if successes == n else (centre + spread) / (1 + z2 / n)
    return low, high


def with_ends(value: float, ends: Sequence[float]) -> dict[str, float]:
    """Return a measure with the ends of its interval as reports hold it, six decimals."""
    return {"value": round(value, 6), "low": round(ends[0], 6), "high": round(ends[1], 6)}


def bootstrap_ci(
    measure: Callable[[Floats], Floats], patients: Sequence[str], *, rounds: int = 1000, seed: int = 0
) -> Floats:
    """Return 95 % percentile bootstrap intervals, resampling patients: films of one patient are not independent.

    Args:
        measure: from weights (N,), one a film, to K measures (K,); NaN what the resample does not define.
        patients: whose film each of the N films is.
        rounds: how many resamples are drawn.
        seed: of the resampling.

    Returns:
        (K, 2), low and high; NaN where no resample defines the measure.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13; Field and Welsh, Bootstrapping
    clustered data, Journal of the Royal Statistical Society B 69 (2007) 369-390.
    """
    names, owners = np.unique(np.asarray(patients), return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(rounds):
        times = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        drawn.append(measure(times[owners].astype(np.float64)))
    samples = np.stack(drawn)  # (rounds, K)
    limits = np.full((samples.shape[1], 2), np.nan)
    for index, sample in enumerate(samples.T):
        defined = sample[np.isfinite(sample)]
        if defined.size:
            limits[index] = np.percentile(defined, (2.5, 97.5))
    return limits


def share(holds: npt.NDArray[np.bool_]) -> Interval:
    """Return of how many films (N,) something holds, with the 95 % Wilson interval."""
    low, high = wilson(int(holds.sum()), len(holds))
    return Interval(value=round(float(holds.mean()), 6), low=round(low, 6), high=round(high, 6))


def shares(labels: Labels, decisions: Decisions) -> dict[str, dict[str, float]]:
    """Return sensitivity, specificity and accuracy of decisions (N,) on films (N,), with Wilson intervals by films."""
    ill = labels == 1
    right = {"sensitivity": decisions[ill], "specificity": ~decisions[~ill], "accuracy": decisions == ill}
    return {name: asdict(share(holds)) for name, holds in right.items()}


def margins(logits: Logits) -> Floats:
    """Return by how much the PNEUMONIA logit exceeds the NORMAL one, (N,), unrounded: ranks are of these."""
    difference: Floats = logits[:, 1].astype(np.float64) - logits[:, 0]
    return difference


def specificity_at(labels: Labels, scores: Floats, weights: Floats | None = None, *, sensitivity: float) -> float:
    """Return the specificity at the highest threshold on scores (N,) that reaches a sensitivity on the same films.

    NaN where a class is absent.
    """
    weights = np.ones(len(labels)) if weights is None else weights
    ill, well = labels == 1, labels == 0
    if not weights[ill].sum() or not weights[well].sum():
        return float("nan")
    order = np.argsort(-scores[ill], kind="stable")
    caught = np.cumsum(weights[ill][order])
    enough = sensitivity * caught[-1] - 1e-9  # a rounding of sums must not ask for a film more
    threshold = scores[ill][order][np.searchsorted(caught, enough)]
    return float(weights[well & (scores < threshold)].sum() / weights[well].sum())


def ranked(scores: Floats, labels: Labels, patients: Sequence[str]) -> dict[str, Any]:
    """Return what only depends on how scores (N,) rank films, with 95 % bootstrap intervals by patient."""

    def measures(weights: Floats | None = None) -> Floats:
        specificities = [specificity_at(labels, scores, weights, sensitivity=one) for one in SENSITIVITIES]
        return np.array([roc_auc(labels, scores, weights), *specificities])

    ends = bootstrap_ci(measures, patients, rounds=ROUNDS)
    auc, *specificities = map(with_ends, measures().tolist(), ends.tolist())
    names = [f"{sensitivity:g}" for sensitivity in SENSITIVITIES]
    return {"roc_auc": auc, "specificity_at": dict(zip(names, specificities, strict=True))}


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else math.nan
