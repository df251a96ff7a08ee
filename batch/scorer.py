"""Screen one film in this process: the handler's decoding, model and decision."""

import hashlib
import logging
from collections.abc import Callable
from http import HTTPStatus

from batch.model import CONTRACT, NETWORK, Model
from batch.place import from_text
from batch.row import Row, readable
from handler.contract import ModelContract
from handler.engine import Engine
from handler.errors import FailedFilm, FilmError, RejectedByGate
from handler.gate import Gate, warnings
from handler.imaging import decode
from handler.screening import probabilities, result, uncertain

logger = logging.getLogger(__name__)

Score = Callable[[str], Row]
"""Takes a place as text, and returns the row of the film there."""


class Scorer:
    """Screens films one at a time, on one thread.

    Raises:
        RuntimeError: The network is none that OpenVINO reads.
    """

    def __init__(self, model: Model, max_film_bytes: int) -> None:
        self._point, self._policy = model.point, model.policy
        self._max_film_bytes = max_film_bytes
        with model.unpacked() as folder:
            self._contract = ModelContract.load(folder / CONTRACT)
            self._engine = Engine(folder / NETWORK)
            self._gate = Gate.load(folder, self._contract)

    def __call__(self, place: str) -> Row:
        """Return the row of the film at a place; whatever is wrong with it, the row says so."""
        digest = None
        try:
            data = from_text(place).read(self._max_film_bytes)
            digest = hashlib.sha256(data).hexdigest()
            return self._result(data, digest)
        except FilmError as exc:
            return Row.of(exc, digest)
        except Exception:
            logger.exception("a film could not be screened")
            return Row.of(FailedFilm("the model failed on this film"), digest)

    def _result(self, data: bytes, digest: str) -> Row:
        film = decode(data)
        seen = self._engine.screen(film.pixels[None])
        p_pneumonia = probabilities(seen.logits, self._contract.calibration)
        p = float(p_pneumonia[0])
        (reasons,) = self._gate.reasons([film], seen.statistics) if self._policy != "off" else [()]
        if reasons and self._policy == "reject":
            raise RejectedByGate(reasons)
        said = warnings(film.facts, reasons, self._contract.gate)
        found = result(p, contract=self._contract, point=self._point, warnings=said)
        return Row(
            status=HTTPStatus.OK,
            prediction=found.prediction,
            p_pneumonia=found.p_pneumonia,
            uncertain=bool(uncertain(p_pneumonia, self._point.threshold, self._contract.uncertainty)[0]),
            gate=" ".join(reasons),
            note=readable(found.note),
            operating_point=self._point.name,
            threshold=self._point.threshold,
            model_version=self._contract.model_version,
            film_sha256=digest,
            urgency=p,
        )
