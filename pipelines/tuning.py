"""The tuning pipeline: the data steps of training, then a search for better settings."""

from zenml import pipeline
from zenml.enums import ExecutionMode

from configs.settings import Settings
from pipelines import training
from pipelines.runner import Outcome, execute, output
from stack.client_files import send_verdicts
from stack.preflight import check_teachers
from stack.step_places import StepPlaces
from steps.accept_data import accept_data
from steps.analyze_balance import analyze_balance
from steps.ingest_data import ingest_data
from steps.preprocess_data import preprocess_data
from steps.search_settings import search_settings
from steps.validate_data import validate_data
from vision.data.readers import source_fingerprint
from vision.training.hosts import refuse_hosts
from vision.training.trial_store import open_trials
from vision.training.tuning import STATES, check_space

SECTIONS = {*training.SECTIONS, "tuning"} - {"promotion"}


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def tuning(settings: Settings, tags: dict[str, str], fingerprint: str) -> None:
    """Ingest, validate, analyse and preprocess as training does, from its cache; search."""
    seed = settings.seed
    faces = ingest_data(settings.dataset, seed, fingerprint, settings.detection)
    validation = validate_data(faces, settings.validation, settings.preprocessing.blank_standard_deviation)
    shown = settings.model_dump(mode="json", include=SECTIONS)
    accept_data(faces, validation, shown, tags, StepPlaces.of(settings))
    analyze_balance(faces, settings.balance, seed, after="accept_data")
    verdicts = send_verdicts(settings.preprocessing)
    prepared, _ = preprocess_data(faces, settings.preprocessing, seed, verdicts, after="accept_data")
    search_settings(prepared, settings.model_dump(mode="json"), StepPlaces.of(settings))


def run(settings: Settings, tags: dict[str, str]) -> Outcome:
    """Run the pipeline on the active stack; the last lines say what was best, and how to train with it."""
    refuse_hosts()
    check_space(settings)
    check_teachers(settings)
    open_trials(settings.tuning.storage, settings.state_folder / "tuning")  # refuses one that cannot be used
    described = {**tags, **training.describe(settings), "pipeline": "tuning"}
    finished = execute(tuning, settings, settings, described, source_fingerprint(settings.dataset))
    report = output(finished, "search_settings", "tuning_report")
    file = output(finished, "search_settings", "best_file")
    states = [trial["state"] for trial in report.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in STATES if state in states or state != "running")
    return Outcome(
        {
            "trials": counts,
            "best": f"trial {report.best['number']}, {report.monitor} {report.best['value']:.4f}",
            **{f"  {path}": str(value) for path, value in report.best["values"].items()},
            "settings": file,
            "train with them": f"python run.py --pipeline training --config {file}",
        }
    )
