"""What the input gate is worth: on children's films, adults' films and other pictures."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from handler.contract import Interval
from handler.engine import Outputs
from handler.gate import REASONS, Gate, Reason
from training.data.films import FOLDS
from training.figures import tables
from training.figures.metrics import Decisions, share
from training.gate.detector import MARKED, fit
from training.gate.pictures import Pictures
from training.gate.views import Views

CATCHING: frozenset[Reason] = frozenset(("not_a_chest_film", "unlike_training_films", "colour_picture"))
"""Reasons that say of a picture that it is no film for the model."""
STAGES: Mapping[str, tuple[int, int]] = {"stage 4": (0, 64), "stage 5": (64, 160), "stage 6": (160, 320)}
"""Channels of each stage in the means of the statistics; their spreads follow all means."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sets:
    """Films that a gate learns from, and that measure it."""

    as_they_are: Views
    """Learned from."""
    fitted: Views
    """The same, under acquisitions as well, and copies."""
    held_out: Views
    copies: Views | None
    """Of films held out, at their full size."""
    acquired: Mapping[str, Views]
    """The films held out, under each acquisition."""
    adults: Views | None
    pictures: Mapping[str, Pictures]

    @property
    def children(self) -> Views:
        """Films held out, and their copies: what limits are chosen on."""
        return Views.together([self.held_out, *([self.copies] if self.copies else [])])


def measures(gate: Gate, sets: Sets) -> dict[str, Any]:
    """Return what `gate.json` holds of a gate: shares with 95 % Wilson intervals, by films."""
    result: dict[str, Any] = {
        "films": {
            "fitted": len(sets.fitted.films),
            "held_out": len(sets.held_out.films),
            "patients_held_out": len(set(sets.held_out.patients)),
        },
        "limits": {"unlike": gate.detector.unlike, "foreign": gate.detector.foreign},
        "children": {
            "held_out": _marked(gate, sets.held_out),
            "cross_fitted": _asdict(crossfitted(gate, sets.children)),
            **({"copies": _marked(gate, sets.copies)} if sets.copies else {}),
            "acquisitions": {name: _asdict(_any(gate, views)) for name, views in sets.acquired.items()},
        },
    }
    if sets.adults:
        result["adults"] = {"n": len(sets.adults.films), **_marked(gate, sets.adults)}
    if sets.pictures:
        result["pictures"] = {kind: _caught(gate, pictures) for kind, pictures in sets.pictures.items()}
        result["all_pictures"] = {
            name: _asdict(share(np.concatenate([catches(gate, getattr(one, name)) for one in sets.pictures.values()])))
            for name in ("as_they_are", "grey")
        }
    return result


def crossfitted(gate: Gate, films: Views) -> Interval:
    """Return the share of films marked anything, each by a limit that was chosen without its patient."""
    patients = np.array(films.patients)
    names = np.random.default_rng(0).permutation(np.unique(patients))
    distances = gate.detector.distances(films.statistics)
    marked = np.zeros(len(patients), dtype=bool)
    for fold in range(FOLDS):
        judged = np.isin(patients, names[fold::FOLDS])
        unlike = float(np.quantile(distances[~judged], 1 - MARKED))
        other = replace(gate, detector=replace(gate.detector, unlike=unlike))
        marked[judged] = [bool(found) for found in films.of(judged).reasons(other)]
    return share(marked)


def catches(gate: Gate, views: Views) -> Decisions:
    """Return which pictures (N,) are said to be no film for the model."""
    return np.array([bool(CATCHING & set(found)) for found in views.reasons(gate)])


def alternatives(sets: Sets) -> dict[str, Any]:
    """Return what distances in other statistics catch, at limits that mark as many of the films held out.

    "unlike" is the share of adults' films beyond the limit, "pictures" that of the other pictures in grey.
    """
    halves = sets.fitted.statistics.shape[1] // 2
    of_stages: dict[str, Callable[[Views], Outputs]] = {
        name: lambda views, low=low, high=high: np.concatenate(  # type: ignore[misc]
            [views.statistics[:, low:high], views.statistics[:, halves + low : halves + high]], axis=1
        )
        for name, (low, high) in STAGES.items()
    }
    tried: dict[str, tuple[Callable[[Views], Outputs], Views]] = {
        "the last features": (lambda views: views.features, sets.fitted),
        **{name: (chosen, sets.fitted) for name, chosen in of_stages.items()},
        "all three stages, fitted on films as they are only": (lambda views: views.statistics, sets.as_they_are),
        "all three stages, as shipped": (lambda views: views.statistics, sets.fitted),
    }
    return {name: _tried(chosen, films, sets) for name, (chosen, films) in tried.items()}


def _tried(chosen: Callable[[Views], Outputs], films: Views, sets: Sets) -> dict[str, Any]:
    detector = fit(chosen(films), model_sha256="")
    limit = np.quantile(detector.distances(chosen(sets.children)), 1 - MARKED)

    def beyond(views: Views) -> dict[str, float]:
        return _asdict(share(detector.distances(chosen(views)) > limit))

    result = {"acquisitions": beyond(Views.together(list(sets.acquired.values())))}
    if sets.adults:
        result["adults"] = beyond(sets.adults)
    if sets.pictures:
        result["pictures"] = beyond(Views.together([one.grey for one in sets.pictures.values()]))
    return result


def _marked(gate: Gate, views: Views) -> dict[str, Any]:
    """Return the share of films marked anything, and by each reason that there is."""
    reasons = views.reasons(gate)
    by_reason = {reason: np.array([reason in found for found in reasons]) for reason in REASONS}
    return {
        "anything": _asdict(share(np.array([bool(found) for found in reasons]))),
        "reasons": {reason: _asdict(share(marked)) for reason, marked in by_reason.items() if marked.any()},
    }


def _any(gate: Gate, views: Views) -> Interval:
    return share(np.array([bool(found) for found in views.reasons(gate)]))


def _caught(gate: Gate, pictures: Pictures) -> dict[str, Any]:
    foreign = np.array(["not_a_chest_film" in found for found in pictures.as_they_are.reasons(gate)])
    return {
        "n": len(pictures.as_they_are.films),
        "refused": pictures.refused,
        "as_they_are": _asdict(share(catches(gate, pictures.as_they_are))),
        "grey": _asdict(share(catches(gate, pictures.grey))),
        "not_a_chest_film": _asdict(share(foreign)),
    }


def table(report: Mapping[str, Any]) -> str:
    """Return the main figures of a report as Markdown."""
    children = report["children"]
    rows = [
        ["children's films held out, marked anything", tables.measure(children["held_out"]["anything"], 3)],
        ["the same, cross-fitted", tables.measure(children["cross_fitted"], 3)],
    ]
    if "copies" in children:
        rows.append(["their copies at full size", tables.measure(children["copies"]["anything"], 3)])
    if "adults" in report:
        unlike = report["adults"]["reasons"].get("unlike_training_films")
        rows.append(["adults' films, unlike_training_films", tables.measure(unlike, 3) if unlike else "none"])
    for kind, one in report.get("pictures", {}).items():
        rows.append([f"{kind}: caught, in grey", tables.measure(one["grey"], 3)])
    return tables.table(["", "share [95 % interval]"], rows)


def _asdict(interval: Interval) -> dict[str, float]:
    return asdict(interval)
