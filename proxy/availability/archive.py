"""A model archive: the version in it, its digest, and the reference films with the results that it must give them."""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from proxy.errors import ArchiveError, ProbeError, WrongResultError
from proxy.settings import MODEL_NAME
from proxy.torchserve.client import Reply

MANIFEST = "MAR-INF/MANIFEST.json"
"""By torch-model-archiver; names the handler's file."""

CONTRACT = "contract.json"
MODEL = f"{MODEL_NAME}.onnx"
CONFIG = "model-config.yaml"
EXPECTED = "reference/expected.json"
OFFICIAL_TEST, CARD = "report/official_test.json", "report/MODEL_CARD.md"
"""Of the shipped model; a site's own archive has none."""

GATE_POLICIES = ("warn", "reject", "off")
"""The handler's; the first is the default. YAML reads a bare `off` as false."""

LOG_LEVELS = ("WARNING", "DEBUG", "INFO", "ERROR", "CRITICAL")
"""Of Python's logging."""

SMALL = "-224"
"""In the names of films of the model's own size, the cheapest to screen."""

MAX_MEMBER_BYTES = 1_000_000
"""Of what is read here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceFilm:
    """One film with the probability that the model must give it."""

    name: str
    content: bytes
    p_pneumonia: float
    tolerance: float

    def check(self, reply: Reply) -> None:
        """Compare a reply with what is expected.

        Raises:
            ProbeError: It is not a result, or too far off.
        """
        try:
            found = float(json.loads(reply.body)["p_pneumonia"])
        except (ValueError, KeyError, TypeError) as exc:
            raise ProbeError(f"reference film {self.name}: no prediction (status {reply.status})") from exc
        if not abs(found - self.p_pneumonia) <= self.tolerance:
            raise WrongResultError(
                f"reference film {self.name}: p_pneumonia is {found}, expected {self.p_pneumonia} +- {self.tolerance}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A `.mar` file, as it was when it was read."""

    path: Path
    sha256: str
    version: str
    """Of the model, from its contract."""
    films: tuple[ReferenceFilm, ...]
    contract: Mapping[str, Any]
    contract_sha256: str
    operating_point: str
    """At which films are screened for which no other is asked."""
    official_test: tuple[Mapping[str, Any], ...] = ()
    """Results of versions on the official test films."""
    card: str = ""
    """Markdown."""
    run_bytes: int = 0
    """What it takes on disk to be served: a copy, and what is unpacked of it."""

    @property
    def name(self) -> str:
        """What operators call it: version and digest."""
        return f"{self.version} ({self.sha256[:12]})"

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read an archive.

        Raises:
            ArchiveError: It is missing, no archive, damaged, or lacks its manifest, its contract, the handler or its
                reference films.
        """
        try:
            content = path.read_bytes()
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                _check_members(archive)
                manifest, contract, record = (_json(archive, name) for name in (MANIFEST, CONTRACT, EXPECTED))
                archive.getinfo(manifest["model"]["handler"])
                _check_model(archive, contract)
                config = yaml.safe_load(_read(archive, CONFIG))
                names = set(archive.namelist())
                return cls(
                    path=path,
                    sha256=hashlib.sha256(content).hexdigest(),
                    version=str(contract["model_version"]),
                    films=_films(archive, record),
                    run_bytes=len(content) + sum(member.file_size for member in archive.infolist()),
                    contract=contract,
                    contract_sha256=hashlib.sha256(_read(archive, CONTRACT)).hexdigest(),
                    operating_point=_operating_point(config.get("handler") or {}, contract),
                    official_test=tuple(_json(archive, OFFICIAL_TEST)["versions"]) if OFFICIAL_TEST in names else (),
                    card=_read(archive, CARD).decode() if CARD in names else "",
                )
        except FileNotFoundError as exc:
            raise ArchiveError(f"there is no archive {path}: run `make archive` first") from exc
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError) as exc:
            raise ArchiveError(f"{path} cannot be read as an archive: {exc}") from exc
        except (ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as exc:
            raise ArchiveError(f"{path} is no archive of this service: {exc!r}") from exc


def _check_members(archive: zipfile.ZipFile) -> None:
    if damaged := archive.testzip():
        raise zipfile.BadZipFile(f"{damaged} in it is damaged")


def _check_model(archive: zipfile.ZipFile, contract: Mapping[str, Any]) -> None:
    """Compare the model with the contract's digest of it, where that has one: a worker would find out only later."""
    if "model_sha256" in contract and hashlib.sha256(archive.read(MODEL)).hexdigest() != contract["model_sha256"]:
        raise ValueError(f"{MODEL} is not the model that {CONTRACT} was written for")


def _operating_point(settings: Mapping[str, Any], contract: Mapping[str, Any]) -> str:
    """Return the operating point of the handler's settings, which are checked: a worker would find out only later.

    Raises:
        ArchiveError: There is no such setting, or it has a value that it does not take.
    """
    points = [point["name"] for point in contract["operating_points"]]
    point = settings.get("operating_point", contract["default_operating_point"])
    policy, threads = settings.get("gate", GATE_POLICIES[0]), settings.get("lone_threads", 1)
    level = settings.get("log_level", LOG_LEVELS[0])
    right = {
        "operating_point": (point in points, f"one of {', '.join(points)}"),
        "gate": (policy is False or policy in GATE_POLICIES, f"one of {', '.join(GATE_POLICIES)}"),
        "lone_threads": (type(threads) is int and threads >= 1, "a whole number from 1 on"),
        "log_level": (level in LOG_LEVELS, f"one of {', '.join(LOG_LEVELS)}"),
    }
    for name, value in settings.items():
        is_right, wanted = right.get(name, (False, ""))
        if not wanted:
            raise ArchiveError(f"{CONFIG}: handler: there is no setting {name}, there are {', '.join(right)}")
        if not is_right:
            raise ArchiveError(f"{CONFIG}: handler: {name}: must be {wanted}, got {value!r}")
    return str(point)


def _films(archive: zipfile.ZipFile, record: dict[str, Any]) -> tuple[ReferenceFilm, ...]:
    """Return the small films that `expected.json` names."""
    small = [film for film in record["films"] if SMALL in film["file"]]
    if not small:
        raise ValueError(f"{EXPECTED} names no film with {SMALL!r} in its name")
    return tuple(
        ReferenceFilm(
            name=film["file"],
            content=_read(archive, f"reference/{film['file']}"),
            p_pneumonia=float(film["p_pneumonia"]),
            tolerance=float(record["tolerance"]),
        )
        for film in small
    )


def _json(archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(_read(archive, name))
    return content


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > MAX_MEMBER_BYTES:
        raise ValueError(f"{name} is over {MAX_MEMBER_BYTES} bytes")
    return archive.read(name)
