import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest

from commands.command_line import parse_words
from configs.errors import InvalidDataError
from configs.loading import merge
from configs.settings import Settings
from stack.step_places import StepPlaces
from steps.accept_data import accept_data
from steps.analyze_balance import analyze_balance
from steps.ingest_data import ingest_data
from steps.preprocess_data import preprocess_data
from steps.preview_augmentation import preview_augmentation
from steps.validate_data import validate_data
from vision.data.faces import FaceSet


def test_the_data_steps_run_without_a_stack(small_settings: Settings) -> None:
    seed = small_settings.seed

    faces = ingest_data.entrypoint(small_settings.dataset, seed, "fingerprint")
    validation = validate_data.entrypoint(faces, small_settings.validation, 1.0)
    balance = analyze_balance.entrypoint(faces, small_settings.balance, seed)
    prepared, preprocessing = preprocess_data.entrypoint(faces, small_settings.preprocessing, seed)
    preview = preview_augmentation.entrypoint(prepared, small_settings.augmentation, 0, seed)

    assert validation.images == sum(balance.counts["unassigned"].values()) == len(prepared) == 210
    assert preprocessing.rules[-1].remaining == prepared.table["split"].value_counts().to_dict()
    assert preview.settings["flip"] == 1.0


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("store")
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    return mlflow.create_experiment("tests", artifact_location=(folder / "artifacts").as_uri())


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no figures, which take longer than the steps' own work."""
    for figure in ("class_counts", "class_weights", "sample_faces", "faces_by_rule", "suspicious_faces"):
        monkeypatch.setattr(f"vision.data.plots.{figure}", lambda *given: b"")


@pytest.fixture
def mlflow_run(experiment: str) -> Any:
    with mlflow.start_run(experiment_id=experiment) as run:
        yield run


def test_invalid_data_stops_with_a_table_and_is_recorded_all_the_same(
    mlflow_run: Any, drawn: FaceSet, small_settings: Settings, tmp_path: Path
) -> None:
    # every face of one class becomes unreadable
    table = drawn.table.assign(error=["broken" if label == "sad" else "" for label in drawn.table["label"]])
    faces = replace(drawn, table=table)
    validation = validate_data.entrypoint(faces, small_settings.validation, 1.0)
    settings = small_settings.model_dump(mode="json")
    places = StepPlaces(state_folder=str(tmp_path), reports_folder=str(tmp_path / "reports"))

    with pytest.raises(InvalidDataError) as raised:
        accept_data.entrypoint(faces, validation, settings, {"dataset": "drawn"}, places)

    assert raised.value.exit_code == 5
    assert "decodable" in str(raised.value)
    assert "unassigned/sad: 0" in str(raised.value)
    recorded = mlflow.get_run(mlflow_run.info.run_id)
    assert recorded.data.metrics["validation/decodable_failed"] == (drawn.table["label"] == "sad").sum()
    assert recorded.data.params["training.batch_size"] == "32"
    assert recorded.data.tags["data_fingerprint"] == faces.fingerprint
    assert (tmp_path / "reports" / mlflow_run.info.run_id / "validation.html").is_file()
    assert "It cannot be trained on as it is, whatever the checks allow: drawn: no training face is left of sad" in str(
        raised.value
    )
    assert "severity warning" not in str(raised.value)


def spoil(faces: FaceSet, fault: str) -> FaceSet:
    """Give a twelfth of the faces a fault of a critical check."""
    table = faces.table.copy()
    rows = table.index[::12]
    changes: dict[str, dict[str, Any]] = {
        "decodable": {"error": "ValueError: invalid literal for int() with base 10: '[70,'"},
        "known_label": {"label": "bored"},
        "size": {"width": 20, "height": 20},
        "framing": {"width": 640, "height": 490},
        "class_count": {"label": "happy"},
    }
    for column, value in changes[fault].items():
        table.loc[rows if fault != "class_count" else table["label"] == "sad", column] = value
    return replace(faces, table=table)


def refused(faces: FaceSet, settings: Settings, reports: Path) -> str:
    """Return what the user reads of data that fail a check, or "" where they are accepted."""
    validation = validate_data.entrypoint(faces, settings.validation, 1.0)
    places = StepPlaces(state_folder=str(reports), reports_folder=str(reports))
    experiment = mlflow.active_run().info.experiment_id
    with mlflow.start_run(experiment_id=experiment, nested=True):
        try:
            accept_data.entrypoint(faces, validation, settings.model_dump(mode="json"), {}, places)
        except InvalidDataError as error:
            return str(error)
    return ""


def with_options(settings: Settings, options: list[str]) -> Settings:
    given = parse_words(shlex.split(" ".join(options))).given
    return Settings(**merge(settings.model_dump(), given))


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("decodable", "18 x ValueError: invalid literal for int() with base 10: '[70,' (for example drawn/000000)"),
        ("known_label", "18 x the label 'bored' (for example drawn/000000)"),
        ("size", "18 x 20x20 pixels (for example drawn/000000)"),
        ("framing", "18 x 640x490 pixels (for example drawn/000000)"),
    ],
)
def test_the_severity_that_a_failed_check_advises_lets_the_rest_be_trained(
    fault: str, reason: str, mlflow_run: Any, drawn: FaceSet, small_settings: Settings, tmp_path: Path
) -> None:
    faces = spoil(drawn, fault)
    said = refused(faces, small_settings, tmp_path)

    advised = re.findall(r"--validation\.\w+\.severity warning", said)

    assert reason in said
    assert advised == [f"--validation.{fault}.severity warning"]
    settings = with_options(small_settings, advised)
    assert refused(faces, settings, tmp_path) == ""
    analyze_balance.entrypoint(faces, settings.balance, 1)
    prepared, report = preprocess_data.entrypoint(faces, settings.preprocessing, 1)
    assert len(prepared) == 210 - (0 if fault in ("size", "framing") else 18)
    dropped = {rule.rule: rule.dropped for rule in report.rules}
    assert dropped["unreadable"] == ({"unassigned": 18} if fault == "decodable" else {})
    assert dropped["unknown_label"] == ({"unassigned": 18} if fault == "known_label" else {})


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("fault", ["known_label", "class_count"])
def test_the_class_names_that_a_failed_check_advises_are_those_of_the_data(
    fault: str, mlflow_run: Any, drawn: FaceSet, small_settings: Settings, tmp_path: Path
) -> None:
    faces = spoil(drawn, fault)
    said = refused(faces, small_settings, tmp_path)

    advised = re.findall(r'--dataset\.class_names "[^"]*"', said)

    settings = with_options(small_settings, advised)
    names = settings.dataset.class_names
    assert set(names) == set(faces.table["label"])
    assert refused(replace(faces, class_names=names), settings, tmp_path) == ""
