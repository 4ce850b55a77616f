"""Prediction queue: faces that wait for the same model are predicted together; nothing waits for more of them."""

import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.metrics import Metrics
from vision.model.onnx_runtime import Predictor

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class _Waiting:
    predictor: Predictor
    faces: Array
    answer: "Future[Array]"


class PredictionQueue:
    """Predicts in threads of its own; each takes whatever waits, up to `batch_size` faces of one model."""

    def __init__(self, workers: int, batch_size: int, metrics: Metrics) -> None:
        self.batch_size, self.metrics = batch_size, metrics
        self.waiting: deque[_Waiting] = deque()
        self.changed, self.closed = threading.Condition(), False
        self.threads = [threading.Thread(target=self._work, name=f"predict-{n}", daemon=True) for n in range(workers)]
        for thread in self.threads:
            thread.start()

    def submit(self, predictor: Predictor, faces: Array) -> "Future[Array]":
        """Return the (n, classes) probabilities to come of (n, side, side) faces; cancelled, they are not computed."""
        entry = _Waiting(predictor, faces, Future())
        with self.changed:
            if self.closed:
                raise RuntimeError("the queue is closed")
            self.waiting.append(entry)
            self.metrics.waiting.inc(len(faces))
            self.changed.notify()
        return entry.answer

    def is_idle(self) -> bool:
        """Say whether no face waits."""
        return not self.waiting

    def close(self) -> None:
        """Finish what waits, and end the threads."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        for thread in self.threads:
            thread.join()

    def _work(self) -> None:
        while batch := self._take():
            try:
                faces = np.concatenate([entry.faces for entry in batch])
                self.metrics.batches.observe(len(faces))
                answers = batch[0].predictor.predict(faces, self.batch_size)
            except Exception as error:  # noqa: BLE001 - whoever waits is told
                for entry in batch:
                    entry.answer.set_exception(error)
                continue
            ends = np.cumsum([len(entry.faces) for entry in batch])
            for entry, part in zip(batch, np.split(answers, ends[:-1]), strict=True):
                entry.answer.set_result(part)

    def _take(self) -> list[_Waiting]:
        """Wait for faces and return those to predict together; nothing once the queue is closed and empty."""
        with self.changed:
            while True:
                batch = self._next_batch()
                if batch or self.closed:
                    return batch
                self.changed.wait()

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        count = 0
        while self.waiting:
            entry = self.waiting[0]
            if batch and (entry.predictor is not batch[0].predictor or count + len(entry.faces) > self.batch_size):
                break
            self.waiting.popleft()
            self.metrics.waiting.dec(len(entry.faces))
            if entry.answer.set_running_or_notify_cancel():
                batch.append(entry)
                count += len(entry.faces)
        return batch
