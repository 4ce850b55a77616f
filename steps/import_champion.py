"""Step import_champion: register the champion of another store, from its bundle."""

import logging
import tempfile
from pathlib import Path
from typing import Annotated

import mlflow
from zenml import step

from stack import model_store, registry
from stack.client_files import receive_file
from vision.lifecycle.bundle_import import is_imported, origin_tags, rewrite_card_page, verify_model
from vision.lifecycle.bundles import CARDS, DECISION, REFERENCE, optional_files, read_bundle

logger = logging.getLogger(__name__)


@step(experiment_tracker=True, enable_cache=False)
def import_champion(
    model_name: str, bundle_path: str, sent: str, max_bytes: int, tags: dict[str, str]
) -> Annotated[dict[str, str], "summary"]:
    """Verify a bundle and register its model as the champion of a store that has none.

    `sent` is where the artifact store has it, or empty where the step sees the file itself.
    """
    champion = registry.find_alias(model_name, registry.CHAMPION)
    with tempfile.TemporaryDirectory() as temporary, tempfile.TemporaryDirectory() as received:
        folder = Path(temporary)
        path = receive_file(sent, Path(received)) if sent else Path(bundle_path)
        about = read_bundle(path, folder, max_bytes)
        if champion and is_imported(model_name, champion, about):
            logger.info("version %s is this bundle's model already; nothing to do", champion.number)
            return {"champion": f"version {champion.number} (imported before)", "bundle": bundle_path}
        model = verify_model(path, folder, about)
        reference = model_store.read_reference(folder / REFERENCE)
        origin = origin_tags(about)
        mlflow.set_tags({**about.tags, **tags, **origin})
        mlflow.log_metrics(model.metrics)
        model_store.log_reference(reference)
        rewrite_card_page(folder, about, model.description)
        _log_files(folder)
        uri = model_store.log_classifier(model.classifier, model.class_names, model_name)
    version = uri.rsplit("/", 1)[-1]
    model_store.describe_by_card(model_name, version, model.description)
    promoted = {**about.tags, **origin, registry.PREVIOUS: "none"}
    registry.move_champion(model_name, version, None, promoted)
    logger.info("%s is now version %s here, and the champion", origin["imported_from"], version)
    return {"champion": f"version {version}", **origin, "bundle": bundle_path}


def _log_files(folder: Path) -> None:
    """Log decision, cards and ONNX files where a training has them."""
    mlflow.log_artifact(str(folder / DECISION), Path(model_store.DECISION).parent.as_posix())
    for card in CARDS:
        mlflow.log_artifact(str(folder / card))
    for name in optional_files(folder):
        mlflow.log_artifact(str(folder / name), model_store.ONNX)
