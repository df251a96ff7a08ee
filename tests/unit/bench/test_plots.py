from pathlib import Path

import pytest
from PIL import Image

from bench import plots
from bench.results import Run
from tests.unit.bench.runs import results_of, round_of_runs, run

ONE_WORKER = [run("ours_proxy", rate, round_=0, concurrency=n, workers=1) for n, rate in ((1, 60), (16, 90))]


def drawn(path: Path) -> bool:
    with Image.open(path) as image:
        return min(image.size) > 300 and len(image.convert("L").getcolors(256) or ()) > 10


@pytest.mark.parametrize("runs", [[*round_of_runs(), *ONE_WORKER], []], ids=["all", "none"])
@pytest.mark.parametrize("plot", [plots.concurrency, plots.workers, plots.scaling])
def test_plots_are_drawn_of_whatever_was_measured(tmp_path: Path, plot: plots.Plot, runs: list[Run]) -> None:
    plot(results_of(runs), tmp_path / "plot.png")
    assert drawn(tmp_path / "plot.png")


def test_shares_are_drawn_even_of_parts_below_zero(tmp_path: Path) -> None:
    plots.shares({"a": {"x": 1.0, "y": 2.0}, "b": {"x": -1.0, "y": 2.0}}, tmp_path / "plot.png")
    assert drawn(tmp_path / "plot.png")
