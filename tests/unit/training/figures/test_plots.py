from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from training.figures import plots

LABELS = np.array([0, 0, 0, 1, 1, 1])
P = np.array([0.0, 0.2, 0.6, 0.4, 0.9, 1.0])
DECISIONS = {"rule_out": P >= 0.3, "balanced": P >= 0.5}
RATES = {"sensitivity": 1.0, "specificity": 0.6667, "precision": 0.75}
RESULT: dict[str, Any] = {
    "n": 6,
    "roc_auc": 0.8889,
    "ece": 0.1,
    "operating_points": {"rule_out": {"threshold": 0.3, **RATES}, "balanced": {"threshold": 0.5, **RATES}},
    "ci95": {"roc_auc": [0.5, 1.0]},
}
PREDICTIVE = {
    "rule_out": [
        {"prevalence": share, "ppv": 0.5, "npv": 0.9, "ci95": {"ppv": [0.4, 0.6], "npv": [0.8, 1.0]}}
        for share in (0.01, 0.2, 0.8)
    ]
}
BAR = {"value": 0.9, "low": 0.85, "high": 0.92}


def pixels(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(
    "draw",
    [
        lambda path: plots.roc(LABELS, P, RESULT, path),
        lambda path: plots.precision_recall(LABELS, P, RESULT, path),
        lambda path: plots.confusion(LABELS, DECISIONS, RESULT, path),
        lambda path: plots.reliability(LABELS, P, RESULT, path),
        lambda path: plots.predictive_values(PREDICTIVE, path),
        lambda path: plots.intensities([np.full(256, 1 / 256)] * 2, path),
        lambda path: plots.bars_of_changes(["none", *"abcd"], {"ROC-AUC": ([BAR] * 5, [None] * 5)}, path),
        lambda path: plots.contact_sheet([("NORMAL", [("a.jpeg", np.zeros((224, 224), np.uint8))] * 9)], path),
    ],
    ids=[
        "roc",
        "precision_recall",
        "confusion",
        "reliability",
        "predictive_values",
        "intensities",
        "bars",
        "contact_sheet",
    ],
)
def test_plot_is_a_picture_with_something_on_it(draw: Callable[[Path], None], tmp_path: Path) -> None:
    draw(tmp_path / "plot.png")
    drawn = pixels(tmp_path / "plot.png")
    assert min(drawn.shape[:2]) >= 300
    assert (drawn < 200).any(axis=2).mean() > 0.005


@pytest.mark.parametrize("epochs", [1, 12])
def test_training_curves_are_drawn_from_the_first_epoch_on(epochs: int, tmp_path: Path) -> None:
    rows = [{"epoch": e, "train_loss": 1 / (e + 1), "val_loss": 1.2 / (e + 1), "val_auc": 0.9} for e in range(epochs)]
    plots.training_curves(rows, tmp_path / "curves.png")
    assert pixels(tmp_path / "curves.png").size


def test_one_operating_point_and_one_film_of_each_class_are_enough(tmp_path: Path) -> None:
    labels, p = np.array([0, 1]), np.array([0.3, 0.3])
    plots.roc(labels, p, RESULT, tmp_path / "roc.png")
    plots.precision_recall(labels, p, RESULT, tmp_path / "precision_recall.png")
    plots.reliability(labels, p, RESULT, tmp_path / "reliability.png")
    plots.confusion(labels, {"balanced": p >= 0.5}, RESULT, tmp_path / "confusion.png")
    assert len(list(tmp_path.iterdir())) == 4
