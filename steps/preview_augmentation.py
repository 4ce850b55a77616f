"""Step preview_augmentation: show faces before and after augmentation."""

from typing import Annotated

from zenml import step

from configs.training_settings import AugmentationSettings
from materializers.report_materializer import ReportMaterializer
from stack.run_log import measured
from vision.data.faces import FaceSet
from vision.training.augmentation import AugmentationReport, preview_faces


@step(output_materializers=ReportMaterializer)
def preview_augmentation(
    prepared: FaceSet, augmentation: AugmentationSettings, crop_size: int, seed: int
) -> Annotated[AugmentationReport, "augmentation_report"]:
    """Show faces before and after augmentation; training applies it inside its graph."""
    with measured():
        return preview_faces(prepared, augmentation, crop_size, seed)
