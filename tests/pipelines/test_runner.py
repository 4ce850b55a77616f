import os
from unittest.mock import MagicMock

import pytest

from configs.errors import UserError
from configs.loading import load_settings
from pipelines.runner import execute, refuse_placeholders


@pytest.mark.parametrize(
    ("given", "tags", "named"),
    [
        ({"rollback": {"reason": "because of ${KAGGLE_KEY}"}}, {}, "rollback.reason"),
        ({"dataset": {"path": "data/${MLFLOW_TRACKING_TOKEN}.zip"}}, {}, "dataset.path"),
        ({}, {"dataset": "${AWS_SECRET_ACCESS_KEY}.zip"}, "dataset"),
    ],
)  # fmt: skip
def test_a_text_that_zenml_would_replace_by_a_secret_of_the_environment_is_refused(
    given: dict[str, object], tags: dict[str, str], named: str
) -> None:
    with pytest.raises(UserError, match=rf"^{named} contains \$"):
        refuse_placeholders(load_settings([], given), tags, "fingerprint")


def test_a_dollar_sign_alone_is_no_placeholder() -> None:
    refuse_placeholders(load_settings([], {"rollback": {"reason": "saves 5$ {a day}"}}), {"dataset": "$x"})


def test_what_follows_a_run_finds_mlflow_where_the_run_did(monkeypatch: pytest.MonkeyPatch) -> None:
    def empty_address(*arguments: object) -> str:  # as ZenML does after each step
        os.environ["MLFLOW_TRACKING_URI"] = ""
        return "finished"

    monkeypatch.setattr("stack.elsewhere.runs_here", lambda: True)
    monkeypatch.setattr("pipelines.runner.forget_lost_steps", lambda names: None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    pipeline = MagicMock()
    pipeline.with_options.return_value.with_options.return_value.side_effect = empty_address
    settings = load_settings([], {})

    assert execute(pipeline, settings, settings) == "finished"

    assert os.environ["MLFLOW_TRACKING_URI"] == "http://server:5000"


def test_options_for_containers_are_refused_where_steps_run_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stack.elsewhere.runs_here", lambda: True)
    settings, pipeline = load_settings([], {"orchestration": {"options": "options.yaml"}}), MagicMock()

    with pytest.raises(UserError, match=r"orchestration\.options .*options\.yaml is for steps in containers"):
        execute(pipeline, settings, settings)
    assert not pipeline.with_options.return_value.called
