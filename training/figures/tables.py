"""Tables in Markdown, and the one way in which a measure is printed with its interval."""

from collections.abc import Iterable, Mapping, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [f"| {' | '.join(line)} |" for line in (header, *rows)]
    return "\n".join([lines[0], "|-" * len(header) + "|", *lines[1:]])


def interval(value: float, ends: Sequence[float], digits: int = 3) -> str:
    """Return a measure with the ends of its interval, "0.950 [0.931, 0.964]"."""
    return f"{value:.{digits}f} [{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]"


def measure(measured: Mapping[str, float], digits: int = 4) -> str:
    """Return a measure that carries its interval as `value`, `low` and `high`."""
    return interval(measured["value"], (measured["low"], measured["high"]), digits)
