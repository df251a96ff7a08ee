from typing import Any

import pytest

from handler.contract import Interval
from tests.models import contract
from training.site.recommend import Recommendation
from training.site.verdict import AS_SHIPPED, NOT_AS_SHIPPED, RECALIBRATE, RETRAIN, Verdict, verdict

GOOD = [0.85, 0.97]


def measures(*, auc: list[float] | None = None, sensitivity: list[float] | None = None) -> dict[str, Any]:
    """Return measures against a contract that claims 0.9 [0.8, 1.0] throughout, and so an AUC of 0.81 at least."""
    rates = {"sensitivity": sensitivity or GOOD, "specificity": GOOD}
    points = {"rule_out": {name: sum(ends) / 2 for name, ends in rates.items()}}
    ends = auc or GOOD
    return {
        "roc_auc": sum(ends) / 2,
        "ece": 0.05,
        "operating_points": points,
        "ci95": {"roc_auc": ends, "operating_points": {"rule_out": rates}},
    }


def recommendation(*, films: int = 200, patients: int = 200, low: float = 0.96) -> Recommendation:
    return Recommendation(
        wanted=0.95,
        threshold=0.1234,
        sensitivity=Interval(value=max(low, 0.99), low=low, high=1.0),
        films=films,
        patients=patients,
        films_without_patient_id=0,
        needed=73,
    )


def judged(
    shipped: dict[str, Any], *, gain: tuple[float, float] = (-0.1, 0.1), found: Recommendation | None = None
) -> Verdict:
    losses = {"before": 0.4, "after": 0.3, "decrease": 0.1, "ci95": {"decrease": list(gain)}}
    return verdict(contract(), shipped, measures(), losses, found or recommendation())


def test_a_site_like_the_validation_may_use_the_model() -> None:
    result = judged(measures())
    assert result.advice == AS_SHIPPED
    assert "no worse here" in result.findings[0]
    assert "not shown to be lower" in result.findings[1]


def test_a_ranking_that_is_worse_cannot_be_mended() -> None:
    result = judged(measures(auc=[0.5, 0.6]), gain=(0.1, 0.2))
    assert result.advice == RETRAIN
    assert "**the model ranks this site's films worse.**" in result.findings[0]


def test_a_sensitivity_whose_interval_excludes_the_claim_is_reported() -> None:
    result = judged(measures(sensitivity=[0.6, 0.7]))
    assert "Sensitivity at `rule_out`, the default: 0.650 [0.600, 0.700]" in result.findings[1]
    assert "lower than claimed" in result.findings[1]
    assert "lower than claimed" not in result.findings[2]
    assert result.advice == RECALIBRATE


@pytest.mark.parametrize(
    ("gain", "said"), [((0.05, 0.2), "helps.**"), ((-0.2, -0.1), "harms."), ((-0.1, 0.1), "do not show whether")]
)
def test_recalibration_is_judged_by_the_interval_of_its_gain(gain: tuple[float, float], said: str) -> None:
    result = judged(measures(), gain=gain)
    assert said in result.findings[3]
    assert (result.advice == RECALIBRATE) == (gain[0] > 0)


def test_threshold_is_reported_with_its_confidence_and_its_cross_fitted_rates() -> None:
    said = judged(measures()).findings[4]
    assert "p_pneumonia >= 0.1234 as shipped" in said
    assert "0.95 or more at 95 % confidence (the interval begins at 0.960, 200 films of PNEUMONIA of 200" in said
    assert "judged on other patients: sensitivity 0.910 [0.850, 0.970]" in said
    assert "Counted by patients" not in said


def test_few_patients_with_many_films_are_warned_of() -> None:
    said = judged(measures(), found=recommendation(patients=10)).findings[4]
    assert "Counted by patients it would need 73" in said


def test_too_few_films_are_reported_with_what_they_show_and_what_is_needed() -> None:
    result = judged(measures(), found=recommendation(films=20, patients=20, low=0.84))
    assert "none is recommended" in result.findings[4]
    assert "the best they show is 0.840" in result.findings[4]
    assert result.advice.startswith("Label more films: at least 73 of PNEUMONIA")


def test_too_few_films_do_not_hide_a_model_that_misses() -> None:
    result = judged(measures(sensitivity=[0.6, 0.7]), found=recommendation(films=20, patients=20, low=0.84))
    assert result.advice.startswith(f"{NOT_AS_SHIPPED} Label more films")


def test_films_served_as_zero_are_pointed_to() -> None:
    assert "cannot separate the lowest films" in judged(measures(), found=recommendation(low=0.5)).advice
