import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from configs.errors import UserError
from configs.inference_settings import InferenceSettings
from tests.vision.inference.conftest import sources
from vision.files.remote import FETCHED
from vision.inference.inputs import open_pictures, plain_name

PNG = cv2.imencode(".png", np.zeros((8, 8), dtype=np.uint8))[1].tobytes()


def write_files(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"a text" if name.endswith(".txt") else PNG)
    return root


def write_zip(path: Path, *names: str, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name in names:
            archive.writestr(name, b"a text" if name.endswith(".txt") else PNG + name.encode())
    return path


def test_a_folder_is_every_picture_below_it_in_the_order_of_names(
    tmp_path: Path, named: Callable[..., InferenceSettings]
) -> None:
    root = write_files(tmp_path / "photos", "b.png", "a/deep/er/c.JPG", "a/x.webp", ".hidden/h.png", "notes.txt")

    pictures = open_pictures(named(root))

    assert (pictures.name, pictures.form, pictures.count) == ("photos", "folder", 3)
    assert sources(pictures) == ["a/deep/er/c.JPG", "a/x.webp", "b.png"]


@pytest.mark.parametrize("form", ["folder", "zip", "glob"])
def test_pictures_are_known_by_their_content_and_what_is_left_out_is_named(
    form: str, tmp_path: Path, named: Callable[..., InferenceSettings]
) -> None:
    names = ["a.jfif", "b.dat", "c", "notes.txt"]
    root = write_files(tmp_path / "photos", *names)
    given = {"folder": root, "zip": write_zip(tmp_path / "photos.zip", *names), "glob": f"{root}/*"}[form]

    pictures = open_pictures(named(given))

    assert [Path(source).name for source in sources(pictures)] == names[:3]
    assert [Path(name).name for name in pictures.left_out] == ["notes.txt"]


def test_a_single_picture_needs_no_ending(tmp_path: Path, named: Callable[..., InferenceSettings]) -> None:
    assert open_pictures(named(write_files(tmp_path, "photo") / "photo")).form == "picture"


def test_what_earlier_jobs_wrote_is_not_an_input(tmp_path: Path, named: Callable[..., InferenceSettings]) -> None:
    write_files(tmp_path, "a.png", "predictions/job/annotated/a.jpg", "predictions/job/job.json")

    assert sources(open_pictures(named(tmp_path))) == ["a.png"]
    assert sources(open_pictures(named(f"{tmp_path}/**/*.*g"))) == [f"{tmp_path}/a.png"]


def test_pictures_of_the_user_in_the_output_folder_are_an_input(
    tmp_path: Path, named: Callable[..., InferenceSettings]
) -> None:
    photos = write_files(tmp_path / "photos", "a.png", "b/c.png", "job/annotated/a.jpg", "job/job.json")

    assert sources(open_pictures(named(tmp_path, output=photos))) == ["photos/a.png", "photos/b/c.png"]
    assert sources(open_pictures(named(f"{tmp_path}/*/*.png", output=photos))) == [f"{tmp_path}/photos/a.png"]


def test_a_glob_is_every_picture_that_matches(tmp_path: Path, named: Callable[..., InferenceSettings]) -> None:
    write_files(tmp_path, "x/a.png", "y/b.png", "y/c.jpg", "y/d.txt")

    pictures = open_pictures(named(f"{tmp_path}/*/*.[pt]*"))

    assert pictures.form == "glob"
    assert sources(pictures) == [f"{tmp_path}/x/a.png", f"{tmp_path}/y/b.png"]


def test_a_name_like_a_glob_is_the_file_of_that_name(tmp_path: Path, named: Callable[..., InferenceSettings]) -> None:
    write_files(tmp_path, "photo[1].png", "photo1.png")

    pictures = open_pictures(named(tmp_path / "photo[1].png"))

    assert (pictures.form, sources(pictures)) == ("picture", ["photo[1].png"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "inference.input is empty; name a photo, a folder"),
        ("missing.jpg", r"missing\.jpg does not exist"),
        ("*.jpg", r"\*\.jpg matches no pictures"),
        ("empty", "empty holds no pictures"),
        ("empty.zip", r"empty\.zip holds no pictures"),
        ("half.zip", r"half\.zip is not a readable zip file"),
        ("table.csv", r"table\.csv is a file of unknown kind"),
        ("text.mp4", r"text\.mp4 is not a video that can be read"),
        ("pipe", "pipe is neither a file nor a folder"),
        ("null\0character", "cannot be read|does not exist"),
        ("~nobody-of-this-name/photos", "cannot be read"),
    ],
)
def test_an_input_without_pictures_is_refused_with_its_name(
    name: str, said: str, tmp_path: Path, named: Callable[..., InferenceSettings]
) -> None:
    (tmp_path / "empty").mkdir()
    write_zip(tmp_path / "empty.zip", "notes.txt")
    whole = write_zip(tmp_path / "whole.zip", *(f"{n}.png" for n in range(20))).read_bytes()
    (tmp_path / "half.zip").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "table.csv").write_text("a,b")
    (tmp_path / "text.mp4").write_text("no video")
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(UserError, match=said) as raised:
        open_pictures(named(name if name.startswith("~") else tmp_path / name if name else " "))

    assert "inference.input" in str(raised.value)


def test_reading_can_start_anywhere(tmp_path: Path, named: Callable[..., InferenceSettings]) -> None:
    names = [f"{n}.png" for n in range(7)]
    inputs = [write_files(tmp_path / "folder", *names), write_zip(tmp_path / "set.zip", *names)]

    for given in inputs:
        pictures = open_pictures(named(given))

        assert [picture.source for picture in pictures.read(2, 5)] == ["2.png", "3.png", "4.png"]


def test_a_zip_is_read_in_its_own_order_and_leaves_nothing_on_the_disk(
    tmp_path: Path, named: Callable[..., InferenceSettings]
) -> None:
    names = ["z.png", "../../evil.png", "/root.png", "a\\b.png", "z.png"]
    (tmp_path / "sub").mkdir()
    with pytest.warns(UserWarning, match="Duplicate name"):
        given = write_zip(tmp_path / "sub" / "set.zip", *names)

    pictures = open_pictures(named(given))

    assert sources(pictures) == names
    assert [path.name for path in tmp_path.rglob("*")] == ["sub", "set.zip"]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_that_are_damaged_encrypted_or_too_large_are_reasons(
    compression: int, tmp_path: Path, named: Callable[..., InferenceSettings]
) -> None:
    names = ["damaged.png", "encrypted.png", "large.png", "good.png"]
    with zipfile.ZipFile(tmp_path / "set.zip", "w", compression) as archive:
        for name in names:
            archive.writestr(name, PNG + bytes(5000 if name == "large.png" else 0))
    content = bytearray((tmp_path / "set.zip").read_bytes())
    content[50:60] = b"\xff" * 10  # in the first member's data
    for place in (content.find(b"encrypted.png") - 30, content.rfind(b"encrypted.png") - 46):
        content[place + (6 if content[place + 2] == 3 else 8)] |= 1  # the flag in its local and its central header
    (tmp_path / "set.zip").write_bytes(content)

    payloads = [p.payload for p in open_pictures(named(tmp_path / "set.zip", max_file_bytes=2000)).read(0, 4)]

    assert isinstance(payloads[0], Exception)
    assert [type(payload).__name__ for payload in payloads[1:]] == ["RuntimeError", "ValueError", "bytes"]
    assert str(payloads[2]) == f"{len(PNG) + 5000} bytes, more than inference.max_file_bytes 2000"


def test_files_that_cannot_be_read_are_reasons(tmp_path: Path, named: Callable[..., InferenceSettings]) -> None:
    root = write_files(tmp_path / "photos", "good.png", "large.png")
    (root / "large.png").write_bytes(bytes(3000))
    (root / "link.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(root / "pipe.png")

    pictures = open_pictures(named(root, max_file_bytes=2000))
    payloads = {picture.source: picture.payload for picture in pictures.read(0, pictures.count)}

    assert payloads["good.png"] == PNG
    assert "3000 bytes, more than inference.max_file_bytes 2000" in str(payloads["large.png"])
    assert isinstance(payloads["link.png"], FileNotFoundError)
    assert "not a regular file" in str(payloads["pipe.png"])


@pytest.mark.parametrize("pattern", ["", "/*.png"])
def test_an_input_that_goes_away_is_an_error_and_not_a_thousand_unreadable_pictures(
    pattern: str, tmp_path: Path, named: Callable[..., InferenceSettings]
) -> None:
    root = write_files(tmp_path / "stick", "a.png", "b.png")
    pictures = open_pictures(named(f"{root}{pattern}"))
    root.rename(tmp_path / "unplugged")

    with pytest.raises(UserError, match=r"stick(/\*\.png)? has gone while it was read"):
        list(pictures.read(0, 2))


def test_a_name_that_is_not_text_can_still_be_stored(tmp_path: Path, named: Callable[..., InferenceSettings]) -> None:
    root = write_files(tmp_path / "photos", os.fsdecode(b"caf\xe9.png"))

    (picture,) = open_pictures(named(root)).read(0, 1)

    assert (picture.source, picture.payload) == (r"caf\udce9.png", PNG)


def test_the_fingerprint_follows_what_the_input_holds(tmp_path: Path, named: Callable[..., InferenceSettings]) -> None:
    root = write_files(tmp_path / "photos", "a.png", "b.png")
    before = open_pictures(named(root)).fingerprint
    write_files(root, "notes.txt")
    same = open_pictures(named(root, workers=7)).fingerprint
    (root / "a.png").write_bytes(PNG + b" ")
    changed = open_pictures(named(root)).fingerprint

    assert before == same != changed


@pytest.mark.parametrize(
    ("text", "name"),
    [("../../etc/passwd", "etc-passwd"), ("a b\n\x1b[31m", "a-b-31m"), ("été 雪.png", "été-雪-png"), ("...", "")],
)
def test_a_plain_name_has_no_character_that_a_path_could_trip_over(text: str, name: str) -> None:
    assert plain_name(text, 40) == name


def test_pictures_behind_an_address_are_those_of_a_folder_or_of_a_zip(
    named: Callable[..., InferenceSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec: Any = pytest.importorskip("fsspec", reason="fsspec comes with make setup-servers")
    monkeypatch.setenv(FETCHED, str(tmp_path / "fetched"))
    write_files(tmp_path / "photos", "a.png", "more/b.png")
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "photos"), "/bucket/photos", recursive=True)
    memory.put(str(write_zip(tmp_path / "photos.zip", "a.png", "b.png")), "/bucket/photos.zip")

    folder = open_pictures(named("memory://bucket/photos"))
    packed = open_pictures(named("memory://bucket/photos.zip"))

    assert (folder.name, folder.form, sources(folder)) == ("photos", "folder", ["a.png", "more/b.png"])
    assert (packed.name, packed.form, sources(packed)) == ("photos.zip", "archive", ["a.png", "b.png"])
    memory.rm("/", recursive=True)
