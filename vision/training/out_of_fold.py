"""Out of fold: each training face is answered by a network that did not learn from it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import softmax

from configs.section import Section
from configs.training_settings import (
    AuditSettings,
    AugmentationSettings,
    ClassifierSettings,
    PhaseSettings,
    TrainingSettings,
)
from vision.data.faces import TRAIN, FaceSet
from vision.data.folds import assign_folds
from vision.model.classifier import predict
from vision.model.weight_files import RANDOM
from vision.training.augmentation import AUGMENTATIONS
from vision.training.budget import estimate_training
from vision.training.duration import say_seconds
from vision.training.loop import train_classifier
from vision.training.recipe import Recipe, TrainingData, TrainingPaths

logger = logging.getLogger(__name__)

HELD_OUT = "held_out"  # split of the faces of a fold while a network learns from the others
SEEN = ("flip", "random_crop")  # augmentations; so few epochs can use no more
BATCH = 256
PLACE, PROBABILITY = "place", "probability_"  # columns of a table of answers


class FoldRequest(Section):
    """One of the trainings of an audit: its number, from 0, by what settings it learns, and the seed of all."""

    fold: int
    audit: AuditSettings
    classifier: ClassifierSettings
    augmentation: AugmentationSettings
    training: TrainingSettings
    seed: int

    @property
    def recipe(self) -> Recipe:
        """The compact network from random weights, on the labels as they are: no teacher, no weighting."""
        audit = self.audit
        phase = PhaseSettings(
            name="audit",
            trainable=("all",),
            epochs=audit.epochs,
            learning_rate=audit.learning_rate,
            schedule="cosine",
            warmup_epochs=min(1.0, audit.epochs / 4),
            patience=audit.epochs,
        )
        off = {name: 0 for name in AUGMENTATIONS if name not in SEEN}
        network = {"backbone": "vgg_compact", "weights": RANDOM, "width": audit.width, "dense_units": ()}
        learning = {
            "batch_size": audit.batch_size,
            "optimizer": "sgd",
            "weight_decay": audit.weight_decay,
            "label_smoothing": 0.0,
            "ema_momentum": 0.0,
            "imbalance": "none",
            "doubtful_weight": 1.0,
            "distillation": self.training.distillation.model_copy(update={"teacher": "none"}),
            "cached_views": 0,
            "minutes": 0.0,
            "phases": (phase,),
        }
        return Recipe(
            self.classifier.model_copy(update={**network, "dropout": audit.dropout}),
            self.augmentation.model_copy(update=off),
            self.training.model_copy(update=learning),
            self.seed + self.fold,
        )


@dataclass(frozen=True)
class FoldAnswers:
    """What a network says of the training faces of its fold: their `places` among these, and (n, classes) float32.

    `state` names its training among those that can be resumed.
    """

    places: np.ndarray[Any, Any]
    probabilities: np.ndarray[Any, Any]
    state: str

    def table(self, class_names: Sequence[str]) -> pd.DataFrame:
        """Return a row for each face: place, and one probability a class."""
        answers = {f"{PROBABILITY}{name}": self.probabilities[:, code] for code, name in enumerate(class_names)}
        return pd.DataFrame({PLACE: self.places, **answers})


def join_answers(tables: Sequence[pd.DataFrame]) -> np.ndarray[Any, Any]:
    """Return the (training faces, classes) float32 probabilities of the tables of all folds, in the order of faces."""
    joined = pd.concat(tables).sort_values(PLACE)
    return joined.drop(columns=PLACE).to_numpy(dtype=np.float32)


def predict_fold(faces: FaceSet, request: FoldRequest, paths: TrainingPaths) -> FoldAnswers:
    """Train on the other folds, choose the epoch on the validation split, and answer the faces of this fold.

    Before the first fold, says how long all take. A training that was stopped resumes as any other.
    """
    folds, recipe = request.audit.folds, request.recipe
    rows, fold_of = faces.rows(TRAIN), assign_folds(faces, folds, request.seed)
    places = np.flatnonzero(fold_of == request.fold)
    data = TrainingData(hold_out(faces, rows[places]), dict.fromkeys(faces.class_names, 1.0))
    if request.fold == 0:
        _tell_duration(data, recipe, paths, folds)
    learned = len(rows) - len(places)
    counts = f"{learned:,} faces to learn from, {len(places):,} to judge"
    logger.info("fold %d of %d: %s", request.fold + 1, folds, counts)
    classifier, history = train_classifier(data, recipe, paths)
    logits = predict(classifier, faces.images[rows[places]], BATCH)
    return FoldAnswers(places, np.asarray(softmax(logits, axis=1), dtype=np.float32), history.state)


def hold_out(faces: FaceSet, rows: np.ndarray[Any, Any]) -> FaceSet:
    """Return the same faces, those at `rows` in a split of their own."""
    split = np.asarray(faces.table["split"], dtype=object)
    split[rows] = HELD_OUT
    return replace(faces, table=faces.table.assign(split=split.astype(str)))


def _tell_duration(data: TrainingData, recipe: Recipe, paths: TrainingPaths, folds: int) -> None:
    paths.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    logger.info("audit: measuring how long one of the %d trainings takes on this machine", folds)
    seconds = estimate_training(data, recipe, paths.checkpoint.parent, train_classifier)
    logger.info(
        "audit: %d trainings of %d epochs take %s each, %s in all; a fold that is finished is kept",
        folds, recipe.epochs, say_seconds(seconds), say_seconds(folds * seconds),
    )  # fmt: skip
