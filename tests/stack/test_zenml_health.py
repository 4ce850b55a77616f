import shutil
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from stack.findings import Status
from stack.health import check_zenml
from stack.users_zenml import OPTION, OWN_ZENML, choose_stack
from tests.stack.stores_at_rest import change, snapshot

pytestmark = pytest.mark.usefixtures("nothing_of_the_users")


@pytest.fixture
def zenml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the database of a ZenML of the user's, which the environment asks for; what it holds is never read."""
    file = tmp_path / "zenml" / "local_stores" / "default_zen_store" / "zenml.db"
    file.parent.mkdir(parents=True)
    change(file, "CREATE TABLE stack (name TEXT)")
    monkeypatch.setenv("ZENML_CONFIG_PATH", str(tmp_path / "zenml"))
    return file


def test_before_the_first_run_the_stack_will_be_made(tmp_path: Path) -> None:
    finding = check_zenml(tmp_path / "state")

    assert finding.is_ok
    assert f"which the first run makes in {tmp_path / 'state' / OWN_ZENML}" in finding.found
    assert not (tmp_path / "state").exists()


def test_a_zenml_that_the_environment_asks_for_is_found_and_not_changed(zenml: Path, tmp_path: Path) -> None:
    before = snapshot(tmp_path)

    finding = check_zenml(tmp_path / "state")

    assert finding.is_ok
    assert finding.found == f"your active stack, in {zenml}"
    assert snapshot(tmp_path) == before


def test_a_zenml_in_the_home_folder_that_nobody_asks_for_is_not_looked_at(
    zenml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ZENML_CONFIG_PATH")
    shutil.copytree(tmp_path / "zenml", tmp_path / "home" / ".config" / "zenml")
    (tmp_path / "home" / ".config" / "zenml" / "config.yaml").write_text("store: [")  # damaged

    finding = check_zenml(tmp_path / "state")

    assert finding.is_ok
    assert "which the first run makes" in finding.found


def test_a_zenml_that_the_environment_asks_for_and_is_not_there_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZENML_CONFIG_PATH", str(tmp_path / "nowhere"))

    finding = check_zenml(tmp_path / "state")

    assert finding.status is Status.WRONG
    assert "unset ZENML_CONFIG_PATH" in finding.fix
    assert not (tmp_path / "nowhere").exists()


def test_a_zenml_that_only_the_option_asks_for_and_is_not_there_is_named_by_the_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OPTION, "")  # is set from here on, so put it back
    choose_stack("nobody")

    finding = check_zenml(tmp_path / "state")

    assert finding.found.startswith("--stack nobody asks for a ZenML store of yours, and ")
    assert "or leave out --stack nobody: this project" in finding.fix


def test_our_own_stack_is_found_in_the_state_folder(
    zenml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "state" / OWN_ZENML
    own.parent.mkdir()
    shutil.move(tmp_path / "zenml", own)
    monkeypatch.setenv("ZENML_CONFIG_PATH", str(own))  # as a run sets it

    finding = check_zenml(tmp_path / "state")

    assert finding.found == f"face_emotion, in {own / 'local_stores' / 'default_zen_store' / 'zenml.db'}"


def test_a_damaged_zenml_store_loses_no_runs(zenml: Path, tmp_path: Path) -> None:
    zenml.write_text("this is not a database" * 100)

    finding = check_zenml(tmp_path / "state")

    assert f"mv {zenml} {zenml}.damaged" in finding.fix
    assert "MLflow keeps runs and models" in finding.fix


def test_a_damaged_zenml_configuration_is_named(zenml: Path, tmp_path: Path) -> None:
    config = tmp_path / "zenml" / "config.yaml"
    config.write_text("store: [")

    assert f"mv {config} {config}.damaged" in check_zenml(tmp_path / "state").fix


def test_a_zenml_server_that_is_silent_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed:
        url = f"http://127.0.0.1:{closed.server_port}"
    monkeypatch.setenv("ZENML_STORE_URL", url)

    finding = check_zenml(tmp_path / "state")

    assert finding.status is Status.WRONG
    assert finding.found == f"no server answers at {url}"
