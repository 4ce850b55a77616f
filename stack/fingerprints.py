"""Fingerprints: what decides a model besides its data, so that retraining and reproduction know what has changed."""

import hashlib
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

from configs.settings import Settings
from vision.model.weight_files import IMAGENET, weights_hash

PROJECT = Path(__file__).resolve().parents[1]
LEARNED_FROM = {"seed", "dataset", "preprocessing", "balance", "augmentation", "classifier", "training"}
SAID_BY_THE_DATA = ("path", "reader", "workers", "kaggle_name")  # where faces come from does not change what is learned
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
CODE = ("vision/**/*.py", "stack/*.py", "steps/*.py", "configs/*.py", "pipelines/training.py", "requirements.lock")


def settings_fingerprint(settings: Settings) -> str:
    """Hash the settings that decide what a model learns; of weights in a file, their content."""
    chosen = settings.model_dump(mode="json", include=LEARNED_FROM)
    for name in SAID_BY_THE_DATA:
        del chosen["dataset"][name]
    weights = settings.classifier.weights
    chosen["classifier"]["weights"] = weights if weights == IMAGENET else weights_hash(weights)
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:32]


def code_fingerprint() -> str:
    """Hash the code that trains and the versions that it runs with."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in CODE for path in PROJECT.glob(pattern)):
        digest.update(path.relative_to(PROJECT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:32]


def surroundings() -> dict[str, str]:
    """Return the tags that say what a training ran on and with: lock, Python, packages, processor and cores."""
    lock = (PROJECT / "requirements.lock").read_bytes()
    return {
        "lock_sha256": hashlib.sha256(lock).hexdigest(),
        "python": platform.python_version(),
        "packages": ", ".join(f"{package} {version(package)}" for package in COMPUTED_WITH),
        "machine": f"{platform.system()} {platform.machine()}, {processor_name()}",
        "cores": str(os.cpu_count()),
    }


def processor_name() -> str:
    """Return the processor's name as the system gives it."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
