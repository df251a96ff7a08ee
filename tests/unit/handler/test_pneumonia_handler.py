import dataclasses
import hashlib
import inspect
import io
import itertools
import json
import logging
import math
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from handler import pneumonia_handler
from handler.engine import Engine
from handler.errors import ContractError, UnusableFilm
from handler.formats.registry import SEND
from handler.imaging import Film, decode
from handler.network import PneumoniaNet
from handler.parameters import FilmRequest
from handler.pneumonia_handler import DEFER_AFTER_S, PneumoniaHandler
from handler.shared_films import TransportNames
from handler.torch_engine import TorchEngine
from proxy.torchserve.transport import SharedMemoryTransport
from tests.films import grey, jpeg, png
from tests.models import NOTE, contract, write_model_store

DARK, BRIGHT = jpeg(grey(level=60)), png(grey(level=190))


class Context:
    """What the handler uses of TorchServe's context, as strict as TorchServe's frontend about types."""

    def __init__(self, model_dir: Path, settings: dict[str, Any] | None = None) -> None:
        self.system_properties: dict[str, Any] = {"model_dir": str(model_dir), "gpu_id": None}
        self.model_yaml_config = settings
        self.request_types: dict[int, str] = {}
        self.lone_requests: set[int] = set()
        self.headers: dict[int, dict[str, str]] = {}
        self.statuses: dict[int, tuple[int, str]] = {}
        self.content_types: dict[int, str] = {}

    def get_request_header(self, idx: int, key: str) -> str | None:
        if key == "Lone":
            return "yes" if idx in self.lone_requests else None
        assert key == "Content-Type"
        return self.request_types.get(idx)

    def get_all_request_header(self, idx: int) -> dict[str, str]:
        return self.headers.get(idx, {})

    def set_response_status(self, code: int, phrase: str, idx: int) -> None:
        assert isinstance(code, int)
        assert isinstance(phrase, str)
        self.statuses[idx] = (code, phrase)

    def set_response_content_type(self, idx: int, value: str) -> None:
        assert isinstance(value, str)
        self.content_types[idx] = value


@pytest.fixture
def context(tmp_path: Path) -> Context:
    write_model_store(tmp_path)
    return Context(tmp_path)


@pytest.fixture
def handler(context: Context) -> PneumoniaHandler:
    handler = PneumoniaHandler()
    handler.initialize(context)
    return handler


@pytest.mark.parametrize(
    ("packed", "device", "expected"),
    [(True, torch.device("cpu"), TorchEngine), (True, None, Engine), (False, torch.device("cpu"), Engine)],
)
def test_gpu_is_used_where_the_archive_and_torch_allow(
    context: Context, monkeypatch: pytest.MonkeyPatch, *, packed: bool, device: torch.device | None, expected: type
) -> None:
    if packed:
        weights = Path(context.system_properties["model_dir"], "pneumonia.safetensors")
        save_file(PneumoniaNet(dropout=0.0).state_dict(), weights, {"resolution_px": "224"})
    monkeypatch.setattr("handler.torch_engine.usable_gpu", lambda gpu_id: device if gpu_id == 1 else None)
    context.system_properties["gpu_id"] = 1
    handler = PneumoniaHandler()
    handler.initialize(context)
    assert type(handler.engine) is expected
    (result,) = handle(handler, context, {"body": BRIGHT})
    assert 0.0 <= result["p_pneumonia"] <= 1.0


def handle(handler: PneumoniaHandler, context: Context, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    bodies = handler.handle(list(rows), context)
    assert len(bodies) == len(rows)
    assert all(isinstance(body, bytes) for body in bodies)
    return [json.loads(body) for body in bodies]


def test_film_is_answered_with_the_public_keys(handler: PneumoniaHandler, context: Context) -> None:
    dark, bright = handle(handler, context, {"body": DARK}, {"body": BRIGHT})
    assert list(dark) == list(bright) == ["prediction", "p_pneumonia", "note"]
    assert (dark["prediction"], bright["prediction"]) == ("NORMAL", "PNEUMONIA")
    assert 0.0 <= dark["p_pneumonia"] < 0.2 < bright["p_pneumonia"] <= 1.0
    assert dark["note"].startswith(NOTE)


@pytest.mark.parametrize("key", ["body", "data", "file"])
def test_film_is_taken_from_a_raw_body_and_from_a_form(handler: PneumoniaHandler, context: Context, key: str) -> None:
    (result,) = handle(handler, context, {key: bytearray(BRIGHT)})
    assert result["prediction"] == "PNEUMONIA"


def test_bad_items_get_their_own_answer_and_the_others_theirs(handler: PneumoniaHandler, context: Context) -> None:
    rows: list[dict[str, Any]] = [
        {"body": b"text"},
        {"body": BRIGHT},
        {"body": b""},
        {"body": DARK[:400]},
        {"body": DARK},
        {},
        {"body": {}},
    ]
    result = handle(handler, context, *rows)
    codes = ["unsupported_format", None, "missing_film", "damaged_film", None, "missing_film", "unsupported_format"]
    assert [one["error"]["code"] if "error" in one else None for one in result] == codes
    assert [result[1]["prediction"], result[4]["prediction"]] == ["PNEUMONIA", "NORMAL"]
    assert [context.statuses[i][0] for i in range(len(rows))] == [415, 200, 422, 422, 200, 422, 415]
    assert set(context.content_types.values()) == {"application/json"}
    assert sorted(context.content_types) == list(range(len(rows)))


@pytest.fixture
def shared(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PneumoniaHandler:
    """Return a handler that finds BRIGHT, then DARK, then text in the proxy's memory."""
    (tmp_path / "memory").write_bytes(BRIGHT + DARK + b"text")
    names = {"content_type": "application/x-film-references", "memory": str(tmp_path / "memory")}
    monkeypatch.setenv("FILM_TRANSPORT", json.dumps(names))
    handler = PneumoniaHandler()
    handler.initialize(context)
    return handler


def parted(answer: bytes) -> list[tuple[int, bytes]]:
    """Return status and body of each film that a request named."""
    found = SharedMemoryTransport("").decode(200, answer)
    assert found is not None
    return found


def test_films_named_by_one_request_are_answered_a_line_each(shared: PneumoniaHandler, context: Context) -> None:
    context.request_types[0] = "application/x-film-references"
    bright, dark, text = (0, len(BRIGHT)), (len(BRIGHT), len(DARK)), (len(BRIGHT) + len(DARK), 4)
    named = b"\n".join(b"%d %d" % place for place in (dark, text, bright, (0, 0)))
    result, single = shared.handle([{"body": bytearray(named)}, {"body": DARK}], context)
    statuses, bodies = zip(*parted(result), strict=True)
    assert statuses == (200, 415, 200, 422)
    assert bodies[0] == single
    assert json.loads(bodies[2])["prediction"] == "PNEUMONIA"
    assert json.loads(bodies[1])["error"]["code"] == "unsupported_format"
    assert context.content_types == {0: "application/octet-stream", 1: "application/json"}
    assert context.statuses == {1: (200, "OK")}


@pytest.mark.parametrize(("lone_requests", "lone"), [(set(), False), ({0}, False), ({0, 1}, True)])
def test_engine_is_given_more_threads_for_a_lone_request(
    handler: PneumoniaHandler, context: Context, lone_requests: set[int], *, lone: bool
) -> None:
    context.lone_requests = lone_requests
    handler.transport = TransportNames(lone_header="Lone")
    with mock.patch.object(handler.engine, "screen", wraps=handler.engine.screen) as screen:
        handle(handler, context, {"body": DARK}, {"body": BRIGHT})
    assert screen.call_args.kwargs == {"lone": lone}


def test_lone_films_get_the_threads_of_the_configuration(context: Context) -> None:
    context.model_yaml_config = {"handler": {"lone_threads": 2}}
    with mock.patch("handler.pneumonia_handler.Engine", wraps=Engine) as engine:
        PneumoniaHandler().initialize(context)
    assert engine.call_args.kwargs == {"lone_threads": 2}


def test_line_that_names_no_film_fails_alone(shared: PneumoniaHandler, context: Context) -> None:
    context.request_types[0] = "application/x-film-references"
    named = b"0 %d\nnonsense\n0 999999999\n%d %d" % (len(BRIGHT), len(BRIGHT), len(DARK))
    (lines,) = shared.handle([{"body": bytearray(named)}], context)
    assert [status for status, _ in parted(lines)] == [200, 500, 500, 200]


def test_naming_films_without_the_proxys_memory_is_no_film(handler: PneumoniaHandler, context: Context) -> None:
    context.request_types[0] = "application/x-film-references"
    (error,) = handle(handler, context, {"body": b"0 1"})
    assert error["error"]["code"] == "unsupported_format"


def test_fault_while_decoding_one_film_is_its_own(
    handler: PneumoniaHandler, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(data: bytes) -> Film:
        if data == DARK:
            raise RuntimeError("secret")
        return decode(data)

    monkeypatch.setattr("handler.pneumonia_handler.decode", fault)
    failed, result = handle(handler, context, {"body": DARK}, {"body": BRIGHT})
    assert failed == {"error": {"code": "prediction_failed", "message": "the model failed on this film"}}
    assert context.statuses[0][0] == 500
    assert result["prediction"] == "PNEUMONIA"


def test_refusal_keeps_nothing_of_the_film(handler: PneumoniaHandler) -> None:
    (refused,) = handler.preprocess([FilmRequest(content=jpeg(Image.new("L", (300, 300), 99)))])
    assert isinstance(refused, UnusableFilm)
    assert refused.__traceback__ is None
    assert refused.__context__ is None


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every film take longer than films that share a request may."""
    times = itertools.count(step=2 * DEFER_AFTER_S)
    monkeypatch.setattr("handler.pneumonia_handler.time.monotonic", lambda: next(times))


@pytest.mark.usefixtures("slow")
def test_films_behind_a_slow_one_in_the_same_request_are_deferred(shared: PneumoniaHandler, context: Context) -> None:
    context.request_types[0] = "application/x-film-references"
    named = b"0 %d\n%d %d" % (len(BRIGHT), len(BRIGHT), len(DARK))
    (result,) = shared.handle([{"body": bytearray(named)}], context)
    assert [status for status, _ in parted(result)] == [200, 425]


@pytest.mark.usefixtures("slow")
def test_first_film_of_every_request_has_its_turn(shared: PneumoniaHandler, context: Context) -> None:
    context.request_types[1] = "application/x-film-references"
    named = b"0 %d\n%d %d" % (len(BRIGHT), len(BRIGHT), len(DARK))
    single, result = shared.handle([{"body": BRIGHT}, {"body": bytearray(named)}], context)
    assert json.loads(single)["prediction"] == "PNEUMONIA"
    assert [status for status, _ in parted(result)] == [200, 425]


def test_detail_has_what_stands_behind_the_result(handler: PneumoniaHandler, context: Context, tmp_path: Path) -> None:
    context.headers[0] = {"x-parameters": "detail=true"}  # as the client wrote it: TorchServe keeps the case
    found, plain = handle(handler, context, {"body": BRIGHT}, {"body": BRIGHT})
    detail = found.pop("detail")
    assert found == plain
    assert round(detail["p_pneumonia"], 4) == plain["p_pneumonia"]
    assert detail["operating_point"] == {"name": "rule_out", "threshold": 0.2}
    assert detail["uncertain"] is (plain["p_pneumonia"] <= 0.7)
    assert (detail["film"]["kind"], detail["film"]["bits"]) == ("PNG", 8)
    assert detail["receipt"] == {
        "film_sha256": hashlib.sha256(BRIGHT).hexdigest(),
        "contract_sha256": hashlib.sha256((tmp_path / "contract.json").read_bytes()).hexdigest(),
        "model_sha256": handler.contract.model_sha256,
        "model_version": "0.0.0-test",
        "operating_point": "rule_out",
        "threshold": 0.2,
        "prediction": plain["prediction"],
        "p_pneumonia": plain["p_pneumonia"],
    }


def test_film_is_decided_at_the_operating_point_that_is_asked_for(handler: PneumoniaHandler, context: Context) -> None:
    middle = png(grey(level=120))  # between the thresholds
    context.headers[1] = {"X-Parameters": "operating_point=balanced"}
    served, balanced = handle(handler, context, {"body": middle}, {"body": middle})
    assert (served["prediction"], balanced["prediction"]) == ("PNEUMONIA", "NORMAL")
    assert served["p_pneumonia"] == balanced["p_pneumonia"]


@pytest.mark.parametrize(
    "text", ["operating_point=screen", "detail=yes", "opacity=2", "colour=red", "detail", "a" * 99]
)
def test_parameter_that_there_is_not_is_named(handler: PneumoniaHandler, context: Context, text: str) -> None:
    context.headers[0] = {"X-Parameters": text}
    refused, other = handle(handler, context, {"body": BRIGHT}, {"body": BRIGHT})
    assert refused["error"]["code"] == "invalid_parameter"
    assert other["prediction"] == "PNEUMONIA"


def test_explanation_adds_up_to_the_log_odds(handler: PneumoniaHandler, context: Context) -> None:
    context.headers[0] = {"explain": "True"}  # TorchServe's own, on /explanations
    explained, plain = handle(handler, context, {"body": BRIGHT}, {"body": BRIGHT})
    found = explained.pop("explanation")
    assert explained == plain
    p = plain["p_pneumonia"]
    # The model of the tests has no constant but the mean level's: 12 * (mean - 0.5).
    assert 12 * (sum(map(sum, found["map"])) - 0.5) == pytest.approx(math.log(p / (1 - p)), abs=0.05)
    box = [found[name] for name in ("left_px", "top_px", "right_px", "bottom_px", "width_px", "height_px")]
    assert box == [0, 0, found["width_px"], found["height_px"], found["width_px"], found["height_px"]]


def test_marked_film_is_warned_of_with_its_reasons(handler: PneumoniaHandler, context: Context) -> None:
    context.headers[0] = {"X-Parameters": "detail=true"}
    (answer,) = handle(handler, context, {"body": BRIGHT})
    assert "not_a_chest_film" in answer["detail"]["gate"]["reasons"]
    assert "not recognised as a chest film" in answer["note"]


@pytest.mark.parametrize("headers", [{}, {"explain": "True"}, {"explain": "True", "Accept": "image/png"}])
def test_marked_film_is_rejected_where_the_gate_is_set_to(context: Context, headers: dict[str, str]) -> None:
    context.model_yaml_config = {"handler": {"gate": "reject"}}
    handler = PneumoniaHandler()
    handler.initialize(context)
    context.headers[0] = headers
    (answer,) = handle(handler, context, {"body": BRIGHT})
    assert answer["error"]["code"] == "rejected_by_gate"
    assert "not_a_chest_film" in answer["error"]["reasons"]
    assert "not_a_chest_film" in answer["error"]["message"]
    assert context.statuses[0] == (422, "rejected_by_gate")


@pytest.mark.parametrize("setting", ["off", False])
def test_gate_that_is_off_has_nothing_against_a_film(context: Context, setting: object) -> None:
    context.model_yaml_config = {"handler": {"gate": setting}}
    handler = PneumoniaHandler()
    handler.initialize(context)
    context.headers[0] = {"X-Parameters": "detail=true"}
    (answer,) = handle(handler, context, {"body": BRIGHT})
    assert answer["detail"]["gate"] == {"reasons": []}


def test_archive_without_a_gate_is_refused(context: Context) -> None:
    Path(context.system_properties["model_dir"], "gate.npz").unlink()
    with pytest.raises(ContractError, match=r"gate\.npz"):
        PneumoniaHandler().initialize(context)


def test_picture_is_sent_where_it_is_accepted(handler: PneumoniaHandler, context: Context) -> None:
    context.headers[0] = {"explain": "True", "Accept": "image/png"}
    (body,) = handler.handle([{"body": BRIGHT}], context)
    assert context.content_types == {0: "image/png"}
    assert Image.open(io.BytesIO(body)).format == "PNG"


def test_error_has_exactly_code_and_message(handler: PneumoniaHandler, context: Context) -> None:
    (result,) = handle(handler, context, {"body": b"text"})
    assert result == {
        "error": {"code": "unsupported_format", "message": f"the file is not a film that is read: {SEND}"}
    }


def test_module_has_the_one_class_that_torchserve_looks_for() -> None:
    classes = inspect.getmembers(pneumonia_handler, inspect.isclass)
    assert [one for _, one in classes if one.__module__ == pneumonia_handler.__name__] == [PneumoniaHandler]


def test_batch_without_a_film_is_answered(handler: PneumoniaHandler, context: Context) -> None:
    assert handle(handler, context) == []


def test_operating_point_is_read_from_the_settings(handler: PneumoniaHandler, context: Context) -> None:
    assert handler.point.name == "rule_out"
    context.model_yaml_config = {"handler": {"operating_point": "balanced"}}
    handler.initialize(context)
    assert handler.point.name == "balanced"


def test_log_level_is_read_from_the_settings(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "level", logging.INFO)
    PneumoniaHandler().initialize(context)
    assert root.level == logging.INFO
    context.model_yaml_config = {"handler": {"log_level": "WARNING"}}
    PneumoniaHandler().initialize(context)
    assert root.level == logging.WARNING


def test_unknown_operating_point_stops_the_worker(context: Context) -> None:
    context.model_yaml_config = {"handler": {"operating_point": "screen"}}
    with pytest.raises(ContractError, match="screen"):
        PneumoniaHandler().initialize(context)


@pytest.mark.parametrize("change", [{"preprocessing_version": 99}, {"input_px": 512}])
def test_other_preprocessing_stops_the_worker(context: Context, tmp_path: Path, change: dict[str, int]) -> None:
    dataclasses.replace(contract(), **change).save(tmp_path / "contract.json")  # type: ignore[arg-type]
    with pytest.raises(ContractError, match=str(next(iter(change.values())))):
        PneumoniaHandler().initialize(context)
