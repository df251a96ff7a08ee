import contextlib
import io
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate

from handler.bars import Bars
from handler.errors import DamagedFilm, FilmError, MissingFilm, UnsupportedFormat, UnusableFilm
from handler.formats.jpeg import JpegSource
from handler.formats.jpeg2000 import Jpeg2000Source
from handler.formats.source import MAX_PIXELS, Pixels, Source
from handler.imaging import Film, decode, upright
from tests.dicoms import SYNTAXES, dicom
from tests.films import grey, half, jpeg, jpeg_bomb, png, png_bomb, png_of_16_bits, with_bad_checksum

GREY = grey()
COLOUR = GREY.convert("RGB")
PALETTE = COLOUR.convert("P", palette=Image.Palette.ADAPTIVE)
LARGE = grey(700, 560)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def difference(one: Film, other: Film) -> float:
    """Return the mean difference of two films, in levels."""
    return float(np.abs(one.pixels.astype(int) - other.pixels).mean())


WHOLE = {
    "grey JPEG": jpeg(GREY),
    "colour JPEG": jpeg(COLOUR),
    "progressive JPEG": encoded(COLOUR, "JPEG", quality=95, progressive=True),
    "CMYK JPEG": encoded(COLOUR.convert("CMYK"), "JPEG", quality=95),
    "JPEG with a second picture": encoded(GREY, "MPO", save_all=True, append_images=[grey(seed=1)]),
    "grey PNG": png(GREY),
    "colour PNG": png(COLOUR),
    "palette PNG": png(PALETTE),
    "PNG of 4 bits": png(GREY.quantize(16)),
    "PNG with alpha": png(COLOUR.convert("RGBA")),
    "grey PNG with alpha": png(GREY.convert("LA")),
    "PNG of 16 bits": png_of_16_bits(np.asarray(GREY).astype(np.uint16) * 257),
    "DICOM": dicom(np.asarray(GREY)),
    "animated PNG": encoded(GREY, "PNG", save_all=True, append_images=[grey(seed=1)]),
}


PLAIN = decode(WHOLE["grey PNG"])


@pytest.mark.parametrize("name", WHOLE)
def test_film_is_the_same_in_every_format(name: str) -> None:
    film = decode(WHOLE[name])
    assert film.pixels.shape == (224, 224)
    assert film.pixels.dtype == np.uint8
    assert difference(film, PLAIN) < (9.0 if name == "PNG of 4 bits" else 2.0)
    assert film.facts.kind == next(kind for kind in ("JPEG", "PNG", "DICOM") if kind in name)
    assert (film.facts.width_px, film.facts.height_px) == GREY.size
    assert film.facts.colour < 0.5


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_decoded(kind: Callable[[bytes], bytes | bytearray | memoryview]) -> None:
    assert np.array_equal(decode(kind(jpeg(GREY))).pixels, decode(jpeg(GREY)).pixels)


def test_bulk_of_a_film_fills_the_levels() -> None:
    assert np.percentile(PLAIN.pixels, (1, 99)) == pytest.approx((0, 255), abs=3)


def test_film_of_the_input_size_is_only_stretched() -> None:
    stored = np.asarray(grey(224, 224))
    film = decode(png(Image.fromarray(stored)))
    window = film.facts.window
    expected = np.clip(np.rint((stored - window.low) * (255 / (window.high - window.low))), 0, 255)
    assert np.abs(film.pixels - expected).max() <= 1


def test_scaled_decode_of_a_large_jpeg_is_near_the_full_one() -> None:
    large = grey(1600, 1300)
    assert difference(decode(jpeg(large)), decode(png(large))) < 1.0


@pytest.mark.parametrize(
    ("orientation", "of_left", "of_top"),
    [
        (1, "left", "top"),
        (2, "right", "top"),
        (3, "right", "bottom"),
        (4, "left", "bottom"),
        (5, "top", "left"),
        (6, "top", "right"),
        (7, "bottom", "right"),
        (8, "bottom", "left"),
    ],
)
def test_exif_orientation_turns_the_film(orientation: int, of_left: str, of_top: str) -> None:
    """A film stored with its left, or its top, bright is shown as the EXIF standard (CIPA DC-008, 4.6.5) says."""
    for stored, shown in (("left", of_left), ("top", of_top)):
        film = upright(np.asarray(half(224, 224, side=stored)), orientation)
        assert np.array_equal(film, np.asarray(half(224, 224, side=shown)))


@pytest.mark.parametrize("save", [jpeg, png])
def test_orientation_of_a_file_is_applied(save: Callable[..., bytes]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = LARGE.transpose(Image.Transpose.ROTATE_90)
    turned = decode(encoded(stored, "JPEG" if save is jpeg else "PNG", exif=exif))
    assert difference(turned, decode(save(LARGE))) < 2.0
    assert (turned.facts.width_px, turned.facts.height_px) == (560, 700)


DEPTHS = [9, 10, 11, 12, 13, 14, 15, 16]


@pytest.mark.parametrize("bits", DEPTHS)
@pytest.mark.parametrize("brightness", [0.5, 0.51, 0.99, 1.0])
def test_film_of_any_depth_and_brightness_becomes_the_same(bits: int, brightness: float) -> None:
    levels = np.asarray(LARGE) * (brightness * ((1 << bits) - 1) / 255)
    film = decode(png_of_16_bits(levels.astype(np.uint16)))
    assert difference(film, decode(png(LARGE))) < 1.5
    assert film.facts.bits == 16


def test_window_is_reported_in_the_files_levels() -> None:
    film = decode(png_of_16_bits(np.asarray(LARGE).astype(np.uint16) * 16))
    assert 0 <= film.facts.window.low < 1200
    assert 2800 < film.facts.window.high <= 4080


@pytest.mark.parametrize("stray", [1, 200])
def test_stray_pixels_do_not_darken_a_film(stray: int) -> None:
    levels = np.asarray(LARGE).astype(np.uint16) * 16
    places = np.random.default_rng(0).integers(levels.size, size=stray)
    levels.ravel()[places] = 65535
    assert difference(decode(png_of_16_bits(levels)), decode(png(LARGE))) < 3.0


@pytest.mark.parametrize("level", [0, 255])
@pytest.mark.parametrize("save", [jpeg, png])
def test_bars_are_trimmed_and_reported(save: Callable[[Image.Image], bytes], level: int) -> None:
    padded = Image.fromarray(np.pad(np.asarray(LARGE), ((40, 80), (0, 300)), constant_values=level))
    film = decode(save(padded))
    bars = film.facts.bars
    assert (bars.left, bars.top, bars.right, bars.bottom) == pytest.approx((0, 40, 300, 80), abs=4)
    assert difference(film, decode(save(LARGE))) < 4.0
    assert film.facts.shortest_px == pytest.approx(560, abs=4)


def reads_of(kind: type[JpegSource | Jpeg2000Source], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the sizes at which films of a kind are decoded, as they are asked for from now on."""
    asked: list[int] = []
    read: Any = kind.read

    def counted(source: Source, min_px: int) -> Pixels:
        asked.append(min_px)
        pixels: Pixels = read(source, min_px)
        return pixels

    monkeypatch.setattr(kind, "read", counted)
    return asked


@pytest.mark.parametrize(("side_px", "reads"), [(1200, 2), (3200, 1)], ids=["ordinary", "costly"])
def test_only_a_film_of_ordinary_cost_is_decoded_again_for_its_bars(
    monkeypatch: pytest.MonkeyPatch, side_px: int, reads: int
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (side_px, side_px), dtype=np.uint8)
    padded = Image.fromarray(np.pad(noise, ((0, 0), (side_px // 2, side_px // 2))))
    data = encoded(padded, "JPEG", quality=97, progressive=True)
    asked = reads_of(JpegSource, monkeypatch)
    bars = decode(data).facts.bars
    assert (bars.left, bars.right) == pytest.approx((side_px // 2, side_px // 2), abs=16)
    assert len(asked) == reads


def test_dicom_film_whose_decoding_is_costly_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 4096, (3400, 2200), dtype=np.uint16)
    data = dicom(np.pad(noise, ((0, 0), (900, 900))), bits_stored=12, transfer_syntax="JPEG-LS")
    asked = reads_of(JpegSource, monkeypatch)
    bars = decode(data).facts.bars
    assert (bars.left, bars.right) == pytest.approx((900, 900), abs=16)
    assert len(asked) == 1


def test_jpeg2000_of_one_resolution_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    padded = np.pad(np.asarray(grey(700, 1000)), ((0, 0), (250, 250)))
    coded = encoded(Image.fromarray(padded), "JPEG2000", no_jp2=True, num_resolutions=1)
    data = dicom(padded, transfer_syntax=SYNTAXES["JPEG 2000, lossless"], PixelData=encapsulate([coded]))
    asked = reads_of(Jpeg2000Source, monkeypatch)
    bars = decode(data).facts.bars
    assert (bars.left, bars.right) == pytest.approx((250, 250), abs=4)
    assert len(asked) == 1


def test_jpeg2000_that_is_too_large_to_be_decoded_finely_loses_its_bars() -> None:
    film = np.asarray(grey(1400, 2000))
    padded = np.pad(film.astype(np.uint16) * 16, ((0, 0), (500, 500)))
    found = decode(dicom(padded, bits_stored=12, transfer_syntax="JPEG 2000, lossless"))
    assert (found.facts.bars.left, found.facts.bars.right) == pytest.approx((500, 500), abs=8)
    assert difference(found, decode(png(Image.fromarray(film)))) < 3.0


def test_bars_of_a_deep_film_are_trimmed() -> None:
    padded = np.pad(np.asarray(LARGE).astype(np.uint16) * 16, 200, constant_values=65535)
    film = decode(png_of_16_bits(padded))
    assert film.facts.bars == Bars(left=200, top=200, right=200, bottom=200)
    assert difference(film, decode(png(LARGE))) < 1.5


@pytest.mark.parametrize("deep", [False, True])
def test_very_large_film_is_near_a_small_one(*, deep: bool) -> None:
    levels = np.asarray(grey(4200, 3200))
    film = decode(png_of_16_bits(levels.astype(np.uint16)) if deep else png(Image.fromarray(levels)))
    assert difference(film, decode(png(grey(1050, 800)))) < 2.0
    assert film.facts.bars == Bars()


def test_bars_of_a_colour_film_are_trimmed() -> None:
    padded = Image.new("RGB", (1000, 560))
    padded.paste(LARGE.convert("RGB"), (100, 0))
    assert decode(png(padded)).facts.bars == Bars(left=100, right=200)


def test_film_without_bars_has_none_trimmed() -> None:
    assert decode(png(LARGE)).facts.bars == Bars()


def test_film_too_small_without_its_bars_is_refused() -> None:
    padded = np.pad(np.asarray(grey(100, 60)), ((30, 30), (0, 0)))
    with pytest.raises(UnusableFilm, match="too small: 100x60"):
        decode(png(Image.fromarray(padded)))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_pixels_under_alpha_are_read(mode: str) -> None:
    image = GREY.convert(mode)
    image.putalpha(0)
    assert difference(decode(png(image)), PLAIN) < 1.0


def test_colour_is_reported() -> None:
    red = Image.merge("RGB", (GREY, Image.new("L", GREY.size, 20), Image.new("L", GREY.size, 20)))
    assert decode(png(red)).facts.colour > 30
    assert decode(png(red.convert("P", palette=Image.Palette.ADAPTIVE))).facts.colour > 30


def test_contrast_is_that_before_the_window() -> None:
    faint = Image.fromarray((np.asarray(LARGE) // 8 + 100).astype(np.uint8))
    film = decode(png(faint))
    assert film.facts.contrast == pytest.approx(np.asarray(faint.resize((224, 224))).std(), rel=0.05)
    assert film.pixels.std() > 4 * film.facts.contrast


def test_no_bytes_are_a_missing_film() -> None:
    with pytest.raises(MissingFilm, match="empty"):
        decode(b"")


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as bundle:
        bundle.writestr("film.jpeg", jpeg(GREY))
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"A chest film, frontal view.",
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        b"<!doctype html><title>film</title>",
        b"%PDF-1.7",
        b"\xff",
        archive(),
        *(encoded(GREY, kind) for kind in ("GIF", "BMP", "TIFF", "WEBP", "PPM")),
    ],
    ids=["text", "SVG", "HTML", "PDF", "byte", "zip", "GIF", "BMP", "TIFF", "WebP", "PPM"],
)
def test_other_formats_are_refused(data: bytes) -> None:
    with pytest.raises(UnsupportedFormat, match="not a film that is read: send a JPEG, PNG, JPEG 2000 or") as caught:
        decode(data)
    assert caught.value.status == 415


@pytest.mark.parametrize("name", ["grey JPEG", "progressive JPEG", "grey PNG", "PNG of 16 bits", "palette PNG"])
@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.9, 0.98])
def test_truncated_film_is_refused(name: str, share: float) -> None:
    data = WHOLE[name]
    with pytest.raises(DamagedFilm):
        decode(data[: max(4, int(share * len(data)))])


def test_bad_checksum_is_refused() -> None:
    with pytest.raises(DamagedFilm, match="PNG is damaged"):
        decode(with_bad_checksum(png(GREY)))


@pytest.mark.parametrize("bomb", [png_bomb, jpeg_bomb])
def test_bomb_is_refused(bomb: Callable[[int, int], bytes]) -> None:
    with pytest.raises(UnusableFilm, match=r"too large: 30000x30000 .* 40,000,000"):
        decode(bomb(30_000, 30_000))


def test_largest_film_is_not_refused_for_its_size() -> None:
    with pytest.raises(DamagedFilm):  # the header passes, the pixels are missing
        decode(png_bomb(8000, MAX_PIXELS // 8000))
    with pytest.raises(UnusableFilm, match="too large"):
        decode(png_bomb(8000, MAX_PIXELS // 8000 + 1))


@pytest.mark.parametrize(
    ("width", "height", "why"),
    [
        (1, 1, "too small"),
        (63, 64, "too small"),
        (20_000, 10, "too small"),
        (64, 257, "too elongated"),
        (257, 64, "too elongated"),
    ],
)
def test_unusable_shape_is_refused(width: int, height: int, why: str) -> None:
    with pytest.raises(UnusableFilm, match=rf"{why}: {width}x{height}"):
        decode(png(Image.new("L", (width, height))))


@pytest.mark.parametrize(("width", "height"), [(64, 64), (64, 256), (256, 64)])
def test_smallest_and_longest_shapes_are_decoded(width: int, height: int) -> None:
    assert decode(png(grey(width, height))).pixels.shape == (224, 224)


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("save", [jpeg, png])
def test_blank_film_is_refused(level: int, save: Callable[[Image.Image], bytes]) -> None:
    with pytest.raises(UnusableFilm, match="blank"):
        decode(save(Image.new("L", (100, 100), level)))


@pytest.mark.parametrize("level", [0, 2000, 65000])
def test_film_of_16_bits_with_nothing_but_noise_is_refused(level: int) -> None:
    noise = np.random.default_rng(0).normal(level, 8, (500, 500)).clip(0, 65535)
    with pytest.raises(UnusableFilm, match="blank"):
        decode(png_of_16_bits(noise.astype(np.uint16)))


@pytest.mark.parametrize("name", WHOLE)
def test_mutated_film_raises_nothing_but_film_errors(name: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(150):
        data = bytearray(WHOLE[name])
        for _ in range(int(rng.integers(1, 6))):
            # Half of the mutations hit the headers, where the parsers are.
            place = int(rng.integers(min(200, len(data)) if rng.random() < 0.5 else len(data)))
            kind = rng.integers(3)
            if kind == 0:
                data[place] = int(rng.integers(256))
            elif kind == 1:
                del data[place : place + int(rng.integers(1, 10))]
            else:
                data[place:place] = rng.bytes(int(rng.integers(1, 10)))
        with contextlib.suppress(FilmError):
            decode(data)
