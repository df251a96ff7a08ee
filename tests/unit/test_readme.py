"""No figure in the README is typed by hand: each is one of the committed report's."""

import json
from pathlib import Path

import pytest

from handler.contract import ModelContract

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRACT = ModelContract.load(ROOT / "model_store" / "contract.json")
CROSSFIT = json.loads((ROOT / "model_store" / "report" / "crossfit.json").read_text(encoding="utf-8"))


def cell(told: dict[str, float]) -> str:
    return f"{told['value']:.3f} [{told['low']:.3f}, {told['high']:.3f}]"


@pytest.mark.parametrize("point", CONTRACT.operating_points, ids=lambda point: point.name)
def test_readmes_operating_points_are_the_reports(point: object) -> None:
    name, threshold = point.name, point.threshold  # type: ignore[attr-defined]
    rates = CROSSFIT["operating_points"][name]
    default = " (default)" if name == CONTRACT.default_operating_point else ""
    measured = " | ".join(cell(rates[rate]) for rate in ("sensitivity", "specificity", "accuracy"))
    assert f"| `{name}`{default} | {threshold:.4f} | {measured} |" in README


def test_readmes_overall_measures_are_the_reports() -> None:
    assert f"ROC-AUC {cell(CROSSFIT['roc_auc'])}, expected calibration error {cell(CROSSFIT['ece'])}" in README
    assert f"{CROSSFIT['n']} held-out films of {CROSSFIT['patients']} patients" in README
