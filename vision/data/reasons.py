"""Reasons: what was found in the rows that failed a check, and what to change."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from configs.data_settings import CLASS_NAME, FramingCheck, ValidationSettings
from vision.data.checks import CheckResult, Reason
from vision.data.faces import FaceSet
from vision.data.treatment import CUT_OUT

SHOWN_REASONS = 5  # for each check
SHOWN_CLASSES = 20  # in a command that names all classes

# check -> for each row of a table what was found there; the text is the same where the reason is
FOUND: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "decodable": lambda table: table["error"],
    "known_label": lambda table: table["label"].map(lambda label: f"the label {label!r}" if label else "no label"),
    "face_found": lambda table: table["error"],
    "framing": lambda table: _sizes(table),
    "size": lambda table: _sizes(table),
    "blank": lambda table: table["mean"].map("every pixel has about the grey level {:.0f}".format),
    "brightness": lambda table: table["mean"].map("mean grey level {:.0f}".format),
    "repeated": lambda table: table["split"].map("in {}".format),
    "leaked": lambda table: table["split"].map("in {}".format),
    "near_leaked": lambda table: table["split"].map("in {}".format),
    "conflicting": lambda table: _labels_of_image(table),
}


def explain_checks(
    faces: FaceSet, found: Sequence[tuple[CheckResult, list[int]]], settings: ValidationSettings
) -> list[CheckResult]:
    """Return checks with the reasons of the rows that failed, given by position, and with what to change."""
    explained = []
    for check, rows in found:
        reasons, others = _count_reasons(faces, check.check, rows)
        way_out = "" if check.passed else _way_out(check.check, faces, settings)
        explained.append(replace(check, reasons=reasons, other_reasons=others, way_out=way_out))
    return explained


def is_framed(table: pd.DataFrame, reading: Mapping[str, str], settings: FramingCheck) -> pd.Series:
    """Say of each row whether its image has the shape and size of a face that was cut out; those cut out here have."""
    sides = table[["width", "height"]]
    longer, shorter = sides.max(axis=1), sides.min(axis=1)
    framed = (longer <= settings.max_side) & (longer <= settings.max_aspect * shorter)
    return framed | (CUT_OUT in reading)


def _count_reasons(faces: FaceSet, check: str, failed: list[int]) -> tuple[tuple[Reason, ...], int]:
    """Return the most frequent reasons of a check's failed rows, and how many rows failed for another."""
    if check not in FOUND or not failed:
        return (), 0
    rows = faces.table.iloc[failed] if check != "conflicting" else faces.table
    rows = rows.assign(found=FOUND[check](rows))
    if check == "conflicting":  # whose labels stand in other rows
        rows = rows.iloc[failed]
    counted = rows.groupby("found", sort=False)["source"].agg(["size", "first"])
    counted = counted.sort_values("size", ascending=False, kind="stable")
    shown = counted.head(SHOWN_REASONS)
    reasons = [Reason(str(found), int(count), str(source)) for found, count, source in shown.itertuples()]
    return tuple(reasons), int(counted["size"].sum() - shown["size"].sum())


def _sizes(table: pd.DataFrame) -> pd.Series:
    return table["width"].astype(str) + "x" + table["height"].astype(str) + " pixels"


def _labels_of_image(table: pd.DataFrame) -> pd.Series:
    labels = table.groupby("exact_hash")["label"].agg(lambda found: " and ".join(sorted(set(found))))
    return table["exact_hash"].map(labels).astype("str")


def _way_out(check: str, faces: FaceSet, settings: ValidationSettings) -> str:
    """Return what to change so that a failed check passes."""
    if check == "decodable":
        return "replace or remove these files"
    if check == "known_label":
        known = f"known are dataset.class_names {list(faces.class_names)}"
        found = found_classes(faces)
        return f"{known}; rename the labels" + (f", or train what is there: {class_option(found)}" if found else "")
    if check == "class_count":
        counted = pd.Series(faces.class_names)[sorted(set(faces.labels[faces.decodable & (faces.labels >= 0)]))]
        if 2 <= len(counted) < len(faces.class_names):
            return f"add images, or train the classes that have some: {class_option(list(counted))}"
        return "add images, or lower validation.class_count.min_count"
    if check == "framing":
        return "--dataset.crop_faces true finds and cuts out the largest face of each picture, as inference does"
    if check == "face_found":
        return "if the images are cut out faces already, --dataset.crop_faces false"
    if check == "size":
        return f"use larger images, or lower validation.size.min_side, which is {settings.size.min_side}"
    return ""


def found_classes(faces: FaceSet) -> list[str]:
    """Return all labels as names of classes, or none where they cannot all be one: codes, for example, are not."""
    labels = sorted({str(label).strip().lower() for label in faces.table["label"]})
    fit = all(re.fullmatch(CLASS_NAME, label) and not label.isdecimal() for label in labels)
    return labels if fit and 2 <= len(labels) <= SHOWN_CLASSES else []


def class_option(names: Sequence[str]) -> str:
    """Return the words of the command line that set these classes."""
    return f'--dataset.class_names "[{", ".join(names)}]"'
