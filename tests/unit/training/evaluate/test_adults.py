from pathlib import Path

import pytest

from handler.gate import Gate
from tests.films import grey, jpeg
from training.errors import DataError
from training.evaluate.adults import called, find_adults
from training.evaluate.evaluate import Shipped


def write_adults(folder: Path) -> Path:
    for group, levels in (("no_finding", (60, 190)), ("pneumonia", (200, 210))):
        (folder / group).mkdir(parents=True)
        for number, level in enumerate(levels):
            (folder / group / f"{number}.jpeg").write_bytes(jpeg(grey(level=level, seed=level)))
    return folder


def test_the_share_called_pneumonia_is_reported_for_each_group(store: Path, tmp_path: Path) -> None:
    shipped = Shipped.load(store)
    gate = Gate.load(store, shipped.contract)
    result = called(shipped, find_adults(write_adults(tmp_path / "adults")), gate)
    assert result["films"] == {"no_finding": 2, "pneumonia": 2}
    assert result["called_pneumonia"]["no_finding"]["balanced"]["value"] == 0.5
    assert result["called_pneumonia"]["pneumonia"]["balanced"]["value"] == 1.0
    assert result["marked"]["anything"]["value"] >= result["marked"]["unlike_training_films"]["value"] == 0.0
    assert result["roc_auc"] > 0.5


def test_a_folder_without_one_of_the_groups_is_refused(tmp_path: Path) -> None:
    write_adults(tmp_path / "adults")
    (tmp_path / "adults" / "pneumonia").rename(tmp_path / "adults" / "other")
    with pytest.raises(DataError, match="no_finding, pneumonia"):
        find_adults(tmp_path / "adults")
