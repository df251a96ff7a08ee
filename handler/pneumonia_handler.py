"""The TorchServe handler: initialize, preprocess, inference, postprocess.

The only module that knows of TorchServe, whose loader wants exactly one class here.
"""

import hashlib
import logging
import os
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from handler.contract import ModelContract, OperatingPoint
from handler.engine import Engine
from handler.errors import ContractError, DeferredFilm, FailedFilm, FilmError, MissingFilm, UnsupportedFormat
from handler.formats.registry import SEND
from handler.imaging import INPUT_PX, VERSION, Film, decode
from handler.response import Response
from handler.screening import Probabilities, probabilities, results
from handler.shared_films import SharedFilms, TransportNames

if TYPE_CHECKING:
    from handler.torch_engine import TorchEngine

logger = logging.getLogger(__name__)

Body = bytes | bytearray
"""A film as it was sent."""

DEFER_AFTER_S = 0.25
"""Films of one request that took longer leave the rest of it for the next one, so that no request takes much longer
than its slowest film, and nobody waits for films that another client sent."""


class PneumoniaHandler:
    """Screens a batch of films; one item's fault is that item's answer, never its batch's."""

    contract: ModelContract
    point: OperatingPoint
    engine: "Engine | TorchEngine"
    transport: TransportNames
    shared_films: SharedFilms | None

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
        self.transport = TransportNames.from_environ(os.environ)
        self.shared_films = SharedFilms(Path(self.transport.memory)) if self.transport.memory else None
        logger.info("model %s at operating point %s", self.contract.model_version, self.point.name)
        if "log_level" in settings:
            # The root's, because TorchServe's own lines for every request go there.
            logging.getLogger().setLevel(settings["log_level"])

    def preprocess(
        self, bodies: Sequence[Body | FilmError], *, deferrable: Sequence[bool] | None = None
    ) -> list[Film | FilmError]:
        """Decode each body to a film, or to the error that is its answer; an error stays what it is.

        Args:
            bodies: The films as they were sent.
            deferrable: Of each, whether it may be left for another request when those before it took long.
        """
        films: list[Film | FilmError] = []
        began = time.monotonic()
        for body, may_wait in zip(bodies, deferrable or [False] * len(bodies), strict=True):
            if isinstance(body, FilmError):
                films.append(body)
                continue
            if may_wait and time.monotonic() - began > DEFER_AFTER_S:
                films.append(DeferredFilm("not begun"))
                continue
            try:
                films.append(decode(body))
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
        return [Response.of(film if isinstance(film, FilmError) else next(remaining)) for film in films]

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[bytes]:
        """Answer one batch of requests: what TorchServe calls."""
        shared = [self._names_films(context.get_request_header(i, "Content-Type")) for i in range(len(data))]
        requests = [self._bodies(row, shared=one) for row, one in zip(data, shared, strict=True)]
        # A request's first film always has its turn, or it might wait for ever.
        deferrable = [number > 0 for bodies in requests for number in range(len(bodies))]
        films = self.preprocess([body for bodies in requests for body in bodies], deferrable=deferrable)
        p_pneumonia = self.inference(
            [film for film in films if isinstance(film, Film)], lone=self._lone(context, len(data))
        )
        responses = iter(self.postprocess(films, p_pneumonia))
        answers = []
        for index, bodies in enumerate(requests):
            # Values of headers must be str: anything else ends the worker.
            if shared[index]:
                context.set_response_content_type(index, "text/plain")
                lines = (b"%d %b" % (one.status, one.body) for one in islice(responses, len(bodies)))
                answers.append(b"\n".join(lines))
            else:
                one = next(responses)
                context.set_response_content_type(index, "application/json")
                context.set_response_status(one.status, one.reason, index)
                answers.append(one.body)
        return answers

    def _names_films(self, content_type: str | None) -> bool:
        """Return whether a request of this type names films in the shared memory."""
        return content_type is not None and content_type == self.transport.content_type

    def _bodies(self, row: dict[str, Any], *, shared: bool) -> Sequence[Body | FilmError]:
        """Return the films of a request: the one that it carries, or those that it names."""
        body = _body(row)
        if isinstance(body, FilmError) or not shared or self.shared_films is None:
            return [body]
        return self.shared_films.read(body)

    def _lone(self, context: Any, requests: int) -> bool:
        """Return whether TorchServe has no other request than these."""
        header = self.transport.lone_header
        return header is not None and all(context.get_request_header(index, header) for index in range(requests))


def _engine(root: Path, gpu_id: int | None, *, lone_threads: int) -> "Engine | TorchEngine":
    """Return the model on the GPU that TorchServe gave the worker, or on the CPU where there is none to use."""
    weights = root / "pneumonia.safetensors"  # packed by `make archive DEVICE=gpu` only
    if gpu_id is not None and weights.exists():
        from handler.torch_engine import TorchEngine, usable_gpu  # noqa: PLC0415  (a CPU worker has no use for it)

        device = usable_gpu(gpu_id)
        if device is not None:
            return TorchEngine(weights, device)
        logger.warning("GPU %d is not used: this build of torch has no CUDA", gpu_id)
    return Engine(root / "pneumonia.onnx", lone_threads=lone_threads)


def _body(row: dict[str, Any]) -> Body | FilmError:
    """Return the film's bytes from a row: a raw body, or a form's part `file`.

    TorchServe has already parsed a body that is declared to be JSON or text: that was no film.
    """
    for key in ("body", "file", "data"):
        if key in row:
            film = row[key]
            if isinstance(film, Body):
                return film
            return UnsupportedFormat(f"the body is declared to be text or JSON: {SEND}")
    return MissingFilm("the request carries no film: send it as the raw body, or as the part `file` of a form")
