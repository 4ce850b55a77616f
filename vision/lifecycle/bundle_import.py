"""Import of a bundle: what must hold before its model becomes the champion of another store."""

from dataclasses import dataclass
from pathlib import Path

import keras

from configs.data_settings import ClassNames
from configs.errors import UserError
from vision.lifecycle.bundles import (
    CARDS,
    LABELS,
    METRICS,
    MODEL,
    SETTING,
    About,
    check_probe,
    optional_files,
    read_json,
)
from vision.lifecycle.model_card import card_page
from vision.lifecycle.versions import Version
from vision.model.classifier import load_safely
from vision.model.onnx_runtime import predictor_of
from vision.model.runtimes import keras_predictor


@dataclass(frozen=True)
class ImportedModel:
    """The model of a bundle as it was verified; `description` is the Markdown of its card."""

    classifier: keras.Model
    class_names: list[str]
    metrics: dict[str, float]
    description: str


def origin_tags(about: About) -> dict[str, str]:
    """Return the tags that say which model of which store an imported version is."""
    return {"imported_from": f"{about.name} version {about.version}", "imported_exported_at": about.exported_at}


def is_imported(model_name: str, champion: Version | None, about: About) -> bool:
    """Say whether the champion is this bundle's model already. Raises UserError where it is another."""
    if champion is None:
        return False
    if origin_tags(about).items() <= champion.tags.items():
        return True
    raise UserError(
        f"{model_name} has a champion already, version {champion.number}; a bundle is for a store without one. "
        "Models take a champion's place through --pipeline training or --pipeline rollback only"
    )


def verify_model(path: Path, folder: Path, about: About, setting: str = SETTING) -> ImportedModel:
    """Load the model of an unpacked bundle and check that it and its ONNX files answer as where it was exported.

    `setting` is the one that named the file. Raises UserError where they do not, where it cannot be loaded, and where
    its class names are not those of its outputs.
    """
    try:
        classifier = load_safely(folder / MODEL)
    except Exception as error:  # Keras, h5py and zipfile each raise their own
        raise UserError(f"{setting} {path}: its model cannot be loaded: {error}") from error
    keras_model = keras_predictor(classifier)
    check_probe(keras_model, about, path, setting)
    class_names = list(read_json(folder / LABELS, ClassNames))
    if len(class_names) != classifier.output_shape[-1]:
        raise UserError(
            f"{setting} {path} has {len(class_names)} class names for {classifier.output_shape[-1]} outputs"
        )
    for name in optional_files(folder):
        content, named = (folder / name).read_bytes(), f"{setting} {path}: its {name}"
        check_probe(predictor_of(content, named, keras_model.side, len(class_names)), about, path, setting, name)
    metrics = read_json(folder / METRICS, dict[str, float])
    description = (folder / CARDS[0]).read_text(encoding="utf-8", errors="replace")
    return ImportedModel(classifier, class_names, metrics, description)


def rewrite_card_page(folder: Path, about: About, description: str) -> None:
    """Replace the page of the card, which could hold anything, by one made from the card's Markdown."""
    page = card_page(origin_tags(about)["imported_from"], description)
    (folder / CARDS[1]).write_text(page, encoding="utf-8")
