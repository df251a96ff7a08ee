"""The training command as a user runs it, on a few synthetic films."""

import csv
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from tests.networks import lively_network
from training.learn.export import exported_net, load_checkpoint, save_weights
from training.learn.recipe import RECIPES

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 16 synthetic films of 16 patients and one file that is none."""
    folder = tmp_path_factory.mktemp("films")
    rng = np.random.default_rng(0)
    for label, (pattern, level) in enumerate({"IM-{:04d}-0001": 60, "person{}_virus_1": 150}.items()):
        target = folder / ("NORMAL", "PNEUMONIA")[label]
        target.mkdir()
        for number in range(8):
            pixels = rng.normal(level, 30, (224, 224)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(target / f"{pattern.format(number)}.jpeg")
    (folder / "NORMAL" / "IM-0009-0001.jpeg").write_bytes(b"not a film")
    return folder


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("backbone") / "imagenet.safetensors"
    save_file(lively_network(seed=0).mobilenet.state_dict(), path)
    return path


def recipe(folder: Path, **changes: object) -> Path:
    """Write a recipe small enough for a test."""
    fields = yaml.safe_load((RECIPES / "finetune_all.yaml").read_text())
    small = {"name": "small", "epochs": 2, "batch_size": 4, "folds": 4, "ema_decay": 0.5}
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump({**fields, **small, **changes}))
    return path


def train(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "training.learn.train", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def epochs(run: Path) -> list[int]:
    with (run / "metrics.csv").open(newline="") as lines:
        return [int(row["epoch"]) for row in csv.DictReader(lines)]


def losses(run: Path) -> list[str]:
    with (run / "metrics.csv").open(newline="") as lines:
        return [row["train_loss"] for row in csv.DictReader(lines)]


def weights_of(run: Path) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in load_checkpoint(run / "last.ckpt").state_dict().values()])


def test_killed_run_goes_on_where_it_was_and_can_be_exported(films: Path, backbone: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ("--data", films, "--recipe", recipe(tmp_path, epochs=3), "--out", run, "--backbone-weights", backbone)
    process = subprocess.Popen([sys.executable, "-m", "training.learn.train", *map(str, arguments)])
    try:
        deadline = time.monotonic() + 240
        while not (run / "last.ckpt").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    assert (run / "last.ckpt").exists()

    again = train(*arguments)
    assert again.returncode == 0, again.stderr
    assert "skipped" in again.stdout
    assert "IM-0009-0001.jpeg: the file is not a film that is read" in again.stdout
    assert "Restor" in again.stdout + again.stderr
    assert epochs(run) == [0, 1, 2]
    assert re.search(r"films/s while learning, \d+\.\d\d of the step by itself on data in memory", again.stdout)
    assert (run / "curves.png").stat().st_size > 0
    whole = train(*arguments[:-4], "--out", tmp_path / "whole", *arguments[-2:])
    assert whole.returncode == 0, whole.stderr
    assert weights_of(run).equal(weights_of(tmp_path / "whole"))
    assert losses(run) == losses(tmp_path / "whole")
    save_weights(run / "last.ckpt", tmp_path / "weights.safetensors")
    assert torch.isfinite(exported_net(tmp_path / "weights.safetensors").mobilenet.classifier[-1].weight).all()

    torn = (run / "last.ckpt").read_bytes()[:5000]
    (run / "last.ckpt").write_bytes(torn)
    refused = train(*arguments)
    assert refused.returncode == 2
    assert refused.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "last.ckpt: cannot go on from this checkpoint" in refused.stderr
    assert "Traceback" not in refused.stderr

    other = train(*arguments, "--seed", 9)
    assert other.returncode == 2
    assert "holds a run of another recipe or of other films" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "nowhere", "--recipe", "baseline"), "nowhere: no such folder or manifest"),
        (("--data", "{films}", "--recipe", "nonesuch"), "recipe 'nonesuch': unknown"),
        (("--data", "{films}/NORMAL", "--recipe", "baseline"), "has no folder NORMAL"),
        (
            ("--data", "{films}", "--recipe", "{small}", "--out", "{tmp}/r", "--backbone-weights", "{tmp}/none"),
            "none: cannot be read",
        ),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    films: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    places = {"films": films, "tmp": tmp_path, "small": recipe(tmp_path)}
    refused = train(*(argument.format(**places) for argument in arguments))
    assert refused.returncode == 2
    assert message in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
