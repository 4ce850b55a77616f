from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest

from configs.settings import Settings
from stack.client_files import fetch_files
from stack.step_places import StepPlaces


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("store")
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    yield mlflow.create_experiment("places", artifact_location=(folder / "artifacts").as_uri())
    mlflow.set_tracking_uri(None)


@pytest.fixture
def run(experiment: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[mlflow.ActiveRun]:
    uri = mlflow.get_tracking_uri()
    monkeypatch.setattr("stack.client_files.find_tracking_uri", lambda state: uri)
    with mlflow.start_run(experiment_id=experiment) as started:
        yield started


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StepPlaces:
    """The places of a step whose machine has a temporary folder and none of the client's."""
    (tmp_path / "machine").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "machine"))
    client = tmp_path / "client"
    return StepPlaces(state_folder=str(client / "state"), reports_folder=str(client / "reports"), elsewhere=True)


@pytest.fixture
def client_settings(small_settings: Settings, elsewhere: StepPlaces, tmp_path: Path) -> Settings:
    tracking = small_settings.tracking.model_copy(update={"reports_folder": Path(elsewhere.reports_folder)})
    inference = small_settings.inference.model_copy(update={"output": tmp_path / "client" / "predictions"})
    bundle = small_settings.bundle.model_copy(update={"path": tmp_path / "client" / "bundles" / "champion.zip"})
    changes = {"state_folder": tmp_path / "client" / "state", "tracking": tracking, "inference": inference}
    return small_settings.model_copy(update={**changes, "bundle": bundle})


def fetch(run: mlflow.ActiveRun, settings: Settings) -> list[str]:
    step = SimpleNamespace(run_metadata={"mlflow_run_id": run.info.run_id})
    steps = {"ingest_data": SimpleNamespace(run_metadata={}), "accept_data": step}
    return fetch_files(SimpleNamespace(steps=steps), settings)


def test_here_a_report_is_a_file_and_nothing_more(run: mlflow.ActiveRun, tmp_path: Path) -> None:
    places = StepPlaces(state_folder=str(tmp_path / "state"), reports_folder=str(tmp_path / "reports"))

    page = places.write_report("drift.html", "a page")

    assert Path(page) == tmp_path / "reports" / run.info.run_id / "drift.html"
    assert Path(page).read_text(encoding="utf-8") == "a page"
    assert mlflow.MlflowClient().list_artifacts(run.info.run_id) == []


def test_elsewhere_a_report_is_where_the_step_said_once_the_client_has_fetched_it(
    run: mlflow.ActiveRun, elsewhere: StepPlaces, client_settings: Settings
) -> None:
    page = Path(elsewhere.write_report("drift.html", "a page"))
    assert not page.exists()

    fetch(run, client_settings)

    assert page.read_text(encoding="utf-8") == "a page"


def test_elsewhere_predictions_reach_later_steps_and_the_client(
    run: mlflow.ActiveRun, elsewhere: StepPlaces, client_settings: Settings
) -> None:
    shown = client_settings.inference.output / "faces-0123456789"
    own = elsewhere.job_folder(shown)
    own.mkdir(parents=True)
    (own / "predictions.parquet").write_text("rows")
    (own / "job.lock").touch()

    elsewhere.keep_predictions(own, left_out=("job.lock",))
    fetch(run, client_settings)

    assert elsewhere.find_predictions(str(shown), "predictions.parquet").read_text() == "rows"
    assert [path.name for path in shown.iterdir()] == ["predictions.parquet"]


def test_elsewhere_a_bundle_arrives_where_the_settings_want_it(
    run: mlflow.ActiveRun, elsewhere: StepPlaces, client_settings: Settings
) -> None:
    elsewhere.bundle_file(str(client_settings.bundle.path)).write_text("a bundle")

    elsewhere.keep_bundle(elsewhere.bundle_file(str(client_settings.bundle.path)))
    fetch(run, client_settings)

    assert client_settings.bundle.path.read_text() == "a bundle"


def test_elsewhere_no_step_touches_the_clients_folders(elsewhere: StepPlaces, tmp_path: Path) -> None:
    assert elsewhere.work.is_relative_to(tmp_path / "machine")
    assert elsewhere.job_folder(tmp_path / "client" / "job").is_relative_to(tmp_path / "machine")
    assert elsewhere.bundle_file(str(tmp_path / "client" / "a.zip")).is_relative_to(tmp_path / "machine")


def test_what_the_client_cannot_write_is_said_and_stays_in_mlflow(
    run: mlflow.ActiveRun,
    elsewhere: StepPlaces,
    client_settings: Settings,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    elsewhere.write_report("drift.html", "a page")
    bundle = elsewhere.bundle_file(str(client_settings.bundle.path))
    bundle.write_text("a bundle")
    elsewhere.keep_bundle(bundle)
    (tmp_path / "client").write_text("in the way")

    (missing,) = fetch(run, client_settings)

    assert f"reports of the MLflow run {run.info.run_id} is not copied" in caplog.text
    assert f"bundle of the MLflow run {run.info.run_id} is not copied to {tmp_path / 'client' / 'bundles'}" in missing
