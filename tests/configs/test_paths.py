import os
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from configs.errors import UserError
from configs.loading import PROJECT, load_settings
from configs.paths import FILES_OR_NAMES, PATHS, resolve_paths
from configs.settings import Settings


def path_fields(section: type[BaseModel], above: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        for kind in (field.annotation, *get_args(field.annotation)):
            if kind is Path:
                yield f"{above}{name}"
            elif isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from path_fields(kind, f"{above}{name}.")


def test_every_path_among_the_settings_is_resolved() -> None:
    assert sorted(path_fields(Settings)) == sorted(PATHS)


def test_what_the_projects_own_yaml_names_is_in_the_project_from_wherever_it_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    settings = load_settings([], {})

    assert settings.dataset.path == PROJECT / "data"
    assert settings.state_folder == PROJECT / ".state"
    assert settings.tracking.reports_folder == PROJECT / "reports"
    assert settings.inference.output == PROJECT / "predictions"
    assert settings.bundle.path == PROJECT / "champion.zip"


def test_paths_of_command_line_environment_and_files_start_at_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.yaml").write_text("tracking: {reports_folder: reports}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACE_EMOTION__STATE_FOLDER", "../state")

    settings = load_settings([elsewhere / "mine.yaml"], {"dataset": {"path": "data"}})

    assert settings.dataset.path == tmp_path / "data"
    assert settings.state_folder == tmp_path.parent / "state"
    assert settings.tracking.reports_folder == tmp_path / "reports"


def test_the_projects_own_file_means_the_project_when_it_is_named_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert load_settings([PROJECT / "configs" / "training.yaml"], {}).dataset.path == PROJECT / "data"


def test_the_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.keras").touch()

    settings = load_settings([], {"dataset": {"path": "~/faces.zip"}, "classifier": {"weights": "~/own.keras"}})

    assert settings.dataset.path == tmp_path / "faces.zip"
    assert settings.classifier.weights == str(tmp_path / "own.keras")


def test_the_home_of_an_unknown_user_is_refused() -> None:
    with pytest.raises(UserError, match=r"dataset\.path ~nobody-here/faces begins with ~"):
        load_settings([], {"dataset": {"path": "~nobody-here/faces"}})


def test_weights_and_teacher_are_full_paths_where_they_are_files_and_else_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.weights.h5").touch()
    given = {"classifier": {"weights": "own.weights.h5"}, "training": {"distillation": {"teacher": "models:/a/1"}}}

    settings = load_settings([], given)

    assert settings.classifier.weights == str(tmp_path / "own.weights.h5")
    assert settings.training.distillation.teacher == "models:/a/1"


def test_of_several_teachers_the_files_are_full_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.keras").touch()

    settings = load_settings([], {"training": {"distillation": {"teacher": ["own.keras", "models:/a/1"]}}})

    assert settings.training.distillation.teachers == (str(tmp_path / "own.keras"), "models:/a/1")


def test_a_store_behind_a_link_keeps_one_name_and_a_data_set_its_suffix(tmp_path: Path) -> None:
    (tmp_path / "blob").touch()
    os.symlink(tmp_path / "blob", tmp_path / "link.zip")
    values = {"state_folder": "link.zip", "dataset": {"path": "link.zip"}}

    assert resolve_paths(values, tmp_path, PATHS) == {
        "state_folder": tmp_path / "blob", "dataset": {"path": tmp_path / "link.zip"}
    }  # fmt: skip


@pytest.mark.parametrize("name", [*PATHS, *FILES_OR_NAMES])
def test_what_is_not_a_text_is_left_to_the_check_of_types(name: str) -> None:
    *sections, field = name.split(".")
    given: dict[str, object] = {field: [1]}
    for section in reversed(sections):
        given = {section: given}

    with pytest.raises(UserError, match=name):
        load_settings([], given)


def test_an_address_of_a_data_set_stays_as_it_is(tmp_path: Path) -> None:
    values = {"dataset": {"path": "s3://bucket/faces.zip"}}

    assert resolve_paths(values, tmp_path, PATHS) == values


def test_an_address_where_a_folder_of_this_machine_is_needed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"state_folder s3://bucket/state is an address"):
        resolve_paths({"state_folder": "s3://bucket/state"}, tmp_path, PATHS)
