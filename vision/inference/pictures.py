"""Pictures: an input's pictures before they are decoded, read from any position."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Payload = bytes | np.ndarray[Any, Any] | Exception
Place = tuple[str, str]  # a picture's source, and the path or URI that it is read from


@dataclass(frozen=True)
class RawPicture:
    """A picture before decoding.

    `payload` is an encoded image (bytes), a decoded frame ((height, width, 3) uint8 RGB), or the exception that says
    why it cannot be read.
    """

    source: str
    payload: Payload


@dataclass(frozen=True)
class Pictures:
    """The pictures of an input, in a fixed order.

    `form` is picture, folder, glob, archive, video or manifest. The fingerprint depends on the names, sizes and
    modification times of the files on this machine. `left_out` are the names of files that are not pictures.
    `seconds_apart` are the frames of a video, and only those; `ends_early` says that one ends before its file does.
    `places` yields where the pictures from one position to before another lie; it is None where they do not lie in a
    file each.
    """

    name: str
    form: str
    fingerprint: str
    count: int
    reader: Callable[[int, int], Iterator[RawPicture]]
    left_out: tuple[str, ...] = ()
    seconds_apart: float | None = None
    ends_early: str = ""
    places: Callable[[int, int], Iterator[Place]] | None = None

    def read(self, start: int, stop: int) -> Iterator[RawPicture]:
        """Yield the pictures from position `start` to before `stop`.

        The payload of a picture that cannot be read is the reason. Raises UserError where the whole input has gone.
        """
        return self.reader(start, stop)
