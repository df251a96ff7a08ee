"""What a JPEG's markers say of it, found in milliseconds and without decoding: size, coding, scans, tables.

Source:
    ITU-T T.81 annexes B (markers) and H (lossless), ITU-T T.87 annex C (JPEG-LS).
"""

import struct
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from handler.errors import DamagedFilm, UnsupportedFormat, UnusableFilm
from handler.formats.source import check_shape

MAX_SEGMENTS = 1_000
"""Marker segments, in front of the scans, between them and after them. An ICC profile may take 255, other metadata a
few dozen."""
MAX_SCANS = 100
"""Encoders write 1 to 20; 5,000 small ones kept a decoder busy for 17 s."""
MAX_RESTARTS = 1_000_000
"""Restart and fill bytes; with a restart marker after every block, 40 megapixels of grey have 625,000."""

SOF_BASELINE, SOF_EXTENDED, SOF_PROGRESSIVE, SOF_LOSSLESS, SOF_JPEG_LS = 0xC0, 0xC1, 0xC2, 0xC3, 0xF7
_OTHER_FRAMES = {
    **dict.fromkeys((0xC5, 0xC6, 0xC7), "a hierarchical JPEG"),
    **dict.fromkeys((0xC9, 0xCA, 0xCB), "a JPEG with arithmetic coding"),
    **dict.fromkeys((0xCD, 0xCE, 0xCF, 0xDE), "a hierarchical JPEG"),
}
_SOI, _EOI, _SOS, _DHT, _DRI, _APP0, _APP1, _APP14 = 0xD8, 0xD9, 0xDA, 0xC4, 0xDD, 0xE0, 0xE1, 0xEE
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8), _SOI})
"""TEM, RST and SOI have no length; none of them has a place between segments."""
_MAX_SAMPLING = 4
_MAX_FILL_BYTES = 10_000
_PIECE_BYTES = 1 << 16
"""Of a scan that are looked at together first; then four times as many, and so on."""


@dataclass(frozen=True, slots=True)
class Component:
    """One colour of the frame."""

    identifier: int
    across: int
    """Horizontal sampling factor, 1 to 4."""
    down: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """One scan: its parameters and where its entropy-coded bytes lie."""

    components: tuple[int, ...]
    """Places in the frame's list."""
    tables: tuple[tuple[int, int], ...]
    """Of each component: its DC and AC table (JPEG-LS: its mapping table, and 0)."""
    first: int
    """First coefficient of the band; lossless: the predictor; JPEG-LS: the largest error."""
    last: int
    """Last coefficient of the band; JPEG-LS: how the components are interleaved."""
    high: int
    """Bit position of the scan before; over 0 where the scan refines it."""
    low: int
    """Bit position, lossless: of the point transform."""
    restart: int
    """Units between two restart markers, 0 for none."""
    start: int
    end: int
    codes: dict[int, bytes]
    """Huffman tables as they are at this scan: by class and number, 16 counts and then the symbols."""


@dataclass(slots=True, kw_only=True)
class Structure:
    """A JPEG file up to its EOI marker."""

    frame: int = 0
    """The SOF marker's second byte."""
    frame_start: int = 0
    """Where the frame header's sample precision lies."""
    bits: int = 0
    width_px: int = 0
    height_px: int = 0
    components: list[Component] = field(default_factory=list)
    scans: list[Scan] = field(default_factory=list)
    end: int = 0
    """One past the EOI marker."""
    repairs: list[tuple[int, int]] = field(default_factory=list)
    """Places and values of metadata bytes that a strict decoder stumbles over, though the film does not need them."""
    exif: bytes = b""

    def blocks(self, component: int) -> int:
        """Return how many blocks of 8x8 samples a component has."""
        across = max(each.across for each in self.components)
        down = max(each.down for each in self.components)
        one = self.components[component]
        wide = -(-self.width_px * one.across // (8 * across))
        high = -(-self.height_px * one.down // (8 * down))
        return wide * high


def parse(data: memoryview) -> Structure:
    """Walk a JPEG's markers, at most `MAX_SEGMENTS` of them, up to the EOI marker; what comes after is not looked at.

    Raises:
        DamagedFilm: it has no end or no picture, or its segments lead nowhere.
        UnusableFilm: it has too many segments or scans, or a size that no radiograph has.
        UnsupportedFormat: its coding is not read.
    """
    return _Walk(data).run()


class _Walk:
    """The state of one walk along the markers of a file."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.found = Structure()
        self.codes: dict[int, bytes] = {}
        self.restart = 0
        self.bytes = np.frombuffer(data, np.uint8)
        self.candidates = 0

    def run(self) -> Structure:
        position = 2  # after SOI
        for _ in range(MAX_SEGMENTS + MAX_SCANS):
            marker, position = self._marker(position)
            if marker == _EOI:
                return self._finished(position)
            body, position = self._body(position)
            if marker == _SOS:
                position = self._scan(body, position)
            else:
                self._segment(marker, body, position - len(body))
        raise UnusableFilm(f"the JPEG has too many segments: at most {MAX_SEGMENTS:,} are read")

    def _marker(self, position: int) -> tuple[int, int]:
        """Return the marker at a position, and where its segment starts; any number of 0xFF may precede it."""
        data = self.data
        try:
            if data[position] != 0xFF:  # noqa: PLR2004
                raise DamagedFilm("the JPEG is damaged: bytes that belong to nothing lie between its segments")
            for _ in range(_MAX_FILL_BYTES):
                if data[position] != 0xFF:  # noqa: PLR2004
                    break
                position += 1
            else:
                raise UnusableFilm(f"the JPEG has too many fill bytes: at most {_MAX_FILL_BYTES:,} at a place are read")
            marker = data[position]
        except IndexError:
            raise DamagedFilm("the JPEG is truncated: it has no end marker") from None
        if marker == 0 or marker in _STANDALONE:
            raise DamagedFilm("the JPEG is damaged: a marker stands where none may be")
        return marker, position + 1

    def _body(self, position: int) -> tuple[memoryview, int]:
        """Return a segment's bytes after its length, and where it ends."""
        length = int.from_bytes(self.data[position : position + 2])
        end = position + length
        if length < 2 or end > len(self.data):  # noqa: PLR2004 - a length counts its own two bytes
            raise DamagedFilm("the JPEG is truncated or damaged: a segment reaches beyond its end")
        return self.data[position + 2 : end], end

    def _segment(self, marker: int, body: memoryview, start: int) -> None:
        found = self.found
        if marker in (SOF_BASELINE, SOF_EXTENDED, SOF_PROGRESSIVE, SOF_LOSSLESS, SOF_JPEG_LS):
            self._frame(marker, body, start)
        elif marker in _OTHER_FRAMES and not found.frame:
            raise UnsupportedFormat(f"{_OTHER_FRAMES[marker]} is not read: send a usual JPEG, a PNG or DICOM")
        elif marker == _DHT:
            self._huffman_tables(bytes(body))
        elif marker == _DRI:
            self.restart = int.from_bytes(body)  # two bytes, in JPEG-LS up to four
        elif marker == _APP0 and bytes(body[:5]) == b"JFIF\x00" and len(body) >= 7 and body[5] != 1:  # noqa: PLR2004
            found.repairs.append((start + 5, 1))  # the standard's version, of which there is only 1.x
        elif marker == _APP14 and bytes(body[:5]) == b"Adobe" and len(body) >= 12 and body[11] > 2:  # noqa: PLR2004
            # An unknown transform of colours: YCbCr or YCCK, as decoders take it.
            found.repairs.append((start + 11, 2 if len(found.components) == 4 else 1))  # noqa: PLR2004
        elif marker == _APP1 and bytes(body[:6]) == b"Exif\x00\x00" and not found.exif:
            found.exif = bytes(body[6:])

    def _frame(self, marker: int, body: memoryview, start: int) -> None:
        found = self.found
        if found.frame:
            raise DamagedFilm("the JPEG is damaged: it has more than one frame header")
        if len(body) < 6 or len(body) != 6 + 3 * body[5]:  # noqa: PLR2004
            raise DamagedFilm("the JPEG is damaged: its frame header has a wrong length")
        found.frame, found.frame_start = marker, start
        found.bits, found.height_px, found.width_px, count = struct.unpack_from(">BHHB", body)
        if not found.height_px:
            raise UnsupportedFormat("a JPEG that states no height is not read: save it anew as JPEG, PNG or DICOM")
        check_shape(found.width_px, found.height_px)
        for place in range(count):
            identifier, sampling, _ = body[6 + 3 * place : 9 + 3 * place]
            component = Component(identifier, sampling >> 4, sampling & 15)
            if not (1 <= component.across <= _MAX_SAMPLING and 1 <= component.down <= _MAX_SAMPLING):
                raise DamagedFilm("the JPEG is damaged: a colour has an impossible sampling")
            found.components.append(component)

    def _huffman_tables(self, body: bytes) -> None:
        position = 0
        while position < len(body):
            length = 17 + sum(body[position + 1 : position + 17])
            if position + length > len(body):
                raise DamagedFilm("the JPEG is damaged: a Huffman table is cut off")
            self.codes[body[position]] = body[position + 1 : position + length]
            position += length

    def _scan(self, body: memoryview, start: int) -> int:
        """Note a scan and return where the segment after it starts."""
        found = self.found
        count = body[0] if len(body) else 0
        if not found.frame or not count or len(body) != 4 + 2 * count:
            raise DamagedFilm("the JPEG is damaged: a scan has a wrong header, or no frame header before it")
        if len(found.scans) == MAX_SCANS:
            raise UnusableFilm(f"the JPEG has too many scans: at most {MAX_SCANS} are decoded")
        places = {component.identifier: place for place, component in enumerate(found.components)}
        selected = body[1 : 1 + 2 * count : 2]
        if any(identifier not in places for identifier in selected) or len(set(selected)) != count:
            raise DamagedFilm("the JPEG is damaged: a scan names a colour that the frame does not have")
        first, last, bits = body[-3:]
        if found.frame in (SOF_BASELINE, SOF_EXTENDED) and (first, last, bits) != (0, 63, 0):
            # They mean nothing in a sequential scan, and some writers leave them 0 (ITU-T T.81, B.2.3).
            first, last, bits = 0, 63, 0
            found.repairs += [(start - 3, 0), (start - 2, 63), (start - 1, 0)]
        end = self._scan_end(start)
        found.scans.append(
            Scan(
                components=tuple(places[identifier] for identifier in selected),
                tables=tuple((tables >> 4, tables & 15) for tables in body[2 : 2 + 2 * count : 2]),
                first=first,
                last=last,
                high=bits >> 4,
                low=bits & 15,
                restart=self.restart,
                start=start,
                end=end,
                codes=dict(self.codes),
            )
        )
        return end

    def _scan_end(self, start: int) -> int:
        """Return where a scan's entropy-coded bytes end: at a marker that is not RST."""
        size = _PIECE_BYTES
        while start < len(self.data) - 1:
            # One byte more than is looked at: a marker has two.
            places = _candidates(np.frombuffer(self.data[start : start + size + 1], np.uint8)) + start
            self.candidates += len(places)
            for place in self._ends(places):
                return place
            if self.candidates > MAX_RESTARTS:
                raise UnusableFilm(f"the JPEG has too many restart markers: at most {MAX_RESTARTS:,} are read")
            start += size
            size *= 4
        raise DamagedFilm("the JPEG is truncated: it has no end marker")

    def _ends(self, places: npt.NDArray[np.intp]) -> list[int]:
        """Return the first of the candidates at which a scan ends, if one of them is."""
        following = self.bytes[places + 1]
        ends = (following & 0xF8) != 0xD0  # noqa: PLR2004 - RST0 to RST7
        ends &= following != 0xFF  # noqa: PLR2004 - a fill byte
        if self.found.frame == SOF_JPEG_LS:
            ends &= following >= 0x80  # noqa: PLR2004 - under which a zero bit was stuffed
        first = int(ends.argmax()) if len(ends) else 0
        return [int(places[first])] if len(ends) and ends[first] else []

    def _finished(self, end: int) -> Structure:
        found = self.found
        if not found.scans:
            raise DamagedFilm("the JPEG is damaged: it holds no picture")
        missing = set(range(len(found.components))) - {place for scan in found.scans for place in scan.components}
        if missing:
            raise DamagedFilm("the JPEG is damaged: one of its colours is missing")
        found.end = end
        return found


def _candidates(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.intp]:
    """Return where in entropy-coded bytes (N,) 0xFF is followed by anything but the zero that an encoder stuffs."""
    is_candidate = data[1:] != 0
    is_candidate &= data[:-1] == 0xFF  # noqa: PLR2004
    # Few are: looked at eight at a time first, they are found in half the time.
    whole = len(is_candidate) // 8 * 8
    eights = np.flatnonzero(is_candidate[:whole].view(np.uint64) != 0)
    rows, columns = np.nonzero(is_candidate[:whole].reshape(-1, 8)[eights])  # (eights with any, 8)
    return np.concatenate([eights[rows] * 8 + columns, whole + np.flatnonzero(is_candidate[whole:])])
