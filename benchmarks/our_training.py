"""Our side of the training benchmarks: the one place where they call what they measure."""

from pathlib import Path

import keras

from configs.settings import Settings
from vision.balance import analyze_classes
from vision.faces import FaceSet
from vision.ingestion import ingest_faces
from vision.preprocessing import preprocess_faces
from vision.training import EpochHook, TrainingHistory, train_classifier


def prepare_faces(settings: Settings) -> FaceSet:
    """Ingest and preprocess: the faces with the splits that training sees."""
    return preprocess_faces(ingest_faces(settings.dataset, settings.seed), settings.preprocessing, settings.seed)[0]


def train_ours(
    faces: FaceSet, settings: Settings, folder: Path, hook: EpochHook
) -> tuple[keras.Model, TrainingHistory]:
    """Train as the step train_model does; `hook` is called after every epoch, `folder` takes what training keeps."""
    balance = analyze_classes(faces, settings.balance, settings.seed)
    return train_classifier(
        faces,
        balance.weights[settings.training.class_weights],
        settings.classifier,
        settings.augmentation,
        settings.training,
        settings.seed,
        folder / "best.keras",
        folder / "features",
        hook=hook,
    )
