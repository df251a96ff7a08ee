import dataclasses
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from tests.films import write_data_set
from tests.networks import lively_network, save_checkpoint
from training.data.films import DecodedFilms, data_digest
from training.errors import ArtefactError
from training.learn.average import average, averaged, estimate_batch_norms
from training.learn.export import load_checkpoint
from training.learn.recipe import Recipe
from training.learn.run_folder import divide, load_films, parts


@pytest.fixture
def films(tmp_path: Path) -> DecodedFilms:
    return load_films(write_data_set(tmp_path / "data"))


def write_run(folder: Path, films: DecodedFilms, **changes: object) -> Path:
    """Write the folder of a run, with an untrained network."""
    small = {"folds": 3, "batch_size": 2, "resolution_px": 64, "augmentation": "processing"}
    recipe = dataclasses.replace(Recipe.load("robust"), **small | changes)  # type: ignore[arg-type]
    digest = data_digest(films, divide(films, recipe)[1].tolist())
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump({"recipe": dataclasses.asdict(recipe), "data_sha256": digest}))
    save_checkpoint(lively_network(recipe.seed, resolution_px=64), folder / "last.ckpt")
    return folder


def test_average_is_a_run_folder_of_the_mean_weights(tmp_path: Path, films: DecodedFilms) -> None:
    runs = [write_run(tmp_path / f"run{seed}", films, seed=seed) for seed in range(2)]
    average(runs, films=films, out=tmp_path / "average")
    learned, held_out = parts(films, tmp_path / "average")
    assert len(learned.files) > len(held_out.files) > 0
    heads = [
        load_checkpoint(run / "last.ckpt").mobilenet.classifier[-1].weight for run in (*runs, tmp_path / "average")
    ]
    torch.testing.assert_close(heads[2], (heads[0] + heads[1]) / 2)


def test_runs_that_held_out_other_films_are_not_averaged(tmp_path: Path, films: DecodedFilms) -> None:
    runs = [write_run(tmp_path / f"run{fold}", films, fold=fold) for fold in range(2)]
    with pytest.raises(ArtefactError, match="held out other films"):
        average(runs, films=films, out=tmp_path / "average")
    assert not (tmp_path / "average").exists()


def test_average_of_a_network_with_itself_is_the_network() -> None:
    one, same = lively_network(0).state_dict(), averaged([lively_network(0), lively_network(0)]).state_dict()
    for key, value in one.items():
        torch.testing.assert_close(same[key], value)


def test_batch_norms_are_set_to_what_the_films_give() -> None:
    net = lively_network(0, resolution_px=64)
    first = next(module for module in net.modules() if isinstance(module, nn.BatchNorm2d))
    batch, momentum = torch.randint(0, 256, (4, 2, 224, 224), dtype=torch.uint8), first.momentum
    estimate_batch_norms(net, [batch])
    with torch.no_grad():
        seen = net.mobilenet.features[0][0](net.normalise(batch.flatten(0, 1).unsqueeze(1)))
    assert first.running_mean is not None
    torch.testing.assert_close(first.running_mean, seen.mean(dim=(0, 2, 3)), atol=1e-4, rtol=1e-4)
    assert not net.training
    assert first.momentum == momentum
