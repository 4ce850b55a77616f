"""Bundles: a champion with everything that belongs to it as one file, which another store can take in."""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from configs.errors import UserError
from vision.data.synthetic import EXPRESSIONS, draw_face
from vision.files.archives import DAMAGED_ARCHIVE, UNPACKED, open_zip
from vision.files.atomic import write_file
from vision.files.hashes import hash_file
from vision.files.paths import printable
from vision.model.onnx_runtime import ONNX_FILES, Predictor

Array = np.ndarray[Any, Any]
FORMAT = 1
MODEL, LABELS, METRICS, DECISION, REFERENCE = (
    "model.keras", "labels.json", "metrics.json", "decision.json", "reference.parquet",
)  # fmt: skip
CARDS = ("model_card.md", "model_card.html")
ABOUT, CHECKSUMS = "bundle.json", "checksums.sha256"
CONTENT = (MODEL, LABELS, METRICS, DECISION, REFERENCE, *CARDS, ABOUT)
OPTIONAL = tuple(ONNX_FILES.values())
INT8 = ONNX_FILES["onnx_int8"]
LARGE = (MODEL, REFERENCE, *OPTIONAL)
SMALL_FILE_BYTES = 2_000_000  # of a file that is not in LARGE, and so is read into memory
BLOCK = 1 << 20
SETTING = "bundle.path"  # that names the file, where no other does
AGREEMENT = 1e-3  # of probabilities, the largest difference; processors differ in the last digits of a sum
INT8_AGREEMENT = 0.02  # the mean difference; six int8 files had up to 0.0035, those of other networks 0.023 and more


@dataclass(frozen=True)
class About:
    """What a bundle says of its model: where it comes from, and what it answers on drawn faces."""

    format: int
    name: str
    version: str
    exported_at: str
    temperature: float
    tags: dict[str, str]
    probe: list[list[float]]


def probe(predictor: Predictor) -> Array:
    """Return the (7, classes) probabilities of seven drawn faces: the same model answers the same everywhere."""
    random = np.random.default_rng(0)
    faces = [draw_face(expression, predictor.side, 0.0, random) for expression in EXPRESSIONS.values()]
    return predictor.predict(np.stack(faces), len(faces))


def write_bundle(path: Path, folder: Path, about: About) -> None:
    """Write the files of CONTENT and those there are of OPTIONAL in `folder`, and `about`, as one zip file.

    It appears whole or not at all.
    """
    (folder / ABOUT).write_text(json.dumps(asdict(about), indent=1), encoding="utf-8")
    (folder / CHECKSUMS).write_text(_checksums(folder), encoding="utf-8")
    try:
        write_file(path, lambda unfinished: _pack(folder, unfinished))
    except OSError as error:
        raise UserError(f"bundle.path {path} cannot be written: {error.strerror}") from error


def _pack(folder: Path, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in (*CONTENT, *optional_files(folder), CHECKSUMS):
            archive.write(folder / name, name)


def read_bundle(path: Path, folder: Path, max_bytes: int, setting: str = SETTING) -> About:
    """Unpack a bundle into an empty folder and verify every file of it.

    `setting` is the one that named the file. Raises UserError where a file is missing, unknown, altered or too large,
    and where `path` is not a bundle.
    """
    try:
        with open_zip(path, len((*CONTENT, *OPTIONAL, CHECKSUMS)), "it is not a bundle of this pipeline") as archive:
            _unpack(archive, f"{setting} {path}", folder, max_bytes)
    except DAMAGED_ARCHIVE as error:
        reason = printable(str(error))
        raise UserError(f"{setting} {path} is not a whole bundle: {reason}; export or download it again") from error
    except OSError as error:
        raise UserError(f"{setting} {path} cannot be read: {error.strerror}") from error
    if (folder / CHECKSUMS).read_text(encoding="utf-8", errors="replace") != _checksums(folder):
        raise UserError(f"{setting} {path} was altered: its files do not have the sums in {CHECKSUMS}")
    try:
        about = TypeAdapter(About).validate_json((folder / ABOUT).read_bytes())
    except ValidationError as error:
        raise UserError(f"{setting} {path}: {ABOUT} is not what an export writes: {_first(error)}") from error
    if about.format != FORMAT:
        raise UserError(f"{setting} {path} has format {about.format}, this version reads format {FORMAT}")
    return about


def check_probe(predictor: Predictor, about: About, path: Path, setting: str = SETTING, file: str = MODEL) -> None:
    """Raise UserError where a file of the bundle does not answer here as the model did where it was exported."""
    try:
        found = probe(predictor)
    except Exception as error:  # each runtime raises its own
        reason = printable(f"{type(error).__name__}: {error}")[:200]
        raise UserError(f"{setting} {path}: its {file} cannot answer: {reason}") from error
    if not _agrees(found, about.probe, file):
        raise UserError(f"{setting} {path}: its {file} does not answer as the model did where it was exported")


def _agrees(found: Array, expected: list[list[float]], file: str) -> bool:
    if found.ndim != 2 or [len(row) for row in expected] != [found.shape[1]] * len(found):
        return False
    difference = np.abs(found - np.array(expected))
    if file == INT8:
        return bool(difference.mean() <= INT8_AGREEMENT)
    return bool(difference.max() <= AGREEMENT)


def _unpack(archive: zipfile.ZipFile, subject: str, folder: Path, max_bytes: int) -> None:
    members = archive.infolist()
    names = sorted(member.filename for member in members)
    if len({*names}) < len(names) or {*names} - {*OPTIONAL} != {*CONTENT, CHECKSUMS}:
        raise UserError(
            f"{subject} is not a bundle of this pipeline: it holds "
            f"{printable(', '.join(names))[:200] or 'nothing'}, expected {', '.join((*CONTENT, CHECKSUMS))}"
        )
    if any(member.compress_type not in UNPACKED for member in members):
        raise UserError(f"{subject} is packed by another method than an export uses; export it again")
    left = max_bytes
    for name in names:
        allowed = max_bytes if name in LARGE else SMALL_FILE_BYTES
        with archive.open(name) as source, (folder / name).open("wb") as target:
            while block := source.read(BLOCK):
                left, allowed = left - len(block), allowed - len(block)
                if left < 0:
                    raise UserError(f"{subject} unpacks to more than bundle.max_bytes {max_bytes}")
                if allowed < 0:
                    raise UserError(f"{subject}: {name} has more than {SMALL_FILE_BYTES} bytes")
                target.write(block)


def optional_files(folder: Path) -> list[str]:
    """Return the names of the files of OPTIONAL that are in a folder."""
    return [name for name in OPTIONAL if (folder / name).exists()]


def _checksums(folder: Path) -> str:
    return "".join(f"{hash_file(folder / name)}  {name}\n" for name in (*CONTENT, *optional_files(folder)))


def _first(error: ValidationError) -> str:
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}" if place else str(problem["msg"])


def read_json(path: Path, expected: Any) -> Any:
    """Read a bundle's JSON file as `expected`. Raises UserError where it holds something else."""
    try:
        return TypeAdapter(expected).validate_json(path.read_bytes())
    except ValidationError as error:
        raise UserError(f"{path.name} in the bundle is not what an export writes: {_first(error)}") from error


def write_json(path: Path, content: Mapping[str, Any] | list[Any]) -> None:
    """Write a bundle's JSON file."""
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
