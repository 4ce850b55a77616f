"""Weights: which file the network starts from, found and hashed without loading Keras."""

import hashlib
import os
from pathlib import Path

from configs.errors import UserError

IMAGENET, RANDOM = "imagenet", "none"
VGG19_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"  # as Keras names its download
WAY_OUT = (
    "set classifier.weights to the path of a VGG-19 .weights.h5 file without top, of a whole classifier's .keras file, "
    "or to none"
)


def is_classifier_file(weights: str) -> bool:
    """Say whether `weights` names a whole classifier, as a training writes it, and not a backbone's weights."""
    return weights.endswith(".keras")


def check_weights(weights: str) -> None:
    """Raise UserError where `weights` is neither imagenet nor none nor a file that may hold weights."""
    if weights in (IMAGENET, RANDOM):
        return
    if not Path(weights).is_file():
        raise UserError(f"classifier.weights {weights} is no file; {WAY_OUT}")
    if not weights.endswith(".h5") and not is_classifier_file(weights):
        raise UserError(f"classifier.weights {weights} does not end in .h5 or .keras; {WAY_OUT}")


def weights_hash(weights: str) -> str:
    """Return the SHA-256 of the weights' file, or "random" where there is none."""
    if weights == RANDOM:
        return "random"
    keras_home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    path = keras_home / "models" / VGG19_FILE if weights == IMAGENET else Path(weights)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
