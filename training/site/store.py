"""A model store for one site: the shipped model under the site's own calibration and operating points."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

from handler.contract import ModelContract
from training.errors import ArtefactError
from training.evaluate.calibrate import Choice
from training.evaluate.evaluate import Served, Shipped
from training.evaluate.operating_points import DEFAULT, operating_point
from training.evaluate.reference import write_expected

_VERSION = re.compile(r"\d+\.\d+\.\d+")


def check_request(store: Path, version: str | None, *, source: Path, shipped: ModelContract) -> None:
    """Check where a new store is to be written, and the version that its model is to have.

    Raises:
        ArtefactError: it is not X.Y.Z or is the shipped one, or the store is the one that ships.
    """
    if version is None or not _VERSION.fullmatch(version):
        raise ArtefactError(f"version: a new model store needs another one, as X.Y.Z, got {version}")
    if version == shipped.model_version:
        raise ArtefactError(f"version: {version} is the shipped model's, a new model store needs another one")
    if store.resolve() == source.resolve():
        raise ArtefactError(f"{store}: holds the model that ships, write the new one elsewhere")


def site_contract(shipped: ModelContract, choice: Choice, judged: Served, *, version: str) -> ModelContract:
    """Return the shipped contract with a site's calibration, and operating points with cross-fitted evidence.

    What describes the model stays: the digests, also that of the films it learned from, the gate and the note. The
    evidence is what calibration and thresholds chosen in the same way are worth on patients they were not chosen on.
    """
    points = tuple(
        operating_point(name, choice.thresholds[name], decisions, judged.labels)
        for name, decisions in judged.decisions.items()
    )
    return replace(
        shipped,
        model_version=version,
        calibration=choice.calibration,
        operating_points=points,
        default_operating_point=DEFAULT,
        uncertainty=choice.uncertainty,
    )


def write_store(store: Path, contract: ModelContract, *, source: Path, reference: Path) -> None:
    """Write a model store: the model of the store `source`, a contract, and reference films with its answers.

    Raises:
        ArtefactError: the folder cannot be written.
        DataError: a reference film is missing or cannot be read.
    """
    try:
        store.mkdir(parents=True, exist_ok=True)
        for name in ("pneumonia.onnx", "pneumonia.safetensors", "gate.npz"):
            if (source / name).exists():  # to serve, the weights are not needed
                shutil.copyfile(source / name, store / name)
        contract.save(store / "contract.json")
        shutil.copytree(reference, store / "reference", dirs_exist_ok=True)
    except OSError as exc:
        raise ArtefactError(f"{store}: {exc.strerror or exc}") from exc
    write_expected(Shipped.load(store), store / "reference")
