"""Whether a DICOM file is a frontal chest radiograph by what it says of itself.

What it names is held against the standard's terms and the variants that makers write; what it does not name becomes a
warning. No value of the file is repeated in any text: it might say who was examined.
"""

import contextlib
import re
import unicodedata

from handler.errors import UnusableFilm
from handler.formats.dicom_values import Values

MODALITIES = frozenset({"CR", "DX", "DR", "RG"})
"""Computed, digital and film radiography (PS3.3, C.7.3.1.1.1). DR is no term of the standard, but is written for DX."""

_FOR_PROCESSING_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.1.1.1"})
"""Digital X-Ray Image Storage - For Processing."""

YOUNGEST_YEARS, OLDER_YEARS = 1, 6
"""The training's films are of children of one to five years."""

_NOT_NAMED = frozenset({"", "NONE", "NA", "N A", "OTHER", "UNDEFINED", "UNKNOWN", "UNSPECIFIED"})

_POSTURES = re.compile(
    r"PORTABLE|MOBILE|BED ?SIDE|IN BED|SUPINE|RECUMBENT|SEMI|ERECT|UPRIGHT|SITTING|SEATED|STANDING"
    r"|LIEGEND|SITZEND|STEHEND|CHEST|THORAX| "
)
"""How a film was taken, or of what, without a word of the view."""

_CHEST = re.compile(
    r"CHEST|THORAX|TORAX|TORACE|LUNG|LONGEN|PULMO|POUMON|POLMON|POITRINE|BRUST|BORST|\bPECHO|PEITO|PETTO|\b(CXR|THX)"
    r"|(CAGE|CAVITE|CAJA|CAVIDADE?|CAIXA|GABBIA|CAVITA) TH?ORACI"
    r"|^THORACIC$|THORACIC (STRUCT|CAVIT|CAGE|REGION)"
)
"""In English, German, French, Spanish, Portuguese, Italian and Dutch."""
_NOT_CHEST = re.compile(
    r"ABD|PELV|RIB|SPINE|STERN|CLAVIC|WALL|NECK|BREAST|MAMM|HALS|BAUCH|BUIK|VENTRE|SHOULDER|SCHULTER|AORT|INLET"
    r"|VERTEB|LUMB|CERVI|DORS|RACHIS|COLON|COLUMN|COLUNA|WIRBEL|WERVEL|\bCOTES?\b|COSTIL|COSTEL|RIPPE"
    r"|BRUSTBEIN|BORSTBEEN"
)
"""What may stand beside the chest in a name that is of another examination, or of more than the chest."""

_FRONTAL = re.compile(
    r"\b(CHEST|THORAX)?(AP|PA|A P|P A)(CHEST|THORAX|ERECT|SEMI|SUPINE|SIT|PORT|MOBIL|BED|GRID|\b|\d)"
    r"|FRONT|\bFACE\b|ANTERO ?POST|POSTERO ?ANT"
)
_NOT_FRONTAL = re.compile(
    r"\b(LAO|RAO|LPO|RPO|LL|RL|LLO|RLO|LLD|RLD|AXIAL|LORDOTIC)\b|\bLAT|(?<!BI)LAT(ERAL|\b)|OBL|DECUB|TANGENT"
    r"|PROFIL|PERFIL|SEITL|ZIJDEL"
)
"""Laterals, obliques (PS3.3, C.8.1.4.1.1 and C.8.11.5.1.1) and films of a patient who lies on a side. Both lungs are
BILATERAL."""


def check_kind(values: Values) -> tuple[str, ...]:
    """Refuse what is named as something else than a frontal chest radiograph.

    Returns:
        Warnings, whole sentences: of what is not named, and of what may mislead.

    Raises:
        UnusableFilm: the file has several frames, or names another modality, body part or view.
    """
    if (values.whole("NumberOfFrames") or 1) > 1:
        raise UnusableFilm("the DICOM file holds several frames: send one film, a file of one frame")
    missing = [
        name
        for name, is_named in (
            ("modality", _names_modality(values)),
            ("body part", _names_body_part(values)),
            ("view position", _names_view(values)),
        )
        if not is_named
    ]
    warnings = []
    if missing:
        listed = " and ".join([", ".join(missing[:-1]), missing[-1]] if len(missing) > 1 else missing)
        warnings.append(f"Warning: the DICOM file does not name the {listed}.")
    if (
        values.text("PresentationIntentType") == "FOR PROCESSING"
        or values.text("SOPClassUID") in _FOR_PROCESSING_CLASSES
    ):
        warnings.append("Warning: the DICOM file is meant for processing, not for presentation.")
    if _is_of_other_age(values.text("PatientAge")):
        warnings.append("Warning: by the DICOM file, not a child of one to five years, whose films the model knows.")
    if _is_turned(values.texts("PatientOrientation")):
        warnings.append("Warning: by the DICOM file, the film is mirrored, turned or no frontal one.")
    return tuple(warnings)


def _names_modality(values: Values) -> bool:
    name = _words(values.text("Modality"))
    if name in _NOT_NAMED:
        return False
    if name not in MODALITIES:
        raise UnusableFilm("the DICOM file is of another modality than CR, DX, DR or RG: send a radiograph")
    return True


def _names_body_part(values: Values) -> bool:
    name = _named(values, "BodyPartExamined", "AnatomicRegionSequence")
    if not name or (not _CHEST.search(name) and not _POSTURES.sub("", name)):
        return False
    if not _CHEST.search(name) or _NOT_CHEST.search(name):
        raise UnusableFilm("the DICOM file names a body part that is not known as the chest: send a chest radiograph")
    if _NOT_FRONTAL.search(name):
        raise UnusableFilm("the DICOM file names a view that is not known as PA or AP: send a frontal chest radiograph")
    return True


def _names_view(values: Values) -> bool:
    name = _named(values, "ViewPosition", "ViewCodeSequence")
    if not name or not _POSTURES.sub("", name):
        return False
    if not _FRONTAL.search(name) or _NOT_FRONTAL.search(name):
        raise UnusableFilm("the DICOM file names a view that is not known as PA or AP: send a frontal chest radiograph")
    return True


def _named(values: Values, keyword: str, sequence: str) -> str:
    """Return a name as words of capitals and digits, the coded sequence's meaning behind the plain value.

    Digital radiographs must have the codes, and often leave the plain values out (PS3.3, C.8.11.2 and C.8.11.5). Both
    count: a posture is written where the view belongs, and the view is then a code.
    """
    item = values.item(sequence)
    names = (_words(values.text(keyword)), "" if item is None else _words(item.text("CodeMeaning")))
    return " ".join(name for name in names if name not in _NOT_NAMED)


def _words(text: str) -> str:
    """Return a text's words without accents, which are of Latin-1 or of UTF-8 that was read as such."""
    with contextlib.suppress(UnicodeError):
        text = text.encode("latin-1").decode()
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Z0-9]+", " ", plain.upper()).strip()


def _is_of_other_age(age: str) -> bool:
    """Whether an age is named that is not that of the training's films.

    Source:
        PS3.5, 6.2, VR AS: three digits, and of what: days, weeks, months or years.
    """
    if not re.fullmatch(r"[0-9]{3}[DWMY]", age):
        return False
    years = int(age[:3]) / {"D": 365, "W": 52, "M": 12, "Y": 1}[age[3]]
    return not YOUNGEST_YEARS <= years < OLDER_YEARS


def _is_turned(orientation: list[str]) -> bool:
    """Whether the film is not shown as usual: the patient's left at its right side, the feet at its bottom.

    Source:
        PS3.3, C.7.6.1.1.1.
    """
    if len(orientation) != 2 or not all(orientation):  # noqa: PLR2004 - of the rows, and of the columns
        return False
    rows, columns = orientation
    return not (rows.startswith("L") and columns.startswith("F"))
