"""Picture files to measure with: drawn faces with different noise, written fast."""

import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from tqdm import tqdm

from vision.data.synthetic import EXPRESSIONS, draw_face
from vision.files.image_kinds import is_image
from vision.files.paths import is_hidden

DRAWN_PER_CLASS = 50
SIDE, NOISE = 48, 6.0


def draw_pictures(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield (member name, encoded PNG) of `count` different 48x48 faces: a tenth under validation/, the rest in train/.

    A few hundred faces are drawn; each picture is one of them with a different brightness and noise.
    """
    random = np.random.default_rng(seed)
    faces = {
        name: np.stack([draw_face(shown, SIDE, 0.0, random) for _ in range(DRAWN_PER_CLASS)]).astype(np.float32)
        for name, shown in EXPRESSIONS.items()
    }
    names = list(faces)
    noise = random.normal(0, NOISE, size=(256, SIDE, SIDE)).astype(np.float32)
    for number in range(count):
        name = names[number % len(names)]
        face = faces[name][random.integers(DRAWN_PER_CLASS)]
        grain = np.roll(noise[random.integers(len(noise))], int(random.integers(SIDE * SIDE)))
        pixels = np.clip(face + grain + random.uniform(-20, 20), 0, 255).astype(np.uint8)
        _, encoded = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        split = "validation" if number // len(names) % 10 == 0 else "train"
        yield f"images/{split}/{name}/{number:07d}.png", encoded.tobytes()


def write_zip(path: Path, count: int) -> Path:
    """Write `count` pictures into a zip file, uncompressed because PNG files are compressed already."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, payload in tqdm(draw_pictures(count), total=count, unit=" files", desc="drawing", disable=None):
            archive.writestr(name, payload)
    return path


def unpack(archive: Path, folder: Path) -> tuple[list[Path], int]:
    """Unpack a zip's images; return the folders of class folders, such as images/train, and the number of images."""
    with zipfile.ZipFile(archive) as opened:
        names = [
            name for name in opened.namelist() if not is_hidden(path := PurePosixPath(name)) and is_image(path, bytes)
        ]
        opened.extractall(folder, names)
    return sorted({folder / PurePosixPath(name).parent.parent for name in names}), len(names)
