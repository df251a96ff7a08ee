from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from handler.engine import Engine
from tests.models import write_model
from tests.unit.training.labelled import labelled
from training.data.films import DecodedFilms
from training.evaluate import calibrate
from training.evaluate.evaluate import logits_of, table
from training.evaluate.operating_points import DEFAULT, OPERATING_POINTS, Rule
from training.site import report as site_report
from training.site.store import site_contract
from training.site.validate import examine


def films(count: int = 400) -> DecodedFilms:
    """Return noise films, alternately labelled; PNEUMONIA is brighter."""
    made = labelled([index % 2 for index in range(count)], [str(index) for index in range(count)])
    noise = np.random.default_rng(0).integers(0, 120, (count, 224, 224), dtype=np.uint8)
    return replace(made, pixels=noise + (100 * made.labels[:, None, None]).astype(np.uint8))


def test_another_operating_point_reaches_contract_store_and_reports(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(OPERATING_POINTS, "half", Rule(choose=lambda *_: 0.5, words="is at a half."))
    monkeypatch.setattr(calibrate, "ACQUISITIONS", {})
    onnx, held_out = write_model(tmp_path / "model.onnx"), films()
    contract = calibrate.calibrate(onnx, learned=held_out, held_out=held_out, version="1.0.0", data_sha256="0" * 64)
    assert (
        [point.name for point in contract.operating_points] == [*OPERATING_POINTS] == ["rule_out", "balanced", "half"]
    )
    assert contract.default_operating_point == DEFAULT
    logits = logits_of(Engine(onnx, exact=True), held_out.pixels)
    site = examine(contract, held_out, logits, sensitivity=0.9, folds=2)
    store = site_contract(contract, site.choice, site.fitted, version="1.0.1")
    assert store.operating_point("half").threshold == 0.5
    assert "`half`, p >= 0.5000" in table(site.result["shipped"])
    assert site_report.page(site.result | {"copies": 0}).count("`half`, p >= 0.5000") == 2
