"""Ingestion: decoding a stream of faces in parallel into a FaceSet."""

import hashlib
import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

import imagehash
import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from PIL import Image
from tqdm import tqdm

from configs.data_settings import DatasetSettings
from configs.errors import UserError
from configs.inference_settings import DetectionSettings
from vision.data.decoding import decode_image, measure_levels, resize_face
from vision.data.face_detection import NO_FACE, check_detector, cut_largest_face
from vision.data.face_table import TableFile
from vision.data.faces import TABLE_COLUMNS, FaceSet, store_images
from vision.data.grey_levels import GUESSED, WhiteLevels
from vision.data.raw_faces import Box, RawFace
from vision.data.readers import open_dataset
from vision.data.treatment import PLAIN, Treatment, TreatmentCounts
from vision.files.paths import printable

logger = logging.getLogger(__name__)

CHUNK = 256  # faces that a worker decodes at a time
CHUNK_BYTES = 32_000_000  # fewer faces where their files are large, which limits the memory in flight
SOURCE_CHARACTERS, LABEL_CHARACTERS, ERROR_CHARACTERS = 1000, 100, 300  # in the table; a name may be as long as a file
PIXELS_SHOWN = 60  # characters of an error about a list of pixels
SMALL_SET = 2000  # below this many faces, starting worker processes takes longer than they save


class DecodedFace(NamedTuple):
    """As DecodedImage, with (height, width) uint8 grey levels."""

    pixels: np.ndarray[Any, Any]
    mode: str
    white: float = 0.0
    blended: bool = False
    image: Image.Image | None = None  # in its colours, where it was an encoded picture

    def picture(self) -> np.ndarray[Any, Any]:
        """Return what a detector looks at: (height, width, 3) RGB, or grey levels of a picture without colours."""
        return self.pixels if self.image is None else np.asarray(self.image.convert("RGB"))


def ingest_faces(settings: DatasetSettings, seed: int, detection: DetectionSettings | None = None) -> FaceSet:
    """Read and decode the data set that the settings name; `detection` is for `dataset.crop_faces`.

    Every image becomes a row, whether it can be decoded or not. Where images of one mode of more than 8 bits seem to
    use different numbers of bits, the data set is read again with the largest. Raises UserError for a missing data set
    and for one without an image.
    """
    if settings.crop_faces != (detection is not None):
        raise ValueError(f"dataset.crop_faces is {settings.crop_faces}, and detection is {detection}")
    if detection is not None:
        check_detector(detection)
    faces, counts = _read_faces(settings, seed, Treatment(detection, WhiteLevels(settings.white_level)))
    if counts.differs():
        logger.info("images of one kind use different numbers of bits; reading again with the largest for all")
        faces, counts = _read_faces(settings, seed, Treatment(detection, WhiteLevels(by_mode=counts.common_whites())))
    return faces


def _read_faces(settings: DatasetSettings, seed: int, treatment: Treatment) -> tuple[FaceSet, TreatmentCounts]:
    reading = open_dataset(settings, seed)
    counts = TreatmentCounts()
    small = reading.form == "drawn" or (reading.count is not None and reading.count < SMALL_SET)
    table = TableFile()

    def blocks() -> Iterator[np.ndarray[Any, Any]]:
        work = (delayed(decode_chunk)(chunk, settings, treatment) for chunk in chunk_faces(reading.faces))
        parallel = Parallel(n_jobs=1 if small else settings.workers, return_as="generator", pre_dispatch="3*n_jobs")
        with tqdm(total=reading.count, unit=" faces", desc=f"reading {reading.name}", disable=None) as progress:
            for block, rows in parallel(work):
                counts.add(rows)
                table.append(pd.DataFrame(rows, columns=list(TABLE_COLUMNS)).astype(TABLE_COLUMNS))
                progress.update(len(rows))
                yield block

    images = store_images(blocks(), settings.image_size)
    if not small:
        get_reusable_executor().shutdown(wait=True)  # idle workers would keep their memory
    if not len(images):
        raise UserError(f"dataset.path {settings.path} holds no faces; nothing was read")
    facts = {**reading.notes.facts(), **counts.facts(treatment)}
    return FaceSet(reading.name, reading.form, settings.class_names, images, table.mapped(), facts), counts


def chunk_faces(faces: Iterator[RawFace]) -> Iterator[list[RawFace]]:
    """Yield lists of faces, each of CHUNK faces or about CHUNK_BYTES, whichever comes first."""
    chunk: list[RawFace] = []
    size = 0
    for face in faces:
        chunk.append(face)
        size += len(face.payload) if isinstance(face.payload, bytes | str) else 0
        if len(chunk) == CHUNK or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def decode_chunk(
    faces: list[RawFace], settings: DatasetSettings, treatment: Treatment = PLAIN
) -> tuple[np.ndarray[Any, Any], list[dict[str, Any]]]:
    """Decode faces into a (n, side, side) uint8 block and their table rows; what cannot be decoded stays black.

    The rows also have `white` and `blended`, which the table does not keep.
    """
    side = settings.image_size
    block = np.zeros((len(faces), side, side), dtype=np.uint8)
    rows = []
    for position, face in enumerate(faces):
        source, label = face.source[-SOURCE_CHARACTERS:], face.label[:LABEL_CHARACTERS]
        row: dict[str, Any] = {"source": printable(source), "label": printable(label), "split": face.split}
        row |= {"width": 0, "height": 0, "mode": "", "exact_hash": "", "perceptual_hash": "", "error": ""}
        row |= {"white": 0.0, "blended": False}
        try:
            found = decode_face(face.payload, settings.max_pixels, treatment.whites)
            row |= {"mode": found.mode, "white": found.white, "blended": found.blended}
            pixels = _face_within(found, face, treatment)
            if pixels is None:
                row["error"] = NO_FACE
            else:
                row |= describe_face(pixels)
                block[position] = resize_face(pixels, side)
        except Exception as error:  # noqa: BLE001 - a hostile image may make a decoder raise anything; its row says what
            row["error"] = printable(f"{type(error).__name__}: {error}"[:ERROR_CHARACTERS])
        rows.append(row)
    return block, rows


def decode_face(
    payload: bytes | str | np.ndarray[Any, Any] | Exception, max_pixels: int, whites: WhiteLevels = GUESSED
) -> DecodedFace:
    """Return grey levels, upright; `whites` are the levels of white that are known.

    Raises ValueError for wrong pixel lists and for more than `max_pixels`, which are not decoded;
    Pillow's errors for damaged images; and the payload itself where that is an exception.
    """
    if isinstance(payload, Exception):
        raise payload
    if isinstance(payload, np.ndarray):
        return DecodedFace(payload, "L")
    if isinstance(payload, str):
        return DecodedFace(_parse_pixels(payload, max_pixels), "L")
    found = decode_image(payload, max_pixels, whites=whites)
    return DecodedFace(np.asarray(found.image.convert("L")), found.mode, found.white, found.blended, found.image)


def _face_within(found: DecodedFace, face: RawFace, treatment: Treatment) -> np.ndarray[Any, Any] | None:
    """Return the part of an image that is the face, or None where none is found; a face's own box is trusted."""
    if face.box:
        return cut_box(found.pixels, face.box)
    if treatment.detection is None:
        return found.pixels
    return cut_largest_face(found.picture(), found.pixels, treatment.detection)


def cut_box(pixels: np.ndarray[Any, Any], box: Box) -> np.ndarray[Any, Any]:
    """Return the part of a (height, width) array that a box covers. Raises ValueError where that is nothing."""
    left, top, right, bottom = (max(0, edge) for edge in box)
    part = pixels[top:bottom, left:right]
    if not part.size:
        raise ValueError(f"the box {box} is outside of the {pixels.shape[1]}x{pixels.shape[0]} image")
    return np.ascontiguousarray(part)


def _parse_pixels(text: str, max_pixels: int) -> np.ndarray[Any, Any]:
    values = text.split()
    side = int(len(values) ** 0.5)
    if not values or side * side != len(values):
        raise ValueError(f"{len(values)} pixel values do not make a square image")
    if len(values) > max_pixels:
        raise ValueError(f"{len(values)} pixels, more than dataset.max_pixels {max_pixels}")
    try:
        levels = np.array(values, dtype=np.int64)
    except ValueError as error:
        raise ValueError(f"{error}"[:PIXELS_SHOWN] + "; pixels are whole numbers with spaces between them") from error
    if levels.min() < 0 or levels.max() > 255:
        raise ValueError(f"pixel values {levels.min()} to {levels.max()}, allowed 0 to 255")
    return levels.astype(np.uint8).reshape(side, side)


def describe_face(pixels: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Measure (height, width) uint8 grey levels at their original size, as columns of the table."""
    return {
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        **measure_levels(pixels),
        "exact_hash": hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()[:32],
        "perceptual_hash": str(imagehash.phash(Image.fromarray(pixels))),
    }
