"""Names, types and bounds of every setting; the values are in the YAML files beside this module."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import parse_qsl, urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SecretStr,
    Tag,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from configs.paths import URI

ENVIRONMENT_PREFIX = "FACE_EMOTION__"
SHORTEST_TOKEN = 16  # characters
NAME_CHARACTERS = 250  # what the columns of MLflow's and ZenML's databases hold
MOST_EPOCHS = 1000  # of a phase

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
CLASS_NAME = r"^[a-z0-9][a-z0-9 _-]*$"  # MLflow takes these in metric names
ClassName = Annotated[str, Field(pattern=CLASS_NAME, max_length=100)]
Sentence = Annotated[str, Field(min_length=1)]
Severity = Literal["critical", "warning"]
DropRule = Literal["blank", "conflicting", "repeated", "leaked"]
EventName = Literal["failure", "rejected", "drift", "promotion", "rollback", "held"]
FileOrName = Annotated[str, Field(min_length=1)]
Uri = Annotated[str, Field(pattern=f"^{URI}")]
Detector = Literal["blazeface", "haar"]
Block = Literal["all", "head", "block1", "block2", "block3", "block4", "block5"]


class Section(BaseModel):
    """A part of the settings: cannot be changed after reading, and knows no other keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TrackingSettings(Section):
    experiment_name: Annotated[str, Field(min_length=1, max_length=NAME_CHARACTERS)]
    model_name: Annotated[str, Field(min_length=1, max_length=NAME_CHARACTERS, pattern=r"^[^/:]+$")]
    reports_folder: Path
    compared_runs: Annotated[int, Field(ge=1, le=100)]


class StoresSettings(Section):
    artifacts: Annotated[str, Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]+(/[^\s/?#@]+)*/?$")] | None


class OrchestrationSettings(Section):
    options: Path | None


class DrawnSettings(Section):
    faces: Annotated[int, Field(ge=70, le=1_000_000)]
    noise: Annotated[float, Field(ge=0.0, le=64.0)]


def _with_text_keys(value: Any) -> Any:
    """YAML reads `{7: null}` with a number as its key."""
    return {str(key): entry for key, entry in value.items()} if isinstance(value, dict) else value


CodeTable = Literal["fer2013", "affectnet", "rafdb", "ckplus", "expw"]
Codes = Annotated[CodeTable | dict[str, str | None], BeforeValidator(_with_text_keys)]
Splits = Annotated[dict[str, Literal["train", "validation", "test"] | None], BeforeValidator(_with_text_keys)]


class DatasetSettings(Section):
    path: Path | Uri
    reader: Literal["auto", "folder", "archive", "shards", "csv", "drawn", "kaggle"]
    class_names: Annotated[tuple[ClassName, ...], Field(min_length=2)]
    codes: Codes
    splits: Splits
    image_size: Annotated[int, Field(ge=16, le=512)]
    crop_faces: bool
    white_level: Annotated[float, Field(ge=0.0)]
    max_pixels: Annotated[int, Field(ge=256, le=400_000_000)]
    max_file_bytes: Annotated[int, Field(ge=1024, le=1_000_000_000)]
    max_images: Annotated[int, Field(ge=1, le=10_000_000)]
    max_unpacked_bytes: Annotated[int, Field(ge=1024, le=10_000_000_000_000)]
    workers: Annotated[int, Field(ge=1, le=256)]
    kaggle_name: str
    drawn: DrawnSettings

    @property
    def local_path(self) -> Path:
        """The path, once what an address names was fetched."""
        assert isinstance(self.path, Path)
        return self.path

    @field_validator("class_names", mode="before")
    @classmethod
    def class_names_are_names(cls, given: Any) -> Any:
        if isinstance(given, list | tuple) and any(isinstance(name, int | float) for name in given):
            raise ValueError(
                "expected the names of emotions, such as [angry, happy], not the numbers that stand for them; "
                "dataset.codes says what numbers mean, as {1: angry, 2: happy}"
            )
        return given

    @model_validator(mode="after")
    def class_names_are_unique(self) -> Self:
        if len(set(self.class_names)) != len(self.class_names):
            raise ValueError(f"class names are unique, got {list(self.class_names)}")
        return self


class ShareCheck(Section):
    """A check on single images: `max_share` of them may fail it."""

    severity: Severity
    max_share: Share


class ClassCountCheck(Section):
    severity: Severity
    min_count: Annotated[int, Field(ge=1)]


class SizeCheck(ShareCheck):
    min_side: Annotated[int, Field(ge=1)]


class FramingCheck(ShareCheck):
    max_aspect: Annotated[float, Field(ge=1.0)]
    max_side: Annotated[int, Field(ge=32)]


class BrightnessCheck(ShareCheck):
    min_mean: Annotated[float, Field(ge=0.0, le=255.0)]
    max_mean: Annotated[float, Field(ge=0.0, le=255.0)]

    @model_validator(mode="after")
    def bounds_are_in_order(self) -> Self:
        if self.min_mean >= self.max_mean:
            raise ValueError(f"min_mean {self.min_mean} is not below max_mean {self.max_mean}")
        return self


class ValidationSettings(Section):
    decodable: ShareCheck
    known_label: ShareCheck
    class_count: ClassCountCheck
    face_found: ShareCheck
    framing: FramingCheck
    size: SizeCheck
    blank: ShareCheck
    repeated: ShareCheck
    leaked: ShareCheck
    near_leaked: ShareCheck
    conflicting: ShareCheck
    brightness: BrightnessCheck


class BalanceSettings(Section):
    effective_number_beta: Probability


class PreprocessingSettings(Section):
    image_size: Annotated[int, Field(ge=32, le=512)]
    drop: tuple[DropRule, ...]
    blank_standard_deviation: Annotated[float, Field(ge=0.0, le=128.0)]
    held_out_as_test: bool
    validation_share: Annotated[float, Field(gt=0.0, lt=0.5)]
    test_share: Annotated[float, Field(gt=0.0, lt=0.5)]


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

    @model_validator(mode="after")
    def minutes_have_a_phase(self) -> Self:
        if self.minutes and not self.phases:
            raise ValueError(f"minutes is {self.minutes:g}, allowed without phases: 0")
        return self

    @model_validator(mode="after")
    def teachers_see_pixels(self) -> Self:
        if self.distillation.teachers and self.distillation.every_view and self.cached_views:
            raise ValueError(f"cached_views is {self.cached_views}, allowed with distillation.every_view: 0")
        return self


class EvaluationSettings(Section):
    batch_size: Annotated[int, Field(ge=1, le=4096)]
    test_time_augmentation: Literal["none", "flip", "ten_crop"]
    calibration_bins: Annotated[int, Field(ge=2, le=100)]
    bootstrap_samples: Annotated[int, Field(ge=10, le=100_000)]
    confidence_level: Annotated[float, Field(gt=0.5, lt=1.0)]
    explained_per_class: Annotated[int, Field(ge=1, le=10)]
    slice_faces: Annotated[int, Field(ge=1, le=1_000_000)]


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


class BlazeFaceSettings(Section):
    min_score: Annotated[float, Field(ge=0.05, lt=1.0)]


class HaarSettings(Section):
    scale_factor: Annotated[float, Field(gt=1.0, le=2.0)]
    min_neighbors: Annotated[int, Field(ge=1, le=100)]


class DetectionSettings(Section):
    detector: Detector
    detection_side: Annotated[int, Field(ge=64, le=20_000)]
    min_face_pixels: Annotated[int, Field(ge=8, le=5_000)]
    margin: Annotated[float, Field(ge=0.0, le=1.0)]
    blazeface: BlazeFaceSettings
    haar: HaarSettings

    def that_decide_faces(self) -> dict[str, Any]:
        """Return, as JSON can hold it, what decides which faces are found: all but the other detectors' sections."""
        others = set(get_args(Detector)) - {self.detector}
        return self.model_dump(mode="json", include=DetectionSettings.model_fields.keys() - others)


class FaceTrackingSettings(Section):
    min_overlap: Annotated[float, Field(gt=0.0, le=1.0)]
    max_gap_seconds: Annotated[float, Field(ge=0.0, le=3600.0)]
    smoothing_seconds: Annotated[float, Field(ge=0.0, le=3600.0)]


class RaySettings(Section):
    address: Annotated[str, Field(pattern=r"^(auto|[^\s/@]+:\d{1,5})$")]
    storage: str
    actors: Annotated[int, Field(ge=0, le=100_000)]
    stall_seconds: Annotated[float, Field(ge=30.0, le=86_400.0)]

    @field_validator("storage")
    @classmethod
    def storage_has_no_login(cls, storage: str) -> str:
        if "://" in storage and "@" in storage:
            raise ValueError(
                "the address holds a login, which would be kept with the run; use AWS_ACCESS_KEY_ID and so on"
            )
        return storage


class InferenceSettings(DetectionSettings):
    input: str
    output: Path
    model: Annotated[str, Field(min_length=1)]
    runtime: Literal["keras", "onnx", "onnx_int8"]
    engine: Literal["local", "ray"]
    ray: RaySettings
    detect: bool
    frames_per_second: Annotated[float, Field(gt=0.0, le=1000.0)]
    tracking: FaceTrackingSettings
    batch_size: Annotated[int, Field(ge=1, le=4096)]
    workers: Annotated[int, Field(ge=1, le=256)]
    confidence_threshold: Share
    annotated_pictures: Annotated[int, Field(ge=0)]
    max_pixels: Annotated[int, Field(ge=256, le=400_000_000)]
    max_file_bytes: Annotated[int, Field(ge=1024, le=100_000_000_000)]
    max_pictures: Annotated[int, Field(ge=1, le=1_000_000_000)]


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


class ServingSettings(Section):
    host: Annotated[str, Field(min_length=1)]
    port: Annotated[int, Field(ge=1, le=65_535)]
    token: SecretStr
    allowed_hosts: tuple[Annotated[str, Field(min_length=1)], ...]
    allowed_origins: tuple[Annotated[str, Field(pattern=r"^https?://[^/*\s]+$")], ...]
    runtime: Literal["onnx", "onnx_int8"]
    bundle: Path | None
    registry_seconds: Annotated[float, Field(ge=0.1, le=3600.0)]
    shadow: bool
    workers: Annotated[int, Field(ge=1, le=64)]
    batch_size: Annotated[int, Field(ge=1, le=1024)]
    max_requests: Annotated[int, Field(ge=1, le=10_000)]
    max_waiting_bytes: Annotated[int, Field(ge=1024, le=100_000_000_000)]
    max_connections: Annotated[int, Field(ge=1, le=100_000)]
    max_body_bytes: Annotated[int, Field(ge=1024, le=1_000_000_000)]
    max_pixels: Annotated[int, Field(ge=256, le=400_000_000)]
    max_faces: Annotated[int, Field(ge=1, le=10_000)]
    max_pictures: Annotated[int, Field(ge=1, le=10_000)]
    timeout_seconds: Annotated[float, Field(ge=0.1, le=600.0)]
    log: bool
    log_folder: Path
    log_days: Annotated[int, Field(ge=1, le=3650)]

    @field_validator("token")
    @classmethod
    def token_is_long_enough(cls, token: SecretStr) -> SecretStr:
        given = token.get_secret_value()
        is_plain = given.isascii() and given.isprintable() and " " not in given
        if given and not (is_plain and len(given) >= SHORTEST_TOKEN):
            raise ValueError(f"expected at least {SHORTEST_TOKEN} letters, digits or signs without spaces, or nothing")
        return token

    @model_validator(mode="after")
    def other_addresses_have_a_token(self) -> Self:
        if not is_loopback(self.host) and not self.token.get_secret_value():
            raise ValueError(
                f"serving.host {self.host} can be reached by others, so a token is needed: set "
                f"{ENVIRONMENT_PREFIX}SERVING__TOKEN, or leave serving.host at 127.0.0.1"
            )
        return self


def is_loopback(host: str) -> bool:
    """Say whether only this machine reaches an address or name."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class AlertSettings(Section):
    command: tuple[Annotated[str, Field(min_length=1)], ...]
    webhook: SecretStr
    events: tuple[EventName, ...]
    timeout_seconds: Annotated[float, Field(gt=0.0, le=300.0)]
    retries: Annotated[int, Field(ge=0, le=10)]
    backoff_seconds: Annotated[float, Field(ge=0.0, le=60.0)]

    @field_validator("webhook")
    @classmethod
    def webhook_is_an_address(cls, webhook: SecretStr) -> SecretStr:
        given = webhook.get_secret_value()
        try:
            parts = urlsplit(given)
            known = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:  # its text quotes the address
            known = False
        if given and not known:
            raise ValueError("expected an address that starts with http:// or https://, or nothing")
        return webhook


class NumberSpace(Section):
    low: float
    high: float
    log: bool

    @model_validator(mode="after")
    def bounds_are_in_order(self) -> Self:
        if self.low >= self.high or (self.log and self.low <= 0):
            raise ValueError(f"low {self.low:g} and high {self.high:g} do not make a range; log needs low above 0")
        return self


class ChoiceSpace(Section):
    choices: Annotated[tuple[Any, ...], Field(min_length=1)]


def _form_of_space(given: Any) -> str:
    return "list" if isinstance(given, ChoiceSpace) or (isinstance(given, dict) and "choices" in given) else "range"


Space = Annotated[
    Annotated[NumberSpace, Tag("range")] | Annotated[ChoiceSpace, Tag("list")],
    Discriminator(_form_of_space),
]


class TuningSettings(Section):
    trials: Annotated[int, Field(ge=1, le=100_000)]
    epochs: Annotated[int, Field(ge=1, le=1000)]
    startup_trials: Annotated[int, Field(ge=1, le=1000)]
    storage: Annotated[str, Field(min_length=1)] | None
    space: Annotated[dict[str, Space], Field(min_length=1)]

    @field_validator("storage")
    @classmethod
    def storage_has_no_login(cls, storage: str | None) -> str | None:
        if storage is None or "://" not in storage:
            return storage
        try:
            parts = urlsplit(storage)
            _ = parts.port
            asked = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
        except ValueError:  # its text quotes the address
            parts, asked = urlsplit(""), set()
        if parts.scheme not in ("postgresql", "postgresql+psycopg2"):
            raise ValueError("expected postgresql://SERVER:PORT/DATABASE, the path of a journal file, or null")
        if "@" in storage or asked & {"user", "password"}:
            raise ValueError(
                "the address holds a login, which would be kept with the run; leave it out, and set PGUSER and "
                "PGPASSWORD in the environment"
            )
        return storage


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
        return self
