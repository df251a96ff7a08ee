"""The two results of a film: a Structured Report, and a Secondary Capture of the heatmap."""

import io
from typing import Any

import numpy as np
import pytest
from highdicom.sr import ComprehensiveSR
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage, SecondaryCaptureImageStorage

from dicom_node.errors import HopelessError, RetryLaterError
from dicom_node.heatmap import MAX_SIDE_PX, labelled, legend
from dicom_node.results import make_results
from tests.dicom_peers import NOTE, PATIENT, make_film, make_png, make_screening
from tests.dicoms import SYNTAXES


def results(film: bytes | None = None, png: bytes | None = None, **screening: Any) -> dict[str, Dataset]:
    made = make_results(film or make_film(), make_screening(**screening), png or make_png())
    return {kind: dcmread(io.BytesIO(file)) for kind, file in made.items()}


def texts(item: Dataset) -> list[tuple[str, str]]:
    """Name and value of every item of a report's tree."""
    found = []
    for child in item.get("ContentSequence", []):
        name = child.ConceptNameCodeSequence[0].CodeMeaning if "ConceptNameCodeSequence" in child else ""
        if child.ValueType == "CODE":
            found.append((name, child.ConceptCodeSequence[0].CodeMeaning))
        elif child.ValueType == "NUM":
            found.append((name, str(child.MeasuredValueSequence[0].NumericValue)))
        elif child.ValueType == "TEXT":
            found.append((name, child.TextValue))
        elif child.ValueType == "IMAGE":
            found.append((name, child.ReferencedSOPSequence[0].ReferencedSOPInstanceUID))
        found += texts(child)
    return found


def test_results_are_of_the_classes_that_a_pacs_takes() -> None:
    made = results()
    assert made["sr"].SOPClassUID == ComprehensiveSRStorage
    assert made["sc"].SOPClassUID == SecondaryCaptureImageStorage
    assert made["sc"].Modality == "OT", "or a node would screen it"


@pytest.mark.parametrize("kind", ["sr", "sc"])
def test_results_are_of_the_film_s_patient_and_study(kind: str) -> None:
    made = results()[kind]
    for keyword, value in PATIENT.items():
        assert str(made[keyword].value) == value, keyword
    assert made.StudyInstanceUID == "1.2.3"
    assert made.SeriesInstanceUID != "1.2.3.1"
    assert made.InstanceNumber == 7


@pytest.mark.parametrize("kind", ["sr", "sc"])
def test_uids_depend_on_film_and_model_alone(kind: str) -> None:
    first, again = results()[kind], results(p=0.1)[kind]
    assert (first.SOPInstanceUID, first.SeriesInstanceUID) == (again.SOPInstanceUID, again.SeriesInstanceUID)
    others = [results(make_film("1.2.3.5"))[kind], results(version="2.0.0")[kind]]
    assert first.SOPInstanceUID not in {other.SOPInstanceUID for other in others}


def test_report_is_a_measurement_report_that_highdicom_reads_again() -> None:
    report: Any = ComprehensiveSR.from_dataset(results()["sr"])
    content: Any = report.content
    (group,) = content.get_image_measurement_groups()
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert group.finding_type.meaning == "Pneumonia"


def test_report_has_the_prediction_its_probability_and_the_algorithm() -> None:
    found = texts(results()["sr"])
    for pair in [
        ("Finding", "Pneumonia"),
        ("Probability of pneumonia", "0.99981234"),
        ("Threshold of the operating point", "0.1268"),
        ("Algorithm Name", "Pneumonia screening"),
        ("Algorithm Version", "1.3.1"),
        ("Algorithm Parameters", "operating point rule_out, threshold 0.1268"),
        ("Prediction is uncertain", "No"),
        ("Comment", NOTE),
        ("Comment", "Not for diagnosis."),
        ("Source of Measurement", "1.2.3.4"),
        ("Source", "1.2.3.4"),
    ]:
        assert pair in found


def test_normal_film_is_no_finding_of_pneumonia() -> None:
    found = texts(results(p=0.000012345)["sr"])
    assert ("Finding", "Normal") in found
    assert ("Finding", "Pneumonia") not in found
    (probability,) = [value for name, value in found if name == "Probability of pneumonia"]
    assert float(probability) == pytest.approx(0.000012345, abs=1e-8)


def test_uncertainty_and_reasons_of_the_gate_are_told() -> None:
    found = texts(results(uncertain=True, gate={"reasons": ["too_small", "inverted"]})["sr"])
    assert ("Prediction is uncertain", "Yes") in found
    assert [value for name, value in found if name == "Reason of the input gate"] == ["too_small", "inverted"]


def test_report_is_preliminary_unverified_and_not_for_diagnosis() -> None:
    made = results()
    assert (made["sr"].PreliminaryFlag, made["sr"].VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    for one in made.values():
        assert "NOT FOR DIAGNOSIS" in one.SeriesDescription


def test_report_names_the_film_as_evidence() -> None:
    (study,) = results()["sr"].CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    (instance,) = series.ReferencedSOPSequence
    assert (study.StudyInstanceUID, series.SeriesInstanceUID, instance.ReferencedSOPInstanceUID) == (
        "1.2.3",
        "1.2.3.1",
        "1.2.3.4",
    )


def test_heatmap_refers_to_the_film() -> None:
    (reference,) = results()["sc"].SourceImageSequence
    assert reference.ReferencedSOPInstanceUID == "1.2.3.4"


def test_heatmap_is_the_picture_with_text_below() -> None:
    picture = results(png=make_png(400, 300))["sc"]
    pixels = picture.pixel_array
    assert (pixels[:300, :400] == (10, 120, 200)).all()
    below = pixels[300:]
    assert below.shape[0] > 20
    assert (below == 255).all(axis=2).any(), "white letters"


def test_odd_sizes_are_written_whole() -> None:
    pixels = results(png=make_png(401, 301))["sc"].pixel_array
    assert pixels.shape[1] >= 401
    assert (pixels[:301, :401] == (10, 120, 200)).all()


@pytest.mark.parametrize("size", [(40, 60), (200, 150), (1500, 1200), (5000, 200)])
def test_text_is_never_cut_off(size: tuple[int, int]) -> None:
    lines = legend(make_screening(uncertain=True))
    pixels = labelled(make_png(*size), lines)
    assert max(pixels.shape[:2]) <= max(MAX_SIDE_PX, 700) + 400
    right = pixels[min(size[1], MAX_SIDE_PX * size[1] // max(size)) :, -1]
    assert not (right == 255).all(axis=1).all()


def test_text_is_as_wide_as_the_service_s_picture() -> None:
    assert labelled(make_png(320, 344), legend(make_screening(uncertain=True))).shape[1] == 320


def test_large_picture_is_made_smaller() -> None:
    assert labelled(make_png(4000, 3000), ["text"]).shape[1] == MAX_SIDE_PX


def test_legend_has_the_verdict_and_that_it_is_not_for_diagnosis() -> None:
    text = "\n".join(legend(make_screening()))
    for part in ("NOT FOR DIAGNOSIS", "PNEUMONIA", "0.9998", "0.1268", "rule_out", "1.3.1"):
        assert part in text


def test_what_is_burned_into_the_film_is_said_of_the_heatmap() -> None:
    assert results(make_film(BurnedInAnnotation="YES"))["sc"].BurnedInAnnotation == "YES"
    assert "BurnedInAnnotation" not in results()["sc"]


@pytest.mark.parametrize("png", [b"", b"no picture", make_png()[:60], b"\xff\xd8\xff\xe0"])
def test_service_that_sends_no_picture_is_tried_again(png: bytes) -> None:
    with pytest.raises(RetryLaterError, match="PNG"):
        make_results(make_film(), make_screening(), png)


@pytest.mark.parametrize(
    "sop_class", ["1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1.1", "1.2.840.10008.5.1.4.1.1.7"]
)
@pytest.mark.parametrize("syntax", ["implicit", "big endian", "JPEG baseline", "JPEG 2000"])
def test_films_of_every_class_and_coding_have_results(sop_class: str, syntax: str) -> None:
    film = make_film(SOPClassUID=sop_class, modality="RG", transfer_syntax=syntax)
    made = results(film)
    assert ("Source", "1.2.3.4") in texts(made["sr"])
    assert syntax in SYNTAXES


@pytest.mark.filterwarnings("ignore")  # pydicom's, of the values
@pytest.mark.parametrize(
    "tags",
    [
        {"PatientOrientation": ["L", "F"], "ImagerPixelSpacing": [0.1, 0.1]},
        {"PatientOrientation": ["L", ""]},
        {"PatientOrientation": "L", "ImagerPixelSpacing": [0.1, 0.1]},
        {"PatientOrientation": ["left", "down"], "ImagerPixelSpacing": [0, 0]},
        {"PatientName": None, "PatientID": None, "StudyDate": None},
        {"PatientBirthDate": "00000000", "PatientSex": "?", "StudyTime": "noon"},
        {"PatientName": "No Caret At All Just A Very Long Name That Goes On And On And On For More Than Sixty Four"},
        {"PatientName": "Müller^Jörg", "SpecificCharacterSet": "ISO_IR 100"},
        {"SpecificCharacterSet": "NO SUCH SET"},
        {"PatientAge": "very old"},
        {"InstanceNumber": None},
        {"FrameOfReferenceUID": "1.2.3.99"},
    ],
)
def test_films_as_makers_write_them_have_results(tags: dict[str, Any]) -> None:
    made = results(make_film(**tags))
    assert set(made) == {"sr", "sc"}


def test_number_that_is_none_does_not_keep_a_film_from_its_results() -> None:
    film = make_film(PatientSize="1.234567").replace(b"1.234567", b"quite so")
    assert set(results(film)) == {"sr", "sc"}


def test_name_in_another_character_set_arrives_as_it_was() -> None:
    made = results(make_film(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg"))
    assert {str(one.PatientName) for one in made.values()} == {"Müller^Jörg"}


def test_film_that_allows_no_results_fails_without_its_values() -> None:
    with pytest.raises(HopelessError) as failed:
        make_results(b"\0" * 128 + b"DICM" + b"Doe^Jane" * 50, make_screening(), make_png())
    assert "Doe" not in str(failed.value)


def test_picture_is_of_eight_bit_rgb() -> None:
    pixels = labelled(make_png(), ["text"])
    assert pixels.dtype == np.uint8
    assert pixels.shape[2] == 3
    assert Image.fromarray(pixels).mode == "RGB"
