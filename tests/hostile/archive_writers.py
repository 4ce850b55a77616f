"""Archives as no archiver would write them, and what is said of their members."""

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vision.data.raw_faces import RawFace

PNG = cv2.imencode(".png", np.arange(1024, dtype=np.uint8).reshape(32, 32))[1].tobytes()


def write_zip(path: Path, members: Iterable[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def tar_member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.size, member.linkname = kind, size, link
    return member


def write_tar(path: Path, members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for member, content in members:
            archive.addfile(member, io.BytesIO(content))
    return path


def raw_tar(path: Path, *blocks: bytes) -> Path:
    """Write a tar.gz of header blocks and data that no tar program would write."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        for block in blocks:
            file.write(block)
    return path


class Endless(io.RawIOBase):
    """Zeros after a start, up to a size."""

    def __init__(self, start: bytes, size: int) -> None:
        self.start, self.left = start, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        piece = (self.start + bytes(len(buffer)))[: min(len(buffer), self.left)]
        self.start = self.start[len(piece) :]
        buffer[: len(piece)] = piece
        self.left -= len(piece)
        return len(piece)


def block(name: str, kind: bytes, size: int) -> bytes:
    return tar_member(name, kind, size).tobuf(tarfile.GNU_FORMAT)


def with_checksum(header: bytes) -> bytes:
    summed = sum(header[:148]) + 8 * ord(" ") + sum(header[156:])
    return header[:148] + b"%06o\0 " % summed + header[156:]


def changed_directory(path: Path, **values: int) -> Path:
    """Let a zip's only member claim another size, method or checksum than it has, in both of its headers."""
    content = bytearray(path.read_bytes())
    local, central = content.index(b"PK\x03\x04"), content.index(b"PK\x01\x02")
    for name, value in values.items():
        offset, form = {"method": (8, "<H"), "crc": (14, "<I"), "size": (22, "<I")}[name]
        struct.pack_into(form, content, local + offset, value)
        struct.pack_into(form, content, central + offset + 2, value)
    path.write_bytes(content)
    return path


def errors(faces: Iterable[RawFace]) -> dict[str, str]:
    return {face.source: str(face.payload) if isinstance(face.payload, Exception) else "" for face in faces}
