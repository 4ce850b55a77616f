"""Containers: the image that steps run in on a stack that has them, and what a user's file says of each step's."""

from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.loading import PROJECT
from stack.error_messages import reason_of

DECIDED = ("parameters", "run_name", "build", "schedule")  # by the command itself
WHY_NO_SCHEDULE = (
    "; a schedule of ZenML repeats today's run, with the fingerprint that the data has today: schedule the command "
    "instead, as stacks/kubernetes_schedule.yaml does"
)


def container_options(file: Path | None) -> dict[str, Any]:
    """Return the options of a pipeline whose steps run in containers.

    The image is built from the project's Dockerfile, where the file does not name one. It has the code, and nothing is
    downloaded when a step starts. Raises UserError for a file that ZenML cannot read.
    """
    if file is not None:
        check_options(file)
    image = {
        "dockerfile": str(PROJECT / "Dockerfile"),
        "build_context_root": str(PROJECT),
        "install_stack_requirements": False,  # the lock has them
        "allow_including_files_in_images": False,
        "allow_download_from_code_repository": False,
        "allow_download_from_artifact_store": False,
        "prevent_build_reuse": True,  # ZenML compares Dockerfiles, and not the code that they copy
    }
    return {"settings": {"docker": image}, "config_path": None if file is None else str(file)}


def check_options(file: Path) -> None:
    """Raise UserError for a file that is not a run configuration of ZenML, or decides what the command decides."""
    import yaml
    from pydantic import ValidationError
    from zenml.config.pipeline_run_configuration import PipelineRunConfiguration

    name = f"orchestration.options {file}"
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        PipelineRunConfiguration.model_validate(content)
    except OSError as error:
        way_out = "name a file such as stacks/kubernetes_run.yaml"
        raise UserError(f"{name} cannot be read ({error.strerror}); {way_out}") from error
    except (ValidationError, yaml.YAMLError, UnicodeDecodeError) as error:
        reason = reason_of(error)
        raise UserError(f"{name} is not a run configuration of ZenML: {reason}") from error
    if unknown := _unknown_names(content):
        raise UserError(f"{name} sets what does not exist: {', '.join(unknown)}")
    if found := [key for key in DECIDED if key in content]:
        why = WHY_NO_SCHEDULE if "schedule" in found else "; leave it out"
        raise UserError(f"{name} sets {', '.join(found)}, which the command decides{why}")


def _unknown_names(content: dict[str, Any]) -> list[str]:
    """Return the keys that ZenML does not know, and the steps that no pipeline of this project has."""
    from zenml.config.pipeline_run_configuration import PipelineRunConfiguration
    from zenml.config.step_configurations import StepConfigurationUpdate
    from zenml.utils.settings_utils import is_valid_setting_key

    steps = content.get("steps") or {}
    there = {path.stem for path in (PROJECT / "steps").glob("[!_]*.py")}
    unknown = [name for name in content if name not in PipelineRunConfiguration.model_fields]
    unknown += [f"steps.{step}" for step in steps if step not in there]
    unknown += [f"settings.{key}" for key in content.get("settings") or {} if not is_valid_setting_key(key)]
    for step, options in steps.items():
        unknown += [f"steps.{step}.{name}" for name in options if name not in StepConfigurationUpdate.model_fields]
        settings = options.get("settings") or {}
        unknown += [f"steps.{step}.settings.{key}" for key in settings if not is_valid_setting_key(key)]
    return unknown
