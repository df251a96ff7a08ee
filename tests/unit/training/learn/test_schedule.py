import pytest

from training.learn.schedule import warmup_then_cosine


def test_rate_warms_up_linearly_then_falls_to_its_final_value() -> None:
    factor = warmup_then_cosine(steps=100, warmup_steps=9, final=0.1)
    assert factor(0) == pytest.approx(0.1)
    assert factor(4) == pytest.approx(0.5)
    assert factor(9) == pytest.approx(1.0)
    assert factor(100) == pytest.approx(0.1)
    falling = [factor(step) for step in range(9, 101)]
    assert falling == sorted(falling, reverse=True)


def test_rate_without_warm_up_and_decay_stays() -> None:
    factor = warmup_then_cosine(steps=10, warmup_steps=0, final=1.0)
    assert [factor(step) for step in range(12)] == pytest.approx([1.0] * 12)
