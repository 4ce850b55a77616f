"""README and docs/: one command of each kind, and the Python blocks, are run as they stand in a clone."""

import json
import os
import re
from pathlib import Path

import pytest

from configs.environment import ENVIRONMENT_PREFIX
from tests.conftest import KEPT, PROJECT, TOY
from tests.pages import PAGES, blocks, clone_project, kind_of, of_run
from tests.preloaded import Command, PreloadedProcess
from tests.toy_network import IN_A_PROCESS

NOT_HERE = {"KERAS_BACKEND"}  # the lock has TensorFlow only
MODEL = "face-emotion-classifier"

LIFE = [  # what a reader does in this order, and how it may end
    ("--doctor", {0, 2}),  # a machine's own faults are not the pages'
    ("--pipeline training", {0}),
    *((f"--compare{form}", {0}) for form in ("", " --format markdown", " --format json", " --format html")),
    (f"--pipeline inference --inference.input path/to/photo.jpg --inference.model models:/{MODEL}/1", {0}),
    ("--pipeline inference --inference.input photos", {0}),
    ("--bare path/to/output --config configs/gpu.yaml --dataset.path fer2013.zip", {0}),
]
# kinds that are run for real, with what they have to leave, by the tests that are named
ELSEWHERE = {
    **dict.fromkeys(("monitoring", "retraining", "rollback", "export", "import"), "tests/pipelines/conftest.py"),
    "tuning": "tests/pipelines/test_tuning.py",
    "audit": "tests/steps/test_audit_steps.py",
    "reproduce": "tests/pipelines/conftest.py",
    "help": "tests/test_run.py",
    "tidy": "tests/stack/test_disk_space.py",
    "relocate": "tests/stack/test_relocation.py",
    "serve": "tests/serving/test_process.py",
}


def small_environment(home: Path) -> dict[str, str]:
    """Return an environment with an empty home whose settings make every run a short one."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    changed = {
        "dataset": {"image_size": 32},
        "augmentation": {**TOY["augmentation"], "mixup": 0},
        "tuning": {"trials": 1, "epochs": 1, "startup_trials": 1},
        "monitoring": {"min_faces": 2},
    }
    small = {f"{ENVIRONMENT_PREFIX}{name.upper()}": json.dumps(value) for name, value in (TOY | changed).items()}
    home.mkdir(exist_ok=True)
    return {**kept, **small, "HOME": str(home)}


def run_life(clone: Path, life: list[tuple[str, set[int]]], preloaded: PreloadedProcess) -> list[str]:
    """Run these commands of the pages in one process in the clone; return what each printed."""
    found = {" ".join(command.arguments or []): command for command in of_run()}
    missing = [text for text, _ in life if text not in found]
    assert not missing, "no page has these commands any more"
    lines = [
        (
            {name: value for name, value in found[text].environment.items() if name not in NOT_HERE},
            list(found[text].arguments or []),
        )
        for text, _ in life
    ]
    commands: list[Command] = [({}, ["-c", IN_A_PROCESS]), *lines]
    environment = small_environment(clone.parent / "home")
    done = preloaded.run(clone, environment, commands, clone.parent / "output.txt")[1:]
    for (text, codes), (code, output) in zip(life, done, strict=True):
        assert code in codes, f"{text}: code {code}\n{output}"
    return [output for _, output in done]


def test_every_kind_of_command_on_the_pages_is_run() -> None:
    texts = {text for text, _ in LIFE}
    here = {kind_of(command) for command in of_run() if " ".join(command.arguments or []) in texts}

    assert here | {*ELSEWHERE} == {kind_of(command) for command in of_run()}
    for kind, test in ELSEWHERE.items():
        assert re.search(rf"--{kind}\b|\"{kind}\"", (PROJECT / test).read_text(encoding="utf-8")), kind


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clone_project(tmp_path_factory.mktemp("docs"))


def test_the_commands_of_a_models_life_and_the_python_blocks_run_as_they_stand(
    clone: Path, monkeypatch: pytest.MonkeyPatch, preloaded: PreloadedProcess
) -> None:
    outputs = dict(zip([text for text, _ in LIFE], run_life(clone, LIFE, preloaded), strict=True))

    assert "promoted" in outputs["--pipeline training"]
    assert (clone / "path" / "to" / "output" / "classifier.keras").is_file()
    monkeypatch.chdir(clone)
    for page in PAGES:
        for block in blocks(page, "python"):
            exec(compile(block, page.name, "exec"), {})
