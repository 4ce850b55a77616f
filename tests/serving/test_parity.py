from pathlib import Path

import numpy as np
import pytest

from serving.served_model import ModelFacts, ModelFile, load_model
from tests.serving.conftest import NAMES, SIDE


@pytest.mark.serving
def test_keras_and_the_service_s_model_agree_on_the_same_crops(tmp_path: Path) -> None:
    from tests.vision.model.test_runtimes import toy
    from vision.lifecycle.onnx_files import write_float32
    from vision.model.classifier import predict

    classifier = toy(SIDE)
    crops = np.random.default_rng(0).integers(0, 256, (20, SIDE, SIDE), dtype=np.uint8)
    file = tmp_path / "model.onnx"
    write_float32(classifier, file)
    model = load_model(ModelFile("emotions", "1", "registry", file.read_bytes(), NAMES), ModelFacts(), 16)

    np.testing.assert_allclose(model.predictor.predict(crops, 16), predict(classifier, crops, 20), atol=1e-3)
