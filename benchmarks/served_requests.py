"""Requests to the service: the bodies of crops, batches and photos, and lists of them for the load client."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.bare_session import BATCH, SEED
from benchmarks.scenes import HEIGHT, WIDTH, draw_background

Array = np.ndarray[Any, Any]
PHOTOS = 20  # each with two faces
CROPS_A_PHOTO = 19  # where crops and photos are mixed


@dataclass(frozen=True)
class Targets:
    """Files that tell the load client what to send: a crop, a batch of crops, photos, crops and photos; and photos."""

    crop: Path
    batch: Path
    photos: Path
    mixed: Path
    photo_files: tuple[Path, ...]


def write_targets(folder: Path, name: str, faces: Array) -> Targets:
    """Write the bodies of all requests and the lists of them; `faces` are (n, side, side) uint8."""
    infer = f"/v2/models/{name}/infer"
    crop, batch = folder / "crop.json", folder / "batch.json"
    for path, chosen in ((crop, faces[:1]), (batch, np.resize(faces, (BATCH, *faces.shape[1:])))):
        tensor = {"name": "faces", "shape": [*chosen.shape, 1], "datatype": "UINT8", "data": chosen.ravel().tolist()}
        path.write_text(json.dumps({"inputs": [tensor]}), encoding="utf-8")
    photos = tuple(write_photos(folder, faces))
    crops = {"path": infer, "content_type": "application/json", "file": str(crop)}
    pictures = [{"path": "/v1/emotions", "content_type": "image/jpeg", "file": str(photo)} for photo in photos]
    lists = {
        "crops": [crops],
        "batches": [{**crops, "file": str(batch)}],
        "photos": pictures,
        "mixed": [one for picture in pictures for one in (*[crops] * CROPS_A_PHOTO, picture)],
    }
    files = {kind: folder / f"{kind}.targets.json" for kind in lists}
    for kind, listed in lists.items():
        files[kind].write_text(json.dumps(listed), encoding="utf-8")
    return Targets(files["crops"], files["batches"], files["photos"], files["mixed"], photos)


def write_photos(folder: Path, faces: Array) -> list[Path]:
    """Write scenes as JPEG, each with two different faces of 120 to 240 pixels side by side."""
    random = np.random.default_rng(SEED)
    paths = []
    for number in range(PHOTOS):
        picture = draw_background(random)
        for place in range(2):
            side = int(random.integers(120, 241))
            left = place * WIDTH // 2 + int(random.integers(0, WIDTH // 2 - side + 1))
            top = int(random.integers(0, HEIGHT - side + 1))
            face = cv2.resize(faces[(2 * number + place) % len(faces)], (side, side), interpolation=cv2.INTER_CUBIC)
            picture[top : top + side, left : left + side] = face[..., None]
        paths.append(folder / f"photo{number}.jpg")
        cv2.imwrite(str(paths[-1]), picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
    return paths
