"""Folder reader: class folders on the disk."""

from configs.data_settings import DatasetSettings
from vision.data.image_reader import limits_of, read_images
from vision.data.layouts import Placed
from vision.data.raw_faces import Reading
from vision.data.split_names import SplitNames
from vision.files.file_sets import open_files


def read_folder(settings: DatasetSettings, seed: int) -> Reading:
    """Read class folders. Raises UserError and OSError."""
    root = settings.local_path
    # the root's own name counts, so that `--dataset.path faces/train` is still training data
    name = root.resolve().name
    outer = Placed(split=SplitNames(settings.splits).of_all(name), place=f"folder {name}")
    return read_images(open_files(root, limits_of(settings)), settings, outer)
