"""Ensemble: several classifiers as one, which gives the mean of their probabilities."""

from collections.abc import Mapping
from typing import Any

import keras

from configs.errors import UserError

BEGINNING = ("resize", "crop")  # of every member, if it has them; one for all, which test-time augmentation asks for


def average_classifiers(members: Mapping[str, keras.Model]) -> keras.Model:
    """Return a classifier of (n, height, width, 1) grey levels of 0-255 whose (n, classes) logits are the logarithm of
    the mean of its members' probabilities (Lakshminarayanan et al. 2017).

    `members` have names for messages. Each gives logits, or calibrated probabilities if it has a temperature. All
    layers are Keras's own, so that the saved model loads in its safe mode. Raises UserError for fewer than two members,
    or for members of other faces or classes.
    """
    if len(members) < 2:
        raise UserError("an ensemble needs two classifiers or more")
    kinds = {name: _kind(member) for name, member in members.items()}
    first, *others = members
    for name in others:
        if kinds[name] != kinds[first]:
            raise UserError(f"{name} has {kinds[name]}, {first} {kinds[first]}; an ensemble needs members of one kind")
    faces = keras.Input((None, None, 1), name="faces")
    seen = faces
    for layer in _beginning(members[first]):
        seen = type(layer).from_config(layer.get_config())(seen)
    answers = [_append(member, number, seen) for number, member in enumerate(members.values(), start=1)]
    mean = keras.layers.Average(name="mean_probabilities")(answers)
    logits = keras.layers.Rescaling(1.0, name="head_logits")(keras.ops.log(mean))
    joined = keras.Model(faces, logits, name="face_emotion_classifier")
    ensemble = keras.models.clone_model(joined)  # whose layers are used once; those of `joined` stand in a member too
    ensemble.set_weights(joined.get_weights())
    return ensemble


def _kind(member: keras.Model) -> str:
    """Say what the members of an ensemble have in common."""
    classes = member.output_shape[-1]
    cuts = {layer.name: layer for layer in _beginning(member)}
    cropped = f" cropped by {cuts['crop'].cropping}" if "crop" in cuts else ""
    return f"{classes} classes and faces of {cuts['resize'].height} pixels{cropped}"


def _beginning(member: keras.Model) -> list[Any]:
    return [layer for layer in member.layers if layer.name in BEGINNING]


def _append(member: keras.Model, number: int, seen: Any) -> Any:
    """Append a copy of what follows a member's beginning, under names of its own; return its probabilities."""

    def rename(layer: Any) -> Any:
        return type(layer).from_config({**layer.get_config(), "name": f"member{number}_{layer.name}"})

    output = member.output
    if "probabilities" not in {layer.name for layer in member.layers}:
        output = keras.layers.Softmax(name="probabilities")(output)
    rest = keras.Model(_beginning(member)[-1].output, output)
    copy = keras.models.clone_model(rest, clone_function=rename)
    copy.set_weights(rest.get_weights())
    return copy.call(seen)  # not copy(seen), which would put the member into one layer that Grad-CAM cannot enter
