"""Released models: a bundle that comes with the project as a model that can predict, without a registry."""

import tempfile
from pathlib import Path

from stack.model_store import LoadedModel
from vision.lifecycle.bundle_import import verify_model
from vision.lifecycle.bundles import read_bundle
from vision.model.onnx_runtime import ONNX_FILES, Predictor, onnx_predictor
from vision.model.runtimes import KERAS, keras_predictor

SETTING = "the released model"


def load_released(path: Path, max_bytes: int, runtime: str) -> tuple[LoadedModel, Predictor]:
    """Return the verified model of a bundle, whose file is the bundle, and its predictor of `inference.runtime`.

    Raises UserError where the bundle was altered or one of its models does not answer as where it was exported.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        about = read_bundle(path, folder, max_bytes, SETTING)
        verified = verify_model(path, folder, about, SETTING)
        names = tuple(verified.class_names)
        model = LoadedModel(path.stem, verified.classifier, names, path)
        predictor = keras_predictor(verified.classifier)
        if runtime != KERAS:
            predictor = onnx_predictor(folder / ONNX_FILES[runtime], predictor.side, len(names))
        return model, predictor
