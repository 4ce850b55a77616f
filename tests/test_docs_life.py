"""README and docs/: one command of each kind, and the Python blocks, are run as they stand in a clone."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from configs.settings import ENVIRONMENT_PREFIX
from tests.conftest import TOY
from tests.pages import PAGES, blocks, clone_project, kind_of, of_run

NOT_HERE = {"KERAS_BACKEND"}  # the lock has TensorFlow only
MODEL = "face-emotion-classifier"

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
        "augmentation": {**TOY["augmentation"], "mixup": 0},
        "tuning": {"trials": 1, "epochs": 1, "startup_trials": 1},
        "monitoring": {"min_faces": 2},
    }
    small = {f"{ENVIRONMENT_PREFIX}{name.upper()}": json.dumps(value) for name, value in (TOY | changed).items()}
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


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clone_project(tmp_path_factory.mktemp("docs"))


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
