"""Step write_model_card: describe the registered version."""

from typing import Annotated

import mlflow
from zenml import step
from zenml.types import HTMLString, MarkdownString

from configs.lifecycle_settings import CardSettings
from stack.model_store import CARD, describe_by_card
from stack.run_log import run_id
from vision.data.balance import BalanceReport
from vision.data.preprocessing import PreprocessingReport
from vision.data.validation import ValidationReport
from vision.evaluation.evaluation import EvaluationReport
from vision.lifecycle.model_card import describe_version, write_card
from vision.lifecycle.training_facts import TrainingFacts
from vision.training.history import TrainingHistory


@step(experiment_tracker=True, enable_cache=False)
def write_model_card(
    validation: ValidationReport,
    balance: BalanceReport,
    preprocessing: PreprocessingReport,
    history: TrainingHistory,
    evaluation: EvaluationReport,
    model_uri: str,
    card: CardSettings,
) -> tuple[Annotated[MarkdownString, "model_card"], Annotated[HTMLString, "model_card_page"]]:
    """Write the card of the registered version to its run, and as the version's description."""
    run = mlflow.get_run(run_id())
    name, version = model_uri.removeprefix("models:/").split("/")
    about = describe_version(name, version, run.info.run_id, run.data.tags)
    calibrated = run.data.tags["calibration"], run.data.metrics["temperature"]
    facts = TrainingFacts(validation, balance, preprocessing, history, evaluation, *calibrated)
    written = write_card(f"{name}, version {version}", about, facts, card)
    mlflow.log_text(written.markdown, f"{CARD}.md")
    mlflow.log_text(written.html, f"{CARD}.html")
    describe_by_card(name, version, written.markdown)
    return MarkdownString(written.markdown), HTMLString(written.html)
