from configs.settings import Settings
from vision.data.faces import TEST, VALIDATION, FaceSet
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


def test_a_pipeline_also_judges_two_models_and_measures_three_runtimes(
    prepared: FaceSet, small_settings: Settings
) -> None:
    evaluation, test = small_settings.evaluation, len(prepared.rows(TEST))
    onnx = small_settings.onnx.model_copy(update={"enabled": True, "latency_batches": (1, 16), "latency_samples": 10})

    without = after_training(prepared, evaluation, onnx.model_copy(update={"enabled": False}))
    whole = after_training(prepared, evaluation, onnx)

    assert without.predictions == after_bare_training(prepared, evaluation).predictions + 2 * test
    assert whole.predictions - without.predictions == 3 * (len(prepared.rows(VALIDATION)) + 170)
    assert whole.seconds > without.seconds
