"""Model cards: what was measured of a registered model, and what the settings say of its use."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from markupsafe import Markup

from configs.settings import CardSettings
from vision.data.balance import BalanceReport
from vision.data.faces import SPLITS, UNASSIGNED
from vision.data.preprocessing import PreprocessingReport
from vision.data.validation import ValidationReport
from vision.evaluation.evaluation import OFFICIAL, EvaluationReport
from vision.reporting.markdown import render_markdown
from vision.reporting.pages import render_page
from vision.training.history import TrainingHistory

CALIBRATION = ("expected_calibration_error", "negative_log_likelihood")


@dataclass(frozen=True)
class ModelCard:
    """The same card twice: as Markdown, and as a self-contained HTML page."""

    markdown: str
    html: str


@dataclass(frozen=True)
class WeakestClass:
    """The class with the lowest recall on all test faces, and the classes that it is most often taken for."""

    name: str
    faces: int
    recognised: int
    taken_for: tuple[str, ...]
    confused: int

    @property
    def recall(self) -> float:
        return self.recognised / self.faces


def write_card(
    *,
    title: str,
    about: Mapping[str, str],
    validation: ValidationReport,
    balance: BalanceReport,
    preprocessing: PreprocessingReport,
    history: TrainingHistory,
    evaluation: EvaluationReport,
    temperature: float,
    card: CardSettings,
) -> ModelCard:
    """Write a model's card, in the order of Mitchell et al. (2019); every value is escaped.

    `about` is shown as it comes: model name and version, run, data set, git commit, weights, device.
    """
    used = {*preprocessing.before, *(split for rule in preprocessing.rules for split in rule.remaining)}
    markdown = render_page(
        "model_card.md.j2",
        title=title,
        about=about,
        validation=validation,
        balance=balance,
        preprocessing=preprocessing,
        splits=[split for split in (*SPLITS, UNASSIGNED) if split in used],
        history=history,
        phases=[(name, len(list(epochs))) for name, epochs in groupby(history.phases)],
        evaluation=evaluation,
        weakest=find_weakest_class(evaluation),
        calibration=CALIBRATION,
        temperature=temperature,
        card=card,
    )  # fmt: skip
    return ModelCard(markdown, card_page(title, markdown))


def card_page(title: str, markdown: str) -> str:
    """Return a card's Markdown as a self-contained page; HTML, links and images in it are shown as text."""
    body = render_markdown(markdown.partition("\n")[2])  # the page has a heading of its own
    return render_page("model_card.html.j2", title=title, body=Markup(body))  # noqa: S704 - without HTML of others


def find_weakest_class(evaluation: EvaluationReport) -> WeakestClass:
    """Return the class with the lowest recall among those with test faces, by the confusion matrix."""
    matrix = np.array(evaluation.confusion)
    names = [str(row["class"]) for row in evaluation.classes[OFFICIAL]]
    faces, recognised = matrix.sum(axis=1), np.diag(matrix)
    recall = np.where(faces > 0, recognised / np.maximum(faces, 1), np.inf)
    weakest = int(recall.argmin())
    confusions = np.where(np.arange(len(names)) == weakest, 0, matrix[weakest])
    confused = int(confusions.max())
    taken_for = tuple(name for name, count in zip(names, confusions, strict=True) if count == confused > 0)
    return WeakestClass(names[weakest], int(faces[weakest]), int(recognised[weakest]), taken_for, confused)
