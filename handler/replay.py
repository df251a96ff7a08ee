"""python -m handler.replay RECEIPT FILM [--archive FILE]

Compute the result of a film again and compare it with a receipt: that of a `/predict?detail=true`, in a JSON file of
the whole answer, its `detail`, or the `receipt` alone. Ends with 0 where all matches, 1 where something does not, 2 for
files that cannot be read.
"""

import argparse
import hashlib
import json
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from handler.contract import ModelContract
from handler.detail import Receipt
from handler.engine import Engine
from handler.errors import HandlerError
from handler.imaging import VERSION, decode
from handler.screening import decide, probabilities, result

MEMBERS = ("contract.json", "pneumonia.onnx")
EXPECTED = "reference/expected.json"


class ReplayError(Exception):
    """A file that a replay needs cannot be read; the message says which, in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One thing that a receipt says, and what was found."""

    name: str
    receipt: Any
    found: Any
    matches: bool


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m handler.replay", description="Compute a film's result again and compare it with a receipt."
    )
    parser.add_argument("receipt", type=Path, help="JSON file of an answer with detail, or of its receipt")
    parser.add_argument("film", type=Path)
    parser.add_argument("--archive", type=Path, default=Path("model_store/pneumonia.mar"))
    args = parser.parse_args(arguments)
    try:
        comparisons = list(replay(args.receipt, args.film, args.archive))
    except (ReplayError, HandlerError) as exc:
        sys.stderr.write(f"handler.replay: {exc}\n")
        return 2
    for one in comparisons:
        words = "matches" if one.matches else f"differs: the receipt has {one.receipt}, found is {one.found}"
        if one.receipt is None:  # the archive's digest, which TorchServe itself does not know
            words = "is not in the receipt"
        sys.stdout.write(f"{one.name:20} {words}\n")
    return 0 if all(one.matches for one in comparisons) else 1


def replay(receipt: Path, film: Path, archive: Path) -> Iterator[Comparison]:
    """Compare a receipt with the film and the archive, and its result with the one that they give now.

    p_pneumonia matches within the tolerance that the archive's reference films have: another processor rounds
    otherwise. So does the prediction, where the threshold lies within that tolerance.

    Raises:
        ReplayError: a file is missing, unreadable, or not what it should be.
        HandlerError: the film cannot be screened.
    """
    content, packed = _bytes(film), _bytes(archive)
    said = _receipt(receipt, _sha256(content))
    with TemporaryDirectory() as folder:
        tolerance = _unpack(archive, Path(folder))
        contract_file = Path(folder, MEMBERS[0])
        contract = ModelContract.load(contract_file)
        if contract.preprocessing_version != VERSION:
            raise ReplayError(
                f"{archive} prepares films by version {contract.preprocessing_version}, this code by {VERSION}: "
                "replay it with the code of its version"
            )
        point = contract.operating_point(str(said["operating_point"]))
        decoded = decode(content)
        logits = Engine(Path(folder, MEMBERS[1])).logits(decoded.pixels[None])  # (1, 2)
        (p_pneumonia,) = probabilities(logits, contract.calibration)
        found = result(float(p_pneumonia), contract=contract, point=point)
        digests = {
            "film_sha256": _sha256(content),
            "archive_sha256": _sha256(packed),
            "contract_sha256": _sha256(contract_file.read_bytes()),
            "model_sha256": _sha256(Path(folder, MEMBERS[1]).read_bytes()),
        }
    exact = {**digests, "model_version": contract.model_version, "threshold": point.threshold}
    for name, value in exact.items():
        yield Comparison(name=name, receipt=said.get(name), found=value, matches=said.get(name, value) == value)
    near = abs(found.p_pneumonia - float(said["p_pneumonia"])) <= tolerance
    yield Comparison(name="p_pneumonia", receipt=said["p_pneumonia"], found=found.p_pneumonia, matches=near)
    # A receipt's prediction follows from its own p, wherever the film is screened again.
    follows = contract.labels[int(decide(np.array([float(said["p_pneumonia"])]), point.threshold)[0])]
    borderline = near and abs(found.p_pneumonia - point.threshold) <= tolerance
    yield Comparison(
        name="prediction",
        receipt=said["prediction"],
        found=found.prediction,
        matches=said["prediction"] == follows and (borderline or said["prediction"] == found.prediction),
    )


def _receipt(path: Path, film_sha256: str) -> Mapping[str, Any]:
    """Return the receipt in a file of JSON, wherever in it it lies; in an answer to several films, this film's."""
    try:
        said = json.loads(_bytes(path))
        if "results" in said:
            said = _of_film(said["results"], film_sha256)
        for key in ("detail", "receipt"):
            said = said.get(key, said)
        missing = {field.name for field in fields(Receipt)} - said.keys()
        float(said.get("p_pneumonia", 0))
    except (ValueError, AttributeError, TypeError, OverflowError) as exc:
        raise ReplayError(f"{path} is no receipt: {exc}") from exc
    if missing:
        raise ReplayError(f"{path} is no receipt: it lacks {', '.join(sorted(missing))}")
    receipt: Mapping[str, Any] = said
    return receipt


def _of_film(results: Sequence[Mapping[str, Any]], film_sha256: str) -> Mapping[str, Any]:
    for one in results:
        if one.get("detail", {}).get("receipt", {}).get("film_sha256") == film_sha256:
            return one
    raise ReplayError("the answer to several films has no receipt of this one: was it asked for with detail=true?")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ReplayError(f"{path}: {exc.strerror or exc}") from exc


def _unpack(archive: Path, folder: Path) -> float:
    """Unpack contract and model, and return the tolerance of the reference films."""
    try:
        with zipfile.ZipFile(archive) as members:
            for name in MEMBERS:
                members.extract(name, folder)
            return float(json.loads(members.read(EXPECTED))["tolerance"])
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as exc:
        raise ReplayError(f"{archive} is no archive of this service: {exc}") from exc


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
