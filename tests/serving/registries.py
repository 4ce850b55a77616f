"""A registry in memory, for tests of what follows it."""

import json
from dataclasses import dataclass, field

import yaml

from configs.settings import Settings
from serving.model_sources import RegisteredModels
from stack.champion_lookup import FoundVersion, LookupFailedError, NotThereError
from tests.serving.conftest import NAMES


@dataclass
class Registry:
    """Versions with their ONNX files, and aliases; `gone` is a registry that does not answer.

    Each version names the one before as its previous champion, as a real one does after that was deleted.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    gone: bool = False
    asked: int = 0
    shown: str = "memory"

    def find_alias(self, name: str, alias: str) -> str | None:
        self.asked += 1
        if self.gone:
            raise LookupFailedError("the registry memory does not answer")
        return self.aliases.get(alias)

    def find_version(self, name: str, number: str) -> FoundVersion:
        if self.gone:
            raise LookupFailedError("the registry memory does not answer")
        if number not in self.files:
            raise NotThereError(f"memory does not know {name} {number} any more")
        tags = {"promoted_at": f"2026-01-0{number}T00:00:00+00:00", "previous_champion": str(int(number) - 1)}
        return FoundVersion(number, f"run {number}", tags, f"model {number}", f"run {number}")

    def metrics(self, run_id: str) -> dict[str, float]:
        return {"test/accuracy": int(run_id.split()[-1]) / 10}

    def read(self, place: str, name: str, max_bytes: int) -> bytes | None:
        content = self.files[place.split()[-1]]
        return {
            "MLmodel": yaml.safe_dump({"metadata": {"class_names": list(NAMES)}}).encode(),
            "onnx/model.onnx": content or None,
            "promotion/decision.json": json.dumps({"outcome": "promoted", "reasons": ["better"]}).encode(),
            "model_card.md": b"# Card",
        }.get(name)

    def page(self, name: str, number: str) -> str | None:
        return f"http://mlflow.example/{number}"


def models_of(registry: Registry, settings: Settings) -> RegisteredModels:
    return RegisteredModels(registry, settings)
