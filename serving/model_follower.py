"""Model follower: looks who is the champion, loads a new one beside the old, and then changes one reference."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from configs.errors import UserError
from serving.metrics import Metrics
from serving.model_sources import RegisteredModels
from serving.served_model import REGISTRY, ServedModel
from stack.champion_lookup import LookupFailedError

logger = logging.getLogger(__name__)

CHAMPION, CHALLENGER = "champion", "challenger"
LONGEST_PAUSE = 12  # looks between two tries of a version that cannot be loaded


@dataclass
class _Trouble:
    """A version that could not be loaded, and how many looks go by before it is tried again."""

    number: str
    pause: int = 1
    left: int = 1


class ModelFollower:
    """Has the model that answers in `current`; whoever reads it once keeps that model to the end of a request.

    `alert` is told one sentence for each champion that cannot be loaded.
    """

    def __init__(
        self, first: ServedModel, models: RegisteredModels | None, metrics: Metrics, alert: Callable[[str], None]
    ) -> None:
        self.current = first
        self.challenger: ServedModel | None = None
        self.models, self.metrics, self.alert = models, metrics, alert
        self.numbers: dict[str, str | None] = {CHAMPION: first.version if first.source == REGISTRY else None}
        self.trouble: dict[str, _Trouble] = {}
        self.answers, self.stopping = True, threading.Event()
        self.thread = threading.Thread(target=self._follow, name="follow-champion", daemon=True)
        self._show(first)

    def start(self) -> None:
        """Begin to look every `serving.registry_seconds`."""
        if self.models is not None:
            self.thread.start()

    def stop(self) -> None:
        """End looking, and wait for the look under way."""
        self.stopping.set()
        if self.thread.is_alive():
            self.thread.join()

    def look(self) -> None:
        """Look once, and take over what has changed. Whatever goes wrong leaves the models that answer."""
        assert self.models is not None
        try:
            self._take(CHAMPION, self.models.number_of(CHAMPION))
            if self.models.settings.serving.shadow:
                self._take(CHALLENGER, self.models.number_of(CHALLENGER))
        except LookupFailedError as error:
            self._note_answer(False, str(error))
        else:
            self._note_answer(True, "")

    def _follow(self) -> None:
        assert self.models is not None
        while not self.stopping.wait(self.models.settings.serving.registry_seconds):
            try:
                self.look()
            except Exception:
                logger.exception("looking for the champion ended in an unexpected error; it is tried again")

    def _take(self, alias: str, number: str | None) -> None:
        if number is None or number == self.numbers.get(alias):
            if number is None and alias == CHALLENGER:
                self.challenger, self.numbers[alias] = None, None
            self.trouble.pop(alias, None)
            return
        if self._is_paused(alias, number):
            return
        assert self.models is not None
        try:
            model = self.models.load(number)
        except LookupFailedError:
            raise
        except UserError as error:
            self._note_trouble(alias, number, str(error))
            return
        self.trouble.pop(alias, None)
        self.numbers[alias] = number
        if alias == CHAMPION:
            self._swap(model)
        else:
            self.challenger = model

    def _swap(self, model: ServedModel) -> None:
        before, self.current = self.current, model
        self._show(model)
        self.metrics.swaps.inc()
        logger.info("version %s of %s answers now, before it version %s", model.version, model.name, before.version)

    def _show(self, model: ServedModel) -> None:
        self.metrics.model.clear()
        self.metrics.model.labels(**model.identity).set(1)

    def _is_paused(self, alias: str, number: str) -> bool:
        known = self.trouble.get(alias)
        if known is None or known.number != number:
            return False
        known.left -= 1
        return known.left > 0

    def _note_trouble(self, alias: str, number: str, reason: str) -> None:
        if alias == CHAMPION:
            self.metrics.failures.inc()
        known = self.trouble.get(alias)
        if known is not None and known.number == number:
            known.pause = known.left = min(LONGEST_PAUSE, 2 * known.pause)
            return
        self.trouble[alias] = _Trouble(number)
        logger.warning("the %s cannot be loaded: %s; version %s still answers", alias, reason, self.current.version)
        if alias == CHAMPION:
            self.alert(f"{reason}; version {self.current.version} still answers")

    def _note_answer(self, answers: bool, reason: str) -> None:
        self.metrics.registry_up.set(int(answers))
        if answers != self.answers:
            self.answers = answers
            if answers:
                logger.info("the registry answers again")
            else:
                logger.warning("%s; version %s still answers", reason, self.current.version)
