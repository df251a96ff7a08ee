"""The operator's command."""

from pathlib import Path

import pytest

from dicom_node.objects import check_object
from dicom_node.queue import main
from dicom_node.storage import Queue
from tests.dicom_peers import make_film


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A queue with one film that failed."""
    folder = tmp_path / "queue"
    monkeypatch.setenv("DICOM_QUEUE_DIR", str(folder))
    queue = Queue(folder)
    film = make_film()
    queue.add(film, check_object(film), sender="CT@10.0.0.1")
    claimed = queue.claim_film()
    assert claimed is not None
    queue.film_failed(claimed, "the service answers 422 damaged_film: the film is cut off")
    queue.close()
    return folder


@pytest.mark.usefixtures("folder")
def test_list_has_the_film_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.startswith("film")
    for text in ("failed", "CT@10.0.0.1", "1.2.3.4", "422 damaged_film"):
        assert text in line
    assert "Doe" not in line


@pytest.mark.usefixtures("folder")
def test_film_is_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retry", "1"]) == 0
    assert main(["list"]) == 0
    assert "received" in capsys.readouterr().out


@pytest.mark.usefixtures("folder")
def test_retry_without_a_film_is_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retry"]) == 0
    assert main(["discard", "1"]) == 0
    assert main(["retry"]) == 0
    assert capsys.readouterr().out == "1 to be tried again\ndiscarded\n0 to be tried again\n"


def test_film_is_discarded_with_its_files(folder: Path) -> None:
    assert main(["discard", "1"]) == 0
    assert list((folder / "files").iterdir()) == []


def test_operator_is_told_that_a_discarded_film_was_delivered(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    queue = Queue(folder)
    queue.retry()
    film = queue.claim_film()
    assert film is not None
    queue.screened(film, {"sr": b"report"}, destinations=["PACS"])
    for delivery in queue.due_deliveries("PACS", limit=1):
        queue.delivered(delivery)
    queue.close()
    assert main(["discard", "1"]) == 0
    assert "were delivered" in capsys.readouterr().out


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("command", ["retry", "discard"])
def test_film_that_there_is_not_is_an_error(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "7"]) == 1
    assert "film 7" in capsys.readouterr().err


def test_folder_without_a_queue_is_named_and_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DICOM_QUEUE_DIR", str(tmp_path / "no-queue"))
    assert main(["list"]) == 2
    assert "DICOM_QUEUE_DIR" in capsys.readouterr().err
    assert not (tmp_path / "no-queue").exists()


def test_command_opens_with_its_own_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert "list" in capsys.readouterr().err
