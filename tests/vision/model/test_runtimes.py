import sys
from pathlib import Path
from typing import get_args

import keras
import numpy as np
import pytest

from configs.errors import UserError
from configs.inference_settings import InferenceSettings
from vision.lifecycle.onnx_files import write_float32
from vision.model.classifier import predict
from vision.model.onnx_runtime import ONNX_FILES, onnx_predictor
from vision.model.runtimes import KERAS, keras_predictor


def toy(side: int = 8, classes: int = 7) -> keras.Model:
    faces = keras.Input((None, None, 1))
    x = keras.layers.Rescaling(1 / 255)(keras.layers.Resizing(side, side, name="resize")(faces))
    return keras.Model(faces, keras.layers.Dense(classes, activation="softmax")(keras.layers.Flatten()(x)))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxruntime")
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    write_float32(toy(), path)
    return path


def test_the_runtimes_are_those_that_the_setting_names() -> None:
    assert get_args(InferenceSettings.model_fields["runtime"].annotation) == (KERAS, *ONNX_FILES)


def test_a_keras_predictor_answers_as_its_classifier_does() -> None:
    model = toy()
    faces = np.random.default_rng(0).integers(0, 256, (5, 8, 8), dtype=np.uint8)

    predictor = keras_predictor(model)

    assert predictor.side == 8
    np.testing.assert_array_equal(predictor.predict(faces, 2), predict(model, faces, 2))


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_refused_in_one_sentence(share: float, file: Path, tmp_path: Path) -> None:
    content = file.read_bytes()
    (tmp_path / "model.onnx").write_bytes(content[: int(share * len(content))])

    with pytest.raises(UserError, match=r"model\.onnx (cannot be read as an ONNX model|is not this model's)") as raised:
        onnx_predictor(tmp_path / "model.onnx", 8, 7)

    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("side", "classes"), [(9, 7), (8, 6)])
def test_a_file_of_another_model_is_refused(side: int, classes: int, file: Path) -> None:
    with pytest.raises(UserError, match=r"is not this model's: it takes and gives .*, expected "):
        onnx_predictor(file, side, classes)


def test_without_onnx_runtime_the_message_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    with pytest.raises(UserError, match=r"run `\.venv/bin/pip install onnxruntime`"):
        onnx_predictor(tmp_path / "model.onnx", 8, 7)
