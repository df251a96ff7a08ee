from pathlib import Path

import pytest

from bench.checkouts import service, summary
from bench.contender import Place
from bench.errors import InputError


def test_service_runs_in_its_checkout_with_its_model(tmp_path: Path) -> None:
    (tmp_path / "model_store").mkdir()
    (tmp_path / "model_store" / "pneumonia.mar").touch()
    ((command, environ),) = service(tmp_path).commands(Place(folder=tmp_path, ports=range(1, 9), workers=2))
    assert command[1:3] == ["-C", str(tmp_path)]
    assert command[-2:] == ["-m", "proxy"]
    assert environ["MODEL_STORE"] == str(tmp_path / "model_store")
    assert environ["WORKERS"] == "2"


def test_checkout_without_an_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make archive"):
        service(tmp_path)


def test_ratios_are_summed_up_over_the_rounds() -> None:
    rounds = [{"films_per_s": ratio, "p50_ms": 1.0} for ratio in (0.9, 1.2, 1.0)]
    assert summary(rounds)["films_per_s"] == {"median": 1.0, "low": 0.9, "high": 1.2}
