"""The answers' shapes, as the OpenAPI page shows them.

They document and type the contract; a prediction's bytes are passed on from the handler unparsed.
"""

from typing import Literal

from pydantic import BaseModel, Field


class Prediction(BaseModel):
    """What the model says of one film."""

    prediction: Literal["NORMAL", "PNEUMONIA"]
    p_pneumonia: float = Field(ge=0, le=1, description="Calibrated probability of pneumonia, four decimals.")
    note: str = Field(description="What the answer is worth, and a warning where the input gate has one.")


class ErrorDetail(BaseModel):
    """What went wrong: a code for programs, a message for people."""

    code: str
    message: str


class Error(BaseModel):
    """The one shape of every error."""

    error: ErrorDetail


class Health(BaseModel):
    """Said only when a prediction would succeed."""

    status: Literal["ok"]


class FilmForm(BaseModel):
    """The form that carries a film."""

    file: bytes = Field(
        description="A chest X-ray as JPEG, PNG, JPEG 2000 or DICOM.",
        json_schema_extra={"format": "binary", "type": "string"},
    )
