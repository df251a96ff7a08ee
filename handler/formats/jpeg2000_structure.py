"""What a JPEG 2000 file's boxes and markers say of it, found in milliseconds and without decoding.

Source:
    ITU-T T.800 annexes A (codestream) and I (JP2 boxes).
"""

import struct
from dataclasses import dataclass, field

from handler.errors import DamagedFilm, UnsupportedFormat, UnusableFilm
from handler.formats.source import check_shape

JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  \x0d\x0a\x87\x0a"
CODESTREAM_SIGNATURE = b"\xff\x4f\xff\x51"
MAX_BOXES = 100
"""Of a JP2 file; cameras and scanners write about ten."""
MAX_SEGMENTS = 1_000
"""Marker segments in front of the pixels, comments mostly."""
MAX_TILE_SEGMENTS = 20
"""In front of the pixels of one part of a tile; most have none or one."""
MAX_TILES = 5_000
"""And parts of tiles; 40 megapixels in tiles of 128x128 are 2,500."""
MAX_PACKETS = 100_000
"""Each layer, colour, resolution and precinct has its own: 2 microseconds each, whatever it holds."""
MAX_CODE_BLOCKS = 200_000
"""40 megapixels in the usual blocks of 64x64 are 10,000 a colour; the decoder keeps a record of each, which takes it
0.2 microseconds."""

_SIZ, _CAP, _COD, _COC, _QCD, _QCC, _RGN, _POC, _PPM, _PPT = 0x51, 0x50, 0x52, 0x53, 0x5C, 0x5D, 0x5E, 0x5F, 0x60, 0x61
_SOT, _SOD = 0x90, 0x93
_END = b"\xff\xd9"
_RARE = {
    _CAP: "with high-throughput coding",
    _COC: "with a coding of its own for a colour",
    _RGN: "with a region of interest",
    _POC: "with a changing order of its packets",
    _PPM: "with its packets' headers packed",
    _PPT: "with its packets' headers packed",
}
_COLOUR_SPACES = {16, 17}  # sRGB and grey, T.800 table I.10
_MAX_LEVELS, _MAX_BLOCK_EXPONENT, _WHOLE = 32, 10, 15


@dataclass(slots=True, kw_only=True)
class Structure:
    """A JPEG 2000 codestream."""

    width_px: int = 0
    height_px: int = 0
    tile_width: int = 0
    tile_height: int = 0
    components: int = 0
    bits: int = 0
    is_signed: bool = False
    levels: int = 0
    """How many times its size can be halved."""
    bit_planes: int = 0
    """The most that any coefficient may have."""
    layers: int = 0
    order: int = 0
    """Of the packets, T.800 table A.16."""
    block_style: int = 0
    """Of the code-blocks, T.800 table A.19."""
    is_reversible: bool = False
    """Whether the wavelets are whole numbers: without loss, unless its writer has left bits out."""
    blocks: list[int] = field(default_factory=list)
    """The most code-blocks that each resolution has, the lowest first."""
    coding_at: int = 0
    """Where the file has the coding style, behind its segment's length."""
    repairs: list[tuple[int, int]] = field(default_factory=list)
    """Places in the file and values of counts that the decoder stumbles over, though the film is whole."""
    start: int = 0
    """Where the codestream lies in the file."""
    end: int = 0


@dataclass(frozen=True, slots=True)
class _Part:
    """One part of a tile."""

    number: int
    count: int
    """Parts that the tile has, as this one says."""
    count_at: int
    """Where the file says so."""


def parse(data: memoryview) -> Structure:
    """Walk the boxes, if there are any, and the codestream's markers up to its end.

    Raises:
        DamagedFilm: it is truncated, a tile is missing, or what is there makes no JPEG 2000.
        UnusableFilm: it has too many boxes, segments, tiles, packets or blocks, or a size that no radiograph has.
        UnsupportedFormat: its coding is not read.
    """
    found = Structure()
    found.start = 0 if data[:4] == CODESTREAM_SIGNATURE else _codestream(data)
    try:
        position = _main_header(data, found)
        found.end = _tile_parts(data, position, found)
    except (struct.error, IndexError, ValueError):  # a segment shorter than what it is to hold
        raise DamagedFilm("the JPEG 2000 is truncated or damaged") from None
    return found


def unsupported(what: str) -> UnsupportedFormat:
    """Return the error for a kind of JPEG 2000 that is not read."""
    return UnsupportedFormat(f"a JPEG 2000 {what} is not read: send it as JPEG, PNG or DICOM")


def _codestream(data: memoryview) -> int:
    """Return where the codestream in a JP2 file starts."""
    position, end, boxes = 0, len(data), 0
    while position + 8 <= end:
        boxes += 1
        if boxes > MAX_BOXES:
            raise UnusableFilm(f"the JPEG 2000 has too many boxes: at most {MAX_BOXES} are read")
        length, kind = struct.unpack_from(">I4s", data, position)
        body = position + 8
        if length == 1 and body + 8 <= end:
            (length,) = struct.unpack_from(">Q", data, body)
            body += 8
        if kind == b"jp2c":
            return body
        if kind == b"pclr":
            raise unsupported("with a palette")
        is_named = kind == b"colr" and int.from_bytes(data[body : body + 1]) == 1  # the other way is a profile
        if is_named and int.from_bytes(data[body + 3 : body + 7]) not in _COLOUR_SPACES:
            raise unsupported("in another colour space than grey and RGB")
        if kind == b"jp2h":
            position = body  # its boxes come one by one, as if it were not there
        elif length < 8:  # noqa: PLR2004 - less than its own header; 0 is up to the end
            break
        else:
            position += length
    raise DamagedFilm("the JPEG 2000 is truncated or damaged: it holds no codestream")


def _main_header(data: memoryview, found: Structure) -> int:
    """Read the main header and return where the first tile-part starts."""
    if data[found.start : found.start + 4] != CODESTREAM_SIGNATURE:
        raise DamagedFilm("the JPEG 2000 is damaged: it does not start with its size")
    position, coding = found.start + 2, b""
    for _ in range(MAX_SEGMENTS):
        marker, body, following = _segment(data, position)
        if marker == _SOT:
            if not coding or not found.components or not found.bit_planes:
                raise DamagedFilm("the JPEG 2000 is damaged: its header is not whole")
            _check_coding(coding, found)
            return position
        if marker in _RARE:
            raise unsupported(_RARE[marker])
        if marker == _SIZ and not found.components:
            _size(body, found)
        elif marker == _COD:
            coding, found.coding_at = bytes(body), position + 4
        elif marker in {_QCD, _QCC}:
            _quantisation(marker, body, found)
        position = following
    raise UnusableFilm(f"the JPEG 2000 has too many segments: at most {MAX_SEGMENTS:,} are read")


def _segment(data: memoryview, position: int) -> tuple[int, memoryview, int]:
    """Return a marker, its segment's bytes after the length, and where the segment ends."""
    prefix, marker, length = struct.unpack_from(">BBH", data, position)
    end = position + 2 + length
    if prefix != 0xFF or length < 2 or end > len(data):  # noqa: PLR2004
        raise DamagedFilm("the JPEG 2000 is truncated or damaged: a segment reaches beyond its end")
    return marker, data[position + 4 : end], end


def _size(body: memoryview, found: Structure) -> None:
    _, width, height, left, top, tile_width, tile_height, tile_left, tile_top, count = struct.unpack_from(">H8IH", body)
    if len(body) != 36 + 3 * count or not count or not tile_width or not tile_height:
        raise DamagedFilm("the JPEG 2000 is damaged: its size has a wrong length")
    if left or top or tile_left or tile_top:
        raise unsupported("that does not start at its own corner")
    check_shape(width, height)
    samples = [bytes(body[36 + 3 * place : 39 + 3 * place]) for place in range(count)]
    depth = samples[0][0]
    found.bits, found.is_signed = (depth & 0x7F) + 1, bool(depth & 0x80)
    if count not in {1, 3} or not 8 <= found.bits <= 16 or (found.is_signed and count > 1):  # noqa: PLR2004
        raise unsupported(f"of {count} colours and {found.bits} bits")
    if any(sample != bytes([depth, 1, 1]) for sample in samples):
        raise unsupported("whose colours differ in size or depth")
    found.width_px, found.height_px, found.components = width, height, count
    found.tile_width, found.tile_height = min(tile_width, width), min(tile_height, height)


def _quantisation(marker: int, body: memoryview, found: Structure) -> None:
    """Note the most bit planes of any band: T.800, equation E-2."""
    steps = body[1:] if marker == _QCC else body  # QCC names a component first: of one byte, under 257 of them
    style, exponents = steps[0], steps[1:]
    if style & 31:
        most = max(value >> 11 for (value,) in struct.iter_unpack(">H", exponents))
    else:
        most = max(value >> 3 for value in exponents)
    found.bit_planes = max(found.bit_planes, most + (style >> 5) - 1, 1)


def _check_coding(coding: bytes, found: Structure) -> None:
    """Read the coding style, and refuse one of too many packets or code-blocks."""
    has_precincts = coding[0] & 1
    found.is_reversible = coding[9] == 1
    found.order, found.layers = coding[1], int.from_bytes(coding[2:4])
    found.levels, block_across, block_down, found.block_style = coding[5], coding[6] + 2, coding[7] + 2, coding[8]
    precincts = coding[10:] if has_precincts else bytes([_WHOLE | _WHOLE << 4]) * (found.levels + 1)
    if found.block_style & 0x40:
        raise unsupported(_RARE[_CAP])
    if (
        found.levels > _MAX_LEVELS
        or max(block_across, block_down) > _MAX_BLOCK_EXPONENT
        or not found.layers
        or len(precincts) != found.levels + 1
    ):
        raise DamagedFilm("the JPEG 2000 is damaged: its coding style is impossible")
    tiles = -(-found.width_px // found.tile_width) * -(-found.height_px // found.tile_height)
    # Packets and code-blocks lie on the image's grid: tiles may begin and end within one.
    more = 1 if tiles > 1 else 0
    packets = 0
    for resolution, precinct in enumerate(precincts):
        across, down = precinct & 15, precinct >> 4
        shift = found.levels - resolution
        columns, rows = -(-found.tile_width >> shift), -(-found.tile_height >> shift)
        packets += _pieces(columns, across, more) * _pieces(rows, down, more)
        half = 1 if resolution else 0  # above the lowest, precincts are of three bands at half the resolution
        if min(across, down) < half:
            raise DamagedFilm("the JPEG 2000 is damaged: its coding style is impossible")
        wide, high = min(block_across, across - half), min(block_down, down - half)
        blocks = (3 if half else 1) * _pieces(columns >> half, wide, more) * _pieces(rows >> half, high, more)
        found.blocks.append(blocks * tiles * found.components)
    packets *= tiles * found.layers * found.components
    if tiles > MAX_TILES or packets > MAX_PACKETS or sum(found.blocks) > MAX_CODE_BLOCKS:
        raise UnusableFilm(
            "the JPEG 2000 would take too long to decode: it has too many tiles, layers, precincts or blocks"
        )


def _pieces(length: int, exponent: int, more: int) -> int:
    """Return how many pieces of a power of two a length lies in; `more` where it may begin within one."""
    return -(-length >> exponent) + (more if exponent < _WHOLE else 0)


def _tile_parts(data: memoryview, position: int, found: Structure) -> int:
    """Walk the tile-parts and return where the codestream ends."""
    parts: dict[int, list[_Part]] = {}
    for _ in range(MAX_TILES + 1):
        if data[position : position + 2] == _END:
            _check_parts(parts, found)
            return position + 2
        start = position
        marker, body, position = _segment(data, position)
        if marker != _SOT:
            raise DamagedFilm("the JPEG 2000 is truncated or damaged: a tile of it is not whole")
        tile, length, part, count = struct.unpack(">HIBB", body)
        parts.setdefault(tile, []).append(_Part(part, count, position - 1))
        position = _tile_header(data, position, found)
        if not length:
            _check_parts(parts, found)
            return _padded_end(data, position)
        if start + length < position:
            raise DamagedFilm("the JPEG 2000 is truncated or damaged: a tile of it is not whole")
        position = start + length
    raise UnusableFilm(f"the JPEG 2000 has too many parts of tiles: at most {MAX_TILES:,} are read")


def _check_parts(parts: dict[int, list[_Part]], found: Structure) -> None:
    """Refuse a codestream without all of its tiles, or without all parts of one: the decoder would leave it grey.

    Args:
        parts: By tile, as they come.
        found: What is known of the codestream; wrong counts are noted.

    Raises:
        DamagedFilm: a tile or a part of one is missing.
    """
    tiles = -(-found.width_px // found.tile_width) * -(-found.height_px // found.tile_height)
    if sorted(parts) != list(range(tiles)):
        raise DamagedFilm("the JPEG 2000 is truncated or damaged: not all of its tiles are there")
    for of_tile in parts.values():
        for number, part in enumerate(of_tile):
            if part.number != number or part.count > len(of_tile):
                raise DamagedFilm("the JPEG 2000 is truncated or damaged: a part of a tile is missing")
            if 0 < part.count < len(of_tile):  # 0 leaves it open; GDCM 2.1 writes one less than there are
                found.repairs.append((part.count_at, len(of_tile)))


def _tile_header(data: memoryview, position: int, found: Structure) -> int:
    """Read a tile-part's header and return where its packets start."""
    for _ in range(MAX_TILE_SEGMENTS):
        if data[position + 1] == _SOD:
            return position + 2
        marker, body, position = _segment(data, position)
        if marker in _RARE or marker == _COD:
            raise unsupported(_RARE.get(marker, "with a coding of its own for a tile"))
        if marker in {_QCD, _QCC}:
            _quantisation(marker, body, found)
    raise UnusableFilm(f"the JPEG 2000 has too many segments in a tile: at most {MAX_TILE_SEGMENTS} are read")


def _padded_end(data: memoryview, start: int) -> int:
    """Return where a codestream ends whose last tile-part goes up to the end; zeros may follow."""
    end = start + len(bytes(data[start:]).rstrip(b"\x00"))
    if data[end - 2 : end] != _END:
        raise DamagedFilm("the JPEG 2000 is truncated or damaged: a tile of it is not whole")
    return end
