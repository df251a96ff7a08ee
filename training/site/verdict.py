"""What a site should make of its measures, in plain words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handler.contract import Interval, ModelContract
from training.evaluate.operating_points import DEFAULT
from training.figures.tables import interval
from training.site.recommend import Recommendation, auc_at_least

RETRAIN = (
    "Do not use the model here yet. No threshold or calibration mends a ranking: look at the films that "
    "predictions.csv has most wrong, for their view, age group, device, polarity or burnt-in marks, and train with "
    "films of this site."
)
NOT_AS_SHIPPED = "Do not use the model as it ships."
RECALIBRATE = (
    "Use the recommended threshold, or write a recalibrated model store (VERSION=X.Y.Z) and serve that; then confirm "
    "it on films that were not used here."
)
AS_SHIPPED = "The model may be used as it ships; confirm it on later films, and again when a device changes."


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found, a sentence or two each, and what to do."""

    findings: tuple[str, ...]
    advice: str


def verdict(
    contract: ModelContract,
    shipped: Mapping[str, Any],
    fitted: Mapping[str, Any],
    losses: Mapping[str, Any],
    recommendation: Recommendation,
) -> Verdict:
    """Judge measures `shipped` and cross-fitted measures `fitted`, both shaped as `metrics.json`.

    Args:
        contract: of the shipped model.
        shipped: at its operating points, as it ships.
        fitted: cross-fitted, at every operating point.
        losses: the log loss before and after, as `site.log_losses`.
        recommendation: the threshold for the wanted sensitivity.
    """
    point = contract.operating_point(contract.default_operating_point)
    rates = shipped["ci95"]["operating_points"][point.name]
    ranks_worse = shipped["ci95"]["roc_auc"][1] < auc_at_least(contract)
    misses_more = rates["sensitivity"][1] < point.sensitivity.low
    alarms_more = rates["specificity"][1] < point.specificity.low
    findings = (
        _ranking(contract, shipped, worse=ranks_worse),
        _against("Sensitivity", point.name, shipped, point.sensitivity, worse=misses_more),
        _against("Specificity", point.name, shipped, point.specificity, worse=alarms_more),
        _calibration(shipped, fitted, losses),
        _threshold(recommendation, fitted),
    )
    if ranks_worse:
        advice = RETRAIN
    elif not recommendation.holds:
        advice = (f"{NOT_AS_SHIPPED} " if misses_more else "") + _more_films(recommendation)
    elif misses_more or alarms_more or losses["ci95"]["decrease"][0] > 0:
        advice = RECALIBRATE
    else:
        advice = AS_SHIPPED
    return Verdict(findings=findings, advice=advice)


def _ranking(contract: ModelContract, shipped: Mapping[str, Any], *, worse: bool) -> str:
    judged = "**the model ranks this site's films worse.**" if worse else "no worse here, as far as these films show."
    return (
        f"Ranking: AUC {interval(shipped['roc_auc'], shipped['ci95']['roc_auc'])}. The contract's operating points "
        f"stand for at least {auc_at_least(contract):.3f} on the shipped validation: {judged}"
    )


def _against(rate: str, name: str, shipped: Mapping[str, Any], claimed: Interval, *, worse: bool) -> str:
    key = rate.lower()
    here = interval(shipped["operating_points"][name][key], shipped["ci95"]["operating_points"][name][key])
    claim = interval(claimed.value, [claimed.low, claimed.high])
    judged = "**lower than claimed, the intervals exclude each other.**" if worse else "not shown to be lower."
    return f"{rate} at `{name}`, the default: {here}; the contract claims {claim}: {judged}"


def _calibration(shipped: Mapping[str, Any], fitted: Mapping[str, Any], losses: Mapping[str, Any]) -> str:
    low, high = losses["ci95"]["decrease"]
    if low > 0:
        judged = "**Recalibration helps.**"
    elif high < 0:
        judged = "Recalibration harms."
    else:
        judged = "These films do not show whether recalibration helps."
    return (
        f"Calibration: log loss {losses['before']:.3f} as shipped, {losses['after']:.3f} recalibrated and "
        f"cross-fitted; decrease {interval(losses['decrease'], [low, high])}. ECE {shipped['ece']:.3f} and "
        f"{fitted['ece']:.3f}. {judged}"
    )


def _threshold(recommendation: Recommendation, fitted: Mapping[str, Any]) -> str:
    where = f"p_pneumonia >= {recommendation.threshold:.4f} as shipped"
    films = f"{recommendation.films} films of PNEUMONIA of {recommendation.patients} patients"
    if recommendation.films_without_patient_id:
        films += f", {recommendation.films_without_patient_id} of them without a patient id"
    low = f"{recommendation.sensitivity.low:.3f}"
    if recommendation.holds:
        point, intervals = fitted["operating_points"][DEFAULT], fitted["ci95"]["operating_points"][DEFAULT]
        said = (
            f"Threshold: **{where}** is the highest with a sensitivity of {recommendation.wanted:g} or more at 95 % "
            f"confidence (the interval begins at {low}, {films}). Thresholds chosen so, judged on other patients: "
            f"sensitivity {interval(point['sensitivity'], intervals['sensitivity'])}, "
            f"specificity {interval(point['specificity'], intervals['specificity'])}."
        )
        if recommendation.patients + recommendation.films_without_patient_id < recommendation.needed:
            said += (
                f" Counted by patients it would need {recommendation.needed} of them: films of one patient are alike, "
                "and the confidence is less than it seems."
            )
        return said
    return (
        f"Threshold: none is recommended. {films} cannot show a sensitivity of {recommendation.wanted:g} at 95 % "
        f"confidence; the best they show is {low}, at {where}."
    )


def _more_films(recommendation: Recommendation) -> str:
    if recommendation.films < recommendation.needed:
        return (
            f"Label more films: at least {recommendation.needed} of PNEUMONIA are needed, of as many patients, and "
            "more if the model misses one."
        )
    return (
        "The served four decimals cannot separate the lowest films of PNEUMONIA from 0: no threshold reaches the "
        "wanted sensitivity. Look at those films in predictions.csv."
    )
