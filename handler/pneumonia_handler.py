"""The TorchServe handler: initialize, preprocess, inference, postprocess.

The only module that knows of TorchServe, whose loader wants exactly one class here.
"""

import dataclasses
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from handler.contract import ModelContract, OperatingPoint
from handler.engine import Engine
from handler.errors import ContractError, FilmError, MissingFilm, UnsupportedFormat
from handler.imaging import INPUT_PX, VERSION, Film, decode
from handler.screening import answer, probabilities

logger = logging.getLogger(__name__)


class PneumoniaHandler:
    """Screens a batch of films; one item's fault is that item's answer, never its batch's."""

    contract: ModelContract
    point: OperatingPoint
    engine: Engine

    def initialize(self, context: Any) -> None:
        """Load contract and model from the unpacked archive, and run the model once so that no client waits for it.

        Args:
            context: TorchServe's `ts.context.Context`.

        Raises:
            ContractError: the contract is not one that this code understands, or was written for another model.
        """
        root = Path(context.system_properties["model_dir"])
        self.contract = ModelContract.load(root / "contract.json")
        if (self.contract.preprocessing_version, self.contract.input_px) != (VERSION, INPUT_PX):
            raise ContractError(
                f"preprocessing_version {self.contract.preprocessing_version} at {self.contract.input_px} pixels: "
                f"this code prepares films by version {VERSION} at {INPUT_PX}"
            )
        settings = (context.model_yaml_config or {}).get("handler", {})
        self.point = self.contract.operating_point(
            settings.get("operating_point", self.contract.default_operating_point)
        )
        model = root / "pneumonia.onnx"
        if hashlib.sha256(model.read_bytes()).hexdigest() != self.contract.model_sha256:
            raise ContractError(f"model_sha256: {model.name} is not the model that the contract was written for")
        self.engine = Engine(model)
        self.engine.run(np.zeros((1, INPUT_PX, INPUT_PX), dtype=np.uint8))
        logger.info("model %s at operating point %s", self.contract.model_version, self.point.name)
        if "log_level" in settings:
            # The root's, because TorchServe's own lines for every request go there.
            logging.getLogger().setLevel(settings["log_level"])

    def preprocess(self, data: list[dict[str, Any]]) -> list[Film | FilmError]:
        """Decode each row of a request batch to a film, or to the error that is its answer."""
        films: list[Film | FilmError] = []
        for row in data:
            try:
                films.append(decode(_body(row)))
            except FilmError as exc:
                films.append(exc)
        return films

    def inference(self, films: list[Film]) -> list[float]:
        """Return p_pneumonia, 0 to 1, of each film."""
        if not films:
            return []
        batch = np.stack([film.pixels for film in films])  # (B, 224, 224)
        outputs = self.engine.run(batch)
        p_pneumonia: list[float] = probabilities(outputs.logits, self.contract.calibration).tolist()
        return p_pneumonia

    def postprocess(self, films: list[Film | FilmError], p_pneumonia: list[float], context: Any) -> list[bytes]:
        """Return the JSON of each item, and tell TorchServe its status and content type."""
        remaining = iter(p_pneumonia)
        bodies = []
        for index, film in enumerate(films):
            # Values of headers must be str: anything else ends the worker.
            context.set_response_content_type(index, "application/json")
            if isinstance(film, FilmError):
                context.set_response_status(film.status, film.code, index)
                body: dict[str, Any] = {"error": {"code": film.code, "message": str(film)}}
            else:
                context.set_response_status(200, "OK", index)
                told = answer(next(remaining), film.facts, contract=self.contract, point=self.point)
                body = dataclasses.asdict(told)
            bodies.append(json.dumps(body).encode())
        return bodies

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[bytes]:
        """Answer one batch: what TorchServe calls."""
        films = self.preprocess(data)
        p_pneumonia = self.inference([film for film in films if isinstance(film, Film)])
        return self.postprocess(films, p_pneumonia, context)


def _body(row: dict[str, Any]) -> bytes | bytearray:
    """Return the film's bytes from a row: a raw body, or a form's part `file`.

    TorchServe has already parsed a body that is declared to be JSON or text: that was no film.
    """
    for key in ("body", "file", "data"):
        if key in row:
            film = row[key]
            if isinstance(film, bytes | bytearray):
                return film
            raise UnsupportedFormat("the body is declared to be text or JSON: send a JPEG or PNG")
    raise MissingFilm("the request carries no film: send it as the raw body, or as the part `file` of a form")
