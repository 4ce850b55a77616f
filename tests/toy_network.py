"""A network of two convolutions in the place of vgg_compact, for trainings in which the network does not matter."""

from collections.abc import Callable
from typing import Any

from configs.training_settings import ClassifierSettings

# what a process does before the commands of run.py that train the toy; each of their figures is one grey pixel
IN_A_PROCESS = """
import io
from PIL import Image
from tests.toy_network import toy_backbone
from vision.model.backbones import BACKBONES
from vision.reporting import figures
BACKBONES["vgg_compact"] = toy_backbone
pixel = io.BytesIO()
Image.new("L", (1, 1), 128).save(pixel, "PNG")
figures.to_png = lambda figure: pixel.getvalue()
"""


def toy_backbone(settings: ClassifierSettings, side: int, weights: str, dtype: str) -> Callable[[Any], Any]:
    """Return a backbone of two blocks and a thousand weights, whatever the settings say."""
    import keras  # not above: the process that starts pytest's workers imports this file before it starts them

    def append(pixels: Any) -> Any:
        x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="scaled")(pixels)
        for block in (1, 2):
            name = f"block{block}_conv1"
            x = keras.layers.Conv2D(8 * block, 3, strides=2, padding="same", name=name, dtype=dtype)(x)
            x = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_bn", dtype=dtype)(x)
            x = keras.layers.ReLU(name=f"block{block}_relu", dtype=dtype)(x)
        return x

    return append
