"""KerasModelMaterializer: models in Keras's own format; ZenML would pickle them."""

from pathlib import Path
from typing import Any, ClassVar

import keras
from zenml.enums import ArtifactType, VisualizationType
from zenml.io import fileio
from zenml.materializers.base_materializer import BaseMaterializer

from vision.model.classifier import load_safely

MODEL, LAYERS = "model.keras", "layers.md"


class KerasModelMaterializer(BaseMaterializer):
    """Stores a Keras model; shows its layers."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (keras.Model,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.MODEL

    def save(self, data: keras.Model) -> None:
        with self.get_temporary_directory(delete_at_exit=True) as folder:
            data.save(Path(folder, MODEL))
            fileio.copy(str(Path(folder, MODEL)), f"{self.uri}/{MODEL}")

    def load(self, data_type: type[Any]) -> keras.Model:
        with self.get_temporary_directory(delete_at_exit=True) as folder:
            fileio.copy(f"{self.uri}/{MODEL}", str(Path(folder, MODEL)))
            return load_safely(Path(folder, MODEL))

    def save_visualizations(self, data: keras.Model) -> dict[str, VisualizationType]:
        lines = ["| layer | type | output | weights |", "| --- | --- | --- | ---: |"]
        lines += [
            f"| {layer.name} | {type(layer).__name__} | {tuple(layer.output.shape)} | {layer.count_params():,} |"
            for layer in data.layers
        ]
        with fileio.open(f"{self.uri}/{LAYERS}", "w") as file:
            file.write("\n".join(lines))
        return {f"{self.uri}/{LAYERS}": VisualizationType.MARKDOWN}

    def extract_metadata(self, data: keras.Model) -> dict[str, Any]:
        return {"weights": data.count_params(), "layers": len(data.layers)}
