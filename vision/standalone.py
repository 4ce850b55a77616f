"""Recipe: a whole training without ZenML and MLflow, for a machine that has a GPU and little else."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from configs.errors import UserError
from configs.settings import Settings
from vision.data.faces import TEST, FaceSet
from vision.data.ingestion import ingest_faces
from vision.data.preprocessing import IN_TRAINING, NO_CLEAN_FACE, preprocess_faces
from vision.evaluation.calibration import calibrate_classifier
from vision.evaluation.metrics import score_predictions
from vision.evaluation.test_time_augmentation import predict_views
from vision.lifecycle.afterwards import after_bare_training
from vision.model.classifier import load_classifier, load_teacher, predict
from vision.model.weight_files import check_classifier
from vision.training.checkpoints import forget_state
from vision.training.class_weights import weigh_classes
from vision.training.history import EpochHook, TrainingHistory
from vision.training.hosts import count_hosts, join_hosts
from vision.training.loop import train_classifier
from vision.training.recipe import Recipe, TrainingData, TrainingPaths

logger = logging.getLogger(__name__)

CLASSIFIER, SCORES, CURVES = "classifier.keras", "scores.json", "learning_curves.png"
UNFINISHED = "unfinished"  # folder of what a stopped training resumes from
CLEAN = "clean test"  # begins the names of scores of test faces that were never training faces


def train_recipe(settings: Settings, folder: Path) -> dict[str, str]:
    """Ingest, preprocess, train, calibrate and score; write the best epoch and its scores to `folder`.

    The same call after one that was stopped resumes from its last epoch. Return the lines of a summary by name.
    On several hosts each writes the same: the first to `folder`, others to `folder`/host-N.
    `folder`/classifier.keras gives logits and can be the `classifier.weights` of a pipeline. Raises UserError where the
    folder cannot be made.
    """
    number = join_hosts()
    if number:
        folder = folder / f"host-{number}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--bare {folder} is not a folder that can be made: {error.strerror}; name another") from error
    for teacher in settings.training.distillation.teachers:
        check_classifier(Path(teacher), "training.distillation.teacher")
    faces = prepare_faces(settings)
    classifier, history = train_faces(faces, settings, folder, states=folder / UNFINISHED)
    if count_hosts() > 1:  # its weights are on all hosts; from here on each computes for itself
        classifier = load_classifier(folder / CLASSIFIER, "--bare")
    scores = score_recipe(classifier, faces, settings)
    facts = {"epochs": history.epochs, "phases": history.phases, "best_epoch": history.best_epoch, "scores": scores}
    facts |= {"settings": planned_settings(settings, history), "backend": keras.backend.backend()}
    (folder / SCORES).write_text(json.dumps(facts, indent=1), encoding="utf-8")
    (folder / CURVES).write_bytes(history.figures[CURVES])
    forget_state(folder / UNFINISHED, history.state)
    return summarize(scores, history, folder)


def prepare_faces(settings: Settings) -> FaceSet:
    """Ingest and preprocess: the faces with the splits that training sees."""
    faces = ingest_faces(settings.dataset, settings.seed, settings.detection)
    for name, fact in faces.reading.items():
        logger.info("%s: %s", name, fact)
    return preprocess_faces(faces, settings.preprocessing, settings.seed)[0]


def train_faces(
    faces: FaceSet,
    settings: Settings,
    folder: Path,
    hook: EpochHook = lambda epoch, metrics: None,
    states: Path | None = None,
) -> tuple[keras.Model, TrainingHistory]:
    """Train as the step train_model does; `hook` is called after every epoch, `folder` takes what training keeps.

    With `states`, a folder, a training that was stopped resumes from its last epoch.
    """
    class_weights = weigh_classes(faces, settings.training, settings.balance)
    return train_classifier(
        TrainingData(faces, class_weights, tuple(map(load_teacher, settings.training.distillation.teachers))),
        Recipe(settings.classifier, settings.augmentation, settings.training, settings.seed),
        TrainingPaths(folder / CLASSIFIER, folder / "features", states),
        hook,
        after_bare_training(faces, settings.evaluation),
    )


def score_recipe(classifier: keras.Model, faces: FaceSet, settings: Settings) -> dict[str, dict[str, float]]:
    """Score a classifier of logits on the test split, all and clean, in one view and averaged over views.

    The calibration is fitted on the validation split. Without a clean test face their scores are left out.
    """
    evaluation = settings.evaluation
    calibrated, _, _ = calibrate_classifier(classifier, faces, settings.training)
    test = faces.take(faces.rows(TEST))
    clean = ~test.table[IN_TRAINING].to_numpy(dtype=bool)
    versions = {"one view": predict(calibrated, test.images, evaluation.batch_size)}
    if evaluation.test_time_augmentation != "none":
        name = evaluation.test_time_augmentation
        versions[name.replace("_", "-")] = predict_views(calibrated, test.images, evaluation.batch_size, name)
    return {
        f"{split}, {version}": score_predictions(found[chosen], test.labels[chosen], evaluation, settings.seed)
        for version, found in versions.items()
        for split, chosen in (("test", np.ones_like(clean)), (CLEAN, clean))
        if chosen.any()
    }


def planned_settings(settings: Settings, history: TrainingHistory) -> dict[str, Any]:
    """Return the settings as JSON can hold them, with the epochs that were planned for `training.minutes`, if any."""
    found = settings.model_dump(mode="json")
    found["training"] |= {"minutes": 0.0, "phases": history.planned}
    return found


def summarize(scores: Mapping[str, Mapping[str, float]], history: TrainingHistory, folder: Path) -> dict[str, str]:
    """Return the lines that a bare training ends with, by name."""
    seconds = sum(epoch["seconds"] for epoch in history.epochs)
    clean = any(name.startswith(CLEAN) for name in scores)
    return {
        "backend": f"{keras.backend.backend()}, {history.precision}",
        "training": f"{len(history.epochs)} epochs in {seconds:.0f} s",
        "best epoch": f"{history.best_epoch}, {history.monitor} {history.best[history.monitor]:.4f}",
        **{
            name: f"accuracy {found['accuracy']:.2%} ({found['accuracy_low']:.2%} to {found['accuracy_high']:.2%}), "
            f"macro-F1 {found['macro_f1']:.2%}"
            for name, found in scores.items()
        },
        **({} if clean else {CLEAN: NO_CLEAN_FACE}),
        "classifier": str(folder / CLASSIFIER),
        "scores": str(folder / SCORES),
    }
