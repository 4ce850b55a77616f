"""Service: everything that lives as long as the server, and how a picture and crops are answered with it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.requests import Request

from configs.settings import Settings
from serving.face_log import FaceLog
from serving.limits import Limits
from serving.metrics import Metrics
from serving.model_follower import ModelFollower
from serving.model_sources import RegisteredModels
from serving.pictures import Searched, search_picture
from serving.prediction_queue import PredictionQueue
from serving.served_model import ServedModel
from serving.shadow import Shadow
from vision.data.face_detection import check_detector

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Answered:
    """A searched picture, and the (n, classes) probabilities of its faces."""

    searched: Searched
    probabilities: Array


class Service:
    """What requests share. `close` finishes what is under way."""

    def __init__(
        self,
        settings: Settings,
        first: ServedModel,
        models: RegisteredModels | None,
        alert: Callable[[str], None],
    ) -> None:
        check_detector(settings.inference)
        self.settings, self.metrics = settings, Metrics()
        serving = settings.serving
        self.limits = Limits(serving, self.metrics)
        self.searchers = ThreadPoolExecutor(serving.workers, "search")
        self.queue = PredictionQueue(serving.workers, serving.batch_size, self.metrics)
        self.shadow = Shadow(self.queue, self.metrics)
        self.log = FaceLog(serving, self.metrics) if serving.log else None
        self.follower = ModelFollower(first, models, self.metrics, alert)
        self.draining = False

    @property
    def model(self) -> ServedModel:
        """The model that answers now; a request reads it once."""
        return self.follower.current

    def close(self) -> None:
        """End the threads, after the work that they have."""
        self.follower.stop()
        self.searchers.shutdown(cancel_futures=True)
        self.queue.close()
        if self.log is not None:
            self.log.close()

    async def answer_picture(self, content: bytes, model: ServedModel) -> Answered:
        """Find the faces of a picture and predict them. Raises ProblemError; cancelled, what waits is not done."""
        searched = await asyncio.get_running_loop().run_in_executor(
            self.searchers,
            search_picture,
            content,
            self.settings.serving,
            self.settings.inference,
            model.predictor.side,
        )
        self.metrics.too_small.inc(searched.faces.too_small)
        self.metrics.several.inc(searched.first_of_several)
        probabilities = await self.predict(searched.faces.images, model)
        if self.log is not None:
            self.log.add(searched.faces, probabilities, model)
        return Answered(searched, probabilities)

    async def predict(self, faces: Array, model: ServedModel) -> Array:
        """Return the (n, classes) probabilities of (n, side, side) faces."""
        if not len(faces):
            return np.empty((0, len(model.class_names)), dtype=np.float32)
        answers = await asyncio.wrap_future(self.queue.submit(model.predictor, faces))
        for row in answers.argmax(axis=1):
            self.metrics.faces.labels(model.class_names[row]).inc()
        self.shadow.compare(faces, answers, model, self.follower.challenger)
        return answers


def service_of(request: Request) -> Service:
    """Return the service that a request came to."""
    service: Service = request.app.state.service
    return service
