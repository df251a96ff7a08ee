"""Whether the code-blocks of a JPEG 2000 were decoded as they were written: nothing else in the format shows damage.

A block is coded arithmetically: decoded as it was written, it uses up its bytes. The decoder counts what is left where
a file says that its writer ended the blocks predictably. Here, a copy says so of any file: the writers that were tried
(OpenJPEG, GDCM, Kakadu, JasPer) leave no more than two bytes. The copy is of the resolution that is wanted: damage in
finer ones is not seen, nor decoded.

Of flipped bits that reach the pixels, about 9 in 10 are detected. The others leave the block's length as it was: they
cannot be known, and the film is read.

Source:
    ITU-T T.800, annexes C and D; the check is OpenJPEG's, for predictable termination.
"""

import struct

import imagecodecs

from handler.formats import codec_log
from handler.formats.jpeg2000_structure import Structure

MAX_BLOCKS = 10_000
"""Of a film that is checked: each may cost a remark. 16 megapixels in blocks of 64x64 have 4,000 a colour."""
MAX_FAILED = 4
"""A film is damaged where at most one block in so many fails: a writer that ends its blocks in a way of its own, if
there is one, fails in nearly all."""

_LRCP, _BY_RESOLUTION = 0, (1, 2)
"""Progression orders, T.800 table A.16: RLCP and RPCL begin with all of the lowest resolution."""
_BYPASS, _PREDICTABLE = 0x01, 0x10
"""Code-block styles, T.800 table A.19."""
_SIZE_AT, _TILE_AT = 8, 24
_LEVELS_AT, _STYLE_AT, _PRECINCTS_AT = 5, 8, 10


def is_checkable(structure: Structure, halvings: int) -> bool:
    """Return whether a copy of less resolution can be made, and its blocks be checked."""
    found, step = structure, 1 << halvings
    by_resolution = found.order in _BY_RESOLUTION or (found.order == _LRCP and found.layers == 1)
    is_tiled = (found.tile_width, found.tile_height) != (found.width_px, found.height_px)
    return (
        (halvings == 0 or by_resolution)
        and not (is_tiled and (found.tile_width % step or found.tile_height % step))
        and not found.block_style & _BYPASS
        and _blocks(found, halvings) <= MAX_BLOCKS
    )


def check(codestream: memoryview, structure: Structure, halvings: int) -> None:
    """Refuse a film of which some blocks are longer or shorter than what was decoded from them.

    Args:
        codestream: As it can be decoded.
        structure: Its markers.
        halvings: How often its size is halved in decoding.

    Raises:
        ValueError: a few blocks are longer or shorter.
    """
    with codec_log.remarks() as remarks:
        try:
            imagecodecs.jpeg2k_decode(bytes(_copy(codestream, structure, halvings)), verbose=2, numthreads=1)
        except (ValueError, RuntimeError):
            return  # the copy is not to be decoded, which says nothing of the film
    failed = sum("PTERM check failure" in remark for remark in remarks)
    if 0 < failed <= max(1, _blocks(structure, halvings) // MAX_FAILED):
        raise ValueError("a block does not hold what was decoded from it")


def _blocks(found: Structure, halvings: int) -> int:
    return sum(found.blocks[: found.levels - halvings + 1])


def _copy(codestream: memoryview, found: Structure, halvings: int) -> bytearray:
    """Return a codestream of a smaller size and fewer levels, whose packets of the finer resolutions are not read."""
    copy = bytearray(codestream)
    for place in (_SIZE_AT, _TILE_AT):
        sides = struct.unpack_from(">II", copy, place)
        struct.pack_into(">II", copy, place, *(-(-side >> halvings) for side in sides))
    coding = found.coding_at - found.start
    copy[coding + _LEVELS_AT] -= halvings
    copy[coding + _STYLE_AT] |= _PREDICTABLE
    if copy[coding] & 1 and halvings:  # the finer resolutions' precincts come last
        end = coding + _PRECINCTS_AT + found.levels + 1
        del copy[end - halvings : end]
        struct.pack_into(">H", copy, coding - 2, end - halvings - coding + 2)
    return copy
