"""Names, types and bounds of the settings by which faces are found in pictures and classified."""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator

from configs.section import Section, Share

Detector = Literal["blazeface", "haar"]


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
