"""Ray cluster: joining one, what it must have before a job starts, and what its errors mean."""

import importlib.util
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.fs as pa_fs

from configs.errors import UserError
from configs.inference_settings import InferenceSettings, RaySettings
from stack.error_messages import RESUMES, says_no_room
from vision.files.hashes import PROJECT
from vision.inference.job import Job, Predicted
from vision.inference.ray_job import Pool, Storage, check_storage, predict_on_ray
from vision.inference.summary import UsedModel
from vision.model.onnx_runtime import Predictor

logger = logging.getLogger(__name__)

SHIPPED = ("configs", "vision")  # what the machines import of this project; they get it from here
ADDRESS_SECONDS, MACHINE_SECONDS = 5.0, 180.0
ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
}
MISSING = (
    "inference.engine ray needs the package ray[data]: run `make setup-servers`, or `.venv/bin/pip install "
    "-e '.[ray]'`, or set --inference.engine local"
)


@dataclass(frozen=True)
class RayEngine:
    """A job's engine: it joins the cluster when there is something to predict."""

    settings: RaySettings
    storage: Storage

    def __call__(self, job: Job, predictor: Predictor, model: UsedModel, settings: InferenceSettings) -> Predicted:
        """Write the parts that are missing. Raises UserError where the cluster cannot, or loses too much."""
        with _joined(self.settings, self.storage) as pool:
            return predict_on_ray(pool, self.storage, job, predictor, model, settings)

    def clean(self) -> None:
        """Remove the parts of a job that is finished."""
        if self.storage.system.get_file_info(self.storage.path).type == pa_fs.FileType.Directory:
            self.storage.system.delete_dir(self.storage.path)


def ray_engine(settings: RaySettings, folder: Path) -> RayEngine:
    """Return the engine of the job of a folder. Raises UserError where inference.ray.storage cannot be opened."""
    given = settings.storage.strip()
    if not given:
        path = str((folder / "parts").resolve())
        return RayEngine(settings, Storage(path, pa_fs.LocalFileSystem(), path))
    if "://" not in given:
        path = str(Path(given).expanduser().resolve() / folder.name)
        return RayEngine(settings, Storage(path, pa_fs.LocalFileSystem(), path))
    try:
        system, path = pa_fs.FileSystem.from_uri(given)
    except (OSError, ValueError) as error:
        raise UserError(
            f"inference.ray.storage {given} cannot be opened: {_first_line(error)}; give a folder or s3://bucket/prefix"
        ) from error
    return RayEngine(
        settings, Storage(f"{given.rstrip('/')}/{folder.name}", system, f"{path.rstrip('/')}/{folder.name}")
    )


def check_ray(settings: RaySettings) -> None:
    """Raise UserError where Ray is not installed or nothing listens at its address; takes seconds at most."""
    if importlib.util.find_spec("ray") is None:
        raise UserError(MISSING)
    host, _, port = settings.address.rpartition(":")
    if not host:
        return
    try:
        socket.create_connection((host, int(port)), ADDRESS_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"inference.ray.address {settings.address}: nothing answers there ({error}); start the head with "
            "`ray start --head`, or name its HOST:PORT"
        ) from error


def count_actors(slots: Sequence[float], wanted: int) -> int:
    """Return how many actors may run, one slot each, on machines with so many slots each.

    The slots that survive the loss of the largest machine must also hold what reads, cuts and writes, or the job would
    stand still after a loss: so actors get half of them. `wanted` is 0 for as many as that, or fewer or more by hand.
    Raises UserError where the slots are too few.
    """
    machines = [int(one) for one in slots if one >= 1]
    total = sum(machines)
    surviving = total - max(machines) if len(machines) > 1 else total
    shown = (
        f"the cluster has {total} slots on {len(machines)} machines, of which {surviving} survive the largest's loss"
    )
    if surviving < 2:
        raise UserError(
            f"{shown}; inference.engine ray needs 2 of them, for an actor and for what reads and writes: "
            "add machines or slots (`ray start --num-cpus`), or set --inference.engine local"
        )
    if wanted > surviving - 1:
        raise UserError(
            f"inference.ray.actors is {wanted}; {shown}, and one must be left for what reads and writes: "
            f"allowed: 1 to {surviving - 1}, or 0 for {surviving // 2}"
        )
    return wanted or surviving // 2


@contextmanager
def _joined(settings: RaySettings, storage: Storage) -> Iterator[Pool]:
    """Be a part of the cluster for a block, with its errors explained. Raises UserError."""
    check_ray(settings)
    os.environ.update(ENVIRONMENT)
    debug = os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0"
    import ray.data

    level = logging.INFO if debug else logging.CRITICAL
    code = {"py_modules": [str(PROJECT / name) for name in SHIPPED], "env_vars": {"KERAS_BACKEND": "tensorflow"}}
    with _explained(settings, storage):
        ray.init(address=settings.address, log_to_driver=debug, logging_level=level, runtime_env=code)
        try:
            for name in ("ray", "ray.data"):
                logging.getLogger(name).setLevel(level)
            machines = {
                node["NodeID"]: node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1
            }
            slots = [node["Resources"]["CPU"] for node in machines.values()]
            actors = count_actors(slots, settings.actors)
            _check_machines(machines, storage)
            logger.info("Ray at %s: %d machines, %d slots, %d actors", settings.address, len(slots), sum(slots), actors)
            yield Pool(actors, settings.stall_seconds)
        finally:
            ray.shutdown()


def _check_machines(machines: dict[str, Any], storage: Storage) -> None:
    """Raise UserError where a machine cannot write to the storage, or does not see what we wrote there."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    storage.system.create_dir(storage.path, recursive=True)
    probe = f"{storage.path}/probe"
    with storage.system.open_output_stream(probe) as file:
        file.write(b"written by the machine that starts the job")
    check = ray.remote(num_cpus=0, max_retries=0)(check_storage)
    asked = {
        check.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(storage): node
        for node in machines
    }
    ready, late = ray.wait([*asked], num_returns=len(asked), timeout=MACHINE_SECONDS)
    troubles = {machines[asked[one]]["NodeManagerAddress"]: ray.get(one) for one in ready}
    troubles |= {machines[asked[one]]["NodeManagerAddress"]: "does not answer" for one in late}
    storage.system.delete_file(probe)
    for address, trouble in sorted(troubles.items()):
        if trouble:
            raise UserError(
                f"the machine {address} of the cluster: {trouble}; inference.ray.storage {storage.uri} must be a "
                "folder or a URI that every machine reads and writes"
            )


@contextmanager
def _explained(settings: RaySettings, storage: Storage) -> Iterator[None]:
    """Turn what Ray raises into one sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = explain(error, settings, storage)
        if reason is None:
            raise
        raise UserError(reason) from error


def explain(error: BaseException, settings: RaySettings, storage: Storage) -> str | None:
    """Return the sentence for what went wrong on a cluster, or None where it is none of the known troubles."""
    import ray.exceptions as of_ray
    from ray.data.exceptions import ExecutionTimeoutError

    chain = list(_with_causes(error))
    for one in chain:
        if isinstance(one, UserError):
            return str(one)
    if any(isinstance(one, of_ray.AuthenticationError) for one in chain):
        return (
            f"inference.ray.address {settings.address}: the cluster refuses the token; set RAY_AUTH_TOKEN or "
            "RAY_AUTH_TOKEN_PATH to the one that its machines were started with"
        )
    if isinstance(error, of_ray.OutOfDiskError) or says_no_room(chain):
        return f"a disk of the cluster is full: inference.ray.storage {storage.uri} or Ray's own folder; {RESUMES}"
    if any(isinstance(one, ExecutionTimeoutError) for one in chain):
        return (
            f"nothing went forward on the cluster for inference.ray.stall_seconds {settings.stall_seconds:.0f}: "
            f"machines were lost, or other jobs hold their slots (`ray status`); {RESUMES}"
        )
    if isinstance(missing := next((one for one in chain if isinstance(one, ImportError)), None), ImportError):
        return (
            f"a machine of the cluster cannot import {missing.name}: install requirements.lock and the extra ray "
            "there, as here"
        )
    if any(isinstance(one, ConnectionError) for one in chain):
        return (
            f"inference.ray.address {settings.address}: no cluster can be joined there ({_first_line(error)}); is it "
            "the head's port, and is the token in RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH the cluster's?"
        )
    if any(isinstance(one, of_ray.RayError) for one in chain):
        shown = next((one for one in chain if isinstance(one, of_ray.RayTaskError)), error)
        return f"the Ray cluster at {settings.address} failed: {_last_line(shown)}; {RESUMES}"
    if isinstance(error, OSError):
        return f"inference.ray.storage {storage.uri} cannot be used: {_first_line(error)}; {RESUMES}"
    return None


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, what it came from, and what Ray keeps of the one on another machine."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        causes = (getattr(one, "cause", None), one.__cause__, one.__context__)
        waiting += [cause for cause in causes if isinstance(cause, BaseException)]


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def _last_line(error: BaseException) -> str:
    """Return what a traceback in another process ends with."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:300]
