"""Inference: the faces of any number of pictures predicted, in pieces that survive an interruption."""

import base64
import hashlib
import json
import logging
import math
import shutil
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import Any, Self

import numpy as np
from filelock import FileLock, Timeout
from PIL import Image
from tqdm import tqdm

from configs.errors import UserError
from configs.settings import InferenceSettings
from vision.data.ingestion import decode_image, measure_levels, resize_face
from vision.data.readers import IMAGE_SUFFIXES
from vision.inference import plots
from vision.inference.detection import crop_face, find_faces
from vision.inference.inputs import Payload, Pictures, RawPicture, plain_name
from vision.inference.overlay import annotate_picture, fit_picture
from vision.inference.result_table import (
    NO_FACE,
    THUMBNAIL,
    UNCERTAIN,
    Totals,
    count_pictures_with_faces,
    merge_parts,
    write_atomically,
    write_csv,
    write_part,
)
from vision.model.runtimes import Predictor
from vision.reporting.figures import labelled_faces
from vision.reporting.reports import Report, render_page

Array = np.ndarray[Any, Any]
logger = logging.getLogger(__name__)

LAYOUT = 1  # of what a job writes; a change keeps new code from carrying on with old parts
PHOTOS_A_PART = 32  # few, because those that are to be annotated wait in memory
CROPS_A_PART = 1024  # rounded up to whole batches
CROPS_AT_ONCE, BYTES_AT_ONCE = 64, 4_000_000  # that a thread is given; single crops would cost more than they bring
SAMPLES = 32  # faces that the summary shows
LOG_SECONDS = 60.0  # between two lines of progress where there is no terminal
TABLE, CSV, REPORT, PAGE = "predictions.parquet", "predictions.csv", "report.json", "summary.html"
JOB, LOCK, PARTS, ANNOTATED = "job.json", "job.lock", "parts", "annotated"


@dataclass(frozen=True)
class UsedModel:
    """Whose predictions they are: its version as it is shown, and its file's SHA-256, since versions begin anew."""

    version: str
    class_names: tuple[str, ...]
    sha256: str


@dataclass(frozen=True, kw_only=True)
class InferenceReport(Report):
    """What a job found. `seconds` and `faces_per_second` are of the run that finished it."""

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

    def numbers(self) -> dict[str, float]:
        counts = ("pictures", "faces", "unreadable", "without_face", "uncertain", "seconds", "faces_per_second")
        numbers = {f"inference/{name}": float(getattr(self, name)) for name in counts}
        numbers |= {f"inference/emotion_{name}": float(count) for name, count in self.emotions.items()}
        if self.mean_confidence is not None:
            numbers["inference/mean_confidence"] = self.mean_confidence
        return numbers

    def page(self) -> str:
        return render_page("inference.html.j2", title=f"Emotions in {self.name}", report=self)


@dataclass(frozen=True)
class Examined:
    """A picture after reading: its faces as the model takes them, or why there are none.

    `boxes` is (n, 4) in the picture's pixels, `faces` (n, side, side) uint8, `sizes` the shorter sides of the crops,
    `levels` brightness, contrast and sharpness of each face. `picture` is RGB in the size that is annotated, `scale`
    times the original, or None where it is not wanted.
    """

    source: str
    error: str
    boxes: Array
    faces: Array
    sizes: tuple[int, ...] = ()
    levels: tuple[tuple[float, ...], ...] = ()
    picture: Array | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class Job:
    """A folder, and how the pictures are cut into parts; a part is done when its file exists."""

    folder: Path
    pictures: Pictures
    part_size: int

    @property
    def starts(self) -> range:
        return range(0, self.pictures.count, self.part_size)

    def stop(self, start: int) -> int:
        """Return the position after the last picture of the part that begins at `start`."""
        return min(start + self.part_size, self.pictures.count)

    def part(self, start: int) -> Path:
        """Return the file of the part that begins at `start`."""
        return self.folder / PARTS / f"{start:09d}.parquet"

    def annotated(self, position: int, source: str) -> Path:
        """Return the file of an annotated picture; the position keeps it apart from any other."""
        stem = source[: -len(suffix)] if (suffix := PurePosixPath(source).suffix).lower() in IMAGE_SUFFIXES else source
        return self.folder / ANNOTATED / f"{position:06d}-{plain_name(stem, 60)}.jpg"


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
) -> InferenceReport:
    """Predict every face and write predictions.parquet and .csv, annotated pictures and summary.html to `folder`.

    An interrupted job goes on with the first part that is
    missing; a finished one is only reported. Raises UserError where the folder is another job's or in use.
    """
    with _alone_in(folder):
        job = _open_job(folder, pictures, settings, model)
        report = _finished(folder)
        if report is None:
            started = time.perf_counter()
            faces = _predict_parts(job, predictor, model, settings)
            totals = merge_parts([job.part(start) for start in job.starts], folder / TABLE, model.class_names)
            write_csv(folder / TABLE, folder / CSV)
            seconds = time.perf_counter() - started
            report = _summarize(job, totals, model, settings, seconds, faces)
            page = report.page()
            write_atomically(folder / PAGE, lambda file: file.write_text(page, encoding="utf-8"))
            _write_report(folder / REPORT, report)  # from here on the job is finished
        shutil.rmtree(folder / PARTS, ignore_errors=True)
    return report


def _job_key(settings: InferenceSettings, pictures: Pictures, model: UsedModel) -> str:
    """Hash everything that the results depend on; how many are predicted at once may change on the way."""
    used = {"runtime", "detect", "confidence_threshold", "max_pixels", "max_file_bytes"}
    if settings.detect:
        used |= {"detection_side", "scale_factor", "min_neighbors", "min_face_pixels", "margin", "annotated_pictures"}
    facts = [LAYOUT, pictures.fingerprint, model.version, model.sha256, settings.model_dump(mode="json", include=used)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Make the folder and keep other processes out of it; the lock goes with the process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = FileLock(folder / LOCK).acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"{folder} is in use: another run works on the same pictures; wait until it ends") from error
    except OSError as error:
        raise UserError(f"inference.output: {folder} cannot be written: {error.strerror}") from error
    with held:
        yield


def _open_job(folder: Path, pictures: Pictures, settings: InferenceSettings, model: UsedModel) -> Job:
    """Start a job in an empty folder, or take up the one that is there. Raises UserError if that is another."""
    key, path = _job_key(settings, pictures, model), folder / JOB
    if not path.exists():
        others = sorted(file.name for file in folder.iterdir() if file.name not in (LOCK, JOB + ".tmp"))
        if others:
            raise UserError(f"{folder} holds {others[0]}, but no {JOB}; give a new folder with --inference.output")
        batches = -(-CROPS_A_PART // settings.batch_size)
        part_size = PHOTOS_A_PART if settings.detect else batches * settings.batch_size
        job = {"key": key, "part_size": part_size, "pictures": pictures.count, "model_version": model.version}
        job["settings"] = settings.model_dump(mode="json")
        write_atomically(path, lambda file: file.write_text(json.dumps(job, indent=1), encoding="utf-8"))
    found = json.loads(path.read_text(encoding="utf-8"))
    if found["key"] != key:
        raise UserError(
            f"{folder} belongs to another job, whose input, model or settings differ; "
            "give a new folder with --inference.output"
        )
    return Job(folder, pictures, found["part_size"])


def _predict_parts(job: Job, predictor: Predictor, model: UsedModel, settings: InferenceSettings) -> int:
    """Write the parts that are missing; return how many faces they hold."""
    (job.folder / PARTS).mkdir(exist_ok=True)
    done = [start for start in job.starts if job.part(start).exists()]
    missing = sorted({*job.starts} - {*done})
    to_annotate = 0
    if settings.detect:
        (job.folder / ANNOTATED).mkdir(exist_ok=True)
        to_annotate = settings.annotated_pictures - sum(count_pictures_with_faces(job.part(start)) for start in done)
    progress = _Progress(job.pictures, sum(job.stop(start) - start for start in done))
    counted = 0
    with closing(_examine_ahead(job, missing, settings, predictor.side, to_annotate)) as parts, progress:
        for start, examined in parts:
            faces = np.concatenate([picture.faces for picture in examined])
            probabilities = predictor.predict(faces, settings.batch_size) if len(faces) else np.empty((0, 1))
            rows = _rows(examined, probabilities, model, settings.confidence_threshold)
            for position, picture in enumerate(examined, start=start):
                if picture.picture is not None:
                    _annotate(
                        picture, rows[position - start], model.class_names, job.annotated(position, picture.source)
                    )
            _add_thumbnails(rows, faces, -(-SAMPLES // len(job.starts)))
            write_part(job.part(start), [row for of_picture in rows for row in of_picture], model.class_names)
            counted += len(faces)
            progress.add(len(examined))
    return counted


def _rows(
    examined: Sequence[Examined],
    probabilities: Array,
    model: UsedModel,
    threshold: float,
) -> list[list[dict[str, Any]]]:
    """Return each picture's rows of the table; `probabilities` are those of all their faces, one after another."""
    columns = [f"probability_{name}" for name in model.class_names]
    remaining = iter(probabilities)
    rows = []
    for picture in examined:
        facts = {"source": picture.source, "model_version": model.version, "error": picture.error}
        of_picture: list[dict[str, Any]] = []
        for face, (box, size, levels) in enumerate(
            zip(picture.boxes.tolist(), picture.sizes, picture.levels, strict=True)
        ):
            shares = next(remaining)
            confidence, most_likely = float(shares.max()), model.class_names[int(shares.argmax())]
            row = dict(zip(("x", "y", "width", "height"), box, strict=True)) | facts
            row |= dict(zip(("brightness", "contrast", "sharpness"), levels, strict=True))
            row |= {"face": face, "size": size, "most_likely": most_likely, "confidence": confidence}
            row["emotion"] = most_likely if confidence >= threshold else UNCERTAIN
            of_picture.append(row | dict(zip(columns, shares.tolist(), strict=True)))
        rows.append(of_picture or [facts | {"face": -1, "emotion": "", "most_likely": ""}])
    return rows


def _add_thumbnails(rows: Sequence[Sequence[dict[str, Any]]], faces: Array, count: int) -> None:
    """Give evenly chosen rows the grey levels of their face."""
    of_faces = [row for of_picture in rows for row in of_picture if row["face"] >= 0]
    for index in {*np.linspace(0, len(faces) - 1, min(count, len(faces))).astype(int).tolist()}:
        of_faces[index][THUMBNAIL] = faces[index].tobytes()


def _annotate(picture: Examined, rows: Sequence[Mapping[str, Any]], class_names: Sequence[str], path: Path) -> None:
    assert picture.picture is not None  # the caller has asked
    shown = [row["emotion"] for row in rows]
    labels = [
        name if name == UNCERTAIN else f"{name} {row['confidence']:.0%}" for name, row in zip(shown, rows, strict=True)
    ]
    colors = [plots.class_color(class_names.index(name) if name != UNCERTAIN else -1) for name in shown]
    image = annotate_picture(picture.picture, picture.boxes * picture.scale, labels, colors)
    write_atomically(path, lambda file: image.save(file, "JPEG", quality=90))


def _examine_ahead(
    job: Job, starts: Sequence[int], settings: InferenceSettings, side: int, to_annotate: int
) -> Generator[tuple[int, list[Examined]]]:
    """Yield the parts that begin at `starts`, each examined while the one before it is predicted.

    Pictures for annotation are kept of the first `to_annotate` that have faces.
    """
    stopped = threading.Event()
    with ThreadPoolExecutor(1) as reading, ThreadPoolExecutor(settings.workers) as workers:

        def examine_part(start: int, keep: bool) -> list[Examined]:
            waiting: deque[Future[list[Examined]]] = deque()
            examined: list[Examined] = []
            for bundle in _bundles(job.pictures.read(start, job.stop(start)), settings.detect):
                if stopped.is_set():
                    break
                if len(waiting) == 2 * settings.workers:  # so many are in memory as they were read
                    examined += waiting.popleft().result()
                waiting.append(workers.submit(_examine_all, bundle, settings, side, keep))
            return examined + [picture for future in waiting for picture in future.result()]

        try:
            coming = [reading.submit(examine_part, start, to_annotate > 0) for start in starts[:1]]
            for start, following in zip_longest(starts, starts[1:]):
                kept = []
                for picture in coming.pop().result():
                    to_annotate -= picture.picture is not None
                    kept.append(picture if to_annotate >= 0 else replace(picture, picture=None))
                if following is not None:
                    coming.append(reading.submit(examine_part, following, to_annotate > 0))
                yield start, kept
        finally:
            stopped.set()


def _bundles(pictures: Iterator[RawPicture], detect: bool) -> Iterator[list[RawPicture]]:
    """Yield lists of pictures that a thread is given at once: a photo, or several crops."""
    bundle: list[RawPicture] = []
    size = 0
    for picture in pictures:
        bundle.append(picture)
        if not isinstance(picture.payload, Exception):
            size += len(picture.payload) if isinstance(picture.payload, bytes) else picture.payload.nbytes
        if detect or len(bundle) == CROPS_AT_ONCE or size >= BYTES_AT_ONCE:
            yield bundle
            bundle, size = [], 0
    if bundle:
        yield bundle


def _examine_all(pictures: Sequence[RawPicture], settings: InferenceSettings, side: int, keep: bool) -> list[Examined]:
    return [_examine(picture, settings, side, keep) for picture in pictures]


def _examine(raw: RawPicture, settings: InferenceSettings, side: int, keep: bool) -> Examined:
    """Decode a picture and cut its faces out; keep the picture for annotation if that is asked for."""
    try:
        image = _decode(raw.payload, settings)
        gray = np.asarray(image.convert("L"))
        if settings.detect:
            boxes = find_faces(gray, settings)
            crops = [crop_face(gray, box, settings.margin) for box in boxes]
        else:
            boxes, crops = np.array([[0, 0, gray.shape[1], gray.shape[0]]]), [gray]
        faces = [resize_face(crop, side) for crop in crops]
        picture, scale = fit_picture(np.asarray(image.convert("RGB"))) if keep and faces else (None, 1.0)
    except Exception as error:  # noqa: BLE001 - whatever a hostile picture makes a decoder raise belongs into its row
        reason = f"{type(error).__name__}: {error}"[:300].encode("utf-8", "backslashreplace").decode()
        return Examined(raw.source, reason, np.empty((0, 4), dtype=np.int64), _stack([], side))
    sizes = tuple(min(crop.shape) for crop in crops)
    levels = tuple(tuple(measure_levels(face).values()) for face in faces)
    return Examined(raw.source, "" if faces else NO_FACE, boxes, _stack(faces, side), sizes, levels, picture, scale)


def _decode(payload: Payload, settings: InferenceSettings) -> Image.Image:
    if isinstance(payload, Exception):
        raise payload
    if isinstance(payload, np.ndarray):
        return Image.fromarray(payload)
    return decode_image(payload, settings.max_pixels, "inference")[0]


def _stack(faces: Sequence[Array], side: int) -> Array:
    return np.array(faces, dtype=np.uint8).reshape(-1, side, side)


class _Progress:
    """A progress bar on a terminal; elsewhere a line now and then, so that a log shows that work goes on."""

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


def _summarize(
    job: Job,
    totals: Totals,
    model: UsedModel,
    settings: InferenceSettings,
    seconds: float,
    counted: int,
) -> InferenceReport:
    """Build the report; `counted` faces were predicted in `seconds`."""
    emotions = {name: totals.emotions[name] for name in model.class_names}
    with_faces = totals.pictures - totals.unreadable - totals.without_face
    chosen = np.linspace(0, len(totals.thumbnails) - 1, min(SAMPLES, len(totals.thumbnails))).astype(int)
    samples = [totals.thumbnails[index] for index in chosen]
    side = math.isqrt(len(samples[0][2])) if samples else 0
    images = [np.frombuffer(levels, dtype=np.uint8).reshape(side, side) for *_, levels in samples]
    uncertain = totals.emotions[UNCERTAIN]
    return InferenceReport(
        name=job.pictures.name,
        form=job.pictures.form,
        model_version=model.version,
        pictures=totals.pictures,
        faces=totals.faces,
        unreadable=totals.unreadable,
        without_face=totals.without_face,
        uncertain=uncertain,
        emotions=emotions,
        mean_confidence=totals.confidence_sum / totals.faces if totals.faces else None,
        confidence_threshold=settings.confidence_threshold,
        annotated=min(settings.annotated_pictures, with_faces) if settings.detect else 0,
        errors=tuple(totals.errors),
        seconds=seconds,
        faces_per_second=counted / seconds,
        figures={
            "emotions.png": plots.emotion_counts({**emotions, UNCERTAIN: uncertain}, model.class_names),
            "confidence.png": plots.confidence_histogram(totals.confidences, settings.confidence_threshold),
            "faces.png": labelled_faces(images, [f"{name}\n{c:.0%}" for name, c, _ in samples], "no faces were found"),
        },
    )


def _write_report(path: Path, report: InferenceReport) -> None:
    figures = {name: base64.b64encode(png).decode() for name, png in report.figures.items()}
    text = json.dumps({"facts": report.facts(), "figures": figures})
    write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))


def _finished(folder: Path) -> InferenceReport | None:
    """Return the report of a finished job; one whose tables were removed is done again."""
    if not all((folder / name).exists() for name in (REPORT, TABLE, CSV, PAGE)):
        (folder / REPORT).unlink(missing_ok=True)
        return None
    saved = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    figures = {name: base64.b64decode(text) for name, text in saved["figures"].items()}
    return InferenceReport.from_facts(saved["facts"], figures)
