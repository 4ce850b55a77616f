"""Detectors on pictures with pasted faces: faces found, accuracy of the classifier on them, milliseconds a picture."""

import statistics
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np

from benchmarks.measuring import Table, parser, publish, require, settings_for, start
from benchmarks.scenes import Scene, draw_turned_faces, paste_faces
from configs.inference_settings import DetectionSettings, Detector
from vision.data.faces import FaceSet

Array = np.ndarray[Any, Any]
FACES, QUICK_FACES = 200, 4  # of the training split for the frame, and as many for each row
TURNED, DARK = 60.0, 0.1  # degrees, and times the brightness
NOTES = (
    "Faces of FER2013, 48x48, enlarged and pasted into drawn scenes of 640x480 (`benchmarks/scenes.py`). *Frame* rows "
    "use faces of the training split and say how the detector's square lies on the pasted one: side of the pasted "
    "square by that of the detector's, and how far its centre is to the right of and below the detector's, in the "
    "detector's sides (medians). Around 1, 0, 0 the crops are framed as FER2013's faces are.",
    "The other rows use faces of the validation split that preprocessing takes out of training. *Accuracy* is that of "
    "the model on the crops of the faces found, *as pasted* on the same faces before they were pasted. *More* are "
    "boxes in which no face was pasted, by picture. A pasted square lacks the outline of a head, which helps to find "
    "real faces. Milliseconds are medians of one thread.",
)


@dataclass(frozen=True)
class Found:
    """What a detector made of the scenes: other boxes, milliseconds, and each one's box of the pasted face or None.

    A box is x, y, width, height and the turn that makes the face upright.
    """

    boxes: list[Array | None]
    more: int
    milliseconds: list[float]

    @property
    def share(self) -> float:
        """The share of faces that were found."""
        return sum(box is not None for box in self.boxes) / len(self.boxes)


def find_pasted(scenes: Sequence[Scene], settings: DetectionSettings) -> Found:
    """Search each scene; a box belongs to the pasted face if each centre lies in the other square."""
    from vision.data.face_detection import check_detector, search_faces

    check_detector(settings)
    boxes, more, milliseconds = [], 0, []
    for scene in scenes:
        started = time.perf_counter()
        faces = search_faces(scene.picture, settings)
        milliseconds.append(1000 * (time.perf_counter() - started))
        found = np.column_stack([faces.boxes, faces.turns])
        x, y, side = scene.square
        apart = np.abs(found[:, :2] + found[:, 2:4] / 2 - [x + side / 2, y + side / 2]).max(axis=1)
        fits = np.flatnonzero(apart < np.minimum(found[:, 2], side) / 2)
        boxes.append(found[fits[0]] if len(fits) else None)
        more += len(found) - min(1, len(fits))
    return Found(boxes, more, milliseconds)


def measure_frame(scenes: Sequence[Scene], found: Found) -> tuple[float, float, float]:
    """Return the medians of the pasted side by the box's, and of the offsets of its centre in the box's sides."""
    lies = []
    for scene, box in zip(scenes, found.boxes, strict=True):
        if box is not None:
            (x, y, side), middle = scene.square, box[:2] + box[2:4] / 2
            lies.append((side / box[2], *(([x + side / 2, y + side / 2] - middle) / box[2])))
    factor, right, below = np.median(lies, axis=0).tolist() if lies else (np.nan,) * 3
    return factor, right, below


def choose_faces(faces: FaceSet, split: str, count: int) -> Array:
    """Return the positions of `count` faces of a split, chosen by chance."""
    rows = faces.rows(split)
    return np.random.default_rng(0).choice(rows, size=min(count, len(rows)), replace=False)


def accuracy_of(predict: Callable[[Array], Array], images: Sequence[Array], labels: Array) -> float:
    """Return the share of faces whose label is the most probable one; not a number without faces."""
    return float((predict(np.stack(images)).argmax(axis=1) == labels).mean()) if len(images) else float("nan")


def scenes_by_kind(images: Sequence[Array]) -> dict[str, list[Scene]]:
    """Return what the rows of the table are measured on."""
    upright = list(paste_faces(images, (60, 250), seed=1))
    return {
        "60 to 250 px": upright,
        "48 to 60 px": list(paste_faces(images, (48, 60), seed=2)),
        f"turned by {TURNED:.0f} degrees": list(draw_turned_faces(images, (120, 250), TURNED, seed=3)),
        "dark (a tenth)": [Scene((scene.picture * DARK).astype(np.uint8), scene.square) for scene in upright],
    }


def measure(options: Namespace) -> Table:
    """Measure every detector."""
    from vision.data.decoding import resize_face
    from vision.data.face_detection import crop_face
    from vision.data.ingestion import ingest_faces
    from vision.data.preprocessing import preprocess_faces
    from vision.model.classifier import load_safely, predict

    settings = settings_for(options)
    faces, _ = preprocess_faces(ingest_faces(settings.dataset, settings.seed), settings.preprocessing, settings.seed)
    count = QUICK_FACES if options.quick else FACES
    training = list(faces.images[choose_faces(faces, "train", count)])
    frame_scenes = list(paste_faces(training, (60, 250), seed=0))
    chosen = choose_faces(faces, "validation", count)
    images, labels = list(faces.images[chosen]), np.asarray(faces.labels)[chosen]
    classify = partial(predict, load_safely(require(options.model, "--model")), batch_size=64)
    rows: list[tuple[str | float, ...]] = []
    for name in get_args(Detector):
        detection = settings.inference.model_copy(update={"detector": name})
        found = find_pasted(frame_scenes, detection)
        frame = ", ".join(f"{value:.3f}" for value in measure_frame(frame_scenes, found))
        rows.append((f"{name}, frame {frame}", *_figures(found), "", ""))
        for kind, scenes in scenes_by_kind(images).items():
            found = find_pasted(scenes, detection)
            cut = [(number, box) for number, box in enumerate(found.boxes) if box is not None]
            seen = [number for number, _ in cut]
            side = images[0].shape[0]
            crops = [
                resize_face(crop_face(scenes[number].grey(), box[:4], detection.margin, box[4]), side)
                for number, box in cut
            ]
            scored = accuracy_of(classify, crops, labels[seen])
            pasted = accuracy_of(classify, [images[number] for number in seen], labels[seen])
            rows.append((f"{name}, {kind}", *_figures(found), f"{scored:.1%}", f"{pasted:.1%}"))
    header = ("detector, faces", "found", "more a picture", "ms a picture", "accuracy", "as pasted")
    title = f"Detection ({datetime.now(UTC):%Y-%m-%d}, {count} faces a row)"
    return Table(title, header, tuple(rows), NOTES)


def _figures(found: Found) -> tuple[str, str, str]:
    more = found.more / len(found.boxes)
    return f"{found.share:.1%}", f"{more:.2f}", f"{statistics.median(found.milliseconds):.1f}"


def main() -> None:
    """Print the table."""
    options = parser(__doc__ or "", rounds=1)
    options.add_argument("--model", type=Path, metavar="FILE", help="a classifier's .keras file")
    chosen = options.parse_args()
    require(chosen.dataset, "--dataset")
    publish(measure(chosen), chosen)


if __name__ == "__main__":
    start(main)
