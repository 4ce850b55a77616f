"""Hosts: processes on several machines that train one network together, each on its part of every batch (JAX only)."""

import json
import os
import socket
import time

import keras

from configs.errors import UserError
from vision.training.batches import WHOLE, Share

ADDRESS, COUNT, NUMBER = (f"KERAS_DISTRIBUTION_{name}" for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID"))
TENSORFLOWS = "TF_CONFIG"
WAIT_SECONDS, PAUSE_SECONDS = 300.0, 1.0  # as long as JAX waits for the others


def join_hosts() -> int:
    """Join the other processes that the environment names, before anything is computed; return this one's number.

    Returns 0 where none are named. Raises UserError where the backend is not JAX, where the environment names them
    incompletely, and where the first of them does not answer.
    """
    check_tensorflows_hosts()
    named = _named()
    if not named:
        return 0
    backend = keras.backend.backend()
    if backend != "jax":
        raise UserError(f"{', '.join(named)}: several hosts train by JAX only, KERAS_BACKEND is {backend}")
    numbers = [int(named[name]) if named.get(name, "").isdecimal() else -1 for name in (COUNT, NUMBER)]
    if ADDRESS not in named or not 0 <= numbers[1] < numbers[0]:
        raise UserError(
            f"several hosts need {ADDRESS} (SERVER:PORT of the first), {COUNT} and {NUMBER} (0 to one less), "
            f"found {named}"
        )
    first = named[ADDRESS].partition(",")[0]
    if numbers[1]:
        wait_for_first(first)
    try:
        keras.distribution.initialize()
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{ADDRESS} {named[ADDRESS]}: the hosts did not come together ({error})") from error
    return numbers[1]


def wait_for_first(address: str, seconds: float = WAIT_SECONDS) -> None:
    """Return once the first host listens. Raises UserError where it does not: JAX would abort the process."""
    host, _, port = address.rpartition(":")
    ends = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=PAUSE_SECONDS).close()
        except (OSError, ValueError, OverflowError) as error:
            if time.monotonic() > ends or not isinstance(error, OSError):
                raise UserError(
                    f"{ADDRESS} {address}: the first host does not answer there ({error}); start it, or correct the "
                    "address"
                ) from error
            time.sleep(PAUSE_SECONDS)
        else:
            return


def refuse_hosts() -> None:
    """Raise UserError where the environment names several hosts, for what trains on one."""
    check_tensorflows_hosts()
    if named := _named():
        raise UserError(f"{', '.join(named)}: only --bare trains on several hosts; unset it for a pipeline")


def _named() -> dict[str, str]:
    return {name: os.environ[name] for name in (ADDRESS, COUNT, NUMBER) if os.environ.get(name)}


def check_tensorflows_hosts() -> None:
    """Raise UserError where the environment asks for several hosts in TensorFlow's way."""
    try:
        cluster = json.loads(os.environ.get(TENSORFLOWS) or "{}").get("cluster", {})
        tasks = sum(len(addresses) for addresses in cluster.values())
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{TENSORFLOWS} is not what TensorFlow writes there ({error}); unset it") from error
    if tasks > 1:
        raise UserError(
            f"{TENSORFLOWS} names {tasks} hosts, but TensorFlow's MultiWorkerMirroredStrategy does not train models of "
            f"Keras 3 (keras#20585); unset it, and train on several hosts with --bare and KERAS_BACKEND=jax"
        )


def count_hosts() -> int:
    """Return how many processes train together."""
    if keras.backend.backend() != "jax":
        return 1
    import jax

    return int(jax.process_count())


def find_share(devices: str) -> Share:
    """Return this process's share of the batches; a device scores all of validation, whose last batch is not whole."""
    if keras.backend.backend() != "jax" or (devices == "one" and count_hosts() == 1):
        return WHOLE
    import jax

    return Share(jax.process_index(), jax.process_count(), jax.local_device_count())
