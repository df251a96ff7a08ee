"""python -m bench.uses [--rounds N] [--films DIR] [--json FILE]

Measures what the uses of a film cost beside `/predict` alone: with detail, and heatmaps as JSON and as a picture.
One service, the same films, the uses in turn. Prints a ratio a round to the round's `/predict` alone, of throughput at
concurrency 16 and of p50 at concurrency 1, and the median with the lowest and highest.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from bench.checkouts import FULL, WARM_UP_S, full_and_lone
from bench.cli import Setting, add_common, prepare, run, write_figures
from bench.contender import live
from bench.errors import LoadError
from bench.figures import Spread
from bench.films import Load
from bench.roster import service_with

Ratios = dict[str, dict[str, float]]
"""By use: `films_per_s` and `p50_ms` over those of `/predict` alone."""


@dataclass(frozen=True, slots=True)
class Use:
    """How a film is sent."""

    path: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def of(self, load: Load) -> Load:
        """Return a load of `/predict`, sent so instead."""
        urls = [url.removesuffix("/predict") + self.path for url in load.urls]
        return replace(load, urls=urls, headers={**load.headers, **self.headers})


ALONE = Use("/predict")
USES = {
    "detail": Use("/predict?detail=true"),
    "heatmap as JSON": Use("/explain", {"Accept": "application/json"}),
    "heatmap as PNG": Use("/explain", {"Accept": "image/png"}),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where the figures go too")
    add_common(parser, out=Path("out/uses"))
    return run(_measure, parser.parse_args(arguments))


def _measure(args: argparse.Namespace) -> None:
    setting = prepare(args)
    rounds: list[Ratios] = []
    with tempfile.TemporaryDirectory(prefix="uses-", ignore_cleanup_errors=True) as folder:
        place = Path(folder, "service")
        with live(service_with({}), folder=place, workers=setting.cores, film=setting.films[0]) as up:
            load = up.load(setting.films, place / "bodies")
            for use in (ALONE, *USES.values()):  # models for heatmaps are compiled when the first is asked for
                setting.wrk.run(use.of(load), concurrency=FULL, seconds=WARM_UP_S)
            for _ in range(args.rounds):
                rounds.append(_ratios(setting, load))
                sys.stdout.write(f"{json.dumps(rounds[-1])}\n")
    write_figures(summary(rounds), args.json)


def _ratios(setting: Setting, load: Load) -> Ratios:
    films_per_s, p50_ms = _costs(setting, ALONE.of(load))
    ratios = {}
    for name, use in USES.items():
        of_use = _costs(setting, use.of(load))
        ratios[name] = {"films_per_s": of_use[0] / films_per_s, "p50_ms": of_use[1] / p50_ms}
    return ratios


def _costs(setting: Setting, load: Load) -> tuple[float, float]:
    """Return films a second at concurrency 16, and p50 at concurrency 1 in ms.

    Raises:
        LoadError: A film was not answered 200.
    """
    full, lone = full_and_lone(setting, load)
    if full.errors or lone.errors:
        raise LoadError(f"{full.errors + lone.errors} films were not answered 200 at {load.urls[0]}")
    return full.films_per_s, lone.p50_ms


def summary(rounds: Sequence[Ratios]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the median, lowest and highest of each ratio over the rounds."""
    return {
        use: {
            ratio: asdict(spread)
            for ratio in rounds[0][use]
            if (spread := Spread.of(one[use][ratio] for one in rounds)) is not None
        }
        for use in rounds[0]
    }


if __name__ == "__main__":
    sys.exit(main())
