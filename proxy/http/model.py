"""`GET /model`: what the model in service is, and what its answers are worth, from the archive that it came in."""

from collections.abc import Mapping
from typing import Any

from proxy.availability.archive import Archive

NOT_MEASURED = "not yet measured"
MEASURED = (
    "on held-out films that the thresholds were chosen on, hence a little optimistic: the card has cross-fitted figures"
)


def describe(archive: Archive, *, prevalence: float | None) -> dict[str, Any]:
    """Return the description of an archive's model.

    Args:
        archive: In service.
        prevalence: Share of films with pneumonia, 0 to 1, for which predictive values are given; None for none.
    """
    contract = archive.contract
    official = {entry["version"]: entry for entry in archive.official_test}
    return {
        "version": archive.version,
        "sha256": {
            "archive": archive.sha256,
            "contract": archive.contract_sha256,
            "model": contract["model_sha256"],
            "training_films": contract["data_sha256"],
        },
        "note": contract["note"],
        "licence": contract["licence"],
        "served_operating_point": archive.operating_point,
        "measured": MEASURED,
        "operating_points": [_point(point, prevalence) for point in contract["operating_points"]],
        "prevalence": prevalence,
        "uncertainty": contract["uncertainty"],
        "official_test": official.get(archive.version, NOT_MEASURED),
        "official_test_of_other_versions": [entry for version, entry in official.items() if version != archive.version],
        "card": "/model/card",
    }


def _point(point: Mapping[str, Any], prevalence: float | None) -> dict[str, Any]:
    """Return an operating point, at a prevalence with its predictive values and what their intervals' ends give."""
    if prevalence is None:
        return dict(point)
    values = {
        end: _predictive(point["sensitivity"][end], point["specificity"][end], prevalence)
        for end in ("value", "low", "high")
    }
    return dict(point) | {
        name: {end: pair[index] for end, pair in values.items()} for index, name in enumerate(("ppv", "npv"))
    }


def _predictive(sensitivity: float, specificity: float, prevalence: float) -> tuple[float | None, float | None]:
    """Return the shares of PNEUMONIA and of NORMAL answers that are right; None where there is no such answer."""
    ill, well = prevalence, 1.0 - prevalence
    right, wrong = sensitivity * ill, (1.0 - specificity) * well
    cleared, missed = specificity * well, (1.0 - sensitivity) * ill
    ppv = round(right / (right + wrong), 6) if right + wrong else None
    npv = round(cleared / (cleared + missed), 6) if cleared + missed else None
    return ppv, npv
