"""Fuzzing: small real files, altered at random; whatever comes of them, readers end in a table or in one sentence.

A few seconds of it belong to the tests; `make fuzz` gives it a minute (SECONDS=3600 an hour), each time from a start of
its own. A failure is made as small as it can be, and printed with the seed that brings it back.
"""

import gzip
import io
import os
import resource
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from configs.errors import UserError
from configs.loading import load_settings
from configs.settings import Settings
from vision.data.ingestion import decode_chunk, ingest_faces
from vision.data.raw_faces import RawFace
from vision.inference.inputs import open_pictures

SECONDS = float(os.environ.get("FUZZ_SECONDS", "4"))
FIRST_SEED = time.time_ns() if "FUZZ_SECONDS" in os.environ else 0  # the tests' few seconds find the same every time
EXAMPLES = 20  # between two looks at the clock
MEMORY_BYTES = 500_000_000  # that all of a target's examples may add to the peak
TARGETS = 5
NUMBERS = [b"\xff" * 4, b"\x80" + bytes(7), b"\0" * 4, b"77777777777", b"-1", b"9" * 30, b"\xff\xff\xff\x7f"]
LEVELS = np.arange(1024, dtype=np.uint8).reshape(32, 32)


def encoded(form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(LEVELS).save(buffer, form, **options)
    return buffer.getvalue()


def zipped(compression: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name in ("happy/a.png", "train/sad/é.png", "../b.png"):
            archive.writestr(name, encoded("PNG"))
    return buffer.getvalue()


def tarred(form: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name in ("happy/a.png", "train/sad/" + "é" * 120 + ".png"):
            member = tarfile.TarInfo(name)
            member.size = len(encoded("PNG"))
            archive.addfile(member, io.BytesIO(encoded("PNG")))
    return buffer.getvalue()


PLAIN_TARS = [tarred(form) for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)]
IMAGES = [encoded(form) for form in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")]
ZIPS = [zipped(compression) for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]
TARS = [*PLAIN_TARS, gzip.compress(PLAIN_TARS[0])]
PIXELS = " ".join(["7"] * 16)
TABLES = [
    f"emotion,pixels,Usage\n3,{PIXELS},Training\n4,{PIXELS},PublicTest\n".encode(),
    f'emotion, Usage, pixels\r\n"3",Training,"{PIXELS}"\r\n'.encode("utf-8-sig"),
]
YAMLS = [
    b"seed: 1\ntraining: {batch_size: 7, phases: []}\n",
    b"dataset:\n  path: data\n  class_names: [happy, sad]\n  drawn: {faces: 70, noise: 1.5}\n",
    b"a: &a [1, 2]\nb: *a\n? {c: d}\n: !!python/name:os.system\n",
]


@st.composite
def altered(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """Draw one of the files with bytes changed, put in, left out, repeated, or with large numbers written over them."""
    content = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 6))):
        place, length = draw(st.integers(0, len(content))), draw(st.integers(0, 40))
        change = draw(st.sampled_from(["change", "insert", "leave out", "repeat", "number", "cut"]))
        if change == "change":
            content[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
        elif change == "insert":
            content[place:place] = draw(st.binary(max_size=20))
        elif change == "leave out":
            del content[place : place + length]
        elif change == "repeat":
            content[place:place] = content[place : place + length] * draw(st.integers(1, 50))
        elif change == "number":
            number = draw(st.sampled_from(NUMBERS))
            content[place : place + len(number)] = number
        else:
            del content[place:]
    return bytes(content)


def fuzz(check: Callable[[bytes], None], originals: list[bytes]) -> None:
    """Check altered files for this target's share of the time, and that they took no memory to speak of."""
    before, ends, number = peak_bytes(), time.monotonic() + SECONDS / TARGETS, FIRST_SEED
    quiet = settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    while time.monotonic() < ends:
        seed(number)(quiet(given(altered(originals))(check)))()
        number += 1
    assert peak_bytes() - before < MEMORY_BYTES


@contextmanager
def sentence(*words: str) -> Iterator[None]:
    """Let a file be refused, in a text of bounded length with one of these words."""
    try:
        yield
    except UserError as error:
        text = str(error)
        if len(text) > 20_000 or not any(word in text for word in words):
            raise


def peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@pytest.fixture
def read_altered(tmp_path: Path, small_settings: Settings) -> Callable[[str], Callable[[bytes], None]]:
    """Return a function that makes the check of files of a name: read as faces and as pictures, if it is a zip."""
    changes = {"reader": "auto", "workers": 1, "max_pixels": 1_000_000}

    def of(name: str) -> Callable[[bytes], None]:
        path = tmp_path / "deep" / name
        path.parent.mkdir()
        dataset = small_settings.dataset.model_copy(update={**changes, "path": path})
        inference = small_settings.inference.model_copy(update={"input": str(path), "output": tmp_path / "out"})

        def check(content: bytes) -> None:
            path.write_bytes(content)
            with sentence(str(path)):
                faces = ingest_faces(dataset, seed=0)
                assert len(faces.images) == len(faces)
                assert ((faces.table["mode"] != "") | (faces.table["error"] != "")).all()
                assert all(source.isprintable() for source in faces.table["source"])
            if path.suffix == ".zip":
                with sentence(str(path)):
                    pictures = open_pictures(inference)
                    assert len(list(pictures.read(0, pictures.count))) == pictures.count
            assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]

        return check

    return of


def test_altered_zips_end_in_a_table_or_a_sentence(read_altered: Callable[[str], Callable[[bytes], None]]) -> None:
    fuzz(read_altered("set.zip"), ZIPS)


def test_altered_tars_end_in_a_table_or_a_sentence(read_altered: Callable[[str], Callable[[bytes], None]]) -> None:
    fuzz(read_altered("set.tar.gz"), TARS)


def test_altered_tables_end_in_a_table_or_a_sentence(read_altered: Callable[[str], Callable[[bytes], None]]) -> None:
    fuzz(read_altered("faces.csv"), TABLES)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of damaged metadata
def test_altered_images_end_in_a_row(small_settings: Settings) -> None:
    dataset = small_settings.dataset.model_copy(update={"max_pixels": 1_000_000})

    def check(content: bytes) -> None:
        images, (row,) = decode_chunk([RawFace("a.png", "happy", "train", content)], dataset)
        assert (row["mode"] != "") or (row["error"] != "")
        assert row["error"] == "" or not images.any()

    fuzz(check, IMAGES)


def test_altered_settings_end_in_settings_or_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "altered.yaml"

    def check(content: bytes) -> None:
        path.write_bytes(content)
        with sentence("setting", "YAML", str(path)):
            assert load_settings([path], {}).training.batch_size >= 2

    fuzz(check, YAMLS)
