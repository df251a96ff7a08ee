import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logit

from handler.contract import Calibration, ModelContract, Uncertainty
from tests.films import write_reference_films
from tests.models import contract, write_model_store
from training.errors import ArtefactError
from training.evaluate.calibrate import Choice
from training.evaluate.evaluate import Served, Shipped
from training.figures.metrics import wilson
from training.site.store import check_request, site_contract, write_store

CHOICE = Choice(
    calibration=Calibration(temperature=2.0, bias=-1.0),
    thresholds={"rule_out": 0.3, "balanced": 0.6},
    uncertainty=Uncertainty(coverage=0.95, pneumonia_from=0.2, normal_to=0.6),
)
JUDGED = Served(
    labels=np.array([0, 0, 1, 1]),
    log_odds=logit([0.1, 0.4, 0.5, 0.9]),
    decisions={"rule_out": np.array([False, True, True, True]), "balanced": np.array([False, False, False, True])},
    patients=("a", "b", "c", "d"),
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "shipped"
    folder.mkdir()
    write_model_store(folder)
    return folder


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    write_reference_films(folder)
    (folder / "README.md").write_text("their licence")
    return folder


def test_contract_tells_the_site_s_choice_with_cross_fitted_evidence() -> None:
    shipped = contract()
    written = site_contract(shipped, CHOICE, JUDGED, version="1.2.3")
    assert (written.model_version, written.calibration) == ("1.2.3", CHOICE.calibration)
    assert written.default_operating_point == "rule_out"
    rule_out, balanced = written.operating_points
    assert (rule_out.threshold, rule_out.sensitivity.value, rule_out.specificity.value) == (0.3, 1.0, 0.5)
    assert (balanced.threshold, balanced.sensitivity.value, balanced.specificity.value) == (0.6, 0.5, 1.0)
    assert rule_out.sensitivity.low == pytest.approx(wilson(2, 2)[0], abs=1e-6)
    for kept in ("model_sha256", "data_sha256", "gate", "note", "licence"):
        assert getattr(written, kept) == getattr(shipped, kept)


def test_store_is_one_that_serves_with_answers_of_its_own(tmp_path: Path, source: Path, reference: Path) -> None:
    store = tmp_path / "deep" / "store"
    written = site_contract(ModelContract.load(source / "contract.json"), CHOICE, JUDGED, version="1.2.3")
    write_store(store, written, source=source, reference=reference)
    assert Shipped.load(store).contract == written
    assert (store / "pneumonia.onnx").read_bytes() == (source / "pneumonia.onnx").read_bytes()
    assert not (store / "pneumonia.safetensors").exists()  # as in its source
    assert (store / "reference" / "README.md").read_text() == "their licence"
    result = json.loads((store / "reference" / "expected.json").read_text())
    assert result["model_version"] == "1.2.3"
    assert not (reference / "expected.json").exists()


def test_weights_are_copied_where_there_are_some(tmp_path: Path, source: Path, reference: Path) -> None:
    (source / "pneumonia.safetensors").write_bytes(b"weights")
    written = ModelContract.load(source / "contract.json")
    for _ in range(2):  # written again, too
        write_store(tmp_path / "store", written, source=source, reference=reference)
    assert (tmp_path / "store" / "pneumonia.safetensors").read_bytes() == b"weights"


def test_store_that_cannot_be_written_is_refused(tmp_path: Path, source: Path, reference: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtefactError, match="File exists"):
        write_store(tmp_path / "file", contract(), source=source, reference=reference)


@pytest.mark.parametrize("version", [None, "", "1.2", "1.2.3-site", "v1.2.3", "0.0.0-test"])
def test_version_that_is_not_three_numbers_is_refused(tmp_path: Path, version: str | None) -> None:
    with pytest.raises(ArtefactError, match=r"as X\.Y\.Z"):
        check_request(tmp_path / "store", version, source=tmp_path, shipped=contract())


def test_shipped_version_is_refused(tmp_path: Path, source: Path) -> None:
    path = source / "contract.json"
    path.write_text(path.read_text().replace("0.0.0-test", "1.0.0"))
    with pytest.raises(ArtefactError, match=r"1\.0\.0 is the shipped model's"):
        check_request(tmp_path / "store", "1.0.0", source=source, shipped=ModelContract.load(path))


def test_shipped_store_is_not_written_over(source: Path) -> None:
    with pytest.raises(ArtefactError, match="write the new one elsewhere"):
        check_request(source / ".." / source.name, "1.2.3", source=source, shipped=contract())
