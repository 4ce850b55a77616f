"""All settings together; each section's names, types and bounds are beside this module, values in the YAML files."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from configs.alert_settings import AlertSettings
from configs.data_settings import BalanceSettings, DatasetSettings, PreprocessingSettings, ValidationSettings
from configs.environment import ENVIRONMENT_PREFIX
from configs.inference_settings import DetectionSettings, InferenceSettings
from configs.lifecycle_settings import (
    BundleSettings,
    CardSettings,
    MonitoringSettings,
    OnnxSettings,
    PromotionSettings,
    RetrainingSettings,
    RollbackSettings,
)
from configs.serving_settings import ServingSettings
from configs.store_settings import OrchestrationSettings, StoresSettings, TrackingSettings
from configs.training_settings import (
    AuditSettings,
    AugmentationSettings,
    ClassifierSettings,
    EvaluationSettings,
    TrainingSettings,
)
from configs.tuning_settings import TuningSettings


class Settings(BaseSettings):
    """Everything that can be set, read in order of precedence: command line, environment, YAML files."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
    )

    seed: Annotated[int, Field(ge=0, le=2**31 - 1)]
    state_folder: Path
    tracking: TrackingSettings
    stores: StoresSettings
    orchestration: OrchestrationSettings
    dataset: DatasetSettings
    validation: ValidationSettings
    balance: BalanceSettings
    preprocessing: PreprocessingSettings
    augmentation: AugmentationSettings
    classifier: ClassifierSettings
    training: TrainingSettings
    evaluation: EvaluationSettings
    promotion: PromotionSettings
    card: CardSettings
    onnx: OnnxSettings
    inference: InferenceSettings
    monitoring: MonitoringSettings
    retraining: RetrainingSettings
    rollback: RollbackSettings
    bundle: BundleSettings
    tuning: TuningSettings
    audit: AuditSettings
    serving: ServingSettings
    alerts: AlertSettings

    @property
    def detection(self) -> DetectionSettings | None:
        """How faces are cut out of the data set's pictures: as inference does it. None where they are not."""
        if not self.dataset.crop_faces:
            return None
        return DetectionSettings(**{name: getattr(self.inference, name) for name in DetectionSettings.model_fields})

    @model_validator(mode="after")
    def sections_fit_together(self) -> Self:
        kept, side, crop = self.dataset.image_size, self.preprocessing.image_size, self.classifier.crop_size
        if side > kept:
            raise ValueError(f"preprocessing.image_size is {side}, allowed: 32 to dataset.image_size, which is {kept}")
        if crop and not 32 <= crop < side:
            allowed = f"0 (off), or 32 to below preprocessing.image_size, which is {side}"
            raise ValueError(f"classifier.crop_size is {crop}, allowed: {allowed}")
        if not crop and (self.augmentation.random_crop or self.evaluation.test_time_augmentation == "ten_crop"):
            raise ValueError(
                "augmentation.random_crop and evaluation.test_time_augmentation ten_crop move what the network sees of "
                "a face; classifier.crop_size is 0 (all of it): set it to fewer pixels than the face has"
            )
        if self.augmentation.mixup and self.training.imbalance == "class_weight":
            raise ValueError(
                "augmentation.mixup with training.imbalance class_weight would weight a mixture as one of its classes; "
                "allowed with mixup: none, oversample, focal, balanced_softmax"
            )
        if self.augmentation.mixup and self.training.doubtful_weight != 1.0:
            raise ValueError(
                f"training.doubtful_weight is {self.training.doubtful_weight:g}, allowed with augmentation.mixup: 1; a "
                "mixture of two faces would have the weight of one of them"
            )
        distillation, views = self.training.distillation, self.training.cached_views
        if distillation.teachers and distillation.every_view and views:
            raise ValueError(
                f"training.cached_views is {views}, allowed with training.distillation.every_view: 0, since teachers "
                "see faces and not kept features"
            )
        if self.training.doubtful_weight != 1.0 and self.preprocessing.relabel is None:
            raise ValueError(
                f"training.doubtful_weight is {self.training.doubtful_weight:g}, but no face is marked as doubtful; "
                "set preprocessing.relabel to the table that --pipeline audit writes, or the weight to 1"
            )
        return self
