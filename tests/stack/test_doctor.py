import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from configs.loading import load_settings
from configs.settings import Settings
from stack import doctor
from stack.doctor import (
    check_dataset,
    check_device,
    check_disk,
    check_packages,
    check_python,
    check_weights_file,
    examine,
    render,
)
from stack.findings import Finding
from stack.users_zenml import USERS_ZENML
from tests.conftest import PROJECT
from vision.model.classifier import build_classifier
from vision.model.weight_files import VGG19_FILE


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (*USERS_ZENML, "MLFLOW_TRACKING_URI", "XDG_CONFIG_HOME", "KERAS_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(doctor, "why_silent", lambda url: f"no server answers at {url}")  # whatever the machine has
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


def settings_for(**dataset: object) -> Settings:
    return load_settings([], {"dataset": dataset})


@pytest.mark.duration
def test_before_the_first_run_everything_is_looked_at_and_nothing_is_made(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)  # of another test
    project = tmp_path / "project"
    given = {"tracking": {"reports_folder": str(tmp_path / "reports")}, "dataset": {"path": str(project / "data")}}
    settings = load_settings([], given)
    project.mkdir()
    for name in ("vision", "configs"):
        (project / name).symlink_to(PROJECT / name)
    for name in ("pyproject.toml", "requirements.lock"):
        shutil.copy(PROJECT / name, project)
    before = sorted(tmp_path.iterdir()), sorted(project.iterdir())
    started = time.monotonic()

    findings = examine(settings, project, tmp_path / "state", dataset_named=False)

    seconds = time.monotonic() - started
    subjects = ["Python", "packages", "device", "data set", "weights", "state folder", "reports folder", "disk",
                "environment", "ZenML stack", "MLflow store", "MLflow artifacts"]  # fmt: skip
    assert [finding.subject for finding in findings] == subjects
    wrong = {finding.subject for finding in findings if not finding.is_ok} - {"disk"}  # that one is up to the machine
    assert wrong == {"data set", "weights"}, render(findings)
    assert f"no data set in {project / 'data'}: training would run the demo on drawn faces" in render(findings)
    assert (sorted(tmp_path.iterdir()), sorted(project.iterdir())) == before
    assert not list(home.iterdir())
    assert seconds < 30  # 8 s on an idle machine


def test_a_damaged_store_and_an_unwritable_folder_stop_no_other_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "check_device", lambda precision, project: Finding("device", "CPU"))
    state = tmp_path / "state"
    (state / "mlflow").mkdir(parents=True)
    (state / "mlflow" / "mlflow.db").write_text("this is not a database" * 100)
    (state / "champion.lock").touch()
    (tmp_path / "reports").write_text("a file, where a folder should be")
    settings = load_settings([], {"tracking": {"reports_folder": str(tmp_path / "reports")}})

    findings = {finding.subject: finding for finding in examine(settings, PROJECT, state)}

    assert "is damaged" in findings["MLflow store"].found
    assert "--tracking.reports_folder" in findings["reports folder"].fix
    assert findings["MLflow artifacts"].is_ok
    assert len(findings) == 12


def test_what_is_wrong_starts_with_wrong_and_has_its_fix_below() -> None:
    text = render([Finding("disk", "70 GB\nfree"), Finding.wrong("data set", "none\x1b[31m", "put one\nthere")])

    assert text.splitlines() == [
        "ok    disk      70 GB free",
        "WRONG data set  none [31m",
        "                fix: put one there",
    ]


def test_packages_are_compared_with_the_lock(tmp_path: Path) -> None:
    lock = (PROJECT / "requirements.lock").read_text(encoding="utf-8")
    changed = lock.replace("\nkeras==", "\nkeras==9.").replace("\nzenml==", "\nelsewhere==")
    (tmp_path / "requirements.lock").write_text(changed, encoding="utf-8")

    good, wrong = check_packages(PROJECT), check_packages(tmp_path)

    assert good.is_ok
    assert [part.split()[0] for part in good.found.split(", ")] == list(doctor.PACKAGES)
    assert "instead of 9." in wrong.found
    assert "instead of none" in wrong.found
    assert "numpy" not in wrong.found
    assert wrong.fix == "make --always-make setup"


def test_a_python_that_the_project_is_not_made_for_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nrequires-python = ">=3.8,<3.10"')

    assert check_python(PROJECT).is_ok
    assert check_python(tmp_path).fix == "make --always-make setup PYTHON=/path/to/python3.8"
    assert "pyproject.toml" in check_python(tmp_path / "nowhere").fix


def test_a_tensorflow_that_does_not_load_is_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setattr(doctor, "DEVICE", "raise ImportError('libcudart is missing')")
    broken = check_device("auto", tmp_path)
    monkeypatch.setattr(doctor, "DEVICE", "import os; os.abort()")
    crashed = check_device("auto", tmp_path)
    monkeypatch.setattr(doctor, "DEVICE", "import time; time.sleep(60)")
    monkeypatch.setattr(doctor, "TENSORFLOW_SECONDS", 0.2)
    hung = check_device("auto", tmp_path)

    assert broken.found == "TensorFlow cannot be loaded: ImportError: libcudart is missing"
    assert "exit code -6" in crashed.found
    assert "did not load within 0.2 s" in hung.found
    assert broken.fix == crashed.fix == hung.fix == "make --always-make setup"


def test_a_tensorflow_that_runs_already_is_asked_without_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow  # noqa: F401 - now it runs here

    monkeypatch.setattr(doctor, "DEVICE", "raise ImportError")

    finding = check_device("float32", PROJECT)

    assert finding.is_ok
    assert finding.found.startswith("CPU")
    assert finding.found.endswith("; training computes in float32")


def test_a_data_set_in_the_data_folder_is_found_with_its_form_and_size(
    tmp_path: Path, write_faces: Callable[..., Path]
) -> None:
    write_faces(tmp_path / "data" / "train" / "happy", 3)

    finding = check_dataset(settings_for(path=str(tmp_path / "data")), dataset_named=False)

    assert finding.is_ok
    assert finding.found == f"folder {tmp_path / 'data'}: 3 images, 0.0 MB"


@pytest.mark.parametrize(
    ("dataset", "found"),
    [
        ({"path": "nowhere"}, "nowhere does not exist"),
        ({"path": str(PROJECT / "run.py")}, "is a file of unknown kind"),
        ({"reader": "drawn"}, "1400 faces, drawn by the program"),
        ({"path": "damaged.zip"}, "is not a readable zip or tar file"),
    ],
)
def test_a_data_set_that_cannot_be_read_is_named(
    dataset: dict[str, str], found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged.zip").write_text("not a zip")

    finding = check_dataset(settings_for(**dataset), dataset_named=True)

    assert found in finding.found
    assert ("--dataset.path" in finding.fix) == ("reader" not in dataset)


def test_imagenet_weights_are_good_once_they_are_here(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offline = check_weights_file("imagenet")
    monkeypatch.setattr(doctor, "why_silent", lambda url: "")
    online = check_weights_file("imagenet")
    file = home / ".keras" / "models" / VGG19_FILE
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")

    here = check_weights_file("imagenet")

    assert "no server answers" in offline.found
    assert "classifier.weights" in offline.fix
    assert (online.is_ok, online.found) == (True, "imagenet, which the first training downloads (80 MB)")
    assert here.is_ok
    assert here.found.startswith(f"imagenet, SHA-256 {hashlib.sha256(b'weights').hexdigest()[:12]}")


def test_a_whole_classifier_is_good_to_start_from(tmp_path: Path, small_settings: Settings) -> None:
    build_classifier(small_settings.classifier, side=32, classes=7).save(tmp_path / "whole.keras")

    found = check_weights_file(str(tmp_path / "whole.keras"))

    assert found.is_ok
    assert found.found.startswith(f"{tmp_path / 'whole.keras'}, SHA-256 ")


def test_a_weights_file_is_named_by_its_hash_or_refused(tmp_path: Path) -> None:
    good, text = tmp_path / "good.weights.h5", tmp_path / "pointer.weights.h5"
    good.write_bytes(b"\x89HDF\r\n\x1a\n")
    text.write_text("version https://git-lfs.github.com/spec/v1")

    assert check_weights_file("none").is_ok
    assert check_weights_file(str(good)).found.startswith(f"{good}, SHA-256 ")
    assert check_weights_file(str(text)).found == f"{text} is not an HDF5 file"
    (tmp_path / "text.keras").write_text("no model")
    assert "text.keras is not a classifier that can be loaded" in check_weights_file(str(tmp_path / "text.keras")).found
    assert check_weights_file("nowhere.h5").found == "classifier.weights nowhere.h5 is not a file"


def test_too_little_space_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2 * 10**9))
    full = check_disk(tmp_path / "state")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=6 * 10**9))

    assert full.fix.startswith("free 3.0 GB there")
    assert check_disk(tmp_path / "state").is_ok
    assert not os.path.exists(tmp_path / "state")
