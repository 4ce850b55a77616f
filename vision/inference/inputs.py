"""Inputs: the pictures of a photo, a folder, a glob, a zip or a video, read from any position."""

import glob
import hashlib
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path, PurePosixPath

import cv2

from configs.errors import UserError
from configs.inference_settings import InferenceSettings
from configs.paths import is_uri
from vision.files.archives import DAMAGED_ARCHIVE, image_members, open_zip, read_member
from vision.files.file_sets import describe_files
from vision.files.image_kinds import GIF, has_several_pictures, image_kind
from vision.files.paths import is_hidden, is_image_file, printable, read_file, read_head, walk
from vision.files.remote import Allowed, fetch, look_at
from vision.inference.finished import JOB
from vision.inference.manifests import MANIFEST_SUFFIX, open_manifest
from vision.inference.pictures import Payload, Pictures, Place, RawPicture

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm"})
EXPECTED = 'a photo, a folder, a glob such as "photos/*.jpg", a .zip, a video file or a .parquet manifest'
FILES_A_PICTURE = 10  # that a prefix may hold for each picture that is allowed


def open_pictures(settings: InferenceSettings) -> Pictures:
    """Find the pictures that `settings.input` names. Raises UserError where there are none."""
    given = settings.input.strip()
    if not given:
        raise UserError(f"inference.input is empty; name {EXPECTED} with --inference.input")
    try:
        path = fetch(given, _allowed(settings)) if is_uri(given) else Path(given).expanduser()
        if path.is_dir():
            return _open_folder(path, settings)
        if path.is_file():
            return _open_file(path, settings)
        if path.exists():
            raise UserError(f"inference.input {given} is neither a file nor a folder; expected {EXPECTED}")
    except (OSError, ValueError, RuntimeError) as error:  # ValueError: a null character; RuntimeError: ~nobody
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"inference.input {given!r} cannot be read: {reason}") from error
    if glob.has_magic(given):
        return _open_glob(path, settings)
    raise UserError(f"inference.input {given} does not exist; expected {EXPECTED}")


def check_address(settings: InferenceSettings) -> None:
    """Raise UserError where `settings.input` is an address that names nothing; what it names is not fetched."""
    look_at(settings.input.strip(), _allowed(settings))


def _allowed(settings: InferenceSettings) -> Allowed:
    limits = "inference.max_pictures and inference.max_file_bytes; raise them if that is right"
    objects = FILES_A_PICTURE * settings.max_pictures
    return Allowed("inference.input", objects, settings.max_pictures * settings.max_file_bytes, limits)


def plain_name(text: str, length: int) -> str:
    """Make a file name of letters, digits and hyphens from the last `length` characters of any text; may be empty."""
    return re.sub(r"[\W_]+", "-", text)[-length:].strip("-")


def _open_file(path: Path, settings: InferenceSettings) -> Pictures:
    suffix = path.suffix.lower()
    if is_image_file(path) and not _is_animated_gif(path, settings):
        return _of_files(path.name, "picture", path.parent, [path.name], settings)
    if suffix == ".zip":
        return _open_zip(path, settings)
    if suffix == MANIFEST_SUFFIX:
        return _open_manifest(path, settings)
    if suffix in VIDEO_SUFFIXES or is_image_file(path):
        return _open_video(path, settings)
    raise UserError(f"inference.input {path} is a file of unknown kind; expected {EXPECTED}")


def _is_animated_gif(path: Path, settings: InferenceSettings) -> bool:
    if image_kind(read_head(path)) != GIF:
        return False
    content = read_file(path, settings.max_file_bytes, "inference")
    return isinstance(content, bytes) and has_several_pictures(content)


def _open_folder(root: Path, settings: InferenceSettings) -> Pictures:
    within = [path.relative_to(root).as_posix() for path in walk(root) if not _is_output(path, settings)]
    names, others = _pictures_among(root, (name for name in within if not is_hidden(PurePosixPath(name))))
    if not names:
        raise UserError(f"inference.input {root} holds no pictures{_found(others)}; expected {EXPECTED}")
    return replace(_of_files(root.resolve().name, "folder", root, names, settings), left_out=tuple(others))


def _open_glob(pattern: Path, settings: InferenceSettings) -> Pictures:
    found = [Path(name) for name in glob.glob(str(pattern), recursive=True)]
    files = (str(path) for path in found if not path.is_dir() and not _is_output(path, settings))
    names, others = _pictures_among(Path(), files)
    if not names:
        given = settings.input.strip()
        raise UserError(f"inference.input {given} matches no pictures{_found(others)}; expected {EXPECTED}")
    return replace(_of_files("-".join(pattern.parts[-2:]), "glob", Path(), names, settings), left_out=tuple(others))


def _pictures_among(root: Path, names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the names below `root` that are, or begin as, pictures, and the others, both in their order."""
    pictures: list[str] = []
    others: list[str] = []
    for name in sorted(names):
        (pictures if is_image_file(root / name) else others).append(name)
    return pictures, others


def _found(others: Sequence[str]) -> str:
    return f"; found {describe_files(others)}" if others else ""


def _is_output(path: Path, settings: InferenceSettings) -> bool:
    """Say whether a file lies in a job's folder in the output; the annotated pictures of earlier jobs are not input."""
    output, file = os.path.abspath(settings.output), Path(os.path.abspath(path))
    return file.is_relative_to(output) and Path(output, *file.relative_to(output).parts[:1], JOB).exists()


def _of_files(name: str, form: str, root: Path, names: list[str], settings: InferenceSettings) -> Pictures:
    """Return pictures of one file each; `names` are paths below `root`. Raises UserError where there are too many."""
    _check_count(len(names), settings)

    def read(start: int, stop: int) -> Iterator[RawPicture]:
        for name in names[start:stop]:
            payload = read_file(root / name, settings.max_file_bytes, "inference")
            if isinstance(payload, OSError):
                _check_still_there((root / name).parent, settings)  # of a glob the root is always there
            yield RawPicture(printable(name), payload)

    def places(start: int, stop: int) -> Iterator[Place]:
        return ((printable(name), os.path.abspath(root / name)) for name in names[start:stop])

    return Pictures(name, form, _fingerprint(root, names), len(names), read, places=places)


def _check_count(count: int, settings: InferenceSettings) -> None:
    if count > settings.max_pictures:
        raise UserError(
            f"inference.input {settings.input} holds {count:,} pictures, more than inference.max_pictures "
            f"{settings.max_pictures}"
        )


def _open_zip(path: Path, settings: InferenceSettings) -> Pictures:
    try:
        # stays open, because reading the list of 100,000 members takes a second
        archive = open_zip(path, settings.max_pictures, "raise inference.max_pictures if that is right")
    except DAMAGED_ARCHIVE as error:
        raise UserError(
            f"inference.input {path} is not a readable zip file ({printable(str(error))}); "
            "was it copied or downloaded completely?"
        ) from error
    members, others = image_members(archive)
    left_out = tuple(member.filename for member in others)
    if not members:
        raise UserError(f"inference.input {path} holds no pictures{_found(left_out)}; expected {EXPECTED}")

    def read(start: int, stop: int) -> Iterator[RawPicture]:
        for member in members[start:stop]:
            payload = read_member(archive, member, settings.max_file_bytes, "inference")
            if isinstance(payload, OSError):
                _check_still_there(path, settings)
            yield RawPicture(printable(member.filename), payload)

    return Pictures(path.name, "archive", _fingerprint(path.parent, [path.name]), len(members), read, left_out)


def _open_manifest(path: Path, settings: InferenceSettings) -> Pictures:
    manifest = open_manifest(path, settings)
    _check_count(manifest.count, settings)
    places = None
    if manifest.names_places:
        manifest, places = replace(manifest, there=manifest.find_one()), manifest.places
    fingerprint = _fingerprint(path.parent, chain([path.name], manifest.files()))
    return Pictures(path.name, "manifest", fingerprint, manifest.count, manifest.read, places=places)


def _open_video(path: Path, settings: InferenceSettings) -> Pictures:
    """Sample a video at equal intervals. A position gives the time, so that reading can start anywhere."""
    str(path).encode()  # raises ValueError for a name that is not valid text; OpenCV would crash
    video = _start_video(path, 0.0)
    width, height = video.get(cv2.CAP_PROP_FRAME_WIDTH), video.get(cv2.CAP_PROP_FRAME_HEIGHT)
    if width * height > settings.max_pixels:
        raise UserError(
            f"inference.input {path} has frames of {width:.0f}x{height:.0f} pixels, "
            f"more than inference.max_pixels {settings.max_pixels}"
        )
    recorded = video.get(cv2.CAP_PROP_FPS)  # frames a second
    known = 0.1 <= recorded <= 1000.0  # not every container has it
    recorded = recorded if known else 25.0
    sampled = min(settings.frames_per_second, recorded)
    said = video.get(cv2.CAP_PROP_FRAME_COUNT) / recorded
    last = _duration(path, said)
    count = int(last * sampled + 0.01) + 1
    _check_count(count, settings)
    digits = 2 if sampled <= 100.0 else 3  # of the seconds, so that every picture has another name

    def read(start: int, stop: int) -> Iterator[RawPicture]:
        video = _start_video(path, start / sampled)
        there = True
        for position in range(start, stop):
            seconds = position / sampled
            while there and _seconds(video) < seconds - 0.5 / recorded:
                there = video.grab()
            frame = video.retrieve()[1] if there else None
            payload: Payload = ValueError("the video cannot be read here")
            if frame is not None:
                payload = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            yield RawPicture(f"{path.name}#t={seconds:.{digits}f}s", payload)
        video.release()

    ends_early = _ends_early(said, last, recorded) if known else ""
    if ends_early:
        logger.warning("inference.input %s ends early: %s", path, ends_early)
    fingerprint = f"{_fingerprint(path.parent, [path.name])} at {sampled:g} a second"
    pictures = Pictures(path.name, "video", fingerprint, count, read, seconds_apart=1 / sampled)
    return replace(pictures, ends_early=ends_early)


def _start_video(path: Path, seconds: float) -> cv2.VideoCapture:
    """Open a video at a frame before the given time, or at its first. Raises UserError where it cannot be read."""
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if seconds > 2.0:
        video.set(cv2.CAP_PROP_POS_MSEC, 1000.0 * (seconds - 2.0))  # seeking misses by some frames
        return video if video.grab() and _seconds(video) < seconds - 1.0 else _start_video(path, 0.0)
    if not video.grab():
        raise UserError(
            f"inference.input {path} is not a video that can be read; is it complete, and is its codec a common one?"
        )
    return video


def _seconds(video: cv2.VideoCapture) -> float:
    """Return the time of the frame that was grabbed last, in seconds."""
    return float(video.get(cv2.CAP_PROP_POS_MSEC)) / 1000.0


def _duration(path: Path, said: float) -> float:
    """Return the time of the last frame in seconds; reads from shortly before the time that the file `said`."""
    video = _start_video(path, said)
    last = _seconds(video)
    while video.grab():
        last = _seconds(video)
    return last


def _ends_early(said: float, last: float, recorded: float) -> str:
    """Say when a video ends clearly before the time that its file states, or ""; `recorded` are frames a second."""
    if said - last <= max(1.0, 2 / recorded, 0.02 * said):
        return ""
    return f"its file says that it lasts {said:.1f} s, and its pictures end at {last:.1f} s; is it complete?"


def _fingerprint(root: Path, names: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        try:
            status = (root / name).stat()
            digest.update(os.fsencode(name) + f"\x1f{status.st_size}\x1f{status.st_mtime_ns}\x1e".encode())
        except (OSError, ValueError):  # a broken link or a null character becomes a row with its reason
            digest.update(os.fsencode(name) + b"\x1f?\x1e")
    return digest.hexdigest()


def _check_still_there(path: Path, settings: InferenceSettings) -> None:
    """Raise UserError where the input has gone, rather than report all of its pictures as unreadable."""
    if not os.path.exists(path):
        raise UserError(f"inference.input {settings.input} has gone while it was read; run again when it is back")
