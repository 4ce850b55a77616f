"""README and docs/: every command is read as run.py and make read it, and each kind of command is run as it stands."""

import functools
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import mlflow
import pytest
import yaml

import run
from configs.loading import load_settings, pipeline_names
from configs.settings import ENVIRONMENT_PREFIX, Settings
from tests.conftest import PROJECT, SMALL
from vision.data.ingestion import ingest_faces

PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
LINKED = [*PAGES, *(PROJECT / name for name in ("SECURITY.md", "data/README.md", "benchmarks/README.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON = ".venv/bin/python"
MAKE_IS_RUN = {"train": ["--pipeline", "training"], "compare": ["--compare"], "doctor": ["--doctor"]}
KINDS = ("help", "doctor", "compare", "bare", "reproduce")  # of commands that run no pipeline
NOT_HERE = {"KERAS_BACKEND"}  # the lock has TensorFlow only
MODEL = "face-emotion-classifier"


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
def commands() -> list[Command]:
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
    found = [command for command in commands() if command.arguments is not None]
    return [command for command in found if kind in ("", kind_of(command))]


def kind_of(command: Command) -> str:
    """Return the pipeline's name, or which other thing run.py is asked for."""
    arguments = command.arguments or []
    given = [kind for kind in KINDS if f"--{kind}" in arguments]
    return given[0] if given else arguments[arguments.index("--pipeline") + 1]


def read_settings(command: Command, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Settings]:
    """Return options and settings as run.py reads them."""
    for name, value in command.environment.items():
        monkeypatch.setenv(name, value)
    options, given = run.parse_arguments(command.arguments or [])
    return options, load_settings(options.config, given)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the clone line of the README, and put there what its reader has: data, photos and files from elsewhere."""
    (line,) = [command for command in commands() if command.words[:2] == ["git", "clone"]]
    words = [str(PROJECT) if word == "REPOSITORY_URL" else word for word in line.words]
    parent = tmp_path_factory.mktemp("docs")
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
    for empty in (path_to / "video.mp4", path_to / "output" / "classifier.keras", folder / "vgg19_notop.weights.h5"):
        empty.touch()
    (folder / "my.yaml").write_text("seed: 7\n", encoding="utf-8")


def test_the_readme_is_one_screen() -> None:
    assert len((PROJECT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_block_of_a_page_is_of_a_kind_that_is_checked(page: Path) -> None:
    languages = [name for name, _ in FENCE.findall(page.read_text(encoding="utf-8"))]

    assert set(languages) <= {"sh", "python", "text"}


def test_each_command_is_of_a_kind_that_is_checked() -> None:
    starts = {" ".join(command.words[: 1 if command.words[0] == "make" else 2]) for command in commands()}

    assert starts == {f"{PYTHON} run.py", "make", "git clone", "cd face-emotion"}


@pytest.mark.parametrize("command", of_run(), ids=lambda command: f"{command.page}: {' '.join(command.words)}")
def test_the_settings_of_each_command_are_read_and_the_files_that_it_names_are_there(
    command: Command, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clone)
    if kind_of(command) == "help":
        return  # prints and ends; it is run below
    options, settings = read_settings(command, monkeypatch)

    assert kind_of(command) in (*KINDS, *pipeline_names())
    weights, pictures = settings.classifier.weights, settings.inference.input
    named = [settings.dataset.path, *([] if weights in ("imagenet", "none") else [Path(weights)])]
    assert not [path for path in [*named, *options.config] if not path.exists()]
    assert not pictures or list(Path().glob(pictures))


def test_each_make_target_is_there(clone: Path) -> None:
    lines = {" ".join(command.words): command.words for command in commands() if command.words[0] == "make"}
    for line, words in lines.items():
        done = subprocess.run(
            ["make", "--dry-run", *words[1:]], cwd=clone, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"
    assert len(lines) > 10


def test_make_help_and_run_help_print_what_the_pages_name_in_passing(clone: Path) -> None:
    targets = re.findall(r"^  make (\w+)", called("make", "help", cwd=clone), re.MULTILINE)
    options = re.findall(r"--[\w.]+", called(sys.executable, "run.py", "--help", cwd=clone))
    sections = set(Settings.model_fields)
    for page in PAGES:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        for span in re.findall(r"`([^`\n]+)`", text):
            assert set(re.findall(r"^make (\w+)", span)) <= set(targets), f"{page.name}: {span}"
            assert set(re.findall(r"(?<!\S)--[\w.]+", span)) <= {*options, "--pipeline"}, f"{page.name}: {span}"
            setting = re.match(r"(\w+)\.[a-z_.]+(?=$|:)", span)
            if setting and setting[1] in sections and not span.endswith((".yaml", ".html", ".json", ".keras")):
                known = [name for name in options if f"{name}.".startswith(f"--{setting[0]}.")]
                assert known, f"{page.name}: {span}"


def called(*words: str, cwd: Path) -> str:
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.name)
def test_what_a_page_links_to_and_the_files_that_it_names_are_there(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            linked = page.parent / path if path else page
            assert linked.exists(), target
            assert not anchor or anchor in anchors(linked), target
    tops = {path.name for path in PROJECT.iterdir()} - {"data"}
    for span in re.findall(r"`([\w.][\w./-]+)`", text):
        if "/" in span and span.split("/")[0] in tops - {".venv", ".state", "reports", "predictions", "site"}:
            assert (PROJECT / span).exists(), span


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.skipif(not importlib.util.find_spec("mkdocs"), reason="mkdocs is not installed (extra docs)")
def test_the_pages_are_built_without_a_warning_and_load_nothing_from_elsewhere(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    subprocess.run(line, cwd=PROJECT, check=True, capture_output=True, timeout=120)

    menu = yaml.safe_load((PROJECT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    built = [tmp_path / name.replace(".md", ".html") for entry in menu for name in entry.values()]
    assert len(built) == len(PAGES) - 1
    for page in built:
        loaded = re.findall(r"<(?:script|img|link|iframe)[^>]*?(?:src|href)=\"?(\S+)", page.read_text(encoding="utf-8"))
        assert loaded
        assert not [address for address in loaded if "//" in address], page


# several commands in one process, each with its own environment: TensorFlow is imported once
DRIVER = """
import json, os, sys
import run
for environment, arguments in json.loads(sys.argv[1]):
    os.environ.update(environment)
    code = run.main(arguments)
    for name in environment:
        del os.environ[name]
    print(f"\\x1e{code}\\x1e", flush=True)
"""
LIFE = [  # what a reader does in this order, and how it may end; monitoring may find drift in so few faces
    ("--doctor", {0, 2}),  # a machine's own faults are not the pages'
    ("--pipeline training", {0}),
    *((f"--compare{form}", {0}) for form in ("", " --format markdown", " --format json", " --format html")),
    (f"--pipeline inference --inference.input path/to/photo.jpg --inference.model models:/{MODEL}/1", {0}),
    ("--pipeline inference --inference.input photos", {0}),
    ("--pipeline monitoring --inference.input photos", {0, 6}),
    ("--pipeline retraining", {0}),
    ("--pipeline tuning", {0}),
    ("--pipeline export --bundle.path champion.zip", {0}),
]
LATER = [  # in a process of their own, after a second version has become the champion
    ("--reproduce RUN_ID", {3}),
    ("--pipeline rollback --rollback.reason worse on the new cameras", {0}),
    ("--pipeline rollback --rollback.version 2", {0}),
    ("--bare path/to/output --config configs/gpu.yaml --dataset.path fer2013.zip", {0}),
]
ELSEWHERE = [("--pipeline import --bundle.path champion.zip", {0})]  # in a store without a champion


def small_environment(home: Path) -> dict[str, str]:
    """Return an environment with an empty home whose settings make every run a short one."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "LANG") if name in os.environ}
    changed = {
        "dataset": {"image_size": 32},
        "augmentation": {**SMALL["augmentation"], "mixup": 0},
        "classifier": {**SMALL["classifier"], "width": 0.25},
        "tuning": {"trials": 1, "epochs": 1, "startup_trials": 1},
        "monitoring": {"min_faces": 2},
    }
    small = {f"{ENVIRONMENT_PREFIX}{name.upper()}": json.dumps(value) for name, value in (SMALL | changed).items()}
    home.mkdir(exist_ok=True)
    return {**kept, **small, "HOME": str(home)}


def run_life(clone: Path, life: list[tuple[str, set[int]]], **given: str) -> list[str]:
    """Run these commands of the pages in one process in the clone; return what each printed."""
    found = {" ".join(command.arguments or []): command for command in of_run()}
    missing = [text for text, _ in life if text not in found]
    assert not missing, "no page has these commands any more"
    run_id = given.pop("RUN_ID", "")
    lines = [
        (
            {name: value for name, value in found[text].environment.items() if name not in NOT_HERE},
            [run_id if word == "RUN_ID" else word for word in found[text].arguments or []],
        )
        for text, _ in life
    ]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(lines)], env={**small_environment(clone.parent / "home"), **given},
        cwd=clone, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    parts = done.stdout.split("\x1e")
    for (text, codes), output, code in zip(life, parts[:-1:2], parts[1::2], strict=True):
        assert int(code) in codes, f"{text}: code {code}\n{output}"
    return parts[:-1:2]


def test_every_kind_of_command_on_the_pages_is_run() -> None:
    texts = {text for text, _ in [*LIFE, *LATER, *ELSEWHERE]}
    ran = {kind_of(command) for command in of_run() if " ".join(command.arguments or []) in texts}

    assert ran | {"help"} == {kind_of(command) for command in of_run()}


@pytest.mark.xdist_group("docs")
def test_the_commands_of_a_models_life_and_the_python_blocks_run_as_they_stand(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = dict(zip([text for text, _ in LIFE], run_life(clone, LIFE), strict=True))
    trained = outputs["--pipeline training"]
    (run_id,) = re.findall(r"^MLflow run +(\w+)$", trained, re.MULTILINE)
    assert "promoted" in trained
    assert "nothing to do" in outputs["--pipeline retraining"]
    assert (clone / "champion.zip").is_file()

    monkeypatch.chdir(clone)
    for page in PAGES:
        for block in blocks(page, "python"):
            exec(compile(block, page.name, "exec"), {})

    client = mlflow.MlflowClient(f"sqlite:///{clone}/.state/mlflow/mlflow.db")
    run_life(clone, LATER[:1], RUN_ID=run_id)
    # the gate holds a model that is no better, so the second champion is made by hand
    for name, value in {"promoted_at": "2026-11-27T00:00:00", "previous_champion": "1"}.items():
        client.set_model_version_tag(MODEL, "2", name, value)
    client.set_registered_model_alias(MODEL, "champion", "2")
    run_life(clone, LATER[1:])
    run_life(clone, ELSEWHERE, **{f"{ENVIRONMENT_PREFIX}STATE_FOLDER": ".elsewhere"})
