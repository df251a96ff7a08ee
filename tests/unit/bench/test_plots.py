from pathlib import Path

from PIL import Image

from bench import plots
from bench.findings import Findings
from tests.unit.bench.runs import MACHINE, round_of_runs, run, session


def drawn(path: Path) -> bool:
    with Image.open(path) as image:
        return min(image.size) > 300 and len(image.convert("L").getcolors(256) or ()) > 10


def test_plots_are_drawn_of_whatever_was_measured(tmp_path: Path) -> None:
    one_worker = [run("ours_proxy", rate, round_=0, concurrency=n, workers=1) for n, rate in ((1, 60), (16, 90))]
    sizes = [
        one
        for width_px in (512, 1024)
        for one in (
            run("bare", 100, kind="bare", concurrency=1, width_px=width_px),
            run("ours_proxy", 60, concurrency=1, width_px=width_px),
            run("ours_proxy", 180, concurrency=16, width_px=width_px),
        )
    ]
    for name, runs in (("all", [*round_of_runs(), *one_worker, *sizes]), ("none", [])):
        measured = session(runs)
        measured.megapixels_of = {512: 0.2, 1024: 0.8}
        found = Findings.of(measured, MACHINE)
        for plot in ("concurrency", "workers", "scaling"):
            path = tmp_path / f"{name}-{plot}.png"
            if plot == "scaling":
                plots.scaling(found.by_size, found.by_concurrency, path)
            elif plot == "workers":
                plots.workers(found.runs, path)
            else:
                plots.concurrency(found.runs, path, workers=2)
            assert drawn(path)
