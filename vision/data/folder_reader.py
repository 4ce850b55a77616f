"""Folder reader: class folders on the disk."""

from collections.abc import Iterator
from itertools import islice
from pathlib import PurePosixPath

from configs.errors import UserError
from configs.settings import DatasetSettings
from vision.data.raw_faces import EXPECTED, RawFace, Reading, label_and_split
from vision.files.paths import is_image, read_file, walk


def read_folder(settings: DatasetSettings, seed: int) -> Reading:
    """Read class folders; any folder above the class folder may name the split. Raises UserError and OSError."""
    root = settings.path
    images = (path for path in walk(root) if is_image(PurePosixPath(path.relative_to(root).as_posix())))
    paths = sorted(islice(images, settings.max_images + 1))
    if not paths:
        raise UserError(f"dataset.path {root} holds no images; expected {EXPECTED}")

    def faces() -> Iterator[RawFace]:
        for path in paths:
            # the root's own name counts, so that `--dataset.path faces/train` is still training data
            named = PurePosixPath(root.resolve().name, path.relative_to(root).as_posix())
            source = path.relative_to(root).as_posix()
            yield RawFace(source, *label_and_split(named), read_file(path, settings.max_file_bytes))

    return Reading(root.name, "folder", len(paths), faces())
