import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
import pytest

from configs.errors import UserError
from configs.settings import Settings
from vision.lifecycle.bundles import (
    ABOUT,
    CHECKSUMS,
    CONTENT,
    MODEL,
    OPTIONAL,
    About,
    check_probe,
    optional_files,
    probe,
    read_bundle,
    write_bundle,
)
from vision.model.classifier import build_classifier, with_temperature
from vision.model.runtimes import keras_predictor

LIMIT = 500_000_000


@pytest.fixture(scope="module")
def classifier() -> keras.Model:
    faces = keras.Input((None, None, 1), name="faces")
    x = keras.layers.Resizing(8, 8, name="resize")(faces)
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(x))
    return keras.Model(faces, keras.layers.Dense(7, activation="softmax")(x))


@pytest.fixture(scope="module")
def bundle(classifier: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("content")
    classifier.save(folder / MODEL)
    for name in set(CONTENT) - {MODEL, ABOUT}:
        (folder / name).write_text(json.dumps([name]), encoding="utf-8")
    about = About(
        1,
        "emotions",
        "3",
        "2026-01-01T00:00:00+00:00",
        1.5,
        {"dataset": "x"},
        probe(keras_predictor(classifier)).tolist(),
    )
    path = tmp_path_factory.mktemp("bundle") / "champion.zip"
    write_bundle(path, folder, about)
    return path


@pytest.fixture
def changed(bundle: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the bundle again with members replaced, left out (None) or added."""

    def change(members: dict[str, bytes | None]) -> Path:
        path = tmp_path / "changed.zip"
        with zipfile.ZipFile(bundle) as source, zipfile.ZipFile(path, "w") as target:
            content = {name: source.read(name) for name in source.namelist()} | members
            for name, data in content.items():
                if data is not None:
                    target.writestr(name, data)
        return path

    return change


def read(path: Path, folder: Path, limit: int = LIMIT) -> About:
    folder.mkdir()
    return read_bundle(path, folder, limit)


def test_a_bundle_comes_back_whole_and_its_model_answers_as_before(
    bundle: Path, classifier: keras.Model, tmp_path: Path
) -> None:
    about = read(bundle, tmp_path / "out")

    assert (about.name, about.version, about.temperature) == ("emotions", "3", 1.5)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted((*CONTENT, CHECKSUMS))
    check_probe(keras_predictor(keras.saving.load_model(tmp_path / "out" / MODEL, safe_mode=True)), about, bundle)
    assert not list(bundle.parent.glob("*unfinished*"))


def test_a_bundle_can_be_checked_without_this_program(bundle: Path, tmp_path: Path) -> None:
    read(bundle, tmp_path / "out")

    for line in (tmp_path / "out" / CHECKSUMS).read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("name", CONTENT)
def test_a_bundle_with_an_altered_file_is_refused(name: str, changed: Callable[..., Path], tmp_path: Path) -> None:
    path = changed({name: b"{}"})

    with pytest.raises(UserError, match="was altered"):
        read(path, tmp_path / "out")


def test_a_bundle_carries_the_onnx_files_that_there_are_and_their_sums(bundle: Path, tmp_path: Path) -> None:
    about = read(bundle, tmp_path / "out")
    (tmp_path / "out" / OPTIONAL[0]).write_bytes(b"onnx")
    write_bundle(tmp_path / "more.zip", tmp_path / "out", about)

    read(tmp_path / "more.zip", tmp_path / "again")

    assert optional_files(tmp_path / "again") == [OPTIONAL[0]]
    assert OPTIONAL[0] in (tmp_path / "again" / CHECKSUMS).read_text()


def test_an_onnx_file_that_the_sums_do_not_name_is_refused(changed: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="was altered"):
        read(changed({OPTIONAL[1]: b"onnx"}), tmp_path / "out")


@pytest.mark.parametrize(
    "members",
    [{"model.keras": None}, {CHECKSUMS: None}, {"../outside.txt": b"x"}, {"/etc/outside": b"x"}, {"more.pkl": b"x"}],
    ids=str,
)
def test_a_bundle_with_files_missing_or_added_is_refused_and_nothing_is_written(
    members: dict[str, bytes | None], changed: Callable[..., Path], tmp_path: Path
) -> None:
    path = changed(members)

    with pytest.raises(UserError, match="is not a bundle of this pipeline"):
        read(path, tmp_path / "deep")

    assert list((tmp_path / "deep").iterdir()) == []
    assert not (tmp_path / "outside.txt").exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_half_a_bundle_is_refused(share: float, bundle: Path, tmp_path: Path) -> None:
    whole = bundle.read_bytes()
    path = tmp_path / "half.zip"
    path.write_bytes(whole[: int(len(whole) * share)])

    with pytest.raises(UserError, match=r"not a (whole )?bundle"):
        read(path, tmp_path / "out")


def test_one_flipped_bit_anywhere_in_the_model_is_found(bundle: Path, tmp_path: Path) -> None:
    content = bytearray(bundle.read_bytes())
    with zipfile.ZipFile(bundle) as archive:
        content[archive.getinfo(MODEL).header_offset + 200] ^= 1
    path = tmp_path / "flipped.zip"
    path.write_bytes(content)

    with pytest.raises(UserError, match=r"not a (whole )?bundle|was altered"):
        read(path, tmp_path / "out")


def test_a_bundle_that_unpacks_to_too_much_is_refused_before_it_fills_the_disk(
    changed: Callable[..., Path], tmp_path: Path
) -> None:
    path = changed({"metrics.json": b"0" * 30_000_000})

    with pytest.raises(UserError, match=r"more than bundle\.max_bytes 1000000"):
        read(path, tmp_path / "out", limit=1_000_000)

    assert sum(file.stat().st_size for file in (tmp_path / "out").iterdir()) <= 1_000_000


def packed_again(bundle: Path, path: Path, compression: int, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(bundle) as source, zipfile.ZipFile(path, "w", compression) as target:
        for name, data in ({name: source.read(name) for name in source.namelist()} | members).items():
            target.writestr(name, data)
    return path


def test_a_bundle_that_is_packed_by_a_method_without_bounds_is_refused(bundle: Path, tmp_path: Path) -> None:
    path = packed_again(bundle, tmp_path / "bomb.zip", zipfile.ZIP_BZIP2, {"metrics.json": bytes(20_000_000)})

    with pytest.raises(UserError, match="is packed by another method than an export uses"):
        read(path, tmp_path / "out")

    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["metrics.json", "model_card.md", CHECKSUMS])
def test_a_bundle_whose_texts_are_huge_is_refused_before_they_are_read(name: str, bundle: Path, tmp_path: Path) -> None:
    path = packed_again(bundle, tmp_path / "large.zip", zipfile.ZIP_DEFLATED, {name: bytes(20_000_000)})

    with pytest.raises(UserError, match=f"large.zip: {name} has more than 2000000 bytes"):
        read(path, tmp_path / "out")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_bundle_in_which_a_name_stands_twice_is_refused(bundle: Path, tmp_path: Path) -> None:
    path = packed_again(bundle, tmp_path / "twice.zip", zipfile.ZIP_STORED, {OPTIONAL[0]: b"onnx"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(OPTIONAL[0], b"another")

    with pytest.raises(UserError, match="is not a bundle of this pipeline: it holds"):
        read(path, tmp_path / "out")


def test_a_bundle_of_many_files_is_refused_before_they_are_listed(bundle: Path, tmp_path: Path) -> None:
    more = {f"{number}\x1b[31m": b"" for number in range(100)}

    with pytest.raises(UserError, match=r"lists more than 11 files; it is not a bundle of this pipeline"):
        read(packed_again(bundle, tmp_path / "many.zip", zipfile.ZIP_STORED, more), tmp_path / "out")


def test_a_packed_file_that_is_damaged_is_refused(bundle: Path, tmp_path: Path) -> None:
    path = packed_again(bundle, tmp_path / "damaged.zip", zipfile.ZIP_DEFLATED, {})
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo(MODEL).header_offset + 60
    content[place : place + 40] = b"\xff" * 40
    path.write_bytes(content)

    with pytest.raises(UserError, match=r"damaged\.zip is not a whole bundle: .*; export or download it again"):
        read(path, tmp_path / "out")


def test_a_model_that_answers_differently_is_refused(bundle: Path, classifier: keras.Model, tmp_path: Path) -> None:
    about = read(bundle, tmp_path / "out")
    other = keras.models.clone_model(classifier)

    with pytest.raises(UserError, match="does not answer as the model did"):
        check_probe(keras_predictor(other), about, bundle)


def test_a_disk_that_cannot_be_written_leaves_the_old_bundle(bundle: Path, tmp_path: Path) -> None:
    about = read(bundle, tmp_path / "out")
    missing = tmp_path / "no folder" / "champion.zip"

    with pytest.raises(UserError, match=r"bundle\.path .* cannot be written"):
        write_bundle(missing, tmp_path / "out", about)


def test_the_probe_of_a_real_classifier_is_repeatable(small_settings: Settings) -> None:
    narrow = small_settings.classifier.model_copy(update={"width": 0.0625})
    model = with_temperature(build_classifier(narrow, 32, 7), 1.3)

    assert probe(keras_predictor(model)).shape == (7, 7)
    assert (probe(keras_predictor(model)) == probe(keras_predictor(model))).all()
