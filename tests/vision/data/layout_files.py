"""Layouts of data sets as files: faces and annotations."""

import io
from typing import Any

import numpy as np
from PIL import Image


def face(number: int, form: str = "PNG", side: int = 32) -> bytes:
    """Draw a face that differs from every other number's."""
    levels = np.full((side, side), 60, dtype=np.uint8)
    levels[8:24, 8:24] = 120 + number % 100
    levels[number % 8, number // 8 % 32] = 255
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, form)
    return buffer.getvalue()


def array(value: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, value, allow_pickle=True)
    return buffer.getvalue()


def header_only(shape: tuple[int, ...], kind: str) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": kind})
    return file.getvalue()
