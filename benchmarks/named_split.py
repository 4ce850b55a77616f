"""Named split: FER2013 with the validation faces that a list names, for a classifier that was trained beside them.

`python -m benchmarks.named_split fer2013.zip NAMES.txt OUT.zip` copies the images of `train` into `train` or, where the
list has them, into `validation`, and those of `validation` into `test`. A name is the last part of a path.
"""

import sys
import zipfile
from pathlib import Path

from benchmarks.measuring import start
from configs.errors import UserError
from vision.data.faces import TEST, TRAIN, VALIDATION
from vision.files.atomic import make_parent, write_file

USAGE = "give three files: python -m benchmarks.named_split FER2013.zip NAMES.txt OUT.zip"


def name_split(archive: Path, names: frozenset[str], target: Path) -> dict[str, int]:
    """Write the zip; return how many images each split has. Raises UserError where a file is not what it should be."""
    if not zipfile.is_zipfile(archive):
        raise UserError(f"{archive} is not a zip file; give FER2013 in the folders of Kaggle's data set, as a zip")
    make_parent(target)
    with zipfile.ZipFile(archive) as faces:
        files = sorted(file for file in faces.namelist() if file.endswith(".png"))
        if missing := names - {Path(file).name for file in files if "/train/" in file}:
            raise UserError(f"{archive} lacks {len(missing):,} training images of the list, such as {min(missing)}")
        splits = [
            TEST if "/validation/" in file else VALIDATION if Path(file).name in names else TRAIN for file in files
        ]

        def write(part: Path) -> None:
            with zipfile.ZipFile(part, "w") as named:
                for file, split in zip(files, splits, strict=True):
                    named.writestr("/".join(("images", split, *Path(file).parts[-2:])), faces.read(file))

        write_file(target, write)
    return {split: splits.count(split) for split in (TRAIN, VALIDATION, TEST)}


def make_split(words: list[str]) -> str:
    """Write the zip that the last of three words names; return what is in it. Raises UserError."""
    if len(words) != 3:
        raise UserError(USAGE)
    archive, names, target = map(Path, words)
    if not names.is_file():
        raise UserError(f"{names} does not exist; give the list of names, one a line")
    counts = name_split(archive, frozenset(names.read_text(encoding="utf-8").split()), target)
    return f"{target}: " + ", ".join(f"{count:,} {split}" for split, count in counts.items())


def main() -> None:
    """Do what the words of the command line say."""
    print(make_split(sys.argv[1:]))


if __name__ == "__main__":
    start(main)
