from pathlib import Path
from textwrap import dedent

import pytest

import run
from configs.loading import YAML_BYTES
from tests.hostile.conftest import confined

LAUGHS = "a: &a [lol,lol,lol,lol,lol,lol,lol,lol,lol]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("!!python/object/apply:os.system ['touch owned']", "could not determine a constructor for the tag"),
        ("seed: !!python/name:os.system", "could not determine a constructor for the tag"),
        (LAUGHS, "aliases (*name) are not read; write the value out"),
        ("training: &t {batch_size: 7}\nother:\n  <<: *t", "aliases (*name) are not read"),
        ("seed: 1\nseed: 2", "the key 'seed' occurs twice"),
        ("training: {batch_size: 7, batch_size: 8}", "the key 'batch_size' occurs twice"),
        ("_env_file: owned", "_env_file = 'owned': unknown setting; allowed: seed"),
        ('state_folder: "a\\0b"', "state_folder 'a\\x00b' cannot be a path: embedded null byte"),
        ('rollback: {reason: "a\\0b"}', "rollback.reason = 'a\\x00b': contains the null character"),
        ('card: {limits: ["a\\0b"]}', "card.limits = 'a\\x00b': contains the null character"),
        ('dataset: {codes: {"a\\0b": happy}}', "contains the null character"),
        (f"tracking: {{experiment_name: {'a' * 251}}}", "at most 250 characters"),
        ("tracking: {model_name: a/b}", "tracking.model_name = 'a/b'"),
        ("trainings: {batch_size: 7}", "trainings = {'batch_size': 7}: unknown setting; allowed here: seed"),
        ("training: {batchsize: 7}", "training.batchsize = 7: unknown setting; allowed here: precision"),
        ("training:\n\tbatch_size: 7", "found character '\\t' that cannot start any token"),
        ("[" * 3_000, "is not valid YAML: maximum recursion depth exceeded"),
        ("seed: 2001-99-99", "is not valid YAML: month must be in 1..12"),
        (f"seed: {'9' * 5000}", "is not valid YAML: Exceeds the limit"),
        (f"seed: 1{':59' * 5000}", "seed = a number of thousands of digits"),
        (f"seed: {'x' * 50_000}", "seed = '" + "x" * 199 + "…: Input should be a valid integer"),
        ("".join(f"wrong{number}: 1\n" for number in range(30)), "  and 10 more"),
        ("\x00\x01", "special characters are not allowed"),
        ("? [a, b]\n: 1", "found unhashable key"),
        ("", "contains NoneType, expected sections"),
        ("alerts: {command: [touch, owned]}", "alerts.command, which is read from the environment, the command line"),
        ("alerts: {webhook: 'http://127.0.0.1:9/'}", "alerts.webhook, which is read from the environment"),
    ],
)  # fmt: skip
def test_hostile_settings_end_in_one_sentence_and_code_2(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hostile.yaml").write_text(text, encoding="utf-8")

    code = run.main(["--pipeline", "training", "--config", "hostile.yaml"])

    shown = capsys.readouterr().err
    assert code == 2
    assert said in shown
    assert len(shown) < 10_000
    assert [path.name for path in tmp_path.iterdir()] == ["hostile.yaml"]


def test_a_binary_file_as_settings_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "hostile.yaml").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")

    assert run.main(["--pipeline", "training", "--config", str(tmp_path / "hostile.yaml")]) == 2
    assert "hostile.yaml cannot be read: 'utf-8' codec can't decode" in capsys.readouterr().err


def test_a_gigabyte_of_settings_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "hostile.yaml").open("wb") as file:
        file.truncate(1_000_000_000)

    (said,) = confined(
        dedent("""
            import resource, sys
            from pathlib import Path
            from configs.errors import UserError
            from configs.loading import load_settings
            used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + 50_000_000,) * 2)
            try:
                load_settings([Path(sys.argv[1])], {})
            except UserError as error:
                print(error)
            """),
        str(tmp_path / "hostile.yaml"),
    )

    assert said.endswith(f"hostile.yaml has more than {YAML_BYTES} bytes; settings take a few thousand")
