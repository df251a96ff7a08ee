"""Whether a contender's results are the bare loop's; one that serves another model is not timed."""

import json
from collections.abc import Mapping, Sequence

import numpy as np

from bench.contender import Live
from bench.errors import ContenderError
from bench.films import BenchFilm
from handler.contract import Calibration, ModelContract
from handler.screening import decide, probabilities

MIN_EQUAL_SHARE = 0.95
"""Of the decisions; one film may differ even among fewer than twenty, because it may lie at the threshold."""

SAME_ENGINE_MEAN_DIFFERENCE = 0.02
"""Of p_pneumonia: room for rounding."""

TORCH_MEAN_DIFFERENCE = 0.05
"""Eager torch gets other pixels, by about a grey level: decoded in full, and resized by another filter. Another model,
wrong colours or a missing normalisation move p_pneumonia by far more."""

CLOSEST_TO_CERTAIN = 1e-7
"""A softmax in float32 is no closer to 0 or 1."""


def check(live: Live, films: Sequence[BenchFilm], expected: Sequence[float], contract: ModelContract) -> None:
    """Compare the results of all films, from every address, with the expected p_pneumonia.

    Raises:
        ContenderError: too many decisions differ, p_pneumonia differs too much on average, or there is no answer.
    """
    threshold = contract.operating_point(contract.default_operating_point).threshold
    tolerance = SAME_ENGINE_MEAN_DIFFERENCE if live.contender.same_engine else TORCH_MEAN_DIFFERENCE
    for url in live.urls:
        found = [p_pneumonia(live.ask(film, url), contract.calibration) for film in films]
        if reason := difference(found, expected, threshold=threshold, tolerance=tolerance):
            raise ContenderError(f"{live.contender.name}: its results are not the bare loop's: {reason}")


def difference(found: Sequence[float], expected: Sequence[float], *, threshold: float, tolerance: float) -> str | None:
    """Return how two lists of p_pneumonia differ beyond what is tolerated, or None.

    Args:
        found: of a contender, a film each.
        expected: of the same films.
        threshold: of the decision.
        tolerance: on the mean absolute difference.
    """
    p, q = np.asarray(found), np.asarray(expected)  # (films,)
    changed = int(np.sum(decide(p, threshold) != decide(q, threshold)))
    mean = float(np.mean(np.abs(p - q)))
    if changed <= max(1, (1 - MIN_EQUAL_SHARE) * len(p)) and mean <= tolerance:
        return None
    return f"{changed} of {len(p)} decisions differ, p_pneumonia by {mean:.4f} on average (tolerance {tolerance:g})"


def p_pneumonia(answer: Mapping[str, object], calibration: Calibration) -> float:
    """Return p_pneumonia, 0 to 1, of a contender's answer.

    A softmax, in `score` or as TorchServe's classifier has it under the label, is calibrated as the service does.

    Raises:
        ContenderError: the answer has neither.
    """
    if isinstance(p := answer.get("p_pneumonia"), int | float):
        return float(p)
    score = answer.get("score", answer.get("PNEUMONIA"))
    if not isinstance(score, int | float):
        raise ContenderError(f"an answer without a probability: {json.dumps(dict(answer))[:300]}")
    score = min(max(float(score), CLOSEST_TO_CERTAIN), 1 - CLOSEST_TO_CERTAIN)
    logits = np.log([[1 - score, score]])  # (1, 2), up to what both have in common
    return float(probabilities(logits, calibration)[0])
