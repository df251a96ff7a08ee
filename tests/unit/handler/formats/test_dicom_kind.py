from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from handler.errors import UnusableFilm
from handler.formats import dicom
from tests.dicoms import SYNTAXES, written
from tests.dicoms import dicom as dicom_of

FILM = np.arange(100 * 120, dtype=np.uint16).reshape(100, 120)


def warnings_of(**tags: Any) -> tuple[str, ...]:
    return dicom.open(dicom_of(FILM, **tags)).header.warnings


def code(meaning: str) -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "12345", "SCT", meaning
    return [item]


@pytest.mark.parametrize("modality", ["CR", "DX", "DR", "RG", "dx", " DX "])
def test_radiograph_is_read(modality: str) -> None:
    assert warnings_of(modality=modality) == ()


@pytest.mark.parametrize("modality", ["CT", "MR", "US", "MG", "XA", "RF", "PX", "IO", "OT", "SC", "SR", "XC"])
def test_other_modality_is_refused(modality: str) -> None:
    with pytest.raises(UnusableFilm, match="another modality than CR, DX, DR or RG"):
        warnings_of(modality=modality)


@pytest.mark.parametrize(
    "body_part",
    [
        *("CHEST", "chest", "CHEST ", "CHEST_PA", "PORT CHEST", "THORAX", "TORAX", "LUNGS", "TORACE", "CXR PA"),
        *("BRUST", "BRUSTKORB", "POITRINE", "BORST", "BORSTKAS", "THORACIC", "LUNGS BILATERAL", "CHEST BILAT"),
        *("PECHO", "PEITO", "PETTO", "POLMONI", "CAJA TORACICA", "CAGE THORACIQUE", "PORTABLE CHEST"),
    ],
)
def test_chest_is_read(body_part: str) -> None:
    assert warnings_of(body_part=body_part) == ()


@pytest.mark.parametrize(
    "body_part",
    [
        *("HAND", "ABDOMEN", "SKULL", "PELVIS", "KNEE", "BREAST", "CSPINE", "TSPINE", "RIB", "HEART"),
        *("CHESTABDOMEN", "CHESTABDPELVIS", "NECKCHEST", "THORAX SPINE", "CHEST WALL", "1234567"),
        *("THORACIC SPINE", "THORACOLUMBAR", "RACHIS THORACIQUE", "BRUSTWIRBELSAEULE", "BRUSTBEIN", "BORSTBEEN"),
        *("BORSTWERVEL", "COLUMNA TORACICA", "THORAX ABDOMEN", "BECKEN", "RODILLA", "GENOU"),
    ],
)
def test_other_body_part_is_refused(body_part: str) -> None:
    with pytest.raises(UnusableFilm, match="a body part that is not known as the chest") as result:
        warnings_of(body_part=body_part)
    assert body_part not in str(result.value)


@pytest.mark.parametrize(
    "view",
    [
        *("PA", "AP", "pa", "AP ", "P-A", "A.P.", "PA_ERECT", "AP SUPINE", "APSUPINE", "PAERECT", "AP_PORTABLE"),
        *("CHEST PA", "CHESTPA", "PA CHEST", "FRONTAL", "POSTERO_ANTERIOR", "ANTEROPOSTERIOR", "PA1", "FACE"),
    ],
)
def test_frontal_view_is_read(view: str) -> None:
    assert warnings_of(view=view) == ()


@pytest.mark.parametrize(
    "view",
    [
        *("LL", "RL", "LLD", "RLD", "RLO", "LLO", "LAO", "RPO", "LATERAL", "LAT", "LEFT LATERAL", "OBLIQUE", "PA OBL"),
        *("AP LLD", "AP DECUBITUS", "AP LORDOTIC", "AXIAL", "TANGENTIAL", "APICAL", "PATELLA", "WATERS", "1"),
    ],
)
def test_other_view_is_refused(view: str) -> None:
    with pytest.raises(UnusableFilm, match="a view that is not known as PA or AP"):
        warnings_of(view=view)


@pytest.mark.parametrize(
    "body_part",
    ["CHEST LATERAL", "THORAX PROFIL", "CHEST LAT", "CHESTLATERAL", "THORAX SEITLICH", "CHESTLAT", "TORAX PERFIL"],
)
def test_lateral_that_only_the_body_part_names_is_refused(body_part: str) -> None:
    with pytest.raises(UnusableFilm, match="a view that is not known as PA or AP"):
        warnings_of(body_part=body_part, view=None)


@pytest.mark.parametrize("unknown", [None, "", "UNKNOWN", "OTHER", "N/A", "UNDEFINED"])
@pytest.mark.parametrize(
    ("names", "result"),
    [
        (["modality"], "modality"),
        (["body_part"], "body part"),
        (["view"], "view position"),
        (["body_part", "view"], "body part and view position"),
        (["modality", "body_part", "view"], "modality, body part and view position"),
    ],
)
def test_what_is_not_named_is_warned_of(names: list[str], result: str, unknown: str | None) -> None:
    assert warnings_of(**dict.fromkeys(names, unknown)) == (f"Warning: the DICOM file does not name the {result}.",)


@pytest.mark.parametrize("name", ["implicit", "explicit", "big endian"])
def test_codes_name_what_the_plain_values_leave_out(name: str) -> None:
    good = {"AnatomicRegionSequence": code("Chest"), "ViewCodeSequence": code("postero-anterior")}
    assert warnings_of(transfer_syntax=name, body_part=None, view=None, **good) == ()
    with pytest.raises(UnusableFilm, match="body part"):
        warnings_of(transfer_syntax=name, body_part=None, AnatomicRegionSequence=code("Lower leg"))
    with pytest.raises(UnusableFilm, match="view"):
        warnings_of(transfer_syntax=name, view="", ViewCodeSequence=code("left lateral"))
    assert len(warnings_of(transfer_syntax=name, view="", ViewCodeSequence=[Dataset()])) == 1


@pytest.mark.parametrize("frames", [2, 300])
def test_several_frames_are_refused(frames: int) -> None:
    with pytest.raises(UnusableFilm, match="several frames"):
        warnings_of(NumberOfFrames=frames)


@pytest.mark.parametrize(
    "tags",
    [{"PresentationIntentType": "FOR PROCESSING"}, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1"}],
    ids=str,
)
def test_raw_film_is_warned_of(tags: dict[str, Any]) -> None:
    (warning,) = warnings_of(**tags)
    assert warning.startswith("Warning: ")
    assert "for processing" in warning


@pytest.mark.parametrize("age", ["001Y", "005Y", "012M", "071M", "060W", "", "5Y", "child", "999Z", "-05Y"])
def test_age_of_the_training_s_films_or_none_is_not_warned_of(age: str) -> None:
    assert warnings_of(PatientAge=age) == ()


@pytest.mark.parametrize("age", ["006Y", "045Y", "000Y", "011M", "030D", "072M", "999W"])
def test_other_age_is_warned_of_without_being_told(age: str) -> None:
    (warning,) = warnings_of(PatientAge=age)
    assert "not a child of one to five years" in warning
    assert age not in warning


def test_film_for_presentation_is_not_warned_of() -> None:
    assert warnings_of(PresentationIntentType="FOR PRESENTATION") == ()


@pytest.mark.parametrize("orientation", [["L", "F"], ["L", "FP"], ["LA", "F"], "", ["L", ""], ["L"]], ids=str)
def test_usual_or_unsaid_orientation_is_not_warned_of(orientation: Any) -> None:
    assert warnings_of(PatientOrientation=orientation) == ()


@pytest.mark.parametrize("orientation", [["R", "F"], ["L", "H"], ["F", "L"], ["A", "F"]], ids=str)
def test_other_orientation_is_warned_of(orientation: list[str]) -> None:
    (warning,) = warnings_of(PatientOrientation=orientation)
    assert "mirrored, turned or no frontal" in warning


def test_no_value_of_the_file_is_repeated() -> None:
    secrets = {"PatientName": "Doe^Jane", "PatientID": "ID4711", "StudyDate": "20011231", "AccessionNumber": "A0815"}
    named = {"modality": "JANE", "body_part": "DOE", "view": "ID4711"}
    texts = []
    for tag, value in named.items():
        with pytest.raises(UnusableFilm) as result:
            warnings_of(**{tag: value}, **secrets)
        texts.append(str(result.value))
        texts.extend(warnings_of(**{tag: None}, **secrets))
    assert not any(value in text for text in texts for value in (*secrets.values(), "JANE", "DOE"))


def test_report_is_refused_as_holding_no_image() -> None:
    report = Dataset()
    report.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    report.SOPInstanceUID = "1.2.3"
    report.Modality = "SR"
    with pytest.raises(UnusableFilm, match="holds no image: it may be a report"):
        dicom.open(written(report, SYNTAXES["explicit"]))


@pytest.mark.parametrize(
    "view", ["PORTABLE", "SUPINE", "ERECT", "SEMI-ERECT", "PORTABLE SUPINE", "CHEST", "PORTABLE CHEST", "liegend"]
)
def test_posture_alone_names_no_view(view: str) -> None:
    assert warnings_of(view=view) == ("Warning: the DICOM file does not name the view position.",)


def test_posture_alone_names_no_body_part() -> None:
    assert warnings_of(body_part="PORTABLE") == ("Warning: the DICOM file does not name the body part.",)


@pytest.mark.parametrize("view", ["AP SEMI-ERECT", "AP PORTABLE", "APSEMIERECT", "PA BILATERAL"])
def test_posture_beside_a_frontal_view_is_read(view: str) -> None:
    assert warnings_of(view=view) == ()


def test_code_of_a_lateral_beside_a_posture_is_refused() -> None:
    assert warnings_of(view="ERECT", ViewCodeSequence=code("postero-anterior")) == ()
    with pytest.raises(UnusableFilm, match="view"):
        warnings_of(view="ERECT", ViewCodeSequence=code("left lateral"))


@pytest.mark.parametrize("name", ["Tórax", "TÓRAX", "CAVITÀ TORACICA"])
@pytest.mark.parametrize("character_set", ["ISO_IR 100", "ISO_IR 192"])
def test_accents_are_read_in_latin_1_and_utf_8(name: str, character_set: str) -> None:
    region = {"AnatomicRegionSequence": code(name), "SpecificCharacterSet": character_set}
    assert warnings_of(body_part=None, **region) == ()
