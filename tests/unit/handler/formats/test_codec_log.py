import logging
import threading

import pytest

from handler.formats import codec_log


def test_remarks_are_collected_where_they_are_asked_for_and_logged_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("imagecodecs")
    logger.warning("before")
    with codec_log.remarks() as found:
        logger.warning("a %s", "remark")
        other = threading.Thread(target=logger.warning, args=("of another thread",))
        other.start()
        other.join()
    logger.warning("after")
    assert found == ["a remark"]
    assert caplog.records == []


def test_remarks_are_bounded() -> None:
    with codec_log.remarks() as found:
        for _ in range(codec_log.MAX_REMARKS + 10):
            logging.getLogger("imagecodecs").warning("remark")
    assert len(found) == codec_log.MAX_REMARKS
