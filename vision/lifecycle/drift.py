"""Drift: how far new faces are from those that a model was trained and validated on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency, ks_2samp

from configs.errors import UserError
from configs.lifecycle_settings import MonitoringSettings
from vision.data.decoding import measure_levels
from vision.data.faces import TRAIN, VALIDATION, FaceSet
from vision.lifecycle import plots
from vision.reporting.pages import render_page
from vision.reporting.reports import Report

Array = np.ndarray[Any, Any]
PROPERTIES = {  # of a face, and in what it is measured
    "brightness": "mean grey level, 0-255",
    "contrast": "standard deviation of grey levels",
    "sharpness": "variance of the Laplacian",
    "size": "shorter side of the original, pixels",
    "emotion": "most likely class",
    "confidence": "probability of the most likely class",
}
EMOTION, CONFIDENCE = "emotion", "confidence"
TAUGHT = "taught"  # split of faces that the model itself did not see, but its teacher


@dataclass(frozen=True)
class PropertyDrift:
    """How one property of the current faces compares with the reference.

    `reference` and `current` describe the two: a share for each class of emotion, quartiles of anything else.
    """

    name: str
    psi: float
    test: str
    statistic: float
    p_value: float
    drifted: bool
    reference_faces: int
    current_faces: int
    reference: Mapping[str, float]
    current: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class DriftReport(Report):
    """Every property's drift, and the bounds that it was judged by; `level` is what a p-value must be below."""

    reference_faces: int
    current_faces: int
    max_population_stability_index: float
    significance: float
    level: float
    properties: tuple[PropertyDrift, ...]

    @property
    def drifted_properties(self) -> tuple[str, ...]:
        return tuple(found.name for found in self.properties if found.drifted)

    @property
    def drifted(self) -> bool:
        return bool(self.drifted_properties)

    def numbers(self) -> dict[str, float]:
        by_property = {f"drift/{found.name}_psi": found.psi for found in self.properties}
        by_property |= {f"drift/{found.name}_p": found.p_value for found in self.properties}
        return {**by_property, "drift/drifted_properties": float(len(self.drifted_properties))}

    def page(self) -> str:
        return render_page("drift.html.j2", title="Drift of new faces", report=self, meanings=PROPERTIES)


def face_properties(images: Iterable[Array], sizes: Array) -> pd.DataFrame:
    """Measure n (side, side) uint8 faces; columns brightness, contrast, sharpness and size, float64.

    `sizes` (n,) are the shorter sides of the originals in pixels, and become the column `size`. Sharpness depends
    on `side`: compare only faces of the same side.
    """
    measured = np.array([list(measure_levels(image).values()) for image in images], dtype=np.float64).reshape(-1, 3)
    table = pd.DataFrame(measured, columns=["brightness", "contrast", "sharpness"])
    return table.assign(size=np.asarray(sizes, dtype=np.float64))


def reference_table(faces: FaceSet, probabilities: Array) -> pd.DataFrame:
    """Describe what a model learnt from: a row for each decodable face of a prepared FaceSet's train and validation.

    `probabilities` are (n_validation, classes), in the order of `faces.rows("validation")`. Columns: split, exact_hash,
    the four of face_properties, emotion (most likely class) and confidence (0-1). The last two are missing for train
    rows: a model is surer of faces that it was fitted to than of any new face, which would look like drift.
    Raises ValueError where the probabilities are not of these faces.
    """
    held_out = faces.rows(VALIDATION)
    expected = (len(held_out), len(faces.class_names))
    if probabilities.shape != expected:
        raise ValueError(f"probabilities have shape {probabilities.shape}, the validation split asks for {expected}")
    table = faces.table[["split", "exact_hash"]].copy()
    emotion, confidence = np.full(len(faces), None, dtype=object), np.full(len(faces), np.nan)
    emotion[held_out] = np.array(faces.class_names, dtype=object)[probabilities.argmax(axis=1)]
    confidence[held_out] = probabilities.max(axis=1)
    rows = np.flatnonzero(faces.decodable & np.asarray(table["split"].isin([TRAIN, VALIDATION])))
    sizes = faces.table[["width", "height"]].min(axis=1).to_numpy()[rows]
    measured = face_properties((faces.images[row] for row in rows), sizes)
    predicted = pd.DataFrame({EMOTION: pd.Series(emotion[rows], dtype="str"), CONFIDENCE: confidence[rows]})
    return pd.concat([table.iloc[rows].reset_index(drop=True), measured, predicted], axis=1)


def add_taught(reference: pd.DataFrame, teacher: pd.DataFrame) -> pd.DataFrame:
    """Return a model's reference with the faces that its teacher learnt from, given the teacher's reference."""
    taught = pd.DataFrame({"split": TAUGHT, "exact_hash": sorted(learnt_faces(teacher))})
    return pd.concat([reference, taught], ignore_index=True)


def learnt_faces(reference: pd.DataFrame) -> set[str]:
    """Return the exact hashes of all faces that a model or its teachers were fitted to."""
    return set(reference["exact_hash"][reference["split"].isin([TRAIN, TAUGHT])])


def measure_drift(reference: pd.DataFrame, current: pd.DataFrame, settings: MonitoringSettings) -> DriftReport:
    """Compare new faces with a model's reference, property by property.

    Both tables have the columns brightness, contrast, sharpness, size and confidence (numbers) and emotion (the most
    likely class, as text); a face counts for those properties of which it has a value. Raises UserError
    where fewer than `settings.min_faces` current faces have one.

    A property has drifted where its population stability index is above the setting and the p-value of its test
    (two-sample Kolmogorov-Smirnov, Smirnov 1939; chi-squared homogeneity for emotion, Pearson 1900) is below the
    significance divided by the number of properties (Bonferroni; Dunn 1961). Neither would do alone: of few faces the
    index is biased upward, by about (bins - 1)(1/n + 1/m) for n and m faces (Yurdakul 2018), and of many the test
    finds differences that are too small to matter.
    """
    level = settings.significance / len(PROPERTIES)
    found = tuple(
        _compare(name, reference[name].dropna(), current[name].dropna(), settings, level) for name in PROPERTIES
    )
    titles = {f.name: f"{f.name}: {'✗ drifted' if f.drifted else '✓ no drift'}\n{_described(f)}" for f in found}
    return DriftReport(
        reference_faces=len(reference),
        current_faces=len(current),
        max_population_stability_index=settings.max_population_stability_index,
        significance=settings.significance,
        level=level,
        properties=found,
        figures={"distributions.png": plots.distributions(reference, current, titles, PROPERTIES)},
    )


def population_stability_index(reference: Array, current: Array) -> float:
    """Return the sum of (c - r) ln(c / r) over the shares r and c of two (bins,) counts (Siddiqi 2006).

    That is Jeffreys' divergence (1946). A bin that is empty on one side counts as half a face there; one that is
    empty on both sides does not count.
    """
    filled = (reference > 0) | (current > 0)
    r, c = (np.maximum(counts[filled], 0.5) / counts.sum() for counts in (reference, current))
    return float(((c - r) * np.log(c / r)).sum())


def quantile_edges(values: Array, bins: int) -> Array:
    """Return the ascending edges of `bins` bins that hold equally many of `values`, each bin [edge, next edge).

    All values are between the first and the last edge, so that what is below or above them falls outside.
    A value that makes up several quantiles gets a bin of its own: every size in FER2013 is 48.
    """
    quantiles, times = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)), return_counts=True)
    above = np.nextafter(quantiles, np.inf)
    own = times > 1
    return np.unique(np.concatenate([quantiles[:-1], quantiles[own], above[own], above[-1:]]))


def _compare(
    name: str, reference: pd.Series, current: pd.Series, settings: MonitoringSettings, level: float
) -> PropertyDrift:
    if len(current) < settings.min_faces:
        raise UserError(
            f"drift is measured on monitoring.min_faces, which is {settings.min_faces}, new faces or more; "
            f"{len(current)} were given of which the {name} is known"
        )
    if not len(reference):
        raise ValueError(f"reference has no face of which the {name} is known")
    if name == EMOTION:
        test, classes = "chi-squared", sorted({*reference, *current})
        counts = np.stack([values.value_counts().reindex(classes, fill_value=0) for values in (reference, current)])
        statistic, p_value, *_ = chi2_contingency(counts, correction=False)
        described = [dict(zip(classes, (row / row.sum()).tolist(), strict=True)) for row in counts]
    else:
        test, edges = "Kolmogorov-Smirnov", quantile_edges(reference.to_numpy(dtype=np.float64), settings.bins)
        numbers = [values.to_numpy(dtype=np.float64) for values in (reference, current)]
        counts = np.stack([np.bincount(np.searchsorted(edges, n, "right"), minlength=len(edges) + 1) for n in numbers])
        statistic, p_value = ks_2samp(*numbers, method="asymp")
        quartiles = {"lower quartile": 0.25, "median": 0.5, "upper quartile": 0.75}
        described = [{label: float(np.quantile(n, share)) for label, share in quartiles.items()} for n in numbers]
    psi = population_stability_index(*counts)
    return PropertyDrift(
        name=name,
        psi=psi,
        test=test,
        statistic=float(statistic),
        p_value=float(p_value),
        drifted=bool(psi > settings.max_population_stability_index and p_value < level),
        reference_faces=len(reference),
        current_faces=len(current),
        reference=described[0],
        current=described[1],
    )


def _described(found: PropertyDrift) -> str:
    p_value = f"p {found.p_value:.4f}" if found.p_value >= 0.0001 else "p < 0.0001"
    return f"PSI {found.psi:.3f}, {p_value}"
