import json
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import mlflow
import pytest
from markdown_it import MarkdownIt

from commands import comparison as reading
from commands.command_line import FORMATS
from commands.comparison import METRICS, Comparison, compare_runs
from commands.comparison_formats import RENDERERS, render
from configs.errors import UserError
from configs.loading import load_settings
from configs.settings import Settings
from tests.conftest import PROJECT

MODEL = "face-emotion-classifier"
GOOD = {
    "test/accuracy": 0.64, "test/macro_f1": 0.58, "test/worst_class_recall": 0.25,
    "test_slice/worst_accuracy": 0.41,
    "test/expected_calibration_error": 0.04, "model_megabytes": 80.5, "latency_p95_milliseconds": 30.0,
}  # fmt: skip
BETTER = {**GOOD, "test/accuracy": 0.66, "test/expected_calibration_error": 0.02, "model_megabytes": 90.0}
DRAWN = dict.fromkeys(GOOD, 1.0)
HOSTILE = "a|b\n<script>alert(1)</script> `c` [d](e) \x1b[31m"


class Store:
    """A real MLflow store with made-up runs; `ids` finds them by name, and names are in the order of their start."""

    def __init__(self, folder: Path) -> None:
        self.uri = f"sqlite:///{folder / 'mlflow.db'}"
        self.client = mlflow.MlflowClient(self.uri)
        self.experiment = self.client.create_experiment("face-emotion", artifact_location=folder.as_uri())
        self.ids: dict[str, str] = {}

    def add(self, name: str, metrics: dict[str, float], pipeline: str = "training", **tags: str) -> str:
        started = 1_795_300_000_000 + 60_000 * len(self.ids)
        told = {"pipeline": pipeline, "weights": "imagenet", "dataset": "fer2013.zip", **tags}
        run = self.client.create_run(self.experiment, started, told, name)
        for metric, value in metrics.items():
            self.client.log_metric(run.info.run_id, metric, value)
        self.client.set_terminated(run.info.run_id, "FINISHED" if metrics else "FAILED")
        self.ids[name] = str(run.info.run_id)
        return self.ids[name]

    def register(self, name: str) -> str:
        run_id = self.ids[name]
        return str(self.client.create_model_version(MODEL, f"runs:/{run_id}/model", run_id).version)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("store"))
    store.client.create_registered_model(MODEL)
    store.add("first", GOOD, decision="promoted")
    store.add("second", BETTER, decision="held")
    for name in ("first", "second"):
        store.register(name)
    store.add("prediction", GOOD, pipeline="inference")
    store.add("demo", DRAWN, dataset="drawn")
    store.add(HOSTILE, {}, weights=HOSTILE, dataset=HOSTILE, decision=HOSTILE)
    store.add("diverged", {**GOOD, "test/accuracy": float("nan")})
    store.client.set_registered_model_alias(MODEL, "champion", "1")
    store.client.set_registered_model_alias(MODEL, "challenger", "2")
    return store


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings([], {})


@pytest.fixture(scope="module")
def comparison(store: Store, settings: Settings) -> Comparison:
    return compare_runs(settings, store.uri)


def test_champion_and_challenger_come_first_then_the_last_training_runs_and_no_run_twice(
    comparison: Comparison,
) -> None:
    shown = [(row.role, row.version, row.run.name) for row in comparison.rows]

    assert shown == [
        ("champion", "1", "first"),
        ("challenger", "2", "second"),
        ("", "", "diverged"),
        ("", "", HOSTILE),
        ("", "", "demo"),
    ]


def test_no_more_runs_are_shown_than_the_settings_say(store: Store) -> None:
    rows = compare_runs(load_settings([], {"tracking": {"compared_runs": 1}}), store.uri).rows

    assert [row.run.name for row in rows] == ["first", "second", "diverged"]


def test_runs_on_other_test_faces_are_no_rivals_though_their_data_set_has_the_same_name(
    settings: Settings, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    store.add("last year", {"test/accuracy": 0.9}, test_fingerprint="other faces")
    store.add("worse", {"test/accuracy": 0.6}, test_fingerprint="these faces")
    store.add("renamed", {"test/accuracy": 0.7}, test_fingerprint="these faces", dataset="copy.zip")

    found = compare_runs(settings, store.uri)

    accuracy = METRICS[0]
    assert {row.run.name: found.is_best(row, accuracy) for row in found.rows} == {
        "renamed": True, "worse": False, "last year": False,
    }  # fmt: skip


def test_a_version_that_holds_both_aliases_is_one_row(store: Store, settings: Settings) -> None:
    store.client.set_registered_model_alias(MODEL, "challenger", "1")
    try:
        rows = compare_runs(settings, store.uri).rows
    finally:
        store.client.set_registered_model_alias(MODEL, "challenger", "2")

    assert [(row.role, row.run.name) for row in rows][:2] == [("both", "first"), ("", "diverged")]
    assert [(row.version, row.run.name) for row in rows][-1] == ("2", "second")


def test_a_champion_whose_run_is_gone_is_still_shown(store: Store, settings: Settings) -> None:
    version = str(store.client.create_model_version(MODEL, "/nowhere", tags={"dataset": "imported"}).version)
    store.client.set_registered_model_alias(MODEL, "challenger", version)
    try:
        compared = compare_runs(settings, store.uri)
    finally:
        store.client.set_registered_model_alias(MODEL, "challenger", "2")

    row = compared.rows[1]
    assert (row.role, row.version, row.run.name, row.tags["dataset"]) == ("challenger", version, "", "imported")
    assert '""' not in parse_qs(urlsplit(compared.ui).fragment.partition("?")[2])["runs"][0]


def test_the_best_value_is_marked_among_runs_on_the_champions_data(comparison: Comparison) -> None:
    lines = render(comparison, "text").splitlines()
    champion = next(line for line in lines if line.startswith("champion"))
    challenger = next(line for line in lines if line.startswith("challenger"))

    assert "  0.6400 " in champion
    assert "*0.6600" in challenger
    assert "*0.0200" in challenger  # of errors the smallest
    assert "*80.5" in champion
    assert "*0.58" not in champion  # all the same
    assert "*" not in next(line for line in lines if "demo" in line)


def test_a_failed_run_has_empty_cells(comparison: Comparison) -> None:
    (failed,) = [run for run in json.loads(render(comparison, "json"))["runs"] if run["status"] == "FAILED"]

    assert failed["run"] == HOSTILE
    assert {failed[name] for name in GOOD} == {None}


def test_json_has_the_names_of_mlflow_numbers_as_numbers_and_the_link(comparison: Comparison, store: Store) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    told = json.loads(render(comparison, "json"), parse_constant=refuse)

    assert told["ui"] == comparison.ui
    assert told["runs"][0] == {
        "role": "champion", "version": "1", "run": "first", "run_id": store.ids["first"], "status": "FINISHED",
        "started": "2026-11-21 22:26", **GOOD, "weights": "imagenet", "dataset": "fer2013.zip", "decision": "promoted",
    }  # fmt: skip
    assert told["runs"][2]["test/accuracy"] is None  # not a number
    assert told["runs"][2]["test/macro_f1"] == 0.58


def test_text_keeps_one_line_a_run_whatever_its_name(comparison: Comparison) -> None:
    lines = render(comparison, "text").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("---")) + 1

    assert len(lines[start : lines.index("")]) == len(comparison.rows)
    assert "\x1b" not in "".join(lines)


class Cells(HTMLParser):
    """Collects the text of a page's table cells by row, and every tag that it meets."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.inside = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data


@pytest.mark.parametrize("form", ["markdown", "html"])
def test_hostile_names_stay_in_their_cell(form: str, comparison: Comparison) -> None:
    page = render(comparison, form)
    if form == "markdown":
        page = MarkdownIt("commonmark", {"html": True}).enable("table").render(page)

    cells = Cells(page)

    assert [len(row) for row in cells.rows] == [15] * 6
    assert cells.rows[0][5:12] == list(GOOD)
    shown = cells.rows[4]
    for column in (2, 12, 13, 14):
        assert shown[column].split()[:3] == ["a|b", "<script>alert(1)</script>", "`c`"]
        assert "[d](e)" in shown[column]
    assert "script" not in cells.tags
    assert form == "html" or "code" not in cells.tags  # the page itself has a name set as code


def test_the_link_opens_mlflows_own_comparison_of_these_runs(comparison: Comparison, store: Store) -> None:
    link = urlsplit(comparison.ui)
    page, _, query = link.fragment.partition("?")
    chosen = {name: json.loads(values[0]) for name, values in parse_qs(query, strict_parsing=True).items()}

    assert f"{link.scheme}://{link.netloc}{link.path}" == "http://127.0.0.1:5000/"
    assert page == "/compare-runs"
    assert chosen["runs"] == [row.run.run_id for row in comparison.rows]
    assert chosen["experiments"] == [store.experiment]
    assert "(after make ui)" in render(comparison, "text")


def test_the_link_goes_to_the_server_that_tracks_without_its_password(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stack.findings import Finding

    monkeypatch.setattr(reading, "check_store", lambda uri, name: Finding("MLflow store", "a server"))
    monkeypatch.setattr(mlflow, "MlflowClient", lambda uri: store.client)

    compared = compare_runs(settings, "https://me:secret@mlflow.example/base/")

    assert compared.ui.startswith("https://mlflow.example/base/#/compare-runs?runs=")
    assert "after make ui" not in render(compared, "markdown")


def test_the_page_needs_no_other_file_and_links_to_the_ui(comparison: Comparison) -> None:
    page = render(comparison, "html")

    assert 'src="http' not in page
    assert page.count("href=") == 1
    assert "#/compare-runs?runs=%5B%22" in page


def test_a_single_row_has_no_best(comparison: Comparison) -> None:
    alone = replace(comparison, rows=comparison.rows[:1])

    assert "**0." not in render(alone, "markdown")


def test_without_a_store_it_says_what_to_run_first_and_makes_none(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no training run .* run --pipeline training first"):
        compare_runs(settings, f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}")

    assert not list(tmp_path.iterdir())


def test_without_runs_and_model_it_says_what_to_run_first(store: Store) -> None:
    other = load_settings([], {"tracking": {"experiment_name": "other", "model_name": "other"}})

    with pytest.raises(UserError, match="no training run in the experiment other and no champion of other"):
        compare_runs(other, store.uri)


def test_a_damaged_store_is_named_at_once(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"SQLite format 3\0" + b"no pages" * 1000)

    with pytest.raises(UserError, match=r"mlflow\.db is damaged.*restore a backup"):
        compare_runs(settings, f"sqlite:///{tmp_path / 'mlflow.db'}")


def test_neither_tensorflow_nor_zenml_is_loaded(store: Store) -> None:
    code = (
        "import sys; from configs.loading import load_settings; from commands.comparison import compare_runs\n"
        "from commands.comparison_formats import render\n"
        "print(render(compare_runs(load_settings([], {}), sys.argv[1]), 'text'))\n"
        "print(sorted({'tensorflow', 'keras', 'zenml', 'cv2'} & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, store.uri], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    assert done.stderr == ""


def test_every_format_that_the_command_line_offers_can_be_rendered() -> None:
    assert set(RENDERERS) == set(FORMATS)
