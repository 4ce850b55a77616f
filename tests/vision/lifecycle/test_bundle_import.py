import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import pytest

from configs.errors import UserError
from vision.lifecycle.bundle_import import is_imported, origin_tags, rewrite_card_page, verify_model
from vision.lifecycle.bundles import CARDS, LABELS, METRICS, MODEL, OPTIONAL, About, check_probe, probe
from vision.model.onnx_runtime import predictor_of
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


def onnx_of(classifier: keras.Model, turned: bool = False) -> bytes:
    """Return an ONNX file that computes what the classifier does after its resizing, or the classes turned around."""
    onnx = pytest.importorskip("onnx")
    kernel, bias = classifier.layers[-1].get_weights()
    if turned:
        kernel, bias = kernel[:, ::-1].copy(), bias[::-1].copy()
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["faces"], ["flat"]),
            helper.make_node("Gemm", ["flat", "kernel", "bias"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"]),
        ],
        "toy",
        [helper.make_tensor_value_info("faces", float32, [None, 8, 8, 1])],
        [helper.make_tensor_value_info("probabilities", float32, [None, 7])],
        [onnx.numpy_helper.from_array(kernel / 255, "kernel"), onnx.numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


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
    with pytest.raises(UserError, match="does not answer as the model did"):
        verify_model(Path("b.zip"), folder, about(answers[::-1]))


@pytest.mark.parametrize("change", [lambda rows: [*rows[:6], rows[6][:5]], lambda rows: [], lambda rows: rows[:6]])
def test_a_probe_of_another_shape_is_refused(
    folder: Path, answers: list[list[float]], change: Callable[[list[list[float]]], list[list[float]]]
) -> None:
    with pytest.raises(UserError, match="does not answer as the model did"):
        verify_model(Path("b.zip"), folder, about(change(answers)))


@pytest.mark.parametrize("name", OPTIONAL)
def test_an_onnx_file_that_is_the_model_is_taken(
    name: str, folder: Path, classifier: keras.Model, answers: list[list[float]]
) -> None:
    (folder / name).write_bytes(onnx_of(classifier))

    assert verify_model(Path("b.zip"), folder, about(answers)).class_names == CLASSES


@pytest.mark.parametrize("name", OPTIONAL)
def test_an_onnx_file_of_another_network_is_refused(
    name: str, folder: Path, classifier: keras.Model, answers: list[list[float]]
) -> None:
    (folder / name).write_bytes(onnx_of(classifier, turned=True))

    with pytest.raises(UserError, match=rf"bundle\.path b\.zip: its {name} does not answer as the model did"):
        verify_model(Path("b.zip"), folder, about(answers))


def test_an_int8_file_may_differ_by_what_quantising_costs_and_a_float32_file_may_not(
    folder: Path, classifier: keras.Model, answers: list[list[float]]
) -> None:
    shifted = [[row[0] + 0.01, row[1] - 0.01, *row[2:]] for row in answers]
    predictor = predictor_of(onnx_of(classifier), "toy", 8, 7)

    check_probe(predictor, about(shifted), Path("b.zip"), file=OPTIONAL[1])
    with pytest.raises(UserError, match="does not answer as the model did"):
        check_probe(predictor, about(shifted), Path("b.zip"), file=OPTIONAL[0])


def test_an_onnx_file_that_cannot_be_read_is_named(folder: Path, answers: list[list[float]]) -> None:
    (folder / OPTIONAL[0]).write_bytes(b"not a model")

    with pytest.raises(UserError, match=r"bundle\.path b\.zip: its model\.onnx cannot be read as an ONNX model"):
        verify_model(Path("b.zip"), folder, about(answers))


def test_as_many_class_names_as_outputs_are_needed(folder: Path, answers: list[list[float]]) -> None:
    (folder / LABELS).write_text(json.dumps(CLASSES[:6]))

    with pytest.raises(UserError, match="has 6 class names for 7 outputs"):
        verify_model(Path("b.zip"), folder, about(answers))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (LABELS, '["../angry"]'),
        (LABELS, json.dumps([*CLASSES[:6], "angry"])),
        (LABELS, "7"),
        (METRICS, '{"accuracy": "high"}'),
        (METRICS, "[]"),
    ],
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
