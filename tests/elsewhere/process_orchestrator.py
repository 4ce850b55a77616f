"""An orchestrator for tests: each step runs in a process of its own, as if in a container that is thrown away.

The process starts in an empty folder with nothing of the client's environment, and all that it leaves there is removed.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from zenml.config.global_config import GlobalConfiguration
from zenml.constants import ENV_ZENML_LOCAL_STORES_PATH
from zenml.entrypoints import StepEntrypointConfiguration
from zenml.enums import ExecutionMode
from zenml.orchestrators import BaseOrchestrator, BaseOrchestratorConfig, BaseOrchestratorFlavor

PROJECT = Path(__file__).resolve().parents[2]
RUN_ID, LOG = "PROCESS_ORCHESTRATOR_RUN_ID", "PROCESS_ORCHESTRATOR_LOG"
# what an image says, and how many threads a core of the test machine has
IMAGE = {"ZENML_CUSTOM_SOURCE_ROOT": str(PROJECT), "ZENML_ANALYTICS_OPT_IN": "false", "OMP_NUM_THREADS": "1"}


class StepAlone(StepEntrypointConfiguration):
    """Runs one step, from the code that is there: ZenML's own would make and enter /app."""

    def prepare_code_environment(self) -> None:
        return


class ProcessOrchestrator(BaseOrchestrator):
    """Starts a process for each step, one after the other."""

    def get_orchestrator_run_id(self) -> str:
        return os.environ[RUN_ID]

    @property
    def supported_execution_modes(self) -> list[ExecutionMode]:
        return [ExecutionMode.FAIL_FAST]

    def submit_pipeline(
        self, snapshot: Any, stack: Any, base_environment: Any, step_environments: Any, placeholder_run: Any = None
    ) -> None:
        run_id = str(uuid4())
        for name in snapshot.step_configurations:
            own = {RUN_ID: run_id, ENV_ZENML_LOCAL_STORES_PATH: GlobalConfiguration().local_stores_path}
            arguments = StepAlone.get_entrypoint_arguments(step_name=name, snapshot_id=snapshot.id)
            run_process(name, arguments, {**step_environments[name], **own})


def run_process(name: str, arguments: list[str], environment: Mapping[str, str]) -> None:
    """Run a step in an empty folder that is also its home; add what it says to the log. Raises RuntimeError."""
    kept = {variable: os.environ[variable] for variable in ("PATH", "LD_LIBRARY_PATH") if variable in os.environ}
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder, Path(os.environ[LOG]).open("a") as log:
        log.write(f"== {name}\n")
        log.flush()
        known = {**kept, "HOME": folder, "TMPDIR": folder, "PYTHONPATH": str(PROJECT), **IMAGE, **environment}
        line = [sys.executable, "-m", "zenml.entrypoints.entrypoint", *arguments]
        done = subprocess.run(line, cwd=folder, env=known, stdout=log, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise RuntimeError(f"the process of {name} ended with {done.returncode}")


class ProcessFlavor(BaseOrchestratorFlavor):
    """The kind of component."""

    @property
    def name(self) -> str:
        return "process"

    @property
    def config_class(self) -> type[BaseOrchestratorConfig]:
        return BaseOrchestratorConfig

    @property
    def implementation_class(self) -> type[ProcessOrchestrator]:
        return ProcessOrchestrator
