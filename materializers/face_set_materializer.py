"""FaceSetMaterializer: images as .npy, which loads as a memory map, and their table as Parquet."""

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from zenml.enums import ArtifactType, VisualizationType
from zenml.io import fileio
from zenml.materializers.base_materializer import BaseMaterializer

from vision.data import plots
from vision.data.face_table import read_parquet, write_parquet
from vision.data.faces import FaceSet
from vision.reporting.cells import plain_cell

IMAGES, TABLE, FACTS = "images.npy", "table.parquet", "faces.json"
SHOWN_PER_CLASS = 10


class FaceSetMaterializer(BaseMaterializer):
    """Stores a FaceSet; shows a grid of faces and the counts by split and class."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (FaceSet,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def save(self, data: FaceSet) -> None:
        with self.get_temporary_directory(delete_at_exit=True) as folder:
            np.save(Path(folder, IMAGES), data.images)
            write_parquet(data.table, Path(folder, TABLE))
            facts = {
                "name": data.name,
                "form": data.form,
                "class_names": data.class_names,
                "reading": dict(data.reading),
            }
            Path(folder, FACTS).write_text(json.dumps(facts), encoding="utf-8")
            for name in (IMAGES, TABLE, FACTS):
                fileio.copy(str(Path(folder, name)), f"{self.uri}/{name}")

    def load(self, data_type: type[Any]) -> FaceSet:
        folder = Path(self.uri)
        if not folder.is_dir():  # a remote artifact store: fetch once, then map the copy
            with self.get_temporary_directory(delete_at_exit=False) as fetched:
                folder = Path(fetched)
            for name in (IMAGES, TABLE, FACTS):
                fileio.copy(f"{self.uri}/{name}", str(folder / name))
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        images = np.load(folder / IMAGES, mmap_mode="r", allow_pickle=False)
        table = read_parquet(folder / TABLE)
        return FaceSet(facts["name"], facts["form"], tuple(facts["class_names"]), images, table, facts["reading"])

    def save_visualizations(self, data: FaceSet) -> dict[str, VisualizationType]:
        counts = pd.crosstab(data.table["split"], data.table["label"]).rename(columns=plain_cell)
        shown = {
            f"{self.uri}/faces.png": plots.sample_faces(data, SHOWN_PER_CLASS, seed=0),
            f"{self.uri}/counts.csv": counts.to_csv().encode(),
        }
        for path, content in shown.items():
            with fileio.open(path, "wb") as file:
                file.write(content)
        return {f"{self.uri}/faces.png": VisualizationType.IMAGE, f"{self.uri}/counts.csv": VisualizationType.CSV}

    def extract_metadata(self, data: FaceSet) -> dict[str, Any]:
        return {
            "faces": len(data),
            "unreadable": int((~data.decodable).sum()),
            "fingerprint": data.fingerprint,
            "image_shape": tuple(data.images.shape[1:]),
        }
