"""Step validate_data: check the data set with Great Expectations."""

from typing import Annotated

from zenml import step

from configs.data_settings import ValidationSettings
from materializers.report_materializer import ReportMaterializer
from stack.run_log import measured
from vision.data.faces import FaceSet
from vision.data.validation import ValidationReport, validate_faces


@step(output_materializers=ReportMaterializer)
def validate_data(
    faces: FaceSet, validation: ValidationSettings, blank_standard_deviation: float
) -> Annotated[ValidationReport, "validation"]:
    """Check the data set with Great Expectations; accept_data decides what follows from the result."""
    with measured():
        return validate_faces(faces, validation, blank_standard_deviation)
