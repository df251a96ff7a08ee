"""What can go wrong with a worklist, as a tree, beside the errors of `handler`.

BatchError
├── InputError         what the command was given cannot be used: exit code 2
└── StoppedError       screening cannot go on, as where the server is gone: exit code 1; what was screened is kept
handler.errors.FilmError: one film has no result; the error is its row
├── MissingFile        404: there is no such file
├── NoFilm             422: a device, an encrypted or damaged member, or a line of a CSV without a path
├── EmptyFile          422: the file has no bytes
├── FilmTooLarge       413: over the size limit
├── NestedArchive      415: an archive inside a folder or an archive
├── UnreadableFile     500: the file is there and cannot be read now; tried again by the next run
├── WorkerDied         500: the process that had the film ended, or hung, twice; tried again by the next run
└── NoAnswer           503: the service gave no answer to the film in its time; tried again by the next run
"""

from handler.errors import FilmError


class BatchError(Exception):
    """Base of the errors that end a run; the message says why in one line."""


class InputError(BatchError):
    """What the command was given cannot be used."""


class StoppedError(BatchError):
    """Screening cannot go on; a later run goes on from here."""


class MissingFile(FilmError):  # noqa: N818 - reads as the row it becomes
    """There is no such file."""

    status = 404
    code = "missing_file"


class NoFilm(FilmError):  # noqa: N818
    """An entry that holds no bytes of a film that could be read."""

    code = "no_film"


class EmptyFile(FilmError):  # noqa: N818
    """The file has no bytes."""

    code = "empty_file"

    def __init__(self) -> None:
        super().__init__("the file is empty")


class FilmTooLarge(FilmError):  # noqa: N818
    """The film is over the size limit."""

    status = 413
    code = "film_too_large"

    def __init__(self, max_film_bytes: int) -> None:
        super().__init__(f"the film is over the limit of {max_film_bytes} bytes")


class NestedArchive(FilmError):  # noqa: N818
    """An archive where a film should be."""

    status = 415
    code = "nested_archive"

    def __init__(self) -> None:
        super().__init__("an archive is not opened inside a folder or another archive: give it by itself")


class UnreadableFile(FilmError):  # noqa: N818
    """The file is there, and the system does not let us read it."""

    status = 500
    code = "unreadable_file"


class WorkerDied(FilmError):  # noqa: N818
    """The process that had the film ended or hung, twice."""

    status = 500
    code = "worker_died"


class NoAnswer(FilmError):  # noqa: N818
    """The service gave no answer to the film in the time that it is tried for."""

    status = 503
    code = "no_answer"
