"""Names, types and bounds of the data's settings: reading, checks, balance and preparation."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from configs.paths import URI
from configs.section import Probability, Section, Share

CLASS_NAME = r"^[a-z0-9][a-z0-9 _-]*$"  # MLflow takes these in metric names
ClassName = Annotated[str, Field(pattern=CLASS_NAME, max_length=100)]


def _once_each(names: tuple[str, ...]) -> tuple[str, ...]:
    if len({*names}) < len(names):
        raise ValueError("a class is named twice")
    return names


ClassNames = Annotated[tuple[ClassName, ...], AfterValidator(_once_each)]  # what a file says of a model
Severity = Literal["critical", "warning"]
DropRule = Literal["blank", "conflicting", "repeated", "leaked"]
Uri = Annotated[str, Field(pattern=f"^{URI}")]


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
    relabel: Path | None
    blank_standard_deviation: Annotated[float, Field(ge=0.0, le=128.0)]
    held_out_as_test: bool
    validation_share: Annotated[float, Field(gt=0.0, lt=0.5)]
    test_share: Annotated[float, Field(gt=0.0, lt=0.5)]
