import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import logit
from sklearn.metrics import roc_auc_score

from handler.contract import ModelContract
from handler.errors import ContractError
from tests.films import grey, jpeg, write_data_set
from training.errors import ArtefactError, DataError
from training.evaluate.evaluate import RATES, Served, Shipped, main, measure, table


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data_set(tmp_path / "data", levels=(110, 140))


def evaluate(monkeypatch: pytest.MonkeyPatch, data: Path, out: Path, store: Path) -> dict[str, Any]:
    arguments = ["evaluate", "--data", str(data), "--out", str(out), "--model-store", str(store)]
    monkeypatch.setattr("sys.argv", arguments)
    main()
    result: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return result


def predictions(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_everything_is_written(monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path, store: Path) -> None:
    out = tmp_path / "deep" / "out"
    evaluate(monkeypatch, data, out, store)
    assert sorted(path.name for path in out.iterdir()) == [
        "confusion.png",
        "metrics.json",
        "precision_recall.png",
        "predictions.csv",
        "reliability.png",
        "roc.png",
    ]


def test_metrics_have_the_promised_shape(
    monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path, store: Path
) -> None:
    result = evaluate(monkeypatch, data, tmp_path / "out", store)
    assert list(result) == ["n", "roc_auc", "ece", "operating_points", "ci95"]
    assert list(result["ci95"]) == ["roc_auc", "ece", "operating_points"]
    assert result["n"] == 12
    for name, threshold in (("rule_out", 0.2), ("balanced", 0.5)):
        point, intervals = result["operating_points"][name], result["ci95"]["operating_points"][name]
        assert list(point) == list(intervals) == ["threshold", *RATES]
        assert point["threshold"] == threshold
        assert intervals["threshold"] == [threshold, threshold]
        for rate in RATES:
            low, high = intervals[rate]
            assert 0.0 <= low <= point[rate] <= high <= 1.0


def test_metrics_follow_from_the_predictions(
    monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path, store: Path
) -> None:
    result = evaluate(monkeypatch, data, tmp_path / "out", store)
    rows = predictions(tmp_path / "out")
    labels = np.array([row["label"] == "PNEUMONIA" for row in rows])
    p = np.array([float(row["p_pneumonia"]) for row in rows])
    odds = np.array([float(row["log_odds"]) for row in rows])
    assert (1 / (1 + np.exp(-odds))).round(4) == pytest.approx(p)
    assert result["roc_auc"] == pytest.approx(roc_auc_score(labels, odds), abs=1e-6)
    assert result["operating_points"]["balanced"]["sensitivity"] == pytest.approx((p[labels] >= 0.5).mean(), abs=1e-6)
    assert result["operating_points"]["rule_out"]["specificity"] == pytest.approx((p[~labels] < 0.2).mean(), abs=1e-6)


def test_films_that_round_alike_are_ranked() -> None:
    labels, odds = np.array([0, 1] * 10), np.linspace(12, 20, 20)  # all of them p = 1.0000
    certain = Served(labels=labels, log_odds=odds, decisions={}, patients=tuple(map(str, range(20))))
    assert set(certain.p_pneumonia.round(4)) == {1.0}
    assert measure(certain, {})["roc_auc"] == pytest.approx(roc_auc_score(labels, odds), abs=1e-6)


def test_predictions_are_the_server_s_with_relative_paths(
    monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path, store: Path
) -> None:
    evaluate(monkeypatch, data, tmp_path / "out", store)
    rows = predictions(tmp_path / "out")
    assert [row["path"] for row in rows] == sorted(path.relative_to(data).as_posix() for path in data.rglob("*.jpeg"))
    assert all(len(row["p_pneumonia"]) == len("0.1234") for row in rows)
    assert all(row["label"] == row["path"].split("/")[0] for row in rows)


def test_manifest_gives_the_same_as_the_folder(
    monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path, store: Path
) -> None:
    lines = [f"{row.relative_to(data)},{row.parent.name}" for row in sorted(data.rglob("*.jpeg"))]
    (data / "films.csv").write_text("\n".join(["path,label", *lines]))
    from_folder = evaluate(monkeypatch, data, tmp_path / "folder", store)
    assert evaluate(monkeypatch, data / "films.csv", tmp_path / "manifest", store) == from_folder
    assert predictions(tmp_path / "manifest") == predictions(tmp_path / "folder")


def test_unreadable_files_are_listed_apart(
    monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path, store: Path
) -> None:
    broken = data / "NORMAL" / "broken.jpeg"
    broken.write_bytes(jpeg(grey())[:-200])
    assert evaluate(monkeypatch, data, tmp_path / "out", store)["n"] == 12
    skipped = (tmp_path / "out" / "skipped.csv").read_text().splitlines()
    assert skipped[0] == "path,reason"
    assert skipped[1].startswith("NORMAL/broken.jpeg,")
    broken.unlink()
    evaluate(monkeypatch, data, tmp_path / "out", store)
    assert not (tmp_path / "out" / "skipped.csv").exists()


def test_output_that_is_a_file_is_refused(
    monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path, store: Path
) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(DataError, match="File exists"):
        evaluate(monkeypatch, data, tmp_path / "out", store)


def test_missing_contract_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="No such file"):
        Shipped.load(tmp_path)


def test_missing_model_is_refused(store: Path) -> None:
    (store / "pneumonia.onnx").unlink()
    with pytest.raises(ArtefactError, match=r"pneumonia\.onnx: No such file"):
        Shipped.load(store)


def test_model_of_another_contract_is_refused(store: Path) -> None:
    with (store / "pneumonia.onnx").open("ab") as model:
        model.write(b"\0")
    with pytest.raises(ArtefactError, match="the contract was written for"):
        Shipped.load(store)


def rewrite_contract(store: Path, **changes: object) -> None:
    path = store / "contract.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    ModelContract.load(path)


def test_model_that_cannot_be_run_is_refused(store: Path) -> None:
    (store / "pneumonia.onnx").write_bytes(b"no model")
    rewrite_contract(store, model_sha256=hashlib.sha256(b"no model").hexdigest())
    with pytest.raises(ArtefactError, match="cannot be run"):
        Shipped.load(store)


def test_model_of_another_preprocessing_is_refused(store: Path) -> None:
    rewrite_contract(store, preprocessing_version=99)
    with pytest.raises(ArtefactError, match="preprocessing 99"):
        Shipped.load(store)


@pytest.fixture
def served() -> Served:
    p = np.array([0.1, 0.2, 0.3, 0.6, 0.7, 0.9, 0.95, 0.99])
    return Served(
        labels=np.array([0, 0, 0, 0, 1, 1, 1, 1]),
        log_odds=logit(p),
        decisions={"all": p >= 0.05, "none": p >= 0.999},
        patients=("a", "a", "b", "c", "d", "d", "d", "e"),
    )


def test_certainty_is_not_claimed_from_few_patients(served: Served) -> None:
    result = measure(served, {"all": 0.05, "none": 0.999})
    point, intervals = result["operating_points"]["all"], result["ci95"]["operating_points"]["all"]
    assert point["sensitivity"] == 1.0
    assert intervals["sensitivity"] == pytest.approx([0.3424, 1.0], abs=1e-4)  # Wilson, 2 of 2 patients
    assert intervals["specificity"] == pytest.approx([0.0, 0.5615], abs=1e-4)  # Wilson, 0 of 3 patients


def test_certainty_of_ranking_is_not_claimed_either(served: Served) -> None:
    result = measure(served, {"all": 0.05, "none": 0.999})
    assert result["roc_auc"] == 1.0
    assert result["ci95"]["roc_auc"] == pytest.approx([0.3424, 1.0], abs=1e-4)  # Wilson, 2 patients of PNEUMONIA


def test_no_measure_is_nan_where_nothing_is_called(served: Served) -> None:
    result = measure(served, {"all": 0.05, "none": 0.999})
    assert result["operating_points"]["none"]["precision"] == 0.0
    json.dumps(result, allow_nan=False)


def test_table_shows_every_measure_with_its_interval(served: Served) -> None:
    shown = table(measure(served, {"all": 0.05, "none": 0.999}))
    assert "| `all`, p >= 0.0500 |" in shown
    assert "| sensitivity | 1.0000 [0.3424, 1.0000] |" in shown
    assert len(shown.splitlines()) == 2 + 2 + len(RATES)
