import io
import logging
import struct
import traceback
import zlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from handler.errors import DamagedFilm, FilmError, UnusableFilm
from handler.formats import png
from tests.films import grey
from tests.films import png as saved
from tests.unit.handler.formats.hostile import chunk, chunks_of, ihdr, png_of, with_chunks

GREY = grey(100, 90)
RGB = Image.merge("RGB", (GREY, grey(100, 90, seed=1), grey(100, 90, seed=2)))
PALETTE = RGB.quantize(16)


def pixels(data: bytes) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    return png.open(data).read(224)


def clear(image: Image.Image) -> Image.Image:
    """Return an image whose every pixel is transparent."""
    image.putalpha(0)
    return image


def scanlines(samples: npt.NDArray[np.uint16], bits: int) -> bytes:
    """Return rows (H, W * samples) packed as a PNG's, each without a filter."""
    rows = []
    for row in samples.reshape(len(samples), -1):
        if bits == 16:
            rows.append(row.astype(">u2").tobytes())
        else:
            places = np.arange(bits - 1, -1, -1)
            rows.append(np.packbits((row[:, np.newaxis] >> places & 1).astype(np.uint8).reshape(-1)).tobytes())
    return b"".join(b"\x00" + row for row in rows)


PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def written(samples: npt.NDArray[np.uint16], *, bits: int, colour: int, interlaced: int) -> bytes:
    """Return samples (H, W, S) as a PNG."""
    passes = PASSES if interlaced else ((0, 0, 1, 1),)
    raw = b"".join(scanlines(samples[top::down, left::across], bits) for left, top, across, down in passes)
    height, width, _ = samples.shape
    palette = [chunk(b"PLTE", bytes(range(256)) * 3)] if colour == 3 and bits == 8 else []
    palette = [chunk(b"PLTE", bytes(3 << bits))] if colour == 3 and bits < 8 else palette
    header = ihdr(width, height, bits=bits, colour=colour, interlaced=interlaced)
    return png_of(header, *palette, chunk(b"IDAT", zlib.compress(raw)), chunk(b"IEND"))


KINDS = [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (4, 8), (4, 16), (6, 8), (6, 16)]


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize(("colour", "bits"), KINDS)
def test_every_kind_gives_its_samples(colour: int, bits: int, interlaced: int) -> None:
    count = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    samples = np.random.default_rng(0).integers(0, 1 << bits, (66, 67, count)).astype(np.uint16)
    source = png.open(written(samples, bits=bits, colour=colour, interlaced=interlaced))
    assert (source.header.kind, source.header.bits) == ("PNG", bits)
    assert (source.header.width_px, source.header.height_px, source.header.orientation) == (67, 66, 1)
    shown = samples[..., : 3 if count > 2 else 1] * (255 // ((1 << bits) - 1) if bits < 8 else 1)
    read = source.read(224)
    assert read.dtype == (np.uint16 if bits == 16 else np.uint8)
    assert np.array_equal(read, shown if count > 2 else shown[..., 0])


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_becomes_its_colours(bits: int) -> None:
    colours = RGB.quantize(1 << bits)
    assert np.array_equal(pixels(saved(colours, bits=bits)), np.asarray(colours.convert("RGB")))


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (saved(clear(RGB.convert("RGBA"))), RGB),
        (saved(clear(GREY.convert("LA"))), GREY),
        (saved(GREY, transparency=120), GREY),
        (saved(RGB, transparency=(120, 120, 120)), RGB),
        (saved(PALETTE, transparency=bytes(16)), PALETTE.convert("RGB")),
    ],
    ids=["RGBA", "grey and alpha", "a grey", "a colour", "palette"],
)
def test_transparency_does_not_change_pixels(data: bytes, shown: Image.Image) -> None:
    assert np.array_equal(pixels(data), np.asarray(shown))


METADATA = {
    "gamma": [chunk(b"gAMA", struct.pack(">I", 10_000)), chunk(b"cHRM", bytes(32)), chunk(b"sRGB", b"\x00")],
    "significant bits": [chunk(b"sBIT", b"\x03")],
    "eXIf without a header": [chunk(b"eXIf", b"Exif\x00\x00nonsense")],
    "broken raw profile": [chunk(b"zTXt", b"Raw profile type exif\x00\x00" + zlib.compress(b"\nexif\n99\nzz"))],
    "text keys": [chunk(b"tEXt", b"xmp\x00<x"), chunk(b"tEXt", b"exif\x00x"), chunk(b"iTXt", b"xmp\x00\x00\x00\x00")],
    "large zTXt": [chunk(b"zTXt", b"Comment\x00\x00" + zlib.compress(bytes(3_000_000)))],
    "large iTXt": [chunk(b"iTXt", b"Comment\x00\x00\x00\x00\x00" + b"x" * 1_500_000)],
    "iCCP of nothing": [chunk(b"iCCP", b"icc\x00\x00" + bytes(100))],
    "bad checksum of a text": [chunk(b"tEXt", b"a\x00b")[:-1] + b"?"],
    "private chunks": [chunk(b"prVt", b"?")] * 400,
    "suggested palette": [chunk(b"PLTE", bytes(9)), chunk(b"PLTE", bytes(10))],
    "unknown critical chunk": [chunk(b"CgBI", bytes(4))],
}


@pytest.mark.parametrize("name", METADATA)
def test_metadata_changes_nothing_and_is_not_logged(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="handler"):
        source = png.open(with_chunks(saved(GREY), METADATA[name]))
        assert np.array_equal(source.read(224), np.asarray(GREY))
    assert source.header.orientation == 1
    assert not caplog.records


def test_interlacing_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    pixels(written(np.zeros((64, 64, 1), np.uint16), bits=8, colour=0, interlaced=1))
    assert not caplog.records


def test_orientation_is_read_from_exif_in_front_of_and_behind_the_pixels() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    body = exif.tobytes().removeprefix(b"Exif\x00\x00")
    for before in (b"IDAT", b"IEND"):
        assert png.open(with_chunks(saved(GREY), [chunk(b"eXIf", body)], before=before)).header.orientation == 6


def test_what_comes_after_the_end_is_ignored() -> None:
    assert np.array_equal(pixels(saved(GREY) + b"junk" * 1000), np.asarray(GREY))


def test_first_picture_of_an_animation_is_read() -> None:
    data = saved(GREY, save_all=True, append_images=[grey(100, 90, seed=1)])
    assert np.array_equal(pixels(data), np.asarray(GREY))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_read(kind: Callable[[bytes], bytes | bytearray | memoryview]) -> None:
    data = kind(saved(GREY))
    assert png.matches(data)
    assert np.array_equal(png.open(data).read(224), np.asarray(GREY))


def test_other_bytes_do_not_match() -> None:
    assert not png.matches(b"\xff\xd8\xff\xe0")
    assert not png.matches(b"")


ROW = b"\x00" + bytes(100)
IDAT = chunk(b"IDAT", zlib.compress(ROW * 90))
END = chunk(b"IEND")
HEADER = ihdr(100, 90)
DAMAGED = {
    "signature": (b"\x89PNG\n\x1a\n" + saved(GREY)[8:], "signature"),
    "only a signature": (saved(GREY)[:8], "truncated"),
    "no header": (png_of(IDAT, END), "whole header"),
    "bad checksum of the header": (png_of(HEADER[:-1] + b"?", IDAT, END), "whole header"),
    "impossible depth": (png_of(ihdr(100, 90, bits=3), IDAT, END), "no PNG is"),
    "palette of 16 bits": (png_of(ihdr(100, 90, bits=16, colour=3), chunk(b"PLTE", bytes(3)), IDAT, END), "no PNG is"),
    "impossible colour type": (png_of(ihdr(100, 90, colour=5), IDAT, END), "no PNG is"),
    "impossible interlacing": (png_of(ihdr(100, 90, interlaced=2), IDAT, END), "no PNG is"),
    "no pixels": (png_of(HEADER, END), "missing"),
    "no palette": (png_of(ihdr(100, 90, colour=3), IDAT, END), "missing"),
    "two palettes": (
        png_of(ihdr(100, 90, colour=3), chunk(b"PLTE", bytes(3)), chunk(b"PLTE", bytes(3)), IDAT, END),
        "palette",
    ),
    "palette of 257": (png_of(ihdr(100, 90, colour=3), chunk(b"PLTE", bytes(771)), IDAT, END), "palette"),
    "palette of 10 bytes": (png_of(ihdr(100, 90, colour=3), chunk(b"PLTE", bytes(10)), IDAT, END), "palette"),
    "no colours": (png_of(ihdr(100, 90, colour=3), chunk(b"PLTE"), IDAT, END), "palette"),
    "bad checksum of colours": (
        png_of(ihdr(100, 90, colour=3), chunk(b"PLTE", bytes(3))[:-1] + b"?", IDAT, END),
        "palette",
    ),
    "no end": (png_of(HEADER, IDAT), "truncated"),
    "a chunk too long": (png_of(HEADER, b"\x7f\xff\xff\xff" + IDAT[4:], END), "beyond its end"),
    "bad checksum of pixels": (png_of(HEADER, IDAT[:-1] + b"?", END), "checksum"),
    "half its rows": (png_of(HEADER, chunk(b"IDAT", zlib.compress(ROW * 45)), END), "not all of its pixels"),
    "not a row": (png_of(HEADER, chunk(b"IDAT", zlib.compress(b"")), END), "not all of its pixels"),
    "cut compressed pixels": (png_of(HEADER, chunk(b"IDAT", zlib.compress(ROW * 90)[:-12]), END), "damaged"),
    "pixels that are not compressed": (png_of(HEADER, chunk(b"IDAT", ROW * 90), END), "damaged"),
    "unknown filter": (png_of(HEADER, chunk(b"IDAT", zlib.compress(b"\x09" + ROW[1:] * 90)), END), "filter"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_found_and_named(name: str) -> None:
    data, why = DAMAGED[name]
    with pytest.raises(DamagedFilm, match=why) as caught:
        pixels(data)
    assert caught.value.__context__ is None  # and with it no frame that holds pixels


@pytest.mark.parametrize("interlaced", [0, 1])
def test_unknown_filter_is_found_in_any_row(interlaced: int) -> None:
    starts, raw = [], b""
    for left, top, across, down in PASSES if interlaced else ((0, 0, 1, 1),):
        for _ in range(top, 90, down):
            starts.append(len(raw))
            raw += bytes(1 + len(range(left, 100, across)))
    header = ihdr(100, 90, interlaced=interlaced)
    assert not pixels(png_of(header, chunk(b"IDAT", zlib.compress(raw)), END)).any()
    for start in starts:
        body = zlib.compress(raw[:start] + b"\x05" + raw[start + 1 :])
        with pytest.raises(DamagedFilm, match="filter"):
            pixels(png_of(header, chunk(b"IDAT", body), END))


def test_refused_films_take_no_memory() -> None:
    broken = [
        png_of(ihdr(2000, 2000), chunk(b"IDAT", zlib.compress(bytes(2001 * 1999))), END),
        DAMAGED["unknown filter"][0],
    ]
    process = psutil.Process()
    for number in range(40):
        if number == 10:
            before = process.memory_info().rss
        for data in broken:
            with pytest.raises(DamagedFilm):
                pixels(data)
    assert process.memory_info().rss - before < 10_000_000


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.9, 0.99])
def test_film_cut_anywhere_is_refused(share: float) -> None:
    data = saved(RGB)
    with pytest.raises(DamagedFilm, match="truncated"):
        pixels(data[: max(8, int(share * len(data)))])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (png_of(HEADER, *[chunk(b"iCCP", bytes(1000))] * 2000, IDAT, END), "too many chunks"),
        (png_of(HEADER, *[chunk(b"prVt")] * 600, IDAT, END), "too many chunks"),
        (png_of(HEADER, IDAT, *[chunk(b"fdAT")] * 600, END), "too many chunks"),
        (png_of(HEADER, *[chunk(b"IDAT")] * 20_001, IDAT, END), "too many chunks"),
        (png_of(ihdr(30_000, 30_000), IDAT, END), "too large"),
        (png_of(ihdr(8000, 5001), IDAT, END), "too large"),
        (png_of(ihdr(6319, 6319, bits=16, colour=6, interlaced=1), IDAT, END), "319,438,088 bytes"),
        (png_of(ihdr(63, 64), IDAT, END), "too small"),
        (png_of(ihdr(64, 257), IDAT, END), "too elongated"),
        (png_of(ihdr(8000, 4000, bits=16, interlaced=1), chunk(b"IDAT", bytes(19_000_000)), END), "too long to decode"),
    ],
    ids=["iCCP", "private", "frames", "IDAT", "huge", "over 40 MP", "RGBA64", "small", "elongated", "costly"],
)
def test_hostile_file_is_refused_by_its_structure(data: bytes, why: str) -> None:
    with pytest.raises(UnusableFilm, match=why):
        png.open(data)


def test_many_chunks_of_pixels_are_read() -> None:
    body = zlib.compress(ROW * 90, 0)
    pieces = [body[start : start + 2] for start in range(0, len(body), 2)]
    data = png_of(HEADER, *(chunk(b"IDAT", piece) for piece in pieces), END)
    assert not pixels(data).any()


def stored(samples: npt.NDArray[np.uint16], level: int) -> bytes:
    """Return grey levels of 16 bits as a PNG, its pixels in chunks of 1 MB."""
    body = zlib.compress(scanlines(samples[..., np.newaxis], 16), level)
    parts = [body[start : start + 1_000_000] for start in range(0, len(body), 1_000_000)]
    header = ihdr(samples.shape[1], samples.shape[0], bits=16)
    return png_of(header, *(chunk(b"IDAT", part) for part in parts), END)


LARGE = np.random.default_rng(0).integers(0, 4096, (2000, 2000)).astype(np.uint16)


def test_large_film_is_read_whole() -> None:
    assert np.array_equal(pixels(stored(LARGE, 0)), LARGE)


def test_damage_in_a_large_film_is_found() -> None:
    whole = chunks_of(stored(LARGE, 0))
    short = [chunk(kind, body[: len(body) // 2]) for kind, body in whole[1:-1]]
    for data in (
        stored(LARGE, 0)[:-20] + b"?" + stored(LARGE, 0)[-19:],
        png_of(ihdr(2000, 2000, bits=16), *(chunk(kind, bytes(len(body))) for kind, body in whole[1:-1]), END),
        png_of(ihdr(2500, 2500, bits=16), *(chunk(kind, body) for kind, body in whole[1:-1]), END),
        png_of(ihdr(2000, 2000, bits=16), *short, *short, END),
    ):
        with pytest.raises(DamagedFilm):
            pixels(data)


def test_more_pixels_than_stated_are_ignored_in_a_large_film() -> None:
    data = stored(LARGE, 0)
    assert np.array_equal(pixels(png_of(ihdr(2000, 1900, bits=16), data[33:])), LARGE[:1900])


def test_film_that_takes_too_long_to_decompress_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png, "MAX_INFLATE_S", 0.0)
    with pytest.raises(UnusableFilm, match="too long to decompress") as caught:
        pixels(stored(LARGE, 0))
    assert len(list(traceback.walk_tb(caught.value.__traceback__))) == 3  # and so no frame that holds pixels


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_mutated_file_raises_nothing_but_film_errors(draw: st.DataObject) -> None:
    whole = chunks_of(draw.draw(st.sampled_from([saved(GREY), saved(PALETTE), saved(RGB)])))
    number = draw.draw(st.integers(0, len(whole) - 1))
    kind, body = whole[number]
    changed = bytearray(body or b"?")
    for place, value in draw.draw(
        st.lists(st.tuples(st.integers(0, len(changed) - 1), st.integers(0, 255)), max_size=5)
    ):
        changed[place] = value
    whole[number] = (kind, bytes(changed))
    try:
        read = pixels(png_of(*(chunk(*each) for each in whole)))
    except FilmError:
        return
    assert read.dtype in {np.dtype(np.uint8), np.dtype(np.uint16)}


def test_film_saved_by_others_is_read_as_they_read_it() -> None:
    file = io.BytesIO()
    RGB.save(file, "PNG", optimize=True, dpi=(300, 300))
    assert np.array_equal(pixels(file.getvalue()), np.asarray(RGB))
