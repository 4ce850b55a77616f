import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import pandas as pd
import pytest

from configs.errors import UserError
from configs.settings import Settings
from stack import model_store, registry
from vision.model.backbones import vgg19
from vision.model.classifier import load_classifier

CONFIG, WEIGHTS = "config.json", "model.weights.h5"


class Opened:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    faces = keras.Input((8, 8, 1), name="faces")
    resized = keras.layers.Resizing(8, 8, name="resize")(faces)
    logits = keras.layers.Dense(7, name="head_logits")(keras.layers.Flatten()(resized))
    path = tmp_path_factory.mktemp("model") / "model.keras"
    keras.Model(faces, logits).save(path)
    return path


@pytest.fixture
def changed(saved: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the saved model again with members replaced or added."""

    def change(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
        path = tmp_path / "changed.keras"
        with zipfile.ZipFile(saved) as source, zipfile.ZipFile(path, "w", compression) as target:
            for name, data in ({name: source.read(name) for name in source.namelist()} | members).items():
                target.writestr(name, data)
        return path

    return change


def with_layer(saved: Path, **layer: Any) -> bytes:
    """Return the model's configuration with another layer in the place of its Flatten."""
    with zipfile.ZipFile(saved) as archive:
        config = json.loads(archive.read(CONFIG))
    flatten = next(found for found in config["config"]["layers"] if found["class_name"] == "Flatten")
    flatten.update(layer)
    return json.dumps(config).encode()


def refused(path: Path) -> str:
    with pytest.raises(UserError, match=r"classifier\.weights .* give a training's \.keras file, or none") as raised:
        load_classifier(path, "classifier.weights")
    assert str(path) in str(raised.value)
    return str(raised.value)


def test_what_keras_saved_is_loaded(saved: Path) -> None:
    assert load_classifier(saved, "classifier.weights").output_shape == (None, 7)


def test_a_network_of_another_project_is_named_by_what_it_lacks(tmp_path: Path) -> None:
    keras.Sequential([keras.Input((8,)), keras.layers.Dense(7, name="head_logits")]).save(tmp_path / "other.keras")

    assert "it has no layer resize, as this project's classifiers have" in refused(tmp_path / "other.keras")


def test_a_lambda_is_refused_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "run"
    faces = keras.Input((8, 8, 1))
    run = keras.layers.Lambda(lambda x, marker=str(marker): (open(marker, "w"), x)[1], output_shape=(8, 8, 1))  # noqa: SIM115
    model = keras.Model(faces, run(faces))
    model.save(tmp_path / "lambda.keras")
    marker.unlink(missing_ok=True)

    said = refused(tmp_path / "lambda.keras")

    assert "lambda" in said.lower() or "unsafe" in said.lower()
    assert not marker.exists()


@pytest.mark.parametrize(
    "layer",
    [
        {"module": "os", "class_name": "system", "config": "touch owned"},
        {"module": "tests.hostile.odd", "class_name": "Layer", "config": {}, "registered_name": "odd>Layer"},
        {"module": "keras.utils", "class_name": "get_file", "config": {"origin": "file:///etc/passwd"}},
        {"module": "keras.src.saving.saving_lib", "class_name": "load_model", "config": {}},
    ],
    ids=["os.system", "a module beside", "a function of keras", "a private function of keras"],
)
def test_objects_of_other_modules_are_refused_and_not_imported(
    layer: dict[str, Any], saved: Path, changed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)

    refused(changed({CONFIG: with_layer(saved, **layer)}))

    assert [path.name for path in tmp_path.iterdir()] == ["changed.keras"]


def test_a_file_that_switches_the_safe_mode_off_is_refused(saved: Path, changed: Callable[..., Path]) -> None:
    layer = {"module": "keras.config", "class_name": "enable_unsafe_deserialization", "config": {}}

    refused(changed({CONFIG: with_layer(saved, **layer)}))

    assert keras.src.saving.serialization_lib.in_safe_mode() is not False


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "model.pkl"])
def test_a_pickle_by_another_name_is_refused_and_not_opened(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Opened(tmp_path / "opened")))

    refused(tmp_path / name)

    assert not (tmp_path / "opened").exists()


def test_a_whole_model_in_the_older_hdf5_form_is_refused(tmp_path: Path) -> None:
    keras.Sequential([keras.Input((8,)), keras.layers.Dense(7)]).save(tmp_path / "model.h5")

    assert "its name does not end in .keras" in refused(tmp_path / "model.h5")


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_zip_bomb_by_the_name_of_a_model_is_refused_unread(compression: int, changed: Callable[..., Path]) -> None:
    path = changed({CONFIG: bytes(50_000_000)}, compression)

    assert path.stat().st_size < 300_000
    assert "its members are packed, which Keras never does" in refused(path)


@pytest.mark.parametrize("name", ["../evil.py", "/tmp/evil", "assets/vocabulary.txt", "model.pkl"])
def test_a_model_with_more_files_is_refused(name: str, changed: Callable[..., Path], tmp_path: Path) -> None:
    assert "lists more than 3 files" in refused(changed({name: b"x"}))
    assert [path.name for path in tmp_path.rglob("*")] == ["changed.keras"]


def hdf5_bomb(**options: Any) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("layers/dense/vars/0", shape=(20_000, 20_000), dtype="f4", **options)
    return buffer.getvalue()


def test_a_layer_that_claims_more_weights_than_the_file_holds_is_refused_before_it_has_memory(
    saved: Path, changed: Callable[..., Path]
) -> None:
    with zipfile.ZipFile(saved) as archive:
        config = archive.read(CONFIG).decode()
    huge = config.replace('"units": 7', '"units": 100000000000')  # 26 TB of weights
    assert huge != config

    assert "its network has 6500000000000 weights, the file holds 455" in refused(changed({CONFIG: huge.encode()}))


@pytest.mark.parametrize("options", [{"chunks": (1000, 1000), "compression": "gzip"}, {"chunks": True}])
def test_weights_that_unpack_to_far_more_than_the_file_are_refused(
    options: dict[str, Any], changed: Callable[..., Path], tmp_path: Path, small_settings: Settings
) -> None:
    bomb = hdf5_bomb(**options)
    (tmp_path / "bomb.weights.h5").write_bytes(bomb)

    assert "its weights unpack to 1600000000 bytes, more than 10 times" in refused(changed({WEIGHTS: bomb}))
    with pytest.raises(UserError, match="does not fit VGG-19: its weights unpack to 1600000000 bytes"):
        vgg19(small_settings.classifier, 32, str(tmp_path / "bomb.weights.h5"), "float32")


def test_an_mlflow_model_of_pickled_code_is_refused_and_not_opened(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "python_model.pkl").write_bytes(pickle.dumps(Opened(tmp_path / "opened")))
    (folder / "MLmodel").write_text(
        "flavors:\n  python_function:\n    loader_module: mlflow.pyfunc.model\n    python_model: python_model.pkl\n"
        "    python_version: 3.11.0\n"
    )

    with pytest.raises(registry.ModelError, match=r"has 0 \.keras files, expected one; no other form is loaded"):
        model_store.load_model(str(folder))

    assert not (tmp_path / "opened").exists()


def test_a_reference_of_more_rows_than_it_can_have_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pd.DataFrame({"split": [0] * 1000}).to_parquet(tmp_path / "reference.parquet")
    monkeypatch.setattr(model_store, "REFERENCE_ROWS", 999)

    with pytest.raises(registry.ModelError, match=r"reference\.parquet has 1000 rows, allowed: 999"):
        model_store.read_reference(tmp_path / "reference.parquet")
