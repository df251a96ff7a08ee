"""The answers' shapes, as the OpenAPI page shows them.

They document and type the contract; a prediction's bytes are passed on from the handler unparsed.
"""

from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

OperatingPointName = Annotated[
    str | None, Query(description="`rule_out` or `balanced`; without it, the one that is served.")
]
Opacity = Annotated[float, Query(ge=0, le=1, description="Of the map in a picture; at 0 the film is drawn alone.")]

Label = Literal["NORMAL", "PNEUMONIA"]
Probability = Annotated[float, Field(ge=0, le=1)]


class Prediction(BaseModel):
    """What the model says of one film."""

    prediction: Label
    p_pneumonia: float = Field(ge=0, le=1, description="Calibrated probability of pneumonia, four decimals.")
    note: str = Field(description="What the answer is worth, and a warning where the input gate has one.")


class OperatingPoint(BaseModel):
    """By which the result was decided."""

    name: str
    threshold: Probability = Field(description="At or above it the prediction is PNEUMONIA.")


class PredictionSet(BaseModel):
    """Of the conformal rule."""

    labels: list[Label] = Field(description="Which the film may have.")
    coverage: Probability = Field(description="Share of the films of each label whose set has the right one.")


class Sides(BaseModel):
    """Of a film, in stored pixels."""

    left: int
    top: int
    right: int
    bottom: int


class Window(BaseModel):
    """Stored levels that became black and white."""

    low: float
    high: float


class Presentation(BaseModel):
    """How the film was presented."""

    negative: bool | None = Field(description="Whether it was a negative, and has been inverted; null if uncertain.")
    turned: Literal["upside down", "on its side", "mirrored"] | None
    recognised: bool = Field(description="Whether it looks like a chest film at all.")


class FilmFacts(BaseModel):
    """What is known of the film beside its pixels."""

    kind: str
    width_px: int
    height_px: int
    orientation: int = Field(ge=1, le=8, description="EXIF's.")
    bits: int = Field(ge=1, le=16, description="Of a grey level, as stored.")
    bars: Sides = Field(description="Widths of trimmed bars.")
    window: Window
    presentation: Presentation
    colour: float = Field(description="Mean absolute difference between the colour channels, in levels (0 to 255).")
    contrast: float = Field(description="Standard deviation of the grey film, in levels (0 to 255).")
    warnings: list[str]


class Gate(BaseModel):
    """What the input gate has against the film."""

    reasons: list[str] = Field(description="Codes; most often none.")


class Receipt(BaseModel):
    """By which `python -m handler.replay` computes the result again, and compares."""

    film_sha256: str
    archive_sha256: str
    contract_sha256: str
    model_sha256: str
    model_version: str
    operating_point: str
    threshold: Probability
    prediction: Label
    p_pneumonia: Probability
    request_id: str


class Detail(BaseModel):
    """What stands behind a result."""

    p_pneumonia: float = Field(ge=0, le=1, description="Unrounded.")
    operating_point: OperatingPoint
    uncertain: bool = Field(description="Whether the prediction is other than the one label that the film may have.")
    prediction_set: PredictionSet
    film: FilmFacts
    gate: Gate
    model_version: str
    receipt: Receipt


class DetailedPrediction(Prediction):
    """A result with what stands behind it."""

    detail: Detail | None = Field(default=None, description="With `detail=true` only.")


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


class ExplainedPrediction(DetailedPrediction):
    """A result with its explanation."""

    explanation: Explanation


class ErrorDetail(BaseModel):
    """What went wrong: a code for programs, a message for people."""

    code: str
    message: str
    reasons: list[str] | None = Field(default=None, description="Of `rejected_by_gate` only: the gate's codes.")


class Error(BaseModel):
    """The one shape of every error."""

    error: ErrorDetail


class BatchedFilm(BaseModel):
    """One film's result, or its error."""

    file: str = Field(description="Name of the file, as the form has it; empty where it has none.")
    status: int = Field(description="As `POST /predict` would answer.")
    prediction: Label | None = None
    p_pneumonia: Probability | None = None
    note: str | None = None
    detail: Detail | None = Field(default=None, description="With `detail=true` only.")
    error: ErrorDetail | None = Field(default=None, description="Where the status is not 200.")


class BatchResults(BaseModel):
    """An answer to several films, in the order of the form; keys without a value are left out."""

    results: list[BatchedFilm]


class Health(BaseModel):
    """Said only when a prediction would succeed."""

    status: Literal["ok"]


class Interval(BaseModel):
    """A proportion with its 95 % confidence interval."""

    value: Probability | None
    low: Probability | None
    high: Probability | None


class DescribedPoint(BaseModel):
    """An operating point with what it is worth."""

    name: str
    threshold: Probability
    sensitivity: Interval
    specificity: Interval
    ppv: Interval | None = Field(
        default=None, description="With a prevalence only; of nulls where no answer is PNEUMONIA."
    )
    npv: Interval | None = Field(
        default=None, description="With a prevalence only; of nulls where no answer is NORMAL."
    )


class Uncertainty(BaseModel):
    """The conformal rule."""

    coverage: Probability
    pneumonia_from: Probability = Field(description="p_pneumonia from which on a film may be PNEUMONIA.")
    normal_to: Probability = Field(description="p_pneumonia up to which it may be NORMAL.")


class Digests(BaseModel):
    """SHA-256 of what the model is made of."""

    archive: str
    contract: str
    model: str
    training_films: str


class Model(BaseModel):
    """The model in service."""

    version: str
    sha256: Digests
    note: str
    licence: str
    served_operating_point: str
    measured: str = Field(description="What the figures of the operating points were measured on.")
    operating_points: list[DescribedPoint]
    prevalence: Probability | None
    uncertainty: Uncertainty
    official_test: dict[str, Any] | str = Field(
        description="Results on the official test films, or that there are none."
    )
    official_test_of_other_versions: list[dict[str, Any]]
    card: str = Field(description="Path of the model card.")


class ModelQuery(BaseModel):
    """What can be asked of `GET /model`."""

    model_config = ConfigDict(extra="forbid")

    prevalence: float | None = Field(default=None, ge=0, le=1, description="Share of films with pneumonia, 0 to 1.")


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
