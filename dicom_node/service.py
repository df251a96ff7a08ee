"""The client of the screening service: a film goes to it over HTTP, never in process.

Only what is of the film itself is for good. What is of the service, its keys or its settings may be put right, and the
film waits for it.
"""

from http import HTTPStatus
from typing import Annotated, Any, Literal

import requests
from pydantic import BaseModel, Field, ValidationError

from dicom_node.errors import DoubtfulError, HopelessError, RetryLaterError
from dicom_node.settings import Settings

CONNECT_TIMEOUT_S = 10.0
START_TIMEOUT_S = 3.0
"""Of what is asked at the start."""
MAX_REASON_CHARACTERS = 300

FILM_REFUSED = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)
"""What is answered for the film's sake."""
NOT_THE_FILM = frozenset({"invalid_parameter"})
"""Codes of such a status that are for the sake of the node's settings."""
FAILED_ON_THIS_FILM = frozenset({"prediction_failed"})

Probability = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


class OperatingPoint(BaseModel):
    """The threshold that was applied."""

    name: str
    threshold: Probability


class Gate(BaseModel):
    """What the input gate said."""

    reasons: list[str] = []


class Detail(BaseModel):
    """What `?detail=true` adds."""

    p_pneumonia: Probability
    operating_point: OperatingPoint
    uncertain: bool
    gate: Gate = Gate()
    model_version: Annotated[str, Field(min_length=1, max_length=64)]


class Screening(BaseModel):
    """The service's answer to a film."""

    prediction: Literal["NORMAL", "PNEUMONIA"]
    p_pneumonia: Probability
    """Rounded as the service shows it."""
    note: str
    detail: Detail


class Service:
    """One client, for one thread."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.service_url
        self._timeout = (CONNECT_TIMEOUT_S, settings.network_timeout_s)
        self._parameters = {"operating_point": settings.operating_point} if settings.operating_point else {}
        self._session = requests.Session()
        self._session.trust_env = False  # films go where the settings say, not through the environment's proxies
        if settings.ca_file is not None:
            self._session.verify = str(settings.ca_file)
        if settings.service_key is not None:
            self._session.headers["Authorization"] = f"Bearer {settings.service_key.get_secret_value()}"

    def close(self) -> None:
        """Close its connections."""
        self._session.close()

    def screen(self, film: bytes) -> tuple[Screening, bytes]:
        """Return the service's answer to a DICOM file, and its heatmap as PNG.

        Raises:
            RetryLaterError: The service is down, busy, or wrongly set up.
            DoubtfulError: Its model failed on this film.
            HopelessError: It refuses this film.
        """
        answer = self._post("predict", film, accept="application/json", detail="true")
        try:
            screening = Screening.model_validate_json(answer.content)
        except ValidationError as exc:
            field = ".".join(map(str, exc.errors()[0]["loc"]))
            raise RetryLaterError(f"the service's answer is not as it should be, in {field or 'its shape'}") from exc
        heatmap = self._post("explain", film, accept="image/png")
        if heatmap.headers.get("X-Model-Version") not in {None, screening.detail.model_version}:
            raise RetryLaterError("another version of the model came into service between prediction and heatmap")
        return screening, heatmap.content

    def operating_points(self) -> list[str] | None:
        """Return the names of the operating points that the service has; None where it does not say."""
        try:
            answer = self._session.get(f"{self._url}/model", timeout=START_TIMEOUT_S, allow_redirects=False)
            return [str(point["name"]) for point in answer.json()["operating_points"]]
        except (requests.RequestException, ValueError, KeyError, TypeError):
            return None

    def _post(self, path: str, film: bytes, *, accept: str, **parameters: str) -> requests.Response:
        try:
            answer = self._session.post(
                f"{self._url}/{path}",
                params=self._parameters | parameters,
                data=film,
                headers={"Content-Type": "application/dicom", "Accept": accept},
                timeout=self._timeout,
                allow_redirects=False,
            )
        except requests.RequestException as exc:
            raise RetryLaterError(f"the service cannot be reached: {type(exc).__name__}") from exc
        if answer.status_code == HTTPStatus.OK:
            return answer
        code, message = _error(answer)
        reason = f"the service answers {answer.status_code} {code}: {message}"[:MAX_REASON_CHARACTERS]
        if answer.status_code in FILM_REFUSED and code not in NOT_THE_FILM:
            raise HopelessError(reason)
        if code in FAILED_ON_THIS_FILM:
            raise DoubtfulError(reason)
        raise RetryLaterError(reason, after_s=retry_after_s(answer))


def retry_after_s(answer: requests.Response) -> float:
    """Return how long an answer asks to wait; 0 where it does not say so in seconds."""
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdecimal() and len(text) <= 6 else 0.0  # noqa: PLR2004 - digits


def _error(answer: requests.Response) -> tuple[str, str]:
    """Return code and message of an error answer; those of a proxy in between may be in another shape."""
    try:
        error: Any = answer.json()["error"]
        return str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        return answer.reason or "", "no error of the service"
