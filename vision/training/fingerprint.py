"""The fingerprint of a training: what decides how it goes, so that only the very same is resumed."""

import hashlib
from collections.abc import Mapping
from importlib.metadata import version

import keras

from vision.data.face_table import table_blocks
from vision.data.faces import FaceSet
from vision.files.hashes import HASH_CHARACTERS, hash_code, hash_facts
from vision.model.weight_files import IMAGENET, weights_hash
from vision.training.doubts import find_doubtful
from vision.training.recipe import Recipe, TrainingData

WITHOUT_EFFECT = {"cache_gigabytes", "calibration"}  # on what is learned


def fingerprint_training(data: TrainingData, recipe: Recipe) -> dict[str, str]:
    """Hash what decides how a training goes: its data, settings, teacher, and the code with its main libraries."""
    classifier, augmentation = (part.model_dump(mode="json") for part in (recipe.classifier, recipe.augmentation))
    if recipe.classifier.weights != IMAGENET:
        classifier["weights"] = weights_hash(recipe.classifier.weights)
    training = recipe.training.model_dump(mode="json", exclude=WITHOUT_EFFECT)
    settings = [classifier, augmentation, training, dict(data.class_weights), recipe.seed, recipe.precision]
    return {
        "data": hash_faces(data.faces, with_doubts=recipe.training.doubtful_weight != 1.0),
        "settings": hash_facts(settings),
        "teacher": " ".join(map(hash_weights, data.teachers)) or "none",
        "code": hash_computation(),
    }


def hash_faces(faces: FaceSet, with_doubts: bool) -> str:
    """Hash prepared faces, their labels, splits and order, and which are doubtful."""
    order = hashlib.sha256()
    for block in table_blocks(faces.table[["exact_hash", "split"]]):
        order.update("\n".join([*(block["exact_hash"] + " " + block["split"]), ""]).encode())
    if with_doubts:
        order.update(find_doubtful(faces).tobytes())
    return hash_facts([faces.fingerprint, order.hexdigest()])


def hash_computation() -> str:
    """Hash what computes: the code of this project, and the libraries under it."""
    libraries = ("keras", "numpy", keras.backend.backend())
    return hash_facts([*(f"{name} {version(name)}" for name in libraries), hash_code()])


def state_key(fingerprint: Mapping[str, str]) -> str:
    """Return the name under which the state of a training is kept."""
    return hash_facts(dict(fingerprint))


def hash_weights(model: keras.Model) -> str:
    """Hash the values of a network's weights."""
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(weight.tobytes())
    return digest.hexdigest()[:HASH_CHARACTERS]
