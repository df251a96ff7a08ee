"""What the OpenAPI page says of requests with films and of errors, with an example of every answer and error."""

import json
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

from proxy.errors import (
    BatchLimitError,
    EncodingError,
    FormError,
    ParameterError,
    RateLimitError,
    RequestError,
    SaturatedError,
    SlowUploadError,
    StoppingError,
    TooLargeError,
    UnauthorisedError,
    UnavailableError,
    UpstreamError,
    error_body,
)
from proxy.http.batch import PATH as BATCH_PATH
from proxy.http.form import DICOM_TYPE, SEND_FILM, SEND_FILMS
from proxy.http.parameters import PNG
from proxy.http.predict import EXPLAIN, PREDICT
from proxy.http.schemas import (
    BatchForm,
    BatchResults,
    DetailedPrediction,
    Error,
    ExplainedPrediction,
    FilmForm,
    Opacity,
    OperatingPointName,
)

DESCRIPTIONS = {
    HTTPStatus.BAD_REQUEST: "The request is not HTTP.",
    HTTPStatus.UNAUTHORIZED: "There is no API key, or an unknown one; only where the service has keys.",
    HTTPStatus.REQUEST_TIMEOUT: "The film, or the header fields, took too long to arrive.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The film is over the size limit.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The file is no JPEG, PNG, JPEG 2000 or DICOM file, or the body is compressed.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "There is no film in the body, or it cannot be read.",
    HTTPStatus.TOO_MANY_REQUESTS: "The client is over its rate limit; `Retry-After` says when to try again.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "The header fields are over the size limit.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "The service failed.",
    HTTPStatus.BAD_GATEWAY: "The model failed on this film.",
    HTTPStatus.SERVICE_UNAVAILABLE: "No prediction can be had now; `Retry-After` says when to try again, in seconds.",
}

EXAMPLES: dict[HTTPStatus, tuple[RequestError, ...]] = {
    HTTPStatus.BAD_REQUEST: (RequestError("Invalid HTTP request received.", code="bad_request"),),
    HTTPStatus.UNAUTHORIZED: (UnauthorisedError(),),
    HTTPStatus.REQUEST_TIMEOUT: (
        SlowUploadError("the film did not arrive within 60 s"),
        RequestError("the request's line and header fields did not arrive within 10 s", code="header_timeout"),
    ),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: (TooLargeError(20_000_000),),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: (
        RequestError("a PDF: send a JPEG, PNG, JPEG 2000 or DICOM file", code="unsupported_format"),
        EncodingError(),
    ),
    HTTPStatus.UNPROCESSABLE_ENTITY: (
        FormError("the form has no field 'file'", code="missing_file"),
        FormError("the film in field 'file' is empty", code="empty_file"),
        FormError(f"{SEND_FILM}, not as 'image/jpeg'"),
        ParameterError("the model has no such operating point; it has rule_out, balanced"),
        RequestError("the PNG is truncated", code="damaged_film"),
        RequestError("the film is blank", code="unusable_film"),
        RequestError("the picture is not one that the model can judge: not_a_chest_film", code="rejected_by_gate"),
    ),
    HTTPStatus.TOO_MANY_REQUESTS: (RateLimitError("60 per 1 minute", retry_after_s=12),),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: (
        RequestError("the request's line and header fields are over the limit of 65536 bytes", code="header_too_large"),
    ),
    HTTPStatus.INTERNAL_SERVER_ERROR: (RequestError("the service failed"),),
    HTTPStatus.BAD_GATEWAY: (UpstreamError("the model failed on this film"),),
    HTTPStatus.SERVICE_UNAVAILABLE: (
        UnavailableError("TorchServe is loading the model", code="loading"),
        UnavailableError("TorchServe does not answer"),
        UnavailableError("TorchServe gave no answer in time", code="timeout"),
        SaturatedError(),
        StoppingError(),
    ),
}
"""Errors of requests with films, by status; those of other requests are among them."""

REASONS = {"rejected_by_gate": ["not_a_chest_film"]}
"""What errors have beside code and message."""

RESULT = {
    "prediction": "PNEUMONIA",
    "p_pneumonia": 0.9998,
    "note": "High-recall screening model; not a medical device.",
}
MIRRORED = RESULT | {
    "note": f"{RESULT['note']} Warning: the film may be mirrored, or the heart lies on the right; it was not turned."
}
_POINT = {"name": "rule_out", "threshold": 0.1268}
_MODEL_SHA256 = "d7976091c530c3cad8fce0927a936174f6f60da02e7f38aeb4ce8b8f76dabe8c"
DETAIL = {
    "p_pneumonia": 0.9998123049736023,
    "operating_point": _POINT,
    "uncertain": False,
    "prediction_set": {"labels": ["PNEUMONIA"], "coverage": 0.95},
    "film": {
        "kind": "JPEG",
        "width_px": 1152,
        "height_px": 760,
        "orientation": 1,
        "bits": 8,
        "bars": {"left": 0, "top": 0, "right": 0, "bottom": 12},
        "window": {"low": 3.0, "high": 245.0},
        "presentation": {"negative": False, "turned": "mirrored", "recognised": True},
        "colour": 0.0,
        "contrast": 58.2,
        "warnings": [],
    },
    "gate": {"reasons": ["mirrored"]},
    "model_version": "1.3.2",
    "receipt": {
        "film_sha256": "6f1ed002ab5595859014ebf0951522d9b8b1a0d4b3d0f2e0e6f0cbb6b1e5a9d7",
        "contract_sha256": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
        "model_sha256": _MODEL_SHA256,
        "model_version": "1.3.2",
        "operating_point": "rule_out",
        "threshold": 0.1268,
        "prediction": "PNEUMONIA",
        "p_pneumonia": 0.9998,
        "archive_sha256": "fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9",
        "request_id": "3f0c1c0a5f0e4c5d9a5b0d7f2f6a1e88",
    },
}
DETAILED = MIRRORED | {"detail": DETAIL}
EXPLANATION = {
    "map": [
        [-0.02, 0.11, 0.04, -0.06, -0.01],
        [0.05, 0.48, 0.12, -0.04, 0.02],
        [0.09, 0.83, 0.21, 0.15, 0.04],
        [0.03, 0.52, 0.14, 0.22, 0.06],
        [-0.01, 0.06, 0.03, 0.05, -0.02],
    ],
    "unit": "uncalibrated log odds of PNEUMONIA that each place adds, before the model's constant",
    "width_px": 1152,
    "height_px": 760,
    "left_px": 0,
    "top_px": 0,
    "right_px": 1152,
    "bottom_px": 748,
}
REFUSED = {"error": {"code": "damaged_film", "message": "the PNG is truncated"}}
BATCH = {"results": [{"file": "a.jpeg", "status": 200, **RESULT}, {"file": "b.png", "status": 422, **REFUSED}]}
MODEL = {
    "version": "1.3.2",
    "sha256": {
        "archive": "fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9",
        "contract": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
        "model": _MODEL_SHA256,
        "training_films": "7cc21c904bb9324a338b9399b582680cd79b14fdf178c190a2d847819f0626de",
    },
    "note": RESULT["note"],
    "licence": "MIT; trained on Chest X-Ray Images (Kermany et al. 2018, doi:10.17632/rscbjbr9sj), CC BY 4.0",
    "served_operating_point": "rule_out",
    "measured": "on held-out films that the thresholds were chosen on",
    "operating_points": [
        {
            **_POINT,
            "sensitivity": {"value": 0.992727, "low": 0.981451, "high": 0.997168},
            "specificity": {"value": 0.942408, "low": 0.899831, "high": 0.967541},
            "ppv": {"value": 0.475677, "low": 0.340231, "high": 0.617867},
            "npv": {"value": 0.999594, "low": 0.998916, "high": 0.999846},
        }
    ],
    "prevalence": 0.05,
    "uncertainty": {"coverage": 0.95, "pneumonia_from": 0.6463, "normal_to": 0.9443},
    "official_test": "not yet measured",
    "official_test_of_other_versions": [],
    "card": "/model/card",
}
HEALTH = {"status": "ok"}
CARD = "# Model card\n\nA screening tool for education and demonstration, not a medical device.\n"
METRICS = "# TYPE predictions_total counter\npredictions_total 1024.0\n"

ALWAYS = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
"""How any request may be answered that does not come whole."""


def answer(example: Any, *, media_type: str = "application/json", description: str = "As asked.") -> dict[str, Any]:
    """Return an answer of status 200 for FastAPI's `responses`."""
    content: dict[str, Any] = {"example": example}
    if isinstance(example, str):
        content["schema"] = {"type": "string"}
    return {"description": description, "content": {media_type: content}}


def errors(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """Return errors with an example of each code for FastAPI's `responses`, beside those that any request may have."""
    return {int(status): _error(DESCRIPTIONS[status], EXAMPLES[status]) for status in (*ALWAYS, *statuses)}


def _error(description: str, examples: tuple[RequestError, ...]) -> dict[str, Any]:
    named = {}
    for example in examples:
        value = json.loads(error_body(example.code, example.message))
        if reasons := REASONS.get(example.code):
            value["error"]["reasons"] = reasons
        named[example.code] = {"value": value}
    return {"model": Error, "description": description, "content": {"application/json": {"examples": named}}}


NOT_READY = errors() | {
    int(HTTPStatus.SERVICE_UNAVAILABLE): _error(
        "A prediction would not succeed, and why.", EXAMPLES[HTTPStatus.SERVICE_UNAVAILABLE]
    )
}

MODEL_ERRORS = errors(HTTPStatus.UNAUTHORIZED) | {
    int(HTTPStatus.UNPROCESSABLE_ENTITY): _error(
        "The prevalence is no share, or something else is asked.",
        (ParameterError("prevalence: Input should be less than or equal to 1"),),
    )
}

BATCH_ERRORS = {
    **errors(*(status for status in DESCRIPTIONS if status != HTTPStatus.BAD_GATEWAY)),
    int(HTTPStatus.REQUEST_ENTITY_TOO_LARGE): _error(
        "The request has too many films, or too many bytes.",
        (BatchLimitError("the request has over 32 films: send them in several"),),
    ),
    int(HTTPStatus.UNSUPPORTED_MEDIA_TYPE): _error("The body is compressed.", (EncodingError(),)),
    int(HTTPStatus.UNPROCESSABLE_ENTITY): _error(
        "The form cannot be read, or has no film.",
        (
            FormError("the form has no field 'file'", code="missing_file"),
            FormError(f"{SEND_FILMS}, not as 'image/jpeg'"),
            ParameterError("the query cannot be read: NAME=VALUE, joined by &"),
        ),
    ),
}
"""Of the request as a whole: what is wrong with one film is in its own result."""

FILM_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": FilmForm.model_json_schema()},
            DICOM_TYPE: {"schema": {"type": "string", "format": "binary", "description": "A DICOM file, as it is."}},
        },
    }
}
"""Given by hand: the endpoint reads the form itself, so FastAPI cannot see it."""


def document_films(app: FastAPI) -> None:
    """Add the endpoints for films, which are never run: films go past the framework."""
    film_errors = errors(*DESCRIPTIONS)

    @app.post(
        PREDICT,
        responses={
            **film_errors,
            HTTPStatus.OK: {
                "description": "The result.",
                "content": {
                    "application/json": {
                        "examples": {
                            "result": {"value": RESULT},
                            "with detail": {"value": MIRRORED | {"detail": DETAIL}},
                        }
                    }
                },
            },
        },
        response_model=DetailedPrediction,
        openapi_extra=FILM_BODY,
    )
    def _predict(operating_point: OperatingPointName = None, *, detail: bool = False) -> None:
        """Screen one film, sent as multipart/form-data in the field `file`, or as a body of type application/dicom.

        With `detail=true` the answer has what stands behind the result: facts of the film, whether the result is
        uncertain, and a receipt by which it can be computed again.
        """

    explained = answer(RESULT | {"explanation": EXPLANATION}, description="The result and the map, or the picture.")
    explained["content"][PNG] = {"schema": {"type": "string", "format": "binary"}}

    @app.post(
        EXPLAIN,
        responses={**film_errors, HTTPStatus.OK: explained},
        response_model=ExplainedPrediction,
        openapi_extra=FILM_BODY,
    )
    def _explain(operating_point: OperatingPointName = None, opacity: Opacity = 0.5, *, detail: bool = False) -> None:
        """Screen one film, and show where the model found what it says: its class-activation map.

        As JSON, with `detail=true` with all that `POST /predict` has; or with `Accept: image/png` as a picture of the
        film with the map over it.
        """

    @app.post(
        BATCH_PATH,
        responses={
            **BATCH_ERRORS,
            HTTPStatus.OK: answer(BATCH, description="Each film with its own status."),
        },
        response_model=BatchResults,
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"multipart/form-data": {"schema": BatchForm.model_json_schema()}},
            }
        },
    )
    def _batch(operating_point: OperatingPointName = None, *, detail: bool = False) -> None:
        """Screen several films, each sent in a field `file`: 32 of them and 200 MB at most, unless set otherwise.

        The answer is 200 where the form could be read, and has a status for each film, as `POST /predict` would give
        it, in the order of the form. What is wrong with one film is not the others' matter: a status of 429 or 503 says
        that this one is to be sent again later. `X-Model-Version` names the model.
        """
