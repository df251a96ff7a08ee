from pathlib import Path

import numpy as np
import pytest
import torch

from handler.engine import Engine
from tests.models import write_model
from tests.networks import lively_network, save_checkpoint
from training.changes.corruptions import CORRUPTIONS
from training.compare import compare
from training.compare.compare import as_shipped, margins, score
from training.compare.scores import COLUMNS
from training.data.films import DecodedFilms, FilmFile
from training.learn.export import exported_net, save_weights


def films() -> DecodedFilms:
    """Return six noise films, alternately labelled; PNEUMONIA is brighter."""
    count = 6
    labels = np.arange(count) % 2
    noise = np.random.default_rng(0).integers(0, 200, (count, 224, 224), dtype=np.uint8)
    return DecodedFilms(
        files=tuple(FilmFile(path=Path("film"), label=int(x), patient=str(x), subgroup="") for x in labels),
        pixels=noise + (50 * labels[:, None, None]).astype(np.uint8),
        labels=labels,
        facts=(),
        digests=(),
        skipped=(),
    )


def test_every_measure_of_a_run_is_a_share(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compare, "CORRUPTIONS", {"noise": CORRUPTIONS["noise"]})
    result = score(Engine(write_model(tmp_path / "model.onnx")), films())
    assert all(0 <= getattr(result, column) <= 1 for column in COLUMNS)
    assert result.auc == 1.0
    assert result.worst_auc <= result.corrupted_auc


@pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning")  # raised inside torch.export
def test_checkpoint_is_scored_as_it_would_ship(tmp_path: Path) -> None:
    checkpoint, weights, pixels = tmp_path / "last.ckpt", tmp_path / "weights.safetensors", films().pixels
    save_checkpoint(lively_network(0), checkpoint)
    save_weights(checkpoint, weights)
    with torch.inference_mode():
        logits = exported_net(weights)(torch.from_numpy(pixels).unsqueeze(1)).numpy()
    assert np.allclose(margins(as_shipped(checkpoint), pixels), logits[:, 1] - logits[:, 0], atol=1e-4)
