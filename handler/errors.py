"""Everything the handler raises, as a tree.

HandlerError
├── ContractError          contract.json is missing, malformed or of another version: the worker refuses to start
└── FilmError              one film cannot be screened: its own answer, never its batch's
    ├── UnsupportedFormat  415: not a JPEG or PNG
    ├── MissingFilm        422: the request carries no film, or an empty one
    ├── DamagedFilm        422: a JPEG or PNG that cannot be decoded whole
    ├── UnusableFilm       422: decodes, or would, but is no film that can be screened (size, shape, blank)
    └── FailedFilm         500: a fault of ours while decoding it
"""


class HandlerError(Exception):
    """Base of all errors raised in this package."""


class ContractError(HandlerError):
    """The contract cannot be read, or names a field or value this code does not understand."""


class FilmError(HandlerError):
    """One film cannot be screened; `status` is its HTTP status, `code` a stable machine-readable reason."""

    status = 422
    code = "film_error"


class UnsupportedFormat(FilmError):  # noqa: N818 - reads as the answer it becomes
    """The bytes are not a JPEG or PNG."""

    status = 415
    code = "unsupported_format"


class MissingFilm(FilmError):  # noqa: N818
    """The request carries no film, or an empty one."""

    code = "missing_film"


class DamagedFilm(FilmError):  # noqa: N818
    """A JPEG or PNG that cannot be decoded whole: truncated, a bad checksum, broken headers."""

    code = "damaged_film"


class UnusableFilm(FilmError):  # noqa: N818
    """Too large, too small, too elongated or blank: no answer would mean anything."""

    code = "unusable_film"


class FailedFilm(FilmError):  # noqa: N818
    """Decoding failed in a way that says nothing about the film."""

    status = 500
    code = "prediction_failed"
