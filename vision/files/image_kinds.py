"""Image kinds: what the name and the first bytes of a file say about it."""

import re
import struct
from collections.abc import Callable
from pathlib import PurePath

HEAD_BYTES = 32  # enough for every mark below
IMAGE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".avif",
    ".pgm", ".ppm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".heic", ".heif",
})  # fmt: skip
HEIC, GIF = "HEIC", "GIF"
STARTS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": GIF,
    b"GIF89a": GIF,
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
}
# two letters alone may begin a text; these are the sizes of a bitmap's second header
BITMAP_HEADERS = tuple(struct.pack("<I", size) for size in (12, 40, 52, 56, 64, 108, 124))
BRANDS = {b"avif": "AVIF", b"avis": "AVIF"} | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), HEIC
)


def is_image(name: PurePath, head: Callable[[], bytes]) -> bool:
    """Say whether a file is an image by its name or, where that says nothing, by its first HEAD_BYTES."""
    return name.suffix.lower() in IMAGE_SUFFIXES or bool(image_kind(head()))


def image_kind(head: bytes) -> str:
    """Return the format of an image by the first HEAD_BYTES of its file, and "" for what does not start as one."""
    for start, kind in STARTS.items():
        if head.startswith(start):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[:2] == b"BM" and head[14:18] in BITMAP_HEADERS:
        return "BMP"
    if re.match(rb"P[1-6]\s+[#\d]", head):
        return "PNM"
    if head[4:8] == b"ftyp":
        # a general first brand (mif1) may be followed by the one that counts
        brands = [head[place : place + 4] for place in (8, *range(16, len(head) - 3, 4))]
        kinds = [BRANDS[brand] for brand in brands if brand in BRANDS]
        return "AVIF" if "AVIF" in kinds else next(iter(kinds), "")
    return ""


def has_several_pictures(content: bytes) -> bool:
    """Say whether an image file is animated or has pages. Only a GIF's, PNG's, WebP's, TIFF's and AVIF's may."""
    kind = image_kind(content[:HEAD_BYTES])
    if kind == "PNG":
        return 0 < content.find(b"acTL") < content.find(b"IDAT")
    if kind == "WebP":
        return content[12:16] == b"VP8X" and bool(content[20:21]) and bool(content[20] & 2)
    if kind == "AVIF":
        return content[8:12] == b"avis"
    if kind == GIF:
        return _count_frames(content, 2) > 1
    return kind == "TIFF" and _has_second_page(content)


def _count_frames(gif: bytes, enough: int) -> int:
    """Count the pictures of a GIF up to `enough`; what is damaged ends the count."""
    frames, place = 0, 13 + _color_table(gif[10:11])
    while place < len(gif) and frames < enough:
        block = gif[place]
        if block == 0x2C:  # a picture: place and size, colours, and the size of its codes
            frames += 1
            place += 11 + _color_table(gif[place + 9 : place + 10])
        elif block == 0x21:  # an extension
            place += 2
        else:
            break
        while place < len(gif) and gif[place]:
            place += gif[place] + 1
        place += 1
    return frames


def _color_table(flags: bytes) -> int:
    """Return the bytes of the table of colours that a GIF's flags announce."""
    return 3 * 2 ** ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _has_second_page(tiff: bytes) -> bool:
    order = "<" if tiff[:2] == b"II" else ">"
    if tiff[2:4] not in (b"*\0", b"\0*"):
        return False  # a BigTIFF, whose pages are not counted
    try:
        (first,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, first)
        (second,) = struct.unpack_from(f"{order}I", tiff, first + 2 + 12 * entries)
    except struct.error:  # it is damaged, which decoding says
        return False
    return bool(second != 0)
