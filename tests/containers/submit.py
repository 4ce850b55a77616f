"""Give a cluster our training as ZenML does: its own job first, and then, as the pod of that job would, each step's.

Run as a process of its own, whose environment names a ZenML server and a kubeconfig: submit.py STACK OPTIONS.
"""

import sys
from pathlib import Path

from click.testing import CliRunner
from zenml.cli.cli import cli
from zenml.client import Client
from zenml.config.schedule import Schedule
from zenml.integrations.kubernetes.orchestrators import kubernetes_orchestrator_entrypoint

from configs.loading import load_settings
from pipelines.training import training
from stack.containers import container_options
from stack.elsewhere import step_options

SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
SECRET = "a-secret-of-the-tests"
NAME = "kubernetes"


def main(stack: str, options: str) -> None:
    client = Client()
    client.create_secret("face_emotion", dict.fromkeys(SECRETS, SECRET))
    imported = CliRunner().invoke(cli, ["stack", "import", NAME, "--filename", stack])
    assert imported.exit_code == 0, f"{imported.output} {imported.exception!r}"
    client.activate_stack(NAME)
    configured = training.with_options(**step_options(), **container_options(Path(options)))
    arguments = (load_settings([], {}), {}, "fingerprint")

    configured(*arguments)
    run = client.list_pipeline_runs(size=1)[0]
    sys.argv = ["entrypoint", "--snapshot_id", str(run.snapshot.id), "--run_id", str(run.id)]
    kubernetes_orchestrator_entrypoint.main()
    configured.with_options(schedule=Schedule(cron_expression="0 4 * * 1"))(*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
