from pathlib import Path

import pytest

from bench.__main__ import chosen, main
from bench.errors import InputError
from bench.roster import CONTENDERS, TITLES


def test_every_contender_can_be_chosen() -> None:
    assert chosen(list(TITLES)) == list(CONTENDERS)


def test_chosen_contenders_keep_the_roster_s_order() -> None:
    assert [one.name for one in chosen(["litserve", "bare", "ours_proxy"])] == ["ours_proxy", "litserve"]


def test_unknown_contender_is_refused_and_the_known_are_named() -> None:
    with pytest.raises(InputError, match="no contender flask: there are bare, ours_proxy"):
        chosen(["flask", "bare"])


def test_mistake_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--films", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path}: has no JPEG or PNG film\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("cores", ["0", "9", "-1", "two"])
def test_number_of_cores_is_checked(cores: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--cores", cores])
    assert "whole number" in capsys.readouterr().err


def test_sizes_of_benchmark_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--quick", "--smallest"])
    assert "not allowed with" in capsys.readouterr().err
