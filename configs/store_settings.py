"""Names, types and bounds of the settings that say where runs and their results are kept, and where steps run."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from configs.section import Section

NAME_CHARACTERS = 250  # what the columns of MLflow's and ZenML's databases hold


class TrackingSettings(Section):
    experiment_name: Annotated[str, Field(min_length=1, max_length=NAME_CHARACTERS)]
    model_name: Annotated[str, Field(min_length=1, max_length=NAME_CHARACTERS, pattern=r"^[^/:]+$")]
    reports_folder: Path
    compared_runs: Annotated[int, Field(ge=1, le=100)]


class StoresSettings(Section):
    artifacts: Annotated[str, Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]+(/[^\s/?#@]+)*/?$")] | None


class OrchestrationSettings(Section):
    options: Path | None
