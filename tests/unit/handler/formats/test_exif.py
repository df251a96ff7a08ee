import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.formats.exif import orientation


def tiff(value: int, *, order: str = "<", kind: int = 3, count: int = 1, before: int = 0) -> bytes:
    entries = [(0x0200 + number, 3, 1, 7) for number in range(before)] + [(0x0112, kind, count, value)]
    packed = b"".join(struct.pack(order + "HHIHxx", *entry) for entry in entries)
    mark = b"II*\x00" if order == "<" else b"MM\x00*"
    return mark + struct.pack(order + "IH", 8, len(entries)) + packed


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", range(1, 9))
def test_orientation_is_read_in_both_byte_orders(order: str, value: int) -> None:
    assert orientation(tiff(value, order=order, before=3)) == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"JPEG",
        tiff(6)[:-5],
        tiff(6)[:7],
        b"II*\x00" + struct.pack("<I", 1 << 31) + bytes(20),
        tiff(0),
        tiff(9),
        tiff(6, kind=2),
        tiff(6, count=2),
        tiff(6, before=300),
        b"II*\x00" + struct.pack("<IH", 8, 0),
    ],
    ids=["none", "text", "cut entry", "cut header", "far", "0", "9", "kind", "count", "too many entries", "no entries"],
)
def test_broken_metadata_leaves_the_film_as_stored(data: bytes) -> None:
    assert orientation(data) == 1


@given(st.binary(max_size=60), st.sampled_from([b"II*\x00", b"MM\x00*", b""]))
def test_any_bytes_give_an_orientation(data: bytes, start: bytes) -> None:
    assert 1 <= orientation(start + data) <= 8
