"""Step preprocess_data: drop unusable faces, split and resize."""

from typing import Annotated

from zenml import step

from configs.data_settings import PreprocessingSettings
from materializers.face_set_materializer import FaceSetMaterializer
from materializers.report_materializer import ReportMaterializer
from stack.run_log import measured
from vision.data.faces import FaceSet
from vision.data.preprocessing import PreprocessingReport, preprocess_faces


@step(output_materializers={"prepared": FaceSetMaterializer, "preprocessing_report": ReportMaterializer})
def preprocess_data(
    faces: FaceSet, preprocessing: PreprocessingSettings, seed: int
) -> tuple[Annotated[FaceSet, "prepared"], Annotated[PreprocessingReport, "preprocessing_report"]]:
    """Drop what the settings say, make the missing splits and resize."""
    with measured():
        prepared, report = preprocess_faces(faces, preprocessing, seed)
    return prepared, report
