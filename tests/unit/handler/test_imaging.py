import contextlib
import io
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageFile

from handler.errors import DamagedFilm, FilmError, MissingFilm, UnsupportedFormat, UnusableFilm
from handler.imaging import MAX_PIXELS, decode
from tests.films import grey, half, jpeg, jpeg_bomb, png, png_bomb, png_of_16_bits, with_bad_checksum

GREY = grey()
COLOUR = GREY.convert("RGB")
PALETTE = COLOUR.convert("P", palette=Image.Palette.ADAPTIVE)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


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
    "animated PNG": encoded(GREY, "PNG", save_all=True, append_images=[grey(seed=1)]),
}


@pytest.mark.parametrize("name", WHOLE)
def test_film_is_the_same_in_every_format(name: str) -> None:
    film = decode(WHOLE[name])
    assert film.pixels.shape == (224, 224)
    assert film.pixels.dtype == np.uint8
    expected = np.asarray(GREY.resize((224, 224), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(film.pixels - expected).mean() < (4.0 if name == "PNG of 4 bits" else 1.5)
    assert film.facts.format == ("JPEG" if "JPEG" in name else "PNG")
    assert (film.facts.width_px, film.facts.height_px) == GREY.size
    assert film.facts.colour < 0.5
    assert film.facts.contrast == pytest.approx(film.pixels.std())


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_decoded(kind: Callable[[bytes], bytes | bytearray | memoryview]) -> None:
    assert np.array_equal(decode(kind(jpeg(GREY))).pixels, decode(jpeg(GREY)).pixels)


def test_film_of_the_input_size_is_left_as_it_is() -> None:
    image = grey(224, 224)
    assert np.array_equal(decode(png(image)).pixels, np.asarray(image))


def test_film_of_one_bit_is_decoded() -> None:
    film = decode(png(half(96, 80, side="left").convert("1", dither=Image.Dither.NONE)))
    assert film.pixels[112, 10] == 255
    assert film.pixels[112, 213] == 0


def test_scaled_decode_of_a_large_jpeg_is_near_the_full_one() -> None:
    large = grey(1600, 1300)
    difference = decode(jpeg(large)).pixels.astype(int) - decode(png(large)).pixels
    assert np.abs(difference).mean() < 1.0


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
def test_exif_orientation_is_applied(orientation: int, of_left: str, of_top: str) -> None:
    """A film stored with its left, or its top, bright is shown as the EXIF standard (CIPA DC-008, 4.6.5) says."""
    for stored, shown in (("left", of_left), ("top", of_top)):
        film = decode(jpeg(half(160, 96, side=stored), orientation=orientation))
        assert np.abs(film.pixels.astype(int) - np.asarray(half(224, 224, side=shown))).mean() < 5
        assert (film.facts.width_px, film.facts.height_px) == (160, 96)


def test_orientation_of_a_png_of_16_bits_is_applied() -> None:
    levels = np.asarray(half(160, 96, side="left")).astype(np.uint16) * 257
    exif = Image.Exif()
    exif[0x0112] = 6
    film = decode(png(Image.fromarray(levels), exif=exif))
    assert film.pixels[10, 112] > 200
    assert film.pixels[213, 112] < 50


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_film_of_any_usual_depth_keeps_its_brightness(bits: int) -> None:
    levels = np.asarray(grey(level=150))
    assert levels.max() >= 128  # the topmost bit is in use
    film = decode(png_of_16_bits(levels.astype(np.uint16) * np.uint16(1 << (bits - 8))))
    assert np.array_equal(film.pixels, decode(png(grey(level=150))).pixels)


def test_depth_between_the_usual_ones_counts_as_the_next() -> None:
    levels = np.asarray(grey(level=150))
    film = decode(png_of_16_bits(levels.astype(np.uint16) * np.uint16(8)))  # 11 bits, read as 12
    assert np.abs(film.pixels - decode(png(grey(level=150))).pixels / 2).mean() < 1.0


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_becomes_black(mode: str) -> None:
    image = grey(200, 200).convert(mode)
    image.putalpha(half(200, 200, side="right").point(lambda level: 255 * (level > 100)))
    film = decode(png(image))
    assert film.pixels[:, :100].max() == 0
    assert film.pixels[:, 124:].min() > 0


def test_transparent_palette_entry_becomes_black() -> None:
    image = half(200, 200, side="left").quantize(4)
    film = decode(png(image, transparency=image.getpixel((10, 100))))
    assert film.pixels[112, 10] == 0


def test_colour_is_told() -> None:
    red = Image.merge("RGB", (GREY, Image.new("L", GREY.size, 20), Image.new("L", GREY.size, 20)))
    assert decode(png(red)).facts.colour > 30
    assert decode(png(red.convert("P", palette=Image.Palette.ADAPTIVE))).facts.colour > 30


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
        b"\x00" * 128 + b"DICM",
        b"\xff",
        archive(),
        *(encoded(GREY, kind) for kind in ("GIF", "BMP", "TIFF", "WEBP", "PPM")),
    ],
    ids=["text", "SVG", "HTML", "PDF", "DICOM", "byte", "zip", "GIF", "BMP", "TIFF", "WebP", "PPM"],
)
def test_other_formats_are_refused(data: bytes) -> None:
    with pytest.raises(UnsupportedFormat, match="not a JPEG or PNG") as caught:
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
def test_bomb_is_refused_undecoded(bomb: Callable[[int, int], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: ImageFile.ImageFile) -> None:
        pytest.fail("pixels were allocated")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
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
        decode(png(grey(width, height)))


@pytest.mark.parametrize(("width", "height"), [(64, 64), (64, 256), (256, 64)])
def test_smallest_and_longest_shapes_are_decoded(width: int, height: int) -> None:
    assert decode(png(grey(width, height))).pixels.shape == (224, 224)


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("save", [jpeg, png])
def test_blank_film_is_refused(level: int, save: Callable[[Image.Image], bytes]) -> None:
    with pytest.raises(UnusableFilm, match="blank"):
        decode(save(Image.new("L", (100, 100), level)))


def test_black_film_of_16_bits_is_refused() -> None:
    with pytest.raises(UnusableFilm, match="blank"):
        decode(png_of_16_bits(np.zeros((100, 100), dtype=np.uint16)))


@pytest.mark.filterwarnings("ignore")  # Pillow's remarks on broken metadata
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
