import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
import yaml

import run
from configs.errors import UserError
from stack.doctor import check_state
from stack.places import local_path
from stack.relocation import BACKUP, check_place, former_place, relocate
from tests.conftest import copy_state

EXPERIMENT = "face-emotion"
DATABASES = ("mlflow/mlflow.db", "zenml/local_stores/default_zen_store/zenml.db")


@pytest.fixture
def original(empty_state: Path, tmp_path: Path) -> Path:
    """Return a state folder with two set-up stores, an MLflow run, and an artifact version in ZenML's."""
    state = tmp_path / "a project" / "state"
    copy_state(empty_state, state)
    client = mlflow.MlflowClient(f"sqlite:///{state / DATABASES[0]}")
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    run_id = client.create_run(experiment.experiment_id).info.run_id
    client.log_text(run_id, "kept", "note.txt")
    client.set_tag(run_id, "said", f"made in {state}")
    return state


@pytest.fixture
def copied(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "another" / "state")
    return tmp_path / "another" / "state"


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def note(state: Path) -> str:
    """Read the artifact of the only run through MLflow."""
    client = mlflow.MlflowClient(f"sqlite:///{state / DATABASES[0]}")
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    place = local_path(found.info.artifact_uri)
    assert place is not None
    assert place.is_relative_to(state)
    return Path(client.download_artifacts(found.info.run_id, "note.txt")).read_text(encoding="utf-8")


def test_a_state_where_it_was_made_is_left_as_it_is(original: Path) -> None:
    assert former_place(original) is None
    check_place(original)


def test_a_new_state_has_no_former_place(tmp_path: Path) -> None:
    assert former_place(tmp_path / "state") is None


def test_a_copy_is_refused_with_the_command_that_relocates_it(original: Path, copied: Path) -> None:
    with pytest.raises(UserError, match=rf"{copied} is a copy of {original}.*--relocate --state_folder {copied}"):
        check_place(copied)


def test_a_moved_state_is_refused_and_the_old_folder_not_made_again(original: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    original.rename(moved)

    with pytest.raises(UserError, match=f"{moved} was moved from {original}"):
        check_place(moved)

    assert not original.exists()


def test_a_state_behind_another_name_is_not_moved(original: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "another disk"
    original.rename(elsewhere)
    original.symlink_to(elsewhere)

    assert former_place(elsewhere) is None


@pytest.mark.parametrize("keep", ["both stores", "MLflow's store alone"])
def test_a_relocated_copy_is_whole_and_the_original_untouched(keep: str, original: Path, copied: Path) -> None:
    if keep != "both stores":
        shutil.rmtree(copied / "zenml")
    before = content(original)
    place = former_place(copied)
    assert place == original

    relocate(copied, place)

    assert former_place(copied) is None
    assert content(original) == before
    shutil.rmtree(original)
    assert note(copied) == "kept"


def test_what_zenml_keeps_is_relocated_too(original: Path, copied: Path) -> None:
    insert = "INSERT INTO logs (id, created, updated, uri, source, project_id) VALUES ('1', 0, 0, ?, 'step', '1')"
    with closing(sqlite3.connect(copied / DATABASES[1])) as database, database:
        database.execute(insert, (f"{original}/artifacts/logs/1.log",))

    relocate(copied, original)

    with closing(sqlite3.connect(copied / DATABASES[1])) as database:
        assert database.execute("SELECT uri FROM logs").fetchall() == [(f"{copied}/artifacts/logs/1.log",)]
    known = yaml.safe_load((copied / "zenml" / "config.yaml").read_text(encoding="utf-8"))
    assert known["store"]["url"] == f"sqlite:///{copied / DATABASES[1]}"


def test_words_of_the_user_and_folders_with_a_like_name_stay_as_they_are(original: Path, copied: Path) -> None:
    with closing(sqlite3.connect(copied / DATABASES[0])) as database, database:
        database.execute("UPDATE experiments SET artifact_location = ? WHERE name = 'Default'", (f"{original}-2/x",))

    relocate(copied, original)

    with closing(sqlite3.connect(copied / DATABASES[0])) as database:
        said = database.execute("SELECT value FROM tags WHERE key = 'said'").fetchall()
        places = {place for (place,) in database.execute("SELECT artifact_location FROM experiments")}
    assert said == [(f"made in {original}",)]
    assert f"{original}-2/x" in places


def damage(file: Path) -> None:
    file.write_bytes(b"no database" * 1000)


def change_schema(file: Path) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("ALTER TABLE runs RENAME COLUMN artifact_uri TO place")


@pytest.mark.parametrize(
    ("harm", "said"), [(damage, "cannot be relocated"), (change_schema, "mlflow.db has no runs.artifact_uri")]
)
def test_a_store_that_cannot_be_relocated_leaves_both_as_they_were(
    harm: Callable[[Path], None], said: str, original: Path, copied: Path
) -> None:
    harm(copied / DATABASES[0])
    before = content(copied)

    with pytest.raises(UserError, match=said):
        relocate(copied, original)

    left = {name: data for name, data in content(copied).items() if not name.endswith(BACKUP)}
    assert left == before


def test_a_store_that_was_half_relocated_is_finished_by_the_same_command(
    original: Path, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("stack.relocation._rewrite_configuration", stop)
        with pytest.raises(KeyboardInterrupt):
            relocate(copied, original)
    assert former_place(copied) == original

    relocate(copied, original)

    assert former_place(copied) is None
    assert note(copied) == "kept"


def stop(*_: object) -> None:
    raise KeyboardInterrupt


def test_the_doctor_names_the_command_and_the_command_says_what_it_did(
    original: Path, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finding = check_state(copied)

    codes = [run.main(["--relocate", "--state_folder", str(copied)]) for _ in range(2)]

    said = capsys.readouterr().out
    assert not finding.is_ok
    assert "--relocate" in finding.fix
    assert codes == [0, 0]
    assert f"{original} → {copied}" in said
    assert "nothing to relocate" in said
    assert check_state(copied).is_ok


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_state_that_cannot_be_written_is_named(original: Path, copied: Path) -> None:
    (copied / "mlflow").chmod(0o500)
    with pytest.raises(UserError, match=f"{copied} cannot be relocated"):
        relocate(copied, original)
    (copied / "mlflow").chmod(0o700)


def test_a_copy_is_not_tidied_by_what_the_original_knows(
    original: Path, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copied / "start.lock").touch()
    artifact = copied / "artifacts" / "ingest_data" / "faces" / "run" / "id"
    artifact.mkdir(parents=True)
    before = (content(original), content(copied))

    code = run.main(["--tidy", "--yes", "--state_folder", str(copied)])

    assert (code, artifact.is_dir()) == (2, True)
    assert "--relocate" in capsys.readouterr().err
    assert (content(original), content(copied)) == before
