import dataclasses
from pathlib import Path

import pytest
import yaml

from tests.films import grey, jpeg, write_data_set
from tests.networks import lively_network, save_checkpoint
from training.compare import resolution
from training.data.films import data_digest
from training.figures import plots
from training.learn.recipe import Recipe
from training.learn.run_folder import divide, load_films


@pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning")  # raised inside torch.export
def test_each_run_gets_its_worth_and_its_cost(tmp_path: Path) -> None:
    films = load_films(write_data_set(tmp_path / "data"))
    runs = []
    for seed in (0, 1):
        run, recipe = tmp_path / f"run-{seed}", dataclasses.replace(Recipe.load("robust"), folds=3, seed=seed)
        run.mkdir()
        digest = data_digest(films, divide(films, recipe)[1].tolist())
        (run / "config.yaml").write_text(yaml.safe_dump({"recipe": dataclasses.asdict(recipe), "data_sha256": digest}))
        save_checkpoint(lively_network(seed), run / "last.ckpt")
        runs.append(run)
    rows = resolution.trade(runs, films, [jpeg(grey(300, 300))])
    assert [(row["recipe"], row["resolution_px"], row["seed"]) for row in rows] == [
        ("robust", 160, 0),
        ("robust", 160, 1),
    ]
    assert all(0 <= row["worst_counterfactual"] <= row["roc_auc"] <= 1 for row in rows)
    assert all(row["engine_ms"] > 0 and row["decoding_ms"] > 0 for row in rows)
    assert len(resolution.table(rows).splitlines()) == 2 + len(rows)
    plots.trade(rows, tmp_path / "trade.png")
    assert (tmp_path / "trade.png").stat().st_size > 5_000
