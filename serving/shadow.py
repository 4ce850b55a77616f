"""Shadow: the challenger answers the same faces when there is room; only whether it agrees is counted."""

from concurrent.futures import Future
from typing import Any

import numpy as np

from serving.metrics import Metrics
from serving.prediction_queue import PredictionQueue
from serving.served_model import ServedModel

Array = np.ndarray[Any, Any]


class Shadow:
    """Has a challenger answer after the champion; nobody waits for it."""

    def __init__(self, queue: PredictionQueue, metrics: Metrics) -> None:
        self.queue, self.metrics = queue, metrics

    def compare(self, faces: Array, answers: Array, champion: ServedModel, challenger: ServedModel | None) -> None:
        """Count on how many (n, side, side) faces the challenger agrees with the (n, classes) answers.

        Not asked are a challenger with other faces or classes, and any while faces wait for the champion.
        """
        if challenger is None or not len(faces) or not self.queue.is_idle():
            return
        alike = (challenger.predictor.side, challenger.class_names) == (champion.predictor.side, champion.class_names)
        if not alike:
            return

        def count(answered: "Future[Array]") -> None:
            if answered.cancelled() or answered.exception() is not None:
                self.metrics.shadow.labels("failed").inc(len(faces))
                return
            agrees = int((answered.result().argmax(axis=1) == answers.argmax(axis=1)).sum())
            self.metrics.shadow.labels("yes").inc(agrees)
            self.metrics.shadow.labels("no").inc(len(faces) - agrees)

        self.queue.submit(challenger.predictor, faces).add_done_callback(count)
