from pathlib import Path

from vision.files.hashes import code_files, hash_code, hash_facts, hash_file


def test_the_hash_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")

    assert hash_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_order_of_facts_does_not_change_their_hash() -> None:
    assert hash_facts({"a": 1, "b": [2]}) == hash_facts({"b": [2], "a": 1})
    assert hash_facts({"a": 1}) != hash_facts({"a": 2})


def test_the_code_is_every_room_and_no_test(tmp_path: Path) -> None:
    for name in ("vision/training/loop.py", "steps/train_model.py", "tests/test_loop.py", "run.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("a = 1")

    assert [path.name for path in code_files(tmp_path)] == ["train_model.py", "loop.py"]


def test_the_hash_of_the_code_follows_content_and_name(tmp_path: Path) -> None:
    (tmp_path / "vision").mkdir()
    (tmp_path / "vision" / "a.py").write_text("a = 1")
    first = hash_code(tmp_path)
    (tmp_path / "vision" / "a.py").write_text("a = 2")
    second = hash_code(tmp_path)
    (tmp_path / "vision" / "a.py").rename(tmp_path / "vision" / "b.py")

    assert len({first, second, hash_code(tmp_path)}) == 3
