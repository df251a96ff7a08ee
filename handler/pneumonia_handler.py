"""The TorchServe handler: initialize, preprocess, inference, postprocess.

The only module that knows of TorchServe, whose loader wants exactly one class here.
"""

import dataclasses
import gc
import hashlib
import json
import logging
import os
import time
from collections.abc import Sequence
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from handler.contract import ModelContract, OperatingPoint
from handler.engine import Engine
from handler.errors import ContractError, DeferredFilm, FailedFilm, FilmError, MissingFilm, UnsupportedFormat
from handler.film_memory import ANSWER_TYPE, CONTENT_TYPE, VARIABLE, FilmMemory
from handler.formats.registry import SEND
from handler.imaging import INPUT_PX, VERSION, Film, decode
from handler.screening import Probabilities, probabilities, results

if TYPE_CHECKING:
    from handler.torch_engine import TorchEngine

logger = logging.getLogger(__name__)

LONE = "Alone"
"""The header with which the proxy says that TorchServe has no other film."""

DEFER_AFTER_S = 0.25
"""Films of one request that took longer leave the rest of it for the next one, so that no request takes much longer
than its slowest film, and nobody waits for films that another client sent."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One film's result or error, as it leaves the handler."""

    status: int
    """Of HTTP."""
    reason: str
    body: bytes
    """JSON."""


class PneumoniaHandler:
    """Screens a batch of films; one item's fault is that item's answer, never its batch's."""

    contract: ModelContract
    point: OperatingPoint
    engine: "Engine | TorchEngine"
    memory: FilmMemory | None

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
        self.engine = _engine(
            root, context.system_properties.get("gpu_id"), lone_threads=settings.get("lone_threads", 1)
        )
        for lone in (False, True):
            self.engine.logits(np.zeros((1, INPUT_PX, INPUT_PX), dtype=np.uint8), lone=lone)
        shared = os.environ.get(VARIABLE)
        self.memory = FilmMemory(Path(shared)) if shared else None
        gc.collect()
        gc.freeze()
        logger.info("model %s at operating point %s", self.contract.model_version, self.point.name)
        if "log_level" in settings:
            # The root's, because TorchServe's own lines for every request go there.
            logging.getLogger().setLevel(settings["log_level"])

    def preprocess(
        self, rows: list[dict[str, Any]], *, deferrable: Sequence[bool] | None = None
    ) -> list[Film | FilmError]:
        """Decode each row to a film, or to the error that is its answer.

        Args:
            rows: as TorchServe has them.
            deferrable: of each row, whether it may be left for another request when those before it took long.
        """
        films: list[Film | FilmError] = []
        began = time.monotonic()
        for row, may_wait in zip(rows, deferrable or [False] * len(rows), strict=True):
            if may_wait and time.monotonic() - began > DEFER_AFTER_S:
                films.append(DeferredFilm("not begun"))
                continue
            try:
                films.append(decode(_body(row)))
            except FilmError as exc:
                # Anew, because what was raised holds on to the pixels through its traceback.
                films.append(type(exc)(str(exc)))
            except Exception:
                logger.exception("a film could not be decoded")
                films.append(FailedFilm("the model failed on this film"))
        return films

    def inference(self, films: list[Film], *, lone: bool = False) -> Probabilities:
        """Return p_pneumonia (B,), 0 to 1, of decoded films; `lone` as `Engine.logits` takes it."""
        if not films:
            return np.empty(0)
        logits = self.engine.logits(np.stack([film.pixels for film in films]), lone=lone)  # (B, 2)
        return probabilities(logits, self.contract.calibration)

    def postprocess(self, films: list[Film | FilmError], p_pneumonia: Probabilities) -> list[Response]:
        """Return the response to each film: a result for those that were decoded, in order, or its error."""
        facts = [film.facts for film in films if isinstance(film, Film)]
        remaining = iter(results(p_pneumonia, facts, contract=self.contract, point=self.point))
        responses = []
        for film in films:
            if isinstance(film, FilmError):
                body: dict[str, Any] = {"error": {"code": film.code, "message": str(film)}}
                responses.append(Response(status=film.status, reason=film.code, body=json.dumps(body).encode()))
            else:
                body = dataclasses.asdict(next(remaining))
                responses.append(Response(status=HTTPStatus.OK, reason="OK", body=json.dumps(body).encode()))
        return responses

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[bytes]:
        """Answer one batch of requests: what TorchServe calls."""
        named = [context.get_request_header(index, "Content-Type") == CONTENT_TYPE for index in range(len(data))]
        requests = [self._named_films(row) if many else [row] for row, many in zip(data, named, strict=True)]
        # A request's first film always has its turn, or it might wait for ever.
        deferrable = [number > 0 for rows in requests for number in range(len(rows))]
        films = self.preprocess([row for rows in requests for row in rows], deferrable=deferrable)
        lone = all(context.get_request_header(index, LONE) for index in range(len(data)))
        p_pneumonia = self.inference([film for film in films if isinstance(film, Film)], lone=lone)
        responses = iter(self.postprocess(films, p_pneumonia))
        bodies = []
        for index, rows in enumerate(requests):
            # Values of headers must be str: anything else ends the worker.
            if named[index]:
                context.set_response_content_type(index, ANSWER_TYPE)
                bodies.append(b"\n".join(b"%d %b" % (one.status, one.body) for one in islice(responses, len(rows))))
            else:
                one = next(responses)
                context.set_response_content_type(index, "application/json")
                context.set_response_status(one.status, one.reason, index)
                bodies.append(one.body)
        return bodies

    def _named_films(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        """Return a row for each film that a request names in the proxy's memory."""
        if self.memory is None:
            raise ValueError(f"{VARIABLE} is not set: there is no memory to read films from")
        return [{"body": film} for film in self.memory.films(row["body"])]


def _engine(root: Path, gpu_id: int | None, *, lone_threads: int) -> "Engine | TorchEngine":
    """Return the model on the GPU that TorchServe gave the worker, or on the CPU where there is none to use."""
    weights = root / "pneumonia.safetensors"  # packed by `make archive DEVICE=gpu` only
    if gpu_id is not None and weights.exists():
        from handler.torch_engine import TorchEngine, usable_gpu  # noqa: PLC0415  (a CPU worker has no use for it)

        device = usable_gpu(gpu_id)
        if device is not None:
            return TorchEngine(weights, device)
        logger.warning("GPU %d is left alone: this build of torch has no CUDA", gpu_id)
    return Engine(root / "pneumonia.onnx", lone_threads=lone_threads)


def _body(row: dict[str, Any]) -> bytes | bytearray:
    """Return the film's bytes from a row: a raw body, or a form's part `file`.

    TorchServe has already parsed a body that is declared to be JSON or text: that was no film.
    """
    for key in ("body", "file", "data"):
        if key in row:
            film = row[key]
            if isinstance(film, bytes | bytearray):
                return film
            raise UnsupportedFormat(f"the body is declared to be text or JSON: {SEND}")
    raise MissingFilm("the request carries no film: send it as the raw body, or as the part `file` of a form")
