from pathlib import Path

import numpy as np
import pytest

from benchmarks.growth import verdict
from benchmarks.overhead import stretches
from benchmarks.pictures import unpack, write_zip
from benchmarks.scale import LOADS, Prices, on_paper
from benchmarks.time_to_accuracy import rows_of
from vision.data.ingestion import decode_face

WATCHED = {
    "marks": [["imported", 102.0], ["prepared", 105.0], ["end", 131.0]],
    "spent": {
        "step": [[110.0, 118.0], [119.0, 129.0]],
        "own": [[112.0, 117.0], [121.0, 128.0]],
        "tracker": [[110.5, 111.0], [119.0, 120.0]],
    },
}


def test_the_stretches_of_a_run_add_up_to_its_wall_time() -> None:
    rows = stretches(WATCHED, spawned=100.0, ended=132.0)

    assert sum(rows.values()) == pytest.approx(32.0)
    assert rows["steps' own work"] == 12.0
    assert rows["MLflow: entering and leaving steps"] == 1.5
    assert rows["ZenML in steps"] == 4.5
    assert rows["ZenML between steps"] == 1.0


def test_a_side_that_never_reached_an_accuracy_gets_no_time_and_bounds_the_ratio() -> None:
    ours = {"best": 0.64, "epochs": 5.0, "55%": 600.0, "60%": 1200.0}
    plain = {"best": 0.57, "epochs": 30.0, "55%": 1500.0}

    rows = rows_of({"ours": [ours], "plain script": [plain]}, ("55%", "60%"), limit=3600.0)

    assert rows[1][:3] == ("plain script", 1500.0, "not reached (0 of 1 runs)")
    assert rows[2][:3] == ("plain script / ours", "2.50", "above 3.00")


def test_growth_says_how_time_and_memory_grew() -> None:
    row = (1.0, 1.0, 1.0, 1.0)
    said = verdict([("1,000", *row, 2.0, 500.0, 90.0, 200.0, 100.0), ("10,000", *row, 20.0, 500.0, 90.0, 300.0, 150.0)])

    assert said.endswith("10 times as many, time grew by a factor of 10 and memory of its own by 1.5.")


def test_generated_pictures_are_all_different_and_unpack_into_class_folders(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "drawn.zip", 140)

    roots, count = unpack(archive, tmp_path / "unpacked")

    assert [root.name for root in roots] == ["train", "validation"]
    files = [path for root in roots for path in root.glob("*/*.png")]
    assert len(files) == count == 140
    pixels = [decode_face(path.read_bytes(), max_pixels=10_000)[0] for path in files]
    assert len(np.unique(np.stack(pixels), axis=0)) == 140


def test_twice_the_cores_halve_the_hours_on_paper_and_reading_single_objects_costs_money() -> None:
    held, single, photos = (on_paper(load, 1e8, 64, 50_000, Prices()) for load in LOADS)
    faster = on_paper(LOADS[2], 1e8, 128, 50_000, Prices())

    assert [row[1] for row in (held, single, photos)] == ["170 GB", "170 GB", "20,000 GB"]
    assert float(photos[3]) == pytest.approx(1e8 / 10 / 32 / 3600 + 2 / 60, abs=0.06)
    assert float(photos[3]) / float(faster[3]) == pytest.approx(2, rel=0.01)
    dollars = [float(str(row[5]).removeprefix("$").replace(",", "")) for row in (held, single)]
    assert dollars[1] - dollars[0] == pytest.approx(40, abs=1)
