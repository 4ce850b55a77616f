"""Face log: a row for each answered face, written to the hour's file every minute by a thread of its own."""

import logging
import threading
from collections import defaultdict
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import numpy as np

from configs.serving_settings import ServingSettings
from serving.metrics import Metrics
from serving.served_model import REGISTRY, ServedModel
from vision.data.decoding import measure_levels
from vision.files.locks import hold_folder
from vision.inference.face_cuts import Faces

logger = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]
SECONDS = 60.0  # between two writes; so much is lost at a power failure
MOST_ROWS = 200_000  # in memory while nothing can be written; more are counted and dropped
LOCK = "served.lock"


class FaceLog:
    """Collects rows and writes them. Raises UserError where the folder cannot be written or is another service's."""

    def __init__(self, settings: ServingSettings, metrics: Metrics) -> None:
        self.settings, self.metrics = settings, metrics
        self.rows: list[dict[str, Any]] = []
        self.lock, self.stopping, self.held = threading.Lock(), threading.Event(), ExitStack()
        folder = settings.log_folder
        named = f"serving.log_folder {folder}"
        in_use = f"{named} is written by another service; set another with --serving.log_folder"
        self.held.enter_context(hold_folder(folder, LOCK, named, in_use))
        self.thread = threading.Thread(target=self._write_now_and_then, name="face-log", daemon=True)
        self.thread.start()

    def add(self, faces: Faces, probabilities: Array, model: ServedModel) -> None:
        """Note the faces of a picture and the (n, classes) probabilities that a model answered."""
        now = datetime.now(UTC)
        version = model.version if model.source == REGISTRY else f"{model.source} {model.version}"
        rows = [
            {
                "time": now,
                **dict(zip(("brightness", "contrast", "sharpness"), levels, strict=True)),
                "size": size,
                "emotion": model.class_names[int(row.argmax())],
                "confidence": float(row.max()),
                "version": version,
            }
            for levels, size, row in zip(faces.levels, faces.sizes, probabilities, strict=True)
        ]
        with self.lock:
            self.rows += rows
            self._bound()

    def add_crops(self, crops: Array, probabilities: Array, model: ServedModel) -> None:
        """Note (n, side, side) faces of grey levels 0-255 that came without a picture; their size is `side`."""
        whole = np.rint(crops).clip(0, 255).astype(np.uint8)  # they may have fractions
        levels = tuple(tuple(measure_levels(crop).values()) for crop in whole)
        sizes = tuple(min(crop.shape) for crop in crops)
        self.add(Faces(np.empty((0, 4)), crops, sizes, levels), probabilities, model)

    def write(self) -> None:
        """Write what was collected; what cannot be written is kept for the next time."""
        # late: pyarrow takes 28 MB, and most services keep no log
        from pyarrow import ArrowException

        from vision.lifecycle.served_faces import append_rows, delete_old, hour_file

        with self.lock:
            rows, self.rows = self.rows, []
        by_file = defaultdict(list)
        for row in rows:
            by_file[hour_file(self.settings.log_folder, row["time"])].append(row)
        for path, of_hour in by_file.items():
            try:
                append_rows(path, of_hour)
                self.metrics.logged.inc(len(of_hour))
            except (OSError, ArrowException) as error:
                logger.warning("%s cannot be written: %s; its rows are kept", path, error)
                self._keep(of_hour)
            except Exception:
                logger.exception("%s cannot be written; its rows are kept", path)
                self._keep(of_hour)
        try:
            delete_old(self.settings.log_folder, self.settings.log_days, datetime.now(UTC))
        except OSError as error:
            logger.warning("old files of serving.log_folder cannot be deleted: %s", error.strerror)

    def close(self) -> None:
        """Write what was collected, count what is lost, and release the folder."""
        self.stopping.set()
        self.thread.join()
        self._try_to_write()
        if lost := len(self.rows):
            self.metrics.not_logged.inc(lost)
            logger.error("%d faces are missing in %s: they could not be written", lost, self.settings.log_folder)
        self.held.close()

    def _keep(self, rows: list[dict[str, Any]]) -> None:
        with self.lock:
            self.rows = [*rows, *self.rows]
            self._bound()

    def _bound(self) -> None:
        """Drop and count the rows that are too many to be kept."""
        self.metrics.not_logged.inc(max(0, len(self.rows) - MOST_ROWS))
        del self.rows[MOST_ROWS:]

    def _write_now_and_then(self) -> None:
        while not self.stopping.wait(SECONDS):
            self._try_to_write()

    def _try_to_write(self) -> None:
        try:
            self.write()
        except Exception:
            logger.exception("writing to %s ended in an unexpected error", self.settings.log_folder)
