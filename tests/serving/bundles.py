"""A bundle whose ONNX model is tiny; what the service does not read of it is filled with anything."""

import json
from pathlib import Path

from tests.serving.conftest import NAMES, SIDE
from vision.lifecycle.bundles import (
    ABOUT,
    CARDS,
    CHECKSUMS,
    CONTENT,
    DECISION,
    FORMAT,
    LABELS,
    METRICS,
    About,
    probe,
    write_bundle,
)
from vision.model.onnx_runtime import ONNX_FILES, predictor_of


def write_tiny_bundle(path: Path, folder: Path, content: bytes, version: str = "7", int8: bytes | None = None) -> Path:
    """Write a bundle to `path`, its content from an empty folder."""
    for name in {*CONTENT} - {ABOUT, CHECKSUMS}:
        (folder / name).write_text("{}", encoding="utf-8")
    (folder / LABELS).write_text(json.dumps(NAMES), encoding="utf-8")
    (folder / METRICS).write_text(json.dumps({"test/accuracy": 0.7, "loss": float("nan")}), encoding="utf-8")
    (folder / DECISION).write_text(json.dumps({"outcome": "promoted", "reasons": ["first"]}), encoding="utf-8")
    (folder / CARDS[0]).write_text("# Card", encoding="utf-8")
    (folder / ONNX_FILES["onnx"]).write_bytes(content)
    if int8 is not None:
        (folder / ONNX_FILES["onnx_int8"]).write_bytes(int8)
    answers = probe(predictor_of(content, "tiny", SIDE, len(NAMES))).tolist()
    about = About(FORMAT, "emotions", version, "2026-01-01T00:00:00+00:00", 1.0, {"promoted_at": "2026-01-01"}, answers)
    write_bundle(path, folder, about)
    return path
