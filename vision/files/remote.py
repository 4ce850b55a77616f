"""Files behind addresses such as s3://bucket/faces.zip: looked at, and fetched once into a folder of this machine.

fsspec and the packages of its stores are imported late, because only who reads from a store installs them.
"""

import errno
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from configs.environment import shown_address
from configs.errors import UserError
from vision.files.atomic import write_file, write_folder
from vision.files.hashes import hash_facts
from vision.files.paths import printable

logger = logging.getLogger(__name__)

FETCHED = "FACE_EMOTION_FETCHED"  # variable that names the folder of what was fetched; the local stack sets it
VERSIONS = ("ETag", "etag", "md5Hash", "generation", "content_md5")  # what stores call an object's version
CHANGED = ("LastModified", "last_modified", "updated", "mtime", "created")
KEY_CHARACTERS = 16
EXTRAS = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}  # by scheme
OF_THIS_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENOMEM}  # its full disk has a sentence of its own
PARTS_AT_ONCE = 1000  # objects that are asked for in one call


@dataclass(frozen=True)
class Allowed:
    """How many objects and bytes are fetched at most, the setting that names the address, and those of the limits."""

    setting: str
    objects: int
    bytes: int
    limits: str


@dataclass(frozen=True)
class Remote:
    """An object, or all objects below a prefix: their names below it, with what the store says of each."""

    address: str
    store: Any
    root: str
    objects: Mapping[str, Mapping[str, Any]]
    is_prefix: bool

    @property
    def name(self) -> str:
        """The last part of the address."""
        return PurePosixPath(self.root).name or "bucket"

    @property
    def size(self) -> int:
        """All bytes."""
        return sum(int(about["size"] or 0) for about in self.objects.values())

    @property
    def described(self) -> str:
        """How many objects, and how large."""
        return f"{len(self.objects):,} {'object' if len(self.objects) == 1 else 'objects'}, {self.size / 1e6:,.1f} MB"

    @property
    def fingerprint(self) -> str:
        """Hash of names, sizes and versions; without a version the time of the last change stands for it."""
        return hash_facts([self.address, [[name, *_version(self.objects[name])] for name in sorted(self.objects)]])


def look_at(address: str, allowed: Allowed) -> Remote:
    """Ask a store for an object, or list the objects below a prefix. Raises UserError, also where they are too many."""
    with _explained(address, allowed.setting):
        store, root = _open_store(address, allowed.setting)
        about = store.info(root)
        is_prefix = about["type"] != "file"
        objects = store.find(root, detail=True) if is_prefix else {root: about}
    names = {_name_below(path, root) if is_prefix else PurePosixPath(root).name: path for path in objects}
    found = {name: objects[path] for name, path in names.items() if name and not name.endswith("/")}
    remote = Remote(address, store, root, found, is_prefix)
    _check(remote, allowed)
    return remote


def fetch(address: str, allowed: Allowed) -> Path:
    """Return a file or a folder with what an address names, fetched unless it was before in the same version.

    Raises UserError.
    """
    remote = look_at(address, allowed)
    folder = fetched_folder() / hash_facts(shown_address(address))[:KEY_CHARACTERS]
    place = folder / remote.fingerprint[:KEY_CHARACTERS] / remote.name
    if place.exists():
        return place
    logger.info("%s is fetched: %s", shown_address(address), remote.described)
    place.parent.mkdir(parents=True, exist_ok=True)
    with _explained(address, allowed.setting):
        if remote.is_prefix:
            _fetch_prefix(remote, place)
        else:
            ((_, about),) = remote.objects.items()
            write_file(place, lambda file: _fetch_object(remote, file, about))
    return place


def fetched_folder() -> Path:
    """Return the folder of what was fetched: that of the state folder, or where no stack is set up, a temporary one."""
    return Path(os.environ.get(FETCHED) or Path(tempfile.gettempdir(), "face-emotion", "fetched"))


def _fetch_object(remote: Remote, file: Path, about: Mapping[str, Any]) -> None:
    remote.store.get_file(remote.root, str(file))
    _set_time(file, about)


def _fetch_prefix(remote: Remote, place: Path) -> None:
    names = sorted(remote.objects)
    with write_folder(place) as unfinished:
        for start in range(0, len(names), PARTS_AT_ONCE):
            part = names[start : start + PARTS_AT_ONCE]
            for folder in {(unfinished / name).parent for name in part}:
                folder.mkdir(parents=True, exist_ok=True)
            remote.store.get([f"{remote.root}/{name}" for name in part], [str(unfinished / name) for name in part])
            for name in part:
                _set_time(unfinished / name, remote.objects[name])


def _set_time(file: Path, about: Mapping[str, Any]) -> None:
    """Give a file the time at which its object changed, so that it looks the same on each machine."""
    changed = next((about[key] for key in CHANGED if about.get(key)), None)
    if isinstance(changed, datetime):
        os.utime(file, (changed.timestamp(), changed.timestamp()))


def _version(about: Mapping[str, Any]) -> tuple[str, str]:
    version = next((about[key] for key in (*VERSIONS, *CHANGED) if about.get(key)), "")
    return str(about.get("size")), str(version)


def _name_below(path: str, root: str) -> str:
    return path.removeprefix(root.rstrip("/")).lstrip("/")


def _check(remote: Remote, allowed: Allowed) -> None:
    """Raise UserError for an empty prefix, for more than is allowed, and for names that lead out of a folder."""
    shown = f"{allowed.setting} {shown_address(remote.address)}"
    if not remote.objects:
        raise UserError(f"{shown} holds no objects; name an object, or a prefix with some below it")
    if len(remote.objects) > allowed.objects:
        raise UserError(
            f"{shown} holds {len(remote.objects):,} objects, more than {allowed.objects:,} ({allowed.limits})"
        )
    if remote.size > allowed.bytes:
        raise UserError(f"{shown} holds {remote.size:,} bytes, more than {allowed.bytes:,} ({allowed.limits})")
    folders = {str(above) for name in remote.objects for above in PurePosixPath(name).parents}
    for name in remote.objects:
        if name in folders:
            raise UserError(f"{shown} holds {printable(name)!r} and objects below it; a folder cannot have both")
        if ".." in PurePosixPath(name).parts or name.startswith("/") or "\0" in name:
            raise UserError(f"{shown} holds {printable(name)!r}, which is not a name below it; remove that object")


def _open_store(address: str, setting: str) -> tuple[Any, str]:
    """Return fsspec's store for an address, and the path in it. Raises UserError where its package is missing."""
    scheme, shown = address.partition("://")[0].lower(), f"{setting} {shown_address(address)}"
    if scheme in ("http", "https"):
        raise UserError(f"{shown} is a web address; download it, or name an object of a store such as s3://bucket/name")
    if shown_address(address) != address:
        raise UserError(f"{shown} has a login or a question mark, which runs would keep; set a login in variables")
    missing = f"{shown}: the package for {scheme}:// is missing; "
    try:
        import fsspec
    except ImportError as error:
        raise UserError(f"{missing}run `make setup-servers`, or pip install '.[s3]'") from error
    try:
        store, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        package = EXTRAS.get(scheme, scheme)
        way_out = "run `make setup-servers`, or pip install '.[s3]'" if scheme == "s3" else f"pip install {package}"
        raise UserError(f"{missing}{way_out}") from error
    except ValueError as error:  # a scheme that fsspec does not know
        raise UserError(f"{shown}: {scheme}:// is not a store that is known") from error
    store.invalidate_cache()  # a listing of a minute ago would hide what has changed
    return store, str(path)


@contextmanager
def _explained(address: str, setting: str) -> Iterator[None]:
    """Turn what a store raises into a UserError that names the setting."""
    shown = f"{setting} {shown_address(address)}"
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{shown} does not exist, or the store hides it from this user") from error
    except PermissionError as error:
        raise UserError(
            f"{shown}: the store refuses this user; set its login in the environment, for S3 AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY"
        ) from error
    except OSError as error:
        if error.errno in OF_THIS_MACHINE:
            raise
        raise UserError(f"{shown} cannot be read: {_one_line(error)}") from error
    except Exception as error:  # each store has errors of its own
        raise UserError(f"{shown} cannot be read: {type(error).__name__}: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
