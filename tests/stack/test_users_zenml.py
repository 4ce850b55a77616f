from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from configs.errors import UserError
from stack.local_stack import find_tracking_uri
from stack.users_zenml import USERS_ZENML, check_complete, choose_stack, open_users_stack, wants_users_zenml


class StacksClient:
    """Answers as ZenML's client does that knows the stack theirs, and one that tracks with MLflow."""

    def __init__(self, active: Any) -> None:
        self.active_stack = active

    def get_stack(self, name: str, allow_name_prefix_match: bool) -> Any:
        if name != "theirs" or allow_name_prefix_match:
            raise KeyError(f"no stack {name}")
        return SimpleNamespace(id="7d3a1c1e-0000-4000-8000-000000000000")

    def list_stacks(self, size: int, hydrate: bool) -> Any:
        with_mlflow = {"experiment_tracker": [SimpleNamespace(flavor_name="mlflow")]}
        stacks = [SimpleNamespace(name="plain", components={}), SimpleNamespace(name="good", components=with_mlflow)]
        return SimpleNamespace(items=stacks, total=23)


@pytest.mark.parametrize(("flavor", "tracks"), [(None, "without an experiment tracker"), ("wandb", "with wandb")])
def test_a_stack_of_the_user_that_does_not_track_with_mlflow_has_a_way_out(
    flavor: str | None, tracks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in USERS_ZENML:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ZENML_ACTIVE_STACK_NAME", "theirs")
    monkeypatch.setenv("ZENML_ACTIVE_STACK_ID", "")  # is set from here on, so put it back
    monkeypatch.setenv("DISABLE_DATABASE_MIGRATION", "true")  # is set from here on, so put it back
    tracker = SimpleNamespace(flavor=flavor) if flavor else None
    client = StacksClient(SimpleNamespace(name="theirs", experiment_tracker=tracker))
    monkeypatch.setattr("zenml.client.Client", lambda: client)

    with pytest.raises(UserError, match=rf"ZENML_ACTIVE_STACK_NAME asks for .* theirs, which tracks {tracks}") as said:
        find_tracking_uri(tmp_path)
    assert "your stacks are plain (without a tracker), good (tracks with mlflow) and 21 more" in str(said.value)


def test_an_unknown_stack_is_refused_with_the_names_of_those_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zenml.client.Client", lambda: StacksClient(None))
    for name in USERS_ZENML:
        monkeypatch.setenv(name, "")
    choose_stack("thei")

    with pytest.raises(UserError, match=r"no stack thei; your stacks are plain \(without a tracker\), good"):
        open_users_stack()


def test_a_stack_that_lacks_a_part_is_refused_with_the_names_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    from zenml.exceptions import StackValidationError

    def validate() -> None:
        raise StackValidationError("Missing stack component of type container_registry")

    monkeypatch.setattr("zenml.client.Client", lambda: StacksClient(None))

    with pytest.raises(UserError, match=r"theirs lacks a part .*container_registry.*your stacks are plain"):
        check_complete(SimpleNamespace(name="theirs", validate=validate))


@pytest.mark.parametrize("name", ["ZENML_CONFIG_PATH", "ZENML_STORE_URL", "ZENML_ACTIVE_STACK_ID"])
def test_a_zenml_of_the_user_is_wanted_only_where_the_environment_names_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZENML_CONFIG_PATH", str(tmp_path / "zenml"))  # as we set it for a state folder of ours
    before = wants_users_zenml(tmp_path)
    monkeypatch.setenv(name, "of the user")

    assert not before
    assert wants_users_zenml(tmp_path)
