import json
from dataclasses import dataclass
from pathlib import Path

import keras
import pytest

from configs.errors import UserError
from vision.lifecycle.bundle_import import is_imported, origin_tags, rewrite_card_page, verify_model
from vision.lifecycle.bundles import CARDS, LABELS, METRICS, MODEL, About, probe
from vision.model.runtimes import keras_predictor

CLASSES = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]


@dataclass(frozen=True)
class Registered:
    number: str
    tags: dict[str, str]


def about(answers: list[list[float]] | None = None) -> About:
    return About(1, "emotions", "3", "2026-01-01T00:00:00+00:00", 1.5, {"dataset": "x"}, answers or [])


@pytest.fixture(scope="module")
def classifier() -> keras.Model:
    faces = keras.Input((None, None, 1), name="faces")
    x = keras.layers.Resizing(8, 8, name="resize")(faces)
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(x))
    return keras.Model(faces, keras.layers.Dense(7, activation="softmax")(x))


@pytest.fixture(scope="module")
def answers(classifier: keras.Model) -> list[list[float]]:
    found: list[list[float]] = probe(keras_predictor(classifier)).tolist()
    return found


@pytest.fixture
def folder(classifier: keras.Model, tmp_path: Path) -> Path:
    """An unpacked bundle, as far as the model's verification reads it."""
    classifier.save(tmp_path / MODEL)
    (tmp_path / LABELS).write_text(json.dumps(CLASSES))
    (tmp_path / METRICS).write_text(json.dumps({"test/accuracy": 0.7}))
    (tmp_path / CARDS[0]).write_text("# Card\n\nKind <script>alert(1)</script>\n")
    return tmp_path


def test_a_store_without_a_champion_takes_any_bundle() -> None:
    assert not is_imported("faces", None, about())


def test_the_same_bundle_again_is_recognised_by_its_origin() -> None:
    assert is_imported("faces", Registered("1", {**origin_tags(about()), "dataset": "x"}), about())


def test_a_store_with_another_champion_takes_none() -> None:
    with pytest.raises(UserError, match=r"faces has a champion already, version 7; .*--pipeline rollback only"):
        is_imported("faces", Registered("7", {"imported_from": "emotions version 2"}), about())


def test_a_whole_bundle_gives_its_model_with_what_belongs_to_it(folder: Path, answers: list[list[float]]) -> None:
    model = verify_model(Path("b.zip"), folder, about(answers))

    assert (model.class_names, model.metrics) == (CLASSES, {"test/accuracy": 0.7})
    assert model.description.startswith("# Card")


def test_a_model_that_cannot_be_loaded_is_refused(folder: Path, answers: list[list[float]]) -> None:
    (folder / MODEL).write_bytes(b"not a model")

    with pytest.raises(UserError, match=r"bundle\.path b\.zip: its model cannot be loaded"):
        verify_model(Path("b.zip"), folder, about(answers))


def test_a_model_that_answers_differently_is_refused(folder: Path, answers: list[list[float]]) -> None:
    with pytest.raises(UserError, match="does not answer as it did"):
        verify_model(Path("b.zip"), folder, about(answers[::-1]))


def test_as_many_class_names_as_outputs_are_needed(folder: Path, answers: list[list[float]]) -> None:
    (folder / LABELS).write_text(json.dumps(CLASSES[:6]))

    with pytest.raises(UserError, match="has 6 class names for 7 outputs"):
        verify_model(Path("b.zip"), folder, about(answers))


@pytest.mark.parametrize(
    ("name", "content"), [(LABELS, '["../angry"]'), (LABELS, "7"), (METRICS, '{"accuracy": "high"}'), (METRICS, "[]")]
)
def test_files_that_no_export_writes_are_refused(
    name: str, content: str, folder: Path, answers: list[list[float]]
) -> None:
    (folder / name).write_text(content)

    with pytest.raises(UserError, match=f"{name} in the bundle is not what an export writes"):
        verify_model(Path("b.zip"), folder, about(answers))


def test_the_page_of_the_card_is_made_anew_from_its_markdown(folder: Path) -> None:
    (folder / CARDS[1]).write_text("<script>alert(2)</script>")

    rewrite_card_page(folder, about(), "# Card\n\nKind <script>alert(1)</script>\n")

    page = (folder / CARDS[1]).read_text(encoding="utf-8")
    assert "<title>emotions version 3</title>" in page
    assert "Kind &lt;script&gt;" in page
    assert "<script" not in page
