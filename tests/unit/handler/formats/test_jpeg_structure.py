import time
from collections.abc import Callable

import pytest

from handler.errors import DamagedFilm, FilmError, UnsupportedFormat, UnusableFilm
from handler.formats.jpeg_structure import MAX_SCANS, MAX_SEGMENTS, parse
from tests.films import grey, jpeg
from tests.unit.handler.formats import hostile

FILM = jpeg(grey(200, 160))
FRAME = b"\x08\x00\xa0\x00\xc8\x01\x01\x11\x00"
SCAN = hostile.segment(0xDA, b"\x01\x01\x00\x00\x3f\x00") + b"\x12\x34"


def with_byte(place: int, value: int) -> bytes:
    data = bytearray(FILM)
    data[place] = value
    return bytes(data)


def test_a_film_is_described_by_its_markers() -> None:
    found = parse(memoryview(FILM))
    assert (found.width_px, found.height_px, found.bits) == (200, 160, 8)
    assert (len(found.components), len(found.scans)) == (1, 1)
    assert found.end == len(FILM)
    assert found.blocks(0) == 25 * 20


def test_scans_of_a_progressive_film_are_found() -> None:
    found = parse(memoryview(hostile.progressive(200, 160, [(1, 63, 0, 1), (1, 63, 1, 0)])))
    assert [(scan.first, scan.last, scan.high, scan.low) for scan in found.scans] == [
        (0, 0, 0, 0),
        (1, 63, 0, 1),
        (1, 63, 1, 0),
    ]


@pytest.mark.parametrize(
    "data",
    [
        FILM + b"junk" + hostile.SOI + b"\xff",
        FILM + bytes(1000),
        hostile.after_soi(FILM, b"\xff\xff\xff"),
        hostile.before_eoi(FILM, b"\xff\xff"),
        hostile.after_soi(FILM, hostile.segment(0xFE, b"comment") * 50),
        hostile.after_soi(FILM, hostile.segment(0xE2, b"ICC_PROFILE\x00" + bytes(60_000)) * 255),
        hostile.after_soi(FILM, hostile.segment(0xEE, b"Adobe\x00\x64\x00\x00\x00\x00\x00")),
        hostile.before_eoi(FILM, hostile.segment(0xDC, b"\x00\xa0")),
        hostile.before_eoi(FILM, hostile.segment(0xFE, b"comment")),
    ],
    ids=["junk", "padding", "fill", "fill at the end", "comments", "ICC", "Adobe", "DNL", "comment after the scan"],
)
def test_what_scanners_write_is_accepted(data: bytes) -> None:
    assert len(parse(memoryview(data)).scans) == 1


DAMAGED: dict[str, tuple[bytes, str]] = {
    "only its start": (hostile.SOI, "no end marker"),
    "cut in a segment": (FILM[:30], "beyond its end"),
    "cut in the scan": (FILM[:-500], "no end marker"),
    "no end marker": (FILM[:-2], "no end marker"),
    "cut in the end marker": (FILM[:-1], "no end marker"),
    "bytes between segments": (hostile.after_soi(FILM, b"\x00\x00"), "between its segments"),
    "a second start": (hostile.after_soi(FILM, hostile.SOI), "where none may be"),
    "RST between segments": (hostile.after_soi(FILM, b"\xff\xd0"), "where none may be"),
    "zero after 0xFF": (hostile.after_soi(FILM, b"\xff\x00"), "where none may be"),
    "segment without a length": (hostile.after_soi(FILM, b"\xff\xfe\x00\x01"), "beyond its end"),
    "two frames": (hostile.after_soi(FILM, hostile.segment(0xC0, FRAME)), "more than one frame"),
    "no frame": (hostile.without_segment(FILM, 0xC0), "no frame header"),
    "short frame": (hostile.SOI + hostile.segment(0xC0, FRAME[:5]) + SCAN + hostile.EOI, "wrong length"),
    "frame of another count": (
        hostile.SOI + hostile.segment(0xC0, FRAME + b"\x00") + SCAN + hostile.EOI,
        "wrong length",
    ),
    "sampling of 0": (
        hostile.SOI + hostile.segment(0xC0, FRAME[:7] + b"\x01\x00") + SCAN + hostile.EOI,
        "wrong length|sampling",
    ),
    "sampling of 5": (with_byte(hostile.frame_of(FILM) + 7, 0x51), "sampling"),
    "cut Huffman table": (
        hostile.after_soi(FILM, hostile.segment(0xC4, b"\x00" + bytes([9] * 16) + b"\x01")),
        "cut off",
    ),
    "no scan": (hostile.SOI + hostile.segment(0xC0, FRAME) + hostile.EOI, "no picture"),
    "empty scan header": (
        hostile.SOI + hostile.segment(0xC0, FRAME) + hostile.segment(0xDA) + hostile.EOI,
        "wrong header",
    ),
    "scan header of another count": (
        hostile.SOI + hostile.segment(0xC0, FRAME) + hostile.segment(0xDA, b"\x02\x01\x00\x00\x3f\x00") + hostile.EOI,
        "wrong",
    ),
    "scan of no colour": (
        hostile.SOI + hostile.segment(0xC0, FRAME) + hostile.segment(0xDA, b"\x01\x07\x00\x00\x3f\x00") + hostile.EOI,
        "colour",
    ),
    "a colour without scan": (
        hostile.SOI + hostile.segment(0xC0, b"\x08\x00\xa0\x00\xc8\x02\x01\x11\x00\x02\x11\x00") + SCAN + hostile.EOI,
        "colours is missing",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_broken_markers_are_named(name: str) -> None:
    data, why = DAMAGED[name]
    with pytest.raises(DamagedFilm, match=why):
        parse(memoryview(data))


@pytest.mark.parametrize(
    ("marker", "why"),
    [(0xC5, "hierarchical"), (0xDE, "hierarchical"), (0xC9, "arithmetic"), (0xCA, "arithmetic"), (0xCB, "arithmetic")],
)
def test_coding_that_is_not_read_is_named(marker: int, why: str) -> None:
    with pytest.raises(UnsupportedFormat, match=why):
        parse(memoryview(hostile.with_frame(FILM, marker)))


def test_frame_without_a_height_is_not_read() -> None:
    with pytest.raises(UnsupportedFormat, match="no height"):
        parse(memoryview(hostile.with_size(FILM, 200, 0)))


@pytest.mark.parametrize(
    ("width", "height", "why"),
    [(30_000, 30_000, "too large"), (63, 80, "too small"), (0, 80, "too small"), (64, 257, "too elongated")],
)
def test_size_of_no_film_is_refused(width: int, height: int, why: str) -> None:
    with pytest.raises(UnusableFilm, match=why):
        parse(memoryview(hostile.with_size(FILM, width, height)))


def many_scans() -> bytes:
    return hostile.progressive(7304, 5472, [(1, 1, 0, 0)] * 5000)


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "20,000 APP1": (lambda: hostile.after_soi(FILM, hostile.segment(0xE1, b"x") * 20_000), "too many segments"),
    "4.9 million COM": (lambda: hostile.before_eoi(FILM, hostile.segment(0xFE) * 4_900_000), "too many segments"),
    "fill bytes": (lambda: hostile.before_eoi(FILM, b"\xff" * 20_000_000), "too many restart"),
    "restart markers": (lambda: hostile.before_eoi(FILM, b"\xff\xd0" * 10_000_000), "too many restart"),
    "5,000 scans": (many_scans, "too many scans"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bomb_is_refused_in_milliseconds(name: str) -> None:
    build, why = BOMBS[name]
    data = memoryview(build())
    started_s = time.thread_time()
    with pytest.raises(UnusableFilm, match=why):
        parse(data)
    assert time.thread_time() - started_s < 0.2


def test_as_many_segments_and_scans_as_allowed_are_read() -> None:
    assert parse(memoryview(hostile.after_soi(FILM, hostile.segment(0xFE) * (MAX_SEGMENTS - 10)))).scans
    assert len(parse(memoryview(hostile.progressive(64, 64, [(1, 1, 0, 0)] * (MAX_SCANS - 1)))).scans) == MAX_SCANS


@pytest.mark.parametrize("place", range(2, 40))
def test_any_byte_of_the_header_may_be_wrong(place: int) -> None:
    for value in (0x00, 0xFF, 0xD9, 0xDA):
        try:
            parse(memoryview(with_byte(place, value)))
        except FilmError as error:
            assert str(error)  # noqa: PT017 - either outcome is right
