import pytest

from configs.settings import Settings
from vision.data.faces import TEST, TRAIN, VALIDATION, FaceSet
from vision.evaluation import generalization
from vision.lifecycle.afterwards import after_bare_training, after_training


def test_each_view_of_the_test_split_is_predicted_beside_the_plain_one(
    prepared: FaceSet, small_settings: Settings
) -> None:
    test, validation = len(prepared.rows(TEST)), len(prepared.rows(VALIDATION))
    predictions = {
        name: after_bare_training(
            prepared, small_settings.evaluation.model_copy(update={"test_time_augmentation": name})
        ).predictions
        for name in ("none", "flip", "ten_crop")
    }

    assert predictions == {
        name: validation + test * (1 + views) for name, views in {"none": 0, "flip": 2, "ten_crop": 10}.items()
    }


def test_a_pipeline_also_scores_slices_judges_two_models_and_measures_three_runtimes(
    prepared: FaceSet, small_settings: Settings
) -> None:
    evaluation, test = small_settings.evaluation, len(prepared.rows(TEST))
    onnx = small_settings.onnx.model_copy(update={"enabled": True, "latency_batches": (1, 16), "latency_samples": 10})

    promotion = small_settings.promotion.model_copy(update={"min_worst_slice_accuracy": 0.0})
    with_floor = promotion.model_copy(update={"min_worst_slice_accuracy": 0.3})

    without = after_training(prepared, evaluation, promotion, onnx.model_copy(update={"enabled": False}))
    whole = after_training(prepared, evaluation, promotion, onnx)
    floored = after_training(prepared, evaluation, with_floor, onnx)

    slices, compared = 11 * test, len(prepared.rows(TRAIN)) + len(prepared.rows(VALIDATION))
    assert evaluation.slice_faces > test
    bare = after_bare_training(prepared, evaluation).predictions
    assert without.predictions == bare + slices + compared + 2 * test
    assert whole.predictions - without.predictions == 3 * (len(prepared.rows(VALIDATION)) + 170)
    assert floored.predictions - whole.predictions == 2 * slices  # of the challenger and of the champion
    assert whole.seconds > without.seconds


def test_no_more_faces_are_counted_than_slices_and_generalisation_gap_take(
    prepared: FaceSet, small_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx = small_settings.onnx.model_copy(update={"enabled": False})
    fewer = small_settings.evaluation.model_copy(update={"slice_faces": 10})
    promotion = small_settings.promotion
    whole = after_training(prepared, small_settings.evaluation, promotion, onnx).predictions

    sliced = after_training(prepared, fewer, promotion, onnx).predictions
    monkeypatch.setattr(generalization, "MOST_FACES", 7)
    few = after_training(prepared, fewer, promotion, onnx).predictions

    assert whole - sliced == 11 * (len(prepared.rows(TEST)) - 10)
    assert sliced - few == len(prepared.rows(TRAIN)) - 7
