import hashlib
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from handler.errors import ContractError
from tests.models import contract
from training.compare.scores import COLUMNS, Score, ScoredRun, write_scores
from training.errors import ArtefactError
from training.report.card import REPORTS, main, render

SHIPPED = Path(__file__).parents[4] / "model_store"

POINTS = ("rule_out", "balanced")
RATE = {"value": 0.912, "low": 0.85, "high": 0.95}
COUNT = {"films": 40, "patients": 20}
RATES = ("sensitivity", "specificity", "accuracy", "precision")
CROSSFITTED = dict.fromkeys(RATES[:3], RATE)
ENDS = {rate: [0.9, 0.96] for rate in RATES}
KEPT = dict.fromkeys(RATES[:2], 0.8)
CHANGED = {"roc_auc": 0.9, "mean_change": 0.02, "operating_points": dict.fromkeys(POINTS, KEPT)}
SENSITIVE = {"label": "PNEUMONIA", "measure": "sensitivity", **COUNT, "operating_points": dict.fromkeys(POINTS, RATE)}
RESULT = {"count": 39, "of": 40, "rate": 0.975, "low": 0.87, "high": 0.99}
CAUGHT = ("upside down", "on its side", "mirrored")
PRESENTED = dict.fromkeys(
    ("sensitivity", "specificity", "uncertain", "false_warnings", *(f"caught {name}" for name in CAUGHT)), RESULT
)
PREDICTIVE = {"prevalence": 0.05, "ppv": 0.3, "npv": 0.999, "ci95": {"ppv": [0.2, 0.4], "npv": [0.99, 1.0]}}

REPORT: dict[str, Any] = {
    "report": {
        "model_version": "0.0.0-test",
        "recipe": {"name": "small", "description": "a small one", "fold": 0, "folds": 5, "seed": 3},
        "films": {"learned": {**COUNT, "NORMAL": COUNT, "PNEUMONIA": COUNT}},
        "rule_out_sensitivity_low": 0.99,
        "commands": ["python -m training.learn.train --data DIR"],
    },
    "validation": {
        "n": 40,
        "roc_auc": 0.98,
        "ece": 0.02,
        "operating_points": dict.fromkeys(POINTS, dict.fromkeys(RATES, 0.93) | {"threshold": 0.25}),
        "ci95": {
            "roc_auc": [0.97, 0.99],
            "ece": [0.01, 0.04],
            "operating_points": dict.fromkeys(POINTS, ENDS),
        },
    },
    "crossfit": {"folds": 5, "roc_auc": RATE, "ece": RATE, "operating_points": dict.fromkeys(POINTS, CROSSFITTED)},
    "subgroups": {"virus": SENSITIVE},
    "robustness": [{"corruption": "noise", "severity": "strong", **CHANGED}],
    "prevalence": {name: [PREDICTIVE] for name in POINTS},
    "confounders": {
        "detail": {"NORMAL": 5.3, "PNEUMONIA": 4.2},
        "detail_swapped": {"NORMAL": 4.2, "PNEUMONIA": 5.3},
        "detail_auc": 0.81,
        "file_size_auc": 0.87,
    },
    "presentation": {"sets": dict.fromkeys(("training films", "adults"), PRESENTED)},
    "invariance": {"black bars": {"films": 40, "refused": 0, "mean": 0.0012, "largest": 0.0345, "over_limit": 3}},
}
KNOWN = {"value": 0.987, "low": None, "high": None}
OFFICIAL = {
    "version": "0.0.0",
    "films": {"NORMAL": 3, "PNEUMONIA": 5},
    "roc_auc": KNOWN,
    "ece": None,
    "specificity_at": {"0.997": KNOWN, "0.99": RATE},
    "operating_points": {name: dict.fromkeys(RATES, KNOWN) for name in POINTS},
}
OTHER = {"name": "somebody", "roc_auc": 0.95, "sensitivity": None, "specificity": 0.5, "accuracy": 0.9}
RANKED = {"roc_auc": RATE, "specificity_at": {"0.997": RATE, "0.99": RATE}}
AUDITED = {
    "films": "as they are",
    **RANKED,
    "control": RANKED,
    "operating_points": {name: dict.fromkeys(RATES, RATE) for name in POINTS},
}
FALLS = dict.fromkeys(("roc_auc", "specificity_at_0.997", "specificity_at_0.99"), True)
REPORT |= {
    "official_test": {"versions": [OFFICIAL], "others": [OTHER]},
    "uncertainty": [
        {
            "films": "as they are",
            "covered": {"NORMAL": RATE, "PNEUMONIA": RATE},
            "uncertain": {"rule_out": RATE, "balanced": RATE},
        }
    ],
    "acquisitions": [
        {"films": "close framing", "roc_auc": 0.98, "ece": 0.03, "operating_points": dict.fromkeys(POINTS, CROSSFITTED)}
    ],
    "audit": {
        **COUNT,
        "model": "0.0.0-test",
        "rows": [AUDITED],
        "without_lungs": {"films": 80, "rows": [{"clue": "edges", "roc_auc": RATE}]},
    },
    "audit_history": {
        **COUNT,
        "models": [{"model": "0.0.0", "worst": "as they are", "rows": [AUDITED]}],
        "in_the_order_given": {"as they are": FALLS},
    },
    "resolution": [
        {"recipe": "small", "resolution_px": 96, "seed": 3, "worst_counterfactual": 0.97, "roc_auc": 0.99}
        | {"decoding_ms": 1.2, "engine_ms": 3.4}
    ],
    "gate": {
        "model": "0.0.0-test",
        "films": {"fitted": 90, "held_out": 40, "patients_held_out": 20},
        "children": {
            "held_out": {"anything": RATE},
            "cross_fitted": RATE,
            "copies": {"anything": RATE},
            "acquisitions": {"close framing": RATE},
        },
        "adults": {"n": 13, "anything": RATE, "reasons": {"unlike_training_films": RATE}},
        "pictures": {
            "icons": {"n": 7, "refused": 1, **dict.fromkeys(("as_they_are", "grey", "not_a_chest_film"), RATE)}
        },
        "all_pictures": {"as_they_are": RATE, "grey": RATE},
        "alternatives": {"the last features": dict.fromkeys(("acquisitions", "adults", "pictures"), RATE)},
        "served_otherwise": {"films": 40, "differ": 1},
    },
    "adults": {
        "model": "0.0.0-test",
        "films": {"no_finding": 6, "pneumonia": 7},
        "called_pneumonia": {"no_finding": dict.fromkeys(POINTS, RATE)},
        "roc_auc": 0.44,
        "marked": {"anything": RATE, "unlike_training_films": RATE},
    },
}
REPORT["report"]["films"]["held_out"] = REPORT["report"]["films"]["learned"]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return a model store with a contract and a report."""
    contract().save(tmp_path / "contract.json")
    (tmp_path / "report").mkdir()
    sha256 = {"contract.json": hashlib.sha256((tmp_path / "contract.json").read_bytes()).hexdigest()}
    for name, content in (REPORT | {"report": REPORT["report"] | {"sha256": sha256}}).items():
        (tmp_path / "report" / f"{name}.json").write_text(json.dumps(content))
    score = Score(**dict.fromkeys(COLUMNS, 0.9) | {"swapped_auc": 0.7654})
    run = ScoredRun(recipe="small", description="a small one", seed=3, fold=0, films=40, score=score)
    write_scores([run], tmp_path / "report" / "comparison.json")
    return tmp_path


def rows(card: str, start: str) -> list[str]:
    return [line for line in card.splitlines() if line.startswith(start)]


def test_card_tells_how_films_that_come_in_another_way_are_answered(store: Path) -> None:
    card = render(store)
    assert "| black bars | 0.0012 | 0.035 | 3 of 40 |" in card
    assert "39 were recognised as negatives" in card


def test_card_tells_what_the_report_holds(store: Path) -> None:
    card = render(store)
    assert "not a medical device" in card
    assert rows(card, "| `rule_out` | **91.2 [85.0, 95.0] %** |")
    assert rows(card, "| `rule_out`, the default | 0.2500 | 93.0 [90.0, 96.0] % |")
    assert rows(card, "| PNEUMONIA, virus | 40 | 20 | sensitivity | 91.2 [85.0, 95.0] % |")
    assert rows(card, "| noise | strong | 0.900 | 80.0 % | 80.0 % | 80.0 % | 80.0 % | 0.020 |")
    assert rows(card, "| 5 % | 30.0 [20.0, 40.0] % | 99.90 [99.00, 100.00] % |")
    assert "the least sensitivity is 80.0 % (noise, strong)" in card
    assert "with an AUC of 0.87" in card
    assert "0.7654" in rows(card, "| `small`: a small one | 1 |")[0]
    assert rows(card, "| 0.0.0 | 0.987 | 0.99 | 0.91 [0.85, 0.95] | 0.987 | 0.987 | 0.987 | not known |")
    assert rows(card, "| somebody | 0.950 | not known | 0.500 | 0.900 |")
    assert rows(card, "| close framing | 0.9800 | 0.030 | 91.2 [85.0, 95.0] % |")
    assert rows(card, "| edges | 0.912 [0.850, 0.950] |")
    assert "on 6 films without a finding and 7 of pneumonia" in card
    assert "python -m training.learn.train --data DIR" in card


def test_version_says_whether_it_was_measured_on_the_official_films(store: Path) -> None:
    assert rows(render(store), "| **0.0.0-test, this one** | not yet measured |")
    path = store / "report" / "official_test.json"
    results = json.loads(path.read_text())
    results["versions"].append(OFFICIAL | {"version": "0.0.0-test"})
    path.write_text(json.dumps(results))
    assert "not yet measured" not in render(store)


@pytest.mark.parametrize("name", ["audit", "adults"])
def test_measures_of_another_version_are_refused(store: Path, name: str) -> None:
    path = store / "report" / f"{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model": "0.0.1"}))
    with pytest.raises(ArtefactError, match=rf"{name}\.json: of model 0\.0\.1"):
        render(store)


def test_every_table_of_the_card_is_whole(store: Path) -> None:
    lines = render(store).splitlines()
    for above, line in pairwise(lines):
        if above.startswith("|"):
            assert not line or (line.startswith("|") and line.count("|") == above.count("|")), line
        elif line.startswith("|"):
            assert not above, f"a table wants an empty line above: {line}"


@pytest.mark.parametrize("name", [*REPORTS, "comparison"])
def test_missing_file_of_the_report_is_named(store: Path, name: str) -> None:
    (store / "report" / f"{name}.json").unlink()
    with pytest.raises(ArtefactError, match=rf"{name}\.json: No such file"):
        render(store)


def test_file_without_what_the_card_wants_is_refused(store: Path) -> None:
    (store / "report" / "crossfit.json").write_text("{}")
    with pytest.raises(ArtefactError, match="not a report as this template wants it"):
        render(store)
    (store / "report" / "crossfit.json").write_text("{")
    with pytest.raises(ArtefactError, match=r"crossfit\.json: not JSON"):
        render(store)


def test_report_on_another_contract_is_refused(store: Path) -> None:
    contract(model_sha256="2" * 64).save(store / "contract.json")
    with pytest.raises(ArtefactError, match="reports on another contract"):
        render(store)


def test_missing_contract_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="No such file"):
        render(tmp_path)


def test_command_writes_the_card(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["card", "--model-store", str(store)])
    main()
    assert (store / "MODEL_CARD.md").read_text(encoding="utf-8") == render(store)


def test_committed_card_is_rendered_from_the_committed_report() -> None:
    assert (SHIPPED / "MODEL_CARD.md").read_text(encoding="utf-8") == render(SHIPPED)
