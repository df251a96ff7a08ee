"""From a film and the service's answer to the two DICOM objects that are sent on."""

import io

from pydicom.dataset import Dataset

from dicom_node.errors import HopelessError, StepError, where
from dicom_node.heatmap import make_heatmap
from dicom_node.report import make_report
from dicom_node.service import Screening
from dicom_node.source import read_source

REPORT = "sr"
HEATMAP = "sc"


def make_results(film: bytes, screening: Screening, png: bytes) -> dict[str, bytes]:
    """Return the results of a film as DICOM files, by kind.

    Raises:
        RetryLaterError: The service's picture is none.
        HopelessError: The film's own elements do not allow it. The message has no value of them.
    """
    try:
        source = read_source(film)
        return {
            REPORT: _file(make_report(source, screening)),
            HEATMAP: _file(make_heatmap(source, screening, png)),
        }
    except StepError:
        raise
    except Exception as exc:  # whatever values that the standard forbids make the libraries raise
        raise HopelessError(f"no results can be made with the film's elements: {where(exc)}") from exc


def _file(data_set: Dataset) -> bytes:
    file = io.BytesIO()
    data_set.save_as(file, enforce_file_format=True)
    return file.getvalue()
