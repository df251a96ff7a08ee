"""Reference films, and what the shipped model says of them: the yardstick for "a prediction would succeed"."""

import json
from dataclasses import dataclass
from pathlib import Path

from proxy.errors import ProbeError, SettingsError
from proxy.torchserve.client import Reply

SMALL = "-224"
"""In the names of films of the model's own size, the cheapest to screen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceFilm:
    """One film with the probability that the model must give it."""

    name: str
    content: bytes
    p_pneumonia: float
    tolerance: float

    def check(self, answer: Reply) -> None:
        """Compare an answer with what is expected.

        Raises:
            ProbeError: It is not a prediction, or too far off.
        """
        try:
            found = float(json.loads(answer.body)["p_pneumonia"])
        except (ValueError, KeyError, TypeError) as exc:
            raise ProbeError(f"reference film {self.name}: no prediction (status {answer.status})") from exc
        if not abs(found - self.p_pneumonia) <= self.tolerance:
            raise ProbeError(
                f"reference film {self.name}: p_pneumonia is {found}, expected {self.p_pneumonia} +- {self.tolerance}"
            )


def load_reference_films(folder: Path) -> list[ReferenceFilm]:
    """Read one small film of each label, as `expected.json` names them.

    Raises:
        SettingsError: The folder does not hold them.
    """
    expected = folder / "expected.json"
    try:
        record = json.loads(expected.read_bytes())
        small = [film for film in record["films"] if SMALL in film["file"]]
        by_label = {film["label"]: film for film in reversed(small)}
        films = [
            ReferenceFilm(
                name=film["file"],
                content=(folder / film["file"]).read_bytes(),
                p_pneumonia=float(film["p_pneumonia"]),
                tolerance=float(record["tolerance"]),
            )
            for film in by_label.values()
        ]
    except OSError as exc:
        raise SettingsError(f"REFERENCE={str(folder)!r} lacks {Path(str(exc.filename)).name}") from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise SettingsError(f"REFERENCE={str(folder)!r}: expected.json cannot be read: {exc!r}") from exc
    if not films:
        raise SettingsError(f"REFERENCE={str(folder)!r}: expected.json names no film with {SMALL!r} in its name")
    return films


def largest_film(folder: Path) -> Path | None:
    """A film to try the service with: the largest, as real films are."""
    films = sorted(folder.glob("*.jpeg"), key=lambda film: film.stat().st_size)
    return films[-1] if films else None
