"""The real FER2013, where it lies beside the project."""

from pathlib import Path

import numpy as np
import pytest

from configs.loading import load_settings
from vision.data.ingestion import ingest_faces
from vision.data.preprocessing import preprocess_faces
from vision.data.validation import validate_faces
from vision.files.usage import MEGABYTE, measure, resident_bytes

ARCHIVE = Path(__file__).resolve().parents[2] / "shared" / "data" / "fer2013.zip"


@pytest.mark.duration
@pytest.mark.shared
@pytest.mark.skipif(not ARCHIVE.is_file(), reason=f"the real FER2013 is not at {ARCHIVE}")
def test_the_known_defects_of_fer2013_are_found_and_dropped_in_time() -> None:
    settings = load_settings([], {"dataset": {"path": str(ARCHIVE)}})

    before = resident_bytes() / MEGABYTE  # of the tests that this process ran
    with measure() as usage:
        faces = ingest_faces(settings.dataset, settings.seed)
        report = validate_faces(faces, settings.validation, settings.preprocessing.blank_standard_deviation)
        prepared, preprocessing = preprocess_faces(faces, settings.preprocessing, settings.seed)

    failed = {check.check: check.failed for check in report.checks if check.failed}
    assert failed == {"repeated": 1250, "leaked": 279, "near_leaked": 18, "conflicting": 75, "brightness": 1}
    assert report.critical == ()
    assert (len(faces), len(prepared.rows("test"))) == (32_137, 3_579)
    assert preprocessing.test_faces_in_training == 279
    hashes = {
        split: set(prepared.table["exact_hash"].iloc[prepared.rows(split)]) for split in ("train", "validation", "test")
    }
    assert not hashes["train"] & (hashes["validation"] | hashes["test"])
    assert not hashes["validation"] & hashes["test"]
    assert np.bincount(prepared.labels[prepared.rows("test")]).tolist() == [466, 56, 496, 891, 604, 652, 414]
    assert usage.seconds < 60
    assert usage.peak_memory_mb - before < 2000  # imports hold about 1 GB beside it
