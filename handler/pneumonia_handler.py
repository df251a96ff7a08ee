"""The TorchServe handler: initialize, preprocess, inference, postprocess.

The only module that knows of TorchServe, whose loader wants exactly one class here.
"""

import hashlib
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from handler.contract import ModelContract, OperatingPoint
from handler.detail import detail
from handler.engine import STATISTICS, Engine
from handler.errors import (
    ContractError,
    DeferredFilm,
    FailedFilm,
    FilmError,
    InvalidParameter,
    MissingFilm,
    RejectedByGate,
    UnsupportedFormat,
)
from handler.explanation import Map, explanation, picture
from handler.formats.registry import SEND
from handler.gate import Gate, Policy, Reason, policy_of, warnings
from handler.imaging import INPUT_PX, VERSION, Film, decode
from handler.parameters import HEADER, FilmRequest, Parameters
from handler.response import PNG, Response
from handler.screening import probabilities, result
from handler.shared_films import SharedFilms, TransportNames, joined

if TYPE_CHECKING:
    from handler.torch_engine import TorchEngine

logger = logging.getLogger(__name__)

Pass = tuple[float, tuple[Reason, ...], Map | None]
"""p_pneumonia, 0 to 1, of a film, what the gate has against it, and its activation map where that was asked for."""

DEFER_AFTER_S = 0.25
"""Films of one request that took longer leave the rest of it for the next one, so that no request takes much longer
than its slowest film, and nobody waits for films that another client sent."""


class PneumoniaHandler:
    """Screens a batch of films; one item's fault is that item's answer, never its batch's."""

    contract: ModelContract
    contract_sha256: str
    point: OperatingPoint
    """Of films for which no other is asked."""
    engine: "Engine | TorchEngine"
    gate: Gate
    policy: Policy
    """What becomes of a film that the gate has something against."""
    transport: TransportNames
    shared_films: SharedFilms | None

    def initialize(self, context: Any) -> None:
        """Load contract and model from the unpacked archive, and run the model once so that no client waits for it.

        Args:
            context: TorchServe's `ts.context.Context`.

        Raises:
            ContractError: the contract is not one that this code understands, or was written for another model or gate.
        """
        root = Path(context.system_properties["model_dir"])
        self.contract = ModelContract.load(root / "contract.json")
        self.contract_sha256 = hashlib.sha256((root / "contract.json").read_bytes()).hexdigest()
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
        self.gate = Gate.load(root, self.contract)
        self.policy = policy_of(settings.get("gate", "warn"))
        self.engine = _engine(
            root, context.system_properties.get("gpu_id"), lone_threads=settings.get("lone_threads", 1)
        )
        for lone in (False, True):
            self.engine.screen(np.zeros((1, INPUT_PX, INPUT_PX), dtype=np.uint8), lone=lone)
        self.transport = TransportNames.from_environ(os.environ)
        self.shared_films = SharedFilms(Path(self.transport.memory)) if self.transport.memory else None
        logger.info("model %s at operating point %s", self.contract.model_version, self.point.name)
        if "log_level" in settings:
            # The root's, because TorchServe's own lines for every request go there.
            logging.getLogger().setLevel(settings["log_level"])

    def preprocess(
        self, requests: Sequence[FilmRequest | FilmError], *, deferrable: Sequence[bool] | None = None
    ) -> list[Film | FilmError]:
        """Decode each film, or return the error that is its answer; an error stays what it is.

        Args:
            requests: The films as they were sent.
            deferrable: Of each, whether it may be left for another request when those before it took long.
        """
        films: list[Film | FilmError] = []
        began = time.monotonic()
        for request, may_wait in zip(requests, deferrable or [False] * len(requests), strict=True):
            if isinstance(request, FilmError):
                films.append(request)
                continue
            if may_wait and time.monotonic() - began > DEFER_AFTER_S:
                films.append(DeferredFilm("not begun"))
                continue
            try:
                self._point(request.parameters)
                films.append(decode(request.content))
            except FilmError as exc:
                # Anew, because what was raised holds on to the pixels through its traceback.
                films.append(type(exc)(str(exc)))
            except Exception:
                logger.exception("a film could not be decoded")
                films.append(FailedFilm("the model failed on this film"))
        return films

    def inference(
        self, films: Sequence[Film], *, explained: Sequence[bool] | None = None, lone: bool = False
    ) -> list[Pass]:
        """Run decoded films through the model.

        Args:
            films: The films.
            explained: Of each, whether its activation map is wanted.
            lone: As `Engine.screen` takes it.
        """
        wanted = explained or [False] * len(films)
        logits = np.empty((len(films), 2), dtype=np.float32)
        statistics = np.empty((len(films), STATISTICS), dtype=np.float32)
        maps: list[Map | None] = [None] * len(films)
        if plain := [index for index, one in enumerate(wanted) if not one]:
            seen = self.engine.screen(np.stack([films[index].pixels for index in plain]), lone=lone)
            logits[plain], statistics[plain] = seen.logits, seen.statistics
        for index in (index for index, one in enumerate(wanted) if one):
            explained_film = self.engine.explain(films[index].pixels[None], lone=lone)
            logits[index], statistics[index] = explained_film.logits[0], explained_film.statistics[0]
            maps[index] = explained_film.activation_map[0]
        judged = self.policy != "off"
        reasons = self.gate.reasons(films, statistics) if judged else [()] * len(films)
        return list(zip(probabilities(logits, self.contract.calibration).tolist(), reasons, maps, strict=True))

    def postprocess(
        self, films: Sequence[Film | FilmError], requests: Sequence[FilmRequest], passes: Sequence[Pass]
    ) -> list[Response]:
        """Return the response to each film, in order: its error, or what its request asks for.

        Args:
            films: As `preprocess` returns them.
            requests: Of those that were decoded.
            passes: Of the same.
        """
        decoded = iter(zip(requests, passes, strict=True))
        return [
            Response.of(film) if isinstance(film, FilmError) else self._response(film, *next(decoded)) for film in films
        ]

    def _response(self, film: Film, request: FilmRequest, seen: Pass) -> Response:
        asked, (p_pneumonia, reasons, activation_map) = request.parameters, seen
        if reasons and self.policy == "reject":
            return Response.of(RejectedByGate(reasons))
        if asked.answer == "picture" and activation_map is not None:
            return Response.picture(picture(film, activation_map, opacity=asked.opacity))
        point = self._point(asked)
        said = warnings(film.facts, reasons, self.contract.gate)
        found = result(p_pneumonia, contract=self.contract, point=point, warnings=said)
        more: dict[str, Any] = {}
        if asked.detail:
            more["detail"] = detail(
                found,
                p_pneumonia=p_pneumonia,
                facts=film.facts,
                content=request.content,
                contract=self.contract,
                contract_sha256=self.contract_sha256,
                point=point,
                reasons=reasons,
            )
        if activation_map is not None:
            more["explanation"] = explanation(activation_map, film.facts)
        return Response.of(found, **more)

    def _point(self, asked: Parameters) -> OperatingPoint:
        """Return the operating point that is asked for.

        Raises:
            InvalidParameter: the model has none of that name.
        """
        if asked.operating_point is None:
            return self.point
        try:
            return self.contract.operating_point(asked.operating_point)
        except ContractError:
            known = ", ".join(point.name for point in self.contract.operating_points)
            raise InvalidParameter(f"the model has no such operating point; it has {known}") from None

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[bytes]:
        """Answer one batch of requests: what TorchServe calls."""
        shared = [self._names_films(context.get_request_header(i, "Content-Type")) for i in range(len(data))]
        batch = [
            self._films(row, context, index) if one else [_sent(row, context.get_all_request_header(index))]
            for index, (row, one) in enumerate(zip(data, shared, strict=True))
        ]
        # A request's first film always has its turn, or it might wait for ever.
        deferrable = [number > 0 for requests in batch for number in range(len(requests))]
        requests = [request for requests in batch for request in requests]
        films = self.preprocess(requests, deferrable=deferrable)
        decoded = [
            request
            for request, film in zip(requests, films, strict=True)
            if isinstance(request, FilmRequest) and isinstance(film, Film)
        ]
        passes = self.inference(
            [film for film in films if isinstance(film, Film)],
            explained=[request.parameters.answer != "result" for request in decoded],
            lone=self._lone(context, len(data)),
        )
        responses = iter(self.postprocess(films, decoded, passes))
        answers = []
        for index, of_request in enumerate(batch):
            # Values of headers must be str: anything else ends the worker.
            if shared[index]:
                context.set_response_content_type(index, "application/octet-stream")
                answers.append(joined(islice(responses, len(of_request))))
            else:
                one = next(responses)
                context.set_response_content_type(index, one.content_type)
                context.set_response_status(one.status, one.reason, index)
                answers.append(one.body)
        return answers

    def _names_films(self, content_type: str | None) -> bool:
        """Return whether a request of this type names films in the shared memory."""
        return content_type is not None and content_type == self.transport.content_type

    def _films(self, row: dict[str, Any], context: Any, index: int) -> Sequence[FilmRequest | FilmError]:
        """Return the films that a request names."""
        body = row.get("body")
        if self.shared_films is None or not isinstance(body, bytes | bytearray):
            return [_sent(row, context.get_all_request_header(index))]
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


def _sent(row: dict[str, Any], headers: Mapping[str, str]) -> FilmRequest | FilmError:
    """Return the film that a request carries, and what its header fields ask of it.

    TorchServe drops queries. It marks requests to /explanations by a header field of its own.
    """
    fields = {name.lower(): value for name, value in headers.items()}
    content = _content(row)
    if isinstance(content, FilmError):
        return content
    try:
        asked = Parameters.parse(fields.get(HEADER.lower(), ""))
    except InvalidParameter as exc:
        return InvalidParameter(str(exc))  # anew: what was raised holds on to the film through its traceback
    if fields.get("explain") == "True":
        asked = replace(asked, answer="picture" if PNG in fields.get("accept", "") else "explanation")
    return FilmRequest(content=content, parameters=asked)


def _content(row: dict[str, Any]) -> bytes | bytearray | FilmError:
    """Return the film's bytes from a row: a raw body, or a form's part `file`.

    TorchServe has already parsed a body that is declared to be JSON or text: that was no film.
    """
    for key in ("body", "file", "data"):
        if key in row:
            film = row[key]
            if isinstance(film, bytes | bytearray):
                return film
            return UnsupportedFormat(f"the body is declared to be text or JSON: {SEND}")
    return MissingFilm("the request carries no film: send it as the raw body, or as the part `file` of a form")
