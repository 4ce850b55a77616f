"""Mosaics: a data set of small faces in few files, for a machine to which little can be sent.

`python -m benchmarks.mosaics pack fer2013.zip FOLDER` writes them, `unpack FOLDER fer2013.zip` makes an archive of the
same pixels under the same names.
"""

import io
import json
import lzma
import sys
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

ROW = 64  # faces beside each other
FACES = 4096  # in a mosaic
NAMES = "names.json.xz"


def pack(archive: Path, folder: Path) -> int:
    """Write all images of a zip, which have one size and are grey, as mosaics; return how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive) as faces:
        names = [info.filename for info in faces.infolist() if info.filename.endswith(".png")]  # order decides splits
        for number, start in enumerate(range(0, len(names), FACES)):
            images = [np.asarray(Image.open(io.BytesIO(faces.read(name)))) for name in names[start : start + FACES]]
            side = images[0].shape[0]
            tiles = np.zeros((-(-len(images) // ROW) * ROW, side, side), np.uint8)
            tiles[: len(images)] = images
            mosaic = tiles.reshape(-1, ROW, side, side).swapaxes(1, 2).reshape(-1, ROW * side)
            Image.fromarray(mosaic).save(folder / f"{number:02d}.png", optimize=True)
    (folder / NAMES).write_bytes(lzma.compress(json.dumps({"side": side, "names": names}).encode()))
    return len(names)


def unpack(folder: Path, archive: Path) -> int:
    """Write the images of the mosaics as PNG files into a zip; return how many there are."""
    facts = json.loads(lzma.decompress((folder / NAMES).read_bytes()))
    side, names = facts["side"], facts["names"]
    with zipfile.ZipFile(archive, "w") as faces:
        for file in sorted(folder.glob("*.png")):
            mosaic = np.asarray(Image.open(file).convert("L"))
            tiles = mosaic.reshape(-1, side, ROW, side).swapaxes(1, 2).reshape(-1, side, side)
            first = int(file.stem) * FACES
            for name, image in zip(names[first : first + FACES], tiles, strict=False):
                content = io.BytesIO()
                Image.fromarray(image).save(content, "PNG", compress_level=1)
                faces.writestr(name, content.getvalue())
    return len(names)


if __name__ == "__main__":
    verb, source, target = sys.argv[1:]
    print({"pack": pack, "unpack": unpack}[verb](Path(source), Path(target)), "images")
