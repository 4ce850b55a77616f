from pathlib import Path

import pytest

from configs.settings import Settings
from materializers.report_materializer import ReportMaterializer
from vision.data.balance import analyze_classes
from vision.data.faces import FaceSet
from vision.data.preprocessing import preprocess_faces
from vision.data.validation import validate_faces
from vision.reporting.reports import Report
from vision.training.augmentation import preview_faces
from vision.training.history import TrainingHistory


@pytest.fixture(scope="module")
def reports(drawn: FaceSet, prepared: FaceSet, small_settings: Settings) -> dict[str, Report]:
    epoch = {"loss": 1.0, "val_loss": 2.0, "val_accuracy": 0.3, "seconds": 1.0}
    return {
        "validation": validate_faces(drawn, small_settings.validation, blank_standard_deviation=1.0),
        "balance": analyze_classes(drawn, small_settings.balance, seed=0),
        "preprocessing": preprocess_faces(drawn, small_settings.preprocessing, seed=0)[1],
        "augmentation": preview_faces(prepared, small_settings.augmentation, 0, seed=0),
        "history": TrainingHistory(
            epochs=[epoch],
            phases=["head"],
            monitor="val_loss",
            best_epoch=1,
            precision="float32",
            repeatable=True,
            state="x",
            figures={},
        ),
    }


@pytest.mark.parametrize("name", ["validation", "balance", "preprocessing", "augmentation", "history"])
def test_a_loaded_report_equals_the_saved_one(name: str, reports: dict[str, Report], tmp_path: Path) -> None:
    report = reports[name]
    ReportMaterializer(str(tmp_path)).save(report)

    loaded = ReportMaterializer(str(tmp_path)).load(type(report))

    assert loaded == report


@pytest.mark.parametrize("name", ["validation", "balance"])
def test_a_report_is_shown_as_a_page_with_its_figures(name: str, reports: dict[str, Report], tmp_path: Path) -> None:
    (path,) = ReportMaterializer(str(tmp_path)).save_visualizations(reports[name])

    page = Path(path).read_text()
    assert page.count("data:image/png;base64,") == len(reports[name].figures)


def test_its_numbers_are_not_written_to_zenmls_store(reports: dict[str, Report], tmp_path: Path) -> None:
    assert reports["history"].numbers()
    assert ReportMaterializer(str(tmp_path)).extract_metadata(reports["history"]) == {}
