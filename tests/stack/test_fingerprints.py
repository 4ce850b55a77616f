from pathlib import Path

import pytest

from configs.loading import load_settings
from configs.settings import Settings
from stack.fingerprints import SURROUNDINGS, code_fingerprint, settings_fingerprint, surroundings


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("vision/model/losses.py", "tests/test_losses.py", "requirements.lock"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("a = 1")
    return tmp_path


@pytest.mark.parametrize("name", ["vision/model/losses.py", "vision/model/added.py", "requirements.lock"])
def test_an_edit_of_code_or_versions_changes_the_code_fingerprint(name: str, project: Path) -> None:
    before = code_fingerprint(project)

    (project / name).write_text("a = 2")

    assert code_fingerprint(project) != before


def test_how_faces_are_cut_out_counts_only_where_they_are(small_settings: Settings) -> None:
    def fingerprint(crop_faces: bool, margin: float, detector: str = "blazeface") -> str:
        inference = small_settings.inference.model_copy(update={"margin": margin, "detector": detector})
        dataset = small_settings.dataset.model_copy(update={"crop_faces": crop_faces})
        return settings_fingerprint(small_settings.model_copy(update={"inference": inference, "dataset": dataset}))

    assert fingerprint(False, 0.0) == fingerprint(False, 0.1)
    assert len({fingerprint(False, 0.0), fingerprint(True, 0.0), fingerprint(True, 0.1)}) == 3
    assert fingerprint(True, 0.0, "haar") != fingerprint(True, 0.0)
    assert fingerprint(False, 0.0, "haar") == fingerprint(False, 0.0)


def test_an_edit_of_a_test_does_not_change_the_code_fingerprint(project: Path) -> None:
    before = code_fingerprint(project)

    (project / "tests/test_losses.py").write_text("b = 2")

    assert code_fingerprint(project) == before


def fingerprint_with(**sections: object) -> str:
    changed: Settings = load_settings([], {"classifier": {"weights": "imagenet"}, **sections})
    return settings_fingerprint(changed)


@pytest.fixture(autouse=True)
def _weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stack.fingerprints.weights_hash", lambda weights: f"hash of {weights}")


def test_what_a_model_learns_from_changes_the_settings_fingerprint() -> None:
    assert fingerprint_with(training={"label_smoothing": 0.2}) != fingerprint_with()
    assert fingerprint_with(classifier={"weights": "none"}) != fingerprint_with()


def test_where_the_faces_come_from_and_what_is_done_later_does_not_change_the_settings_fingerprint() -> None:
    elsewhere = {"path": "elsewhere", "reader": "folder", "workers": 3}

    assert fingerprint_with(dataset=elsewhere) == fingerprint_with()
    assert fingerprint_with(promotion={"min_accuracy": 0.9}) == fingerprint_with()


def test_the_surroundings_are_tags_of_one_line() -> None:
    tags = surroundings()

    assert tuple(tags) == SURROUNDINGS
    assert len(tags["lock_sha256"]) == 64
    assert "keras 3." in tags["packages"]
    assert all(value and "\n" not in value for value in tags.values())


@pytest.mark.parametrize(("chosen", "said"), [("1", "oneDNN"), ("0", "Eigen"), ("", "as TensorFlow chooses")])
def test_the_surroundings_say_what_computes_convolutions(
    chosen: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", chosen)

    assert surroundings()["convolutions"] == said


def test_the_content_of_a_teachers_file_counts_and_its_place_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def fingerprint(teacher: object) -> str:
        return fingerprint_with(training={"distillation": {"teacher": teacher}})

    monkeypatch.setattr("stack.fingerprints.weights_hash", lambda weights: f"hash of {Path(weights).name}")
    one = fingerprint("here/a.keras")

    assert fingerprint("there/a.keras") == one
    assert fingerprint("here/b.keras") != one
    assert fingerprint(["models:/faces/1", "here/a.keras"]) != fingerprint(["models:/faces/2", "here/a.keras"])


def test_the_content_of_the_table_of_labels_counts_and_its_place_does_not(tmp_path: Path) -> None:
    def fingerprint(name: str, content: str) -> str:
        (tmp_path / name).write_text(content)
        return settings_fingerprint(load_settings([], {"preprocessing": {"relabel": str(tmp_path / name)}}))

    one = fingerprint("a.csv", "file,action,label\nx,drop,\n")

    assert fingerprint("b.csv", "file,action,label\nx,drop,\n") == one
    assert fingerprint("a.csv", "file,action,label\nx,keep,\n") != one
    assert settings_fingerprint(load_settings([], {})) != one
