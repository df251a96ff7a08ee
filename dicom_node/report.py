"""The result as a DICOM Structured Report: Comprehensive SR of TID 1500, Measurement Report.

Source: PS3.16, TID 1500, 1501, 300 and 4019.
"""

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import (
    AlgorithmIdentification,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.service import Screening
from dicom_node.source import CHARACTER_SET, derived_uid, instance_number

ALGORITHM = "Pneumonia screening"
MANUFACTURER = "pneumonia-screening"
SERIES_DESCRIPTION = "Pneumonia screening - NOT FOR DIAGNOSIS"
NOT_FOR_DIAGNOSIS = "Not for diagnosis."
SERIES_NUMBER = 9001
"""High, as series numbers of a study are the modality's."""

SCHEME = "99PNEUMONIA"
"""Private codes begin with 99 (PS3.3, 8.2)."""
PROBABILITY = Code("PROBABILITY", SCHEME, "Probability of pneumonia")
THRESHOLD = Code("THRESHOLD", SCHEME, "Threshold of the operating point")
PREDICTION = Code("PREDICTION", SCHEME, "Prediction of the screening model")
UNCERTAIN = Code("UNCERTAIN", SCHEME, "Prediction is uncertain")
GATE_REASON = Code("GATE_REASON", SCHEME, "Reason of the input gate")
NO_UNIT = Code("1", "UCUM", "no units")
CHEST_FILM = Code("399208008", "SCT", "Plain X-ray of chest")
LUNG = Code("39607008", "SCT", "Lung")
FINDINGS = {
    "PNEUMONIA": Code("233604007", "SCT", "Pneumonia"),
    "NORMAL": Code("17621005", "SCT", "Normal"),
}
MAX_DECIMALS = 8
"""A decimal string of the standard has 16 characters."""


def make_report(source: Dataset, screening: Screening) -> Dataset:
    """Return the report on a film.

    Args:
        source: The film's elements, of `read_source`.
        screening: The service's answer.
    """
    detail = screening.detail
    key = (str(source.SOPInstanceUID), detail.model_version, detail.operating_point.name)
    return ComprehensiveSR(
        evidence=[source],
        content=MeasurementReport(
            observation_context=_observer(detail.model_version),
            procedure_reported=CHEST_FILM,
            imaging_measurements=[_measurements(source, screening, tracking_uid=derived_uid("tracking", *key))],
            referenced_images=[_for_library(source)],
        ),
        series_instance_uid=derived_uid("sr series", *key),
        series_number=SERIES_NUMBER,
        sop_instance_uid=derived_uid("sr", *key),
        instance_number=instance_number(source),
        manufacturer=MANUFACTURER,
        manufacturer_model_name=ALGORITHM,
        software_versions=detail.model_version,
        series_description=SERIES_DESCRIPTION,
        is_complete=True,
        is_final=False,
        is_verified=False,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        specific_character_set=CHARACTER_SET,
        coding_schemes=[CodingSchemeIdentificationItem(SCHEME, name=f"{ALGORITHM}, private codes")],
    )


def _observer(model_version: str) -> ObservationContext:
    device = DeviceObserverIdentifyingAttributes(
        uid=derived_uid("device", model_version),
        name=ALGORITHM,
        manufacturer_name=MANUFACTURER,
        model_name=f"{ALGORITHM} {model_version}",
    )
    return ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device))


def _measurements(source: Dataset, screening: Screening, *, tracking_uid: str) -> MeasurementsAndQualitativeEvaluations:
    detail = screening.detail
    point = detail.operating_point
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=tracking_uid, identifier=ALGORITHM),
        finding_type=FINDINGS[screening.prediction],
        algorithm_id=AlgorithmIdentification(
            name=ALGORITHM,
            version=detail.model_version,
            parameters=[f"operating point {point.name}, threshold {point.threshold:g}"],
            manufacturer=MANUFACTURER,
        ),
        finding_sites=[FindingSite(LUNG)],
        measurements=[
            Measurement(name=PROBABILITY, value=round(detail.p_pneumonia, MAX_DECIMALS), unit=NO_UNIT),
            Measurement(name=THRESHOLD, value=round(point.threshold, MAX_DECIMALS), unit=NO_UNIT),
        ],
        qualitative_evaluations=[
            QualitativeEvaluation(PREDICTION, Code(screening.prediction, SCHEME, screening.prediction)),
            QualitativeEvaluation(UNCERTAIN, codes.SCT.Yes if detail.uncertain else codes.SCT.No),
        ],
        source_images=[SourceImageForMeasurementGroup(source.SOPClassUID, source.SOPInstanceUID)],
    )
    texts = [(codes.DCM.Comment, text) for text in (screening.note, NOT_FOR_DIAGNOSIS)]
    texts += [(GATE_REASON, reason) for reason in detail.gate.reasons]
    for name, text in texts:
        group[0].ContentSequence.append(  # TID 1501 may be extended
            TextContentItem(name=name, value=text, relationship_type=RelationshipTypeValues.CONTAINS)
        )
    return group


def _for_library(source: Dataset) -> Dataset:
    """Return the film for the image library, which describes a radiograph only by values that it must then have."""
    image = Dataset()
    image.update(source)
    if not _is_pair(source.get("PatientOrientation")) or not _is_pair(source.get("ImagerPixelSpacing")):
        image.Modality = ""
    return image


def _is_pair(value: object) -> bool:
    return isinstance(value, MultiValue) and len(value) == 2 and all(value)  # noqa: PLR2004 - of rows and columns
