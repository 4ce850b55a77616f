"""The doctor: looks at all that a run needs, changes nothing, and says how to fix what is wrong."""

import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from configs.errors import UserError
from configs.settings import Settings
from stack.artifact_store import look_at_bucket
from stack.findings import Finding, one_line
from stack.health import (
    REINSTALL,
    check_artifacts,
    check_folder,
    check_zenml,
    look_at_store,
    nearest,
)
from stack.inherited import check_environment
from stack.local_stack import tracking_uri
from stack.relocation import describe, former_place, way_out
from stack.servers import why_silent
from stack.users_zenml import wants_users_zenml
from vision.data.readers import describe_remote, locate_dataset, open_dataset
from vision.data.sources import find_dataset
from vision.files.paths import walk
from vision.model.weight_files import (
    IMAGENET,
    RANDOM,
    WAY_OUT,
    check_content,
    is_classifier_file,
    weights_hash,
)

PACKAGES = ("zenml", "mlflow", "tensorflow", "keras", "great-expectations", "numpy", "pandas", "opencv-python")
# A run on FER2013 leaves 0.5 GB: three copies of an 80 MB model (checkpoint, ZenML, MLflow), two of the faces of 84 MB
# each, and its figures. This is enough for about ten.
NEEDED_BYTES = 5_000_000_000
TENSORFLOW_SECONDS = 60  # TensorFlow loads in about 6 s; from a cold or slow disk it takes several times that
DOWNLOADS = "https://storage.googleapis.com"  # where Keras has its ImageNet weights
DEVICE = """
import json, sys, tensorflow
from vision.training.devices import resolve_precision
devices = [device.device_type for device in tensorflow.config.list_physical_devices()]
print(json.dumps([devices, resolve_precision(sys.argv[1])]))
"""


def examine(settings: Settings, project: Path, state: Path, dataset_named: bool = True) -> list[Finding]:
    """Look at everything that a run needs; nothing is made or changed, and nothing waits for a dead network.

    `dataset_named` says whether somebody chose the data set: without one, training would run the demo.
    """
    with ThreadPoolExecutor(max_workers=1) as beside:
        device = beside.submit(check_device, settings.training.precision, project)  # TensorFlow loads meanwhile
        experiment, reports = settings.tracking.experiment_name, settings.tracking.reports_folder
        uri = "" if wants_users_zenml(state) else tracking_uri(state)
        store = look_at_store(uri, experiment)
        machine = [check_python(project), check_packages(project)]
        rest = [
            check_dataset(settings, dataset_named),
            check_weights_file(settings.classifier.weights),
            check_state(state),
            check_folder("reports folder", reports, "set --tracking.reports_folder to a folder that can be written"),
            check_disk(state),
            check_environment(state),
            check_zenml(state),
            store.finding,
            check_artifacts(uri, store, experiment, state),
            *([look_at_bucket(settings.stores.artifacts)] if settings.stores.artifacts else []),
        ]
        return [*machine, device.result(), *rest]


def render(findings: list[Finding]) -> str:
    """Return aligned lines that start with ok or WRONG; the fix stands below what is wrong."""
    width = max(len(finding.subject) for finding in findings)
    lines = []
    for finding in findings:
        state = "ok" if finding.is_ok else "WRONG"
        lines.append(f"{state:<6}{finding.subject:<{width}}  {one_line(finding.found)}")
        if not finding.is_ok:
            lines.append(f"{'':<{8 + width}}fix: {one_line(finding.fix)}")
    return "\n".join(lines)


def check_python(project: Path) -> Finding:
    """Compare the Python that runs this with what pyproject.toml asks for."""
    found = f"{platform.python_version()} on {platform.platform()}"
    try:
        asked = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    except (OSError, ValueError, KeyError) as error:
        return Finding.wrong(
            "Python", f"{found}; pyproject.toml cannot be read: {error}", "git checkout -- pyproject.toml"
        )
    floor, cap = (tuple(map(int, bound)) for bound in re.findall(r"(\d+)\.(\d+)", asked))
    if floor <= sys.version_info[:2] < cap:
        return Finding("Python", found)
    return Finding.wrong(
        "Python", f"{found}; needed: {asked}", f"{REINSTALL} PYTHON=/path/to/python{floor[0]}.{floor[1]}"
    )


def check_packages(project: Path) -> Finding:
    """Compare the installed versions of the main packages with requirements.lock."""
    try:
        lock = (project / "requirements.lock").read_text(encoding="utf-8")
    except OSError as error:
        return Finding.wrong(
            "packages", f"requirements.lock cannot be read: {error}", "git checkout -- requirements.lock"
        )
    pins = re.findall(r"^([\w.-]+)==([^\s;\\]+)", lock, re.MULTILINE)
    installed, wrong = [], []
    for package in PACKAGES:
        pinned = [pin for name, pin in pins if name == package]  # several where the platform decides
        try:
            found = version(package)
        except PackageNotFoundError:
            found = "missing"
        installed.append(f"{package} {found}")
        if found not in pinned:
            wrong.append(f"{package} {found} instead of {' or '.join(pinned) or 'none'}")
    return (
        Finding.wrong("packages", ", ".join(wrong), REINSTALL) if wrong else Finding("packages", ", ".join(installed))
    )


def check_device(precision: str, project: Path) -> Finding:
    """Ask TensorFlow what it computes on; unless it runs here already, it is loaded in a process of its own, which may
    crash or hang.
    """
    if (loaded := sys.modules.get("tensorflow")) is not None:
        from vision.training.devices import resolve_precision

        kinds = [device.device_type for device in loaded.config.list_physical_devices()]
        return _device(kinds, resolve_precision(precision))
    try:
        with tempfile.TemporaryDirectory() as home:  # for the caches of Keras and Matplotlib
            quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow", "PYTHONDONTWRITEBYTECODE": "1"}
            done = subprocess.run(
                [sys.executable, "-c", DEVICE, precision],
                cwd=project,
                env={**os.environ, **quiet, "KERAS_HOME": home, "MPLCONFIGDIR": home},
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=TENSORFLOW_SECONDS,
                check=False,
            )
    except subprocess.TimeoutExpired:
        return Finding.wrong("device", f"TensorFlow did not load within {TENSORFLOW_SECONDS} s", REINSTALL)
    except OSError as error:
        return Finding.wrong(
            "device", f"no process can be started: {error}", "set TMPDIR to a folder that can be written"
        )
    if done.returncode:
        reason = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        return Finding.wrong("device", f"TensorFlow cannot be loaded: {reason}", REINSTALL)
    return _device(*json.loads(done.stdout.splitlines()[-1]))


def _device(kinds: list[str], precision: str) -> Finding:
    return Finding("device", f"{', '.join(kinds)}; training computes in {precision}")


def check_dataset(settings: Settings, dataset_named: bool) -> Finding:
    """Find the data set and its form as training would; a folder's images are counted, not decoded."""
    dataset = settings.dataset
    if dataset.reader == "drawn":
        return Finding("data set", f"{dataset.drawn.faces} faces, drawn by the program")
    if dataset.reader == "kaggle":
        if importlib.util.find_spec("kagglehub") is None:
            found = f"{dataset.kaggle_name} from Kaggle, by the missing kagglehub"
            return Finding.wrong("data set", found, f"{sys.executable} -m pip install kagglehub")
        return Finding("data set", f"{dataset.kaggle_name} from Kaggle, by kagglehub")
    fix = "set --dataset.path to a folder of class folders, a .zip or .tar.gz of them, or a Kaggle CSV"
    try:
        if isinstance(dataset.path, str):
            return Finding("data set", f"{dataset.path}, which a run fetches: {describe_remote(dataset)}")
        if dataset.reader == "auto" and not dataset_named and not find_dataset(dataset.path):
            nothing = f"no data set in {dataset.path}: training would run the demo on drawn faces"
            return Finding.wrong("data set", nothing, f"put one into {dataset.path}, or {fix}")
        located = locate_dataset(dataset)
        reading = open_dataset(located, settings.seed)
        path = located.local_path
        files = [path] if path.is_file() else walk(path)
        size = sum(os.path.getsize(path) for path in files if os.path.exists(path))
    except (UserError, OSError) as error:
        return Finding.wrong("data set", str(error), fix)
    count = f"{reading.count:,} images, " if reading.count is not None else ""
    return Finding("data set", f"{reading.form} {path}: {count}{size / 1e6:,.1f} MB")


def check_weights_file(weights: str) -> Finding:
    """Say which file the backbone would start from; for ImageNet's, whether it is here or can be downloaded."""
    try:
        check_content(weights)
        if weights == RANDOM:
            return Finding("weights", "none: the network starts from random weights")
        digest = weights_hash(weights)
        if weights != IMAGENET and not is_classifier_file(weights):
            with Path(weights).open("rb") as file:
                if file.read(4) != b"\x89HDF":
                    return Finding.wrong("weights", f"{weights} is not an HDF5 file", WAY_OUT)
    except UserError as error:
        return Finding.wrong("weights", str(error).partition(";")[0], WAY_OUT)
    except FileNotFoundError:  # of ImageNet's; other files were looked for above
        if silence := why_silent(DOWNLOADS):
            return Finding.wrong("weights", f"imagenet is not downloaded yet, and {silence}", WAY_OUT)
        return Finding("weights", "imagenet, which the first training downloads (80 MB)")
    except OSError as error:
        return Finding.wrong("weights", f"{weights} cannot be read: {error.strerror}", WAY_OUT)
    return Finding("weights", f"{weights}, SHA-256 {digest[:12]}…")


def check_state(state: Path) -> Finding:
    """Say whether the state folder can be written and is where its stores say."""
    if (place := former_place(state)) is not None:
        return Finding.wrong("state folder", describe(state, place), way_out(state))
    return check_folder("state folder", state, "set --state_folder to a folder that can be written")


def check_disk(state: Path) -> Finding:
    """Compare the free space where the state folder is with what runs need."""
    free = shutil.disk_usage(nearest(state)).free
    found = f"{free / 1e9:,.1f} GB free for {state}, {NEEDED_BYTES / 1e9:g} GB needed for about ten runs"
    if free >= NEEDED_BYTES:
        return Finding("disk", found)
    missing = (NEEDED_BYTES - free) / 1e9
    return Finding.wrong(
        "disk", found, f"free {missing:,.1f} GB there, or set --state_folder to a folder on another disk"
    )
