"""The orientation in EXIF metadata, and nothing else of it: the rest may be broken without harm to the film."""

import struct

_ORIENTATION = 0x0112
_SHORT = 3
_ENTRY_BYTES = 12
MAX_ENTRIES = 256
"""Of the first directory that are looked at; cameras write about 20."""


def orientation(tiff: bytes) -> int:
    """Return how the stored film is to be turned, 1 to 8; 1 where the metadata is broken or does not say.

    Args:
        tiff: The metadata from its TIFF header on.

    Source:
        CIPA DC-008, 4.6.5 (the tag) and TIFF 6.0, section 2 (header and directory).
    """
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, directory)
        for number in range(min(entries, MAX_ENTRIES)):
            tag, kind, count, value = struct.unpack_from(order + "HHIH", tiff, directory + 2 + number * _ENTRY_BYTES)
            if tag == _ORIENTATION:
                return value if (kind, count) == (_SHORT, 1) and 1 <= value <= 8 else 1  # noqa: PLR2004
    except struct.error:
        pass  # an offset or a count that leads out of the metadata
    return 1
