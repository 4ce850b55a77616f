"""Split names: the words by which folders and tables name a split."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from configs.errors import UserError
from vision.data.faces import TEST, TRAIN, VALIDATION

WORDS = (
    dict.fromkeys(("train", "training", "trn"), TRAIN)
    | dict.fromkeys(("val", "valid", "validation", "validate", "dev", "devel", "development", "publictest"), VALIDATION)
    | dict.fromkeys(("test", "testing", "tst", "eval", "evaluation", "holdout", "heldout", "privatetest"), TEST)
)
JOINED = ("public test", "private test", "hold out", "held out")  # two words that are one
THINGS = ("set", "sets", "data", "dataset", "split", "images", "pictures", "faces")  # that a split consists of
ONE_WORD = re.compile(rf"({'|'.join(WORDS)})(?:{'|'.join(THINGS)})?")  # trainset
SIBLINGS = 5  # more folders of the same classes than this are not splits, but people or sessions
SHOWN = 6


class SplitNames:
    """What names of folders and words of a table say about the split. `given` (dataset.splits) goes first.

    Raises UserError where two names of `given` are the same in lower case.
    """

    def __init__(self, given: Mapping[str, str | None]) -> None:
        names: dict[str, str] = {}
        for name in given:
            if (other := names.setdefault(name.strip().lower(), name)) != name:
                raise UserError(f"dataset.splits has {other!r} and {name!r}, which are the same name; keep one of them")
        self.given = {key: given[name] for key, name in names.items()}
        self.found: dict[str, str] = {}

    def of(self, name: str) -> str:
        """Return the split that a word within the name says, or "" where there is none or there are several."""
        if name not in self.found:
            key = name.strip().lower()
            said = {WORDS[word] for word in _split_words(name)[0]}
            self.found[name] = (self.given[key] or "") if key in self.given else said.pop() if len(said) == 1 else ""
        return self.found[name]

    def of_all(self, name: str) -> str:
        """Return the split of a name that consists of nothing but words for a split."""
        return self.of(name) if self.is_given(name) or not _split_words(name)[1] else ""

    def is_given(self, name: str) -> bool:
        """Say whether dataset.splits has the name."""
        return name.strip().lower() in self.given


def _split_words(name: str) -> tuple[list[str], list[str]]:
    """Return the words of a name that say a split, and the others, without those for what a split consists of."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    text = " ".join(re.findall(r"[^\W\d_]+", apart.lower()))
    for pair in JOINED:
        text = re.sub(rf"\b{pair}\b", pair.replace(" ", ""), text)
    said, others = [], []
    for word in text.split():
        if match := ONE_WORD.fullmatch(word):
            said.append(match[1])
        elif word not in THINGS:
            others.append(word)
    return said, others


def check_split_folders(folders: Collection[tuple[str, ...]], names: SplitNames, path: Path) -> None:
    """Raise UserError where folders look like splits, but their names do not say which.

    `folders` are the parts of the paths of class folders, the class last. They look like splits beside folders that
    are, and where a few of them hold the same classes.
    """
    unknown = _beside_splits(folders, names) or _alike(folders, names)
    if not unknown:
        return
    example = ", ".join(f"{_quoted(name)}: test" for name in unknown[:SHOWN])
    raise UserError(
        f"dataset.path {path}: {', '.join(unknown[:SHOWN])} {'looks' if len(unknown) == 1 else 'look'} like "
        f"{'a split' if len(unknown) == 1 else 'splits'}, and it is not known which; say train, validation or test, or "
        f'null for what is not a split: --dataset.splits "{{{example}}}"'
    )


def check_one_set(folders: Iterable[tuple[str, ...]], names: SplitNames, path: Path) -> None:
    """Raise UserError where folders side by side each hold splits of their own, as two data sets do.

    `folders` are the parts of the paths of class folders, the class last. A folder within such a folder belongs to it.
    """
    sets = set()
    for folder in folders:
        above = folder[:-1]
        depth = next((at for at, name in enumerate(above) if names.of(name) or names.is_given(name)), None)
        if depth is not None and names.of(above[depth]):
            sets.add(above[:depth])
    apart = sorted(one for one in sets if not any(one[:depth] in sets for depth in range(len(one))))
    if len(apart) > 1:
        shown = apart[:SHOWN]
        said = ", ".join("/".join(one) for one in shown)
        example = ", ".join(f"{name}: null" for name in sorted({_quoted(one[-1]) for one in shown}))
        raise UserError(
            f"{path} holds more than one data set ({said}), each with splits of its own; choose one with "
            "--dataset.path, once an archive is unpacked, or read them as one with "
            f'--dataset.splits "{{{example}}}"'
        )


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z][\w.-]*", name) else f"'{name}'"


def _assigned(folder: tuple[str, ...], names: SplitNames) -> bool:
    return any(names.of(name) or names.is_given(name) for name in folder[:-1])


def _beside_splits(folders: Iterable[tuple[str, ...]], names: SplitNames) -> list[str]:
    below: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for folder in folders:
        for depth in range(len(folder) - 1):
            below[folder[:depth]].add(folder[depth])
    with_splits = {parent for parent, children in below.items() if any(names.of(child) for child in children)}
    return sorted({
        folder[depth]
        for folder in folders
        if not _assigned(folder, names)
        for depth in range(len(folder) - 1)
        if folder[:depth] in with_splits
    })  # fmt: skip


def _alike(folders: Iterable[tuple[str, ...]], names: SplitNames) -> list[str]:
    classes: dict[tuple[str, ...], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for folder in folders:
        if _assigned(folder, names):
            return []
        if len(folder) > 1:
            classes[folder[:-2]][folder[-2]].add(folder[-1].lower())
    for children in classes.values():
        if 2 <= len(children) <= SIBLINGS and len(set.intersection(*children.values())) > 1:
            return sorted(children)
    return []
