"""What a cluster would get of stacks/*.yaml, checked by the schemas of Kubernetes; nothing runs in a cluster here."""

import json
import subprocess
import sys
from typing import Any

import pytest
import yaml

from tests.conftest import PROJECT, child_environment

pytest.importorskip("kubernetes", reason="needs kubernetes: make setup-servers")
from tests.containers.kubernetes_api import KUBERNETES, KubernetesAPI, kubernetes_api
from tests.containers.submit import SECRET

pytestmark = pytest.mark.containers

STACKS = PROJECT / "stacks"
STEPS = {path.stem for path in (PROJECT / "steps").glob("[!_]*.py")}


@pytest.fixture(scope="module")
def cluster(client_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> KubernetesAPI:
    """Return what a cluster got of a training, a job for each step, and of its schedule."""
    for package in ("kubernetes", "kubernetes_validate", "s3fs"):
        pytest.importorskip(package, reason=f"needs {package}: make setup-servers")
    folder = tmp_path_factory.mktemp("kubernetes")
    with kubernetes_api() as api:
        environment = {
            **child_environment(folder / "home"),
            **client_environment,
            "KUBECONFIG": str(api.write_config(folder / "kubeconfig", "CONTEXT")),
            "ZENML_DISABLE_PIPELINE_LOGS_STORAGE": "true",  # the bucket is not there
            "ZENML_DISABLE_STEP_LOGS_STORAGE": "true",
        }
        files = [str(STACKS / name) for name in ("kubernetes.yaml", "kubernetes_run.yaml")]
        line = [sys.executable, "-m", "tests.containers.submit", *files]
        done = subprocess.run(line, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return api


def pod(job: dict[str, Any]) -> dict[str, Any]:
    return job["spec"]["template"]["spec"]


def container(job: dict[str, Any]) -> dict[str, Any]:
    return pod(job)["containers"][0]


def test_every_step_becomes_a_job_that_kubernetes_takes(cluster: KubernetesAPI) -> None:
    steps = cluster.jobs("step_name")

    assert cluster.refused == []
    assert {"ingest_data", "train_model", "promote_model", "export_onnx"} <= set(steps) <= STEPS


def test_only_the_training_has_the_large_machine_and_is_tried_again(cluster: KubernetesAPI) -> None:
    steps = cluster.jobs("step_name")
    limits = {name: container(job)["resources"]["limits"] for name, job in steps.items()}

    assert limits.pop("train_model") == {"memory": "16Gi", "nvidia.com/gpu": "1"}
    assert {json.dumps(others) for others in limits.values()} == {'{"memory": "6Gi"}'}
    assert {name for name, job in steps.items() if job["spec"]["backoffLimit"]} == {"train_model"}


def test_a_training_that_raised_is_not_tried_again(cluster: KubernetesAPI) -> None:
    rules = cluster.jobs("step_name")["train_model"]["spec"]["podFailurePolicy"]["rules"]

    assert [(rule["action"], rule.get("onExitCodes", {}).get("values")) for rule in rules] == [
        ("Ignore", None),
        ("FailJob", [1]),
        ("Count", [0]),
    ]


def test_no_secret_stands_in_what_a_cluster_gets(cluster: KubernetesAPI) -> None:
    shown = json.dumps({kind: cluster.created[kind] for kind in ("jobs", "cronjobs")})
    token = [one for one in container(cluster.created["jobs"][0])["env"] if one["name"] == "ZENML_STORE_API_TOKEN"]

    assert SECRET not in shown
    assert [key for one in token for key in one if key != "name"] == ["valueFrom"]


def test_every_job_runs_the_image_and_none_downloads_code(cluster: KubernetesAPI) -> None:
    assert {container(job)["image"] for job in cluster.created["jobs"]} == {"REGISTRY/face-emotion:TAG"}


def test_a_schedule_of_zenml_becomes_a_cron_job_without_a_time_zone(cluster: KubernetesAPI) -> None:
    (cron_job,) = cluster.created["cronjobs"]

    assert cron_job["spec"]["schedule"] == "0 4 * * 1"
    assert "timeZone" not in cron_job["spec"]  # why stacks/kubernetes_schedule.yaml is not made by ZenML


def test_our_own_schedule_is_a_cron_job_that_kubernetes_takes() -> None:
    validate = pytest.importorskip(
        "kubernetes_validate", reason="needs kubernetes-validate: make setup-servers"
    ).validate
    from commands.command_line import parse_words

    cron_job = yaml.safe_load((STACKS / "kubernetes_schedule.yaml").read_text(encoding="utf-8"))
    template = cron_job["spec"]["jobTemplate"]

    assert validate(cron_job, KUBERNETES, strict=True) == KUBERNETES
    assert cron_job["spec"]["timeZone"] == "Europe/Berlin"
    assert parse_words(container(template)["args"]).pipeline == "retraining"
    assert "secretRef" in container(template)["envFrom"][0]


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        ({"restartPolicy": 7}, "7 is not of type 'string'"),
        ({"restart_policy": "Never"}, "restart_policy"),
        ({"containers": [{"image": "face-emotion"}]}, "'name' is a required property"),
    ],
)
def test_a_broken_job_is_refused(broken: dict[str, Any], named: str) -> None:
    pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate: make setup-servers")
    template = {"spec": {"containers": [{"name": "main", "image": "face-emotion"}], "restartPolicy": "Never", **broken}}
    api = KubernetesAPI("unused")

    status, _ = api.create("jobs", {"metadata": {"name": "broken"}, "spec": {"template": template}}, "batch/v1")

    assert status == 422, broken
    assert named in api.refused[0]
