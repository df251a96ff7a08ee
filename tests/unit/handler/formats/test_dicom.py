import itertools
import struct
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydicom.encaps import encapsulate

from handler.errors import DamagedFilm, UnsupportedFormat, UnusableFilm
from handler.formats import dicom
from handler.formats.registry import open_film
from tests.dicoms import LOSSY, MOST_BITS, SYNTAXES, Film
from tests.dicoms import dicom as dicom_of
from tests.films import grey, jpeg

WIDTH, HEIGHT = 120, 100


def shape_of_levels(width: int = WIDTH, height: int = HEIGHT, *, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Return a film of 8 bits, a smooth shape between black and white, unlike that of another seed."""
    coarse = np.random.default_rng(seed).normal(120, 40, (8, 8)).clip(5, 250).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


FILM = shape_of_levels()


def of_bits(film: npt.NDArray[np.uint8], bits: int) -> Film:
    return film if bits <= 8 else film.astype(np.uint16) << np.uint16(bits - 8)


def read(data: bytes, min_px: int = HEIGHT) -> npt.NDArray[np.float64]:
    """Return a film as it is read, in levels of 0 to 255."""
    assert dicom.matches(data)
    pixels = dicom.open(data).read(min_px)
    return pixels / (257 if pixels.dtype == np.uint16 else 1)


def error_of(data: bytes, film: npt.NDArray[np.uint8] = FILM) -> float:
    """Return how far a DICOM file is from the film it was made of, in levels."""
    return float(np.abs(read(data) - film).mean())


DEPTHS = [
    (name, bits)
    for name, bits in itertools.product(SYNTAXES, (8, 10, 12, 16))
    if bits <= MOST_BITS.get(name, 16) and not (name == "JPEG extended" and bits == 10)
]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize(("name", "bits"), DEPTHS)
def test_film_is_the_same_in_every_transfer_syntax(name: str, bits: int, *, signed: bool, photometric: str) -> None:
    data = dicom_of(of_bits(FILM, bits), transfer_syntax=name, bits_stored=bits, signed=signed, photometric=photometric)
    assert error_of(data) < (2.5 if name in LOSSY else 1.1)
    header = dicom.open(data).header
    assert (header.kind, header.width_px, header.height_px, header.bits) == ("DICOM", WIDTH, HEIGHT, bits)
    assert header.warnings == ()


@pytest.mark.parametrize("name", SYNTAXES)
def test_colour_is_kept_in_every_transfer_syntax(name: str) -> None:
    film = np.stack([FILM, FILM // 2, 255 - FILM], axis=-1)
    found = read(dicom_of(film, transfer_syntax=name))
    assert found.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(found - film).mean() < (4 if name in LOSSY else 0.01)


@pytest.mark.parametrize("name", ["implicit", "explicit", "big endian"])
def test_file_without_preamble_is_read(name: str) -> None:
    data = dicom_of(of_bits(FILM, 12), bits_stored=12, transfer_syntax=name, preamble=False)
    assert error_of(data) < 1.1


def test_file_that_begins_with_its_meta_information_is_read() -> None:
    assert error_of(dicom_of(FILM)[132:]) < 1.1


@pytest.mark.parametrize("written", ["implicit", "explicit", "big endian"])
@pytest.mark.parametrize("named", ["implicit", "explicit", "big endian"])
def test_file_is_read_as_it_is_written_whatever_it_names(written: str, named: str) -> None:
    meta = dicom_of(FILM, transfer_syntax=named)
    meta_end = meta.index(b"\x08\x00\x16\x00" if named != "big endian" else b"\x00\x08\x00\x16")
    data_set = dicom_of(of_bits(FILM, 12), bits_stored=12, transfer_syntax=written, preamble=False)
    assert error_of(meta[:meta_end] + data_set) < 1.1


def test_bytes_of_words_of_the_other_order_are_turned() -> None:
    data = dicom_of(FILM, transfer_syntax="big endian")
    swapped = FILM.view(">u2").astype("<u2").tobytes()
    at = data.index(FILM.tobytes())
    assert data[at - 8 : at - 6] == b"OB"
    assert error_of(data[: at - 8] + b"OW" + data[at - 6 : at] + swapped) < 1.1


def test_odd_number_of_bytes_in_words_of_the_other_order_is_turned() -> None:
    film = shape_of_levels(101, 99)
    data = dicom_of(film, transfer_syntax="big endian")
    padded = film.tobytes() + b"\0"
    at = data.index(padded)
    swapped = np.frombuffer(padded, ">u2").astype("<u2").tobytes()
    assert error_of(data[: at - 8] + b"OW" + data[at - 6 : at] + swapped, film) < 1.1


def test_jpeg_2000_of_signed_samples_is_read() -> None:
    signed = FILM.astype(np.int16) * 16 - 2048
    frame = imagecodecs.jpeg2k_encode(signed, codecformat="j2k", level=0, reversible=True, bitspersample=12)
    tags: dict[str, Any] = {"PixelData": encapsulate([bytes(frame)]), "RescaleIntercept": 2048}
    film = of_bits(FILM, 12)
    data = dicom_of(film, bits_stored=12, signed=True, window=(2048, 4096), transfer_syntax="JPEG 2000", **tags)
    assert error_of(data) < 1.1


def test_odd_number_of_bytes_is_padded_and_read() -> None:
    film = shape_of_levels(101, 99)
    assert error_of(dicom_of(film), film) < 1.1
    assert error_of(dicom_of(film, transfer_syntax="big endian"), film) < 1.1


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_read(kind: Callable[[bytes], bytes | bytearray | memoryview]) -> None:
    data = kind(dicom_of(FILM))
    assert dicom.matches(data)
    assert dicom.open(data).read(64).shape == (HEIGHT, WIDTH)


def test_fragments_are_joined() -> None:
    data = dicom_of(FILM, transfer_syntax="JPEG-LS")
    start = data.index(b"\xff\xd8\xff")
    (length,) = struct.unpack_from("<L", data, start - 4)
    frame = data[start : start + length]
    halves = b"".join(b"\xfe\xff\x00\xe0" + struct.pack("<L", len(half)) + half for half in (frame[:500], frame[500:]))
    assert error_of(data[: start - 8] + halves + data[start + length :]) < 1.1


def test_sequence_of_fragments_without_its_end_is_read() -> None:
    data = dicom_of(FILM, transfer_syntax="JPEG-LS")
    assert data.endswith(b"\xfe\xff\xdd\xe0\0\0\0\0")
    assert error_of(data[:-8]) < 1.1


def test_compressed_pixels_of_defined_length_are_read() -> None:
    data = dicom_of(FILM, transfer_syntax="JPEG-LS")
    start = data.index(b"\xff\xd8\xff")
    (length,) = struct.unpack_from("<L", data, start - 4)
    offset_table, item, end = 12, 8, 8
    assert data[start - 24 : start - 20] == b"\xff\xff\xff\xff"
    in_items = struct.pack("<L", offset_table + item + length + end)
    assert error_of(data[: start - 24] + in_items + data[start - 20 :]) < 1.1
    bare = struct.pack("<L", length) + data[start : start + length]
    assert error_of(data[: start - 24] + bare) < 1.1


def test_frame_tells_its_coding_where_the_transfer_syntax_tells_another() -> None:
    data = dicom_of(FILM, transfer_syntax="JPEG-LS").replace(
        SYNTAXES["JPEG-LS"].encode(), SYNTAXES["JPEG 2000"].encode()
    )
    assert error_of(data) < 1.1


@pytest.mark.parametrize("name", ["explicit", "big endian", "RLE", "lossless JPEG", "JPEG 2000, lossless"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_large_film_is_reduced_to_no_less_than_asked_for(name: str, photometric: str) -> None:
    film = shape_of_levels(1030, 933)
    data = dicom_of(of_bits(film, 12), bits_stored=12, transfer_syntax=name, photometric=photometric)
    reduced, whole = read(data, 100), read(data, 933)
    assert whole.shape == film.shape
    assert min(reduced.shape) >= 200 if name == "explicit" else min(reduced.shape) >= 100
    assert max(reduced.shape) <= 515
    small = (224, 224)
    again = [np.asarray(Image.fromarray(each.astype(np.float32)).resize(small)) for each in (reduced, whole)]
    assert np.abs(again[0] - again[1]).mean() < 0.5


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_white_film_of_any_depth_stays_white_when_it_is_reduced(bits: int) -> None:
    """A sum over a block holds the brightest film of any depth."""
    film = np.full((900, 900), (1 << bits) - 1, np.uint8 if bits == 8 else np.uint16)
    data = dicom_of(film, bits_stored=bits)
    assert np.abs(read(data, 20) - 255).max() < 1
    assert np.abs(read(data, 450) - 255).max() < 1


@pytest.mark.parametrize("name", SYNTAXES)
def test_cut_file_is_damaged(name: str) -> None:
    data = dicom_of(of_bits(FILM, 8), transfer_syntax=name)
    with pytest.raises(DamagedFilm):
        dicom.open(data[: len(data) - 800]).read(64)


@pytest.mark.parametrize("name", ["explicit", "deflated", "RLE", "JPEG-LS", "JPEG 2000, lossless"])
@pytest.mark.parametrize("tags", [{"Rows": 2 * HEIGHT}, {"Columns": WIDTH + 30}], ids=str)
def test_fewer_pixels_than_named_are_damaged(name: str, tags: dict[str, int]) -> None:
    good = dicom_of(FILM, transfer_syntax=name if name != "deflated" else "explicit")
    ((keyword, value),) = tags.items()
    before, tag = (HEIGHT, b"\x28\x00\x10\x00") if keyword == "Rows" else (WIDTH, b"\x28\x00\x11\x00")
    old = tag + b"US\x02\x00" + struct.pack("<H", before)
    assert old in good
    with pytest.raises(DamagedFilm):
        dicom.open(good.replace(old, old[:-2] + struct.pack("<H", value))).read(64)


def test_trailing_bytes_are_ignored() -> None:
    assert error_of(dicom_of(FILM) + b"\xfc\xff\xfc\xff" + b"OB\0\0\x04\0\0\0abcd") < 1.1
    assert error_of(dicom_of(FILM, PixelData=FILM.tobytes() + bytes(512))) < 1.1


@pytest.mark.parametrize("name", ["JPEG-LS", "JPEG 2000", "RLE"])
def test_pixels_that_are_not_compressed_as_said_are_damaged(name: str) -> None:
    uid = SYNTAXES["JPEG-LS"].encode()
    data = dicom_of(FILM, transfer_syntax="JPEG-LS").replace(uid, SYNTAXES[name].encode().ljust(len(uid), b"\0"))
    start = data.index(b"\xff\xd8\xff")
    broken = data[:start] + b"ABCD" + data[start + 4 :]
    with pytest.raises(DamagedFilm, match="DICOM file is damaged"):
        dicom.open(broken).read(64)


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.100", "1.2.3.4"])
def test_other_transfer_syntax_is_refused_with_what_is_read(uid: str) -> None:
    with pytest.raises(UnsupportedFormat, match="transfer syntax is not read: send it uncompressed") as result:
        dicom.open(dicom_of(FILM, transfer_syntax=uid))
    assert uid not in str(result.value)


@pytest.mark.parametrize("tags", [{"PixelData": None}, {"PixelData": b""}], ids=str)
def test_file_without_pixels_is_refused(tags: dict[str, Any]) -> None:
    with pytest.raises(UnusableFilm, match="holds no image"):
        dicom.open(dicom_of(FILM, **tags))


def test_compressed_pixels_without_a_frame_are_refused() -> None:
    data = dicom_of(FILM, transfer_syntax="JPEG-LS")
    table = data.index(b"\xff\xd8\xff") - 20
    for rest in (data[table : table + 12], b""):
        with pytest.raises(UnusableFilm, match="pixels are empty"):
            dicom.open(data[:table] + rest + b"\xfe\xff\xdd\xe0\0\0\0\0")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"DICM",
        b"\xff\xd8\xff\xe0" + bytes(300),
        b"\x89PNG\r\n\x1a\n" + bytes(300),
        b"PK\x03\x04" + bytes(300),
        b"%PDF-1.7" + bytes(300),
        b"\x08\x00" + bytes(300),
        b"\x02\x00\x00\x00UL\x04\x00",
        b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100" + b"\x07\x00\x05\x00CS\x02\x00AB" + bytes(20),
        b"\x10\x00\x10\x00PN\x04\x00ABCD\x10\x00\x20\x00LO\x04\x00ABCD",
        b"\x08\x00\x05\x00\xff\xff\x00\x00" + bytes(300),
        bytes(range(256)) * 4,
        b"\0" * 1000,
    ],
    ids=lambda data: repr(data[:12]),
)
def test_other_files_are_not_taken_for_dicom(data: bytes) -> None:
    assert not dicom.matches(data)


def test_words_that_end_in_the_middle_of_one_are_refused() -> None:
    whole = dicom_of(shape_of_levels(301, 301), transfer_syntax="big endian")
    place = whole.index(b"\x7f\xe0\x00\x10") + 4
    cut = whole[:place] + b"OW\0\0" + struct.pack(">L", 301 * 301) + whole[place + 8 :][: 301 * 301]
    with pytest.raises(DamagedFilm, match="fewer pixels than it says"):
        dicom.open(cut).read(224)


def test_colours_subsampled_over_an_odd_number_of_columns_are_refused() -> None:
    film = np.zeros((301, 301, 3), np.uint8)
    data = dicom_of(film, PhotometricInterpretation="YBR_FULL_422", PixelData=bytes(301 * 301 * 2 + 2))
    with pytest.raises(UnsupportedFormat, match="odd number of columns"):
        dicom.open(data).read(224)


@pytest.mark.parametrize(
    "beginning", [b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xee", b"\xff\xd8\xff\xc4", b"\x89PNG\r\n\x1a\n", b"II*\0"]
)
def test_preamble_may_begin_as_another_format(beginning: bytes) -> None:
    data = beginning + dicom_of(FILM)[len(beginning) :]
    assert open_film(data).header.kind == "DICOM"


@pytest.mark.parametrize("following", [b"y" * 20, b"\x02\x00" + b"y" * 18, b"\x02\x00\x00\x00" + b"y" * 16])
@pytest.mark.parametrize("has_app0", [True, False])
def test_letters_within_a_picture_make_no_dicom_file_of_it(following: bytes, *, has_app0: bool) -> None:
    picture = jpeg(grey(200, 160))
    app0 = 4 + int.from_bytes(picture[4:6], "big")
    start = picture[:app0] if has_app0 else picture[:2]
    comment = b"x" * (128 - len(start) - 4) + b"DICM" + following
    marked = start + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + picture[app0:]
    assert marked[128:132] == b"DICM"
    assert open_film(marked).header.kind == "JPEG"


def test_file_without_a_preamble_may_begin_with_an_empty_character_set() -> None:
    film = dicom_of(FILM, transfer_syntax="explicit", preamble=False)
    assert film[:2] == b"\x08\x00"
    assert open_film(b"\x08\x00\x05\x00CS\x00\x00" + film).header.kind == "DICOM"


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [4, 5, 6, 7])
def test_film_of_few_bits_comes_out_of_its_lossless_jpeg_as_it_went_in(bits: int, *, signed: bool) -> None:
    film = (np.arange(100 * 120) % (1 << bits)).astype(np.uint8).reshape(100, 120)
    data = dicom_of(film, transfer_syntax="lossless JPEG", bits_stored=bits, signed=signed)
    plain = dicom_of(film, bits_stored=bits, signed=signed)
    assert (open_film(data).read(100) == open_film(plain).read(100)).all()


def edges(top: int, dtype: str) -> npt.NDArray[Any]:
    """Return a film of black and white fields, at whose edges coding with loss overshoots."""
    fields = np.random.default_rng(0).integers(0, 2, (HEIGHT // 5, WIDTH // 5))
    film: npt.NDArray[Any] = np.kron(fields, np.full((5, 5), top)).astype(dtype)
    return film


def test_overshoot_of_a_lossy_jpeg_stays_white() -> None:
    film = edges(1023, "uint16")
    frame = imagecodecs.jpeg8_encode(film, level=70, bitspersample=12)
    assert imagecodecs.jpeg8_decode(frame).max() > 1023
    tags: dict[str, Any] = {"PixelData": encapsulate([bytes(frame)])}
    found = read(dicom_of(film, bits_stored=10, transfer_syntax="JPEG extended", **tags))
    assert found[film == 1023].min() > 128


@pytest.mark.parametrize("signed", [False, True])
def test_overshoot_of_a_lossy_jpeg_2000_stays_what_it_was(*, signed: bool) -> None:
    film = edges(4095, "uint16")
    stored = film.astype(np.int16) - 2048 if signed else film
    frame = imagecodecs.jpeg2k_encode(stored, codecformat="j2k", level=55, reversible=False, bitspersample=16)
    decoded = imagecodecs.jpeg2k_decode(frame)
    assert decoded.min() < stored.min() if signed else decoded.max() > stored.max()
    tags: dict[str, Any] = {"PixelData": encapsulate([bytes(frame)])}
    found = read(dicom_of(film, bits_stored=12, signed=signed, transfer_syntax="JPEG 2000", **tags))
    assert found[film == 4095].min() > 128
    assert found[film == 0].max() < 128


@pytest.mark.parametrize("name", ["explicit", "RLE", "lossless JPEG, first order", "JPEG-LS", "JPEG 2000, lossless"])
def test_overlay_in_the_unused_bits_of_a_lossless_film_is_not_seen(name: str) -> None:
    film = of_bits(FILM, 12)
    cells = film.copy()
    cells[20:40, 30:60] |= 0x8000
    plain = dicom.open(dicom_of(film, bits_stored=12)).read(HEIGHT)
    layout: dict[str, Any] = {"BitsStored": 12, "HighBit": 11}
    assert np.array_equal(dicom.open(dicom_of(cells, transfer_syntax=name, **layout)).read(HEIGHT), plain)


def test_lossy_jpeg_2000_of_signed_samples_that_the_file_calls_unsigned_is_read() -> None:
    film = of_bits(FILM, 12)
    frame = imagecodecs.jpeg2k_encode(film.astype(np.int16), codecformat="j2k", level=70, reversible=False)
    tags: dict[str, Any] = {"PixelData": encapsulate([bytes(frame)])}
    assert error_of(dicom_of(film, bits_stored=12, transfer_syntax="JPEG 2000", **tags)) < 2.5
