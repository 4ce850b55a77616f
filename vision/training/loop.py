"""Training: phases of fine-tuning, each with its trainable blocks, learning rate and schedule."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from scipy.special import softmax
from tqdm import tqdm

from configs.errors import STOPPED_BY_USER, UserError
from configs.settings import AugmentationSettings, ClassifierSettings, PhaseSettings, TrainingSettings
from vision.data.faces import TRAIN, VALIDATION, FaceSet
from vision.model.classifier import (
    BFLOAT16,
    FLOAT32,
    build_classifier,
    predict,
    set_trainable,
    settle_batch_norm,
)
from vision.model.fused_batch_norm import fuse_batch_norm
from vision.model.weight_files import RANDOM, is_classifier_file
from vision.reporting.reports import Report
from vision.training import plots
from vision.training.augmentation import AUGMENTATIONS, Layers, apply, build_augmentation
from vision.training.batches import FaceBatches, count_classes
from vision.training.checkpoints import (
    Progress,
    StateFolder,
    fingerprint_training,
    keep_state,
    layer_seeds,
    learner_variables,
    load_variables,
    state_key,
)
from vision.training.devices import make_deterministic, resolve_precision, use_devices
from vision.training.feature_cache import FeatureStore, cache_features, split_classifier
from vision.training.losses import build_loss

logger = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]
OPTIMIZERS: dict[str, Callable[..., keras.optimizers.Optimizer]] = {
    "adamw": keras.optimizers.AdamW,
    "sgd": partial(keras.optimizers.SGD, momentum=0.9, nesterov=True),
}
SETTLING_FACES = 256  # from which the statistics of inserted batch normalisation come
TAUGHT_AT_ONCE = 8192  # faces that are in memory while the teacher sees them
EpochHook = Callable[[int, Mapping[str, float]], object]


class TrainingStoppedError(UserError):
    """Ctrl-C in the middle of training."""

    exit_code = STOPPED_BY_USER


@dataclass(frozen=True, kw_only=True)
class TrainingHistory(Report):
    """Every epoch's metrics, and which epoch was kept; `state` names the training among those that can be resumed."""

    epochs: list[dict[str, float]]
    phases: list[str]
    monitor: str
    best_epoch: int
    precision: str
    state: str

    @property
    def best(self) -> dict[str, float]:
        return self.epochs[self.best_epoch - 1]

    def numbers(self) -> dict[str, float]:
        return {
            "best_epoch": float(self.best_epoch),
            **{f"best_{name}": value for name, value in self.best.items() if name.startswith("val_")},
            "training_seconds": sum(epoch["seconds"] for epoch in self.epochs),
        }


class AugmentedClassifier(keras.Model):  # type: ignore[misc]
    """Augments, then classifies; its labels go through augmentation too, since mixup changes them."""

    def __init__(self, classifier: keras.Model, augmentation: Layers) -> None:
        super().__init__()
        self.classifier, self.augmentation = classifier, augmentation

    def call(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        if training:
            data = apply(self.augmentation, data["images"], data["labels"])
        return {"logits": self.classifier(data["images"], training=training), "labels": data["labels"]}

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        return super().compute_loss(x, y_pred["labels"], y_pred["logits"], sample_weight, training)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        classes = y.shape[-1]  # a teacher's probabilities stand behind the labels
        mixed = keras.ops.argmax(y_pred["labels"][:, :classes], axis=-1)
        return super().compute_metrics(x, keras.ops.one_hot(mixed, classes), y_pred["logits"], None)


class BestEpoch(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps the best epoch of all phases on disk, reports each epoch with the time that is left."""

    def __init__(
        self, learner: keras.Model, keep: keras.Model, monitor: str, epochs: int, checkpoint: Path, hook: EpochHook
    ) -> None:
        super().__init__()
        self.learner, self.keep, self.monitor, self.total = learner, keep, monitor, epochs
        self.checkpoint, self.hook = checkpoint, hook
        self.sign = -1.0 if monitor == "val_loss" else 1.0
        self.history: list[dict[str, float]] = []
        self.phases: list[str] = []
        self.phase = ""
        self.best_epoch = 0
        self.progress: Any = None

    @property
    def best_value(self) -> float:
        return self.history[self.best_epoch - 1][self.monitor]

    def kept(self) -> str:
        """Say which epoch is on disk, and where."""
        if not self.best_epoch:
            return "no epoch was finished, so there is no checkpoint"
        score = f"{self.monitor} {self.best_value:.4f}"
        return f"the best epoch so far ({self.best_epoch}, {score}) is kept at {self.checkpoint}"

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch_started = time.monotonic()
        name = f"epoch {len(self.history) + 1}/{self.total} [{self.phase}]"
        self.progress = tqdm(
            total=self.params["steps"], desc=name, unit=" batches", leave=False, mininterval=5.0, disable=None
        )

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.progress.update(1)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self.progress.close()
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        metrics["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        metrics["seconds"] = time.monotonic() - self.epoch_started
        self.record(metrics, left=metrics["seconds"] * (self.params["epochs"] - epoch - 1))

    def save_checkpoint(self) -> None:
        """Write the best epoch; at no time is there half a checkpoint under its name."""
        unfinished = self.checkpoint.with_name(f"unfinished-{self.checkpoint.name}")
        self.keep.save(unfinished)
        unfinished.replace(self.checkpoint)

    def record(self, metrics: dict[str, float], left: float) -> None:
        """Note a finished epoch, keep it if it is the best, and say how it went; `left` is seconds of this phase."""
        self.history.append(metrics)
        self.phases.append(self.phase)
        number = len(self.history)
        value = metrics[self.monitor]
        if not math.isfinite(metrics["loss"]) or not math.isfinite(value):
            raise UserError(
                f"training diverged in epoch {number} (loss is {metrics['loss']}); lower training.phases' learning_rate"
            )
        best = self.best_epoch == 0 or self.sign * value > self.sign * self.best_value
        if best:
            self.keep.set_weights(self.learner.get_weights())
            self.save_checkpoint()
            self.best_epoch = number
        logger.info(
            "epoch %d/%d [%s] loss %.4f accuracy %.4f | val_loss %.4f val_accuracy %.4f val_macro_f1 %.4f | "
            "%.0f s, about %.0f min left in this phase%s",
            number, self.total, self.phase, metrics["loss"], metrics["accuracy"], metrics["val_loss"],
            metrics["val_accuracy"], metrics["val_macro_f1"], metrics["seconds"], left / 60,
            " (best so far)" if best else "",
        )  # fmt: skip
        self.hook(number, metrics)


class KeepProgress(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes the state of a training after every epoch of a phase; must be the last of `callbacks`.

    Where it is given the progress of that phase, it first brings model, optimizer and the other callbacks to it.
    """

    def __init__(
        self, run: "TrainingRun", phase: int, training: FaceBatches, callbacks: Sequence[Any], resumed: Progress | None
    ) -> None:
        super().__init__()
        self.run, self.phase, self.training, self.others, self.resumed = run, phase, training, callbacks, resumed

    @property
    def seeds(self) -> list[Any]:
        """The learner's first, since the next phase needs these, and those of the augmentation."""
        return layer_seeds([self.run.learner, *self.model.augmentation])

    def on_train_begin(self, logs: Any = None) -> None:
        if self.resumed is None or self.run.kept is None:
            return
        self.model.built = True  # its classifier is, and augmentation has no weights
        self.model.optimizer.build(self.model.trainable_variables)
        past = self.resumed.epochs[-self.resumed.epoch :]
        for callback in self.others:
            if isinstance(callback, keras.callbacks.SwapEMAWeights):
                callback.on_test_begin()  # notes that the averages stand in the model, as they did when it was saved
            elif callback is not self.run.best:
                for epoch, metrics in enumerate(past):
                    callback.on_epoch_end(epoch, dict(metrics))
        load_variables(self.run.kept.weights, learner_variables(self.model))
        set_seeds(self.seeds, self.resumed)
        self.run.shuffle.bit_generator.state = self.resumed.shuffle
        self.training.on_epoch_end()  # draws the order of the next epoch, as it had been drawn

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.run.kept is None:
            return
        best, ended = self.run.best, self.model.stop_training or epoch + 1 == self.params["epochs"]
        progress = Progress(
            epochs=best.history,
            phases=best.phases,
            best_epoch=best.best_epoch,
            phase=self.phase,
            epoch=epoch + 1,
            phase_ended=ended,
            shuffle=dict(self.run.shuffle.bit_generator.state if ended else self.training.drawn_from),
            seeds=[keras.ops.convert_to_numpy(seed).tolist() for seed in self.seeds],
        )
        self.run.kept.write(progress, self.model, best.keep)


class TrainingRun:
    """One training: its model, faces and settings, and the best epoch so far."""

    def __init__(
        self,
        faces: FaceSet,
        class_weights: Mapping[str, float],
        classifier: ClassifierSettings,
        augmentation: AugmentationSettings,
        settings: TrainingSettings,
        seed: int,
        store: FeatureStore,
        teacher: keras.Model | None,
        checkpoint: Path,
        hook: EpochHook,
        kept: StateFolder | None,
    ) -> None:
        self.faces, self.settings, self.seed, self.store = faces, settings, seed, store
        self.augmentation, self.crop_size = augmentation, classifier.crop_size
        self.side = faces.images.shape[1]
        self.precision = resolve_precision(settings.precision)
        classes = len(faces.class_names)
        dtype = BFLOAT16 if self.precision == "bfloat16" else FLOAT32
        self.learner = fuse_batch_norm(build_classifier(classifier, self.side, classes, dtype))
        if classifier.weights != RANDOM and not is_classifier_file(classifier.weights):
            rows = np.random.default_rng(seed).permutation(faces.rows(TRAIN))[:SETTLING_FACES]
            settle_batch_norm(self.learner, faces.images[np.sort(rows)])
        keep = build_classifier(classifier, self.side, classes, FLOAT32, weights=RANDOM)
        total = max(1, sum(phase.epochs for phase in settings.phases))
        self.best = BestEpoch(self.learner, keep, settings.monitor, total, checkpoint, hook)
        self.loss = build_loss(settings, count_classes(faces), teacher is not None)
        self.soft_labels = None if teacher is None else soften(teacher, faces, settings)
        self.weights = np.array([class_weights[name] for name in faces.class_names])
        self.shuffle = np.random.default_rng(seed)
        self.kept = kept
        self.resumed = kept.read() if kept else None
        if kept and self.resumed:
            self.go_on_from(self.resumed, kept)

    def go_on_from(self, progress: Progress, kept: StateFolder) -> None:
        """Take over what was kept of an earlier process, and report its epochs as if they had been trained now."""
        best = self.best
        best.history, best.phases, best.best_epoch = [*progress.epochs], [*progress.phases], progress.best_epoch
        load_variables(kept.best(progress.best_epoch), best.keep.weights)
        best.save_checkpoint()
        set_seeds(layer_seeds([self.learner]), progress)
        self.shuffle.bit_generator.state = progress.shuffle
        for number, metrics in enumerate(progress.epochs, start=1):
            best.hook(number, metrics)
        if progress.phase_ended and progress.phase + 1 == len(self.settings.phases):
            logger.info("the training was finished before (%d epochs): nothing is trained again", len(progress.epochs))
        else:
            logger.info("the training goes on from epoch %d of %d", len(progress.epochs) + 1, best.total)

    def train_phase(self, position: int) -> None:
        """Train what the phase names; where a beginning with weights is frozen, on kept features of it."""
        settings, resumed = self.settings, self.resumed
        if resumed and (position < resumed.phase or (position == resumed.phase and resumed.phase_ended)):
            return
        within = resumed if resumed and position == resumed.phase else None
        phase = settings.phases[position]
        if self.best.best_epoch:
            self.learner.set_weights(self.best.keep.get_weights())
        set_trainable(self.learner, phase.trainable)
        trained = sum(int(np.prod(weight.shape)) for weight in self.learner.trainable_weights) / 1e6
        parts = "+".join(phase.trainable)
        logger.info("phase %s: %d epochs, %s trainable (%.1fM weights)", phase.name, phase.epochs, parts, trained)
        cut = split_classifier(self.learner) if self.store.views else None
        if cut:
            beginning, learner = cut
            features = cache_features(beginning, self.faces, self.augmentation, self.crop_size, self.seed, self.store)
            off = dict.fromkeys(AUGMENTATIONS, 0) | {"mixup": self.augmentation.mixup}
            mixup = build_augmentation(self.augmentation.model_copy(update=off), self.side, self.crop_size, self.seed)
            model = AugmentedClassifier(learner, mixup)
            training, validation = self.batches(features.training, features.validation)
        else:
            layers = build_augmentation(self.augmentation, self.side, self.crop_size, self.seed)
            model = AugmentedClassifier(self.learner, layers)
            training, validation = self.batches(None, None)
        self.best.phase = phase.name
        optimizer = OPTIMIZERS[settings.optimizer](
            learning_rate(phase, len(training)),
            weight_decay=settings.weight_decay or None,
            use_ema=settings.ema_momentum > 0,
            ema_momentum=settings.ema_momentum or 0.99,
        )
        self.compile(model, optimizer)
        mode = "min" if settings.monitor == "val_loss" else "max"
        callbacks = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if settings.ema_momentum else []
        callbacks += [self.best, keras.callbacks.EarlyStopping(settings.monitor, patience=phase.patience, mode=mode)]
        if phase.schedule == "plateau":
            callbacks.append(
                keras.callbacks.ReduceLROnPlateau(
                    settings.monitor, factor=settings.plateau_factor, patience=settings.plateau_patience, mode=mode
                )
            )
        callbacks.append(KeepProgress(self, position, training, tuple(callbacks), within))
        model.fit(
            training,
            validation_data=validation,
            epochs=phase.epochs,
            initial_epoch=within.epoch if within else 0,
            callbacks=callbacks,
            shuffle=False,  # the batches are drawn at random already, and read ahead in their order
            verbose=0,
        )

    def score_as_given(self) -> None:
        """Without phases, score the weights that the settings name, as if they were an epoch's."""
        started = time.monotonic()
        model = AugmentedClassifier(self.learner, [])
        self.compile(model, "sgd")
        training, validation = (
            model.evaluate(batches, return_dict=True, verbose=0) for batches in self.batches(None, None)
        )
        metrics = {**training, **{f"val_{name}": value for name, value in validation.items()}}
        self.best.phase = "as given"
        self.best.record({**metrics, "learning_rate": 0.0, "seconds": time.monotonic() - started}, left=0.0)

    def batches(self, training: Array | None, validation: Array | None) -> tuple[FaceBatches, FaceBatches]:
        """Return the batches of both splits, of faces or of their features."""
        balance: dict[str, dict[str, Any]] = {
            "class_weight": {"class_weights": self.weights},
            "oversample": {"class_weights": self.weights, "oversample": True},
        }
        size = self.settings.batch_size
        return (
            FaceBatches(
                self.faces,
                TRAIN,
                size,
                self.shuffle,
                features=training,
                soft_labels=self.soft_labels,
                **balance.get(self.settings.imbalance, {}),
            ),
            FaceBatches(self.faces, VALIDATION, size, features=validation),
        )

    def compile(self, model: AugmentedClassifier, optimizer: Any) -> None:
        """Prepare a model for fitting by the loss of the settings."""
        model.compile(
            optimizer=optimizer,
            loss=self.loss,
            metrics=[keras.metrics.CategoricalAccuracy("accuracy"), keras.metrics.F1Score("macro", name="macro_f1")],
        )


def train_classifier(
    faces: FaceSet,
    class_weights: Mapping[str, float],
    classifier: ClassifierSettings,
    augmentation: AugmentationSettings,
    settings: TrainingSettings,
    seed: int,
    checkpoint: Path,
    features_folder: Path,
    hook: EpochHook = lambda epoch, metrics: None,
    teacher: keras.Model | None = None,
    states: Path | None = None,
) -> tuple[keras.Model, TrainingHistory]:
    """Fine-tune phase after phase and return the best epoch's classifier (float32, logits) and the history.

    The best epoch, by `settings.monitor` on the validation split, is also at `checkpoint` (.keras) at any time.
    Frozen features go to `features_folder`. `hook` is called after every epoch with its number, counted from 1 over
    all phases, and its metrics. `teacher` is a classifier with a layer head_logits, for distillation. `states` is a
    folder in which the training is kept after every epoch: the same training, stopped however, goes on from there with
    the result that it would have had. It stays there until `forget_state` is told the history's `state`.
    Raises TrainingStoppedError on Ctrl-C and UserError where the weights cannot be loaded or the loss diverges.
    """
    make_deterministic(seed)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    store = FeatureStore(features_folder, settings.cached_views, settings.cache_gigabytes)
    fingerprint = fingerprint_training(
        faces, class_weights, classifier, augmentation, settings, seed, resolve_precision(settings.precision), teacher
    )
    total = max(1, sum(phase.epochs for phase in settings.phases))
    with use_devices(settings.devices), keep_state(states, fingerprint, total) as kept:
        run = TrainingRun(
            faces, class_weights, classifier, augmentation, settings, seed, store, teacher, checkpoint, hook, kept
        )
        best = run.best
        try:
            for position in range(len(settings.phases)):
                run.train_phase(position)
            if not settings.phases:
                run.score_as_given()
        except KeyboardInterrupt as interrupt:
            stopped = f"training was stopped after {len(best.history)} of {best.total} epochs"
            goes_on = "; the same command goes on from there" if kept and best.history else ""
            raise TrainingStoppedError(f"{stopped}; {best.kept()}{goes_on}") from interrupt
        except UserError as error:
            raise UserError(f"{error}; {best.kept()}") from error
        except Exception as error:
            error.add_note(best.kept())
            raise
    history = TrainingHistory(
        epochs=best.history,
        phases=best.phases,
        monitor=settings.monitor,
        best_epoch=best.best_epoch,
        precision=run.precision,
        state=state_key(fingerprint),
        figures={"learning_curves.png": plots.learning_curves(best.history, best.phases, best.best_epoch)},
    )
    return best.keep, history


def set_seeds(seeds: Sequence[Any], progress: Progress) -> None:
    """Let layers draw on from where they had come; `seeds` may be the first of those that the progress has."""
    for seed, value in zip(seeds, progress.seeds, strict=False):
        seed.assign(value)


def soften(teacher: keras.Model, faces: FaceSet, settings: TrainingSettings) -> Array:
    """Return the teacher's (training faces, classes) float32 probabilities at the distillation temperature.

    Each is the average over a face and its mirror image. Raises UserError where the teacher knows other classes.
    """
    classes = len(faces.class_names)
    if teacher.output_shape[-1] != classes:
        raise UserError(
            f"training.distillation.teacher gives {teacher.output_shape[-1]} classes, the faces have {classes}"
        )
    network = keras.Model(teacher.input, teacher.get_layer("head_logits").output)
    rows = faces.rows(TRAIN)
    logger.info("distillation: predicting %d training faces with the teacher", len(rows))
    softened = []
    for block in np.array_split(rows, math.ceil(len(rows) / TAUGHT_AT_ONCE)):
        images = faces.images[block]
        views = [predict(network, view, SETTLING_FACES) for view in (images, images[:, :, ::-1])]
        softened.append(np.mean([softmax(view / settings.distillation.temperature, axis=1) for view in views], axis=0))
    return np.concatenate(softened)


def learning_rate(phase: PhaseSettings, steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Return the phase's learning rate: a number, or a cosine to 0 (Loshchilov & Hutter 2017), after warm-up if any.

    `steps` is the number of batches an epoch.
    """
    warmup = round(phase.warmup_epochs * steps)
    if phase.schedule != "cosine" and not warmup:
        return phase.learning_rate
    return keras.optimizers.schedules.CosineDecay(
        phase.learning_rate if not warmup else 0.0,
        max(1, phase.epochs * steps - warmup),
        warmup_target=phase.learning_rate if warmup else None,
        alpha=0.0 if phase.schedule == "cosine" else 1.0,  # the share that is left at the end
        warmup_steps=warmup,
    )
