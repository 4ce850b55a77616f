"""Containers: what ZenML is told of images, and files of options that it cannot use."""

from pathlib import Path

import pytest

from configs.errors import UserError
from stack.containers import container_options
from tests.conftest import PROJECT


def test_the_image_comes_from_the_dockerfile_with_the_code_in_it() -> None:
    from zenml.config import DockerSettings

    image = DockerSettings(**container_options(None)["settings"]["docker"])

    assert Path(image.dockerfile or "").is_file()
    assert image.prevent_build_reuse
    assert not image.install_stack_requirements
    assert not image.allow_including_files_in_images
    assert not image.allow_download_from_code_repository
    assert not image.allow_download_from_artifact_store


def test_the_options_for_kubernetes_are_read() -> None:
    file = PROJECT / "stacks" / "kubernetes_run.yaml"

    assert container_options(file)["config_path"] == str(file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stepz: {}", "sets what does not exist: stepz"),
        ("steps: {train_modle: {}}", r"sets what does not exist: steps\.train_modle"),
        ("steps: {train_model: {retries: 2}}", r"sets what does not exist: steps\.train_model\.retries"),
        ("- a list", "is not a run configuration of ZenML"),
        ("steps: [", "is not a run configuration of ZenML"),
        ("settings: {dokcer: {}}", r"sets what does not exist: settings\.dokcer"),
        ("steps: {train_model: {settings: {recources: {}}}}", r"settings\.recources"),
        ("schedule: {cron_expression: '0 4 * * 1'}", "sets schedule.*schedule the command instead"),
        ("parameters: {seed: 1}", "sets parameters, which the command decides; leave it out"),
    ],
)
def test_a_file_of_options_that_zenml_cannot_use_is_refused(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "options.yaml"
    file.write_text(text, encoding="utf-8")

    with pytest.raises(UserError, match=said):
        container_options(file)


def test_a_file_of_options_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"orchestration\.options .*missing\.yaml cannot be read \(No such file"):
        container_options(tmp_path / "missing.yaml")
