"""What can go wrong in a benchmark, as a tree.

BenchError
├── InputError        no films, an unknown contender, no load generator: exit code 2
├── ContenderError    a contender did not start, or has other results: it is left out, and the report says why
└── LoadError         a load generator failed: its run is void
"""


class BenchError(Exception):
    """Base of all errors raised in this package; the message says why in one line."""


class InputError(BenchError):
    """What the command was given cannot be used."""


class ContenderError(BenchError):
    """A contender cannot be timed."""


class LoadError(BenchError):
    """A load generator failed, or did not report."""
