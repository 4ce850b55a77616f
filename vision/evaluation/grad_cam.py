"""Grad-CAM: which part of a face a prediction came from."""

from typing import Any

import cv2
import keras
import numpy as np
import tensorflow as tf

SMALLEST_MAP = 6  # pixels a side; deeper maps are too coarse to point at an eye or a mouth


def explained_layer(classifier: keras.Model, side: int) -> str:
    """Return the name of the deepest activation whose map of a `side`-pixel face is still large enough."""
    faces = np.zeros((1, side, side, 1), dtype=np.float32)
    activations = [layer for layer in classifier.layers if isinstance(layer, keras.layers.ReLU)]
    maps = keras.Model(classifier.input, [layer.output for layer in activations])(faces, training=False)
    large = [layer.name for layer, found in zip(activations, maps, strict=True) if found.shape[1] >= SMALLEST_MAP]
    return str(large[-1])


def grad_cam(
    classifier: keras.Model, images: np.ndarray[Any, Any], classes: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """Return (n, side, side) float32 heat of 0-1 for (n, side, side) uint8 faces (Selvaraju et al. 2017).

    `classes` are the (n,) outputs to explain. A face whose heat is nowhere positive gets zeros.
    """
    side = images.shape[1]
    layer = classifier.get_layer(explained_layer(classifier, side))
    # the logits, not the probabilities: softmax flattens the gradient of a sure prediction
    both = keras.Model(classifier.input, [layer.output, classifier.get_layer("head_logits").output])
    with tf.GradientTape() as tape:
        maps, logits = both(tf.constant(images[..., None], dtype=tf.float32), training=False)
        chosen = tf.gather(logits, tf.constant(classes), batch_dims=1)
    gradients = tape.gradient(chosen, maps)
    weights = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
    heat = tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1)).numpy()
    peak = heat.max(axis=(1, 2), keepdims=True)
    scaled = heat / np.where(peak > 0, peak, 1)
    return np.stack([cv2.resize(h, (side, side), interpolation=cv2.INTER_LINEAR) for h in scaled]).astype(np.float32)
