from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from configs.data_settings import PreprocessingSettings
from configs.errors import InvalidDataError
from configs.settings import Settings
from tests.vision.data.face_sets import face_set, many
from vision.data import plots
from vision.data.faces import FaceSet
from vision.data.preprocessing import IN_TRAINING, preprocess_faces, why_not_learnable


@pytest.fixture
def settings(small_settings: Settings) -> PreprocessingSettings:
    return small_settings.preprocessing


@pytest.fixture(autouse=True)
def _no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "faces_by_rule", lambda *arguments: b"")  # a second each; test_plots.py draws it


def split_of(faces: FaceSet) -> dict[str, str]:
    return dict(zip(faces.table["source"], faces.table["split"], strict=True))


def test_without_a_test_split_the_validation_split_becomes_it(settings: PreprocessingSettings) -> None:
    faces = face_set(*many("train", 40), *many("validation", 10))

    prepared, _ = preprocess_faces(faces, settings, seed=0)

    assert [split_of(prepared)[f"face{n}"] for n in range(40, 50)] == ["test"] * 10
    assert prepared.table["split"].value_counts().to_dict() == {"train": 32, "test": 10, "validation": 8}


def test_the_same_seed_makes_the_same_splits_and_another_seed_others(settings: PreprocessingSettings) -> None:
    faces = face_set(*many("unassigned", 200))

    one, again, other = (split_of(preprocess_faces(faces, settings, seed)[0]) for seed in (1, 1, 2))

    assert one == again
    assert one != other


def test_leaked_training_faces_go_and_test_faces_stay_but_are_marked(settings: PreprocessingSettings) -> None:
    faces = face_set(*many("train", 40), ("train", "sad", "x"), *many("test", 9), ("test", "sad", "x"))

    prepared, report = preprocess_faces(faces, settings, seed=0)

    assert "face40" not in split_of(prepared)
    marked = prepared.table.loc[prepared.table[IN_TRAINING], "source"].tolist()
    assert marked == ["face50"]
    assert report.test_faces_in_training == 1
    assert report.numbers()["preprocessing/dropped_leaked"] == 1


def test_near_copies_on_both_sides_of_made_splits_are_counted_and_said(
    settings: PreprocessingSettings, caplog: pytest.LogCaptureFixture
) -> None:
    faces = face_set(*many("unassigned", 100), perceptual_hash="alike")

    _, report = preprocess_faces(faces, settings, seed=0)

    numbers = report.numbers()
    for split in ("validation", "test"):
        assert numbers[f"preprocessing/near_copies_{split}"] == numbers[f"preprocessing/after_{split}"] > 0
        assert f"in the {split} split: {report.near_copies[split]};" in caplog.text


def test_only_near_copies_of_training_faces_are_counted(settings: PreprocessingSettings) -> None:
    rows = [*many("train", 8), *many("validation", 4), *many("test", 4)]
    hashes = [*(f"train{n}" for n in range(8)), *("held out",) * 7, "train0"]

    _, report = preprocess_faces(face_set(*rows, perceptual_hash=hashes), settings, seed=0)

    assert report.near_copies == {"validation": 0, "test": 1}


def test_loose_faces_that_become_training_count_as_training_faces(settings: PreprocessingSettings) -> None:
    faces = face_set(*many("unassigned", 40), ("unassigned", "sad", "x"), *many("test", 9), ("test", "sad", "x"))

    prepared, _ = preprocess_faces(faces, settings, seed=0)

    assert prepared.table.loc[prepared.table[IN_TRAINING], "source"].tolist() == ["face50"]


def test_a_class_that_the_rules_leave_without_training_faces_is_named(settings: PreprocessingSettings) -> None:
    rows = [("train", "happy", f"h{n}") for n in range(20)] + [("train", "sad", "x"), ("train", "sad", "y")]
    held_out = [("test", "sad", "x"), ("test", "sad", "y"), ("validation", "happy", "z"), ("validation", "sad", "w")]

    with pytest.raises(InvalidDataError, match="no training face is left of sad"):
        preprocess_faces(face_set(*rows, *held_out), settings, seed=0)


def test_counts_after_every_rule_are_of_the_splits_that_were_made(settings: PreprocessingSettings) -> None:
    _, report = preprocess_faces(face_set(*many("unassigned", 60)), settings.model_copy(update={"drop": ()}), seed=0)

    numbers = report.numbers()
    after = {name: numbers[f"preprocessing/after_{name}"] for name in ("train", "validation", "test")}
    assert sum(after.values()) == 60
    assert "preprocessing/after_unassigned" not in numbers


def test_rules_that_are_not_named_drop_nothing(settings: PreprocessingSettings) -> None:
    faces = face_set(*many("train", 40), ("train", "sad", "x"), *many("test", 9), ("test", "sad", "x"))

    prepared, _ = preprocess_faces(faces, settings.model_copy(update={"drop": ()}), seed=0)

    assert len(prepared) == len(faces)


def test_blank_conflicting_and_repeated_faces_go_from_training_but_never_from_test(
    settings: PreprocessingSettings,
) -> None:
    odd = [("sad", "a"), ("happy", "a"), ("sad", "b"), ("sad", "b"), ("sad", "blank")]
    rows = [*many("train", 40), *many("test", 10), *many("validation", 10)]
    faces = face_set(*rows, *(("train", *face) for face in odd), *(("test", f, f"t{h}") for f, h in odd))
    table = faces.table.copy()
    table.loc[table["exact_hash"].str.endswith("blank"), "standard_deviation"] = 0.0
    everything = settings.model_copy(update={"drop": ("blank", "conflicting", "repeated", "leaked")})

    prepared, report = preprocess_faces(replace(faces, table=table), everything, seed=0)

    dropped = {rule.rule: rule.dropped for rule in report.rules}
    assert dropped == {
        "unreadable": {}, "no_face": {}, "unknown_label": {}, "splits made": {}, "blank": {"train": 1},
        "conflicting": {"train": 2}, "repeated": {"train": 1}, "leaked": {},
    }  # fmt: skip
    assert (prepared.table["split"] == "test").sum() == 15


def test_unreadable_faces_and_unknown_labels_always_go(settings: PreprocessingSettings) -> None:
    faces = face_set(*many("unassigned", 60), ("unassigned", "bored", "x"), ("unassigned", "sad", ""))
    table = faces.table.copy()
    table.loc[61, "error"] = "broken"

    prepared, report = preprocess_faces(replace(faces, table=table), settings.model_copy(update={"drop": ()}), seed=0)

    assert len(prepared) == 60
    dropped = {rule.rule: rule.dropped for rule in report.rules}
    assert (dropped["unreadable"], dropped["unknown_label"]) == ({"unassigned": 1}, {"unassigned": 1})


def test_images_follow_their_rows_and_are_resized(settings: PreprocessingSettings) -> None:
    faces = face_set(*many("unassigned", 60))
    larger = settings.model_copy(update={"image_size": 40})

    prepared, _ = preprocess_faces(faces, larger, seed=0)

    assert prepared.images.shape == (60, 40, 40)
    numbers = prepared.table["source"].str.removeprefix("face").astype(int)
    np.testing.assert_array_equal(prepared.images[:, 0, 0], numbers)


def test_too_few_faces_for_a_split_are_an_error_of_the_data(settings: PreprocessingSettings) -> None:
    with pytest.raises(InvalidDataError, match="too few faces to make a test split"):
        preprocess_faces(face_set(*many("unassigned", 3)), settings, seed=0)


def test_no_face_that_can_be_used_is_an_error_of_the_data(settings: PreprocessingSettings) -> None:
    faces = face_set(*many("unassigned", 3))
    faces.table["error"] = "ValueError: not an image"
    faces.table.loc[1, ["error", "label"]] = ["", "bored"]

    with pytest.raises(InvalidDataError, match=r"none of the 3 faces can be used \(unreadable 2, unknown_label 1\)"):
        preprocess_faces(faces, settings, seed=0)


@pytest.mark.parametrize("splits", [("test",), ("validation",), ("test", "validation")])
def test_faces_none_of_which_is_in_training_are_an_error_that_says_where_their_split_was_read(
    splits: tuple[str, ...], settings: PreprocessingSettings
) -> None:
    faces = face_set(*(row for split in splits for row in many(split, 20)))
    faces = replace(faces, reading={"test faces": "20 from folder test_images"})
    said = r"no face is in training \(test faces: 20 from folder test_images\): none came; .*--dataset\.splits"

    with pytest.raises(InvalidDataError, match=said):
        preprocess_faces(faces, settings, seed=0)
    assert "no face is in training" in why_not_learnable(faces, settings, seed=0)


def test_training_faces_none_of_which_can_be_used_are_counted(settings: PreprocessingSettings) -> None:
    faces = face_set(*many("train", 4), *many("test", 20))
    faces.table.loc[:3, "error"] = "broken"

    with pytest.raises(InvalidDataError, match=r"in training \(train, test\): unreadable dropped 4; add images"):
        preprocess_faces(faces, settings, seed=0)


def test_one_face_a_class_is_too_few_and_the_class_is_named(settings: PreprocessingSettings) -> None:
    faces = face_set(*many("unassigned", 40), *many("test", 4))
    table = faces.table[(faces.table["label"] == "happy") | (faces.table.index == 1)].reset_index(drop=True)

    with pytest.raises(
        InvalidDataError, match=r"make a validation split of 20%: .* 2 classes, sad has 1; .*folder val"
    ):
        preprocess_faces(replace(faces, table=table, images=faces.images[: len(table)]), settings, seed=0)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_class_without_a_held_out_face_is_named_by_its_split(split: str, settings: PreprocessingSettings) -> None:
    held_out = [*many("validation", 4), *many("test", 4)]
    held_out = [row for row in held_out if row[:2] != (split, "sad")]

    _, report = preprocess_faces(face_set(*many("train", 40), *held_out), settings, seed=0)

    assert report.missing == {split: ("sad",)}


def test_an_empty_validation_split_says_which_rule_emptied_it_and_the_way_out_works(
    settings: PreprocessingSettings,
) -> None:
    copies = [("validation", label, image) for _, label, image in many("test", 10)]
    faces = face_set(*many("train", 40), *copies, *many("test", 10))

    with pytest.raises(
        InvalidDataError, match=r"in the validation split: leaked dropped 10; .*take leaked out of"
    ) as e:
        preprocess_faces(faces, settings, seed=0)

    assert e.value.exit_code == 5
    kept = tuple(rule for rule in settings.drop if rule != "leaked")
    prepared, report = preprocess_faces(faces, settings.model_copy(update={"drop": kept}), seed=0)
    assert (prepared.table["split"] == "validation").sum() == 10
    assert report.missing == {}


def test_one_face_a_class_in_each_split_can_be_learned_from(settings: PreprocessingSettings) -> None:
    faces = face_set(*many("train", 2), *many("validation", 2), *many("test", 2))

    _, report = preprocess_faces(faces, settings, seed=0)

    assert report.rules[-1].remaining == {"train": 2, "validation": 2, "test": 2}
    assert report.missing == {}


def test_labels_of_training_faces_are_changed_after_the_splits_are_made(
    settings: PreprocessingSettings, tmp_path: Path
) -> None:
    faces = face_set(*many("unassigned", 100))
    before, _ = preprocess_faces(faces, settings, seed=0)
    rows = {split: before.table["source"][before.table["split"] == split].tolist() for split in ("train", "test")}
    drop, change, doubt, held_out = *rows["train"][:3], rows["test"][0]
    table = "file,action,label,doubtful\n"
    table += f"{drop},drop,,\n{change},change,sad,no\n{doubt},keep,,yes\n{held_out},drop,,\nnowhere,drop,,\n"
    (tmp_path / "labels.csv").write_text(table, encoding="utf-8")
    settings = settings.model_copy(update={"relabel": tmp_path / "labels.csv"})

    after, report = preprocess_faces(faces, settings, seed=0)

    assert split_of(after) == {name: split for name, split in split_of(before).items() if name != drop}
    found = after.table.set_index("source")
    assert found.loc[change, "label"] == "sad"
    assert found.index[found["doubtful"]].tolist() == [doubt]
    assert next(rule for rule in report.rules if rule.rule == "relabel").dropped == {"train": 1}
    assert report.numbers()["preprocessing/relabel_left_alone"] == 2.0
    assert after.fingerprint != before.fingerprint


def test_a_changed_label_settles_a_conflict_between_copies(settings: PreprocessingSettings, tmp_path: Path) -> None:
    faces = face_set(*many("train", 40), *many("test", 8), ("train", "happy", "same"), ("train", "sad", "same"))
    (tmp_path / "labels.csv").write_text("file,action,label\nface49,change,happy\n", encoding="utf-8")

    _, conflicting = preprocess_faces(faces, settings, seed=0)
    _, settled = preprocess_faces(faces, settings.model_copy(update={"relabel": tmp_path / "labels.csv"}), seed=0)

    assert conflicting.numbers()["preprocessing/dropped_conflicting"] == 2
    assert settled.numbers()["preprocessing/dropped_conflicting"] == 0
