"""The structure of a DICOM file (PS3.5, section 7; PS3.10, section 7): its elements found, within bounds, none read.

Nothing is believed that the file's size does not bear out, and only what is wanted is kept: short values of known
elements, without the file's private and nested rest. What comes out is flat, and safe to hand to a DICOM library.
"""

import zlib
from dataclasses import dataclass, field
from struct import Struct

from pydicom.datadict import tag_for_keyword

from handler.errors import DamagedFilm, UnusableFilm
from handler.formats.dicom_syntax import EXPLICIT_LITTLE, IMPLICIT_LITTLE, Encoding, TransferSyntax, transfer_syntax

MAX_ELEMENTS = 20_000
"""Elements, items and fragments of a file. A radiograph has a few hundred."""
MAX_DEPTH = 16
"""Sequences inside of sequences."""
MAX_VALUE_BYTES = 131_072
"""The longest value that is kept: a table of 65,536 entries of 16 bits."""
MAX_INFLATED_BYTES = 84_000_000
"""Of a deflated file: 40 million pixels of 16 bits, and their header."""

PREAMBLE_BYTES = 128
MAGIC = b"DICM"

SEQUENCES = frozenset(
    tag_for_keyword(keyword)
    for keyword in ("AnatomicRegionSequence", "ViewCodeSequence", "ModalityLUTSequence", "VOILUTSequence")
)
"""Of these the first item is looked into."""

VRS = {
    *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"OB", b"OD", b"OF", b"OL"),
    *(b"OV", b"OW", b"PN", b"SH", b"SL", b"SQ", b"SS", b"ST", b"SV", b"TM", b"UC", b"UI", b"UL", b"UN", b"UR", b"US"),
    *(b"UT", b"UV"),
}
LONG_VRS = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
"""Their length has 4 bytes, after 2 that are reserved (PS3.5, section 7.1.2)."""

_UNDEFINED = 0xFFFFFFFF
_DELIMITERS = 0xFFFE
"""The group of items and delimiters, which have no VR."""
_ITEM = 0xFFFEE000
_ITEM_END = 0xFFFEE00D
_SEQUENCE_END = 0xFFFEE0DD
_PIXEL_DATA = 0x7FE00010
_FLOAT_PIXELS = (0x7FE00008, 0x7FE00009)

_TAG = {"<": Struct("<HH"), ">": Struct(">HH")}
_SHORT = {"<": Struct("<H"), ">": Struct(">H")}
_LONG = {"<": Struct("<L"), ">": Struct(">L")}

_TAG_BYTES = 4
_HEAD_BYTES = 8


@dataclass(frozen=True, slots=True)
class Element:
    """One element, unread."""

    tag: int
    vr: bytes
    """Empty where the file does not say."""
    start: int
    """Of the value."""
    length: int

    @property
    def end(self) -> int:
        """Behind the value; of one of defined length."""
        return self.start + self.length

    @property
    def undefined(self) -> bool:
        """Whether delimiters, not its length, say where the value ends."""
        return self.length == _UNDEFINED


@dataclass(slots=True)
class DataSet:
    """The elements of a data set that are wanted."""

    data: memoryview
    encoding: Encoding
    elements: dict[int, Element] = field(default_factory=dict)
    """By tag: at most MAX_VALUE_BYTES long, no sequences."""
    items: dict[int, "DataSet"] = field(default_factory=dict)
    """By tag: the first item of each of SEQUENCES."""
    pixels: Element | None = None
    """(7FE0,0010) of the film itself, not of an icon in some sequence."""
    float_pixels: bool = False


@dataclass(frozen=True, slots=True)
class Structure:
    """What a file consists of."""

    syntax: TransferSyntax
    data_set: DataSet


def read_structure(data: bytes | bytearray | memoryview) -> Structure:
    """Find the elements of a DICOM file up to its pixels.

    A file may lack the preamble, the file meta information or both (PS3.10, annex A of older editions).

    Raises:
        UnsupportedFormat: its transfer syntax is not read.
        DamagedFilm: it is cut, or not as PS3.5 has it.
        UnusableFilm: it has too many elements, levels of nesting or inflated bytes.
    """
    view = memoryview(data).cast("B")
    start = PREAMBLE_BYTES + len(MAGIC) if view[PREAMBLE_BYTES : PREAMBLE_BYTES + len(MAGIC)] == MAGIC else 0
    uid, start = _file_meta(view, start)
    syntax = transfer_syntax(uid)
    if syntax.deflated:
        view, start = _inflated(view[start:]), 0
    encoding = guess_encoding(view, start, syntax.encoding)
    return Structure(syntax, _Walk(view).data_set(start, len(view), encoding))


def guess_encoding(data: memoryview, start: int, assumed: Encoding) -> Encoding:
    """Return how the data set that begins at `start` is written, which is not always as the file says.

    The first group is small in a data set: read with the wrong byte order, it is large.
    """
    if len(data) < start + _HEAD_BYTES:
        return assumed
    little, big = (_SHORT[order].unpack_from(data, start)[0] for order in "<>")
    return Encoding(
        explicit=bytes(data[start + 4 : start + 6]) in VRS, little=assumed.little if little == big else little < big
    )


def fragments(data: memoryview, pixels: Element) -> list[memoryview]:
    """Return the items of encapsulated pixel data, without the offset table that comes first (PS3.5, annex A.4).

    Raises:
        DamagedFilm: an item is cut, or something else lies between the items.
        UnusableFilm: there are more than MAX_ELEMENTS.
    """
    end = len(data) if pixels.undefined else pixels.end
    walk = _Walk(data)
    at, found = pixels.start, []
    while at + _HEAD_BYTES <= end:
        item = walk.element(at, IMPLICIT_LITTLE)
        if item.tag == _SEQUENCE_END:
            break
        if item.tag != _ITEM or item.undefined:
            raise DamagedFilm("the DICOM file is damaged: its compressed pixels are not in items")
        at = walk.within(item, end)
        found.append(data[item.start : at])
    return found[1:]


class _Walk:
    """A walk through one file, which counts what it meets."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._left = MAX_ELEMENTS

    def element(self, at: int, encoding: Encoding) -> Element:
        """Return the element, item or delimiter at an offset at least 8 bytes before the end.

        Its value may lie beyond the end.
        """
        self._left -= 1
        if self._left < 0:
            raise UnusableFilm(f"the DICOM file has too many elements: at most {MAX_ELEMENTS:,} are read")
        group, number = _TAG[encoding.order].unpack_from(self._data, at)
        tag = group << 16 | number
        vr = bytes(self._data[at + 4 : at + 6]) if encoding.explicit and group != _DELIMITERS else b""
        if vr in LONG_VRS:
            if at + _HEAD_BYTES + 4 > len(self._data):
                raise DamagedFilm("the DICOM file is damaged: it ends inside an element")
            return Element(tag, vr, at + 12, _LONG[encoding.order].unpack_from(self._data, at + 8)[0])
        # Some writers fall into implicit VR on the way; a VR that is not known yet would be two letters all the same.
        if vr.isalpha() and vr.isupper():
            return Element(tag, vr, at + 8, _SHORT[encoding.order].unpack_from(self._data, at + 6)[0])
        return Element(tag, b"", at + 8, _LONG[encoding.order].unpack_from(self._data, at + 4)[0])

    def within(self, element: Element, end: int) -> int:
        """Return where an element of defined length ends, which lies within what encloses it."""
        if element.end > end:
            raise DamagedFilm("the DICOM file is damaged or cut: an element is longer than what is left of the file")
        return element.end

    def data_set(self, start: int, end: int, encoding: Encoding) -> DataSet:
        """Walk through the data set of the file, up to its pixels."""
        found = DataSet(self._data, encoding)
        at = start
        while at + _HEAD_BYTES <= end:
            element = self.element(at, encoding)
            found.float_pixels |= element.tag in _FLOAT_PIXELS
            if element.tag == _PIXEL_DATA:
                found.pixels = element
                break
            at = self._step(element, end, found, depth=0)
        return found

    def _step(self, element: Element, end: int, found: DataSet, *, depth: int) -> int:
        """Keep an element if it is wanted, and return where the next one begins."""
        if element.undefined or element.tag in SEQUENCES:
            # A sequence of unknown VR is written with implicit VR, little endian (PS3.5, section 6.2.2, note 2).
            encoding = IMPLICIT_LITTLE if element.vr == b"UN" else found.encoding
            if not element.undefined:
                end = self.within(element, end)
            return self._sequence(element, end, encoding, found, depth=depth + 1)
        at = self.within(element, end)
        if element.length <= MAX_VALUE_BYTES:
            found.elements[element.tag] = element
        return at

    def _sequence(self, sequence: Element, end: int, encoding: Encoding, found: DataSet, *, depth: int) -> int:
        """Walk through a sequence, keep its first item if it is wanted, and return where it ends."""
        if depth > MAX_DEPTH:
            raise UnusableFilm(f"the DICOM file has sequences nested too deep: at most {MAX_DEPTH} levels are read")
        at = sequence.start
        while at + _HEAD_BYTES <= end:
            item = self.element(at, encoding)
            if item.tag == _SEQUENCE_END and sequence.undefined:
                return item.start
            if item.tag != _ITEM:
                raise DamagedFilm("the DICOM file is damaged: a sequence holds something else than items")
            inner = DataSet(self._data, self._item_encoding(item, encoding))
            wanted = sequence.tag in SEQUENCES and sequence.tag not in found.items
            if item.undefined:
                at = self._item(item, end, inner, depth=depth)
            else:
                at = self.within(item, end)
                if wanted:
                    self._item(item, at, inner, depth=depth)
            if wanted:
                found.items[sequence.tag] = inner
        if sequence.undefined:
            raise DamagedFilm("the DICOM file is damaged or cut: a sequence has no end")
        return end

    def _item(self, item: Element, end: int, inner: DataSet, *, depth: int) -> int:
        """Walk through the elements of an item, and return where it ends."""
        at = item.start
        while at + _HEAD_BYTES <= end:
            element = self.element(at, inner.encoding)
            if element.tag == _ITEM_END and item.undefined:
                return element.start
            at = self._step(element, end, inner, depth=depth)
        if item.undefined:
            raise DamagedFilm("the DICOM file is damaged or cut: an item has no end")
        return end

    def _item_encoding(self, item: Element, encoding: Encoding) -> Encoding:
        """Return how an item is written: implicit VR is met inside of explicit VR, and the reverse."""
        return Encoding(explicit=bytes(self._data[item.start + 4 : item.start + 6]) in VRS, little=encoding.little)


def _file_meta(data: memoryview, start: int) -> tuple[str, int]:
    """Return the UID of the transfer syntax, empty if it is not named, and where the data set begins."""
    walk = _Walk(data)
    uid = ""
    while start + _HEAD_BYTES <= len(data) and _SHORT["<"].unpack_from(data, start)[0] == 2:  # noqa: PLR2004 - the group
        element = walk.element(start, EXPLICIT_LITTLE)
        start = walk.within(element, len(data))
        if element.tag == 0x00020010 and element.length <= 64:  # noqa: PLR2004 - a UID's longest, PS3.5 section 9.1
            uid = bytes(data[element.start : start]).decode("ascii", "replace").strip(" \0")
    return uid, start


def _inflated(data: memoryview) -> memoryview:
    """Return a deflated data set (PS3.5, annex A.5)."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(data, MAX_INFLATED_BYTES)
    except zlib.error:
        raise DamagedFilm("the DICOM file is damaged: it cannot be inflated") from None
    if not inflater.eof:
        if len(inflated) >= MAX_INFLATED_BYTES:
            raise UnusableFilm(f"the DICOM file is too large: at most {MAX_INFLATED_BYTES:,} bytes are inflated")
        raise DamagedFilm("the DICOM file is damaged or cut: its deflated data has no end")
    return memoryview(inflated)
