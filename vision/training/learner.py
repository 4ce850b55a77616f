"""The learner: the network that is trained, what it minimises, and the batches that it is shown."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from configs.training_settings import AugmentationSettings
from vision.data.faces import TRAIN, VALIDATION
from vision.model.classifier import BFLOAT16, FLOAT32, build_classifier, given_classifier, settle_batch_norm
from vision.model.fused_batch_norm import fuse_batch_norm
from vision.model.weight_files import RANDOM, is_classifier_file
from vision.training.augmentation import AUGMENTATIONS, Layers, apply, build_augmentation
from vision.training.batches import Array, ClassBalance, Examples, FaceBatches
from vision.training.class_weights import count_classes
from vision.training.distillation import Teachers, check_classes, soften
from vision.training.doubts import weigh_doubtful
from vision.training.feature_cache import Features, FeatureStore, Views, cache_features, split_classifier
from vision.training.hosts import find_share
from vision.training.losses import TargetLoss, build_loss
from vision.training.recipe import Recipe, TrainingData
from vision.training.resident import ResidentBatches, can_reside, resident_train_function

OFF = dict.fromkeys(AUGMENTATIONS, 0)
SETTLING_FACES = 256  # from which the statistics of inserted batch normalisation come


class AugmentedClassifier(keras.Model):  # type: ignore[misc]
    """Augments, then classifies; the targets go through augmentation too, since mixup changes them.

    Takes the inputs of FaceBatches. `loss` gets targets by name and logits. Where there are `teachers`, they say of the
    augmented faces what else they could be.
    """

    def __init__(
        self, classifier: keras.Model, augmentation: Layers, loss: TargetLoss, teachers: Teachers | None = None
    ) -> None:
        super().__init__()
        self.classifier, self.augmentation, self.target_loss = classifier, augmentation, loss
        self.teachers = teachers
        self.resident: ResidentBatches | None = None

    def make_train_function(self, force: bool = False) -> None:
        """Let `fit` take many steps in one call where the faces are on the device."""
        if self.resident is None:
            super().make_train_function(force)
        else:
            self.train_function = resident_train_function(self, self.resident)

    def build(self, input_shape: Any = None) -> None:
        """There is nothing to build: the classifier is built, and augmentation has no weights."""

    def call(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        if training:
            data = apply(self.augmentation, data)
            if self.teachers is not None:
                data["teacher"] = self.teachers(data["images"])
        targets = {name: values for name, values in data.items() if name != "images"}
        return {"logits": self.classifier(data["images"], training=training), **targets}

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        targets = {name: values for name, values in y_pred.items() if name != "logits"}
        regularisation = [self._aggregate_additional_loss(loss) for loss in self.losses]
        return keras.ops.sum([self.target_loss(targets, y_pred["logits"], sample_weight), *regularisation])

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        mixed = keras.ops.argmax(y_pred["labels"], axis=-1)
        return super().compute_metrics(x, keras.ops.one_hot(mixed, y.shape[-1]), y_pred["logits"], None)


@dataclass(frozen=True)
class Fitting:
    """A model and the batches that it is fitted to and scored on."""

    model: AugmentedClassifier
    training: FaceBatches
    validation: FaceBatches


@dataclass(frozen=True)
class Learner:
    """A network, its loss, and what it learns from.

    Where it has `teachers`, they are asked in every batch; else `softened`, if any, is what teachers said once,
    (training faces, classes).
    """

    data: TrainingData
    recipe: Recipe
    network: keras.Model
    loss: TargetLoss
    teachers: Teachers | None
    softened: Array | None
    shuffle: np.random.Generator

    def unchanged(self) -> Fitting:
        """Return the whole network on faces as they are."""
        return self._fitting(self.network, self.recipe.augmentation.model_copy(update=OFF), None)

    def for_phase(self, store: FeatureStore) -> Fitting:
        """Return what a phase fits; where a beginning with weights is frozen, the rest on kept features of it."""
        augmentation, views = self.recipe.augmentation, self.recipe.training.cached_views
        cut = split_classifier(self.network) if views else None
        if not cut:
            training = self.recipe.training
            resident = can_reside(self.data.faces, training.batch_size, training.devices)
            return self._fitting(self.network, augmentation, None, resident)
        beginning, rest = cut
        seen = Views(augmentation, self.recipe.classifier.crop_size, self.recipe.seed, views)
        features = cache_features(beginning, self.data.faces, seen, store)
        only_mixup = augmentation.model_copy(update=OFF | {"mixup": augmentation.mixup})
        return self._fitting(rest, only_mixup, features)

    def _fitting(
        self,
        network: keras.Model,
        augmentation: AugmentationSettings,
        features: Features | None,
        resident: bool = False,
    ) -> Fitting:
        faces, recipe = self.data.faces, self.recipe
        layers = build_augmentation(augmentation, faces.images.shape[1], recipe.classifier.crop_size, recipe.seed)
        weights = np.array([self.data.class_weights[name] for name in faces.class_names])
        balance = {"class_weight": ClassBalance(weights), "oversample": ClassBalance(weights, oversample=True)}
        of_training, of_validation = (features.training, features.validation) if features else (None, None)
        weighed = weigh_doubtful(faces, recipe.training.doubtful_weight)
        taught = Examples(faces, TRAIN, of_training, self.softened, weighed)
        validated = Examples(faces, VALIDATION, of_validation)
        size, balanced = recipe.training.batch_size, balance.get(recipe.training.imbalance)
        model = AugmentedClassifier(network, layers, self.loss, self.teachers)
        if resident:
            model.resident = ResidentBatches(taught, size, self.shuffle, balanced)
        share = find_share(recipe.training.devices)
        training = model.resident or FaceBatches(taught, size, self.shuffle, balanced, share)
        return Fitting(model, training, FaceBatches(validated, size, share=share))


def build_learner(data: TrainingData, recipe: Recipe) -> Learner:
    """Build the network, with the weights that the settings name, and ask teachers for answers that are wanted once.

    Raises UserError where the weights cannot be loaded or a teacher knows other classes.
    """
    faces, training = data.faces, recipe.training
    dtype = BFLOAT16 if recipe.precision == "bfloat16" else FLOAT32
    side, classes = faces.images.shape[1], len(faces.class_names)
    weights = recipe.classifier.weights
    if recipe.scores_a_file:
        network = given_classifier(weights, side, classes)
    else:
        network = fuse_batch_norm(build_classifier(recipe.classifier, side, classes, dtype))
    if weights != RANDOM and not is_classifier_file(weights):
        rows = np.random.default_rng(recipe.seed).permutation(faces.rows(TRAIN))[:SETTLING_FACES]
        settle_batch_norm(network, faces.images[np.sort(rows)])
    teachers, softened = None, None
    if data.teachers:
        check_classes(data.teachers, classes)
        temperature = training.distillation.temperature
        if training.distillation.every_view:
            teachers = Teachers(data.teachers, temperature, dtype)
        else:
            softened = soften(data.teachers, faces, temperature)
    loss = build_loss(training, count_classes(faces, training.doubtful_weight))
    return Learner(data, recipe, network, loss, teachers, softened, np.random.default_rng(recipe.seed))


def compile_model(model: AugmentedClassifier, optimizer: Any) -> None:
    """Prepare a model, which has its loss already, for fitting and scoring by accuracy and macro-F1."""
    metrics = [keras.metrics.CategoricalAccuracy("accuracy"), keras.metrics.F1Score("macro", name="macro_f1")]
    # All variables are made now. Made in the first step, they would have TensorFlow trace it a second time
    answer = np.zeros((1, model.classifier.output.shape[-1]), np.float32)
    for metric in metrics:
        metric.update_state(answer, answer)
        metric.reset_state()
    model.compile(optimizer=optimizer, metrics=metrics)
    model.build()
    model.optimizer.build(model.trainable_variables)
