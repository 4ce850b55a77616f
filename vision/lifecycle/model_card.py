"""Model cards: what was measured of a registered model, and what the settings say of its use."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from configs.lifecycle_settings import CardSettings
from vision.evaluation.evaluation import OFFICIAL, EvaluationReport
from vision.lifecycle.training_facts import TrainingFacts
from vision.reporting.markdown import render_markdown
from vision.reporting.pages import render_page

DESCRIBED = (
    "dataset",
    "data_fingerprint",
    "git_commit",
    "weights",
    "weights_sha256",
    "relabel_sha256",
    "precision",
    "device",
)


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


def describe_version(name: str, version: str, run_id: str, tags: Mapping[str, str]) -> dict[str, str]:
    """Return what identifies a registered version, by name; `tags` are those of its run."""
    described = {tag: tags[tag] for tag in DESCRIBED if tag in tags}
    return {"model": name, "version": version, "run": run_id, **described}


def write_card(title: str, about: Mapping[str, str], facts: TrainingFacts, card: CardSettings) -> ModelCard:
    """Write a model's card, in the order of Mitchell et al. (2019); every value is escaped.

    `about` is shown as it comes: model name and version, run, data set, git commit, weights, device.
    """
    markdown = render_page(
        "model_card.md.j2",
        title=title,
        about=about,
        facts=facts,
        weakest=find_weakest_class(facts.evaluation),
        card=card,
    )
    return ModelCard(markdown, card_page(title, markdown))


def shorten_card(markdown: str, characters: int, place: str) -> str:
    """Return a card of at most so many characters, cut at a line's end; its last line then says where all of it is."""
    if len(markdown) <= characters:
        return markdown
    lines = markdown.splitlines()
    for kept in range(len(lines) - 1, -1, -1):
        ending = f"*{len(lines) - kept} of {len(lines)} lines are left out here; the whole card is {place}.*"
        shortened = "\n".join([*lines[:kept], "", ending])
        if len(shortened) <= characters:
            break
    return shortened


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
