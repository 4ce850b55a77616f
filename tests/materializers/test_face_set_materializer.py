from pathlib import Path

import numpy as np
import pandas as pd

from materializers.face_set_materializer import FaceSetMaterializer
from vision.data.faces import FaceSet


def test_a_loaded_face_set_equals_the_saved_one_and_is_memory_mapped(drawn: FaceSet, tmp_path: Path) -> None:
    FaceSetMaterializer(str(tmp_path)).save(drawn)

    loaded = FaceSetMaterializer(str(tmp_path)).load(FaceSet)

    assert isinstance(loaded.images, np.memmap)
    np.testing.assert_array_equal(loaded.images, drawn.images)
    pd.testing.assert_frame_equal(loaded.table, drawn.table)
    assert (loaded.name, loaded.form, loaded.class_names) == (drawn.name, drawn.form, drawn.class_names)
    assert loaded.fingerprint == drawn.fingerprint


def test_it_shows_faces_and_counts(drawn: FaceSet, tmp_path: Path) -> None:
    shown = FaceSetMaterializer(str(tmp_path)).save_visualizations(drawn)

    assert {Path(path).name: kind.value for path, kind in shown.items()} == {"faces.png": "image", "counts.csv": "csv"}
    assert Path(tmp_path, "faces.png").read_bytes().startswith(b"\x89PNG")
    assert "unassigned" in Path(tmp_path, "counts.csv").read_text()
