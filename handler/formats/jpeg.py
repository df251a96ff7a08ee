"""JPEG in the codings that films come in: usual, 12-bit, lossless and JPEG-LS.

A film takes at most about a second of a core and `PEAK_BYTES` of memory beside the file itself; what would take more
is refused by its markers.

Damage that leaves a scan as long as it was cannot be known: an altered bit within a coded value decodes to a valid
film. Of single flipped bits, a third is detected in usual JPEGs, half in lossless ones, and nearly all in JPEG-LS.
"""

from dataclasses import dataclass
from typing import cast

import imagecodecs
import numpy as np
import numpy.typing as npt
import simplejpeg

from handler.errors import DamagedFilm, UnsupportedFormat, UnusableFilm
from handler.formats import exif, jpeg_lossless
from handler.formats.jpeg_structure import (
    SOF_BASELINE,
    SOF_EXTENDED,
    SOF_JPEG_LS,
    SOF_LOSSLESS,
    SOF_PROGRESSIVE,
    Structure,
    parse,
)
from handler.formats.source import MAX_COST_NS, Header, Pixels

PEAK_BYTES = 400_000_000
"""The most that one film's decoding takes: 40 megapixels of progressive colour take 240 MB, and 120 MB more where
they are decoded at full size. Usual films take under 10 MB."""

# Nanoseconds, about 1.5 times what was measured for the worst of each kind (noise, flat films, nothing but refinement).
_PASS_BLOCK_NS = 30.0  # a block of 8x8 samples in the one scan of a sequential film
_PASS_BYTE_NS = 20.0
_SCAN_BLOCK_NS = 25.0  # a block in one of several scans
_REFINED_NS = 1.0  # a coefficient of a block that a scan refines
_SCAN_BYTE_NS = 50.0
_HELD_BLOCK_NS = 60.0  # a block whose coefficients are held until the last scan
_DEEP_SAMPLE_NS = 15.0  # 12 bits: decoded at full size
_DEEP_BYTE_NS = 30.0  # and read twice, as `_check_scans` says
_LOSSLESS_SAMPLE_NS = 20.0
_LOSSLESS_BYTE_NS = 10.0
_LS_SAMPLE_NS = 15.0
_LS_BYTE_NS = 30.0

_USUAL_BITS, _DEEP_BITS = 8, 12
_COLOURS = {1: "GRAY", 3: "RGB", 4: "RGB"}  # of four components, the decoder makes RGB of CMYK and YCCK


def matches(data: bytes | bytearray | memoryview) -> bool:
    """Return whether the bytes start as a JPEG does."""
    return data[:2] == b"\xff\xd8"


def open(data: bytes | bytearray | memoryview) -> "JpegSource":  # noqa: A001 - the name every format's module gives
    """Check a JPEG's structure.

    Raises:
        DamagedFilm: it is truncated, or its markers make no JPEG.
        UnusableFilm: its size or shape is no film's, or it would take too long to decode.
        UnsupportedFormat: its coding is not read.
    """
    view = memoryview(data).cast("B")
    structure = parse(view)
    kind = _kind(structure)
    _check_length(structure)
    cost_ns = _cost_ns(structure)
    if cost_ns > MAX_COST_NS:
        raise UnusableFilm(f"the {kind} would take too long to decode: save it with fewer pixels or scans")
    header = Header(
        kind=kind,
        width_px=structure.width_px,
        height_px=structure.height_px,
        bits=structure.bits,
        orientation=exif.orientation(structure.exif),
        block_px=1 if structure.frame in {SOF_LOSSLESS, SOF_JPEG_LS} else 8,
        cost_ns=cost_ns,
    )
    return JpegSource(header, _repaired(view[: structure.end], structure), structure)


@dataclass(frozen=True, slots=True)
class JpegSource:
    """A JPEG whose structure has been checked."""

    header: Header
    data: memoryview
    """Up to its EOI marker."""
    structure: Structure

    @property
    def is_lossy(self) -> bool:
        """Whether samples may come out otherwise than they were coded; of JPEG-LS, where a scan allows an error."""
        found = self.structure
        if found.frame == SOF_JPEG_LS:
            return any(scan.first for scan in found.scans)
        return found.frame != SOF_LOSSLESS

    def read(self, min_px: int) -> Pixels:
        """Decode the film; a usual JPEG, n/8 of its size where that leaves no side shorter than `min_px`.

        Returns:
            (H, W) grey or (H, W, 3) RGB; uint8 up to 8 bits (fewer are scaled to 8), else uint16 of `header.bits`.

        Raises:
            DamagedFilm: the film cannot be decoded whole.
            UnsupportedFormat: its colours are subsampled in a way that the decoder does not know.
        """
        # Raised anew, outside, so that no traceback keeps the pixels. The decoders raise ValueError and RuntimeError.
        try:
            return self._pixels(min_px)
        except (ValueError, RuntimeError) as exc:
            why = str(exc).rpartition(" returned ")[2]  # after the name of a decoder's function
        if "subsampling" in why:
            raise UnsupportedFormat("a JPEG whose colours are subsampled so is not read: save it anew as JPEG or PNG")
        raise DamagedFilm(f"the {self.header.kind} is damaged: {why}")

    def _pixels(self, min_px: int) -> Pixels:
        found = self.structure
        data = cast(bytes, self.data)  # what the decoders declare; any buffer serves them
        if found.frame == SOF_JPEG_LS:
            return _to_eight_bits(imagecodecs.jpegls_decode(data), found.bits)
        if found.frame == SOF_LOSSLESS:
            # As RGB, it hands out what is coded, without a change of colours that the check could not follow.
            colours = None if len(found.components) == 1 else "RGB"
            pixels: Pixels = imagecodecs.jpeg8_decode(data, colorspace=colours, outcolorspace=colours)
            jpeg_lossless.check(pixels, self.data, found)
            return _to_eight_bits(pixels, found.bits)
        if found.bits == _DEEP_BITS:
            self._check_scans()
            deep: Pixels = imagecodecs.jpeg8_decode(data)
            return deep
        return _scaled(self.data, len(found.components), min_px)

    def _check_scans(self) -> None:
        """Raise ValueError where a 12-bit film's scans are damaged, which its own decoder does not report.

        The entropy coding is the same at 8 bits: said to be of 8, the film makes no picture, but is read to its end by
        the decoder that reports it.
        """
        altered = bytearray(self.data)
        altered[self.structure.frame_start] = _USUAL_BITS
        _scaled(memoryview(altered), len(self.structure.components), 1)


def _repaired(data: memoryview, structure: Structure) -> memoryview:
    """Return the file with its harmless faults mended; usually it has none, and is not copied."""
    if not structure.repairs:
        return data
    copy = bytearray(data)
    for place, value in structure.repairs:
        copy[place] = value
    return memoryview(copy)


def _scaled(data: memoryview, components: int, min_px: int) -> npt.NDArray[np.uint8]:
    pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(
        data, _COLOURS[components], min_height=min_px, min_width=min_px, strict=True
    )
    return pixels[..., 0] if components == 1 else pixels


def _to_eight_bits(pixels: Pixels, bits: int) -> Pixels:
    """Return samples of fewer than 8 bits scaled to 8; others as they are."""
    if bits >= _USUAL_BITS:
        return pixels
    levels = np.arange(256) * 255 // ((1 << bits) - 1)
    return levels.clip(0, 255).astype(np.uint8)[pixels]


def _kind(found: Structure) -> str:
    """Return the film's kind, for people, if it is one that is read.

    Raises:
        UnsupportedFormat: the kind would end the process in one of the decoders, or come out wrong.
    """
    count, bits = len(found.components), found.bits
    sampled_alike = len({(each.across, each.down) for each in found.components}) == 1
    if found.frame == SOF_JPEG_LS:
        kind, is_read = "JPEG-LS", count in {1, 3} and 2 <= bits <= 16 and sampled_alike  # noqa: PLR2004
    elif found.frame == SOF_LOSSLESS:
        kind, is_read = "lossless JPEG", count in {1, 3} and 2 <= bits <= 16 and sampled_alike  # noqa: PLR2004
    elif bits == _DEEP_BITS and found.frame != SOF_BASELINE:
        kind, is_read = "12-bit JPEG", count in {1, 3}
    else:
        kind, is_read = "JPEG", count in _COLOURS and bits == _USUAL_BITS
    if not is_read:
        raise UnsupportedFormat(
            f"a {kind} of {count} colours and {bits} bits is not read: send it in grey or RGB, as JPEG, PNG or DICOM"
        )
    return kind


def _check_length(found: Structure) -> None:
    """Refuse scans that have fewer bits than they have to code blocks: what decodes them would make up the rest.

    Raises:
        DamagedFilm: a scan has too few bytes for its blocks.
    """
    if found.frame in {SOF_LOSSLESS, SOF_JPEG_LS}:
        return  # their decoders, or the check afterwards, report it
    least_bits = 2 if found.frame in {SOF_BASELINE, SOF_EXTENDED} else 1  # a level and an end of block, or one of both
    for scan in found.scans:
        blocks = sum(map(found.blocks, scan.components))
        if scan.first == 0 and blocks * least_bits > 8 * (scan.end - scan.start):
            raise DamagedFilm("the JPEG is truncated or damaged: it has too few bytes for its size")


def _cost_ns(found: Structure) -> float:
    """Return an upper estimate of the time that the film's decoding takes."""
    samples = found.width_px * found.height_px * len(found.components)
    size = sum(scan.end - scan.start for scan in found.scans)
    if found.frame == SOF_LOSSLESS:
        return samples * _LOSSLESS_SAMPLE_NS + size * _LOSSLESS_BYTE_NS
    if found.frame == SOF_JPEG_LS:
        return samples * _LS_SAMPLE_NS + size * _LS_BYTE_NS
    all_blocks = sum(map(found.blocks, range(len(found.components))))
    if found.frame != SOF_PROGRESSIVE and len(found.scans) == 1:
        cost = all_blocks * _PASS_BLOCK_NS + size * _PASS_BYTE_NS
    else:
        cost = all_blocks * _HELD_BLOCK_NS + size * _SCAN_BYTE_NS
        for scan in found.scans:
            refined = scan.last - scan.first + 1 if scan.high and scan.first else 0
            cost += sum(map(found.blocks, scan.components)) * (_SCAN_BLOCK_NS + refined * _REFINED_NS)
    if found.bits == _DEEP_BITS:
        cost = 2 * cost + samples * _DEEP_SAMPLE_NS
    return cost
