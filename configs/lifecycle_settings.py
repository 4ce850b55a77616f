"""Names, types and bounds of what happens to a trained classifier: promotion, export, monitoring and retraining."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from configs.section import Section, Share

Sentence = Annotated[str, Field(min_length=1)]


class PromotionSettings(Section):
    min_accuracy: Share
    min_macro_f1: Share
    min_worst_class_recall: Share
    min_worst_slice_accuracy: Share
    max_expected_calibration_error: Share
    max_generalization_gap: Share
    max_model_megabytes: Annotated[float, Field(gt=0.0)]
    max_latency_p95_milliseconds: Annotated[float, Field(gt=0.0)]
    better_by: Literal["accuracy", "macro_f1"]
    min_gain: Share
    confidence_level: Annotated[float, Field(gt=0.5, lt=1.0)]
    bootstrap_samples: Annotated[int, Field(ge=100, le=100_000)]
    latency_samples: Annotated[int, Field(ge=20, le=10_000)]
    allow_drawn: bool


class CardSettings(Section):
    intended_use: tuple[Sentence, ...]
    off_limits: tuple[Sentence, ...]
    limits: tuple[Sentence, ...]
    origin: tuple[Sentence, ...]


class OnnxSettings(Section):
    enabled: bool
    calibration_faces: Annotated[int, Field(ge=1, le=100_000)]
    max_probability_difference: Annotated[float, Field(gt=0.0, le=1.0)]
    max_accuracy_loss: Share
    latency_batches: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(min_length=1)]
    latency_samples: Annotated[int, Field(ge=1, le=10_000)]


class MonitoringSettings(Section):
    bins: Annotated[int, Field(ge=2, le=100)]
    max_population_stability_index: Annotated[float, Field(gt=0.0)]
    significance: Annotated[float, Field(gt=0.0, lt=0.5)]
    min_faces: Annotated[int, Field(ge=2)]


class RetrainingSettings(Section):
    only_if_drifted: bool
    compared_faces: Annotated[int, Field(ge=100)]
    dry_run: bool


class RollbackSettings(Section):
    version: Annotated[int, Field(ge=1, le=2**31 - 1)] | None
    reason: Annotated[str, Field(min_length=1)]


class BundleSettings(Section):
    path: Path
    max_bytes: Annotated[int, Field(ge=1024)]
