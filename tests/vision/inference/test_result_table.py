import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd

from tests.vision.inference.toy_jobs import NAMES, inference_settings, run_job, table_of
from vision.model.classifier import predict
from vision.model.runtimes import keras_predictor

COLUMNS = [
    *("source", "face", "x", "y", "width", "height", "emotion", "most_likely", "confidence"),
    *(f"probability_{name}" for name in NAMES),
    *("brightness", "contrast", "sharpness", "size", "model_version", "error"),
]  # fmt: skip


def toy_classifier() -> keras.Model:
    """A classifier in little: it resizes inside, and gives probabilities that differ from face to face."""
    keras.utils.set_random_seed(0)
    faces = keras.Input((None, None, 1))
    x = keras.layers.Resizing(24, 24, name="resize")(faces)
    x = keras.layers.Rescaling(1 / 32)(x)
    x = keras.layers.Dense(7, activation="softmax")(keras.layers.Flatten()(x))
    return keras.Model(faces, x)


def test_the_csv_holds_what_the_parquet_file_does(
    tmp_path: Path, write_faces: Callable[..., Path], quick_figures: None
) -> None:
    root = write_faces(tmp_path / "faces", 3)
    (root / "text.png").write_text("no picture")

    _, folder = run_job(inference_settings(root, tmp_path / "out"))

    read = pd.read_csv(folder / "predictions.csv", dtype={"model_version": "str"}, keep_default_na=True)
    text = ["emotion", "most_likely", "error"]
    pd.testing.assert_frame_equal(read.fillna(dict.fromkeys(text, "")), table_of(folder), check_dtype=False, rtol=1e-5)


def test_an_answer_below_the_threshold_is_uncertain_and_still_says_what_is_most_likely(
    tmp_path: Path, write_faces: Callable[..., Path], quick_figures: None
) -> None:
    root = write_faces(tmp_path / "faces", 30)
    _, folder = run_job(inference_settings(root, tmp_path / "out", confidence_threshold=0.0))
    threshold = float(table_of(folder)["confidence"].median())

    report, folder = run_job(inference_settings(root, tmp_path / "out", confidence_threshold=threshold))

    table = table_of(folder)
    assert ((table["emotion"] == "uncertain") == (table["confidence"] < threshold)).all()
    assert report.uncertain == 15 == (table["emotion"] == "uncertain").sum()
    assert set(table["most_likely"]) <= set(NAMES)
    assert sum(report.emotions.values()) == 15


def test_ready_made_crops_are_predicted_as_the_model_itself_does(
    tmp_path: Path, write_faces: Callable[..., Path], quick_figures: None
) -> None:
    classifier = toy_classifier()
    root = write_faces(tmp_path / "faces", 11, side=24)
    images = np.stack([cv2.imread(str(path), 0) for path in sorted(root.iterdir())])
    expected = predict(classifier, images, 4)

    report, folder = run_job(inference_settings(root, tmp_path / "out", batch_size=4), keras_predictor(classifier))

    table = table_of(folder)
    assert list(table.columns) == COLUMNS
    assert table["source"].tolist() == sorted(path.name for path in root.iterdir())
    np.testing.assert_allclose(table[[f"probability_{name}" for name in NAMES]], expected, rtol=1e-5)
    assert table["most_likely"].tolist() == [NAMES[code] for code in expected.argmax(axis=1)]
    np.testing.assert_allclose(table["confidence"], expected.max(axis=1), rtol=1e-5)
    np.testing.assert_allclose(table["brightness"], images.mean(axis=(1, 2)), rtol=1e-5)
    assert table[["face", "x", "y", "width", "height", "size"]].iloc[0].tolist() == [0, 0, 0, 24, 24, 24]
    assert (table["model_version"] == "3").all()
    assert (report.pictures, report.faces) == (11, 11)


def test_hostile_names_stay_text(tmp_path: Path, write_photos: Callable[..., Path], quick_figures: None) -> None:
    photo = (write_photos(tmp_path / "photos", 1) / "0.png").read_bytes()
    names = ["../../../evil.png", "/etc/passwd.png", "=1+1.png", "a/b.png", "a_b.png", "n" * 300 + ".png", "CON.png"]
    names += ["<script>alert(1)</script>.png", 'quote"\n.png']
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in names:
            archive.writestr(name, photo)
        archive.writestr("<b>broken</b>.png", b"no picture")

    report, folder = run_job(inference_settings(tmp_path / "set.zip", tmp_path / "out", detect=True))

    annotated = list((folder / "annotated").rglob("*"))
    assert len(annotated) == len(names)
    assert all(path.parent == folder / "annotated" and len(path.name) < 100 for path in annotated)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "photos", "set.zip"]
    assert table_of(folder)["source"].tolist() == [*names[:-1], 'quote"\\n.png', "<b>broken</b>.png"]
    assert pd.read_csv(folder / "predictions.csv")["source"].tolist()[2] == "'=1+1.png"
    assert "&lt;b&gt;broken&lt;/b&gt;.png" in report.page()
    assert "<b>broken" not in report.page()
