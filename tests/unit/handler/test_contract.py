import json
from pathlib import Path
from typing import Any

import pytest

from handler.contract import Interval, ModelContract, OperatingPoint
from handler.errors import ContractError
from tests.models import contract


@pytest.fixture
def fields(tmp_path: Path) -> dict[str, Any]:
    contract().save(tmp_path / "contract.json")
    loaded: dict[str, Any] = json.loads((tmp_path / "contract.json").read_text())
    return loaded


def load(folder: Path, fields: Any) -> ModelContract:
    path = folder / "contract.json"
    path.write_text(json.dumps(fields))
    return ModelContract.load(path)


def test_saved_contract_is_loaded_equal(tmp_path: Path) -> None:
    contract().save(tmp_path / "contract.json")
    assert ModelContract.load(tmp_path / "contract.json") == contract()


def test_unknown_key_is_refused_by_name(tmp_path: Path, fields: dict[str, Any]) -> None:
    with pytest.raises(ContractError, match=r"unknown colour_of_the_sky"):
        load(tmp_path, fields | {"colour_of_the_sky": "blue"})


@pytest.mark.parametrize("name", list(ModelContract.__dataclass_fields__))
def test_missing_key_is_refused_by_name(tmp_path: Path, fields: dict[str, Any], name: str) -> None:
    del fields[name]
    with pytest.raises(ContractError, match=rf"missing {name}"):
        load(tmp_path, fields)


def test_unknown_key_of_a_nested_object_is_refused_by_name(tmp_path: Path, fields: dict[str, Any]) -> None:
    fields["operating_points"][0]["sensitivity"]["median"] = 0.9
    with pytest.raises(ContractError, match=r"Interval: unknown median"):
        load(tmp_path, fields)


def test_missing_key_of_a_nested_object_is_refused_by_name(tmp_path: Path, fields: dict[str, Any]) -> None:
    del fields["gate"]["min_side_px"]
    with pytest.raises(ContractError, match=r"Bounds: missing min_side_px"):
        load(tmp_path, fields)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("schema_version", 2),
        ("labels", ["PNEUMONIA", "NORMAL"]),
        ("default_operating_point", "screen"),
    ],
)
def test_invalid_value_is_refused_with_field_and_value(
    tmp_path: Path, fields: dict[str, Any], name: str, value: Any
) -> None:
    with pytest.raises(ContractError, match=name) as caught:
        load(tmp_path, fields | {name: value})
    shown = value if isinstance(value, list) else [value]
    assert all(str(part) in str(caught.value) for part in shown)


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        ({"temperature": 0.0, "bias": 0.0}, r"temperature must be positive and finite, got 0\.0"),
        ({"temperature": float("nan"), "bias": 0.0}, "temperature must be positive and finite, got nan"),
        ({"temperature": 1.0, "bias": float("inf")}, "bias must be finite, got inf"),
        ({"temperature": 1.0}, "Calibration: missing bias"),
    ],
)
def test_calibration_that_gives_no_probability_is_refused(
    tmp_path: Path, fields: dict[str, Any], calibration: dict[str, float], message: str
) -> None:
    with pytest.raises(ContractError, match=message):
        load(tmp_path, fields | {"calibration": calibration})


@pytest.mark.parametrize("name", ["calibration", "operating_points", "gate", "labels", "mean"])
def test_value_of_a_wrong_type_is_refused(tmp_path: Path, fields: dict[str, Any], name: str) -> None:
    with pytest.raises(ContractError):
        load(tmp_path, fields | {name: None})


def test_two_points_of_one_name_are_refused(tmp_path: Path, fields: dict[str, Any]) -> None:
    fields["operating_points"][1]["name"] = "rule_out"
    with pytest.raises(ContractError, match="operating_points: names must differ"):
        load(tmp_path, fields)


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.1, float("nan")])
def test_threshold_outside_zero_and_one_is_refused(threshold: float) -> None:
    interval = Interval(value=0.9, low=0.8, high=1.0)
    with pytest.raises(ContractError, match=r"operating point 'p': threshold must lie in \(0, 1\)"):
        OperatingPoint(name="p", threshold=threshold, sensitivity=interval, specificity=interval)


@pytest.mark.parametrize(("low", "value", "high"), [(0.5, 0.4, 0.6), (0.1, 0.2, 1.1), (-0.1, 0.2, 0.3)])
def test_interval_out_of_order_is_refused(low: float, value: float, high: float) -> None:
    with pytest.raises(ContractError, match="interval"):
        Interval(value=value, low=low, high=high)


@pytest.mark.parametrize("text", ["", "[]", "{", "3", '"text"'])
def test_what_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "contract.json"
    path.write_text(text)
    with pytest.raises(ContractError, match=r"contract\.json"):
        ModelContract.load(path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "contract.json"
    path.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ContractError, match="not JSON"):
        ModelContract.load(path)


def test_missing_file_is_refused_by_path(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"contract\.json: No such file"):
        ModelContract.load(tmp_path / "contract.json")


def test_operating_point_is_found_by_name() -> None:
    assert contract().operating_point("balanced").threshold == 0.5


def test_unknown_operating_point_is_refused_with_those_there_are() -> None:
    with pytest.raises(ContractError, match=r"'screen': unknown, the contract has rule_out, balanced"):
        contract().operating_point("screen")
