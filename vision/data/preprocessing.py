"""Preprocessing: dropping what should not be learnt from, making missing splits, resizing."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from configs.data_settings import PreprocessingSettings
from configs.errors import InvalidDataError
from vision.data import plots
from vision.data.decoding import resize_face
from vision.data.duplicates import audit_copies, count_near_copies, hash_texts
from vision.data.face_detection import NO_FACE
from vision.data.face_table import map_table, table_blocks
from vision.data.faces import SPLITS, TEST, TRAIN, UNASSIGNED, VALIDATION, FaceSet, store_images
from vision.data.made_splits import make_splits
from vision.data.relabelling import DOUBTFUL, Relabelling, read_verdicts, relabel_faces
from vision.reporting.reports import Report

logger = logging.getLogger(__name__)

BLOCK = 1024  # faces resized at a time
SPLITS_MADE = "splits made"  # listed among the rules; drops nothing
RELABEL = "relabel"  # listed too, where preprocessing.relabel names a file
# the columns by which rows are dropped and split; the others stay in their file
DECIDING = ["source", "label", "split", "standard_deviation", "exact_hash", "perceptual_hash", "error"]
IN_TRAINING = "in_training"  # column: a held-out face that is pixel-identical to one that came as training
DECIDED = ("label", "split", IN_TRAINING, DOUBTFUL)  # columns that are not as they came
NO_CLEAN_FACE = "none: every test face also came as training"


@dataclass(frozen=True)
class RuleCount:
    """How many faces one rule dropped from each split, and how many were left."""

    rule: str
    dropped: dict[str, int]
    remaining: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class PreprocessingReport(Report):
    """Faces before and after each rule, by split; `missing` are the classes that have no face in a split.

    `near_copies` counts the validation and the test faces that are left and nearly a training face that is left.
    `relabelling` is what the file did that `preprocessing.relabel` names, or None.
    """

    before: dict[str, int]
    rules: tuple[RuleCount, ...]
    test_faces_in_training: int
    missing: dict[str, tuple[str, ...]]
    near_copies: dict[str, int] = field(default_factory=dict)
    relabelling: Relabelling | None = None

    def numbers(self) -> dict[str, float]:
        after, relabelled = self.rules[-1].remaining, {}
        if found := self.relabelling:
            relabelled = {"changed": found.changed, "doubtful": found.doubtful, "left_alone": found.left_alone}
        return {
            **{f"preprocessing/before_{split}": float(count) for split, count in self.before.items()},
            **{
                f"preprocessing/dropped_{rule.rule}": float(sum(rule.dropped.values()))
                for rule in self.rules
                if rule.rule != SPLITS_MADE
            },
            **{f"preprocessing/after_{split}": float(count) for split, count in after.items()},
            "preprocessing/test_faces_in_training": float(self.test_faces_in_training),
            **{f"preprocessing/near_copies_{split}": float(count) for split, count in self.near_copies.items()},
            **{f"preprocessing/relabel_{name}": float(count) for name, count in relabelled.items()},
        }


def _blank(table: pd.DataFrame, settings: PreprocessingSettings) -> pd.Series:
    return table["standard_deviation"] < settings.blank_standard_deviation


def _conflicting(table: pd.DataFrame, settings: PreprocessingSettings) -> pd.Series:
    return audit_copies(table)["conflicting"]


def _repeated(table: pd.DataFrame, settings: PreprocessingSettings) -> pd.Series:
    return audit_copies(table)["repeated"]


def _leaked(table: pd.DataFrame, settings: PreprocessingSettings) -> pd.Series:
    """Mark training faces that are also in validation or test, and validation faces that are also in test."""
    images = hash_texts(table["exact_hash"])
    in_test = np.isin(images, images[np.asarray(table["split"] == TEST)])
    return audit_copies(table)["held_out_copy"] | (table["split"] == VALIDATION) & in_test


# The name that `preprocessing.drop` uses, and what marks the rows. No rule touches the test split: its score can be
# compared with published ones only while it is the split that everyone uses.
DROP_RULES: dict[str, Callable[[pd.DataFrame, PreprocessingSettings], pd.Series]] = {
    "blank": _blank,
    "conflicting": _conflicting,
    "repeated": _repeated,
    "leaked": _leaked,
}


def preprocess_faces(faces: FaceSet, settings: PreprocessingSettings, seed: int) -> tuple[FaceSet, PreprocessingReport]:
    """Return the faces to learn from and to be judged by, all of them usable, with splits and one size.

    The table gains the columns `in_training`: test faces that were pixel-identical to training faces as the data set
    came; and `doubtful`: training faces whose label is doubtful by the file that `relabel` names. Raises
    InvalidDataError where a split is empty or a class has no training face, and UserError where that file is wrong.
    """
    before = _count_splits(faces.table)
    table, rules, relabelling = _apply_rules(faces, settings, seed)
    _check_learnable(table, faces, rules)
    if relabelling:
        level = logging.WARNING if relabelling.left_alone else logging.INFO
        logger.log(level, "preprocessing.relabel %s: %s", relabelling.file, relabelling)
    missing = _missing_classes(table, faces.class_names)
    for split, names in missing.items():
        logger.warning("the %s split has no face of %s", split, ", ".join(names))
    near_copies = count_near_copies(table)
    for split, count in near_copies.items():
        if count:
            logger.warning("near copies of training faces in the %s split: %s; its score may be too high", split, count)
    images = store_images(
        _resized_blocks(faces.images, table.index.to_numpy(), settings.image_size), settings.image_size
    )
    prepared = FaceSet(faces.name, faces.form, faces.class_names, images, _whole_rows(faces, table), faces.reading)
    report = PreprocessingReport(
        before=before,
        rules=tuple(rules),
        test_faces_in_training=int(table[IN_TRAINING].sum()),
        missing=missing,
        near_copies=near_copies,
        relabelling=relabelling,
        figures={"faces_by_rule.png": plots.faces_by_rule(before, {rule.rule: rule.remaining for rule in rules})},
    )
    return prepared, report


def _whole_rows(faces: FaceSet, decided: pd.DataFrame) -> pd.DataFrame:
    """Return the faces' rows at the positions that are the index of `decided`, with its columns in place of theirs."""
    return map_table(
        faces.table.iloc[block.index.to_numpy()].assign(**{name: block[name] for name in DECIDED})
        for block in table_blocks(decided)
    )


def why_not_learnable(faces: FaceSet, settings: PreprocessingSettings, seed: int) -> str:
    """Return why nothing can be learned from these faces even if no check stops the run, or "" where it can."""
    try:
        table, rules, _ = _apply_rules(faces, settings, seed)
        _check_learnable(table, faces, rules)
    except InvalidDataError as error:
        return str(error)
    return ""


def _apply_rules(
    faces: FaceSet, settings: PreprocessingSettings, seed: int
) -> tuple[pd.DataFrame, list[RuleCount], Relabelling | None]:
    """Return what decides on the rows that are left, with their positions in `faces` as index, and what each rule did.

    Unreadable files, pictures without a face and unknown labels go first. Then splits are made, before labels are
    changed, so that they are those of the data set as it came. Then the rules of the settings apply.
    """
    verdicts = read_verdicts(settings.relabel, faces.class_names) if settings.relabel else {}
    no_face = np.asarray(faces.table["error"] == NO_FACE)
    unusable = {
        "unreadable": ~faces.decodable & ~no_face,
        "no_face": no_face,
        "unknown_label": faces.decodable & (faces.labels < 0),
    }
    left, rules = np.ones(len(faces), dtype=bool), []
    for rule, marked in unusable.items():
        left &= ~marked
        splits = faces.table[["split"]]
        rules.append(RuleCount(rule, _count_splits(splits[marked]), _count_splits(splits[left])))
    if not left.any():
        counts = ", ".join(f"{rule} {int(marked.sum())}" for rule, marked in unusable.items() if marked.any())
        raise InvalidDataError(f"{faces.name}: none of the {len(faces):,} faces can be used ({counts}); see the checks")
    table = _kept(faces.table[DECIDING], left)
    came_as_training = table["split"].isin([TRAIN, UNASSIGNED])
    if not came_as_training.any():
        raise InvalidDataError(_nothing_to_learn(faces, rules))
    table = make_splits(table, settings, seed)
    rules.append(RuleCount(SPLITS_MADE, {}, _count_splits(table)))
    test = table["split"] == TEST
    images = hash_texts(table["exact_hash"])
    table[IN_TRAINING] = test & np.isin(images, images[np.asarray(came_as_training & ~test)])
    table[DOUBTFUL], relabelling = False, None
    if settings.relabel:
        table, marked, relabelling = relabel_faces(table, verdicts, str(settings.relabel))
        table = _drop(RELABEL, marked, table, rules)
    for name in settings.drop:
        table = _drop(name, DROP_RULES[name](table, settings) & (table["split"] != TEST), table, rules)
    return table, rules, relabelling


def _drop(rule: str, marked: pd.Series, table: pd.DataFrame, rules: list[RuleCount]) -> pd.DataFrame:
    """Return a table without the marked rows, and note them under the rule's name."""
    dropped = _count_splits(table.loc[marked, ["split"]])
    table = _kept(table, ~marked)
    rules.append(RuleCount(rule, dropped, _count_splits(table)))
    return table


def _kept(table: pd.DataFrame, chosen: Any) -> pd.DataFrame:
    """Return the rows that are chosen; all of them are not copied, so that their texts stay in their file."""
    return table if np.all(chosen) else table[chosen]


def _check_learnable(table: pd.DataFrame, faces: FaceSet, rules: Sequence[RuleCount]) -> None:
    """Raise InvalidDataError where a split is empty or a class has no training face."""
    for split in SPLITS:
        if not (table["split"] == split).any():
            raise InvalidDataError(f"{faces.name}: no face is left in the {split} split: {_what_went(rules, split)}")
    learnt = set(table.loc[table["split"] == TRAIN, "label"])
    if missing := [name for name in faces.class_names if name not in learnt]:
        raise InvalidDataError(
            f"{faces.name}: no training face is left of {', '.join(missing)} ({_what_went(rules, TRAIN)}), or take the "
            "class out of dataset.class_names"
        )


def _what_went(rules: Sequence[RuleCount], split: str) -> str:
    """Say what each rule dropped from a split, and what to do about it."""
    dropped = {rule.rule: rule.dropped[split] for rule in rules if rule.dropped.get(split)}
    counts = ", ".join(f"{rule} dropped {count}" for rule, count in dropped.items())
    ways = ["add images"]
    if settled := [rule for rule in dropped if rule in DROP_RULES]:
        ways.append(f"take {' or '.join(settled)} out of preprocessing.drop")
    if RELABEL in dropped:
        ways.append("drop fewer in the file of preprocessing.relabel")
    return f"{counts or 'none came'}; {', or '.join(ways)}"


def _nothing_to_learn(faces: FaceSet, rules: Sequence[RuleCount]) -> str:
    """Say that no face is in training, which splits the faces are in, and where those were read."""
    read = [f"{name}: {faces.reading[name]}" for split in SPLITS if (name := f"{split} faces") in faces.reading]
    where = "; ".join(read) or ", ".join(_count_splits(faces.table))
    return (
        f"{faces.name}: no face is in training ({where}): {_what_went(rules, TRAIN)}, or, if a name is not that of a "
        'split, say so with --dataset.splits "{NAME: null}"'
    )


def _missing_classes(table: pd.DataFrame, class_names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return for each split the classes that have no face in it, where there are any."""
    present = {split: set(table.loc[table["split"] == split, "label"]) for split in SPLITS}
    missing = {split: tuple(name for name in class_names if name not in names) for split, names in present.items()}
    return {split: names for split, names in missing.items() if names}


def _resized_blocks(
    images: np.ndarray[Any, Any], rows: np.ndarray[Any, Any], side: int
) -> Iterator[np.ndarray[Any, Any]]:
    """Yield the images at `rows` as (n, side, side) uint8 blocks."""
    for start in range(0, len(rows), BLOCK):
        block = images[rows[start : start + BLOCK]]
        yield block if block.shape[1] == side else np.stack([resize_face(image, side) for image in block])


def _count_splits(table: pd.DataFrame) -> dict[str, int]:
    counts = table["split"].value_counts()
    return {split: int(counts[split]) for split in (*SPLITS, UNASSIGNED) if split in counts}
