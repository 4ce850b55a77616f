from pathlib import Path

import keras
import numpy as np

from configs.settings import Settings
from materializers.keras_model_materializer import KerasModelMaterializer
from vision.data.faces import FaceSet
from vision.model.classifier import build_classifier, predict, with_temperature


def test_a_loaded_model_predicts_as_the_saved_one(small_settings: Settings, drawn: FaceSet, tmp_path: Path) -> None:
    model = with_temperature(build_classifier(small_settings.classifier, side=32, classes=7), 1.3)
    KerasModelMaterializer(str(tmp_path)).save(model)

    loaded = KerasModelMaterializer(str(tmp_path)).load(keras.Model)

    np.testing.assert_allclose(predict(loaded, drawn.images[:4], 4), predict(model, drawn.images[:4], 4), rtol=1e-5)


def test_its_layers_are_shown(small_settings: Settings, tmp_path: Path) -> None:
    model = build_classifier(small_settings.classifier, side=32, classes=7)

    (path,) = KerasModelMaterializer(str(tmp_path)).save_visualizations(model)

    assert "| block1_conv1 | Conv2D |" in Path(path).read_text()
