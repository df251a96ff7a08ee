import hashlib
import json
import math
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

from handler.gate import POLICIES
from proxy.availability.archive import (
    CARD,
    CONFIG,
    CONTRACT,
    EXPECTED,
    MANIFEST,
    OFFICIAL_TEST,
    Archive,
    ReferenceFilm,
)
from proxy.errors import ArchiveError, ProbeError
from proxy.settings import ROOT
from proxy.torchserve.client import Reply

Members = Mapping[str, bytes]


def entry(name: str, label: str, p_pneumonia: object = 0.5) -> dict[str, object]:
    return {"file": name, "label": label, "p_pneumonia": p_pneumonia}


RECORD = {
    "tolerance": 0.02,
    "films": [
        entry("normal-1-1500.jpeg", "NORMAL"),
        entry("normal-1-224.jpeg", "NORMAL", 0.0123),
        entry("normal-2-224.jpeg", "NORMAL"),
        entry("pneumonia-1-224.jpeg", "PNEUMONIA", 0.9),
    ],
}
MEMBERS: Members = {
    MANIFEST: b'{"model": {"handler": "handler.py"}}',
    "handler.py": b"class Handler: ...",
    CONTRACT: b'{"model_version": "1.2.3", "default_operating_point": "rule_out",'
    b' "operating_points": [{"name": "rule_out"}, {"name": "balanced"}]}',
    CONFIG: b"handler:\n  operating_point: balanced\n",
    EXPECTED: json.dumps(RECORD).encode(),
    "reference/normal-1-224.jpeg": b"a normal film",
    "reference/normal-2-224.jpeg": b"another normal film",
    "reference/pneumonia-1-224.jpeg": b"a pneumonia film",
}


@pytest.fixture
def pack(tmp_path: Path) -> Callable[[Members], Path]:
    def write(members: Members) -> Path:
        with zipfile.ZipFile(tmp_path / "x.mar", "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return tmp_path / "x.mar"

    return write


def film(p_pneumonia: float = 0.5) -> ReferenceFilm:
    return ReferenceFilm(name="f", content=b"", p_pneumonia=p_pneumonia, tolerance=0.02)


def test_version_and_the_small_films_are_read(pack: Callable[[Members], Path]) -> None:
    archive = Archive.read(pack(MEMBERS))
    assert archive.version == "1.2.3"
    assert archive.name == f"1.2.3 ({archive.sha256[:12]})"
    films = {film.name: film for film in archive.films}
    assert set(films) == {"normal-1-224.jpeg", "normal-2-224.jpeg", "pneumonia-1-224.jpeg"}
    normal = films["normal-1-224.jpeg"]
    assert (normal.content, normal.p_pneumonia, normal.tolerance) == (b"a normal film", 0.0123, 0.02)


def test_operating_point_is_that_of_the_configuration(pack: Callable[[Members], Path]) -> None:
    assert Archive.read(pack(MEMBERS)).operating_point == "balanced"
    assert Archive.read(pack({**MEMBERS, CONFIG: b"minWorkers: 1"})).operating_point == "rule_out"


def test_handler_without_settings_is_taken(pack: Callable[[Members], Path]) -> None:
    assert Archive.read(pack({**MEMBERS, CONFIG: b"handler:\n"})).operating_point == "rule_out"


@pytest.mark.parametrize("policy", [*POLICIES, False])
def test_every_policy_of_the_gate_is_taken(pack: Callable[[Members], Path], policy: object) -> None:
    Archive.read(pack({**MEMBERS, CONFIG: yaml.safe_dump({"handler": {"gate": policy}}).encode()}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gate": "bogus"}, "model-config.yaml: handler: gate: must be one of warn, reject, off, got 'bogus'"),
        ({"gate": None}, "gate: must be one of warn"),
        ({"gate": 0}, "gate: must be one of warn"),
        ({"log_level": "LOUD"}, "log_level: must be one of WARNING"),
        ({"lone_threads": "two"}, "lone_threads: must be a whole number"),
        ({"lone_threads": True}, "lone_threads: must be a whole number"),
        ({"Gate": "reject"}, "there is no setting Gate, there are operating_point, gate, lone_threads, log_level"),
        ({"operating_point": "zzz"}, "operating_point: must be one of rule_out, balanced, got 'zzz'"),
        ({"operating_point": []}, "operating_point: must be one of rule_out, balanced"),
    ],
)
def test_setting_of_the_handler_that_there_is_not_is_named(
    pack: Callable[[Members], Path], settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ArchiveError, match=message):
        Archive.read(pack({**MEMBERS, CONFIG: yaml.safe_dump({"handler": settings}).encode()}))


def test_card_and_results_are_read_where_there_are_some(pack: Callable[[Members], Path]) -> None:
    archive = Archive.read(pack({**MEMBERS, CARD: b"# Card", OFFICIAL_TEST: b'{"versions": [{"version": "1"}]}'}))
    assert (archive.card, archive.official_test) == ("# Card", ({"version": "1"},))
    assert (Archive.read(pack(MEMBERS)).card, Archive.read(pack(MEMBERS)).official_test) == ("", ())


def test_missing_archive_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="make archive"):
        Archive.read(tmp_path / "x.mar")


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04"])
def test_other_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.mar").write_bytes(content)
    with pytest.raises(ArchiveError, match="cannot be read"):
        Archive.read(tmp_path / "x.mar")


@pytest.mark.parametrize("name", sorted(MEMBERS))
def test_archive_that_lacks_a_part_is_refused_by_its_name(pack: Callable[[Members], Path], name: str) -> None:
    with pytest.raises(ArchiveError, match=name):
        Archive.read(pack({other: content for other, content in MEMBERS.items() if other != name}))


def test_damaged_archive_is_refused(pack: Callable[[Members], Path]) -> None:
    path = pack(MEMBERS)
    content = bytearray(path.read_bytes())
    content[40:60] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(ArchiveError):
        Archive.read(path)


def with_model(content: bytes) -> Members:
    contract = json.loads(MEMBERS[CONTRACT]) | {"model_sha256": hashlib.sha256(b"weights").hexdigest()}
    return {**MEMBERS, CONTRACT: json.dumps(contract).encode(), "pneumonia.onnx": content}


def test_model_is_the_one_of_the_contract(pack: Callable[[Members], Path]) -> None:
    Archive.read(pack(with_model(b"weights")))
    with pytest.raises(ArchiveError, match=r"pneumonia\.onnx is not the model that contract\.json was written for"):
        Archive.read(pack(with_model(b"other weights")))
    members = with_model(b"weights")
    with pytest.raises(ArchiveError, match=r"pneumonia\.onnx"):
        Archive.read(pack({name: content for name, content in members.items() if name != "pneumonia.onnx"}))


def test_archive_with_a_damaged_model_is_refused_by_its_name(pack: Callable[[Members], Path]) -> None:
    path = pack({**MEMBERS, "model.onnx": b"weights" * 100})
    path.write_bytes(path.read_bytes().replace(b"weightsweights", b"weightsWeights", 1))
    with pytest.raises(ArchiveError, match=r"model\.onnx in it is damaged"):
        Archive.read(path)


def test_part_that_would_unpack_to_much_is_refused(pack: Callable[[Members], Path]) -> None:
    with pytest.raises(ArchiveError, match="over"):
        Archive.read(pack({**MEMBERS, CONTRACT: b" " * 2_000_000}))


@pytest.mark.parametrize(
    "record",
    [
        [],
        {},
        {"tolerance": 0.02},
        {"films": [entry("normal-1-224.jpeg", "NORMAL")]},
        {"tolerance": 0.02, "films": [{"file": "normal-1-224.jpeg"}]},
        {"tolerance": 0.02, "films": [entry("normal-1-224.jpeg", "NORMAL", "high")]},
        {"tolerance": 0.02, "films": []},
        {"tolerance": 0.02, "films": [entry("normal-1-1500.jpeg", "NORMAL")]},
    ],
)
def test_record_of_another_form_is_refused(pack: Callable[[Members], Path], record: object) -> None:
    with pytest.raises(ArchiveError, match="no archive of this service"):
        Archive.read(pack({**MEMBERS, EXPECTED: json.dumps(record).encode()}))


@pytest.mark.parametrize("found", [0.5, 0.481, 0.519])
def test_answer_within_the_tolerance_passes(found: float) -> None:
    film().check(Reply(200, json.dumps({"p_pneumonia": found}).encode()))


@pytest.mark.parametrize("found", [0.47, 0.53, float("nan")])
def test_answer_too_far_off_is_reported(found: float) -> None:
    with pytest.raises(ProbeError, match=r"expected 0\.5"):
        film().check(Reply(200, json.dumps({"p_pneumonia": found}).encode()))


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"error": {}}', b'{"p_pneumonia": "x"}'])
def test_answer_without_a_prediction_is_reported(body: bytes) -> None:
    with pytest.raises(ProbeError, match="415"):
        film().check(Reply(415, body))


@pytest.mark.parametrize(("shift", "steepness"), [(0.5, 1.0), (-0.5, 1.0), (0.0, 1.2), (0.0, 1 / 1.2)])
def test_reference_films_of_the_repository_see_a_small_change_of_the_model(shift: float, steepness: float) -> None:
    """A shift of the log odds by 0.5, or a temperature that is off by a fifth."""
    record = json.loads((ROOT / "reference" / "expected.json").read_text())
    films = [one["p_pneumonia"] for one in record["films"] if "-224" in one["file"]]
    odds = [math.log(p / (1 - p)) for p in films if 0 < p < 1]
    changed = [1 / (1 + math.exp(-(steepness * one + shift))) for one in odds]
    moved = [abs(after - 1 / (1 + math.exp(-before))) for before, after in zip(odds, changed, strict=True)]
    assert max(moved) > record["tolerance"]
