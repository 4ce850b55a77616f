"""Model sources: the registry, a bundle, and the newest file in released/."""

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from configs.data_settings import ClassNames
from configs.settings import Settings
from serving.served_model import BUNDLE, REGISTRY, ModelFacts, ModelFile, ServedModel, UnusableModelError, load_model
from stack.champion_lookup import ChampionLookup, NotThereError, shown_metrics
from vision.lifecycle.bundles import CARDS, DECISION, LABELS, METRICS, check_probe, read_bundle, read_json
from vision.model.onnx_runtime import ONNX_FILES

logger = logging.getLogger(__name__)

SMALL_BYTES = 2_000_000  # of a card, a decision or a description
PROMOTED_AT, PREVIOUS = "promoted_at", "previous_champion"  # tags, as stack/registry.py writes them
CLASS_NAMES: TypeAdapter[tuple[str, ...]] = TypeAdapter(ClassNames)


@dataclass(frozen=True)
class RegisteredModels:
    """The models of one name in a registry, as the settings want them served."""

    lookup: ChampionLookup
    settings: Settings

    @property
    def name(self) -> str:
        return self.settings.tracking.model_name

    def number_of(self, alias: str) -> str | None:
        """Return the number of the version that holds an alias, or None. Raises LookupFailedError."""
        return self.lookup.find_alias(self.name, alias)

    def load(self, number: str) -> ServedModel:
        """Load a version. Raises UnusableModelError and LookupFailedError."""
        found = self.lookup.find_version(self.name, number)
        runtime = self.settings.serving.runtime
        content = self.lookup.read(found.run_place, f"onnx/{ONNX_FILES[runtime]}", self.settings.bundle.max_bytes)
        if content is None:
            raise UnusableModelError(_without_onnx(f"version {number} of {self.name}", runtime))
        described = self.lookup.read(found.model_place, "MLmodel", SMALL_BYTES)
        if described is None:
            raise UnusableModelError(f"version {number} of {self.name}: its file MLmodel is gone from the store")
        decision, card = (
            self.lookup.read(found.run_place, name, SMALL_BYTES) for name in ("promotion/decision.json", CARDS[0])
        )
        facts = ModelFacts(
            since=found.tags.get(PROMOTED_AT),
            metrics=self.lookup.metrics(found.run_id),
            decision=None if decision is None else _read_decision(decision),
            previous=self._previous(found.tags.get(PREVIOUS)),
            card=None if card is None else card.decode("utf-8", "replace"),
            mlflow=self.lookup.page(self.name, number),
        )
        file = ModelFile(self.name, number, REGISTRY, content, _read_class_names(described, number))
        return load_model(file, facts, self.settings.serving.batch_size)

    def _previous(self, number: str | None) -> dict[str, Any] | None:
        """Return the champion before, which the page shows and no answer needs; None where it was deleted."""
        if number in (None, "", "none"):
            return None
        try:
            run_id = self.lookup.find_version(self.name, str(number)).run_id
            return {"version": number, "metrics": self.lookup.metrics(run_id)}
        except NotThereError as error:
            logger.info("the page does not show the champion before: %s", error)
            return None


def load_bundle(path: Path, setting: str, settings: Settings, source: str = BUNDLE) -> ServedModel:
    """Load the model of a bundle after every check that an import makes. Raises UserError, which names the setting."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        about = read_bundle(path, folder, settings.bundle.max_bytes, setting)
        runtime = settings.serving.runtime
        file = folder / ONNX_FILES[runtime]
        if not file.exists():
            raise UnusableModelError(_without_onnx(f"{setting} {path}", runtime))
        facts = ModelFacts(
            since=about.tags.get(PROMOTED_AT),
            metrics=shown_metrics(read_json(folder / METRICS, dict[str, float]).items()),
            decision=_read_decision((folder / DECISION).read_bytes()),
            card=(folder / CARDS[0]).read_text(encoding="utf-8", errors="replace"),
        )
        names = read_json(folder / LABELS, ClassNames)
        described = ModelFile(about.name, about.version, source, file.read_bytes(), names)
        model = load_model(described, facts, settings.serving.batch_size)
        check_probe(model.predictor, about, path, setting, file.name)
        return model


def _without_onnx(subject: str, runtime: str) -> str:
    return (
        f"{subject} has no file {ONNX_FILES[runtime]} for serving.runtime {runtime}; training writes it where the "
        "packages onnx, onnxruntime and tf2onnx are installed and onnx.enabled is true"
    )


def _read_class_names(content: bytes, number: str) -> tuple[str, ...]:
    """Return the class names that the description of a logged model, a YAML file, says."""
    try:
        described = yaml.safe_load(content)
        return CLASS_NAMES.validate_python(described["metadata"]["class_names"])
    except (yaml.YAMLError, KeyError, TypeError, ValidationError) as error:
        raise UnusableModelError(
            f"version {number} does not say its class names, so this pipeline did not make it"
        ) from error


def _read_decision(content: bytes) -> Mapping[str, Any] | None:
    """Return whether a version was promoted and why, or None where the file says neither."""
    try:
        said = TypeAdapter(dict[str, Any]).validate_json(content)
        reasons = TypeAdapter(list[str]).validate_python(said.get("reasons"))
    except ValidationError:
        return None  # shown as unknown: a decision is not needed to answer
    return {"promoted": said.get("outcome") == "promoted", "reasons": reasons}
