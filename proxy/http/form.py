"""Take films out of a multipart form, or out of a body that is a DICOM file, as they arrive, in memory only.

Starlette's own form parser spools uploads to temporary files; a patient's film must not touch the disk.
"""

from collections.abc import AsyncIterable, Mapping
from typing import Protocol

import multipart  # type: ignore[import-untyped]  # the package ships no types

from proxy.errors import BatchLimitError, EncodingError, FormError, RequestError, TooLargeError
from proxy.settings import FORM_ENVELOPE_BYTES
from proxy.torchserve.film_buffer import HeldFilm

FIELD = "file"

DICOM_TYPE = "application/dicom"
"""A body of this type is the film itself, as DICOM systems send it (PS3.18, 8.7.3)."""

SEND_FILM = f"send the film as multipart/form-data in field {FIELD!r}, or as {DICOM_TYPE}"
SEND_FILMS = f"send the films as multipart/form-data, each in a field {FIELD!r}"

MAX_DIGITS = 18
"""Of Content-Length."""

MAX_PARTS = 32
MAX_PART_HEADERS = 8
MAX_BOUNDARY = 70
"""RFC 2046, section 5.1.1."""


class Films(Protocol):
    """Takes the films of a form, one after the other."""

    def begin(self, name: str) -> HeldFilm:
        """Begin a film, and return where it goes.

        Args:
            name: Of the file, as the client says.

        Raises:
            RequestError: There is no room for it now.
        """
        ...

    def end(self, error: RequestError | None) -> None:
        """End the film, which is whole, or is not taken because of an error."""
        ...


def declared_size(headers: Mapping[str, str], max_bytes: int, too_large: RequestError | None = None) -> int:
    """Return how many bytes the body will have at most: what it declares, or else the limit.

    Args:
        headers: Of the request.
        max_bytes: Of the film, or of several.
        too_large: Raised instead of a TooLargeError.

    Raises:
        FormError: It declares that there is no body.
        TooLargeError: It declares more than so many bytes and their form take.
    """
    most = max_bytes + FORM_ENVELOPE_BYTES
    declared = headers.get("content-length", "")
    if not declared and "transfer-encoding" not in headers:
        raise FormError(
            f"the request has no body: send the film in field {FIELD!r}, with Content-Length or "
            "Transfer-Encoding: chunked",
            code="missing_file",
        )
    if not (declared.isascii() and declared.isdecimal()):
        return most  # chunked: counted as it arrives
    if len(declared) > MAX_DIGITS or int(declared) > most:
        raise too_large or TooLargeError(max_bytes)
    return int(declared)


async def read_film(
    headers: Mapping[str, str], body: AsyncIterable[bytes], film: HeldFilm, max_film_bytes: int
) -> None:
    """Read the one part named `file` into `film`, other fields are ignored; or the whole body, if it is `DICOM_TYPE`.

    Raises:
        EncodingError: The body is compressed.
        FormError: The body is no multipart form, is malformed, or has no film in `file`.
        TooLargeError: The film, or all that came with it, is over the limit; the rest of the body is left unread.
    """
    _refuse_encoded(headers)
    kind, options = multipart.parse_options_header(headers.get("content-type", ""))
    reader: _BodyReader | _FilmReader
    if kind == DICOM_TYPE:
        reader = _BodyReader(film, max_film_bytes)
    else:
        reader = _FilmReader(_parser(kind, options, SEND_FILM, MAX_PARTS), film, max_film_bytes)
    await _feed(reader, body, max_film_bytes + FORM_ENVELOPE_BYTES, TooLargeError(max_film_bytes))


async def read_films(  # noqa: PLR0913  (each is a bound)
    headers: Mapping[str, str],
    body: AsyncIterable[bytes],
    films: Films,
    *,
    max_film_bytes: int,
    max_films: int,
    max_bytes: int,
) -> None:
    """Read all parts named `file`, other fields are ignored. What is wrong with one film is not the others' matter.

    Raises:
        BatchLimitError: The form has too many films, or too many bytes; the rest of the body is left unread.
        EncodingError: The body is compressed.
        FormError: The body is no multipart form, is malformed, or has no part `file`.
    """
    _refuse_encoded(headers)
    kind, options = multipart.parse_options_header(headers.get("content-type", ""))
    parser = _parser(kind, options, SEND_FILMS, max_films + MAX_PARTS)
    reader = _FilmsReader(parser, films, max_film_bytes, max_films)
    await _feed(reader, body, max_bytes + FORM_ENVELOPE_BYTES, BatchLimitError.of_bytes(max_bytes))


class _Reader(Protocol):
    def feed(self, chunk: bytes) -> None: ...

    def close(self) -> None: ...


async def _feed(reader: _Reader, body: AsyncIterable[bytes], max_bytes: int, too_large: RequestError) -> None:
    received = 0
    try:
        async for chunk in body:
            received += len(chunk)
            if received > max_bytes:
                raise too_large
            if chunk:
                reader.feed(chunk)
        reader.close()
    except multipart.MultipartError as exc:
        raise FormError(f"malformed form, no film in field {FIELD!r}: {exc}") from exc


def _refuse_encoded(headers: Mapping[str, str]) -> None:
    """Nothing is unpacked here: a small body could become a large one."""
    encodings = f"{headers.get('content-encoding', '')},{headers.get('transfer-encoding', '')}".lower().split(",")
    if {encoding.strip() for encoding in encodings} - {"", "identity", "chunked"}:
        raise EncodingError


def _parser(kind: str, options: Mapping[str, str], send: str, max_parts: int) -> multipart.PushMultipartParser:
    boundary = options.get("boundary", "")
    if kind != "multipart/form-data":
        raise FormError(f"{send}, not as {kind or 'an unnamed type'!r}")
    if not 0 < len(boundary) <= MAX_BOUNDARY:
        raise FormError(f"the multipart form with field {FIELD!r} names no usable boundary")
    return multipart.PushMultipartParser(
        boundary,
        max_header_count=MAX_PART_HEADERS,
        max_segment_count=max_parts,
        header_charset="latin-1",  # file names come in any encoding, and cannot fail to be read as this
    )


class _BodyReader:
    """Collects the film's bytes as they are."""

    def __init__(self, film: HeldFilm, max_film_bytes: int) -> None:
        self._film = film
        self._max_film_bytes = max_film_bytes

    def feed(self, chunk: bytes) -> None:
        if self._film.size + len(chunk) > self._max_film_bytes:
            raise TooLargeError(self._max_film_bytes)
        self._film.append(chunk)

    def close(self) -> None:
        if not self._film.size:
            raise FormError("the body is empty", code="empty_file")


class _FilmReader:
    """Collects the film's bytes from the parser's events."""

    def __init__(self, parser: multipart.PushMultipartParser, film: HeldFilm, max_film_bytes: int) -> None:
        self._parser = parser
        self._film = film
        self._max_film_bytes = max_film_bytes
        self._found = False
        self._in_film = False

    def feed(self, chunk: bytes) -> None:
        for event in self._parser.parse(chunk):
            if isinstance(event, multipart.MultipartSegment):
                self._begin(event.name)
            elif event is None:
                self._in_film = False
            elif self._in_film:
                if self._film.size + len(event) > self._max_film_bytes:
                    raise TooLargeError(self._max_film_bytes)
                self._film.append(event)

    def close(self) -> None:
        self._parser.close()  # raises where the form stopped short of its last boundary
        if not self._found:
            raise FormError(f"the form has no field {FIELD!r}", code="missing_file")
        if not self._film.size:
            raise FormError(f"the film in field {FIELD!r} is empty", code="empty_file")

    def _begin(self, name: str) -> None:
        if name != FIELD:
            return
        if self._found:
            raise FormError(f"the form has more than one field {FIELD!r}")
        self._found = self._in_film = True


class _FilmsReader:
    """Collects the bytes of several films from the parser's events."""

    def __init__(
        self, parser: multipart.PushMultipartParser, films: Films, max_film_bytes: int, max_films: int
    ) -> None:
        self._parser = parser
        self._films = films
        self._max_film_bytes = max_film_bytes
        self._max_films = max_films
        self._found = 0
        self._in_film = False
        self._film: HeldFilm | None = None
        """None where its film is not taken, for the reason in `_error`."""
        self._error: RequestError | None = None

    def feed(self, chunk: bytes) -> None:
        for event in self._parser.parse(chunk):
            if isinstance(event, multipart.MultipartSegment):
                if event.name == FIELD:
                    self._begin(_file_name(event))
            elif event is None:
                self._end()
            elif self._film is not None:
                self._add(self._film, event)

    def close(self) -> None:
        self._parser.close()  # raises where the form stopped short of its last boundary
        if not self._found:
            raise FormError(f"the form has no field {FIELD!r}", code="missing_file")

    def _begin(self, name: str) -> None:
        if self._found == self._max_films:
            raise BatchLimitError(f"the request has over {self._max_films} films: send them in several")
        self._found += 1
        self._in_film = True
        self._error = None
        try:
            self._film = self._films.begin(name)
        except RequestError as exc:
            self._error = exc

    def _add(self, film: HeldFilm, piece: bytes) -> None:
        try:
            if film.size + len(piece) > self._max_film_bytes:
                raise TooLargeError(self._max_film_bytes)
            film.append(piece)
        except RequestError as exc:
            self._film, self._error = None, exc

    def _end(self) -> None:
        if not self._in_film:
            return
        if self._film is not None and not self._film.size:
            self._error = FormError("the film is empty", code="empty_file")
        self._in_film, self._film = False, None
        self._films.end(self._error)


def _file_name(part: multipart.MultipartSegment) -> str:
    """Return the name that a client gave its file, which is nearly always UTF-8 (RFC 7578, 5.1)."""
    name: str = part.filename or ""
    try:
        return name.encode("latin-1").decode()
    except UnicodeError:
        return name
