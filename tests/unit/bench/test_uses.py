from pathlib import Path

from bench.films import Load
from bench.uses import USES, summary


def test_film_is_sent_as_the_use_wants_it() -> None:
    load = Load(urls=["http://127.0.0.1:1/predict"], headers={"Content-Type": "a"}, bodies=[Path("body")])
    picture = USES["heatmap as PNG"].of(load)
    assert (picture.urls, picture.bodies) == (["http://127.0.0.1:1/explain"], load.bodies)
    assert picture.headers == {"Content-Type": "a", "Accept": "image/png"}
    assert USES["detail"].of(load).urls == ["http://127.0.0.1:1/predict?detail=true"]


def test_summary_is_the_spread_over_the_rounds() -> None:
    rounds = [{"detail": {"films_per_s": ratio, "p50_ms": 1.0}} for ratio in (0.9, 0.8, 1.0)]
    assert summary(rounds)["detail"]["films_per_s"] == {"median": 0.9, "low": 0.8, "high": 1.0}
