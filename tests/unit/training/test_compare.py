import numpy as np
import pytest

from tests.networks import lively_network
from training import compare
from training.compare import Score, score, table
from training.corruptions import CORRUPTIONS
from training.films import DecodedFilms, FilmFile


def films() -> DecodedFilms:
    """Return six noise films, alternately labelled."""
    count = 6
    labels = np.arange(count) % 2
    return DecodedFilms(
        files=tuple(FilmFile(path=None, label=int(x), patient=str(x), subgroup="") for x in labels),  # type: ignore[arg-type]
        pixels=np.random.default_rng(0).integers(0, 256, (count, 224, 224), dtype=np.uint8),
        labels=labels,
        facts=(),
        digests=(),
        skipped=(),
    )


def test_every_measure_of_a_run_is_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "CORRUPTIONS", {"noise": CORRUPTIONS["noise"]})
    told = score(lively_network(seed=0), films())
    assert all(0 <= getattr(told, column) <= 1 for column in compare.COLUMNS)
    assert told.worst_auc <= told.corrupted_auc


def one_score(auc: float) -> Score:
    return Score(
        auc=auc, specificity=0.9, corrupted_auc=0.9, corrupted_specificity=0.8, corrupted_sensitivity=0.9, worst_auc=0.7
    )


def test_table_gives_the_spread_over_runs_of_a_recipe() -> None:
    told = table({("a", "first"): [one_score(0.9), one_score(0.92)], ("b", "second"): [one_score(0.95)]})
    rows = told.splitlines()
    assert rows[2].startswith("| `a`: first | 2 | 0.9100 ± 0.0141 |")
    assert rows[3].startswith("| `b`: second | 1 | 0.9500 |")
    assert len({row.count("|") for row in rows}) == 1
