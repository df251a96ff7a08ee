import pytest

from bench.soak import main, trend

HOUR = [float(second) for second in range(0, 3601, 10)]


def test_noise_is_flat() -> None:
    found = trend(HOUR, [800 + 15 * (number % 3) for number in range(len(HOUR))], 20)
    assert found.flat
    assert found.slope_per_hour == pytest.approx(0, abs=1)


def test_leak_is_not_flat() -> None:
    found = trend(HOUR, [800 + at_s / 120 for at_s in HOUR], 20)
    assert not found.flat
    assert found.slope_per_hour == found.growth == 30


def test_what_falls_is_flat() -> None:
    assert trend(HOUR, [800 - at_s for at_s in HOUR], 20).flat


def test_limit_is_of_the_time_that_was_measured() -> None:
    minutes = HOUR[:13]
    assert trend(minutes, [800 + at_s / 20 for at_s in minutes], 20).growth == 6


def test_too_short_a_time_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seconds", "5"]) == 2
    assert "too short" in capsys.readouterr().err
