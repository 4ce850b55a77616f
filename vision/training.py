"""Training: phases of fine-tuning, each with its trainable blocks, learning rate and schedule."""

import logging
import math
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from scipy.special import softmax
from tqdm import tqdm

from configs.errors import STOPPED_BY_USER, UserError
from configs.settings import AugmentationSettings, ClassifierSettings, PhaseSettings, TrainingSettings
from vision import plots
from vision.augmentation import Layers, build_augmentation
from vision.calibration import fit_temperature
from vision.classifier import BFLOAT16, FLOAT32, build_classifier, predict, set_trainable, with_temperature
from vision.faces import TRAIN, VALIDATION, FaceSet
from vision.reports import Report

logger = logging.getLogger(__name__)

OPTIMIZERS: dict[str, Callable[..., keras.optimizers.Optimizer]] = {
    "adamw": lambda rate, decay: keras.optimizers.AdamW(rate, weight_decay=decay),
    "sgd": lambda rate, decay: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=decay or None),
}
EpochHook = Callable[[int, Mapping[str, float]], object]


class TrainingStoppedError(UserError):
    """Ctrl-C in the middle of training."""

    exit_code = STOPPED_BY_USER


@dataclass(frozen=True, kw_only=True)
class TrainingHistory(Report):
    """Every epoch's metrics, and which epoch was kept."""

    epochs: list[dict[str, float]]
    phases: list[str]
    monitor: str
    best_epoch: int
    precision: str

    @property
    def best(self) -> dict[str, float]:
        return self.epochs[self.best_epoch - 1]

    def numbers(self) -> dict[str, float]:
        return {
            "best_epoch": float(self.best_epoch),
            **{f"best_{name}": value for name, value in self.best.items() if name.startswith("val_")},
            "training_seconds": sum(epoch["seconds"] for epoch in self.epochs),
        }


class FaceBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches out of the memory-mapped faces, drawn anew every epoch where `shuffle` is a generator.

    Yields ({"images": (n, side, side, 1) float32, "labels": (n, classes) float32}, labels, weights (n,) float32).
    """

    def __init__(
        self,
        faces: FaceSet,
        split: str,
        batch_size: int,
        shuffle: np.random.Generator | None = None,
        class_weights: np.ndarray | None = None,
        oversample: bool = False,
    ) -> None:
        super().__init__(workers=1)
        self.faces, self.batch_size, self.shuffle = faces, batch_size, shuffle
        self.rows = faces.rows(split)
        weights = np.ones(len(faces.class_names)) if class_weights is None else class_weights
        of_row = weights[faces.labels[self.rows]]
        self.chances = of_row / of_row.sum() if oversample else None
        self.weights = np.ones(len(self.rows)) if oversample else of_row
        self.order = np.arange(len(self.rows))
        self.on_epoch_end()

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / self.batch_size)

    def on_epoch_end(self) -> None:
        if self.shuffle is not None:
            count = len(self.rows)
            self.order = self.shuffle.choice(count, count, replace=self.chances is not None, p=self.chances)

    def __getitem__(self, position: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        chosen = self.order[position * self.batch_size : (position + 1) * self.batch_size]
        rows = self.rows[chosen]
        images = self.faces.images[rows][..., None].astype(np.float32)
        labels = np.eye(len(self.faces.class_names), dtype=np.float32)[self.faces.labels[rows]]
        return {"images": images, "labels": labels}, labels, self.weights[chosen].astype(np.float32)


class AugmentedClassifier(keras.Model):  # type: ignore[misc]
    """Augments, then classifies; its labels go through augmentation too, since mixup changes them."""

    def __init__(self, classifier: keras.Model, augmentation: Layers) -> None:
        super().__init__()
        self.classifier, self.augmentation = classifier, augmentation

    def call(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        if training:
            for layer in self.augmentation:
                data = layer(data, training=True)
        return {"logits": self.classifier(data["images"], training=training), "labels": data["labels"]}

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        return super().compute_loss(x, y_pred["labels"], y_pred["logits"], sample_weight, training)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        return super().compute_metrics(x, y, y_pred["logits"], None)


class BestEpoch(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps the best epoch of all phases on disk, reports each epoch with the time that is left."""

    def __init__(self, keep: keras.Model, monitor: str, epochs: int, checkpoint: Path, hook: EpochHook) -> None:
        super().__init__()
        self.keep, self.monitor, self.total, self.checkpoint, self.hook = keep, monitor, epochs, checkpoint, hook
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
            self.keep.set_weights(self.model.classifier.get_weights())
            unfinished = self.checkpoint.with_name(f"unfinished-{self.checkpoint.name}")
            self.keep.save(unfinished)
            unfinished.replace(self.checkpoint)  # at no time is there half a checkpoint under this name
            self.best_epoch = number
        left = metrics["seconds"] * (self.params["epochs"] - epoch - 1)
        logger.info(
            "epoch %d/%d [%s] loss %.4f accuracy %.4f | val_loss %.4f val_accuracy %.4f val_macro_f1 %.4f | "
            "%.0f s, about %.0f min left in this phase%s",
            number, self.total, self.phase, metrics["loss"], metrics["accuracy"], metrics["val_loss"],
            metrics["val_accuracy"], metrics["val_macro_f1"], metrics["seconds"], left / 60,
            " (best so far)" if best else "",
        )  # fmt: skip
        self.hook(number, metrics)


def train_classifier(
    faces: FaceSet,
    class_weights: Mapping[str, float],
    classifier: ClassifierSettings,
    augmentation: AugmentationSettings,
    settings: TrainingSettings,
    seed: int,
    checkpoint: Path,
    hook: EpochHook = lambda epoch, metrics: None,
) -> tuple[keras.Model, TrainingHistory]:
    """Fine-tune phase after phase and return the best epoch's classifier (float32, logits) and the history.

    The best epoch, by `settings.monitor` on the validation split, is also at `checkpoint` (.keras) at any time.
    `hook` is called after every epoch with its number, counted from 1 over all phases, and its metrics.
    Raises TrainingStoppedError on Ctrl-C and UserError where the weights cannot be loaded or the loss diverges.
    """
    make_deterministic(seed)
    precision = resolve_precision(settings.precision)
    side, classes = faces.images.shape[1], len(faces.class_names)
    dtype = BFLOAT16 if precision == "bfloat16" else FLOAT32
    learner = build_classifier(classifier, side, classes, dtype)
    keep = build_classifier(classifier, side, classes, FLOAT32, weights="none")
    model = AugmentedClassifier(learner, build_augmentation(augmentation, side, seed))

    weights = np.array([class_weights[name] for name in faces.class_names])
    balance: dict[str, dict[str, Any]] = {
        "none": {},
        "class_weight": {"class_weights": weights},
        "oversample": {"class_weights": weights, "oversample": True},
    }
    shuffle = np.random.default_rng(seed)
    training = FaceBatches(faces, TRAIN, settings.batch_size, shuffle, **balance[settings.imbalance])
    validation = FaceBatches(faces, VALIDATION, settings.batch_size)

    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    best = BestEpoch(keep, settings.monitor, sum(p.epochs for p in settings.phases), checkpoint, hook)
    try:
        for number, phase in enumerate(settings.phases):
            if number:
                learner.set_weights(keep.get_weights())
            _train_phase(model, phase, settings, training, validation, best)
    except KeyboardInterrupt as interrupt:
        stopped = f"training was stopped after {len(best.history)} of {best.total} epochs"
        raise TrainingStoppedError(f"{stopped}; {best.kept()}") from interrupt
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
        precision=precision,
        figures={"learning_curves.png": plots.learning_curves(best.history, best.phases, best.best_epoch)},
    )
    return keep, history


def _train_phase(
    model: AugmentedClassifier,
    phase: PhaseSettings,
    settings: TrainingSettings,
    training: FaceBatches,
    validation: FaceBatches,
    best: BestEpoch,
) -> None:
    set_trainable(model.classifier, phase.trainable)
    best.phase = phase.name
    model.compile(
        optimizer=OPTIMIZERS[settings.optimizer](learning_rate(phase, len(training)), settings.weight_decay),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=settings.label_smoothing),
        metrics=[keras.metrics.CategoricalAccuracy("accuracy"), keras.metrics.F1Score("macro", name="macro_f1")],
    )
    mode = "min" if settings.monitor == "val_loss" else "max"
    callbacks = [best, keras.callbacks.EarlyStopping(settings.monitor, patience=phase.patience, mode=mode)]
    if phase.schedule == "plateau":
        callbacks.append(
            keras.callbacks.ReduceLROnPlateau(
                settings.monitor, factor=settings.plateau_factor, patience=settings.plateau_patience, mode=mode
            )
        )
    trainable = sum(int(np.prod(weight.shape)) for weight in model.classifier.trainable_weights)
    logger.info(
        "phase %s: %d epochs, %s trainable (%.1fM weights)",
        phase.name,
        phase.epochs,
        "+".join(phase.trainable),
        trainable / 1e6,
    )
    model.fit(training, validation_data=validation, epochs=phase.epochs, callbacks=callbacks, verbose=0)


def calibrate_classifier(
    classifier: keras.Model, faces: FaceSet, batch_size: int
) -> tuple[keras.Model, float, np.ndarray]:
    """Fit a temperature on the validation split.

    Return the model with it, which gives probabilities, its value, and the (n, classes) probabilities of that split.
    """
    rows = faces.rows(VALIDATION)
    logits = predict(classifier, faces.images[rows], batch_size)
    temperature = fit_temperature(logits, faces.labels[rows])
    return with_temperature(classifier, temperature), temperature, softmax(logits / temperature, axis=1)


def learning_rate(phase: PhaseSettings, steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Return the phase's learning rate: a number, or a cosine to 0 (Loshchilov & Hutter 2017) after warm-up.

    `steps` is the number of batches an epoch.
    """
    if phase.schedule != "cosine":
        return phase.learning_rate
    warmup = round(phase.warmup_epochs * steps)
    return keras.optimizers.schedules.CosineDecay(
        phase.learning_rate if not warmup else 0.0,
        max(1, phase.epochs * steps - warmup),
        warmup_target=phase.learning_rate if warmup else None,
        warmup_steps=warmup,
    )


def make_deterministic(seed: int) -> None:
    """Seed Python, NumPy and Keras, and ask TensorFlow, where it computes, for repeatable operations."""
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def resolve_precision(precision: str) -> str:
    """Return float32 or bfloat16; `auto` is bfloat16 where the processor multiplies it natively (AMX)."""
    if precision != "auto":
        return precision
    flags = Path("/proc/cpuinfo")
    native = platform.system() == "Linux" and flags.is_file() and "amx_bf16" in flags.read_text(encoding="utf-8")
    return "bfloat16" if native else "float32"
