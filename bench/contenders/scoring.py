"""The decode and the engine of the service, without a server: what every contender but the torch ones runs."""

import dataclasses
from pathlib import Path
from typing import Any

from handler.contract import ModelContract
from handler.engine import Engine
from handler.gate import Gate, warnings
from handler.imaging import decode
from handler.screening import probabilities, result

ROOT = Path(__file__).resolve().parents[2]
MODEL_STORE = ROOT / "model_store"


class Scorer:
    """One film in, its answer out: the calls that the handler makes, on one thread."""

    def __init__(self, model_store: Path = MODEL_STORE) -> None:
        self.contract = ModelContract.load(model_store / "contract.json")
        self._point = self.contract.operating_point(self.contract.default_operating_point)
        self._engine = Engine(model_store / "pneumonia.onnx")
        self._gate = Gate.load(model_store, self.contract)

    def score(self, data: bytes) -> dict[str, Any]:
        """Return `prediction`, `p_pneumonia` (0 to 1) and `note` of one JPEG or PNG."""
        film = decode(data)
        seen = self._engine.screen(film.pixels[None])
        (p_pneumonia,) = probabilities(seen.logits, self.contract.calibration)
        (reasons,) = self._gate.reasons([film], seen.statistics)
        said = warnings(film.facts, reasons, self.contract.gate)
        return dataclasses.asdict(result(p_pneumonia, contract=self.contract, point=self._point, warnings=said))
