import importlib.util
import io
import json
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import pytest

from configs.errors import UserError
from vision.data.raw_faces import RawFace
from vision.data.readers import open_dataset
from vision.data.sources import find_dataset

PICTURE = b"\x89PNG..."


def write_shard(path: Path, files: Iterable[tuple[str, bytes]], mode: Literal["w", "w:gz"] = "w") -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def samples(*labels: str, start: int = 0) -> list[tuple[str, bytes]]:
    files = []
    for number, label in enumerate(labels, start):
        files += [(f"{number:06d}.png", PICTURE), (f"{number:06d}.cls", label.encode())]
    return files


@pytest.fixture
def read(dataset_settings: Callable[..., Any]) -> Callable[..., tuple[list[RawFace], dict[str, str]]]:
    def read(path: Path, **given: Any) -> tuple[list[RawFace], dict[str, str]]:
        settings = dataset_settings(path)
        reading = open_dataset(settings.model_copy(update=given), 0)
        faces = list(reading.faces)
        return faces, reading.notes.facts()

    return read


def test_the_shards_of_a_folder_are_read_in_order_with_the_split_of_their_names(
    tmp_path: Path, read: Callable[..., Any]
) -> None:
    write_shard(tmp_path / "fer-train-000000.tar", samples("happy", "sad"))
    write_shard(tmp_path / "fer-train-000001.tar", samples("fear", start=2))
    write_shard(tmp_path / "fer-val-000000.tar", samples("angry"))

    faces, facts = read(tmp_path)

    assert [(face.source, face.label, face.split) for face in faces] == [
        ("fer-train-000000.tar/000000.png", "happy", "train"),
        ("fer-train-000000.tar/000001.png", "sad", "train"),
        ("fer-train-000001.tar/000002.png", "fear", "train"),
        ("fer-val-000000.tar/000000.png", "angry", "validation"),
    ]
    assert {face.payload for face in faces} == {PICTURE}
    assert facts["layout"] == "of WebDataset"
    assert facts["train faces"] == "3 from shards fer-train"


def test_numbers_are_classes_only_by_codes_that_are_given(tmp_path: Path, read: Callable[..., Any]) -> None:
    path = write_shard(tmp_path / "shard.tar", samples("3", "0"))

    with pytest.raises(UserError, match=r"the labels are numbers \(3\)"):
        read(path)

    assert [face.label for face in read(path, codes="fer2013")[0]] == ["happy", "angry"]


@pytest.mark.parametrize("label", [{"label": "happy"}, {"emotion": "happy", "age": 3}, "happy"])
def test_a_label_may_be_json(tmp_path: Path, read: Callable[..., Any], label: Any) -> None:
    path = write_shard(tmp_path / "shard.tar", [("a.jpg", PICTURE), ("a.json", json.dumps(label).encode())])

    assert [face.label for face in read(path)[0]] == ["happy"]


@pytest.mark.parametrize("content", [b"[" * 60_000, b"{}", b'{"label": [1]}', b"nothing", b'"' + b"x" * 70_000 + b'"'])
def test_a_label_that_cannot_be_read_is_counted(tmp_path: Path, read: Callable[..., Any], content: bytes) -> None:
    path = write_shard(tmp_path / "shard.tar", [("a.png", PICTURE), ("a.json", content), *samples("happy")])

    faces, facts = read(path)

    assert [face.label for face in faces] == ["happy"]
    assert facts["faces left out"] == "1 (1 whose .json is not read as a label)"


def test_samples_that_lack_a_part_or_have_too_many_are_counted(tmp_path: Path, read: Callable[..., Any]) -> None:
    files = [("b.png", PICTURE), ("c.cls", b"sad"), ("d.left.png", PICTURE), ("d.right.png", b"2"), ("d.cls", b"sad")]
    path = write_shard(tmp_path / "shard.tar", [*samples("happy"), *files])

    faces, facts = read(path)

    assert [face.payload for face in faces] == [PICTURE, PICTURE]
    assert facts["faces left out"].startswith("3 (")
    assert all(reason in facts["faces left out"] for reason in ("without an image", "without a label", "beside the"))


def test_a_tar_of_class_folders_stays_an_archive_also_with_facts_beside_the_images(tmp_path: Path) -> None:
    plain = write_shard(tmp_path / "plain.tar", [("happy/a.png", PICTURE)])
    with_facts = write_shard(tmp_path / "facts.tar", [("happy/a.png", PICTURE), ("happy/a.json", b"{}")])
    shard = write_shard(tmp_path / "shard.tar", samples("happy"))

    assert [find_dataset(path) for path in (plain, with_facts, shard)] == [
        ("archive", plain), ("archive", with_facts), ("shards", shard)
    ]  # fmt: skip


def test_a_shard_that_breaks_off_is_named(tmp_path: Path, read: Callable[..., Any]) -> None:
    path = write_shard(tmp_path / "shard.tar", [(name, content * 500) for name, content in samples("happy", "sad")])
    path.write_bytes(path.read_bytes()[:4000])

    with pytest.raises(UserError, match=r"shard\.tar is a damaged archive"):
        read(path, reader="shards")


def test_the_limits_of_archives_hold_for_shards(tmp_path: Path, read: Callable[..., Any]) -> None:
    path = write_shard(tmp_path / "shard.tar", samples("happy", "sad"))

    with pytest.raises(UserError, match="lists more than 3 files"):
        read(path, max_images=3)
    with pytest.raises(UserError, match=r"more than dataset\.max_unpacked_bytes 1024"):
        read(path, max_unpacked_bytes=1024)


def test_what_webdataset_writes_is_read(tmp_path: Path, read: Callable[..., Any]) -> None:
    if importlib.util.find_spec("webdataset") is None:
        pytest.skip("webdataset is not installed (make setup-servers)")
    import webdataset

    with webdataset.TarWriter(str(tmp_path / "train-000000.tar")) as writer:
        for number, label in enumerate(("happy", "sad")):
            writer.write({"__key__": f"{number:06d}", "png": PICTURE, "cls": label, "json": {"age": 3}})

    faces, facts = read(tmp_path)

    assert [(face.label, face.split, face.payload) for face in faces] == [
        ("happy", "train", PICTURE), ("sad", "train", PICTURE)
    ]  # fmt: skip
    assert "faces left out" not in facts


def test_shards_of_no_known_split_beside_others_stop_the_run_until_it_is_said(
    tmp_path: Path, read: Callable[..., Any]
) -> None:
    write_shard(tmp_path / "fer-train-000000.tar", samples("happy"))
    write_shard(tmp_path / "fer-holdback-000000-of-000002.tar", samples("sad"))
    write_shard(tmp_path / "fer-holdback-000001-of-000002.tar", samples("sad"))

    said = r'fer-holdback looks like a split, .*--dataset\.splits "\{fer-holdback: test\}'
    with pytest.raises(UserError, match=said):
        read(tmp_path)

    faces, facts = read(tmp_path, splits={"fer-holdback": "test"})
    assert [face.split for face in faces] == ["test", "test", "train"]
    assert facts["test faces"] == "2 from shards fer-holdback"
    assert {face.split for face in read(tmp_path, splits={"FER-holdback": None})[0]} == {"train", "unassigned"}


def test_a_folder_of_shards_of_no_known_split_beside_others_stops_the_run(
    tmp_path: Path, read: Callable[..., Any]
) -> None:
    write_shard(tmp_path / "train" / "000000.tar", samples("happy"))
    write_shard(tmp_path / "holdback" / "000000.tar", samples("sad"))

    with pytest.raises(UserError, match=r"holdback looks like a split"):
        read(tmp_path, reader="shards")
    faces, _ = read(tmp_path, reader="shards", splits={"holdback": "test"})
    assert sorted((face.label, face.split) for face in faces) == [("happy", "train"), ("sad", "test")]


def test_shards_none_of_which_says_a_split_are_read(tmp_path: Path, read: Callable[..., Any]) -> None:
    write_shard(tmp_path / "part1-000000.tar", samples("happy"))
    write_shard(tmp_path / "000000.tar", samples("sad"))

    assert {face.split for face in read(tmp_path)[0]} == {"unassigned"}


@pytest.mark.parametrize("name", ["fer.test.000000.tar", "fer-v1.2-test-000000.tar", "TEST.tar"])
def test_a_split_may_stand_anywhere_in_a_shards_name(name: str, tmp_path: Path, read: Callable[..., Any]) -> None:
    write_shard(tmp_path / name, samples("happy"))

    assert [face.split for face in read(tmp_path)[0]] == ["test"]


def test_a_path_to_the_folder_of_a_split_keeps_it(tmp_path: Path, read: Callable[..., Any]) -> None:
    write_shard(tmp_path / "test" / "000000.tar", samples("happy"))

    faces, facts = read(tmp_path / "test")

    assert [face.split for face in faces] == ["test"]
    assert facts["test faces"] == "1 from folder test"


def test_shards_of_the_same_name_in_two_folders_give_each_face_a_name_of_its_own(
    tmp_path: Path, read: Callable[..., Any]
) -> None:
    for split in ("test", "train"):
        write_shard(tmp_path / split / "000000.tar", samples("happy"))

    faces, _ = read(tmp_path, reader="shards")

    assert [(face.source, face.split) for face in faces] == [
        ("test/000000.tar/000000.png", "test"), ("train/000000.tar/000000.png", "train")
    ]  # fmt: skip
    assert [face.source for face in read(tmp_path / "train")[0]] == ["000000.tar/000000.png"]


def test_hidden_shards_are_not_read_and_other_endings_of_a_tar_are(tmp_path: Path, read: Callable[..., Any]) -> None:
    write_shard(tmp_path / "a.TAR", samples("happy"))
    write_shard(tmp_path / "b.tar.gz", samples("sad"), "w:gz")
    write_shard(tmp_path / "c-test-000000.tgz", samples("fear"), "w:gz")
    (tmp_path / "._c-test-000000.tgz").write_bytes(b"what macOS adds")

    faces, facts = read(tmp_path, reader="shards", splits={"a": None, "b": "train"})

    assert [(face.label, face.split) for face in faces] == [
        ("happy", "unassigned"), ("sad", "train"), ("fear", "test")
    ]  # fmt: skip
    assert "left out" not in facts


def test_files_beside_shards_and_in_them_are_counted(tmp_path: Path, read: Callable[..., Any]) -> None:
    others = [("000000.txt", b"a caption"), (".hidden", b""), ("000000.npy", b"")]
    write_shard(tmp_path / "fer-000000.tar", [*samples("happy"), *others])
    (tmp_path / "fer-000000.idx").write_bytes(b"")

    faces, facts = read(tmp_path, reader="shards")

    assert [face.label for face in faces] == ["happy"]
    assert facts["left out"].startswith("3 files (")
    assert all(kind in facts["left out"] for kind in ("1 .txt", "1 .npy", "1 .idx"))


def test_a_folder_without_shards_names_what_it_holds(tmp_path: Path, read: Callable[..., Any]) -> None:
    (tmp_path / "a.zip").write_bytes(b"")

    with pytest.raises(UserError, match=r"holds no shards .*found 1 file \(1 \.zip; for example a\.zip\)"):
        read(tmp_path, reader="shards")
