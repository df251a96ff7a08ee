"""The formats in which films come, a module each; `registry` lists them.

A format's module checks a file's structure in milliseconds, within bounds that keep a film's decoding under a second of
a core, and only then hands its bytes to a decoder.
"""

import handler.formats.codec_log  # noqa: F401 - before any codec is called
