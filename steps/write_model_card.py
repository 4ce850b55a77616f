"""Step write_model_card."""

from typing import Annotated

import mlflow
from zenml import step
from zenml.types import HTMLString, MarkdownString

from configs.settings import CardSettings
from stack.model_store import CARD
from stack.run_log import run_id
from vision.data.balance import BalanceReport
from vision.data.preprocessing import PreprocessingReport
from vision.data.validation import ValidationReport
from vision.evaluation.evaluation import EvaluationReport
from vision.lifecycle.model_card import write_card
from vision.training.history import TrainingHistory

DESCRIBED = ("dataset", "data_fingerprint", "git_commit", "weights", "weights_sha256", "precision", "device")


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
    about = {"model": name, "version": version, "run": run.info.run_id}
    about |= {tag: run.data.tags[tag] for tag in DESCRIBED if tag in run.data.tags}
    written = write_card(
        title=f"{name}, version {version}",
        about=about,
        validation=validation,
        balance=balance,
        preprocessing=preprocessing,
        history=history,
        evaluation=evaluation,
        temperature=run.data.metrics["temperature"],
        card=card,
    )
    mlflow.log_text(written.markdown, f"{CARD}.md")
    mlflow.log_text(written.html, f"{CARD}.html")
    mlflow.MlflowClient().update_model_version(name, version, description=written.markdown)
    return MarkdownString(written.markdown), HTMLString(written.html)
