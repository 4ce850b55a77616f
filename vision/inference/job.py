"""Job: predicts the faces of any number of pictures, part by part in a folder, and resumes after an interruption."""

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from configs.errors import UserError
from configs.inference_settings import InferenceSettings
from vision.data.face_detection import check_detector
from vision.files.atomic import UNFINISHED, write_file
from vision.files.hashes import hash_facts
from vision.files.image_kinds import IMAGE_SUFFIXES
from vision.files.locks import hold_folder
from vision.inference import plots
from vision.inference.examine import Examined, examine_ahead
from vision.inference.finished import JOB, SUCCESS, TABLE, mark_finished
from vision.inference.inputs import plain_name
from vision.inference.overlay import annotate_picture
from vision.inference.pictures import Pictures
from vision.inference.result_table import (
    UNCERTAIN,
    count_pictures_with_faces,
    merge_parts,
    write_csv,
    write_part,
)
from vision.inference.rows import add_thumbnails, picture_rows
from vision.inference.summary import (
    SAMPLES,
    InferenceReport,
    Pace,
    UsedModel,
    read_report,
    summarize,
    write_report,
)
from vision.inference.timeline import TIMELINE_CSV, TIMELINE_PAGE, write_timeline
from vision.model.onnx_runtime import Predictor

Array = np.ndarray[Any, Any]
logger = logging.getLogger(__name__)

LAYOUT = 6  # of what a job writes; raise it where new code must not continue with old parts
PHOTOS_A_PART = 32  # few, because the photos to annotate stay in memory
CROPS_A_PART = 1024  # rounded up to whole batches
LOG_SECONDS = 60.0  # between two lines of progress where there is no terminal
CSV, REPORT, PAGE = "predictions.csv", "report.json", "summary.html"
LOCK, PARTS, ANNOTATED = "job.lock", "parts", "annotated"


@dataclass(frozen=True)
class Job:
    """A folder, and how the pictures are cut into parts; a part is done when its file exists."""

    folder: Path
    pictures: Pictures
    part_size: int

    @property
    def parts(self) -> list[range]:
        """The positions of the pictures of each part."""
        positions = range(self.pictures.count)
        return [positions[start : start + self.part_size] for start in positions[:: self.part_size]]

    def part_file(self, part: range) -> Path:
        """Return the file of a part's rows."""
        return self.folder / PARTS / f"{part.start:09d}.parquet"

    def annotated_file(self, position: int, source: str) -> Path:
        """Return the file of an annotated picture; the position makes its name unique."""
        stem = source[: -len(suffix)] if (suffix := PurePosixPath(source).suffix).lower() in IMAGE_SUFFIXES else source
        return self.folder / ANNOTATED / f"{position:06d}-{plain_name(stem, 60)}.jpg"


@dataclass(frozen=True)
class Predicted:
    """The parts of a job's table in the order of its pictures, and how many faces this run predicted of them."""

    parts: Iterable[pa.Table]
    faces: int


Engine = Callable[[Job, Predictor, UsedModel, InferenceSettings], Predicted]


def job_folder(settings: InferenceSettings, pictures: Pictures, model: UsedModel) -> Path:
    """Return the folder of these pictures with this model and these settings; other jobs have other folders."""
    name = plain_name(pictures.name, 40) or pictures.form
    return settings.output / f"{name}-{_job_key(settings, pictures, model)[:10]}"


def predict_pictures(
    predictor: Predictor,
    model: UsedModel,
    pictures: Pictures,
    settings: InferenceSettings,
    folder: Path,
    engine: Engine | None = None,
) -> InferenceReport:
    """Predict every face and write predictions.parquet and .csv, annotated pictures and summary.html to `folder`.

    A video has timeline.html and timeline.csv too. An interrupted job resumes with the first part that is missing; a
    finished one is only reported. Raises UserError where the folder belongs to another job or is in use.
    """
    in_use = f"{folder} is in use: another run works on the same pictures; wait until it ends"
    with hold_folder(folder, LOCK, f"inference.output: {folder}", in_use):
        job = _open_job(folder, pictures, settings, model)
        report = _finished(folder, pictures)
        if report is None:
            started = time.perf_counter()
            predicted = (engine or predict_here)(job, predictor, model, settings)
            totals = merge_parts(predicted.parts, folder / TABLE, model.class_names)
            write_csv(folder / TABLE, folder / CSV)
            tracks = None
            if pictures.seconds_apart is not None:
                tracks = write_timeline(folder, folder / TABLE, pictures, settings, model.class_names)
            pace = Pace(time.perf_counter() - started, predicted.faces)
            report = replace(summarize(totals, pictures, model, settings, pace), tracks=tracks)
            page = report.page()
            write_file(folder / PAGE, lambda file: file.write_text(page, encoding="utf-8"))
            mark_finished(folder)
            write_report(folder / REPORT, report)  # from here on the job is finished
        shutil.rmtree(folder / PARTS, ignore_errors=True)
    return report


def _job_key(settings: InferenceSettings, pictures: Pictures, model: UsedModel) -> str:
    """Hash everything that the results depend on; how many faces are predicted at once may change on the way."""
    used = {"runtime", "detect", "confidence_threshold", "max_pixels", "max_file_bytes"}
    facts = [LAYOUT, pictures.fingerprint, model.version, model.sha256, settings.model_dump(mode="json", include=used)]
    if settings.detect:
        facts += [settings.that_decide_faces(), settings.annotated_pictures]
    if pictures.seconds_apart is not None:
        facts.append(settings.tracking.model_dump(mode="json"))
    return hash_facts(facts)


def _open_job(folder: Path, pictures: Pictures, settings: InferenceSettings, model: UsedModel) -> Job:
    """Start a job in an empty folder, or open the one that is there. Raises UserError where that is another job."""
    key, path = _job_key(settings, pictures, model), folder / JOB
    if not path.exists():
        unfinished = [*folder.glob(f"{UNFINISHED}*-{JOB}")]  # a process was killed while it started this job
        others = sorted(file.name for file in folder.iterdir() if file.name != LOCK and file not in unfinished)
        if others:
            raise UserError(f"{folder} holds {others[0]}, but no {JOB}; give a new folder with --inference.output")
        batches = -(-CROPS_A_PART // settings.batch_size)
        part_size = PHOTOS_A_PART if settings.detect else batches * settings.batch_size
        job = {"key": key, "part_size": part_size, "pictures": pictures.count, "model_version": model.version}
        job["settings"] = settings.model_dump(mode="json")
        write_file(path, lambda file: file.write_text(json.dumps(job, indent=1), encoding="utf-8"))
    found = json.loads(path.read_text(encoding="utf-8"))
    if found["key"] != key:
        raise UserError(
            f"{folder} belongs to another job, whose input, model or settings differ; "
            "give a new folder with --inference.output"
        )
    for left in folder.rglob(f"{UNFINISHED}*"):  # by a process that was killed: we hold the lock
        left.unlink()
    return Job(folder, pictures, found["part_size"])


def _finished(folder: Path, pictures: Pictures) -> InferenceReport | None:
    """Return the report of a finished job; where one of its files was removed, the job is done again."""
    written = (REPORT, TABLE, SUCCESS, CSV, PAGE, *((TIMELINE_CSV, TIMELINE_PAGE) if pictures.seconds_apart else ()))
    if not all((folder / name).exists() for name in written):
        for name in (REPORT, SUCCESS):
            (folder / name).unlink(missing_ok=True)
        return None
    when = f"{datetime.fromtimestamp((folder / REPORT).stat().st_mtime, UTC):%Y-%m-%d %H:%M} UTC"
    logger.info("%s was finished at %s and is only reported; delete it to predict anew", folder, when)
    return replace(read_report(folder / REPORT), finished_before=when)


def predict_here(job: Job, predictor: Predictor, model: UsedModel, settings: InferenceSettings) -> Predicted:
    """Write the parts that are missing, in this process."""
    (job.folder / PARTS).mkdir(exist_ok=True)
    done = [part for part in job.parts if job.part_file(part).exists()]
    missing = [part for part in job.parts if not job.part_file(part).exists()]
    to_annotate = 0
    if settings.detect:
        check_detector(settings)
        (job.folder / ANNOTATED).mkdir(exist_ok=True)
        annotated = sum(count_pictures_with_faces(job.part_file(part)) for part in done)
        to_annotate = settings.annotated_pictures - annotated
    thumbnails = -(-SAMPLES // len(job.parts))
    progress = _Progress(job.pictures, sum(len(part) for part in done))
    counted = 0
    with closing(examine_ahead(job.pictures, missing, settings, predictor.side, to_annotate)) as coming, progress:
        for part, examined in coming:
            faces = np.concatenate([picture.faces.images for picture in examined])
            probabilities = predictor.predict(faces, settings.batch_size) if len(faces) else np.empty((0, 1))
            rows = picture_rows(examined, probabilities, model, settings.confidence_threshold)
            for position, picture, of_picture in zip(part, examined, rows, strict=True):
                if picture.picture is not None:
                    path = job.annotated_file(position, picture.source)
                    _annotate(picture.picture, picture, of_picture, model.class_names, path)
            add_thumbnails(rows, faces, thumbnails)
            write_part(job.part_file(part), [row for of_picture in rows for row in of_picture], model.class_names)
            counted += len(faces)
            progress.add(len(examined))
    return Predicted((pq.read_table(job.part_file(part)) for part in job.parts), counted)


def _annotate(
    pixels: Array, examined: Examined, rows: Sequence[Mapping[str, Any]], class_names: Sequence[str], path: Path
) -> None:
    shown = [row["emotion"] for row in rows]
    labels = [
        name if name == UNCERTAIN else f"{name} {row['confidence']:.0%}" for name, row in zip(shown, rows, strict=True)
    ]
    colors = [plots.class_color(class_names.index(name) if name != UNCERTAIN else -1) for name in shown]
    image = annotate_picture(pixels, examined.faces.boxes * examined.scale, labels, colors)
    write_file(path, lambda file: image.save(file, "JPEG", quality=90))


class _Progress:
    """A progress bar on a terminal; elsewhere a line now and then, so that a log shows that the job still works."""

    def __init__(self, pictures: Pictures, finished: int) -> None:
        self.pictures, self.before, self.finished = pictures, finished, finished
        self.started = self.told = time.monotonic()
        name = f"predicting {pictures.name}"
        self.bar = tqdm(total=pictures.count, initial=finished, desc=name, unit=" pictures", disable=None)
        if finished:
            logger.info("%s: %s of %s pictures are done already", pictures.name, f"{finished:,}", f"{pictures.count:,}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def add(self, count: int) -> None:
        """Count pictures as done."""
        self.finished += count
        self.bar.update(count)
        now = time.monotonic()
        if not self.bar.disable or now - self.told < LOG_SECONDS:
            return
        self.told = now
        a_second = (self.finished - self.before) / (now - self.started)
        left = tqdm.format_interval((self.pictures.count - self.finished) / a_second)
        done, total = f"{self.finished:,}", f"{self.pictures.count:,}"
        logger.info("%s: %s of %s pictures, %.1f a second, %s left", self.pictures.name, done, total, a_second, left)
