"""Fingerprints: what decides a model besides its data, so that a later run knows what has changed."""

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from configs.settings import Settings
from vision.files.hashes import PROJECT, hash_code, hash_facts, hash_file
from vision.model.weight_files import IMAGENET, weights_hash

LOCK = "requirements.lock"
LEARNED_FROM = {"seed", "dataset", "preprocessing", "balance", "augmentation", "classifier", "training"}
SAID_BY_THE_DATA = ("path", "reader", "workers", "kaggle_name")  # where faces come from does not change what is learned
SURROUNDINGS = ("device", "lock_sha256", "python", "packages", "machine", "cores", "convolutions")
COMPUTED_WITH = (
    "tensorflow",
    "keras",
    "numpy",
    "scipy",
    "scikit-learn",
    "opencv-python",
    "pillow",
    "pandas",
    "mlflow",
    "zenml",
)


def settings_fingerprint(settings: Settings) -> str:
    """Hash the settings that decide what a model learns; of weights and teachers in files, their content."""
    chosen = settings.model_dump(mode="json", include=LEARNED_FROM)
    for name in SAID_BY_THE_DATA:
        del chosen["dataset"][name]
    if settings.detection is not None:
        chosen["detection"] = settings.detection.that_decide_faces()
    chosen["preprocessing"]["relabel"] = hash_verdicts(settings)
    weights = settings.classifier.weights
    chosen["classifier"]["weights"] = weights if weights == IMAGENET else weights_hash(weights)
    if settings.training.distillation.teacher_files:
        chosen["training"]["distillation"]["teacher"] = hash_teachers(settings)
    return hash_facts(chosen)


def hash_verdicts(settings: Settings) -> str:
    """Return the hash of the file that changes labels, or "none"."""
    return hash_file(settings.preprocessing.relabel) if settings.preprocessing.relabel else "none"


def hash_teachers(settings: Settings) -> str:
    """Return the hashes of teachers that are files and the names of registered ones, or "none"."""
    distillation = settings.training.distillation
    files = distillation.teacher_files
    return " ".join(weights_hash(one) if one in files else one for one in distillation.teachers) or "none"


def code_fingerprint(project: Path = PROJECT) -> str:
    """Hash the code that decides what a run computes, and the versions that it runs with."""
    return hash_facts({"code": hash_code(project), "lock": hash_file(project / LOCK)})


def surroundings() -> dict[str, str]:
    """Return the tags that say what a training ran on and with: devices, lock, Python, packages, processor, kernels."""
    import tensorflow as tf  # late: it reads the environment when it is imported, and takes seconds

    return {
        "device": ",".join(device.device_type for device in tf.config.list_physical_devices()),
        "lock_sha256": hash_file(PROJECT / LOCK),
        "python": platform.python_version(),
        "packages": ", ".join(f"{package} {version(package)}" for package in COMPUTED_WITH),
        "machine": f"{platform.system()} {platform.machine()}, {processor_name()}",
        "cores": str(os.cpu_count()),
        "convolutions": convolutions(),
    }


def surroundings_of(tags: Mapping[str, str]) -> dict[str, str]:
    """Return those of a run's tags that `surroundings` gave on the machine that trained."""
    return {name: tags[name] for name in SURROUNDINGS if name in tags}


def convolutions() -> str:
    """Return what computes TensorFlow's convolutions on the processor, as the environment says."""
    chosen = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "")
    return {"1": "oneDNN", "0": "Eigen"}.get(chosen, "as TensorFlow chooses")


def processor_name() -> str:
    """Return the processor's name as the system gives it."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
