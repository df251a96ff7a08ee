"""PNG in every colour type, depth and interlacing; of its metadata, only the orientation is read.

A film takes at most about a second of a core and `PEAK_BYTES` of memory beside the file itself; what would take more
is refused by its header.
"""

import struct
import time
import zlib
from dataclasses import dataclass, field

import imagecodecs
import numpy as np

from handler.errors import DamagedFilm, FilmError, UnusableFilm
from handler.formats import exif
from handler.formats.source import MAX_COST_NS, Header, Pixels, check_shape

MAX_OTHER_CHUNKS = 500
"""Chunks that hold no pixels; tools write up to a few dozen."""
MAX_IDAT_CHUNKS = 20_000
"""Encoders fill 4 to 64 kB before they begin another: 20 MB are 5,000 of the smallest usual ones."""
MAX_DECODED_BYTES = 64_000_000
"""Samples as decoded, alpha included: 40 megapixels of grey, 32 with 16 bits, 21 of RGB or a palette."""
PEAK_BYTES = 300_000_000
"""The most that one film's decoding takes: its samples, a copy without alpha, and the file's pixel data anew."""
MAX_INFLATE_S = 0.6
"""Of a core, to decompress the pixels: 20 MB of film take 0.4 s, but 20 MB of nothing but empty blocks, each with a
code of its own, 1.8 s, which no header shows."""
# Nanoseconds, about 1.5 times what was measured for films, noise and flat pictures.
_DECODED_BYTE_NS = 5.0
_INTERLACED_BYTE_NS = 7.0
_CODED_BYTE_NS = 40.0

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6
_DEPTHS = {
    _GREY: {1, 2, 4, 8, 16},
    _RGB: {8, 16},
    _PALETTE: {1, 2, 4, 8},
    _GREY_ALPHA: {8, 16},
    _RGBA: {8, 16},
}
_SAMPLES = {_GREY: 1, _RGB: 3, _PALETTE: 3, _GREY_ALPHA: 2, _RGBA: 4}
"""As decoded."""
_IHDR_BYTES = 13
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column and row of every pass, and its steps across and down; a film of 64 pixels has some of each."""
_LAST_FILTER = 4
_PIECE_BYTES = 1 << 18


@dataclass(slots=True)
class _Chunks:
    """What is kept of a file: views of its chunks from length to checksum."""

    header: bytes
    palette: list[memoryview] = field(default_factory=list)
    pixels: list[memoryview] = field(default_factory=list)
    exif: bytes = b""


def matches(data: bytes | bytearray | memoryview) -> bool:
    """Return whether the bytes start as a PNG does."""
    return data[:4] == _SIGNATURE[:4]


def open(data: bytes | bytearray | memoryview) -> "PngSource":  # noqa: A001 - the name every format's module gives
    """Check a PNG's chunks up to its IEND; what comes after is not looked at.

    Raises:
        DamagedFilm: it is truncated, or its chunks make no PNG.
        UnusableFilm: its size or shape is no film's, or it would take too much time or memory to decode.
    """
    view = memoryview(data).cast("B")
    if view[:8] != _SIGNATURE:
        raise DamagedFilm("the PNG is damaged: its signature was altered, as by a transfer as text")
    chunks = _walk(view)
    width, height, bits, colour, *methods = struct.unpack(">IIBBBBB", chunks.header)
    if bits not in _DEPTHS.get(colour, ()) or methods[:2] != [0, 0] or methods[2] > 1:
        raise DamagedFilm("the PNG is damaged: its header states what no PNG is")
    if not chunks.pixels or (colour == _PALETTE and not _is_palette(chunks.palette)):
        raise DamagedFilm("the PNG is damaged: its pixels or their palette are missing or broken")
    check_shape(width, height)
    _check_cost(width * height * _SAMPLES[colour] * (2 if bits == 16 else 1), chunks, is_interlaced=bool(methods[2]))  # noqa: PLR2004
    header = Header(
        kind="PNG", width_px=width, height_px=height, bits=bits, orientation=exif.orientation(chunks.exif), block_px=1
    )
    stored_samples = 1 if colour == _PALETTE else _SAMPLES[colour]
    passes = _passes(width, height, bits * stored_samples, is_interlaced=bool(methods[2]))
    return PngSource(header, colour, passes, chunks)


@dataclass(frozen=True, slots=True)
class PngSource:
    """A PNG whose structure has been checked."""

    header: Header
    colour: int
    """Colour type of the header chunk."""
    passes: "tuple[_Pass, ...]"
    chunks: _Chunks

    def read(self, min_px: int) -> Pixels:  # noqa: ARG002 - a PNG has no smaller scale
        """Decode the film; of what it holds beside pixels, as alpha, gamma or a profile, nothing changes them.

        Returns:
            (H, W) grey or (H, W, 3) RGB; uint8 up to 8 bits (fewer are scaled to 8, palettes resolved), else uint16.

        Raises:
            DamagedFilm: the film cannot be decoded whole.
            UnusableFilm: decompressing takes too long.
        """
        # Raised anew, outside, so that no traceback keeps the pixels.
        failure: FilmError
        try:
            pixels: Pixels = imagecodecs.png_decode(self._rebuilt())
        except FilmError as exc:
            failure = type(exc)(str(exc))
        except (ValueError, RuntimeError, zlib.error) as exc:
            failure = DamagedFilm(f"the PNG is damaged: {exc}")
        else:
            return _without_alpha(pixels, self.colour)
        raise failure

    def _rebuilt(self) -> bytearray:
        """Return a PNG of the header, a palette's colours and the pixels, checked and no longer compressed.

        Without transparency and other metadata, so that nothing of it is interpreted, or complained of. And without
        anything that the decoder could fail on, because what it has allocated would then be lost for good.

        Raises:
            zlib.error: the pixels cannot be decompressed.
            DamagedFilm: a checksum is wrong, a filter is unknown, or not all pixels are there.
            UnusableFilm: decompressing takes too long.
        """
        data = bytearray(_SIGNATURE)
        data += _chunk(b"IHDR", self.chunks.header)
        for chunk in self.chunks.palette if self.colour == _PALETTE else []:
            data += chunk
        start = len(data)
        data += bytes(4) + b"IDAT"
        self._store(data)
        data[start : start + 4] = struct.pack(">I", len(data) - start - 8)
        data += struct.pack(">I", zlib.crc32(memoryview(data)[start + 4 :]))
        data += _chunk(b"IEND", b"")
        return data

    def _store(self, data: bytearray) -> None:
        """Append the scanlines in zlib's format, but stored: what follows takes a time that is known."""
        inflate, store = zlib.decompressobj(), zlib.compressobj(0)
        done, needed = 0, self.passes[-1].end
        began_s = time.thread_time()
        for chunk in self.chunks.pixels:
            if not _is_whole(chunk):
                raise DamagedFilm("the PNG is damaged: a checksum of its pixels is wrong")
            for start in range(8, len(chunk) - 4, _PIECE_BYTES):
                if inflate.eof or done == needed:
                    break
                # One more than is needed, so that the checksum after the last is read as well.
                coded = chunk[start : min(start + _PIECE_BYTES, len(chunk) - 4)]
                scanlines = inflate.decompress(coded, needed + 1 - done)[: needed - done]
                if any(each.has_unknown_filter(scanlines, done) for each in self.passes):
                    raise DamagedFilm("the PNG is damaged: a row has an unknown filter")
                data += store.compress(scanlines)
                done += len(scanlines)
                if time.thread_time() - began_s > MAX_INFLATE_S:
                    raise UnusableFilm("the PNG takes too long to decompress: save it with fewer pixels")
        if done < needed:
            raise DamagedFilm("the PNG is damaged: not all of its pixels are there")
        data += store.flush()


def _without_alpha(pixels: Pixels, colour: int) -> Pixels:
    if colour == _GREY_ALPHA:
        grey: Pixels = pixels[..., 0].copy()
        return grey
    if colour != _RGBA:
        return pixels
    opaque: Pixels = np.empty((*pixels.shape[:2], 3), pixels.dtype)
    step = max(1, _PIECE_BYTES // (pixels.itemsize * pixels.shape[1] * 4))
    for top in range(0, len(pixels), step):  # what fits a processor's cache
        for channel in range(3):  # eight times faster than all at once
            opaque[top : top + step, :, channel] = pixels[top : top + step, :, channel]
    return opaque


@dataclass(frozen=True, slots=True)
class _Pass:
    """Where the scanlines of one pass of interlacing, or of the whole picture, lie in the decompressed pixels."""

    start: int
    end: int
    row_bytes: int
    """With the byte in front that names the row's filter."""

    def has_unknown_filter(self, scanlines: bytes, done: int) -> bool:
        """Return whether one of the rows that start in a piece, which itself starts at `done`, has no known filter."""
        first = max(self.start, done)
        first += (self.start - first) % self.row_bytes
        filters = np.frombuffer(scanlines, np.uint8)[first - done : max(self.end - done, 0) : self.row_bytes]
        return bool((filters > _LAST_FILTER).any())


def _passes(width: int, height: int, bits_per_pixel: int, *, is_interlaced: bool) -> tuple[_Pass, ...]:
    passes, start = [], 0
    for left, top, across, down in _ADAM7 if is_interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        row_bytes = 1 + -(-columns * bits_per_pixel // 8)
        passes.append(_Pass(start, start + rows * row_bytes, row_bytes))
        start = passes[-1].end
    return tuple(passes)


def _walk(data: memoryview) -> _Chunks:
    """Return what is read of the file's chunks.

    Raises:
        DamagedFilm: IHDR is not first, a chunk leads nowhere, or there is no IEND.
        UnusableFilm: there are too many chunks.
    """
    first, position = _chunk_at(data, len(_SIGNATURE))
    if first[:8] != struct.pack(">I4s", _IHDR_BYTES, b"IHDR") or not _is_whole(first):
        raise DamagedFilm("the PNG is damaged: it does not start with a whole header")
    found = _Chunks(bytes(first[8:-4]))
    others = 0
    while others <= MAX_OTHER_CHUNKS and len(found.pixels) <= MAX_IDAT_CHUNKS:
        chunk, position = _chunk_at(data, position)
        kind = bytes(chunk[4:8])
        if kind == b"IDAT":
            found.pixels.append(chunk)
            continue
        if kind == b"IEND":
            return found
        if kind == b"PLTE":
            found.palette.append(chunk)
        elif kind == b"eXIf" and not found.exif:
            found.exif = bytes(chunk[8:-4])
        others += 1
    raise UnusableFilm(
        f"the PNG has too many chunks: at most {MAX_IDAT_CHUNKS:,} of pixels and {MAX_OTHER_CHUNKS} others are read"
    )


def _chunk_at(data: memoryview, position: int) -> tuple[memoryview, int]:
    """Return a chunk from its length to its checksum, and where it ends."""
    if position + 12 > len(data):
        raise DamagedFilm("the PNG is truncated: it has no end")
    end = position + 12 + int.from_bytes(data[position : position + 4])
    if end > len(data):
        raise DamagedFilm("the PNG is truncated or damaged: a chunk reaches beyond its end")
    return data[position:end], end


def _is_palette(chunks: list[memoryview]) -> bool:
    """Return whether there is one palette, whole and of 1 to 256 colours."""
    if len(chunks) != 1 or not _is_whole(chunks[0]):
        return False
    length = len(chunks[0]) - 12
    return length % 3 == 0 and 0 < length <= 3 * 256


def _is_whole(chunk: memoryview) -> bool:
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(kind + body))


def _check_cost(decoded_bytes: int, chunks: _Chunks, *, is_interlaced: bool) -> None:
    """Refuse a film that would take too much memory or time.

    Raises:
        UnusableFilm: the estimate is over a limit.
    """
    if decoded_bytes > MAX_DECODED_BYTES:
        raise UnusableFilm(
            f"the PNG is too large: its pixels take {decoded_bytes:,} bytes, at most {MAX_DECODED_BYTES:,} are decoded"
        )
    coded_bytes = sum(len(chunk) for chunk in chunks.pixels)
    cost = coded_bytes * _CODED_BYTE_NS + decoded_bytes * (_INTERLACED_BYTE_NS if is_interlaced else _DECODED_BYTE_NS)
    if cost > MAX_COST_NS:
        raise UnusableFilm("the PNG would take too long to decode: save it with fewer pixels")
