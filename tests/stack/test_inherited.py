import os
from pathlib import Path

import pytest

import run
from configs.errors import UserError
from stack.inherited import NO_REPOSITORY, REPOSITORY, check_environment, check_registry, set_aside

STORE = "sqlite:///state/mlflow/mlflow.db"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Give each test an environment of its own, with nothing but what finds programs."""
    given = {"PATH": os.environ["PATH"]}
    monkeypatch.setattr(os, "environ", given)
    return given


@pytest.mark.parametrize("registry", ["databricks-uc", "http://127.0.0.1:1", "sqlite:///other.db"])
def test_a_registry_elsewhere_than_the_runs_is_refused(registry: str, environment: dict[str, str]) -> None:
    environment["MLFLOW_REGISTRY_URI"] = registry

    with pytest.raises(UserError, match=rf"MLFLOW_REGISTRY_URI is {registry}, but runs are tracked to {STORE}.*unset"):
        check_registry(STORE)


def test_the_login_in_a_registrys_address_is_not_said(environment: dict[str, str], tmp_path: Path) -> None:
    environment["MLFLOW_REGISTRY_URI"] = "https://me:secret@mlflow.example"

    with pytest.raises(UserError, match=r"is https://mlflow\.example, but") as raised:
        check_registry(STORE)

    assert "secret" not in f"{raised.value} {check_environment(tmp_path)}"


@pytest.mark.parametrize("registry", ["https://mlflow.example", "https://me:secret@mlflow.example/", ""])
def test_a_registry_that_is_the_tracking_server_is_taken(registry: str, environment: dict[str, str]) -> None:
    environment["MLFLOW_REGISTRY_URI"] = registry

    check_registry("https://mlflow.example")

    assert "MLFLOW_REGISTRY_URI" not in environment


@pytest.mark.parametrize("command", ["--compare", "--pipeline rollback"])
def test_a_command_that_reads_the_registry_refuses_another_before_it_works(
    command: str, environment: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment |= {"MLFLOW_REGISTRY_URI": "databricks-uc", "HOME": str(tmp_path)}
    folders = ["--state_folder", str(tmp_path / "state"), "--tracking.reports_folder", str(tmp_path / "reports")]

    code = run.main([*command.split(), *folders])

    assert code == 2
    assert "MLFLOW_REGISTRY_URI is databricks-uc" in capsys.readouterr().err


def test_what_another_program_left_is_set_aside_and_said(
    environment: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    left = ["KERAS_BACKEND", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID", REPOSITORY, "ZENML_STORE_PASSWORD"]
    environment |= dict.fromkeys(left, "of-another")

    assert set_aside(tmp_path) == left

    assert "of-another" not in environment.values()
    assert environment[REPOSITORY] == NO_REPOSITORY
    assert all(name in caplog.text for name in left)
    assert "of-another" not in caplog.text
    assert set_aside(tmp_path) == []


def test_a_zenml_of_the_user_keeps_its_variables(environment: dict[str, str], tmp_path: Path) -> None:
    asked = {"ZENML_STORE_URL": "https://zenml.example", "ZENML_STORE_API_KEY": "key", "ZENML_ACTIVE_PROJECT_ID": "1"}
    environment |= asked

    assert set_aside(tmp_path) == []
    assert asked.items() <= environment.items()


def test_the_doctor_says_what_is_not_used_and_what_is_wrong(environment: dict[str, str], tmp_path: Path) -> None:
    environment["MLFLOW_RUN_ID"] = "1"
    unused = check_environment(tmp_path)
    environment["MLFLOW_REGISTRY_URI"] = "databricks-uc"

    wrong = check_environment(tmp_path)

    assert unused.is_ok
    assert "MLFLOW_RUN_ID" in unused.found
    assert not wrong.is_ok
    assert wrong.fix == "unset MLFLOW_REGISTRY_URI"
