"""Training: phases of fine-tuning, each with its trainable blocks, learning rate and schedule."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import keras
import numpy as np

from configs.errors import UserError
from vision.data.faces import TRAIN
from vision.model.classifier import FLOAT32, build_classifier, set_trainable
from vision.model.weight_files import RANDOM
from vision.training import plots
from vision.training.budget import Afterwards, plan_epochs, say_epochs, with_epochs
from vision.training.callbacks import BestEpoch, KeepProgress, MovingAverage, RandomParts, schedule_callbacks
from vision.training.checkpoints import Progress, StateFolder, keep_state, layer_seeds, load_variables, restore_seeds
from vision.training.devices import make_deterministic, missing_kernels, use_devices
from vision.training.doubts import find_doubtful
from vision.training.duration import TellDuration, plan_training
from vision.training.feature_cache import FeatureStore
from vision.training.feature_room import check_feature_room
from vision.training.fingerprint import fingerprint_training, state_key
from vision.training.history import EpochHook, TrainingHistory, TrainingStoppedError
from vision.training.learner import Fitting, Learner, build_learner, compile_model
from vision.training.optimizers import build_optimizer
from vision.training.recipe import Recipe, TrainingData, TrainingPaths
from vision.training.together import check_together, take_state_of_first

logger = logging.getLogger(__name__)

SHOWN_CHARACTERS = 200  # of an error from a library
PAUSE = 30.0  # seconds between two writes where an epoch takes less than a second
NOTHING = Afterwards()


@dataclass(frozen=True)
class TrainingRun:
    """One training: what learns, the best epoch so far, where frozen features go, and where its state is kept.

    `resumed` is how far an earlier process came.
    """

    learner: Learner
    best: BestEpoch
    store: FeatureStore
    kept: StateFolder | None
    resumed: Progress | None


def train_classifier(
    data: TrainingData,
    recipe: Recipe,
    paths: TrainingPaths,
    hook: EpochHook = lambda epoch, metrics: None,
    after: Afterwards = NOTHING,
) -> tuple[keras.Model, TrainingHistory]:
    """Fine-tune phase after phase and return the best epoch's classifier (float32, logits) and the history.

    The best epoch, by `training.monitor` on the validation split, is also at the paths' checkpoint at any time.
    `hook` is called after every epoch with its number, counted from 1 over all phases, and its metrics. With a folder
    of states the training is kept there after every epoch: the same training, however it was stopped, resumes from
    there with the result that it would have had. It stays there until `forget_state` is told the history's `state`.
    With `training.minutes` the epochs are planned so that the training and what comes `after` it end in that time.
    Raises TrainingStoppedError on Ctrl-C and UserError where the weights cannot be loaded, the loss diverges or the
    minutes are too few.
    """
    paths.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    fingerprint = fingerprint_training(data, recipe)
    check_together(data, recipe, fingerprint)
    doubtful = _say_doubtful(data, recipe)
    with keep_state(paths.states, fingerprint, paths.store) as kept:
        take_state_of_first(kept)
        if recipe.training.minutes:
            recipe = _within_minutes(data, recipe, paths, after, kept.read() if kept else None)
        repeatable = recipe.training.deterministic
        try:
            best = _train(data, recipe, paths, hook, kept)
        except missing_kernels() as error:
            if not repeatable:
                raise
            _say_unrepeatable(error)
            repeatable = False
            training = recipe.training.model_copy(update={"deterministic": False})
            best = _train(data, replace(recipe, training=training), paths, hook, kept)
    finished = best.finished
    history = TrainingHistory(
        epochs=finished.metrics,
        phases=finished.phases,
        monitor=recipe.training.monitor,
        best_epoch=finished.best,
        precision=recipe.precision,
        state=state_key(fingerprint),
        repeatable=repeatable,
        planned=[phase.model_dump(mode="json") for phase in recipe.training.phases],
        doubtful_faces=doubtful,
        doubtful_weight=recipe.training.doubtful_weight,
        figures={"learning_curves.png": plots.learning_curves(finished.metrics, finished.phases, finished.best)},
    )
    return best.kept, history


def _say_doubtful(data: TrainingData, recipe: Recipe) -> int:
    """Return how many training faces have a doubtful label, and say what they count where that is not 1."""
    doubtful, weight = int(find_doubtful(data.faces).sum()), recipe.training.doubtful_weight
    if weight != 1.0:
        total = len(data.faces.rows(TRAIN))
        logger.info("training.doubtful_weight %g: so much count %d of %d training faces", weight, doubtful, total)
    return doubtful


def _say_unrepeatable(error: Exception) -> None:
    logger.warning(
        "an operation has no repeatable kernel on this device (%s); the training begins again without "
        "training.deterministic, so that a repetition will differ in the last digits",
        str(error).splitlines()[0][:SHOWN_CHARACTERS],
    )


def _train(
    data: TrainingData, recipe: Recipe, paths: TrainingPaths, hook: EpochHook, kept: StateFolder | None
) -> BestEpoch:
    """Train all phases, or what is left of them by the state that is kept, and return the best epoch."""
    resumed = kept.read() if kept else None
    make_deterministic(recipe.seed, recipe.training.deterministic)
    with use_devices(recipe.training.devices):
        run = prepare_run(build_learner(data, recipe), paths, hook, kept, resumed)
        check_feature_room(run.learner, recipe.training.phases[resumed.phase if resumed else 0 :], run.store)
        with _naming_the_checkpoint(run):
            for position in range(len(recipe.training.phases)):
                train_phase(run, position)
            if not recipe.training.phases:
                score_as_given(run)
    return run.best


def _within_minutes(
    data: TrainingData, recipe: Recipe, paths: TrainingPaths, after: Afterwards, resumed: Progress | None
) -> Recipe:
    """Return the recipe with the epochs that fit into its minutes; a training that resumes has them already."""
    if not resumed:
        make_deterministic(recipe.seed, recipe.training.deterministic)
        return with_epochs(recipe, plan_epochs(data, recipe, paths.checkpoint.parent, train_classifier, after))
    epochs = say_epochs(recipe.training.phases, resumed.planned)
    logger.info("training.minutes %g: %s, as planned when this training began", recipe.training.minutes, epochs)
    return with_epochs(recipe, resumed.planned)


def prepare_run(
    learner: Learner, paths: TrainingPaths, hook: EpochHook, kept: StateFolder | None, resumed: Progress | None
) -> TrainingRun:
    """Return a training before its next epoch: the first or, where its state was kept, the one after the last."""
    faces, recipe = learner.data.faces, learner.recipe
    side, classes = faces.images.shape[1], len(faces.class_names)
    if recipe.scores_a_file:
        best_network = keras.models.clone_model(learner.network)
    else:
        best_network = build_classifier(recipe.classifier, side, classes, FLOAT32, weights=RANDOM)
    monitor = recipe.training.monitor
    planned = [phase.epochs for phase in recipe.training.phases]
    best = BestEpoch(learner.network, best_network, monitor, planned, paths.checkpoint, hook)
    store = FeatureStore(paths.features, recipe.training.cache_gigabytes)
    run = TrainingRun(learner, best, store, kept, resumed)
    if kept and resumed:
        _take_over(run, kept, resumed)
    return run


def _take_over(run: TrainingRun, kept: StateFolder, progress: Progress) -> None:
    """Take over what an earlier process has trained, and report its epochs as if they had been trained now."""
    best, finished = run.best, progress.finished
    best.finished = finished
    load_variables(kept.best(finished.best), best.kept.weights)
    best.unwritten = True
    best.save_checkpoint()
    restore_seeds(layer_seeds([run.learner.network]), progress.random)
    run.learner.shuffle.bit_generator.state = progress.random.shuffle
    for number, metrics in enumerate(finished.metrics, start=1):
        best.hook(number, metrics)
    if progress.phase_ended and progress.phase + 1 == len(run.learner.recipe.training.phases):
        logger.info("the training was finished before (%d epochs): nothing is trained again", len(finished.metrics))
    else:
        logger.info("the training resumes from epoch %d of %d", len(finished.metrics) + 1, best.total)


def train_phase(run: TrainingRun, position: int) -> None:
    """Train what the phase at a position names, or what is left of it; nothing if it was trained before."""
    learner, resumed = run.learner, run.resumed
    if resumed and (position < resumed.phase or (position == resumed.phase and resumed.phase_ended)):
        return
    within = resumed if resumed and position == resumed.phase else None
    settings = learner.recipe.training
    phase = settings.phases[position]
    if run.best.finished.best:
        learner.network.set_weights(run.best.kept.get_weights())
    set_trainable(learner.network, phase.trainable)
    trained = sum(int(np.prod(weight.shape)) for weight in learner.network.trainable_weights) / 1e6
    parts = "+".join(phase.trainable)
    logger.info("phase %s: %d epochs, %s trainable (%.1fM weights)", phase.name, phase.epochs, parts, trained)
    fitting = learner.for_phase(run.store)
    run.best.phase = phase.name
    run.best.pause = PAUSE if fitting.model.resident else 0.0
    compile_model(fitting.model, build_optimizer(settings, phase, fitting.training.steps))
    if fitting.model.resident:  # `fit` would build what is not built from a batch of faces, which it does not see
        fitting.model.test_on_batch(*fitting.validation[0])
        for layer in fitting.model.augmentation:
            layer.built = True
    fitting.model.fit(
        fitting.training,
        validation_data=fitting.validation,
        epochs=phase.epochs,
        initial_epoch=within.epoch if within else 0,
        callbacks=_phase_callbacks(run, position, fitting, within),
        shuffle=False,  # the batches are drawn at random already, and read ahead in their order
        verbose=0,
    )


def _phase_callbacks(run: TrainingRun, position: int, fitting: Fitting, within: Progress | None) -> list[object]:
    """Return a phase's callbacks in the order in which they have to act."""
    learner = run.learner
    settings = learner.recipe.training
    averages = [MovingAverage(swap_on_epoch=True)] if settings.ema_momentum else []
    scheduled = schedule_callbacks(settings, settings.phases[position])
    callbacks: list[object] = [*averages, run.best, *scheduled]
    first = run.resumed.phase + run.resumed.phase_ended if run.resumed else 0
    if position == first and not fitting.model.resident:  # a call of many steps returns before they are done
        done = within.epoch if within else 0
        plan = plan_training(learner.network, learner.recipe, learner.data.faces, position, done)
        callbacks.append(TellDuration(plan))
    if run.kept:
        seeds = layer_seeds([learner.network, *fitting.model.augmentation])
        random = RandomParts(fitting.training, learner.shuffle, seeds)
        callbacks.append(KeepProgress(run.kept, position, run.best, random, [*averages, *scheduled], within))
    return callbacks


def score_as_given(run: TrainingRun) -> None:
    """Without phases, score the weights that the settings name, as if they were an epoch's."""
    recipe = run.learner.recipe
    if recipe.scores_a_file:
        logger.info(
            "nothing is trained: %s is scored as it is, and classifier.* is not used", recipe.classifier.weights
        )
    started = time.monotonic()
    fitting = run.learner.unchanged()
    compile_model(fitting.model, "sgd")
    training, validation = (
        fitting.model.evaluate(batches, return_dict=True, verbose=0)
        for batches in (fitting.training, fitting.validation)
    )
    metrics = {**training, **{f"val_{name}": value for name, value in validation.items()}}
    run.best.phase = "as given"
    run.best.record({**metrics, "learning_rate": 0.0, "seconds": time.monotonic() - started}, left=0.0)


@contextmanager
def _naming_the_checkpoint(run: TrainingRun) -> Iterator[None]:
    """Say of whatever ends a training early which epoch is kept, and where."""
    best = run.best
    try:
        try:
            yield
        finally:
            best.save_checkpoint()
    except KeyboardInterrupt as interrupt:
        epochs = len(best.finished.metrics)
        stopped = f"training was stopped after {epochs} of {best.total} epochs"
        resumes = "; the same command resumes from there" if run.kept and epochs else ""
        raise TrainingStoppedError(f"{stopped}; {best.describe()}{resumes}") from interrupt
    except UserError as error:
        raise UserError(f"{error}; {best.describe()}") from error
    except Exception as error:
        error.add_note(best.describe())
        raise
