import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from handler.contract import ModelContract
from tests.films import write_data_set
from tests.models import write_model_store
from tests.networks import lively_network, save_checkpoint
from training.changes.corruptions import CORRUPTIONS
from training.changes.counterfactuals import ACQUISITIONS
from training.data.films import data_digest
from training.errors import ArtefactError
from training.evaluate.calibrate import chosen
from training.learn.export import save_weights
from training.learn.recipe import Recipe
from training.learn.run_folder import divide, load_films
from training.report import measures as report_measures
from training.report import report


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return films, a run that learned from half of them, and the model store that its export would fill.

    The ONNX file is another model, whose answers are known; the weights are the run's.
    """
    folder = tmp_path_factory.mktemp("report")
    data = write_data_set(folder / "data", of_each=40, levels=(110, 140))
    films, recipe = load_films(data), dataclasses.replace(Recipe.load("baseline"), folds=2)
    run, store = folder / "run", folder / "store"
    run.mkdir()
    store.mkdir()
    digest = data_digest(films, divide(films, recipe)[1].tolist())
    (run / "config.yaml").write_text(yaml.safe_dump({"recipe": dataclasses.asdict(recipe), "data_sha256": digest}))
    write_checkpoint(run / "last.ckpt", seed=0)
    save_weights(run / "last.ckpt", store / "pneumonia.safetensors")
    write_model_store(store)
    return {"data": data, "run": run, "store": store}


def write_checkpoint(path: Path, *, seed: int) -> None:
    save_checkpoint(lively_network(seed), path)


@pytest.fixture(scope="module")
def out(places: dict[str, Path]) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_measures, "CORRUPTIONS", {"noise": CORRUPTIONS["noise"]})
        patch.setattr(report_measures, "chosen", partial(chosen, low=0.5))  # for so few films
        command(patch, places)
    return places["store"] / "report"


def command(patch: pytest.MonkeyPatch, places: dict[str, Path]) -> None:
    options = {"--data": places["data"], "--run": places["run"], "--model-store": places["store"]}
    patch.setattr("sys.argv", ["report", *(str(word) for pair in options.items() for word in pair)])
    report.main()


def result(out: Path, name: str) -> Any:
    return json.loads((out / f"{name}.json").read_text())


def test_report_and_small_plots_are_written(out: Path) -> None:
    names = [
        "acquisitions",
        "confounders",
        "crossfit",
        "prevalence",
        "report",
        "robustness",
        "subgroups",
        "uncertainty",
        "validation",
    ]
    assert sorted(path.stem for path in out.glob("*.json")) == names
    assert all((out / name).stat().st_size < 60_000 for name in ("roc.png", "reliability.png"))


def test_films_and_digests_are_reported(out: Path, places: dict[str, Path]) -> None:
    content = result(out, "report")
    learned, held_out = content["films"]["learned"], content["films"]["held_out"]
    assert learned["films"] + held_out["films"] == 80
    assert held_out["NORMAL"] == {"films": 20, "patients": 10}
    contract = ModelContract.load(places["store"] / "contract.json")
    assert content["sha256"]["pneumonia.onnx"] == contract.model_sha256
    assert content["thresholds_chosen_on"] == "held_out"


def test_commands_name_no_folder_of_this_machine(out: Path, places: dict[str, Path]) -> None:
    commands = result(out, "report")["commands"]
    assert any("training.learn.train --data DIR --recipe baseline --seed 0 --out runs/run" in line for line in commands)
    assert str(places["data"].parent) not in (out / "report.json").read_text()


def test_validation_has_the_shape_of_metrics(out: Path) -> None:
    content = result(out, "validation")
    assert list(content) == ["n", "roc_auc", "ece", "operating_points", "ci95"]
    assert content["n"] == 40


def test_crossfitted_rates_have_wilson_intervals(out: Path) -> None:
    content = result(out, "crossfit")
    assert (content["n"], content["patients"], content["folds"]) == (40, 20, 5)
    for point in content["operating_points"].values():
        for rate in ("sensitivity", "specificity", "accuracy"):
            assert 0 <= point[rate]["low"] <= point[rate]["value"] <= point[rate]["high"] <= 1
            assert point[rate]["high"] - point[rate]["low"] > 0.05


def test_each_subgroup_is_measured_by_what_it_can_show(out: Path) -> None:
    content = result(out, "subgroups")
    assert {name: group["measure"] for name, group in content.items()} == {
        "bacteria": "sensitivity",
        "IM": "specificity",
    }
    assert content["IM"]["films"] == 20
    crossfitted = result(out, "crossfit")["operating_points"]["balanced"]
    assert content["bacteria"]["operating_points"]["balanced"] == crossfitted["sensitivity"]


def test_robustness_begins_with_the_films_as_they_are(out: Path) -> None:
    rows = result(out, "robustness")
    assert [(row["corruption"], row["severity"]) for row in rows] == [
        ("none", ""),
        ("noise", "mild"),
        ("noise", "strong"),
        ("detail swapped", ""),
    ]
    assert rows[0]["mean_change"] == 0
    assert 0 < rows[1]["mean_change"] < rows[2]["mean_change"]
    validation = result(out, "validation")
    assert rows[0]["roc_auc"] == validation["roc_auc"]
    assert (
        rows[0]["operating_points"]["balanced"]["sensitivity"]
        == validation["operating_points"]["balanced"]["sensitivity"]
    )


def test_predictive_values_rise_and_fall_with_prevalence(out: Path) -> None:
    for rows in result(out, "prevalence").values():
        assert [row["prevalence"] for row in rows] == [0.01, 0.05, 0.1, 0.2, 0.4, 0.62, 0.74]
        assert [row["ppv"] for row in rows] == sorted(row["ppv"] for row in rows)
        assert [row["npv"] for row in rows] == sorted((row["npv"] for row in rows), reverse=True)


def test_confounders_are_measured_on_the_films_learned_from(out: Path) -> None:
    content = result(out, "confounders")
    assert list(content["detail"]) == list(content["detail_swapped"]) == ["NORMAL", "PNEUMONIA"]
    assert all(0.5 <= content[name] <= 1 for name in ("detail_auc", "file_size_auc"))


def test_model_of_another_run_is_refused(places: dict[str, Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write_checkpoint(other / "last.ckpt", seed=1)
    report.require_same_model(places["store"], places["run"])
    with pytest.raises(ArtefactError, match="store: holds another model than that of"):
        report.require_same_model(places["store"], other)


def test_acquisitions_begin_with_the_films_as_they_are(out: Path) -> None:
    rows, crossfit = result(out, "acquisitions"), result(out, "crossfit")
    assert [row["films"] for row in rows] == ["as they are", *ACQUISITIONS]
    assert rows[0]["operating_points"] == crossfit["operating_points"]
    assert rows[0]["roc_auc"] == crossfit["roc_auc"]["value"]
