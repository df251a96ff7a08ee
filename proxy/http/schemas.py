"""The answers' shapes, as the OpenAPI page shows them.

They document and type the contract; a prediction's bytes are passed on from the handler unparsed.
"""

from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

OperatingPointName = Annotated[
    str | None, Query(description="`rule_out` or `balanced`; without it, the one that is served.")
]
Prevalence = Annotated[float | None, Query(ge=0, le=1, description="Share of films with pneumonia, 0 to 1.")]
Opacity = Annotated[float, Query(ge=0, le=1, description="Of the map in a picture; at 0 the film is drawn alone.")]


class Prediction(BaseModel):
    """What the model says of one film."""

    prediction: Literal["NORMAL", "PNEUMONIA"]
    p_pneumonia: float = Field(ge=0, le=1, description="Calibrated probability of pneumonia, four decimals.")
    note: str = Field(description="What the answer is worth, and a warning where the input gate has one.")


class DetailedPrediction(Prediction):
    """A result with what stands behind it."""

    detail: dict[str, Any] | None = Field(
        default=None,
        description="With `detail=true` only: p unrounded, the operating point, whether the result is uncertain by the "
        "conformal rule, facts of the film, the model's version, and a receipt for `python -m handler.replay`.",
    )


class Explanation(BaseModel):
    """The class-activation map, and where it lies on the film as it is seen, in stored pixels."""

    map: list[list[float]] = Field(description="Rows from top to bottom; the sum and a constant are the log odds.")
    unit: str
    width_px: int
    height_px: int
    left_px: int
    top_px: int
    right_px: int
    bottom_px: int


class ExplainedPrediction(Prediction):
    """A result with its explanation."""

    explanation: Explanation


class ErrorDetail(BaseModel):
    """What went wrong: a code for programs, a message for people."""

    code: str
    message: str


class Error(BaseModel):
    """The one shape of every error."""

    error: ErrorDetail


class BatchedFilm(BaseModel):
    """One film's result, or its error."""

    file: str = Field(description="Name of the file, as the form has it; empty where it has none.")
    status: int = Field(description="As `POST /predict` would answer.")
    prediction: Literal["NORMAL", "PNEUMONIA"] | None = None
    p_pneumonia: float | None = Field(default=None, ge=0, le=1)
    note: str | None = None
    detail: dict[str, Any] | None = Field(default=None, description="With `detail=true` only.")
    error: ErrorDetail | None = Field(default=None, description="Where the status is not 200.")


BATCH_EXAMPLE: JsonDict = {
    "results": [
        {
            "file": "a.jpeg",
            "status": 200,
            "prediction": "PNEUMONIA",
            "p_pneumonia": 0.9998,
            "note": "High-recall screening model; not a medical device.",
        },
        {
            "file": "b.png",
            "status": 422,
            "error": {"code": "damaged_film", "message": "the PNG is truncated"},
        },
    ]
}


class BatchResults(BaseModel):
    """An answer to several films, in the order of the form; keys without a value are left out."""

    model_config = ConfigDict(json_schema_extra={"examples": [BATCH_EXAMPLE]})

    results: list[BatchedFilm]


class Health(BaseModel):
    """Said only when a prediction would succeed."""

    status: Literal["ok"]


class FilmForm(BaseModel):
    """The form that carries a film."""

    file: bytes = Field(
        description="A chest X-ray as JPEG, PNG, JPEG 2000 or DICOM.",
        json_schema_extra={"format": "binary", "type": "string"},
    )


class BatchForm(BaseModel):
    """The form that carries several films."""

    file: list[bytes] = Field(
        description="Chest X-rays as JPEG, PNG, JPEG 2000 or DICOM, each in a field of this name.",
        json_schema_extra={"items": {"format": "binary", "type": "string"}},
    )
