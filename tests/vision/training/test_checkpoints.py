import json
import logging
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from filelock import FileLock

from configs.settings import Settings
from vision.data.faces import FaceSet
from vision.training.checkpoints import STATE, WEIGHTS, forget_state
from vision.training.history import TrainingHistory, TrainingStoppedError
from vision.training.loop import train_classifier
from vision.training.recipe import Recipe, TrainingData, TrainingPaths

pytestmark = [
    pytest.mark.usefixtures("with_toy_backbone", "without_curves", "eagerly"),
    pytest.mark.filterwarnings("ignore:Even though the `tf.config"),
]


EVEN = dict.fromkeys(("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"), 1.0)


def train(
    faces: FaceSet, settings: Settings, folder: Path, stop_in: int = 0, states: Path | None = None, seed: int = 3
) -> tuple[keras.Model, TrainingHistory, list[int]]:
    """Train with the states in `folder`; the process is stopped before the epoch `stop_in` is noted down."""
    reported: list[int] = []

    def hook(epoch: int, metrics: Mapping[str, float]) -> None:
        if epoch == stop_in:
            raise KeyboardInterrupt
        reported.append(epoch)

    paths = TrainingPaths(folder / "run" / "best.keras", folder / "features", states or folder / "states")
    recipe = Recipe(settings.classifier, settings.augmentation, settings.training, seed)
    model, history = train_classifier(TrainingData(faces, EVEN), recipe, paths, hook)
    return model, history, reported


def stopped(faces: FaceSet, settings: Settings, folder: Path, stop_in: int) -> Path:
    """Stop a training; return the folder of its state."""
    with pytest.raises(TrainingStoppedError, match="the same command resumes from there"):
        train(faces, settings, folder, stop_in)
    (kept,) = (path for path in (folder / "states").iterdir() if path.is_dir())
    return kept


def curve(history: TrainingHistory) -> list[dict[str, float]]:
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in history.epochs]


def phases(settings: Settings, *changes: dict[str, Any]) -> Any:
    return tuple(settings.training.phases[0].model_copy(update=change) for change in changes)


def on_kept_features(settings: Settings) -> Settings:
    """AdamW with a cosine and with a plateau; both phases on kept features of a frozen beginning."""
    two = phases(
        settings,
        {"epochs": 2, "schedule": "cosine", "warmup_epochs": 0.5, "patience": 2},
        {"epochs": 4, "schedule": "plateau", "patience": 4, "trainable": ("head", "block2"), "learning_rate": 1e-6},
    )
    training = settings.training.model_copy(update={"phases": two, "plateau_patience": 1})
    return settings.model_copy(update={"training": training})


def on_faces(settings: Settings) -> Settings:
    """SGD with a moving average of the weights, augmentation and mixup; nothing is frozen."""
    two = phases(
        settings,
        {"epochs": 2, "trainable": ("all",), "schedule": "cosine", "learning_rate": 0.01},
        {"epochs": 3, "trainable": ("all",), "patience": 3},
    )
    changes = {"phases": two, "optimizer": "sgd", "ema_momentum": 0.9, "imbalance": "oversample", "cached_views": 0}
    augmentation = settings.augmentation.model_copy(update={"mixup": 0.2, "rotation_degrees": 10.0})
    training = settings.training.model_copy(update=changes)
    return settings.model_copy(update={"training": training, "augmentation": augmentation})


def short(settings: Settings, epochs: int = 2) -> Settings:
    """One phase of so many epochs."""
    phase = {"epochs": epochs, "patience": epochs}
    training = settings.training.model_copy(update={"phases": phases(settings, phase)})
    return settings.model_copy(update={"training": training})


@pytest.fixture(scope="module")
def once_stopped(
    with_toy_backbone: None, without_curves: None, few_faces: FaceSet, toy_settings: Settings,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:  # fmt: skip
    """Return the folder of a short training that was stopped after its first epoch."""
    folder = tmp_path_factory.mktemp("stopped")
    stopped(few_faces, short(toy_settings), folder, stop_in=2)
    return folder


@pytest.fixture
def kept(once_stopped: Path, tmp_path: Path) -> Path:
    """Return the folder of a state in tmp_path that a short training resumes from, at its second epoch."""
    shutil.copytree(once_stopped, tmp_path, dirs_exist_ok=True)
    (found,) = (path for path in (tmp_path / "states").iterdir() if path.is_dir())
    return found


@pytest.mark.parametrize("change", [on_kept_features, on_faces])
def test_a_training_that_was_stopped_twice_ends_as_if_it_had_not_been(
    change: Callable[[Settings], Settings], few_faces: FaceSet, toy_settings: Settings, tmp_path: Path
) -> None:
    settings = change(toy_settings)
    model, whole, _ = train(few_faces, settings, tmp_path, states=tmp_path / "other")

    for stop_in in (3, 5):  # at the end of the first phase, so that the second starts from it, and within the second
        stopped(few_faces, settings, tmp_path, stop_in)
    again, resumed, reported = train(few_faces, settings, tmp_path)

    assert reported == list(range(1, len(whole.epochs) + 1))
    assert resumed.best_epoch == whole.best_epoch
    for one, other in zip(curve(whole), curve(resumed), strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_only_the_newest_state_is_kept(few_faces: FaceSet, toy_settings: Settings, tmp_path: Path) -> None:
    kept = stopped(few_faces, short(toy_settings, epochs=3), tmp_path, stop_in=3)

    names = sorted(path.name for path in kept.iterdir())
    assert len(names) == 2
    assert names[0].startswith("best-")
    assert names[1] == "epoch-2"


def test_a_finished_training_is_not_trained_again_until_it_is_forgotten(
    few_faces: FaceSet, toy_settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = short(toy_settings)
    model, first, _ = train(few_faces, settings, tmp_path)
    shutil.rmtree(tmp_path / "run")

    with caplog.at_level(logging.INFO, "vision"):
        again, second, reported = train(few_faces, settings, tmp_path)
    forget_state(tmp_path / "states", second.state)

    assert "the training was finished before (2 epochs): nothing is trained again" in caplog.text
    assert second.epochs == first.epochs  # the very seconds too
    assert reported == [1, 2]
    np.testing.assert_array_equal(again.get_weights()[0], model.get_weights()[0])
    keras.saving.load_model(tmp_path / "run" / "best.keras", safe_mode=True)
    assert not list((tmp_path / "states").iterdir())


def test_the_log_says_where_a_training_resumes(
    kept: Path, few_faces: FaceSet, toy_settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "vision"):
        train(few_faces, short(toy_settings), tmp_path)

    assert "the training resumes from epoch 2 of 2" in caplog.text
    assert re.search(r"the rest of this training takes about .* \(1 epochs of 2 batches, measured on", caplog.text)


@pytest.mark.parametrize("what", ["data", "settings", "code"])
def test_the_state_of_another_training_is_not_taken(
    what: str, kept: Path, few_faces: FaceSet, toy_settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    settings = short(toy_settings)
    faces, seed = few_faces, 3
    if what == "data":
        faces = replace(few_faces, table=few_faces.table.assign(exact_hash=few_faces.table["exact_hash"].str[::-1]))
    elif what == "settings":
        seed = 4
    else:
        monkeypatch.setattr("vision.training.fingerprint.version", lambda name: "0.0")

    with caplog.at_level(logging.INFO, "vision"):
        _, history, _ = train(faces, settings, tmp_path, seed=seed)

    line = f"1 of 2 epochs of another training are kept in {kept} (other {what}); this one does not resume from them"
    assert line in caplog.text
    assert "resumes from epoch" not in caplog.text
    assert history.state != kept.name


def damage_weights(kept: Path) -> None:
    file = kept / "epoch-1" / WEIGHTS
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def damage_state(kept: Path) -> None:
    file = kept / "epoch-1" / STATE
    file.write_bytes(file.read_bytes()[:-20])


def take_best_away(kept: Path) -> None:
    (kept / "best-1.npz").unlink()


def leave_half(kept: Path) -> None:
    (kept / "epoch-1").rename(kept / "unfinished-1")


def claim_another(kept: Path) -> None:
    file = kept / "epoch-1" / STATE
    state = json.loads(file.read_text(encoding="utf-8"))
    state["fingerprint"]["teacher"] = "x"
    file.write_text(json.dumps(state), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (damage_weights, f"epoch-1/{WEIGHTS} is not as it was written"),
        (damage_state, f"{STATE} cannot be read"),
        (take_best_away, "best-1.npz is not as it was written"),
        (leave_half, "it was half written when its process ended"),
        (claim_another, "it is of another training: other teacher"),
    ],
)
def test_a_damaged_state_is_not_used_and_the_log_says_why(
    damage: Callable[[Path], None], said: str, kept: Path, few_faces: FaceSet, toy_settings: Settings,
    tmp_path: Path, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    settings = short(toy_settings)
    damage(kept)

    _, history, _ = train(few_faces, settings, tmp_path)

    assert f"the state in {kept} is not used, the training starts from the beginning: {said}" in caplog.text
    assert len(history.epochs) == 2


def test_what_was_half_written_beside_a_whole_state_goes(
    kept: Path, few_faces: FaceSet, toy_settings: Settings, tmp_path: Path
) -> None:
    (kept / "unfinished-abc").mkdir()

    stopped(few_faces, short(toy_settings), tmp_path, stop_in=2)

    assert not (kept / "unfinished-abc").exists()


def test_two_runs_of_the_same_training_do_not_share_a_state(
    kept: Path, few_faces: FaceSet, toy_settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with FileLock(kept.with_suffix(".lock")):
        _, history, _ = train(few_faces, short(toy_settings), tmp_path)
        forget_state(kept.parent, history.state)

    assert "another run trains the same at this moment" in caplog.text
    assert sorted(path.name for path in kept.iterdir()) == ["best-1.npz", "epoch-1"]


def test_the_oldest_states_go(
    few_faces: FaceSet, toy_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vision.training.checkpoints.KEPT", 2)
    settings = short(toy_settings)
    for seed in range(3):
        with pytest.raises(TrainingStoppedError):
            train(few_faces, settings, tmp_path, stop_in=2, seed=seed)

    assert len([path for path in (tmp_path / "states").iterdir() if path.is_dir()]) == 2
