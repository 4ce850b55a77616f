"""Step import_champion."""

import logging
import tempfile
from pathlib import Path
from typing import Annotated

import mlflow
from zenml import step

from configs.settings import ClassName
from stack import model_store, registry
from vision.lifecycle.bundles import (
    CARDS,
    DECISION,
    LABELS,
    METRICS,
    MODEL,
    REFERENCE,
    check_probe,
    optional_files,
    read_bundle,
    read_json,
)
from vision.lifecycle.model_card import card_page
from vision.model.classifier import load_safely

logger = logging.getLogger(__name__)


@step(experiment_tracker=True, enable_cache=False)
def import_champion(
    model_name: str, bundle_path: str, max_bytes: int, tags: dict[str, str], state_folder: str
) -> Annotated[dict[str, str], "summary"]:
    """Verify a bundle and register its model as the champion of a store that has none."""
    path = Path(bundle_path)
    holder = registry.find_alias(model_name, registry.CHAMPION)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        about = read_bundle(path, folder, max_bytes)
        origin = {"imported_from": f"{about.name} version {about.version}", "imported_exported_at": about.exported_at}
        if holder:
            if origin.items() <= holder.tags.items():
                logger.info("version %s is this bundle's model already; nothing to do", holder.number)
                return {"champion": f"version {holder.number} (imported before)", "bundle": str(path)}
            raise registry.ModelError(
                f"{model_name} has a champion already, version {holder.number}; a bundle is for a store without one. "
                "Models take a champion's place through --pipeline training or --pipeline rollback only"
            )
        try:
            classifier = load_safely(folder / MODEL)
        except Exception as error:  # Keras, h5py and zipfile each raise their own
            raise registry.ModelError(f"bundle.path {path}: its model cannot be loaded: {error}") from error
        check_probe(classifier, about, path)
        class_names = read_json(folder / LABELS, list[ClassName])
        if len(class_names) != classifier.output_shape[-1]:
            raise registry.ModelError(
                f"bundle.path {path} has {len(class_names)} class names for {classifier.output_shape[-1]} outputs"
            )
        reference = model_store.read_reference(folder / REFERENCE)
        metrics = read_json(folder / METRICS, dict[str, float])
        mlflow.set_tags({**about.tags, **tags, **origin})
        mlflow.log_metrics(metrics)
        model_store.log_reference(reference)
        mlflow.log_artifact(str(folder / DECISION), Path(model_store.DECISION).parent.as_posix())
        description = (folder / CARDS[0]).read_text(encoding="utf-8", errors="replace")
        page = card_page(origin["imported_from"], description)  # of the bundle's own page nobody knows what it does
        (folder / CARDS[1]).write_text(page, encoding="utf-8")
        for card in CARDS:
            mlflow.log_artifact(str(folder / card))
        for name in optional_files(folder):
            mlflow.log_artifact(str(folder / name), model_store.ONNX)
        uri = model_store.log_classifier(classifier, class_names, model_name)
    version = uri.rsplit("/", 1)[-1]
    mlflow.MlflowClient().update_model_version(model_name, version, description=description)
    promoted = {**about.tags, **origin, registry.PREVIOUS: "none"}
    registry.move_champion(model_name, version, None, promoted, state_folder)
    logger.info("%s is now version %s here, and the champion", origin["imported_from"], version)
    return {"champion": f"version {version}", **origin, "bundle": str(path)}
