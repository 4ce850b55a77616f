"""Afterwards: what follows a training and has to fit into `training.minutes` with it."""

from configs.lifecycle_settings import OnnxSettings, PromotionSettings
from configs.training_settings import EvaluationSettings
from vision.data.faces import TEST, TRAIN, VALIDATION, FaceSet
from vision.evaluation import generalization
from vision.evaluation.robustness import SLICES
from vision.evaluation.test_time_augmentation import count_views
from vision.training.budget import Afterwards

BARE_SECONDS, PIPELINE_SECONDS, ONNX_SECONDS = 10.0, 40.0, 30.0  # besides predictions; measured on two cores
CONTENDERS = 2  # that the gate scores: challenger and champion
RUNTIMES = 3  # that the export to ONNX compares


def after_bare_training(faces: FaceSet, evaluation: EvaluationSettings) -> Afterwards:
    """Return what follows a training without a pipeline: fitting the temperature and scoring the test split."""
    test, validation = len(faces.rows(TEST)), len(faces.rows(VALIDATION))
    return Afterwards(validation + test * (1 + count_views(evaluation.test_time_augmentation)), BARE_SECONDS)


def after_training(
    faces: FaceSet, evaluation: EvaluationSettings, promotion: PromotionSettings, onnx: OnnxSettings
) -> Afterwards:
    """Return what follows a training in its pipeline: also slices, the generalisation gap, the gate and ONNX."""
    test, validation, taught = (len(faces.rows(split)) for split in (TEST, VALIDATION, TRAIN))
    slicings = 1 + (CONTENDERS if promotion.min_worst_slice_accuracy else 0)  # by the evaluation, and by the gate
    sliced = slicings * len(SLICES) * min(evaluation.slice_faces, test)
    evaluated = sliced + min(generalization.MOST_FACES, taught) + validation
    scored = after_bare_training(faces, evaluation).predictions + evaluated + CONTENDERS * test
    if not onnx.enabled:
        return Afterwards(scored, PIPELINE_SECONDS)
    timed = sum(onnx.latency_batches) * onnx.latency_samples
    exported = RUNTIMES * (len(faces.rows(VALIDATION)) + timed)
    return Afterwards(scored + exported, PIPELINE_SECONDS + ONNX_SECONDS)
