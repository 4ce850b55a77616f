"""What a training is given: its data, its recipe, and where it writes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import keras

from configs.training_settings import AugmentationSettings, ClassifierSettings, TrainingSettings
from vision.data.faces import FaceSet
from vision.model.weight_files import is_classifier_file
from vision.training.devices import resolve_precision
from vision.training.state_store import StateStore


@dataclass(frozen=True)
class TrainingData:
    """Prepared faces, a weight for each class name, and for distillation classifiers with a layer head_logits."""

    faces: FaceSet
    class_weights: Mapping[str, float]
    teachers: tuple[keras.Model, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """The settings that decide how a network learns."""

    classifier: ClassifierSettings
    augmentation: AugmentationSettings
    training: TrainingSettings
    seed: int

    @property
    def epochs(self) -> int:
        """All phases' epochs; 1 without phases, when the given weights are only scored."""
        return max(1, sum(phase.epochs for phase in self.training.phases))

    @property
    def scores_a_file(self) -> bool:
        """Whether nothing is trained: the classifier in a .keras file is scored as it is."""
        return not self.training.phases and is_classifier_file(self.classifier.weights)

    @property
    def precision(self) -> str:
        """What `training.precision` means on this machine: float32 or bfloat16."""
        return resolve_precision(self.training.precision)


@dataclass(frozen=True)
class TrainingPaths:
    """The best epoch's .keras file, a folder of frozen features, and one of states to resume from, or None.

    The `store` has copies of these states for other machines.
    """

    checkpoint: Path
    features: Path
    states: Path | None = None
    store: StateStore | None = None
