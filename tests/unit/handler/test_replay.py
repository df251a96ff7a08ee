import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handler.contract import ModelContract
from handler.detail import detail
from handler.engine import Engine
from handler.imaging import decode
from handler.replay import main
from handler.screening import probabilities, result
from tests.films import grey, jpeg
from tests.models import contract, write_model_store

FILM = jpeg(grey(level=150))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    write_model_store(tmp_path)
    path = tmp_path / "model.mar"
    pack(path, tmp_path)
    return path


def pack(path: Path, store: Path) -> None:
    with zipfile.ZipFile(path, "w") as members:
        for name in ("contract.json", "pneumonia.onnx"):
            members.write(store / name, name)
        members.writestr("reference/expected.json", json.dumps({"tolerance": 0.02}))


@pytest.fixture
def said(tmp_path: Path) -> dict[str, Any]:
    """Return the detail of an answer to FILM."""
    film, point = decode(FILM), contract().operating_point("rule_out")
    served = write_model_store(tmp_path)
    (p,) = probabilities(Engine(tmp_path / "pneumonia.onnx").logits(film.pixels[None]), served.calibration)
    return detail(
        result(float(p), contract=served, point=point),
        p_pneumonia=float(p),
        facts=film.facts,
        content=FILM,
        contract=served,
        contract_sha256=hashlib.sha256((tmp_path / "contract.json").read_bytes()).hexdigest(),
        point=point,
        reasons=[],
    )


def replayed(tmp_path: Path, archive: Path, said: object, film: bytes = FILM) -> int:
    (tmp_path / "receipt.json").write_text(json.dumps(said))
    (tmp_path / "film").write_bytes(film)
    return main([str(tmp_path / "receipt.json"), str(tmp_path / "film"), "--archive", str(archive)])


def test_receipt_matches_its_film(tmp_path: Path, archive: Path, said: dict[str, Any]) -> None:
    for content in ({"detail": said}, said, said["receipt"]):
        assert replayed(tmp_path, archive, content) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("p_pneumonia", 0.9999),
        ("prediction", "NORMAL"),
        ("threshold", 0.3),
        ("model_version", "9"),
        ("contract_sha256", "0" * 64),
        ("archive_sha256", "0" * 64),
        ("film_sha256", "0" * 64),
    ],
)
def test_what_differs_is_named(  # noqa: PLR0913, PLR0917  (fixtures)
    tmp_path: Path,
    archive: Path,
    said: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: object,
) -> None:
    assert replayed(tmp_path, archive, {"receipt": said["receipt"] | {name: value}}) == 1
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines() if "differs" in line] == [name]


def test_prediction_has_to_follow_from_the_receipts_own_p(tmp_path: Path, archive: Path, said: dict[str, Any]) -> None:
    # At the threshold either label may come out on another processor, but not against the receipt's own p.
    found = said["receipt"]["p_pneumonia"]
    contract_file = tmp_path / "contract.json"
    served = ModelContract.load(contract_file)
    point = replace(served.operating_points[0], threshold=round(found - 0.001, 4))
    replace(served, operating_points=(point, *served.operating_points[1:])).save(contract_file)
    pack(archive, tmp_path)
    receipt = said["receipt"] | {
        "threshold": point.threshold,
        "contract_sha256": hashlib.sha256(contract_file.read_bytes()).hexdigest(),
    }
    below = round(point.threshold - 0.001, 4)
    assert replayed(tmp_path, archive, receipt) == 0
    assert replayed(tmp_path, archive, receipt | {"prediction": "NORMAL"}) == 1
    assert replayed(tmp_path, archive, receipt | {"prediction": "NORMAL", "p_pneumonia": below}) == 0


@pytest.mark.parametrize("name", ["contract_sha256", "model_sha256", "model_version", "threshold", "film_sha256"])
def test_receipt_that_lacks_something_is_none(tmp_path: Path, archive: Path, said: dict[str, Any], name: str) -> None:
    assert replayed(tmp_path, archive, {key: value for key, value in said["receipt"].items() if key != name}) == 2


def test_other_film_does_not_match(tmp_path: Path, archive: Path, said: dict[str, Any]) -> None:
    assert replayed(tmp_path, archive, said, jpeg(grey(level=60))) == 1


def test_film_s_own_receipt_is_taken_from_an_answer_to_several(
    tmp_path: Path, archive: Path, said: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    other = {"detail": {"receipt": said["receipt"] | {"film_sha256": "0" * 64, "model_version": "9"}}}
    refused = {"file": "x", "status": 422, "error": {"code": "damaged_film", "message": "cut"}}
    assert replayed(tmp_path, archive, {"results": [refused, other, {"status": 200, "detail": said}]}) == 0
    assert replayed(tmp_path, archive, {"results": [refused, other]}) == 2
    assert "no receipt of this one" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [[], {}, {"results": 5}, {"results": [5]}, {"receipt": 5}, {"film_sha256": "x"}, "text", {"p_pneumonia": 10**400}],
)
def test_what_is_no_receipt_is_said(tmp_path: Path, archive: Path, content: object) -> None:
    assert replayed(tmp_path, archive, content) == 2


def test_film_or_archive_that_cannot_be_read_is_said(tmp_path: Path, archive: Path, said: dict[str, Any]) -> None:
    assert replayed(tmp_path, archive, said, b"no film") == 2
    archive.write_bytes(b"no archive")
    assert replayed(tmp_path, archive, said) == 2
    assert replayed(tmp_path, tmp_path / "none.mar", said) == 2
