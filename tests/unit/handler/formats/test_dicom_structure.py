import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import pytest

from handler.errors import DamagedFilm, FilmError, UnusableFilm
from handler.formats import dicom
from handler.formats.dicom_structure import MAX_DEPTH, MAX_ELEMENTS, MAX_INFLATED_BYTES
from tests.dicoms import SYNTAXES
from tests.dicoms import dicom as dicom_of

FILM = np.arange(100 * 120, dtype=np.uint16).reshape(100, 120)
UNDEFINED = 0xFFFFFFFF
TAG_OF_PIXELS = b"\xe0\x7f\x10\x00"


def element(tag: int, vr: bytes, value: bytes, *, length: int | None = None) -> bytes:
    """Return an element of explicit VR, little endian."""
    size = len(value) if length is None else length
    is_long = vr in {b"SQ", b"UN", b"OB", b"OW", b"UT"}
    head = struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, vr, 0, size)
    return (head if is_long else head[:6] + struct.pack("<H", size)) + value


def item(value: bytes, *, length: int | None = None) -> bytes:
    return b"\xfe\xff\x00\xe0" + struct.pack("<L", len(value) if length is None else length) + value


ITEM_END = b"\xfe\xff\x0d\xe0" + bytes(4)
SEQUENCE_END = b"\xfe\xff\xdd\xe0" + bytes(4)


def sequence(value: bytes, tag: int = 0x00091010, vr: bytes = b"SQ") -> bytes:
    return element(tag, vr, value + SEQUENCE_END, length=UNDEFINED)


def with_elements(inserted: bytes, name: str = "explicit") -> bytes:
    """Return a film's file with elements inserted in front of its pixels."""
    data = dicom_of(FILM, transfer_syntax=name)
    at = data.index(TAG_OF_PIXELS)
    return data[:at] + inserted + data[at:]


def is_read(data: bytes) -> bool:
    return dicom.open(data).read(100).shape == (100, 120)


LEAF = element(0x00091001, b"LO", b"some")
IMPLICIT_LEAF = struct.pack("<HHL", 0x0009, 0x1001, 4) + b"some"


@pytest.mark.parametrize(
    "inserted",
    [
        element(0x00091001, b"UN", bytes(70_000)),
        element(0x00091001, b"ZZ", b"of a VR that is not known yet."),
        IMPLICIT_LEAF,
        sequence(item(LEAF)),
        sequence(item(LEAF + ITEM_END, length=UNDEFINED)),
        sequence(item(sequence(item(LEAF)) + ITEM_END, length=UNDEFINED) * 3),
        sequence(b""),
        sequence(item(b"")),
        sequence(item(IMPLICIT_LEAF + ITEM_END, length=UNDEFINED), vr=b"UN"),
        sequence(item(LEAF + ITEM_END, length=UNDEFINED), vr=b"UN"),
        sequence(item(TAG_OF_PIXELS + b"OB\0\0" + struct.pack("<L", 4) + b"icon" + ITEM_END, length=UNDEFINED)),
        sequence(item(element(0x7FE00010, b"OB", item(b"") + item(b"icon") + SEQUENCE_END, length=UNDEFINED))),
        element(0x00091010, b"SQ", b"broken, but of a length, and not looked into"),
        sequence(item(b"", length=0x4141).ljust(0x4141 + 8, b"A")),
    ],
    ids=lambda inserted: repr(inserted[:40]),
)
def test_what_is_not_wanted_is_passed_over(inserted: bytes) -> None:
    assert is_read(with_elements(inserted))


DAMAGED = {
    "element longer than the file": element(0x00091001, b"OB", b"", length=0x7FFFFFFF),
    "item longer than the file": sequence(item(b"", length=0x7FFFFFFF)),
    "item longer than its sequence": element(0x00283010, b"SQ", item(LEAF, length=500)),
    "element longer than its item": element(
        0x00283010, b"SQ", item(element(0x00283006, b"OW", b"", length=8)) + item(bytes(50))
    ),
    "sequence of something else than items": sequence(LEAF),
    "sequence without an end": element(0x00091010, b"SQ", item(b""), length=UNDEFINED),
    "item without an end": element(0x00091010, b"SQ", item(LEAF, length=UNDEFINED), length=UNDEFINED),
    "sequence end inside an item": sequence(item(LEAF, length=UNDEFINED)),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_broken_structure_is_damaged(name: str) -> None:
    with pytest.raises(DamagedFilm):
        dicom.open(with_elements(DAMAGED[name]))


@pytest.mark.parametrize("left", [1, 4, 8, 9, 11])
def test_file_that_ends_inside_an_element_is_refused(left: int) -> None:
    data = dicom_of(FILM)
    with pytest.raises((DamagedFilm, UnusableFilm)):
        dicom.open(data[: data.index(TAG_OF_PIXELS) + left])


def test_file_that_ends_in_its_meta_information_is_refused() -> None:
    data = dicom_of(FILM)
    for end in range(128, data.index(TAG_OF_PIXELS)):
        with pytest.raises((DamagedFilm, UnusableFilm)):
            dicom.open(data[:end])


@pytest.mark.parametrize("rest", [item(b""), item(LEAF, length=UNDEFINED), b""], ids=["item", "open item", "nothing"])
def test_file_that_ends_inside_a_sequence_is_damaged(rest: bytes) -> None:
    data = dicom_of(FILM)
    cut = data[: data.index(TAG_OF_PIXELS)] + element(0x00091010, b"SQ", rest, length=UNDEFINED)
    with pytest.raises(DamagedFilm, match="has no end"):
        dicom.open(cut)


def nested(depth: int) -> bytes:
    value = LEAF
    for _ in range(depth):
        value = sequence(item(value + ITEM_END, length=UNDEFINED))
    return value


def test_nesting_is_bounded() -> None:
    assert is_read(with_elements(nested(MAX_DEPTH)))
    for depth in (MAX_DEPTH + 1, 5_000):
        with pytest.raises(UnusableFilm, match="nested too deep"):
            dicom.open(with_elements(nested(depth)))


def many(number: int) -> dict[str, bytes]:
    return {
        "elements": element(0x00091001, b"LO", b"") * number,
        "items": sequence(item(b"") * number),
        "items of wanted sequences": element(0x00283010, b"SQ", item(b"") * number),
        "elements of an item": sequence(item(element(0x00091001, b"LO", b"") * number + ITEM_END, length=UNDEFINED)),
    }


@pytest.mark.parametrize("kind", many(0))
def test_elements_are_bounded_and_counted_quickly(kind: str) -> None:
    assert is_read(with_elements(many(MAX_ELEMENTS - 100)[kind]))
    started = time.process_time()
    with pytest.raises(UnusableFilm, match=f"too many elements: at most {MAX_ELEMENTS:,}"):
        dicom.open(with_elements(many(1_000_000)[kind]))
    assert time.process_time() - started < 0.5


def test_fragments_are_bounded() -> None:
    data = dicom_of(FILM, transfer_syntax="RLE")
    at = data.index(TAG_OF_PIXELS) + 12
    with pytest.raises(UnusableFilm, match="too many elements"):
        dicom.open(data[:at] + item(b"") * 100_000)


@pytest.mark.parametrize(
    "broken",
    [item(b"") + item(b"abcd", length=UNDEFINED), item(b"") + LEAF, item(b"") + item(b"abcd", length=5_000)],
    ids=["of undefined length", "of something else", "cut"],
)
def test_broken_fragments_are_damaged(broken: bytes) -> None:
    data = dicom_of(FILM, transfer_syntax="RLE")
    with pytest.raises(DamagedFilm):
        dicom.open(data[: data.index(TAG_OF_PIXELS) + 12] + broken)


def deflated(data_set: bytes) -> bytes:
    data = dicom_of(FILM, transfer_syntax="deflated")
    meta = dicom_of(FILM, transfer_syntax="implicit")
    end = meta.index(b"\x08\x00\x16\x00") + len(SYNTAXES["deflated"]) - len(SYNTAXES["implicit"]) - 1
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return data[: end + end % 2] + compressor.compress(data_set) + compressor.flush()


def test_deflated_data_is_bounded() -> None:
    plain = dicom_of(FILM)
    data_set = plain[plain.index(b"\x08\x00\x16\x00") :]
    assert is_read(deflated(data_set))
    started = time.process_time()
    with pytest.raises(UnusableFilm, match=f"at most {MAX_INFLATED_BYTES:,} bytes"):
        dicom.open(deflated(data_set + bytes(MAX_INFLATED_BYTES)))
    assert time.process_time() - started < 2  # most of it to make the file


@pytest.mark.parametrize("change", [lambda data: data[:-200], lambda data: data[:-200] + b"\xff" * 300])
def test_broken_deflated_data_is_damaged(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(DamagedFilm):
        dicom.open(change(dicom_of(FILM, transfer_syntax="deflated")))


def test_run_lengths_that_make_too_much_are_damaged_and_take_no_memory() -> None:
    runs = b"\x81\x00" * 2_000_000  # 128 bytes from two
    frame = struct.pack("<16L", 2, 64, 64 + len(runs), *[0] * 13) + runs * 2
    data = dicom_of(FILM, transfer_syntax="RLE")
    bomb = data[: data.index(TAG_OF_PIXELS) + 12] + item(b"") + item(frame) + SEQUENCE_END
    tracemalloc.start()
    with pytest.raises(DamagedFilm, match="run-length"):
        dicom.open(bomb).read(100)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * len(bomb)


def test_too_few_run_lengths_are_damaged() -> None:
    data = dicom_of(FILM[:64], transfer_syntax="RLE")
    rows = b"\x28\x00\x10\x00US\x02\x00" + struct.pack("<H", 64)
    assert rows in data
    with pytest.raises(DamagedFilm, match="run-length"):
        dicom.open(data.replace(rows, rows[:-2] + struct.pack("<H", 100))).read(64)


@pytest.mark.parametrize("kind", ["text", "number", "table"])
def test_long_values_are_not_read(kind: str) -> None:
    inserted = {
        "text": element(0x00185101, b"UT", b"LATERAL " * 1_000),
        "number": element(0x00281050, b"UT", b"9" * 100_000) + element(0x00281051, b"UT", b"9" * 100_000),
        "table": element(0x00283010, b"SQ", item(element(0x00283006, b"OW", bytes(200_000)))),
    }[kind]
    assert is_read(with_elements(inserted))


def test_first_item_of_a_sequence_counts() -> None:
    chest, hand = (item(element(0x00080104, b"LO", name)) for name in (b"Chest ", b"Hand"))
    regions = element(0x00082218, b"SQ", chest + hand)
    data = dicom_of(FILM, body_part=None)
    at = data.index(TAG_OF_PIXELS)
    assert dicom.open(data[:at] + regions + data[at:]).header.warnings == ()


@pytest.mark.parametrize("name", SYNTAXES)
def test_any_byte_changed_is_read_or_refused(name: str) -> None:
    film = (FILM >> 8).astype(np.uint8)
    data = dicom_of(film, transfer_syntax=name, WindowCenter=100, WindowWidth=90, PixelPaddingValue=0)
    random = np.random.default_rng(0)
    for _ in range(200):
        changed = bytearray(data)
        for at in random.integers(128, min(len(data), 1_200), 2):
            changed[at] = random.integers(256)
        try:
            dicom.open(bytes(changed)).read(64)
        except FilmError:
            continue
