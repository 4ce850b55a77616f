"""Names, types and bounds of the settings by which a classifier is built, trained and scored."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from configs.section import Probability, Section, Share

MOST_EPOCHS = 1000  # of a phase
FileOrName = Annotated[str, Field(min_length=1)]
Block = Literal["all", "head", "block1", "block2", "block3", "block4", "block5"]


class AugmentationSettings(Section):
    flip: bool
    rotation_degrees: Annotated[float, Field(ge=0.0, le=180.0)]
    shift: Annotated[float, Field(ge=0.0, le=0.5)]
    zoom: Annotated[float, Field(ge=0.0, le=0.5)]
    random_crop: bool
    brightness: Share
    contrast: Share
    erasing: Share
    mixup: Annotated[float, Field(ge=0.0, le=1.0)]


class ClassifierSettings(Section):
    backbone: Literal["vgg19", "vgg_compact"]
    weights: Annotated[str, Field(min_length=1)]
    width: Annotated[float, Field(gt=0.0, le=4.0)]
    crop_size: Annotated[int, Field(ge=0, le=512)]
    batch_norm_blocks: tuple[Annotated[int, Field(ge=1, le=5)], ...]
    pooling: Literal["average", "max", "flatten"]
    head_batch_norm: bool
    dense_units: tuple[Annotated[int, Field(ge=1, le=8192)], ...]
    dropout: Probability
    l2: Annotated[float, Field(ge=0.0, le=1.0)]

    @model_validator(mode="after")
    def width_fits_the_weights(self) -> Self:
        if self.width != 1.0 and not (self.weights == "none" or self.weights.endswith(".keras")):
            raise ValueError(
                f"width is {self.width:g}, allowed with the weights {self.weights}: 1; another needs weights none "
                "or the .keras file of a classifier of that width"
            )
        return self


class PhaseSettings(Section):
    name: Annotated[str, Field(min_length=1)]
    trainable: Annotated[tuple[Block, ...], Field(min_length=1)]
    epochs: Annotated[int, Field(ge=1, le=MOST_EPOCHS)]
    learning_rate: Annotated[float, Field(gt=0.0, le=10.0)]
    schedule: Literal["constant", "cosine", "plateau"]
    warmup_epochs: Annotated[float, Field(ge=0.0, le=100.0)]
    patience: Annotated[int, Field(ge=1, le=MOST_EPOCHS)]

    @model_validator(mode="after")
    def warmup_fits_into_the_phase(self) -> Self:
        if self.warmup_epochs > self.epochs:
            raise ValueError(f"warmup_epochs is {self.warmup_epochs:g}, allowed: 0 to epochs, which is {self.epochs}")
        if self.warmup_epochs and self.schedule == "plateau":
            raise ValueError(f"warmup_epochs is {self.warmup_epochs:g}, allowed with schedule plateau: 0")
        return self


class DistillationSettings(Section):
    """`teacher` is none, a name or a file, or several of these."""

    teacher: FileOrName | Annotated[tuple[FileOrName, ...], Field(min_length=1)]
    weight: Share
    temperature: Annotated[float, Field(gt=0.0, le=20.0)]
    every_view: bool

    @property
    def teachers(self) -> tuple[str, ...]:
        """The teachers; empty for none."""
        named = (self.teacher,) if isinstance(self.teacher, str) else self.teacher
        return () if named == ("none",) else named

    @property
    def teacher_files(self) -> tuple[str, ...]:
        """Those of the teachers that are files, not versions in the registry."""
        return tuple(teacher for teacher in self.teachers if not teacher.startswith("models:/"))


class TrainingSettings(Section):
    precision: Literal["auto", "float32", "bfloat16"]
    devices: Literal["one", "all"]
    deterministic: bool
    batch_size: Annotated[int, Field(ge=2, le=4096)]
    optimizer: Literal["adamw", "sgd"]
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)]
    label_smoothing: Probability
    ema_momentum: Probability
    imbalance: Literal["none", "class_weight", "oversample", "focal", "balanced_softmax"]
    class_weights: Literal["inverse_frequency", "effective_number"]
    focal_gamma: Annotated[float, Field(gt=0.0, le=10.0)]
    logit_adjustment: Annotated[float, Field(gt=0.0, le=10.0)]
    distillation: DistillationSettings
    doubtful_weight: Share
    cached_views: Annotated[int, Field(ge=0, le=1000)]
    cache_gigabytes: Annotated[float, Field(gt=0.0)]
    monitor: Literal["val_accuracy", "val_macro_f1", "val_loss"]
    calibration: Literal["auto", "temperature", "by_class"]
    plateau_factor: Annotated[float, Field(gt=0.0, lt=1.0)]
    plateau_patience: Annotated[int, Field(ge=1, le=100)]
    minutes: Annotated[float, Field(ge=0.0, le=100_000.0)]
    phases: tuple[PhaseSettings, ...]

    @property
    def calibrates_by_class(self) -> bool:
        """Whether confidence is fitted for each class; offsets would take back what a rebalanced training gives."""
        return self.calibration == "by_class" or (self.calibration == "auto" and self.imbalance == "none")

    @property
    def weighs_classes(self) -> bool:
        """Whether a face of a rare class counts more, or is drawn more often."""
        return self.imbalance in ("class_weight", "oversample")

    @model_validator(mode="after")
    def minutes_have_a_phase(self) -> Self:
        if self.minutes and not self.phases:
            raise ValueError(f"minutes is {self.minutes:g}, allowed without phases: 0")
        return self


class EvaluationSettings(Section):
    batch_size: Annotated[int, Field(ge=1, le=4096)]
    test_time_augmentation: Literal["none", "flip", "ten_crop"]
    calibration_bins: Annotated[int, Field(ge=2, le=100)]
    bootstrap_samples: Annotated[int, Field(ge=10, le=100_000)]
    confidence_level: Annotated[float, Field(gt=0.5, lt=1.0)]
    explained_per_class: Annotated[int, Field(ge=1, le=10)]
    slice_faces: Annotated[int, Field(ge=1, le=1_000_000)]


class AuditSettings(Section):
    folds: Annotated[int, Field(ge=2, le=20)]
    width: Annotated[float, Field(gt=0.0, le=4.0)]
    epochs: Annotated[int, Field(ge=1, le=MOST_EPOCHS)]
    batch_size: Annotated[int, Field(ge=2, le=4096)]
    learning_rate: Annotated[float, Field(gt=0.0, le=10.0)]
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)]
    dropout: Probability
