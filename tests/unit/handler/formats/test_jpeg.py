import io
import time
import traceback
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
from handler.formats import jpeg
from tests.films import grey
from tests.films import jpeg as jpeg_bytes
from tests.unit.handler.formats.hostile import (
    EOI,
    after_soi,
    before_eoi,
    frame_of,
    progressive,
    segment,
    with_frame,
    with_size,
    without_segment,
)

GREY = grey(200, 160)
RGB = Image.merge("RGB", (GREY, grey(200, 160, seed=1), grey(200, 160, seed=2)))
DEEP = np.asarray(GREY).astype(np.uint16) * 16 + 5  # 12 bits


def saved(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **{"quality": 95, **options})
    return file.getvalue()


def pixels(data: bytes, min_px: int = 224) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    return jpeg.open(data).read(min_px)


def lossless(levels: npt.NDArray[Any], bits: int, predictor: int = 1) -> bytes:
    colours = "RGB" if levels.ndim == 3 else None
    return bytes(
        imagecodecs.jpeg8_encode(
            levels, lossless=True, predictor=predictor, bitspersample=bits, colorspace=colours, outcolorspace=colours
        )
    )


def deep(levels: npt.NDArray[np.uint16], quality: int = 95) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(levels, level=quality, bitspersample=12))


def jpeg_ls(levels: npt.NDArray[Any], near: int = 0) -> bytes:
    return bytes(imagecodecs.jpegls_encode(levels, near))


def changed(data: bytes, place: int, value: int) -> bytes:
    return data[:place] + bytes([value]) + data[place + 1 :]


USUAL = {
    "grey": saved(GREY),
    "colour": saved(RGB),
    "colour 4:4:4": saved(RGB, subsampling=0),
    "colour 4:1:1": saved(RGB, subsampling="4:1:1"),
    "progressive": saved(RGB, progressive=True),
    "optimised": saved(GREY, optimize=True),
    "restart markers": saved(RGB, restart_marker_blocks=1),
    "RGB-coded": saved(RGB, keep_rgb=True),
    "CMYK": saved(RGB.convert("CMYK")),
    "extended sequential": with_frame(saved(GREY), 0xC1),
    "without Huffman tables": without_segment(saved(GREY), 0xC4),
    "without JFIF": without_segment(saved(RGB), 0xE0),
    "grey with a sampling": changed(saved(GREY), frame_of(saved(GREY)) + 7, 0x22),
    "JFIF of version 3": changed(saved(GREY), saved(GREY).index(b"JFIF") + 5, 3),
    "unknown Adobe transform": after_soi(saved(RGB), segment(0xEE, b"Adobe\x00\x64\x00\x00\x00\x00\x09")),
    "broken EXIF": after_soi(saved(GREY), segment(0xE1, b"Exif\x00\x00nonsense")),
    "junk behind": saved(GREY) + b"junk" * 100,
}


@pytest.mark.parametrize("name", USUAL)
def test_usual_jpeg_is_read_as_others_read_it(name: str) -> None:
    data = USUAL[name]
    source = jpeg.open(data)
    assert (source.header.kind, source.header.bits, source.header.orientation) == ("JPEG", 8, 1)
    assert (source.header.width_px, source.header.height_px, source.header.block_px) == (200, 160, 8)
    theirs = Image.open(io.BytesIO(data))
    read = source.read(224)
    expected = np.asarray(theirs.convert("L" if theirs.mode == "L" else "RGB")).astype(int)
    assert read.shape == expected.shape
    assert read.dtype == np.uint8
    assert np.abs(read - expected).mean() <= (1.5 if name == "CMYK" else 0.1)


def test_four_colours_coded_as_ycck_are_read() -> None:
    levels = np.asarray(RGB.convert("CMYK"))
    data = bytes(imagecodecs.jpeg8_encode(levels, level=95, colorspace="CMYK", outcolorspace="YCCK"))
    theirs = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(pixels(data) - theirs).mean() < 2


@pytest.mark.parametrize("save", [saved, lambda image: saved(image, progressive=True)])
def test_large_film_is_read_at_the_smallest_scale_that_serves(save: Callable[[Image.Image], bytes]) -> None:
    data = save(grey(1600, 1200))
    assert pixels(data, 224).shape == (300, 400)
    assert pixels(data, 448).shape == (450, 600)
    assert pixels(data, 5000).shape == (1200, 1600)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_read(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert jpeg.open(saved(GREY, exif=exif)).header.orientation == orientation


def test_first_of_several_pictures_is_read() -> None:
    file = io.BytesIO()
    GREY.save(file, "MPO", quality=95, save_all=True, append_images=[grey(200, 160, seed=1)])
    assert np.array_equal(pixels(file.getvalue()), pixels(saved(GREY)))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_read(kind: Callable[[bytes], bytes | bytearray | memoryview]) -> None:
    data = kind(saved(GREY))
    assert jpeg.matches(data)
    assert jpeg.open(data).read(224).shape == (160, 200)


def test_other_bytes_do_not_match() -> None:
    assert not jpeg.matches(b"\x89PNG")
    assert not jpeg.matches(b"\xff")


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("bits", [8, 9, 12, 16])
def test_lossless_jpeg_gives_its_samples(bits: int, predictor: int) -> None:
    noise = np.random.default_rng(0).integers(0, 1 << bits, (80, 100))
    shape = np.asarray(grey(100, 80)).astype(np.uint32) * ((1 << bits) - 1) // 255
    for levels in (noise, shape):
        samples = levels.astype(np.uint8 if bits == 8 else np.uint16)
        source = jpeg.open(lossless(samples, bits, predictor))
        assert (source.header.kind, source.header.bits, source.header.block_px) == ("lossless JPEG", bits, 1)
        assert np.array_equal(source.read(224), samples)


def test_lossless_jpeg_of_three_colours_gives_its_samples() -> None:
    assert np.array_equal(pixels(lossless(np.asarray(RGB), 8, 4)), np.asarray(RGB))


def test_samples_of_few_bits_are_scaled_to_eight() -> None:
    levels = np.asarray(GREY) >> 4
    assert np.array_equal(pixels(lossless(levels, 4)), levels * 17)


@pytest.mark.parametrize(("near", "off"), [(0, 0), (3, 3)])
def test_jpeg_ls_gives_its_samples(near: int, off: int) -> None:
    for levels in (np.asarray(GREY), np.asarray(RGB), DEEP):  # (H, W) and (H, W, 3)
        source = jpeg.open(jpeg_ls(levels, near))
        assert source.header.kind == "JPEG-LS"
        read = source.read(224)
        assert read.dtype == levels.dtype
        assert np.abs(read.astype(int) - levels).max() <= off


@pytest.mark.parametrize("colours", [1, 3])
def test_jpeg_of_12_bits_keeps_its_depth(colours: int) -> None:
    levels = DEEP if colours == 1 else np.stack([DEEP] * 3, axis=-1)
    source = jpeg.open(deep(levels, 98))
    assert (source.header.kind, source.header.bits, source.header.block_px) == ("12-bit JPEG", 12, 8)
    read = source.read(224)
    assert read.dtype == np.uint16
    assert np.abs(read.astype(int) - levels).mean() < 16


KINDS = {
    "grey": saved(GREY),
    "colour": saved(RGB),
    "progressive": saved(GREY, progressive=True),
    "lossless": lossless(np.asarray(GREY), 8),
    "lossless of 16 bits": lossless(np.asarray(GREY).astype(np.uint16) * 257, 16, 7),
    "JPEG-LS": jpeg_ls(np.asarray(GREY)),
    "12 bits": deep(DEEP),
}


def scan_of(data: bytes) -> tuple[int, int]:
    scans = jpeg.open(data).structure.scans
    return scans[0].start, scans[-1].end


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9, 0.99])
def test_truncated_film_is_refused_with_and_without_an_end(name: str, share: float) -> None:
    data = KINDS[name]
    start, end = scan_of(data)
    cut = data[: start + int(share * (end - start))].rstrip(b"\xff")
    for broken in (cut, cut + EOI):
        with pytest.raises(DamagedFilm) as caught:
            pixels(broken)
        assert caught.value.__context__ is None or "end marker" in str(caught.value)


def test_a_refusal_keeps_no_pixels() -> None:
    data = lossless(np.asarray(GREY), 8)
    with pytest.raises(DamagedFilm) as caught:
        pixels(data[: len(data) // 2] + EOI)
    frames = list(traceback.walk_tb(caught.value.__traceback__))
    kept = [value for frame, _ in frames[1:] for value in frame.f_locals.values() if isinstance(value, np.ndarray)]
    assert len(frames) == 3  # this test, its helper and `read`
    assert kept == []


@pytest.mark.parametrize("name", KINDS)
def test_bytes_removed_or_zeroed_in_the_scan_are_found(name: str) -> None:
    data = KINDS[name]
    start, end = scan_of(data)
    middle, some = (start + end) // 2, (end - start) // 8
    for broken in (data[:middle] + data[middle + some :], data[:middle] + bytes(some) + data[middle + some :]):
        with pytest.raises(DamagedFilm):
            pixels(broken)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (without_segment(saved(GREY), 0xDB), "Quantization table"),
        (with_frame(saved(GREY), 0xC3), "lossless JPEG is damaged"),
        (with_frame(saved(GREY), 0xF7), "JPEG-LS is damaged"),
        (with_frame(lossless(np.asarray(GREY), 8), 0xC0), "JPEG is damaged"),
        (with_size(saved(GREY), 8000, 5000), "too few bytes for its size"),
        (with_size(saved(GREY, progressive=True), 8000, 5000), "too few bytes for its size"),
        (with_size(lossless(np.asarray(GREY), 8), 2000, 1600), "does not hold what was decoded"),
        (before_eoi(saved(GREY), segment(0xDA, b"\x01\x01\x00\x00\x3f\x00") + bytes(1000)), "more than one scan"),
    ],
    ids=["DQT", "SOF3", "SOF55", "SOF0", "bomb", "progressive bomb", "lossless bomb", "second scan"],
)
def test_damage_is_named(data: bytes, why: str) -> None:
    with pytest.raises(DamagedFilm, match=why):
        pixels(data)


def lossless_scan(place: int, value: int) -> bytes:
    """Return a lossless JPEG with one of the scan's parameters, the last three bytes of its header, set."""
    data = KINDS["lossless"]
    return changed(data, jpeg.open(data).structure.scans[0].start - 3 + place, value)


@pytest.mark.parametrize("data", [lossless_scan(0, 0), lossless_scan(0, 8), lossless_scan(2, 8), lossless_scan(2, 1)])
def test_impossible_or_other_parameters_of_a_lossless_scan_are_damage(data: bytes) -> None:
    with pytest.raises(DamagedFilm):
        pixels(data)


def of_colours(count: int, bits: int, marker: int = 0xC0, sampling: int = 0x11) -> bytes:
    """Return a JPEG's headers with as many colours; only the first may have another sampling."""
    colours = b"".join(bytes([place + 1, sampling if place == 0 else 0x11, 0]) for place in range(count))
    frame = bytes([bits, 0, 160, 0, 200, count]) + colours
    names = b"".join(bytes([place + 1, 0]) for place in range(count))
    scan = bytes([count]) + names + b"\x00\x3f\x00"
    return b"\xff\xd8" + segment(marker, frame) + segment(0xDA, scan) + bytes(5000) + EOI


@pytest.mark.parametrize(
    "data",
    [
        of_colours(2, 8),
        of_colours(5, 8),
        of_colours(1, 12),
        of_colours(1, 10, 0xC1),
        of_colours(4, 12, 0xC1),
        of_colours(1, 17, 0xC3),
        of_colours(4, 8, 0xC3),
        of_colours(3, 8, 0xC3, 0x22),
        of_colours(1, 1, 0xF7),
        of_colours(2, 8, 0xF7),
    ],
)
def test_colours_and_depths_that_are_not_read_are_named(data: bytes) -> None:
    with pytest.raises(UnsupportedFormat, match=r"colours and \d+ bits is not read: send it in grey or RGB"):
        jpeg.open(data)


def test_subsampling_that_is_not_read_is_named() -> None:
    data = saved(RGB, subsampling=0)
    with pytest.raises(UnsupportedFormat, match="subsampled"):
        pixels(changed(changed(data, frame_of(data) + 10, 0x21), frame_of(data) + 13, 0x12))


REFINED = [(1, 63, 0, 13)] + [(1, 63, high, high - 1) for high in range(13, 0, -1)]


@pytest.mark.parametrize(
    "data",
    [
        progressive(8000, 5000, REFINED * 2),
        progressive(8000, 5000, [(1, 1, 0, 0)] * 90),
        with_size(jpeg_ls(np.asarray(GREY)), 8000, 5000)[:-2] + b"\x12" * 15_000_000 + EOI,
        with_size(KINDS["lossless"], 8000, 5000)[:-2] + b"\x12" * 25_000_000 + EOI,
        with_size(KINDS["12 bits"], 8000, 5000)[:-2] + b"\x12" * 15_000_000 + EOI,
    ],
    ids=["refinement", "scans", "JPEG-LS", "lossless", "12 bits"],
)
def test_film_that_would_take_over_a_second_is_refused_in_milliseconds(data: bytes) -> None:
    started_s = time.thread_time()
    with pytest.raises(UnusableFilm, match="too long to decode"):
        jpeg.open(data)
    assert time.thread_time() - started_s < 0.15


def test_large_progressive_film_is_not_refused_for_its_cost() -> None:
    assert pixels(progressive(4300, 4300, [(1, 63, 0, 1), (1, 63, 1, 0)])).shape == (538, 538)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_mutated_film_raises_nothing_but_film_errors(draw: st.DataObject) -> None:
    data = bytearray(KINDS[draw.draw(st.sampled_from(sorted(KINDS)))])
    places = st.one_of(st.integers(0, 700), st.integers(0, len(data) - 1))
    for place, value in draw.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=5)):
        data[min(place, len(data) - 1)] = value
    try:
        read = pixels(bytes(data))
    except FilmError:
        return
    assert read.dtype in {np.dtype(np.uint8), np.dtype(np.uint16)}


@pytest.mark.parametrize("written", [(0, 0, 0), (0, 62, 0), (1, 63, 0)])
def test_spectral_bytes_of_a_sequential_scan_mean_nothing(written: tuple[int, int, int]) -> None:
    plain = jpeg_bytes(grey(200, 160))
    scan = plain.index(b"\xff\xda")
    place = scan + 5 + 2 * plain[scan + 4]
    odd = plain[:place] + bytes(written) + plain[place + 3 :]
    assert np.array_equal(jpeg.open(odd).read(1), jpeg.open(plain).read(1))


def test_endless_fill_bytes_are_refused() -> None:
    plain = jpeg_bytes(grey())
    with pytest.raises(UnusableFilm, match="fill bytes"):
        jpeg.open(plain[:2] + b"\xff" * 1_000_000 + plain[2:])
