"""README and docs/: every command is read as run.py and make read it, and what the pages name is there."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands.command_line import parse_words
from configs.loading import load_settings
from configs.pipelines import PIPELINES
from configs.settings import Settings
from tests.conftest import PROJECT
from tests.pages import FENCE, KINDS, PAGES, PYTHON, Command, all_commands, clone_project, kind_of, of_run

LINKED = [*PAGES, *(PROJECT / name for name in ("SECURITY.md", "data/README.md", "benchmarks/README.md"))]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clone_project(tmp_path_factory.mktemp("docs"))


def read_settings(command: Command, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Settings]:
    """Return options and settings as run.py reads them."""
    for name, value in command.environment.items():
        monkeypatch.setenv(name, value)
    options = parse_words(command.arguments or [])
    return options, load_settings(options.config, options.given)


def test_the_readme_is_one_screen() -> None:
    assert len((PROJECT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_block_of_a_page_is_of_a_kind_that_is_checked(page: Path) -> None:
    languages = [name for name, _ in FENCE.findall(page.read_text(encoding="utf-8"))]

    assert set(languages) <= {"sh", "python", "text"}


def test_each_command_is_of_a_kind_that_is_checked() -> None:
    starts = {" ".join(command.words[: 1 if command.words[0] == "make" else 2]) for command in all_commands()}

    assert starts == {f"{PYTHON} run.py", "make", "git clone", "cd face-emotion"}


@pytest.mark.parametrize("command", of_run(), ids=lambda command: f"{command.page}: {' '.join(command.words)}")
def test_the_settings_of_each_command_are_read_and_the_files_that_it_names_are_there(
    command: Command, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clone)
    if kind_of(command) == "help":
        return  # prints and ends; it is run below
    options, settings = read_settings(command, monkeypatch)

    assert kind_of(command) in (*KINDS, *PIPELINES)
    weights, pictures = settings.classifier.weights, settings.inference.input
    named = [settings.dataset.path, *([] if weights in ("imagenet", "none") else [Path(weights)])]
    assert not [path for path in [*named, *options.config] if not path.exists()]
    assert not pictures or list(Path().glob(pictures))


def test_each_make_target_is_there(clone: Path) -> None:
    lines = {" ".join(command.words): command.words for command in all_commands() if command.words[0] == "make"}
    for line, words in lines.items():
        done = subprocess.run(
            ["make", "--dry-run", *words[1:]], cwd=clone, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"
    assert len(lines) > 10


def test_make_help_and_run_help_print_what_the_pages_name_in_passing(clone: Path) -> None:
    targets = re.findall(r"^  make ([\w-]+)", called("make", "help", cwd=clone), re.MULTILINE)
    options = re.findall(r"--[\w.]+", called(sys.executable, "run.py", "--help", cwd=clone))
    sections = set(Settings.model_fields)
    for page in PAGES:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        for span in re.findall(r"`([^`\n]+)`", text):
            assert set(re.findall(r"^make ([\w-]+)", span)) <= set(targets), f"{page.name}: {span}"
            assert set(re.findall(r"(?<!\S)--[\w.]+", span)) <= {*options, "--pipeline"}, f"{page.name}: {span}"
            setting = re.match(r"(\w+)\.[a-z_.]+(?=$|:)", span)
            if setting and setting[1] in sections and not span.endswith((".yaml", ".html", ".json", ".keras")):
                known = [name for name in options if f"{name}.".startswith(f"--{setting[0]}.")]
                assert known, f"{page.name}: {span}"


def called(*words: str, cwd: Path) -> str:
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.name)
def test_what_a_page_links_to_and_the_files_that_it_names_are_there(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            linked = page.parent / path if path else page
            assert linked.exists(), target
            assert not anchor or anchor in anchors(linked), target
    tops = {path.name for path in PROJECT.iterdir()} - {"data"}
    for span in re.findall(r"`([\w.][\w./-]+)`", text):
        if "/" in span and span.split("/")[0] in tops - {".venv", ".state", "reports", "predictions", "site"}:
            assert (PROJECT / span).exists(), span


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.skipif(not importlib.util.find_spec("mkdocs"), reason="mkdocs is not installed (extra docs)")
def test_the_pages_are_built_without_a_warning_and_load_nothing_from_elsewhere(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    subprocess.run(line, cwd=PROJECT, check=True, capture_output=True, timeout=120)

    menu = yaml.safe_load((PROJECT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    built = [tmp_path / name.replace(".md", ".html") for entry in menu for name in entry.values()]
    assert len(built) == len(PAGES) - 1
    for page in built:
        loaded = re.findall(r"<(?:script|img|link|iframe)[^>]*?(?:src|href)=\"?(\S+)", page.read_text(encoding="utf-8"))
        assert loaded
        assert not [address for address in loaded if "//" in address], page
