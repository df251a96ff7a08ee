"""What can go wrong in a benchmark, as a tree.

BenchError
├── InputError        no films, an unknown contender, no load generator: exit code 2
├── ContenderError    a contender did not start, or answers otherwise: it is left out, and the report says why
└── LoadError         the load generator failed: the run is void
"""


class BenchError(Exception):
    """Base of all errors raised in this package."""


class InputError(BenchError):
    """What the command was given cannot be used; the message says why in one line."""


class ContenderError(BenchError):
    """A contender cannot be timed; the message says why in one line."""


class LoadError(BenchError):
    """The load generator failed, or did not report."""
