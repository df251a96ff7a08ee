from collections.abc import AsyncIterator

import pytest

from proxy.errors import EncodingError, FormError, TooLargeError
from proxy.http.form import DICOM_TYPE, MAX_PARTS, declared_size, read_film
from proxy.settings import FORM_ENVELOPE_BYTES
from proxy.torchserve.film_buffer import FilmBuffer

HEADERS = {"content-type": "multipart/form-data; boundary=edge"}
LIMIT = 100_000


def part(name: str, content: bytes, filename: str | None = "film.jpeg") -> bytes:
    suffix = "" if filename is None else f'; filename="{filename}"'
    return f'--edge\r\nContent-Disposition: form-data; name="{name}"{suffix}\r\n\r\n'.encode() + content + b"\r\n"


END = b"--edge--\r\n"


async def read(body: bytes, headers: dict[str, str] | None = None, chunk: int = 1000) -> bytes:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), chunk):
            yield body[start : start + chunk]
        yield b""

    memory = FilmBuffer(LIMIT)
    try:
        with memory.place(LIMIT) as film:
            await read_film(HEADERS if headers is None else headers, chunks(), film, LIMIT)
            return bytes(film)
    finally:
        memory.close()


@pytest.mark.parametrize("chunk", [1, 7, 64, 100_000])
async def test_film_is_taken_whole_however_it_arrives(chunk: int) -> None:
    film = bytes(range(256)) * 2 + b"\r\n--edg\r\n--\r\n"
    assert await read(part("file", film) + END, chunk=chunk) == film


async def test_other_fields_are_ignored() -> None:
    body = part("patient", b"x", None) + part("file", b"film") + part("", b"y") + END
    assert await read(body) == b"film"


async def test_film_of_the_largest_size_is_taken() -> None:
    assert len(await read(part("file", b"x" * LIMIT) + END)) == LIMIT


async def test_film_over_the_limit_is_refused_naming_it() -> None:
    with pytest.raises(TooLargeError, match=str(LIMIT)):
        await read(part("file", b"x" * (LIMIT + 1)) + END)


async def test_ignored_fields_are_bounded_too() -> None:
    with pytest.raises(TooLargeError):
        await read(part("other", b"x" * (LIMIT + FORM_ENVELOPE_BYTES)) + part("file", b"film") + END)


async def test_epilogue_is_bounded_too() -> None:
    with pytest.raises(TooLargeError):
        await read(part("file", b"film") + END + b"x" * (LIMIT + FORM_ENVELOPE_BYTES))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(END, id="no part"),
        pytest.param(part("film", b"x") + END, id="another name"),
        pytest.param(part("file", b"") + END, id="empty"),
        pytest.param(part("file", b"x"), id="no end"),
        pytest.param(b"--edge\r\nContent-Disposition: form-data; name=file\r\n\r\nx", id="cut off"),
        pytest.param(b"--edge\r\n\r\nx\r\n--edge--", id="no disposition"),
        pytest.param(b"--edge\r\nContent-Disposition: attachment; name=file\r\n\r\nx\r\n--edge--", id="no form"),
        pytest.param(b"--edge\r\n" + b"x" * 9000 + b": y\r\n\r\n\r\n--edge--", id="long header"),
        pytest.param(b"--edge\r\n" + b"A: b\r\n" * 20 + b"\r\nx\r\n--edge--", id="many headers"),
        pytest.param(part("other", b"") * (MAX_PARTS + 1) + part("file", b"x") + END, id="many parts"),
        pytest.param(part("file", b"x") + part("file", b"y") + END, id="two films"),
        pytest.param(b"film", id="no form at all"),
    ],
)
async def test_form_without_one_film_is_refused_naming_the_field(body: bytes) -> None:
    with pytest.raises(FormError, match="'file'"):
        await read(body)


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "",
        "image/jpeg",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        f"multipart/form-data; boundary={'x' * 71}",
    ],
)
async def test_body_of_another_kind_is_refused_naming_the_field(kind: str | None) -> None:
    with pytest.raises(FormError, match="'file'"):
        await read(part("file", b"film") + END, {} if kind is None else {"content-type": kind})


async def test_quoted_boundary_is_understood() -> None:
    assert await read(part("file", b"film") + END, {"content-type": 'multipart/form-data; boundary="edge"'}) == b"film"


def test_declared_size_is_believed_up_to_the_limit() -> None:
    most = LIMIT + FORM_ENVELOPE_BYTES
    assert declared_size({"content-length": "5"}, LIMIT) == 5
    assert declared_size({"transfer-encoding": "chunked"}, LIMIT) == most
    assert declared_size({"content-length": str(most)}, LIMIT) == most
    with pytest.raises(TooLargeError):
        declared_size({"content-length": str(most + 1)}, LIMIT)


def test_request_without_a_body_is_refused_with_what_it_lacks() -> None:
    with pytest.raises(FormError, match=r"no body.*Content-Length or Transfer-Encoding: chunked") as caught:
        declared_size({"content-type": "multipart/form-data; boundary=edge"}, LIMIT)
    assert caught.value.code == "missing_file"


@pytest.mark.parametrize("kind", [DICOM_TYPE, "Application/DICOM", f"{DICOM_TYPE}; charset=utf-8"])
@pytest.mark.parametrize("chunk", [1, 100_000])
async def test_dicom_body_is_the_film(kind: str, chunk: int) -> None:
    film = bytes(128) + b"DICM" + bytes(range(256))
    assert await read(film, {"content-type": kind}, chunk=chunk) == film


async def test_dicom_body_of_the_largest_size_is_taken_and_no_larger() -> None:
    headers = {"content-type": DICOM_TYPE}
    assert len(await read(b"x" * LIMIT, headers)) == LIMIT
    with pytest.raises(TooLargeError, match=str(LIMIT)):
        await read(b"x" * (LIMIT + 1), headers)


async def test_empty_dicom_body_is_refused() -> None:
    with pytest.raises(FormError, match="empty") as caught:
        await read(b"", {"content-type": DICOM_TYPE})
    assert caught.value.code == "empty_file"


@pytest.mark.parametrize(
    "name", ["Thorax Größe.jpg".encode("latin-1"), "胸部.jpg".encode("shift_jis"), b"\xff\xfe\x80"]
)
async def test_file_name_in_any_encoding_does_not_matter(name: bytes) -> None:
    disposition = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="' + name + b'"\r\n\r\n'
    assert await read(disposition + b"film\r\n" + END) == b"film"


@pytest.mark.parametrize(
    "headers",
    [
        {"content-encoding": "gzip"},
        {"content-encoding": "identity, BR"},
        {"transfer-encoding": "gzip, chunked"},
    ],
)
async def test_compressed_body_is_refused_saying_so(headers: dict[str, str]) -> None:
    with pytest.raises(EncodingError, match="compressed") as caught:
        await read(part("file", b"film") + END, HEADERS | headers)
    assert (caught.value.status, caught.value.headers) == (415, {"Accept-Encoding": "identity"})


@pytest.mark.parametrize(
    "headers", [{"content-encoding": "identity"}, {"content-encoding": ""}, {"transfer-encoding": "Chunked"}]
)
async def test_body_that_only_names_no_encoding_is_read(headers: dict[str, str]) -> None:
    assert await read(part("file", b"film") + END, HEADERS | headers) == b"film"
