"""STOW-RS into the DICOM node."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from pydicom import dcmread

from dicom_node.errors import RefusedObjectError
from dicom_node.objects import OUT_OF_RESOURCES, ObjectFacts
from dicom_node.stow import create_app
from tests.dicom_peers import make_film, make_settings

pytestmark = pytest.mark.integration

FILM = make_film("1.2.3.4")
OTHER = make_film("1.2.3.5")
CT = make_film("1.2.3.6", SOPClassUID="1.2.840.10008.5.1.4.1.1.2")
RELATED = 'multipart/related; type="application/dicom"; boundary=frontier'


def parts(*files: bytes, kind: str = "application/dicom") -> bytes:
    heads = f"\r\n--frontier\r\nContent-Type: {kind}\r\n\r\n".encode()
    return b"".join(heads + file for file in files)[2:] + b"\r\n--frontier--\r\n"


class Taken:
    """The queue's place: keeps what it is given, or does what `act` says."""

    def __init__(self) -> None:
        self.films: list[tuple[bytes, ObjectFacts, str]] = []
        self.act: Callable[[], None] = lambda: None

    def __call__(self, file: bytes, facts: ObjectFacts, sender: str) -> None:
        self.act()
        self.films.append((file, facts, sender))


Client = TestClient[Any, Any]


@asynccontextmanager
async def listening(folder: Path, **settings: Any) -> AsyncIterator[tuple[Client, Taken]]:
    taken = Taken()
    async with TestClient(TestServer(create_app(make_settings(folder, **settings), taken))) as client:
        yield client, taken


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[tuple[Client, Taken]]:
    async with listening(tmp_path) as found:
        yield found


async def post(
    client: Client, body: Any, path: str = "/studies", kind: str = RELATED, **headers: str
) -> tuple[int, dict[str, Any]]:
    async with client.post(path, data=body, headers={"Content-Type": kind} | headers) as answer:
        if answer.content_type != "application/dicom+json":
            return answer.status, {"text": await answer.text()}
        return answer.status, await answer.json(content_type=None)


def stored(answer: dict[str, Any]) -> list[str]:
    return [item["00081155"]["Value"][0] for item in answer.get("00081199", {}).get("Value", [])]


def failed(answer: dict[str, Any]) -> list[tuple[str, int]]:
    items = answer.get("00081198", {}).get("Value", [])
    return [(item["00081155"]["Value"][0], item["00081197"]["Value"][0]) for item in items]


def other(answer: dict[str, Any]) -> list[int]:
    return [item["00081197"]["Value"][0] for item in answer.get("0008119A", {}).get("Value", [])]


async def test_instances_are_taken_and_named(node: tuple[Client, Taken]) -> None:
    client, taken = node
    status, answer = await post(client, parts(FILM, OTHER))
    assert (status, stored(answer), failed(answer)) == (200, ["1.2.3.4", "1.2.3.5"], [])
    assert [file for file, _, _ in taken.films] == [FILM, OTHER]
    assert taken.films[0][2] == "STOW-RS@127.0.0.1"
    assert answer["00081190"] == {"vr": "UR"}


async def test_each_instance_has_its_own_status(node: tuple[Client, Taken]) -> None:
    client, taken = node
    status, answer = await post(client, parts(FILM, CT, b"no DICOM", OTHER))
    assert (status, stored(answer)) == (202, ["1.2.3.4", "1.2.3.5"])
    assert failed(answer) == [("1.2.3.6", 0x0122)]
    assert other(answer) == [0xC000]
    assert len(taken.films) == 2


async def test_nothing_stored_is_a_conflict(node: tuple[Client, Taken]) -> None:
    status, answer = await post(node[0], parts(CT))
    assert (status, failed(answer)) == (409, [("1.2.3.6", 0x0122)])


async def test_study_of_the_path_is_held_against_the_instances(node: tuple[Client, Taken]) -> None:
    status, answer = await post(node[0], parts(FILM), "/studies/1.2.3")
    assert (status, stored(answer)) == (200, ["1.2.3.4"])
    status, answer = await post(node[0], parts(FILM), "/studies/1.2.9")
    assert (status, failed(answer)) == (409, [("1.2.3.4", 0xA900)])


async def test_instance_that_cannot_be_kept_is_not_told_as_stored(node: tuple[Client, Taken]) -> None:
    client, taken = node

    def fail() -> None:
        raise RefusedObjectError(OUT_OF_RESOURCES, "the queue is full", instance=("1.2", "1.2.3.4"))

    taken.act = fail
    status, answer = await post(client, parts(FILM))
    assert (status, stored(answer), failed(answer)) == (409, [], [("1.2.3.4", 0xA700)])


async def test_fault_of_the_node_is_of_its_instance_alone(
    node: tuple[Client, Taken], caplog: pytest.LogCaptureFixture
) -> None:
    client, taken = node

    def fail_once() -> None:
        taken.act = lambda: None
        raise ValueError("Doe^Jane")

    taken.act = fail_once
    status, answer = await post(client, parts(FILM, OTHER))
    assert (status, stored(answer), other(answer)) == (202, ["1.2.3.5"], [0x0110])
    assert "ValueError in" in caplog.text
    assert "Doe" not in caplog.text


async def test_instance_over_the_limit_is_refused_and_the_next_taken(tmp_path: Path) -> None:
    async with listening(tmp_path, max_object_bytes=len(FILM)) as (client, taken):
        status, answer = await post(client, parts(make_film("1.2.3.7", side_px=400), FILM))
        assert (status, stored(answer), other(answer)) == (202, ["1.2.3.4"], [0xC000])
        assert len(taken.films) == 1


@pytest.mark.parametrize(
    "kind", ["application/dicom", "multipart/form-data; boundary=frontier", "application/json", "text/plain"]
)
async def test_other_media_type_is_refused(kind: str, node: tuple[Client, Taken]) -> None:
    status, answer = await post(node[0], parts(FILM), kind=kind)
    assert status == 415
    assert "multipart/related" in answer["text"]


async def test_part_of_another_media_type_is_refused(node: tuple[Client, Taken]) -> None:
    status, answer = await post(node[0], parts(b"{}", kind="application/dicom+json"))
    assert (status, other(answer)) == (409, [0xC000])


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/related; type=application/dicom", parts(FILM)),
        (RELATED, b""),
        (RELATED, b"nothing of the kind"),
        (RELATED, b"--frontier--\r\n"),
        (RELATED, b"--another\r\n\r\n--another--\r\n"),
    ],
    ids=["no boundary", "empty", "no multipart", "no parts", "another boundary"],
)
async def test_body_that_is_no_multipart_is_refused(kind: str, body: bytes, node: tuple[Client, Taken]) -> None:
    client, taken = node
    status, _ = await post(client, body, kind=kind)
    assert status == 400
    assert taken.films == []


async def test_boundary_may_be_longer_than_the_standard_has_it(node: tuple[Client, Taken]) -> None:
    boundary = b"f" * 73  # Orthanc's
    body = parts(FILM).replace(b"frontier", boundary)
    status, answer = await post(node[0], body, kind=RELATED.replace("frontier", boundary.decode()))
    assert (status, stored(answer)) == (200, ["1.2.3.4"])


async def test_nested_parts_are_refused(node: tuple[Client, Taken]) -> None:
    inner = b"--inner\r\nContent-Type: application/dicom\r\n\r\n" + FILM + b"\r\n--inner--\r\n"
    status, answer = await post(node[0], parts(inner, kind="multipart/related; boundary=inner"))
    assert (status, other(answer)) == (409, [0xC000])


async def test_endless_head_of_a_part_is_refused(node: tuple[Client, Taken]) -> None:
    body = b"--frontier\r\n" + b"X-Filler: " + b"x" * 2_000_000
    status, _ = await post(node[0], io.BytesIO(body))
    assert status == 400


async def test_compressed_body_is_refused(node: tuple[Client, Taken]) -> None:
    status, _ = await post(node[0], b"\x1f\x8b", **{"Content-Encoding": "gzip"})
    assert status in {400, 415}


async def test_upload_that_stops_is_ended(tmp_path: Path) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield parts(FILM)[:1000]
        await asyncio.sleep(3600)

    async with listening(tmp_path, network_timeout_s=0.2) as (client, taken):
        status, _ = await post(client, slow())
        assert status == 408
        assert taken.films == []


async def trickle(*beginning: bytes) -> AsyncIterator[bytes]:
    """A sender that never stalls and never comes to an end."""
    for chunk in beginning:
        yield chunk
    while True:
        yield b"\0"
        await asyncio.sleep(0.01)


HEAD = b"--frontier\r\nContent-Type: application/dicom\r\n\r\n"


@pytest.mark.parametrize(
    ("beginning", "limits"),
    [
        (HEAD, {}),
        (HEAD + bytes(100_000), {"max_object_bytes": 1000}),
        (HEAD.replace(b"/dicom", b"/json"), {}),
        (b"--frontier\r\nContent-Type: multipart/related; boundary=inner\r\n\r\n--inner\r\n\r\n", {}),
        (b"--frontier\r\nContent-Type: multipart/related; boundary=inner\r\n\r\n", {}),
        (b"--frontier\r\nX-Filler: ", {}),
    ],
    ids=["film", "film that is too large", "no film", "nested part", "no nested part", "head"],
)
async def test_part_that_arrives_too_slowly_is_ended_and_leaves_its_place(
    beginning: bytes, limits: dict[str, Any], tmp_path: Path
) -> None:
    async with listening(
        tmp_path, stow_part_timeout_s=0.3, max_associations=1, network_timeout_s=60, stow_wait_s=60, **limits
    ) as (client, taken):
        assert (await post(client, trickle(beginning)))[0] == 408
        assert taken.films == []
        assert (await post(client, parts(CT)))[0] == 409, "the next one is read"


async def test_request_that_finds_no_place_is_told_to_come_back(tmp_path: Path) -> None:
    refused = asyncio.Event()
    async with listening(tmp_path, max_associations=1, stow_wait_s=0.05) as (client, taken):

        async def held() -> AsyncIterator[bytes]:
            body = parts(FILM, OTHER)
            for start in range(0, len(body), 500):
                if taken.films:
                    await refused.wait()
                yield body[start : start + 500]
                await asyncio.sleep(0.01)

        slow = asyncio.ensure_future(post(client, held()))
        while not taken.films and not slow.done():
            await asyncio.sleep(0.01)
        headers = {"Content-Type": RELATED}
        async with client.post("/studies", data=parts(make_film("1.2.3.9")), headers=headers) as answer:
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) > 0
        refused.set()
        status, stored_by_it = await slow
        assert (status, stored(stored_by_it)) == (200, ["1.2.3.4", "1.2.3.5"]), "the one that holds it loses nothing"
        assert (await post(client, parts(FILM)))[0] == 200


@pytest.mark.parametrize("chunked", [False, True])
async def test_request_over_the_limit_is_refused(chunked: bool, tmp_path: Path) -> None:
    allowed, refused = parts(FILM), parts(FILM, OTHER)

    async def chunks(body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]

    async with listening(tmp_path, stow_max_request_bytes=len(allowed)) as (client, taken):
        assert (await post(client, chunks(allowed) if chunked else allowed))[0] == 200
        status, answer = await post(client, chunks(refused) if chunked else refused)
        assert (status, str(len(allowed)) in answer["text"]) == (413, True)
        assert "1.2.3.5" not in [facts.sop_instance_uid for _, facts, _ in taken.films]


async def test_sender_that_leaves_has_lost_nothing_that_was_taken(node: tuple[Client, Taken]) -> None:
    client, taken = node
    body = parts(FILM, OTHER)
    taken_one = asyncio.Event()

    async def broken_off() -> AsyncIterator[bytes]:
        yield body[: len(FILM) + 300]
        for start in range(len(FILM) + 300, len(body) - 1000, 100):
            if taken.films:
                break
            yield body[start : start + 100]
            await asyncio.sleep(0.01)
        taken_one.set()
        await asyncio.sleep(3600)

    upload = asyncio.ensure_future(post(client, broken_off()))
    await taken_one.wait()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert [facts.sop_instance_uid for _, facts, _ in taken.films] == ["1.2.3.4"]
    status, answer = await post(client, parts(OTHER))
    assert (status, stored(answer)) == (200, ["1.2.3.5"])


async def test_address_that_is_not_listed_is_refused(tmp_path: Path) -> None:
    async with listening(tmp_path, addresses="192.0.2.0/24") as (client, taken):
        assert (await post(client, parts(FILM)))[0] == 403
        assert taken.films == []


@pytest.mark.parametrize(
    ("sent", "expected"), [("Bearer t0ken", 200), ("Bearer other", 401), ("", 401), ("Basic t0ken", 401)]
)
async def test_token_is_wanted_where_there_is_one(sent: str, expected: int, tmp_path: Path) -> None:
    async with listening(tmp_path, stow_token="t0ken") as (client, _):
        assert (await post(client, parts(FILM), Authorization=sent))[0] == expected


async def test_nothing_else_is_served(node: tuple[Client, Taken]) -> None:
    for method, path in (("GET", "/studies"), ("POST", "/"), ("POST", "/studies/1.2.3/series")):
        async with node[0].request(method, path) as answer:
            assert answer.status in {404, 405}


async def test_many_instances_arrive_whole(node: tuple[Client, Taken]) -> None:
    client, taken = node
    films = [make_film(f"1.2.3.{number}", side_px=90 + number) for number in range(1, 30)]
    status, _ = await post(client, io.BytesIO(parts(*films)))
    assert status == 200
    assert [file for file, _, _ in taken.films] == films
    assert all(dcmread(io.BytesIO(file)).pixel_array.size for file, _, _ in taken.films)


async def test_instances_of_chunked_uploads_arrive_whole(node: tuple[Client, Taken]) -> None:
    client, taken = node
    body = parts(FILM, OTHER)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 997):
            yield body[start : start + 997]

    status, _ = await post(client, chunks())
    assert (status, [file for file, _, _ in taken.films]) == (200, [FILM, OTHER])
