import io
import struct
import time
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from handler.errors import DamagedFilm, FilmError, UnsupportedFormat, UnusableFilm
from handler.formats import jpeg2000
from handler.formats.jpeg2000_structure import JP2_SIGNATURE
from tests.films import grey

GREY = grey(203, 161)
RGB = Image.merge("RGB", (GREY, grey(203, 161, seed=1), grey(203, 161, seed=2)))
DEEP = np.asarray(GREY).astype(np.uint16) * 16 + 5  # 12 bits


def saved(image: Image.Image, *, boxes: bool = False, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG2000", no_jp2=not boxes, **{"irreversible": False, **options})
    return file.getvalue()


def coded(levels: npt.NDArray[Any], bits: int, kind: str = "j2k") -> bytes:
    return bytes(
        imagecodecs.jpeg2k_encode(levels, level=0, reversible=True, bitspersample=bits, resolutions=4, codecformat=kind)
    )


def pixels(data: bytes, min_px: int = 224) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    return jpeg2000.open(data).read(min_px)


FILM = saved(GREY, num_resolutions=4)


def marker_of(data: bytes, marker: int) -> int:
    """Return where a marker's segment has its length."""
    return data.index(bytes([0xFF, marker])) + 2


def changed(data: bytes, marker: int, place: int, value: bytes) -> bytes:
    """Return a codestream with bytes of a segment set, counted from its length on."""
    start = marker_of(data, marker) + place
    return data[:start] + value + data[start + len(value) :]


def with_segment(data: bytes, marker: int, body: bytes, *, before: int = 0x5C) -> bytes:
    start = marker_of(data, before) - 2
    return data[:start] + bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body + data[start:]


@pytest.mark.parametrize("kind", ["j2k", "jp2"])
@pytest.mark.parametrize("bits", [8, 9, 12, 16])
def test_samples_of_every_depth_come_back(bits: int, kind: str) -> None:
    levels = (np.asarray(GREY).astype(np.uint32) * ((1 << bits) - 1) // 255).astype(
        np.uint8 if bits == 8 else np.uint16
    )
    source = jpeg2000.open(coded(levels, bits, kind))
    assert (source.header.kind, source.header.bits, source.is_signed) == ("JPEG 2000", bits, False)
    assert (source.header.width_px, source.header.height_px) == GREY.size
    read = source.read(224)
    assert read.dtype == levels.dtype
    assert np.array_equal(read, levels)


@pytest.mark.parametrize("boxes", [True, False])
def test_colours_come_back(boxes: bool) -> None:
    assert np.array_equal(pixels(saved(RGB, boxes=boxes)), np.asarray(RGB))


def test_deep_colours_are_read_with_8_bits() -> None:
    read = pixels(coded(np.stack([DEEP] * 3, axis=-1), 12))
    assert read.dtype == np.uint8
    assert np.abs(read.astype(int) - (DEEP >> 4)[..., np.newaxis]).max() <= 1


def test_signed_samples_are_raised_by_half_their_range() -> None:
    source = jpeg2000.open(coded(DEEP.astype(np.int16) - 2048, 12))
    assert source.is_signed
    assert np.array_equal(source.read(224), DEEP)


@pytest.mark.parametrize(
    "options",
    [
        {"tile_size": (64, 64)},
        {"quality_layers": [40, 10, 1]},
        {"progression": "RPCL", "precinct_size": (64, 64), "codeblock_size": (16, 16)},
        {"num_resolutions": 1},
        {"plt": True, "comment": "scanned"},
    ],
    ids=["tiles", "layers", "precincts", "one resolution", "comment"],
)
def test_codings_of_other_writers_are_read(options: dict[str, Any]) -> None:
    read = pixels(saved(GREY, **options)).astype(int)
    assert np.abs(read - np.asarray(GREY)).mean() < 1


@pytest.mark.parametrize("size", [(1000, 900), (1001, 903), (1003, 1005), (1021, 1023)])
@pytest.mark.parametrize("tiles", [None, (256, 256)])
def test_large_film_is_halved_as_often_as_serves(size: tuple[int, int], tiles: tuple[int, int] | None) -> None:
    image = grey(*size)
    options: dict[str, Any] = {"tile_size": tiles} if tiles else {}
    source = jpeg2000.open(saved(image, num_resolutions=6, **options))
    for min_px, step in ((5000, 1), (448, 2), (224, 4), (1, 32)):
        read = source.read(min_px)
        expected = np.asarray(image)[::step, ::step]
        assert read.shape == expected.shape
        assert np.abs(read.astype(int) - expected).mean() < 3


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("boxes", [True, False])
def test_any_buffer_is_read(kind: Callable[[bytes], bytes | bytearray | memoryview], boxes: bool) -> None:
    data = kind(saved(GREY, boxes=boxes))
    assert jpeg2000.matches(data)
    assert np.array_equal(jpeg2000.open(data).read(224), np.asarray(GREY))


def test_other_bytes_do_not_match() -> None:
    assert not jpeg2000.matches(b"\xff\xd8\xff\xe0")
    assert not jpeg2000.matches(b"")


@pytest.mark.parametrize("boxes", [True, False])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_truncated_film_is_refused_with_and_without_an_end(share: float, boxes: bool) -> None:
    data = saved(RGB, boxes=boxes, tile_size=(64, 64))
    cut = data[: max(13, int(share * len(data)))]
    for broken in (cut, cut + b"\xff\xd9"):
        with pytest.raises(DamagedFilm):
            pixels(broken)


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body) + 8, kind) + body


START = JP2_SIGNATURE + box(b"ftyp", b"jp2 \x00\x00\x00\x00jp2 ")


def test_codestream_in_a_box_of_any_length_is_read() -> None:
    for length in (struct.pack(">I4s", 0, b"jp2c"), struct.pack(">I4sQ", 1, b"jp2c", len(FILM) + 16)):
        assert np.array_equal(pixels(START + box(b"uuid", bytes(50)) + length + FILM), np.asarray(GREY))


def test_tile_part_up_to_the_end_is_read_with_and_without_padding() -> None:
    open_ended = changed(FILM, 0x90, 4, bytes(4))
    for data in (open_ended, open_ended + bytes(3)):
        assert np.array_equal(pixels(data), np.asarray(GREY))
    with pytest.raises(DamagedFilm, match="not whole"):
        pixels(open_ended[:-2])


def tile_parts(data: bytes) -> tuple[bytes, list[bytes]]:
    """Return a codestream's main header, and its tile-parts."""
    start = position = marker_of(data, 0x90) - 2
    parts = []
    while data[position : position + 2] == b"\xff\x90":
        (length,) = struct.unpack_from(">I", data, position + 6)
        parts.append(data[position : position + length])
        position += length
    return data[:start], parts


TILED = saved(GREY, tile_size=(64, 64), num_resolutions=4)


@pytest.mark.parametrize("missing", [0, 5, 11])
def test_film_without_one_of_its_tiles_is_refused(missing: int) -> None:
    header, parts = tile_parts(TILED)
    assert len(parts) == 12
    assert np.array_equal(pixels(header + b"".join(parts) + b"\xff\xd9"), np.asarray(GREY))
    del parts[missing]
    with pytest.raises(DamagedFilm, match="not all of its tiles are there"):
        jpeg2000.open(header + b"".join(parts) + b"\xff\xd9")


@pytest.mark.parametrize(("number", "count"), [(0, 2), (1, 0)])
def test_film_without_one_part_of_a_tile_is_refused(number: int, count: int) -> None:
    header, parts = tile_parts(TILED)
    parts[3] = parts[3][:10] + bytes([number, count]) + parts[3][12:]
    with pytest.raises(DamagedFilm, match="a part of a tile is missing"):
        jpeg2000.open(header + b"".join(parts) + b"\xff\xd9")


@pytest.mark.parametrize("boxes", [True, False])
def test_film_that_lacks_nothing_but_its_end_marker_is_refused(boxes: bool) -> None:
    with pytest.raises(DamagedFilm, match="truncated or damaged"):
        jpeg2000.open(saved(GREY, boxes=boxes)[:-2])


DAMAGED = {
    "no codestream": START,
    "a box without length": START + struct.pack(">I4s", 3, b"uuid") + bytes(30),
    "not a codestream": START + box(b"jp2c", bytes(100)),
    "no size": FILM[:2] + FILM[marker_of(FILM, 0x52) - 2 :],
    "no coding style": FILM[: marker_of(FILM, 0x52) - 2] + FILM[marker_of(FILM, 0x5C) - 2 :],
    "size of a wrong length": changed(FILM, 0x51, 36, b"\x00\x02"),
    "tiles of no size": changed(FILM, 0x51, 20, bytes(4)),
    "too many levels": changed(FILM, 0x52, 7, b"\x21"),
    "no layers": changed(FILM, 0x52, 4, b"\x00\x00"),
    "huge blocks": changed(FILM, 0x52, 8, b"\x0c"),
    "precincts missing": changed(FILM, 0x52, 2, b"\x01"),
    "precincts of nothing": changed(saved(GREY, precinct_size=(64, 64)), 0x52, 12, bytes(4)),
    "cut quantisation": changed(FILM, 0x5C, 0, b"\x00\x02"),
    "no tile-part": FILM[: marker_of(FILM, 0x90) - 2] + FILM[marker_of(FILM, 0x5C) - 2 : marker_of(FILM, 0x90) - 2],
    "a tile-part too short": changed(FILM, 0x90, 4, b"\x00\x00\x00\x05"),
    "a tile-part too long": changed(FILM, 0x90, 4, b"\x7f\x00\x00\x00"),
    "other bytes behind a tile-part": FILM[:-2] + b"\xff\x64\x00\x02" + FILM[-2:],
    "a segment too long": with_segment(FILM, 0x64, b"")[: marker_of(FILM, 0x5C)] + b"\xff\xff\xff\xff",
    "pixels": changed(FILM, 0x93, 0, b"\xff" * 60),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_refused(name: str) -> None:
    with pytest.raises(DamagedFilm, match=r"JPEG 2000 is (truncated|damaged)"):
        pixels(DAMAGED[name])


COLOUR = box(b"colr", b"\x01\x00\x00\x00\x00\x00\x12")
UNSUPPORTED = {
    "palette": (START + box(b"jp2h", box(b"pclr", bytes(9))) + box(b"jp2c", FILM), "palette"),
    "sYCC": (START + box(b"jp2h", COLOUR) + box(b"jp2c", FILM), "colour space"),
    "high throughput": (with_segment(FILM, 0x50, bytes(6)), "high-throughput"),
    "high throughput of blocks": (changed(FILM, 0x52, 10, b"\x40"), "high-throughput"),
    "coding of a colour": (with_segment(FILM, 0x53, bytes(7)), "of its own for a colour"),
    "region": (with_segment(FILM, 0x5E, bytes(3)), "region"),
    "progression": (with_segment(FILM, 0x5F, bytes(7)), "order"),
    "packed headers": (with_segment(FILM, 0x60, bytes(7)), "packed"),
    "coding of a tile": (with_segment(FILM, 0x52, bytes(10), before=0x93), "for a tile"),
    "offset": (changed(FILM, 0x51, 12, b"\x00\x00\x00\x01"), "corner"),
    "two colours": (saved(GREY.convert("LA")), "2 colours"),
    "four colours": (saved(RGB.convert("RGBA")), "4 colours"),
    "6 bits": (changed(FILM, 0x51, 38, b"\x05"), "6 bits"),
    "20 bits": (changed(FILM, 0x51, 38, b"\x13"), "20 bits"),
    "subsampling": (changed(FILM, 0x51, 39, b"\x02"), "differ"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_not_read_is_named(name: str) -> None:
    data, why = UNSUPPORTED[name]
    with pytest.raises(UnsupportedFormat, match=f"{why}.* is not read: send it as JPEG, PNG or DICOM"):
        jpeg2000.open(data)


def of_size(width: int, height: int, tile: int = 0) -> bytes:
    data = changed(FILM, 0x51, 4, struct.pack(">II", width, height))
    return changed(data, 0x51, 20, struct.pack(">II", tile or width, tile or height))


HOSTILE = {
    "huge": (of_size(30_000, 30_000), "too large"),
    "small": (of_size(63, 64), "too small"),
    "long": (of_size(64, 257), "too elongated"),
    "boxes": (START + box(b"free", b"") * 2000 + box(b"jp2c", FILM), "too many boxes"),
    "comments": (FILM[: marker_of(FILM, 0x5C) - 2] + b"\xff\x64\x00\x02" * 100_000, "too many segments"),
    "tiles": (of_size(6000, 6000, 64), "too many tiles"),
    "layers": (changed(of_size(6000, 6000, 256), 0x52, 4, b"\xff\xff"), "too many tiles, layers"),
    "blocks": (changed(of_size(6000, 6000), 0x52, 8, b"\x00\x00"), "blocks"),
    "segments of a tile": (
        with_segment(FILM, 0x64, b"", before=0x93).replace(b"\xff\x64\0\2", b"\xff\x64\0\2" * 50),
        "in a tile",
    ),
    "parts of tiles": (
        FILM[: marker_of(FILM, 0x90) - 2] + b"\xff\x90\x00\x0a\0\0\0\0\0\x0e\0\1\xff\x93" * 9000,
        "parts",
    ),
    "one resolution": (changed(of_size(4000, 4000), 0x52, 7, b"\x00"), "no small resolution"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_refused_by_its_structure(name: str) -> None:
    data, why = HOSTILE[name]
    started_s = time.thread_time()
    with pytest.raises(UnusableFilm, match=why):
        jpeg2000.open(data)
    assert time.thread_time() - started_s < 0.2


def test_full_resolution_of_a_large_film_is_refused() -> None:
    source = jpeg2000.open(of_size(4000, 4000))
    with pytest.raises(UnusableFilm, match="too long to decode"):
        source.read(3000)


WHOLE = [FILM, saved(RGB, boxes=True), coded(DEEP, 12)]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_mutated_film_raises_nothing_but_film_errors(draw: st.DataObject) -> None:
    data = bytearray(draw.draw(st.sampled_from(WHOLE)))
    places = st.one_of(st.integers(0, 200), st.integers(0, len(data) - 1))
    for place, value in draw.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=4)):
        data[place] = value
    try:
        read = pixels(bytes(data))
    except FilmError:
        return
    assert read.dtype in {np.dtype(np.uint8), np.dtype(np.uint16)}
