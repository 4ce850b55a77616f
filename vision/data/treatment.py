"""Treatment: what ingestion does to pictures besides resizing them, and how often it did."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from configs.inference_settings import DetectionSettings
from vision.data.face_detection import NO_FACE
from vision.data.grey_levels import GUESSED, WhiteLevels

CUT_OUT, BLENDED, SCALED = "faces cut out", "alpha over grey", "white level"  # names of facts of a FaceSet's reading


@dataclass(frozen=True)
class Treatment:
    """How pictures become faces: `detection` finds the face to cut out, or is None."""

    detection: DetectionSettings | None = None
    whites: WhiteLevels = GUESSED


PLAIN = Treatment()


@dataclass
class TreatmentCounts:
    """What was done to the pictures of a data set. `whites` counts the level of white by mode and level."""

    pictures: int = 0
    blended: int = 0
    without_face: int = 0
    whites: Counter[tuple[str, float]] = field(default_factory=Counter)

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Count the rows of a chunk."""
        for row in rows:
            self.pictures += not row["error"]
            self.blended += bool(row["blended"])
            self.without_face += row["error"] == NO_FACE
            if row["white"]:
                self.whites[row["mode"], row["white"]] += 1

    def common_whites(self) -> dict[str, float]:
        """Return by mode the highest level of white: one for the whole data set, so that no image differs."""
        return {mode: max(white for other, white in self.whites if other == mode) for mode, _ in self.whites}

    def differs(self) -> bool:
        """Say whether images of one mode were given different levels of white."""
        return len(self.whites) > len(self.common_whites())

    def facts(self, treatment: Treatment) -> dict[str, str]:
        """Return what was done, as text by name."""
        facts = {}
        if treatment.detection is not None:
            left_out = f"{self.without_face:,} pictures without a face are left out"
            facts[CUT_OUT] = f"{self.pictures:,}, the largest of each picture; {left_out}"
        if self.blended:
            facts[BLENDED] = f"{self.blended:,} transparent images; what their pixels hide is not used"
        if self.whites:
            counts = [f"{white:g} in {count:,} images of mode {mode}" for (mode, white), count in self.whites.items()]
            facts[SCALED] = f"{', '.join(counts)} (set dataset.white_level if that is wrong)"
        return facts
