"""Pictures: an uploaded picture is checked, decoded and searched for faces."""

from dataclasses import dataclass

from configs.inference_settings import DetectionSettings
from configs.serving_settings import ServingSettings
from serving.problems import ProblemError
from vision.data.decoding import decode_image
from vision.data.image_formats import open_image
from vision.files.image_kinds import has_several_pictures
from vision.files.paths import printable
from vision.inference.face_cuts import Faces, cut_faces

REASON_CHARACTERS = 200


@dataclass(frozen=True)
class Searched:
    """The size in pixels of an upright picture, its faces, and whether its file holds more pictures than this one."""

    width: int
    height: int
    faces: Faces
    first_of_several: bool


def search_picture(content: bytes, serving: ServingSettings, detection: DetectionSettings, side: int) -> Searched:
    """Find the faces of an uploaded picture, and cut them out in `side` pixels.

    Raises ProblemError: 415 for what is not a picture, 413 for one with too many pixels, 422 for one that is damaged or
    has too many faces.
    """
    _check_size(content, serving.max_pixels)
    try:
        image = decode_image(content, serving.max_pixels, "serving").image
    except Exception as error:  # a decoder may raise anything for a hostile picture
        raise ProblemError(422, f"the picture cannot be decoded: {_reason(error)}") from error
    faces = cut_faces(image, detection, side)
    if len(faces) > serving.max_faces:
        raise ProblemError(
            422, f"the picture has {len(faces)} faces, allowed are {serving.max_faces} (serving.max_faces); send a part"
        )
    return Searched(image.width, image.height, faces, has_several_pictures(content))


def _check_size(content: bytes, max_pixels: int) -> None:
    if not content:
        raise ProblemError(422, "the picture is empty (0 bytes)")
    try:
        with open_image(content) as image:
            width, height = image.size
    except ValueError as error:
        raise ProblemError(415, f"{_reason(error)}; send a JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF") from error
    except Exception as error:  # Pillow's plug-ins raise their own for damaged headers
        raise ProblemError(422, f"the picture cannot be read: {_reason(error)}") from error
    if width * height > max_pixels:
        allowed = f"allowed are {max_pixels} (serving.max_pixels)"
        raise ProblemError(413, f"the picture has {width}x{height} pixels, {allowed}")


def _reason(error: Exception) -> str:
    return printable(str(error) or type(error).__name__)[:REASON_CHARACTERS]
