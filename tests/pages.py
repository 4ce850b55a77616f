"""The pages for users, README.md and docs/: their blocks and commands, and a clone of the project to run them in."""

import functools
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2

from configs.loading import load_settings
from tests.conftest import PROJECT, SMALL
from vision.data.ingestion import ingest_faces

PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON = ".venv/bin/python"
MAKE_IS_RUN = {"train": ["--pipeline", "training"], "compare": ["--compare"], "doctor": ["--doctor"],
               "tidy": ["--tidy"], "serve": ["--serve"]}  # fmt: skip
# of commands that run no pipeline
KINDS = ("help", "doctor", "compare", "bare", "reproduce", "tidy", "relocate", "serve")


@dataclass(frozen=True)
class Command:
    """A command of a page: the environment that it sets, and its words."""

    page: str
    environment: dict[str, str]
    words: list[str]

    @property
    def arguments(self) -> list[str] | None:
        """Return what run.py is given, also by way of make; None where it is not run.py."""
        if self.words[:2] == [PYTHON, "run.py"]:
            return self.words[2:]
        if self.words[0] == "make" and self.words[1] in MAKE_IS_RUN:
            given = [word.removeprefix("ARGS=") for word in self.words[2:] if word.startswith("ARGS=")]
            return [*MAKE_IS_RUN[self.words[1]], *shlex.split(" ".join(given))]
        return None


def blocks(path: Path, language: str) -> list[str]:
    return [body for name, body in FENCE.findall(path.read_text(encoding="utf-8")) if name == language]


@functools.cache
def all_commands() -> list[Command]:
    """Return every command of every sh block."""
    found = []
    for page in PAGES:
        for line in "\n".join(blocks(page, "sh")).replace("\\\n", "").splitlines():
            words = shlex.split(line, comments=True)
            environment = {}
            while words and (assigned := re.fullmatch(r"([A-Z_]+)=(.*)", words[0])):
                environment[assigned[1]] = assigned[2]
                words = words[1:]
            if words:
                found.append(Command(page.name, environment, words))
    return found


def of_run(kind: str = "") -> list[Command]:
    found = [command for command in all_commands() if command.arguments is not None]
    return [command for command in found if kind in ("", kind_of(command))]


def kind_of(command: Command) -> str:
    """Return the pipeline's name, or which other thing run.py is asked for."""
    arguments = command.arguments or []
    given = [kind for kind in KINDS if f"--{kind}" in arguments]
    return given[0] if given else arguments[arguments.index("--pipeline") + 1]


def clone_project(parent: Path) -> Path:
    """Run the clone line of the README, and put there what its reader has: data, photos and files from elsewhere."""
    (line,) = [command for command in all_commands() if command.words[:2] == ["git", "clone"]]
    words = [str(PROJECT) if word == "REPOSITORY_URL" else word for word in line.words]
    subprocess.run(words, cwd=parent, check=True, capture_output=True, timeout=60)
    folder = parent / words[-1]
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate"]
    for name in subprocess.run(listing, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.splitlines():
        if (PROJECT / name).is_file():  # what is not committed yet is tested too
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(PROJECT / name, folder / name)
    (folder / ".venv").symlink_to(sys.prefix)
    write_what_readers_have(folder)
    return folder


def write_what_readers_have(folder: Path) -> None:
    faces = ingest_faces(load_settings([], SMALL).dataset, seed=1)
    path_to = folder / "path" / "to"
    for photos in (folder / "photos", path_to / "photos", path_to / "crops"):
        photos.mkdir(parents=True)
    for number, (image, label) in enumerate(zip(faces.images, faces.labels, strict=True)):
        place = folder / "data" / faces.class_names[label]
        place.mkdir(exist_ok=True)
        cv2.imwrite(str(place / f"{number}.png"), image)
        if number < 3:
            cv2.imwrite(str(folder / "photos" / f"{number}.jpg"), cv2.resize(image, (256, 256)))
            cv2.imwrite(str(path_to / "crops" / f"{number}.png"), image)
    (path_to / "faces").symlink_to(folder / "data")
    shutil.copyfile(folder / "photos" / "0.jpg", path_to / "photo.jpg")
    shutil.copyfile(folder / "photos" / "1.jpg", path_to / "photos" / "1.jpg")
    shutil.make_archive(str(folder / "fer2013"), "zip", folder / "data")
    for name in ("archive.zip", "photos.zip"):
        shutil.copyfile(folder / "fer2013.zip", path_to / name)
    (path_to / "output").mkdir()
    for empty in (
        path_to / "video.mp4",
        path_to / "manifest.parquet",
        path_to / "output" / "classifier.keras",
        folder / "vgg19_notop.weights.h5",
    ):
        empty.touch()
    (folder / "my.yaml").write_text("seed: 7\n", encoding="utf-8")
