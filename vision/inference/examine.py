"""Examining: pictures are decoded and their faces cut out, one part ahead of the predictions."""

import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import takewhile, zip_longest
from typing import Any

import numpy as np
from PIL import Image

from configs.inference_settings import InferenceSettings
from vision.data.decoding import DecodedImage, decode_image
from vision.data.face_detection import NO_FACE
from vision.files.image_kinds import has_several_pictures
from vision.inference.face_cuts import Faces, cut_faces, no_faces, whole_picture
from vision.inference.overlay import fit_picture
from vision.inference.pictures import Payload, Pictures, RawPicture

Array = np.ndarray[Any, Any]

CROPS_AT_ONCE, BYTES_AT_ONCE = 64, 4_000_000  # for a thread; starting one for each crop would cost more than it saves
REASON_CHARACTERS = 300


@dataclass(frozen=True)
class Examined:
    """A picture after reading: its faces, or in `error` why there are none.

    `picture` is (height, width, 3) uint8 RGB in the size that is annotated, `scale` times the original, or None where
    it will not be annotated. `several` says that the file holds more pictures than this one, `blended` that pixels were
    transparent, `white` which grey level became white, 0 where the picture had 8 bits.
    """

    source: str
    error: str
    faces: Faces
    picture: Array | None = None
    scale: float = 1.0
    several: bool = False
    blended: bool = False
    white: float = 0.0


def examine_ahead(
    pictures: Pictures, parts: Sequence[range], settings: InferenceSettings, side: int, to_annotate: int
) -> Generator[tuple[range, list[Examined]]]:
    """Yield each part, a range of positions, with its pictures; the next part is examined at the same time.

    Faces are resized to `side` pixels. The first `to_annotate` pictures that have faces keep their pixels.
    """
    stopped = threading.Event()
    with ThreadPoolExecutor(1) as reading, ThreadPoolExecutor(settings.workers) as workers:

        def examine_part(part: range, keep: bool) -> list[Examined]:
            raw = takewhile(lambda _: not stopped.is_set(), pictures.read(part.start, part.stop))
            return examine_all(raw, workers, settings, side, keep)

        try:
            coming = [reading.submit(examine_part, part, to_annotate > 0) for part in parts[:1]]
            for part, following in zip_longest(parts, parts[1:]):
                kept = []
                for picture in coming.pop().result():
                    to_annotate -= picture.picture is not None
                    kept.append(picture if to_annotate >= 0 else replace(picture, picture=None))
                if following is not None:
                    coming.append(reading.submit(examine_part, following, to_annotate > 0))
                yield part, kept
        finally:
            stopped.set()


def examine_all(
    pictures: Iterator[RawPicture], workers: ThreadPoolExecutor, settings: InferenceSettings, side: int, keep: bool
) -> list[Examined]:
    """Examine pictures in the threads of `workers`, and return them in their order."""
    waiting: deque[Future[list[Examined]]] = deque()
    examined: list[Examined] = []
    for bundle in _bundles(pictures, settings.detect):
        if len(waiting) == 2 * settings.workers:  # limits how many undecoded pictures are in memory
            examined += waiting.popleft().result()
        waiting.append(workers.submit(_examine_bundle, bundle, settings, side, keep))
    return examined + [picture for future in waiting for picture in future.result()]


def examine_picture(raw: RawPicture, settings: InferenceSettings, side: int, keep: bool) -> Examined:
    """Decode a picture and cut its faces out, resized to `side` pixels; `keep` its pixels for annotation."""
    try:
        decoded = _decode(raw.payload, settings)
        image = decoded.image
        faces = cut_faces(image, settings, side) if settings.detect else whole_picture(image, side)
        picture, scale = fit_picture(np.asarray(image.convert("RGB"))) if keep and len(faces) else (None, 1.0)
    except Exception as error:  # noqa: BLE001 - a decoder may raise anything for a hostile picture; its row says what
        reason = f"{type(error).__name__}: {error}"[:REASON_CHARACTERS].encode("utf-8", "backslashreplace").decode()
        return Examined(raw.source, reason, no_faces(side))
    said = "" if len(faces) else NO_FACE
    return Examined(raw.source, said, faces, picture, scale, blended=decoded.blended, white=decoded.white)


def _bundles(pictures: Iterator[RawPicture], detect: bool) -> Iterator[list[RawPicture]]:
    """Yield lists of pictures for one thread at a time: one photo, or several crops."""
    bundle: list[RawPicture] = []
    size = 0
    for picture in pictures:
        bundle.append(picture)
        if not isinstance(picture.payload, Exception):
            size += len(picture.payload) if isinstance(picture.payload, bytes) else picture.payload.nbytes
        if detect or len(bundle) == CROPS_AT_ONCE or size >= BYTES_AT_ONCE:
            yield bundle
            bundle, size = [], 0
    if bundle:
        yield bundle


def _examine_bundle(
    pictures: Sequence[RawPicture], settings: InferenceSettings, side: int, keep: bool
) -> list[Examined]:
    return [
        replace(
            examine_picture(picture, settings, side, keep),
            several=isinstance(picture.payload, bytes) and has_several_pictures(picture.payload),
        )
        for picture in pictures
    ]


def _decode(payload: Payload, settings: InferenceSettings) -> DecodedImage:
    if isinstance(payload, Exception):
        raise payload
    if isinstance(payload, np.ndarray):
        return DecodedImage(Image.fromarray(payload), "RGB")
    return decode_image(payload, settings.max_pixels, "inference")
