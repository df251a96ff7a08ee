"""Everything the handler raises, as a tree.

HandlerError
├── ContractError          contract.json is missing, malformed or of another version: the worker refuses to start
└── FilmError              one film cannot be screened: its own answer, never its batch's
    ├── UnsupportedFormat  415: of a format, or a kind of it, that is not read
    ├── MissingFilm        422: the request carries no film, or an empty one
    ├── InvalidParameter   422: something is asked of the film that there is not
    ├── DamagedFilm        422: of a format that is read, but it cannot be decoded whole
    ├── UnusableFilm       422: decodes, or would, but is no film that can be screened (size, shape, cost, blank, view)
    ├── RejectedByGate     422: the input gate has something against it, and is set to reject
    ├── DeferredFilm       425: not begun, because others in its request took long; the proxy sends it again
    └── FailedFilm         500: a fault of ours while decoding it
"""

from collections.abc import Sequence


class HandlerError(Exception):
    """Base of all errors raised in this package."""


class ContractError(HandlerError):
    """The contract cannot be read, or names a field or value this code does not understand."""


class FilmError(HandlerError):
    """One film cannot be screened; `status` is its HTTP status, `code` a stable machine-readable reason."""

    status = 422
    code = "film_error"


class UnsupportedFormat(FilmError):  # noqa: N818 - reads as the answer it becomes
    """The bytes are of a format, or a kind of it, that is not read."""

    status = 415
    code = "unsupported_format"


class MissingFilm(FilmError):  # noqa: N818
    """The request carries no film, or an empty one."""

    code = "missing_film"


class InvalidParameter(FilmError):  # noqa: N818
    """What is asked of the film is unknown, or has a value that it does not take."""

    code = "invalid_parameter"


class DamagedFilm(FilmError):  # noqa: N818
    """A film that cannot be decoded whole: truncated, a bad checksum, broken headers, damaged pixels."""

    code = "damaged_film"


class UnusableFilm(FilmError):  # noqa: N818
    """Too large, too costly, too small, too elongated, blank, or a DICOM file of something else than a chest film."""

    code = "unusable_film"


class RejectedByGate(FilmError):  # noqa: N818
    """The input gate has something against the film, and the service is set to reject such films."""

    code = "rejected_by_gate"

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__(f"the picture is not one that the model can judge: {', '.join(reasons)}")
        self.reasons = tuple(reasons)


class DeferredFilm(FilmError):  # noqa: N818
    """The film was not begun; no client sees it."""

    status = 425
    code = "deferred"


class FailedFilm(FilmError):  # noqa: N818
    """Decoding failed in a way that says nothing about the film."""

    status = 500
    code = "prediction_failed"
