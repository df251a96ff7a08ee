"""The operating points of a contract: what each is called, and how its threshold is chosen.

A further operating point is an entry of OPERATING_POINTS and nothing else: the contract, a site's model store, the
reports and the model card go through the names that are here or in the contract.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from handler.contract import OperatingPoint
from training.errors import DataError
from training.figures.metrics import Decisions, Floats, Labels, share, wilson

SENSITIVITY_LOW = 0.98
"""`rule_out` has the highest threshold at which, under every acquisition, the 95 % interval of sensitivity lies above
this: of the 550 films of PNEUMONIA that the shipped recipe holds out, 4 may be missed, 99.3 % are caught."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How the threshold of an operating point is chosen."""

    choose: Callable[[Floats, Labels, float], float]
    """From p_pneumonia (A, N) of films under A acquisitions, their labels (N,), and the sensitivity that the 95 %
    interval has to lie above, to the threshold. A site chooses anew on its films as they are, A = 1, for the
    sensitivity that it wants."""
    words: str
    """The same for the model card, a sentence after the point's name; {low} stands for the sensitivity."""


def rule_out_threshold(p_pneumonia: Floats, labels: Labels, *, low: float = SENSITIVITY_LOW) -> float:
    """Return the highest threshold whose sensitivity has a 95 % interval that begins at `low` or above.

    Raises:
        DataError: there are too few films of PNEUMONIA to show it at any threshold.
    """
    positives = np.sort(p_pneumonia[labels == 1])
    missed = -1
    while missed + 1 < len(positives) and wilson(len(positives) - missed - 1, len(positives))[0] >= low:
        missed += 1
    if missed < 0:
        raise DataError(f"{len(positives)} films of PNEUMONIA are too few to show a sensitivity above {low}")
    caught = positives[missed]  # the lowest that must stay at or above the threshold
    return _between(p_pneumonia[p_pneumonia < caught].max(initial=0.0), caught)


def balanced_threshold(p_pneumonia: Floats, labels: Labels) -> float:
    """Return the threshold of the largest sensitivity plus specificity (Youden's J).

    Source: Youden, Index for Rating Diagnostic Tests, Cancer 3 (1950) 32-35.
    """
    values = np.unique(p_pneumonia)
    gain = [(p_pneumonia[labels == 1] >= v).mean() + (p_pneumonia[labels == 0] < v).mean() for v in values]
    best = int(np.argmax(gain))
    return _between(values[best - 1] if best else 0.0, values[best])


OPERATING_POINTS: dict[str, Rule] = {
    "rule_out": Rule(
        choose=lambda p, labels, low: min(rule_out_threshold(one, labels, low=low) for one in p),
        words="has the highest threshold at which the 95 % interval of the sensitivity, under every acquisition above, "
        "still begins above {low}: few pneumonias are missed, at the price of false alarms.",
    ),
    "balanced": Rule(
        choose=lambda p, labels, _: balanced_threshold(p.ravel(), np.tile(labels, len(p))),
        words="has the largest sum of sensitivity and specificity over all of them.",
    ),
}
DEFAULT = "rule_out"
"""Served where none is named. Its rule reaches a wanted sensitivity: a site gets its recommendation by it."""


def choose_thresholds(p_pneumonia: Floats, labels: Labels, *, low: float) -> dict[str, float]:
    """Return the threshold of every operating point on p_pneumonia (A, N) of films under A acquisitions.

    Raises:
        DataError: there are too few films of PNEUMONIA to show a sensitivity of `low`.
    """
    return {name: rule.choose(p_pneumonia, labels, low) for name, rule in OPERATING_POINTS.items()}


def operating_point(name: str, threshold: float, decisions: Decisions, labels: Labels) -> OperatingPoint:
    """Return the operating point with its evidence: rates and Wilson intervals of decisions (N,)."""
    return OperatingPoint(
        name=name,
        threshold=threshold,
        sensitivity=share(decisions[labels == 1]),
        specificity=share(~decisions[labels == 0]),
    )


def _between(below: float, above: float) -> float:
    """Return a threshold of four decimals half-way, on the logit's scale, between two neighbouring probabilities."""
    low, high = np.clip((below, above), 1e-4, 1.0 - 1e-4)
    middle = np.mean([np.log(low / (1.0 - low)), np.log(high / (1.0 - high))])
    return float(np.clip(np.round(1.0 / (1.0 + np.exp(-middle)), 4), 1e-4, round(float(high), 4)))
