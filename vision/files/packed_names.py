"""Packed names: millions of names of files in the bytes that they have, and not as many objects."""

from array import array
from collections.abc import Iterable, Sequence
from typing import overload


class PackedNames(Sequence[str]):
    """A list of names that takes 8 bytes a name beside the names themselves; each is made when it is asked for."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.content, self.ends = bytearray(), array("Q")
        for name in names:
            self.append(name)

    def append(self, name: str) -> None:
        """Add a name at the end; it may have surrogates, as Python gives bytes that are not text."""
        self.content += name.encode("utf-8", "surrogatepass")
        self.ends.append(len(self.content))

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, position: int) -> str: ...

    @overload
    def __getitem__(self, position: slice) -> list[str]: ...

    def __getitem__(self, position: int | slice) -> str | list[str]:
        if isinstance(position, slice):
            return [self[place] for place in range(*position.indices(len(self)))]
        place = range(len(self))[position]
        start = self.ends[place - 1] if place else 0
        return self.content[start : self.ends[place]].decode("utf-8", "surrogatepass")
