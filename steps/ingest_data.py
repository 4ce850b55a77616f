"""Step ingest_data: read and decode the data set."""

from typing import Annotated

from zenml import step

from configs.data_settings import DatasetSettings
from configs.inference_settings import DetectionSettings
from materializers.face_set_materializer import FaceSetMaterializer
from stack.run_log import measured
from vision.data.faces import FaceSet
from vision.data.ingestion import ingest_faces


@step(output_materializers=FaceSetMaterializer)
def ingest_data(
    dataset: DatasetSettings, seed: int, source_fingerprint: str, detection: DetectionSettings | None = None
) -> Annotated[FaceSet, "faces"]:
    """Read and decode the data set; `source_fingerprint` makes the cache notice that its files changed."""
    with measured():
        return ingest_faces(dataset, seed, detection)
