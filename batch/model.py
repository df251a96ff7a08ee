"""The model that screens films in process: contract and network, from a model store or an archive."""

import hashlib
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from batch.errors import InputError
from handler.contract import ModelContract, OperatingPoint
from handler.errors import ContractError
from handler.imaging import INPUT_PX, VERSION

NETWORK, CONTRACT, ARCHIVE = "pneumonia.onnx", "contract.json", "pneumonia.mar"

MAX_MEMBER_BYTES = 1_000_000_000
"""Of what is read from an archive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A checked model, as bytes: it is sent to the processes that run it, wherever they are."""

    contract_json: bytes
    network: bytes
    """The ONNX file."""
    point: OperatingPoint

    @property
    def contract(self) -> ModelContract:
        """The contract of the model."""
        return _contract(self.contract_json)

    @property
    def identity(self) -> str:
        """What changes whenever results may: contract, and with it the network, preparation and operating point."""
        return f"{hashlib.sha256(self.contract_json).hexdigest()} {self.point.name}"

    @classmethod
    def load(cls, store: Path, operating_point: str | None) -> Self:
        """Read a model.

        Args:
            store: A folder with contract and network, or with an archive; or an archive.
            operating_point: Its name; by default the contract's.

        Raises:
            InputError: There is no model that this code can run, or no such operating point.
        """
        try:
            contract_json, network = _files(store)
            contract = _contract(contract_json)
            point = contract.operating_point(operating_point or contract.default_operating_point)
        except (OSError, zipfile.BadZipFile, KeyError, ContractError) as exc:
            raise InputError(f"{store}: {' '.join(str(exc).split())}") from exc
        if (contract.preprocessing_version, contract.input_px) != (VERSION, INPUT_PX):
            raise InputError(f"{store}: the model wants films prepared by version {contract.preprocessing_version}")
        if hashlib.sha256(network).hexdigest() != contract.model_sha256:
            raise InputError(f"{store}: {NETWORK} is not the model that {CONTRACT} was written for")
        return cls(contract_json=contract_json, network=network, point=point)


def _files(store: Path) -> tuple[bytes, bytes]:
    """Return contract and network."""
    if store.is_dir():
        if (store / NETWORK).exists():
            return (store / CONTRACT).read_bytes(), (store / NETWORK).read_bytes()
        store /= ARCHIVE
    if not store.exists():
        raise FileNotFoundError(f"there is neither {NETWORK} with {CONTRACT} nor {ARCHIVE}")
    with zipfile.ZipFile(store) as archive:
        return _member(archive, CONTRACT), _member(archive, NETWORK)


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > MAX_MEMBER_BYTES:
        raise zipfile.BadZipFile(f"{name} is over {MAX_MEMBER_BYTES} bytes")
    return archive.read(name)


def _contract(content: bytes) -> ModelContract:
    with tempfile.TemporaryDirectory() as folder:  # contracts are read from files
        path = Path(folder, CONTRACT)
        path.write_bytes(content)
        return ModelContract.load(path)
