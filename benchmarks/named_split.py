"""Named split: FER2013 with the validation faces that a list names, for a classifier that was trained beside them.

`python -m benchmarks.named_split fer2013.zip NAMES.txt OUT.zip` copies the images of `train` into `train` or, where the
list has them, into `validation`, and those of `validation` into `test`. A name is the last part of a path.
"""

import sys
import zipfile
from pathlib import Path

from configs.errors import UserError
from vision.files.atomic import make_parent, write_file

USAGE = "give three files: python -m benchmarks.named_split FER2013.zip NAMES.txt OUT.zip"


def name_split(archive: Path, names: frozenset[str], target: Path) -> dict[str, int]:
    """Write the zip; return how many images each split has. Raises UserError where a file is not what it should be."""
    if not zipfile.is_zipfile(archive):
        raise UserError(f"{archive} is not a zip file; give FER2013 in the folders of Kaggle's data set, as a zip")
    make_parent(target)
    counts = {"train": 0, "validation": 0, "test": 0}
    with zipfile.ZipFile(archive) as faces:
        files = sorted(file for file in faces.namelist() if file.endswith(".png"))
        if missing := names - {Path(file).name for file in files if "/train/" in file}:
            raise UserError(f"{archive} lacks {len(missing):,} training images of the list, such as {min(missing)}")

        def write(part: Path) -> None:
            with zipfile.ZipFile(part, "w") as named:
                for file in files:
                    path = Path(file)
                    split = "test" if "/validation/" in file else "validation" if path.name in names else "train"
                    counts[split] += 1
                    named.writestr(f"images/{split}/{path.parent.name}/{path.name}", faces.read(file))

        write_file(target, write)
    return counts


def main(words: list[str]) -> str:
    """Write the zip that the last of three words names; return what is in it. Raises UserError."""
    if len(words) != 3:
        raise UserError(USAGE)
    archive, names, target = map(Path, words)
    if not names.is_file():
        raise UserError(f"{names} does not exist; give the list of names, one a line")
    counts = name_split(archive, frozenset(names.read_text(encoding="utf-8").split()), target)
    return f"{target}: " + ", ".join(f"{count:,} {split}" for split, count in counts.items())


if __name__ == "__main__":
    try:
        print(main(sys.argv[1:]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
