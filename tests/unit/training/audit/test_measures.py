import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.models import contract
from training.audit.measures import CLEAN, Judged, audit_rows, score_rows, worst
from training.changes.counterfactuals import CONTROLS, COUNTERFACTUALS
from training.figures import metrics
from training.figures.metrics import Floats, margins, specificity_at

LABELS = np.arange(12) % 2


def judged() -> Judged:
    """Return noise films of which PNEUMONIA has a bright upper left corner."""
    pixels = np.random.default_rng(0).integers(0, 200, (12, 224, 224), dtype=np.uint8)
    pixels[LABELS == 1, :20, :20] = 255
    return Judged(pixels=pixels, labels=LABELS, patients=tuple(map(str, range(12))))


def by_the_corner(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    bright = pixels[:, :20, :20].mean(axis=(1, 2)) / 255 - 0.7
    return np.stack([-bright, bright], axis=1).astype(np.float32) * 20


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    monkeypatch.setattr(metrics, "ROUNDS", 20)
    films = judged()
    result = audit_rows(score_rows(by_the_corner, films), films, contract())
    return {row["films"]: row for row in result}


def test_there_is_a_row_for_films_as_they_are_and_for_every_counterfactual(rows: dict[str, Any]) -> None:
    assert list(rows) == [CLEAN, *COUNTERFACTUALS]
    assert {name for name, row in rows.items() if row["control"]} == set(CONTROLS)


def test_a_model_that_reads_a_mark_is_found_out_by_it(rows: dict[str, Any]) -> None:
    marks = rows["marks of the other class"]
    assert rows[CLEAN]["roc_auc"]["value"] == 1.0
    assert marks["roc_auc"]["value"] < 0.2
    assert marks["control"]["roc_auc"]["value"] == 1.0
    assert marks["operating_points"]["balanced"]["sensitivity"]["value"] < 0.5


def test_the_worst_row_has_the_lowest_auc(rows: dict[str, Any]) -> None:
    result = list(rows.values())
    assert worst(result)["roc_auc"]["value"] == min(row["roc_auc"]["value"] for row in result)


def test_a_run_without_contract_has_no_operating_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "ROUNDS", 20)
    films = judged()
    scored = {CLEAN: score_rows(by_the_corner, films)[CLEAN]}
    assert audit_rows(scored, films, None)[0]["operating_points"] == {}


def test_only_films_that_are_stretched_when_served_are_stretched() -> None:
    pale = dataclasses.replace(judged(), pixels=judged().pixels // 4 + 60)
    assert pale.changed("close framing").max() == 255
    assert dataclasses.replace(pale, stretched=False).changed("close framing").max() < 150


def test_margins_are_not_rounded() -> None:
    logits = np.array([[0.0, 30.00001], [0.0, 30.00002]], np.float32)
    assert np.diff(margins(logits)).item() > 0


def spec(scores: list[float], sensitivity: float, weights: Floats | None = None) -> float:
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    return specificity_at(labels, np.array(scores), weights, sensitivity=sensitivity)


def test_specificity_is_at_the_highest_threshold_that_reaches_the_sensitivity() -> None:
    scores = [0.1, 0.2, 0.3, 0.7, 0.25, 0.6, 0.8, 0.9]
    assert spec(scores, 1.0) == 0.5
    assert spec(scores, 0.75) == 0.75
    assert spec(scores, 0.5) == 1.0


def test_a_tie_with_the_threshold_counts_as_answered_pneumonia() -> None:
    assert spec([0.1, 0.2, 0.3, 0.5, 0.5, 0.6, 0.8, 0.9], 1.0) == 0.75


def test_weights_count_films_as_often_as_they_were_drawn() -> None:
    weights = np.array([1.0, 1, 1, 1, 0, 1, 1, 1])
    assert spec([0.1, 0.2, 0.3, 0.4, 0.15, 0.6, 0.8, 0.9], 1.0, weights) == 1.0
    assert math.isnan(spec([0.0] * 8, 1.0, np.array([0.0, 0, 0, 0, 1, 1, 1, 1])))
