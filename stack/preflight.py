"""Preflight: what would end a training or a monitoring late is looked at before its first step."""

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException

from configs.environment import changed_environment
from configs.errors import UserError
from configs.paths import is_uri
from configs.settings import Settings
from configs.training_settings import ClassifierSettings
from stack.elsewhere import runs_here
from stack.error_messages import talking_to_mlflow
from stack.health import nearest
from stack.local_stack import find_tracking_uri
from stack.model_store import REFERENCE, load_reference
from stack.registry import (
    CHAMPION,
    PREVIOUS,
    REGISTERED,
    ModelError,
    RegisteredVersion,
    champion_of,
    find_alias,
    find_version,
)
from vision.data.reasons import class_option
from vision.lifecycle.onnx_export import reason_to_skip
from vision.model.weight_files import check_classifier
from vision.training.hosts import refuse_hosts

logger = logging.getLogger(__name__)

WEIGHTS = {"vgg19": 20_100_000, "vgg_compact": 1_900_000}  # of the backbones at width 1
# the best epoch, as checkpoint and in the stores of ZenML and MLflow; and what a stopped training resumes from: the
# weights, the best ones and two numbers of the optimizer for each
COPIES = 7
FLOAT_BYTES = 4


def check_training(settings: Settings) -> None:
    """Raise UserError for what would end a training after minutes or hours; warn of what it would leave out."""
    refuse_hosts()
    check_room(settings.classifier, settings.state_folder)
    if not runs_here():
        warn_of_local_files(settings)
    check_teachers(settings)
    with _tracking_to(find_tracking_uri(settings.state_folder)):
        check_champion(settings.tracking.model_name, settings.dataset.class_names)
    if settings.onnx.enabled and (reason := reason_to_skip(settings.onnx)):
        logger.warning("this training will write no ONNX files: %s", reason)


def check_monitoring(settings: Settings) -> None:
    """Raise UserError where the model that is to predict has not kept what faces are compared with afterwards."""
    uri = settings.inference.model
    with _tracking_to(find_tracking_uri(settings.state_folder)):
        try:
            load_reference(champion_of(settings.tracking.model_name) if uri == CHAMPION else find_version(uri))
        except ModelError as error:
            raise ModelError(
                f"monitoring compares faces with what inference.model {uri} learned from, but {error}; --pipeline "
                "inference predicts without comparing"
            ) from error


def warn_of_local_files(settings: Settings) -> None:
    """Say which settings name files of this machine, where the steps run on others."""
    dataset, weights = settings.dataset, settings.classifier.weights
    named: dict[str, Path | str | None] = {"classifier.weights": weights if os.path.isfile(weights) else None}
    named["dataset.path"] = dataset.path if dataset.reader not in ("drawn", "kaggle") else None
    for teacher in settings.training.distillation.teachers:
        named[f"training.distillation.teacher {teacher}"] = teacher if os.path.isfile(teacher) else None
    for setting, value in named.items():
        if value is not None and not is_uri(value):
            there = "the steps run elsewhere, and find it only where the same path is mounted"
            logger.warning("%s %s is on this machine; %s", setting.partition(" ")[0], value, there)


def check_room(classifier: ClassifierSettings, state: Path) -> None:
    """Raise UserError where the disk of the state folder has no room for the copies of a model that a run leaves."""
    needed = WEIGHTS[classifier.backbone] * classifier.width**2 * FLOAT_BYTES * COPIES
    free = shutil.disk_usage(nearest(state)).free
    if free < needed:
        raise UserError(
            f"the disk of state_folder {state} has {free / 1e9:.2f} GB free; checkpoints and models of this training "
            f"need about {needed / 1e9:.2f} GB: free some, or set --state_folder to a folder on another disk"
        )


def check_teachers(settings: Settings) -> None:
    """Raise UserError where a classifier that is to teach cannot teach these classes."""
    with _tracking_to(find_tracking_uri(settings.state_folder)):
        for teacher in settings.training.distillation.teachers:
            check_teacher(teacher, settings.dataset.class_names)


def check_teacher(teacher: str, class_names: Sequence[str]) -> None:
    """Raise UserError where training.distillation.teacher cannot teach these classes."""
    setting = f"training.distillation.teacher {teacher}"
    if not teacher.startswith(REGISTERED):
        if not os.path.exists(teacher):
            raise UserError(f"{setting} does not exist; name a .keras file, models:/NAME/VERSION, or none")
        check_classifier(Path(teacher), "training.distillation.teacher")
        return
    known = read_class_names(find_version(teacher))
    if known != tuple(class_names):  # in this order: its probabilities have no names
        raise UserError(
            f"{setting} knows {_listed(known)}, in this order; dataset.class_names is {_listed(class_names)}: "
            f"{class_option(known)}, or name another teacher"
        )


def check_champion(name: str, class_names: Sequence[str]) -> None:
    """Raise UserError where the gate could not compare a model of these classes with the champion of that name."""
    champion = find_alias(name, CHAMPION)
    if champion is None:
        return
    beside = f"train beside it under a name of your own: --tracking.model_name {_free_name(name)}"
    try:
        known = read_class_names(champion)
    except ModelError as error:
        back = ", go back with --pipeline rollback" if champion.tags.get(PREVIOUS, "none") != "none" else ""
        raise ModelError(
            f"the gate will compare with the champion, but {error}; restore it from a backup{back}, or {beside}"
        ) from error
    if set(known) != set(class_names):
        raise UserError(
            f"the champion, version {champion.number} of {name}, knows {_listed(known)}; dataset.class_names is "
            f"{_listed(class_names)}, so the gate cannot compare the two: train the same classes "
            f"({class_option(known)}), or {beside}"
        )


def read_class_names(version: RegisteredVersion) -> tuple[str, ...]:
    """Return what a version says of its classes, without loading it.

    Raises ModelError where that, the model's file or what it learned from is missing.
    """
    client = mlflow.MlflowClient()
    try:
        with talking_to_mlflow():
            metadata = mlflow.models.get_model_info(version.uri).metadata or {}
            files = [found.path for found in mlflow.artifacts.list_artifacts(artifact_uri=f"{version.uri}/data")]
            learned = [found.path for found in client.list_artifacts(version.run_id, str(Path(REFERENCE).parent))]
    except (MlflowException, OSError) as error:
        raise ModelError(f"{version.name} version {version.number} cannot be read: {error}") from error
    if not any(file.endswith(".keras") for file in files):
        raise ModelError(f"{version.name} version {version.number} has lost its .keras file")
    if REFERENCE not in learned:
        raise ModelError(f"{version.name} version {version.number} has lost {REFERENCE}")
    if "class_names" not in metadata:
        raise ModelError(f"{version.name} version {version.number} does not say its classes")
    return tuple(metadata["class_names"])


@contextmanager
def _tracking_to(uri: str) -> Iterator[None]:
    """Point MLflow to the store for a block."""
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else ""  # type: ignore[no-untyped-call]
    with changed_environment({"MLFLOW_TRACKING_URI": uri}):  # MLflow writes that one when it is told
        mlflow.set_tracking_uri(uri)
        try:
            yield
        finally:
            mlflow.set_tracking_uri(before)


def _free_name(name: str) -> str:
    """Return a name for a model that has no champion."""
    number = 2
    while find_alias(f"{name}-{number}", CHAMPION):
        number += 1
    return f"{name}-{number}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
