"""No figure in the README is typed by hand: each is one of the committed report's."""

import json
import re
from pathlib import Path

import pytest

from handler.contract import ModelContract
from proxy.http.openapi import EXAMPLES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRACT = ModelContract.load(ROOT / "model_store" / "contract.json")
CROSSFIT = json.loads((ROOT / "model_store" / "report" / "crossfit.json").read_text(encoding="utf-8"))


def cell(rate: dict[str, float]) -> str:
    return f"{rate['value']:.3f} [{rate['low']:.3f}, {rate['high']:.3f}]"


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


@pytest.mark.parametrize(
    ("status", "code"), [(status, error.code) for status, errors in EXAMPLES.items() for error in errors]
)
def test_readme_has_every_error_of_the_api(status: int, code: str) -> None:
    assert re.search(rf"^\| {int(status)}[ ,|].*`{code}`", README, re.MULTILINE)
