import re
from typing import Any

from training.evaluate.evaluate import RATES
from training.site.report import page

POINTS = {"rule_out": {"threshold": 0.3, **dict.fromkeys(RATES, 0.9)}}
MEASURES: dict[str, Any] = {
    "roc_auc": 0.95,
    "ece": 0.04,
    "operating_points": POINTS,
    "ci95": {
        "roc_auc": [0.9, 1.0],
        "ece": [0.0, 0.1],
        "operating_points": {"rule_out": {rate: [0.8, 1.0] for rate in RATES}},
    },
}
VALUES = {"rule_out": [{"prevalence": 0.05, "ppv": 0.5, "npv": 0.99, "ci95": {"ppv": [0.4, 0.6], "npv": [0.9, 1.0]}}]}
RESULT: dict[str, Any] = {
    "model_version": "1.2.3",
    "films": {"NORMAL": 1500, "PNEUMONIA": 500},
    "patients": {"NORMAL": 1400, "PNEUMONIA": 400},
    "films_without_patient_id": 0,
    "skipped": 3,
    "copies": 2,
    "folds": 5,
    "verdict": {"findings": ["Ranking: so.", "Threshold: so."], "advice": "Do it."},
    "shipped": MEASURES,
    "cross_fitted": MEASURES,
    "calibration": {"shipped": {"temperature": 1.5, "bias": 3.0}, "site": {"temperature": 1.6, "bias": -0.1}},
    "log_loss": {
        "before": 0.3,
        "after": 0.1,
        "decrease": 0.2,
        "ci95": {key: [0.0, 0.5] for key in ("before", "after", "decrease")},
    },
    "predictive_values": {"shipped": VALUES, "cross_fitted": VALUES},
}


def test_verdict_comes_first() -> None:
    result = page(RESULT)
    assert result.startswith("# Model 1.2.3 on this site's films\n\n1,500 films of NORMAL of 1,400 patients, 500 of")
    assert (
        result.index("- Ranking: so.\n- Threshold: so.")
        < result.index("**What to do:** Do it.")
        < result.index("## As it")
    )


def test_rates_stand_in_a_table_with_their_intervals() -> None:
    result = page(RESULT)
    assert "|  | `rule_out`, p >= 0.3000 |\n|-|-|\n| sensitivity | 0.900 [0.800, 1.000] |" in result
    assert "| 5% | 0.500 [0.400, 0.600] | 0.990 [0.900, 1.000] |" in result


def test_probabilities_are_said_to_hold_for_this_share_of_pneumonia() -> None:
    assert "as many films are PNEUMONIA as here, 25%" in page(RESULT)


def test_every_row_of_a_table_has_as_many_cells() -> None:
    for table in re.findall(r"(?:^\|.*\|\n?)+", page(RESULT), re.MULTILINE):
        assert len({row.count("|") for row in table.strip().splitlines()}) == 1
