"""Named split: FER2013 with the validation faces that a list names, for a classifier that was trained beside them.

`python -m benchmarks.named_split fer2013.zip NAMES.txt OUT.zip` copies the images of `train` into `train` or, where the
list has them, into `validation`, and those of `validation` into `test`. A name is the last part of a path.
"""

import sys
import zipfile
from pathlib import Path


def name_split(archive: Path, names: frozenset[str], target: Path) -> dict[str, int]:
    """Write the zip; return how many images each split has. Raises ValueError where the archive lacks a name."""
    counts = {"train": 0, "validation": 0, "test": 0}
    with zipfile.ZipFile(archive) as faces, zipfile.ZipFile(target, "w") as named:
        files = sorted(file for file in faces.namelist() if file.endswith(".png"))
        if missing := names - {Path(file).name for file in files if "/train/" in file}:
            raise ValueError(f"{archive} has no training image {min(missing)}, which the list names")
        for file in files:
            path = Path(file)
            split = "test" if "/validation/" in file else "validation" if path.name in names else "train"
            counts[split] += 1
            named.writestr(f"images/{split}/{path.parent.name}/{path.name}", faces.read(file))
    return counts


if __name__ == "__main__":
    archive, names, target = map(Path, sys.argv[1:])
    print(name_split(archive, frozenset(names.read_text(encoding="utf-8").split()), target))
