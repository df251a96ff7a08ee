"""Shared stores and services; everything in this folder is marked e2e."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.archives import make_stub_store
from tests.e2e.service import Service, running

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def stub(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Settings that make the service serve the stub handler."""
    folder = tmp_path_factory.mktemp("stub")
    return {
        "MODEL_STORE": make_stub_store(folder / "store"),
    }


@pytest.fixture(scope="module")
def stub_service(stub: dict[str, Path]) -> Iterator[Service]:
    """One service with the stub handler for all tests of a module; each leaves it ready."""
    with running(**stub, UPLOAD_TIMEOUT_S=2, QUEUE_LIMIT=64) as service:
        yield service
