"""Image formats: which of Pillow's are opened."""

import importlib
import importlib.util
import io
from functools import cache

from PIL import Image, ImageFile, UnidentifiedImageError

from vision.files.image_kinds import HEAD_BYTES, HEIC, image_kind

# not EPS: Pillow starts Ghostscript for it
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
NEEDS_HEIF = "HEIC pictures need the package pillow-heif: run `.venv/bin/pip install pillow-heif`"


@cache
def readable_formats() -> tuple[str, ...]:
    """Return the names of the formats that Pillow may open: HEIF too where pillow-heif is installed."""
    if importlib.util.find_spec("pillow_heif") is None:
        return FORMATS
    importlib.import_module("pillow_heif").register_heif_opener()
    return (*FORMATS, "HEIF")


def open_image(payload: bytes) -> ImageFile.ImageFile:
    """Read an image's header. Raises ValueError for what is not an image, and Pillow's errors for damaged ones."""
    try:
        return Image.open(io.BytesIO(payload), formats=readable_formats())
    except UnidentifiedImageError as error:  # its own message shows a memory address
        if image_kind(payload[:HEAD_BYTES]) == HEIC and "HEIF" not in readable_formats():
            raise ValueError(NEEDS_HEIF) from error
        raise ValueError(f"not an image: the file starts with {payload[:8]!r}") from error
