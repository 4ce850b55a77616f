"""Weight files: which file the network starts from, checked and hashed without loading Keras."""

import io
import json
import os
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

import h5py

from configs.errors import UserError
from vision.files.archives import open_zip
from vision.files.hashes import hash_file

IMAGENET, RANDOM = "imagenet", "none"
VGG19_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"  # Keras's name for its download
KERAS_MEMBERS = ("config.json", "metadata.json", "model.weights.h5")  # as Keras writes them: stored, not packed
NEEDED_LAYERS = ("resize", "head_logits")  # by which a classifier of this project is asked for its input and its logits
MAX_EXPANSION = 10  # of an HDF5 file; weights hardly shrink when packed
WAY_OUT = (
    "set classifier.weights to the path of a VGG-19 .weights.h5 file without top, of a whole classifier's .keras file, "
    "or to none"
)


def is_classifier_file(weights: str) -> bool:
    """Say whether `weights` names a whole classifier, as training writes it, rather than a backbone's weights."""
    return weights.endswith(".keras")


def check_weights(weights: str) -> None:
    """Raise UserError unless `weights` is imagenet, none or a file that may hold weights."""
    if weights in (IMAGENET, RANDOM):
        return
    if not Path(weights).is_file():
        raise UserError(f"classifier.weights {weights} is not a file; {WAY_OUT}")
    if not weights.endswith(".h5") and not is_classifier_file(weights):
        raise UserError(f"classifier.weights {weights} does not end in .h5 or .keras; {WAY_OUT}")


def check_classifier_file(file: Path) -> tuple[dict[str, Any], int]:
    """Return the configuration in a .keras file, and the number of its weights.

    Raises ValueError, or another error of DAMAGED_ARCHIVE or OSError, for a file that Keras did not write. Keras
    itself would unpack members and weights without a limit on memory, and it takes a file with another suffix for an
    older format, whose safe mode is weaker.
    """
    if file.suffix != ".keras":
        raise ValueError("its name does not end in .keras")
    with open_zip(file, len(KERAS_MEMBERS), "a .keras file has three") as archive:
        members = archive.infolist()
        names = sorted(member.filename for member in members)
        if names != sorted(KERAS_MEMBERS):
            raise ValueError(f"it holds {', '.join(map(repr, names))[:200]}, expected {', '.join(KERAS_MEMBERS)}")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("its members are packed, which Keras never does")
        weights = archive.read(KERAS_MEMBERS[-1])  # whole: seeking back in a member of a zip reads it from its start
        numbers = check_hdf5(io.BytesIO(weights), len(weights))
        config = json.loads(archive.read(KERAS_MEMBERS[0]))
    if not isinstance(config, dict):
        raise ValueError(f"its {KERAS_MEMBERS[0]} does not describe a model")
    return config, numbers


def check_classifier(file: Path, setting: str) -> None:
    """Raise UserError, which names `setting`, unless a .keras file describes a classifier of this project."""
    try:
        config, _ = check_classifier_file(file)
        check_layers({layer["config"]["name"] for layer in config["config"]["layers"]})
    except Exception as error:  # of zipfile and h5py, and whatever a configuration of another form makes of these lines
        raise not_a_classifier(file, setting, error) from error


def check_content(weights: str) -> None:
    """Raise UserError where check_weights does, and for a .keras file that is not a classifier of this project."""
    check_weights(weights)
    if is_classifier_file(weights):
        check_classifier(Path(weights), "classifier.weights")


def check_layers(names: Collection[str]) -> None:
    """Raise ValueError where a network has not the layers that are asked for by name."""
    if missing := [name for name in NEEDED_LAYERS if name not in names]:
        raise ValueError(f"it has no layer {' and '.join(missing)}, as this project's classifiers have")


def not_a_classifier(file: Path, setting: str, error: Exception) -> UserError:
    """Return what to say of a .keras file that cannot be used."""
    reason = (str(error) or type(error).__name__).splitlines()[0].split(". ")[0][:300]
    return UserError(
        f"{setting} {file} is not a classifier that can be loaded ({reason}); give a training's .keras file, or none"
    )


def check_hdf5(file: Path | IO[bytes], size: int) -> int:
    """Return how many numbers an HDF5 file of `size` bytes holds.

    Raises ValueError where it unpacks to far more than its size, OSError where it is not an HDF5 file.
    """
    numbers = unpacked = 0

    def add(name: str, item: Any) -> None:
        nonlocal numbers, unpacked
        if isinstance(item, h5py.Dataset):
            numbers += item.size or 0
            unpacked += item.nbytes

    with h5py.File(file, "r") as content:
        content.visititems(add)
    if unpacked > MAX_EXPANSION * size:
        raise ValueError(f"its weights unpack to {unpacked} bytes, more than {MAX_EXPANSION} times the file's {size}")
    return numbers


def weights_hash(weights: str) -> str:
    """Return the SHA-256 of the weights' file, or "random" for none. Raises OSError where the file is missing."""
    if weights == RANDOM:
        return "random"
    keras_home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    path = keras_home / "models" / VGG19_FILE if weights == IMAGENET else Path(weights)
    return hash_file(path)
