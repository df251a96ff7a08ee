"""What tests of several commands start from."""

from pathlib import Path

import pytest

from tests.models import write_model_store


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return a model store with a tiny model and its contract."""
    folder = tmp_path / "model_store"
    folder.mkdir()
    write_model_store(folder)
    return folder
