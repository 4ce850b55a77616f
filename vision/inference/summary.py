"""Summary: the report of a job, made of the totals of its table."""

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from configs.inference_settings import InferenceSettings
from vision.files.atomic import write_file
from vision.files.file_sets import describe_files
from vision.inference import plots
from vision.inference.pictures import Pictures
from vision.inference.result_table import UNCERTAIN, Totals
from vision.reporting.figures import labelled_faces
from vision.reporting.pages import render_page
from vision.reporting.reports import Report

SAMPLES = 32  # faces that the summary shows


@dataclass(frozen=True)
class UsedModel:
    """The model that predicts. `sha256` is its file's: the same version of another registry is another model."""

    version: str
    class_names: tuple[str, ...]
    sha256: str


@dataclass(frozen=True, kw_only=True)
class InferenceReport(Report):
    """What a job found. `seconds` and `faces_per_second` are those of the run that finished it."""

    name: str
    form: str
    model_version: str
    pictures: int
    faces: int
    unreadable: int
    without_face: int
    uncertain: int
    emotions: dict[str, int]
    mean_confidence: float | None
    confidence_threshold: float
    annotated: int
    errors: tuple[tuple[str, str], ...]
    seconds: float
    faces_per_second: float
    several: int = 0  # pictures whose file holds more than the first one
    too_small: int = 0  # faces that were found and left out, under inference.min_face_pixels
    tracks: int | None = None  # the faces that were followed, of a video
    blended: int = 0  # pictures with transparent pixels, which were blended over grey
    white_levels: str = ""  # what was taken for white in pictures of more than 8 bits
    left_out: str = ""  # the files of the input that are not pictures
    ends_early: str = ""  # that a video ends long before its file says
    finished_before: str = ""  # when an earlier run finished the job that this run only reports

    def numbers(self) -> dict[str, float]:
        counts = ("pictures", "faces", "unreadable", "without_face", "too_small", "uncertain")
        paces = ("seconds", "faces_per_second")
        numbers = {f"inference/{name}": float(getattr(self, name)) for name in (*counts, *paces)}
        numbers |= {f"inference/emotion_{name}": float(count) for name, count in self.emotions.items()}
        if self.tracks is not None:
            numbers["inference/tracks"] = float(self.tracks)
        if self.mean_confidence is not None:
            numbers["inference/mean_confidence"] = self.mean_confidence
        return numbers

    def page(self) -> str:
        return render_page("inference.html.j2", title=f"Emotions in {self.name}", report=self)


@dataclass(frozen=True)
class Pace:
    """How long a run took, in seconds, and how many faces it predicted."""

    seconds: float
    faces: int


def summarize(
    totals: Totals, pictures: Pictures, model: UsedModel, settings: InferenceSettings, pace: Pace
) -> InferenceReport:
    """Build the report of a finished table from its totals."""
    emotions = {name: totals.emotions[name] for name in model.class_names}
    with_faces = totals.pictures - totals.unreadable - totals.without_face
    return InferenceReport(
        name=pictures.name,
        form=pictures.form,
        model_version=model.version,
        pictures=totals.pictures,
        faces=totals.faces,
        unreadable=totals.unreadable,
        without_face=totals.without_face,
        uncertain=totals.emotions[UNCERTAIN],
        emotions=emotions,
        mean_confidence=totals.confidence_sum / totals.faces if totals.faces else None,
        confidence_threshold=settings.confidence_threshold,
        annotated=min(settings.annotated_pictures, with_faces) if settings.detect else 0,
        errors=tuple(totals.errors),
        seconds=pace.seconds,
        faces_per_second=pace.faces / pace.seconds,
        several=totals.several,
        too_small=totals.too_small,
        blended=totals.blended,
        white_levels=_describe_whites(totals.whites),
        left_out=describe_files(pictures.left_out) if pictures.left_out else "",
        ends_early=pictures.ends_early,
        figures=_figures(totals, emotions, settings.confidence_threshold),
    )


def _describe_whites(whites: Mapping[float, int]) -> str:
    nouns = {1: "picture"}
    return ", ".join(f"{white:g} in {n:,} {nouns.get(n, 'pictures')}" for white, n in sorted(whites.items()))


def _figures(totals: Totals, emotions: Mapping[str, int], threshold: float) -> dict[str, bytes]:
    chosen = np.linspace(0, len(totals.thumbnails) - 1, min(SAMPLES, len(totals.thumbnails))).astype(int)
    samples = [totals.thumbnails[index] for index in chosen]
    side = math.isqrt(len(samples[0][2])) if samples else 0
    images = [np.frombuffer(levels, dtype=np.uint8).reshape(side, side) for *_, levels in samples]
    labels = [f"{emotion}\n{confidence:.0%}" for emotion, confidence, _ in samples]
    return {
        "emotions.png": plots.emotion_counts({**emotions, UNCERTAIN: totals.emotions[UNCERTAIN]}, tuple(emotions)),
        "confidence.png": plots.confidence_histogram(totals.confidences, threshold),
        "faces.png": labelled_faces(images, labels, "no faces were found"),
    }


def write_report(path: Path, report: InferenceReport) -> None:
    """Write a report, figures included, as JSON."""
    figures = {name: base64.b64encode(png).decode() for name, png in report.figures.items()}
    text = json.dumps({"facts": report.facts(), "figures": figures})
    write_file(path, lambda file: file.write_text(text, encoding="utf-8"))


def read_report(path: Path) -> InferenceReport:
    """Read what `write_report` wrote."""
    saved = json.loads(path.read_text(encoding="utf-8"))
    figures = {name: base64.b64decode(text) for name, text in saved["figures"].items()}
    return InferenceReport.from_facts(saved["facts"], figures)
