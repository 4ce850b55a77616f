"""Step export_champion: write the champion and all that belongs to it as one file."""

import logging
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import mlflow
from zenml import step

from stack import model_store, registry
from stack.step_places import StepPlaces
from vision.lifecycle.bundles import (
    CARDS,
    DECISION,
    FORMAT,
    LABELS,
    METRICS,
    MODEL,
    REFERENCE,
    About,
    probe,
    read_bundle,
    write_bundle,
    write_json,
)
from vision.model.runtimes import keras_predictor

logger = logging.getLogger(__name__)


@step(experiment_tracker=True, enable_cache=False)
def export_champion(
    model_name: str, bundle_path: str, max_bytes: int, tags: dict[str, str], places: StepPlaces
) -> Annotated[dict[str, str], "summary"]:
    """Write the champion with all that belongs to it as one file, and read it back as an import would."""
    champion = registry.champion_of(model_name)
    model = model_store.load_model(champion.uri)
    run = mlflow.get_run(champion.run_id)
    path = places.bundle_file(bundle_path)
    with tempfile.TemporaryDirectory() as temporary, tempfile.TemporaryDirectory() as again:
        folder = Path(temporary)
        shutil.copyfile(model.file, folder / MODEL)
        write_json(folder / LABELS, list(model.class_names))
        write_json(folder / METRICS, run.data.metrics)
        model_store.load_reference(champion).to_parquet(folder / REFERENCE, index=False)
        for name, artifact in {DECISION: model_store.DECISION, **{card: card for card in CARDS}}.items():
            shutil.copyfile(model_store.fetch(champion, artifact), folder / name)
        model_store.fetch_onnx(champion, folder)
        about = About(
            format=FORMAT,
            name=model_name,
            version=champion.number,
            exported_at=registry.now(),
            temperature=run.data.metrics["temperature"],
            tags=dict(champion.tags),
            probe=probe(keras_predictor(model.classifier)).tolist(),
        )
        write_bundle(path, folder, about)
        read_bundle(path, Path(again), max_bytes)
    places.keep_bundle(path)
    mlflow.set_tags({**tags, "exported_version": champion.number})
    megabytes = path.stat().st_size / 1e6
    logger.info("version %s is exported to %s (%.0f MB) and was read back", champion.number, bundle_path, megabytes)
    return {"champion": f"version {champion.number}", "bundle": bundle_path, "size": f"{megabytes:.0f} MB"}
