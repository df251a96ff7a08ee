from typing import Any

from training.audit.report import comparison, comparison_table, markdown


def share(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.01, "high": value}


def row(films: str, auc: float, *, control: float | None = None) -> dict[str, Any]:
    ranked = {"roc_auc": share(auc), "specificity_at": {"0.997": share(auc - 0.2), "0.99": share(auc - 0.1)}}
    its_control = None if control is None else {**ranked, "roc_auc": share(control)}
    point = {"sensitivity": share(0.99), "specificity": share(0.5), "accuracy": 0.8}
    return {"films": films, **ranked, "control": its_control, "operating_points": {"rule_out": point}}


RESULT: dict[str, Any] = {
    "model": "1.2.0",
    "films": 741,
    "patients": 405,
    "held_out": True,
    "rows": [row("as they are", 0.99), row("marks of the other class", 0.8, control=0.97), row("close framing", 0.9)],
    "without_lungs": {"films": 5190, "rows": [{"clue": "framing", "roc_auc": share(0.9)}]},
}


def test_report_names_the_worst_row_and_its_control() -> None:
    result = markdown(RESULT)
    assert "**Worst row: marks of the other class.**" in result
    assert "| **marks of the other class** | **0.8000 [0.7900, 0.8000]** | **0.9700** |" in result


def test_report_tells_what_is_known_without_lungs() -> None:
    assert "| framing | 0.900 [0.890, 0.900] |" in markdown(RESULT)


def test_report_tells_a_sites_films_from_those_held_out() -> None:
    assert "that it held out" in markdown(RESULT)
    assert "taken as new to it" in markdown(RESULT | {"held_out": False})


def test_comparison_tells_which_rows_rank_models_as_given() -> None:
    result = comparison(
        {
            "better": [row("as they are", 0.98), row("close framing", 0.97)],
            "worse": [row("as they are", 0.99), row("close framing", 0.8)],
        }
    )
    assert not any(result["in_the_order_given"]["as they are"].values())
    assert all(result["in_the_order_given"]["close framing"].values())
    assert [model["worst"] for model in result["models"]] == ["close framing", "close framing"]
    table = comparison_table({"films": 10, "patients": 5, **result})
    assert "| close framing | 0.9700 0.77 0.87 | 0.8000 0.60 0.70 | yes | yes | yes |" in table
