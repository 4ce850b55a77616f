"""Step preprocess_data: drop unusable faces, split and resize."""

import tempfile
from pathlib import Path
from typing import Annotated

from zenml import step

from configs.data_settings import PreprocessingSettings
from materializers.face_set_materializer import FaceSetMaterializer
from materializers.report_materializer import ReportMaterializer
from stack.client_files import receive_file
from stack.run_log import measured
from vision.data.faces import FaceSet
from vision.data.preprocessing import PreprocessingReport, preprocess_faces


@step(output_materializers={"prepared": FaceSetMaterializer, "preprocessing_report": ReportMaterializer})
def preprocess_data(
    faces: FaceSet, preprocessing: PreprocessingSettings, seed: int, verdicts: str = ""
) -> tuple[Annotated[FaceSet, "prepared"], Annotated[PreprocessingReport, "preprocessing_report"]]:
    """Change labels and drop faces as the settings say, make the missing splits and resize.

    `verdicts` is where the artifact store has the file of `preprocessing.relabel`, or empty.
    """
    with measured(), tempfile.TemporaryDirectory() as temporary:
        if verdicts:
            received = receive_file(verdicts, Path(temporary))
            preprocessing = preprocessing.model_copy(update={"relabel": received})
        prepared, report = preprocess_faces(faces, preprocessing, seed)
    return prepared, report
