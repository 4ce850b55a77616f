"""Label codes: what numbers and words of known data sets mean, and how they become class names."""

import re
from collections import Counter
from collections.abc import Mapping

from configs.data_settings import DatasetSettings
from configs.errors import UserError


def _numbered(names: str, start: int = 0) -> dict[str, str]:
    return {str(code): name for code, name in enumerate(names.split(), start=start)}


# The name that `dataset.codes` uses, and its codes
TABLES: dict[str, dict[str, str]] = {
    "fer2013": _numbered("angry disgust fear happy sad surprise neutral"),  # Goodfellow et al. 2013
    "affectnet": _numbered("neutral happy sad surprise fear disgust anger contempt"),  # Mollahosseini et al. 2017
    "rafdb": _numbered("surprise fear disgust happy sad angry neutral", start=1),  # Li et al. 2017
    "ckplus": _numbered("neutral anger contempt disgust fear happy sadness surprise"),  # Lucey et al. 2010
    "expw": _numbered("angry disgust fear happy sad surprise neutral"),  # Zhang et al. 2018
}
TITLES = {"fer2013": "FER2013", "affectnet": "AffectNet", "rafdb": "RAF-DB", "ckplus": "CK+", "expw": "ExpW"}
SYNONYMS = (
    ("angry", "anger"),
    ("disgust", "disgusted"),
    ("fear", "fearful", "afraid", "scared"),
    ("happy", "happiness", "joy"),
    ("neutral", "neutrality"),
    ("sad", "sadness"),
    ("surprise", "surprised"),
    ("contempt", "contemptuous"),
)
NUMBER = re.compile(r"(\d{1,9})(\.0+)?")  # a table that had gaps was saved with 3.0 for 3
SHOWN = 12
TEXTS, TEXT_CHARACTERS = 10_000, 100  # different labels that are counted, and how long each is
UNKNOWN, DROPPED = "unknown labels", "left out by dataset.codes"
UNUSED = "dataset.codes without a face"


class Labels:
    """Turns what a source calls a face into a class name, by the codes of its format and of dataset.codes.

    `known` is a key of TABLES, or "" where the format is not known. What was done is counted. Raises UserError where
    two codes of the settings are one label.
    """

    def __init__(self, settings: DatasetSettings, known: str = "") -> None:
        codes = settings.codes
        self.table = codes if isinstance(codes, str) else known
        self.given: Mapping[str, str | None] = {} if isinstance(codes, str) else _by_key(codes)
        self.class_names = settings.class_names
        self.path = settings.path
        self.found: dict[str, str | None] = {}
        self.counted: Counter[str] = Counter()

    def of(self, text: str, place: str = "") -> str | None:
        """Return the class name, the text itself where that is unknown, or None where the face is to be left out.

        Raises UserError for a code whose emotion is not a class; `place` says where it stands.
        """
        text = text[:TEXT_CHARACTERS]
        if text not in self.found and len(self.found) == TEXTS:
            return text  # a damaged or hostile table; so many are enough to say so
        if text not in self.found:
            self.found[text] = self._look_up(text, place)
        self.counted[text] += 1
        return self.found[text]

    def add(self, other: "Labels") -> None:
        """Count what another reading of the same data set did as well."""
        self.found |= other.found
        self.counted += other.counted

    def check_numbers(self, texts: set[str]) -> None:
        """Raise UserError where labels are numbers and nothing says what they mean."""
        meant = {*self.class_names, *self.given}
        numbers = sorted((text for text in texts if NUMBER.fullmatch(text) and _key(text) not in meant), key=float)
        if self.table or not numbers:
            return
        fitting = [
            f"{name} ({_listed(table)})" for name, table in TABLES.items() if all(_key(n) in table for n in numbers)
        ]
        tables = f", or name a table by --dataset.codes NAME, which may be {'; '.join(fitting)}" if fitting else ""
        # not the names of the classes: whoever copies the line would train a guess
        example = ", ".join(f"{number}: EMOTION" for number in numbers[:SHOWN])
        raise UserError(
            f"dataset.path {self.path}: the labels are numbers ({_cut(numbers)}), and what they mean is not known; "
            f'say it for each, as in --dataset.codes "{{{example}}}" (null leaves faces out){tables}'
        )

    def facts(self) -> dict[str, str]:
        """Return what was done, as text by name."""
        facts = {}
        if self.table and any(NUMBER.fullmatch(text) for text in self.found):
            facts["codes"] = f"of {TITLES[self.table]} ({_listed(TABLES[self.table])})"
        words = {text: name for text, name in self.found.items() if name in self.class_names}
        changed = {t: c for t, c in words.items() if c and c != t.strip().lower() and not NUMBER.fullmatch(t)}
        if changed:
            facts["labels"] = _cut([f"{t} read as {c} ({self.counted[t]:,})" for t, c in sorted(changed.items())])
        if meant := [f"{code} {name}" for code, name in self.given.items() if name]:
            facts["dataset.codes"] = _cut(meant)
        if dropped := [f"{text} ({self.counted[text]:,})" for text, name in self.found.items() if name is None]:
            facts[DROPPED] = _cut(sorted(dropped))
        if unused := self._unused():
            facts[UNUSED] = f"{_cut([_yaml(code) for code in unused])}; no label is called so: look how it is spelled"
        if unknown := sorted(text for text, name in self.found.items() if name and name not in self.class_names):
            shown = _cut([f"{text[:40]!r} ({self.counted[text]:,})" for text in unknown])
            example = "{" + f"{_yaml(unknown[0])}: null" + "}"
            facts[UNKNOWN] = (
                f"{shown}; add them to dataset.class_names, or say what they are or leave them out (null) as in "
                f'--dataset.codes "{example}"{self._other_codes(unknown)}'
            )
        return facts

    def check_emotions(self) -> None:
        """Raise UserError where labels are emotions that are not classes: those need not be decoded to be refused."""
        unknown = [text for text, name in self.found.items() if name and name not in self.class_names]
        if others := sorted(text for text in unknown if is_emotion(text)):
            counts = ", ".join(f"{text} ({self.counted[text]:,})" for text in others)
            left_out = ", ".join(f"{_yaml(_key(text))}: null" for text in others)
            raise UserError(
                f"dataset.path {self.path}: {counts} {'is an emotion' if len(others) == 1 else 'are emotions'} that "
                f"dataset.class_names {list(self.class_names)} lacks; add {'it' if len(others) == 1 else 'them'}, or "
                f'leave the faces out with --dataset.codes "{{{left_out}}}"'
            )

    def _unused(self) -> list[str]:
        """Return the codes of the settings that no label is, as far as labels are remembered."""
        met = {_key(text) for text in self.found}
        return [] if len(self.found) == TEXTS else [code for code in self.given if code not in met]

    def _other_codes(self, unknown: list[str]) -> str:
        """Say that the numbers may be codes of another format, where the known one lacks some of them."""
        if not self.table or not (numbers := [text for text in unknown if NUMBER.fullmatch(text.strip())]):
            return ""
        return (
            f"; {TITLES[self.table]} has no code {_cut(numbers)}: if the codes are another format's, say what each "
            "means in dataset.codes, or all faces get wrong labels"
        )

    def _look_up(self, text: str, place: str) -> str | None:
        key = _key(text)
        if key in self.given:
            meant, whose = self.given[key], "dataset.codes'"
            if meant is None:
                return None
        elif key in self.class_names:
            return key
        elif self.table and key in TABLES[self.table]:
            meant, whose = TABLES[self.table][key], f"{TITLES[self.table]}'s"
        else:
            return class_named(key, self.class_names) or text
        if (name := class_named(meant, self.class_names)) is None:
            raise UserError(
                f"dataset.path {place or self.path}: the code {key} is {whose} {meant}, which dataset.class_names "
                f'{list(self.class_names)} lacks; add it, or leave its faces out with --dataset.codes "{{{key}: null}}"'
            )
        return name


def class_named(word: str, class_names: tuple[str, ...]) -> str | None:
    """Return the class that a word such as `Anger` or `03_happiness` names, or None."""
    word = re.sub(r"^\d+[\s_.-]+|[\s_.-]+\d+$", "", word.strip().lower())
    if word in class_names:
        return word
    same = next((group for group in SYNONYMS if word in group), ())
    return next((name for name in class_names if name in same), None)


def is_emotion(word: str) -> bool:
    """Say whether a word names an emotion, of dataset.class_names or not."""
    return class_named(word, tuple(group[0] for group in SYNONYMS)) is not None


def is_class(name: str) -> bool:
    """Say whether a folder's name is an emotion or a number, which may stand for one."""
    return is_emotion(name) or NUMBER.fullmatch(name) is not None


def _key(text: str) -> str:
    text = text.strip().lower()
    return str(int(number[1])) if (number := NUMBER.fullmatch(text)) else text


def _by_key(codes: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return what is meant by the key of each code, so that `Happy` and `01` are the labels happy and 1."""
    names: dict[str, str] = {}
    for name in codes:
        if (other := names.setdefault(_key(name), name)) != name:
            raise UserError(f"dataset.codes has {other!r} and {name!r}, which are the same label; keep one of them")
    return {key: codes[name] for key, name in names.items()}


def _yaml(text: str) -> str:
    return text if re.fullmatch(r"\w[\w -]*", text) else f"'{text[:40]}'"


def _listed(table: Mapping[str, str]) -> str:
    return ", ".join(f"{code} {name}" for code, name in table.items())


def _cut(texts: list[str]) -> str:
    rest = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + rest
