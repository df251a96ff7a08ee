"""The model that screens films in process: the files of a model store, or of an archive."""

import hashlib
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from batch.errors import InputError
from handler.contract import ModelContract, OperatingPoint
from handler.errors import ContractError
from handler.gate import FILE as GATE
from handler.gate import Gate, Policy
from handler.imaging import INPUT_PX, VERSION

CONTRACT, NETWORK = "contract.json", "pneumonia.onnx"
FILES = (CONTRACT, NETWORK, GATE)
ARCHIVE = "pneumonia.mar"
"""Has these files too."""

MAX_MEMBER_BYTES = 1_000_000_000
"""Of what is read from an archive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A checked model, as bytes: it is sent to the processes that run it, wherever they are."""

    files: Mapping[str, bytes]
    """By the names in FILES."""
    point: OperatingPoint
    policy: Policy
    """What becomes of a film that the gate has something against."""

    @property
    def identity(self) -> str:
        """What changes whenever results may: a file, the operating point, or the gate's policy."""
        digests = [hashlib.sha256(self.files[name]).hexdigest() for name in FILES]
        return " ".join([*digests, self.point.name, self.policy])

    @contextmanager
    def unpacked(self) -> Iterator[Path]:
        """Lay the files into a folder, as long as they are read there."""
        with _unpacked(self.files) as folder:
            yield folder

    @classmethod
    def load(cls, store: Path, operating_point: str | None = None, *, policy: Policy = "warn") -> Self:
        """Read a model.

        Args:
            store: A folder with the files, or with an archive; or an archive.
            operating_point: Its name; by default the contract's.
            policy: Of the gate.

        Raises:
            InputError: There is no model that this code can run, or no such operating point.
        """
        try:
            files = _read(store)
            with _unpacked(files) as folder:
                contract = ModelContract.load(folder / CONTRACT)
            point = contract.operating_point(operating_point or contract.default_operating_point)
        except (OSError, zipfile.BadZipFile, KeyError, ContractError) as exc:
            raise InputError(f"{store}: {exc}") from exc
        if (contract.preprocessing_version, contract.input_px) != (VERSION, INPUT_PX):
            raise InputError(f"{store}: the model wants films prepared by version {contract.preprocessing_version}")
        if hashlib.sha256(files[NETWORK]).hexdigest() != contract.model_sha256:
            raise InputError(f"{store}: {NETWORK} is not the model that {CONTRACT} was written for")
        try:
            with _unpacked(files) as folder:
                Gate.load(folder, contract)
        except ContractError as exc:
            raise InputError(f"{store}: {exc}") from exc
        return cls(files=files, point=point, policy=policy)


@contextmanager
def _unpacked(files: Mapping[str, bytes]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        yield Path(folder)


def _read(store: Path) -> dict[str, bytes]:
    if store.is_dir():
        if (store / NETWORK).exists():
            return {name: (store / name).read_bytes() for name in FILES}
        store /= ARCHIVE
    if not store.exists():
        raise FileNotFoundError(f"there is neither {NETWORK} nor {ARCHIVE}")
    with zipfile.ZipFile(store) as archive:
        return {name: _member(archive, name) for name in FILES}


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > MAX_MEMBER_BYTES:
        raise zipfile.BadZipFile(f"{name} is over {MAX_MEMBER_BYTES} bytes")
    return archive.read(name)
