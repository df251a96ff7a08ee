"""The heatmap as a DICOM Secondary Capture: the film with the map over it, and text in the picture itself."""

import io

import numpy as np
import numpy.typing as npt
from highdicom.sc import SCImage
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.errors import RetryLaterError
from dicom_node.report import ALGORITHM, MANUFACTURER, SERIES_DESCRIPTION, SERIES_NUMBER
from dicom_node.service import Screening
from dicom_node.source import CHARACTER_SET, derived_uid, instance_number

MAX_SIDE_PX = 2048
"""A heatmap has some 5 x 5 values: a larger picture shows no more, and is sent uncompressed."""
TEXT_SIZE = 0.035
"""Of the text, in shorter sides of the picture; no less than MIN_TEXT_PX."""
MIN_TEXT_PX = 12
TRUE_OF_BOTH = (
    "BodyPartExamined",
    "BurnedInAnnotation",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
"""What is true of the film is true of a picture of it."""


def make_heatmap(source: Dataset, screening: Screening, png: bytes) -> Dataset:
    """Return the heatmap of a film.

    Args:
        source: The film's elements, of `read_source`.
        screening: The service's answer.
        png: The service's picture.

    Raises:
        RetryLaterError: The service's picture is none.
    """
    detail = screening.detail
    key = (str(source.SOPInstanceUID), detail.model_version, detail.operating_point.name)
    image = SCImage(
        pixel_array=labelled(png, legend(screening)),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=source.StudyInstanceUID,
        series_instance_uid=derived_uid("sc series", *key),
        series_number=SERIES_NUMBER + 1,
        sop_instance_uid=derived_uid("sc", *key),
        instance_number=instance_number(source),
        manufacturer=MANUFACTURER,
        manufacturer_model_name=ALGORITHM,
        software_versions=detail.model_version,
        series_description=SERIES_DESCRIPTION,
        patient_orientation=("L", "F"),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        specific_character_set=CHARACTER_SET,
    )
    image.copy_patient_and_study_information(source)
    image.PatientOrientation = source.get("PatientOrientation", "")  # the film's own: it may be empty
    for keyword in TRUE_OF_BOTH:
        if keyword in source:
            image[keyword] = source[keyword]
    if not image.get("BodyPartExamined"):
        image.Laterality = ""  # unknown; of a chest, which is no paired part, it must be absent
    image.DerivationDescription = "Class activation map of a screening model over the film. Not for diagnosis."
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    image.SourceImageSequence = [reference]
    return image


def legend(screening: Screening) -> list[str]:
    """Return the lines that are written into the picture: short, because it is no wider than a thumbnail."""
    detail = screening.detail
    point = detail.operating_point
    sureness = " (uncertain)" if detail.uncertain else ""
    return [
        "NOT FOR DIAGNOSIS.",
        "Screening model, not a medical device.",
        f"{screening.prediction}{sureness}, p = {screening.p_pneumonia:.4f}",
        f"threshold {point.threshold:.4f} ({point.name}), model {detail.model_version}",
    ]


def labelled(png: bytes, lines: list[str]) -> npt.NDArray[np.uint8]:
    """Return a picture with lines of text below it.

    Returns:
        (H, W, 3), RGB.

    Raises:
        RetryLaterError: It is no picture.
    """
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as opened:
            picture = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as exc:
        raise RetryLaterError("the service's heatmap is no PNG") from exc
    lines = [line.replace(" ", "  ") for line in lines]  # the font's own spaces cannot be seen at this size
    picture.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX))
    size = max(MIN_TEXT_PX, round(TEXT_SIZE * min(picture.size)))
    font = ImageFont.load_default(size)
    longest = max(font.getlength(line) for line in lines)
    if longest > picture.width:  # smaller, as far as it can still be read
        size = max(MIN_TEXT_PX, int(size * picture.width / longest))
        font = ImageFont.load_default(size)
        longest = max(font.getlength(line) for line in lines)
    line_px = round(1.4 * size)
    whole = Image.new("RGB", (max(picture.width, round(longest)), picture.height + line_px * len(lines)), "black")
    whole.paste(picture, ((whole.width - picture.width) // 2, 0))
    pen = ImageDraw.Draw(whole)
    for number, line in enumerate(lines):
        pen.text((0, picture.height + number * line_px), line, fill="white", font=font)
    return np.asarray(whole)
