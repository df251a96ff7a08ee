import hashlib
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from batch.errors import InputError
from batch.model import ARCHIVE, FILES, Model
from batch.place import File, as_text
from batch.row import Row
from batch.scorer import Scorer
from batch.service import row_of as row_from_answer
from handler.contract import ModelContract
from handler.engine import Engine
from handler.gate import Policy
from handler.imaging import Film, decode
from handler.parameters import FilmRequest
from handler.pneumonia_handler import PneumoniaHandler
from handler.screening import probabilities
from tests.films import grey, jpeg, png_bomb
from tests.models import write_model_store
from tests.worklists import film


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    write_model_store(folder)
    return folder


def row_of(store: Path, path: Path, content: bytes, operating_point: str | None = None, policy: Policy = "warn") -> Row:
    path.write_bytes(content)
    return Scorer(Model.load(store, operating_point, policy=policy), 1_000_000)(as_text(File(str(path))))


def test_row_is_what_handler_says_of_the_film(store: Path, tmp_path: Path) -> None:
    content = film(200)
    row = row_of(store, tmp_path / "film", content)
    logits = Engine(store / "pneumonia.onnx").logits(decode(content).pixels[None])
    (p_pneumonia,) = probabilities(logits, ModelContract.load(store / "contract.json").calibration)
    assert row.urgency == pytest.approx(p_pneumonia)
    assert row.p_pneumonia == np.round(p_pneumonia, 4)
    assert (row.status, row.operating_point, row.threshold, row.model_version) == (200, "rule_out", 0.2, "0.0.0-test")
    assert row.film_sha256 == hashlib.sha256(content).hexdigest()


def test_operating_point_is_the_one_asked_for(store: Path, tmp_path: Path) -> None:
    assert row_of(store, tmp_path / "film", film(), "balanced").threshold == 0.5
    with pytest.raises(InputError, match=r"rule_out, balanced"):
        Model.load(store, "no such")


def test_film_that_the_gate_rejects_has_the_row_of_the_service_s_answer(store: Path, tmp_path: Path) -> None:
    content = film(200)
    warned = row_of(store, tmp_path / "film", content)
    assert "not recognised as a chest film" in (warned.note or "")
    rejected = row_of(store, tmp_path / "film", content, policy="reject")
    handler = PneumoniaHandler()
    settings = {"handler": {"gate": "reject"}}
    context = SimpleNamespace(
        system_properties={"model_dir": str(store), "gpu_id": None}, model_yaml_config=settings, answers=[]
    )
    handler.initialize(context)
    requests = [FilmRequest(content=content)]
    films = handler.preprocess(requests)
    passes = handler.inference([one for one in films if isinstance(one, Film)])
    (response,) = handler.postprocess(films, requests, passes)
    assert rejected == row_from_answer(response.status, response.body, {}, content)
    assert (rejected.status, rejected.error_code) == (422, "rejected_by_gate")
    assert warned.gate == rejected.gate
    assert "not_a_chest_film" in (warned.gate or "").split()
    assert "not_a_chest_film" in (rejected.error_message or "")


def test_gate_that_is_off_marks_no_film(store: Path, tmp_path: Path) -> None:
    content = jpeg(grey(level=120, width=66, height=66))
    assert "smaller than" in (row_of(store, tmp_path / "film", content).note or "")
    assert "smaller than" not in (row_of(store, tmp_path / "film", content, policy="off").note or "")


def test_another_policy_of_the_gate_screens_anew(store: Path) -> None:
    policies: tuple[Policy, ...] = ("warn", "reject", "off")
    assert len({Model.load(store, policy=policy).identity for policy in policies}) == 3


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"no film", 415), (film()[:-100], 422), (png_bomb(40_000, 40_000), 422), (bytes(1_000_001), 413)],
)
def test_what_is_no_film_gets_a_row_that_says_so(store: Path, tmp_path: Path, content: bytes, status: int) -> None:
    row = row_of(store, tmp_path / "film", content)
    assert (row.status, row.urgency) == (status, None)
    assert row.error_code
    assert row.error_message


def test_empty_file_has_the_code_of_the_service(store: Path, tmp_path: Path) -> None:
    row = row_of(store, tmp_path / "film", b"")
    assert (row.status, row.error_code) == (422, "empty_file")


def test_model_is_read_from_an_archive_too(store: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / ARCHIVE, "w") as archive:
        for name in FILES:
            archive.write(store / name, name)
    assert Model.load(tmp_path, None) == Model.load(store, None) == Model.load(tmp_path / ARCHIVE, None)


def test_what_is_no_model_is_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither"):
        Model.load(tmp_path, None)
    for name in FILES:
        (tmp_path / name).write_bytes((store / name).read_bytes())
    (tmp_path / "pneumonia.onnx").write_bytes(b"another")
    with pytest.raises(InputError, match="not the model"):
        Model.load(tmp_path, None)
    (tmp_path / "x.mar").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"x\.mar"):
        Model.load(tmp_path / "x.mar", None)
