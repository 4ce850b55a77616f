import io
from pathlib import Path

import h5py
import numpy as np
import pytest

from configs.errors import UserError
from vision.model.weight_files import VGG19_FILE, check_hdf5, check_weights, weights_hash


@pytest.mark.parametrize("weights", ["imagenet", "none"])
def test_weights_that_are_not_a_file_are_known_by_name(weights: str) -> None:
    check_weights(weights)


@pytest.mark.parametrize("name", ["vgg19.weights.h5", "classifier.keras"])
def test_a_file_with_the_suffix_of_weights_is_accepted_unread(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")

    check_weights(str(tmp_path / name))


@pytest.mark.parametrize(("name", "said"), [("missing.h5", "is not a file"), ("notes.txt", "does not end in .h5")])
def test_a_file_that_cannot_hold_weights_is_named_with_the_way_out(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"")

    with pytest.raises(UserError, match=rf"{name} {said}.*set classifier\.weights to"):
        check_weights(str(tmp_path / name))


def test_the_numbers_of_all_layers_are_counted() -> None:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("layers/dense/vars/0", data=np.zeros((3, 4), np.float32))
        file.create_dataset("layers/dense/vars/1", data=np.zeros(4, np.float32))

    assert check_hdf5(buffer, len(buffer.getvalue())) == 16


def test_imagenet_weights_are_hashed_where_keras_keeps_its_download(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / VGG19_FILE).write_bytes(b"abc")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    assert weights_hash("imagenet").startswith("ba7816bf")


def test_the_hash_of_weights_is_that_of_their_file(tmp_path: Path) -> None:
    (tmp_path / "w.h5").write_bytes(b"abc")

    assert weights_hash(str(tmp_path / "w.h5")) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert weights_hash("none") == "random"
