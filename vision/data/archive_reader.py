"""Archive reader: class folders inside a zip or tar file."""

from configs.errors import UserError
from configs.settings import DatasetSettings
from vision.data.image_reader import limits_of, read_images
from vision.data.raw_faces import EXPECTED, Reading
from vision.files.file_sets import describe_files, open_files


def read_archive(settings: DatasetSettings, seed: int) -> Reading:
    """Read class folders in a zip or tar file, without unpacking it onto the disk.

    Raises UserError, at once or on the way, where the archive is damaged or larger than the settings allow; OSError.
    """
    files = open_files(settings.path, limits_of(settings))
    if not files.images:
        found = f"; found {describe_files(files.others)}" if files.others else ""
        raise UserError(
            f"dataset.path {settings.path} holds no images (a CSV or an archive in it must be unpacked first){found}; "
            f"expected {EXPECTED}"
        )
    return read_images(files, settings)
