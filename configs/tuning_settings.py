"""Names, types and bounds of the settings of a search."""

from typing import Annotated, Any, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from configs.section import Section


class NumberSpace(Section):
    low: float
    high: float
    log: bool

    @model_validator(mode="after")
    def bounds_are_in_order(self) -> Self:
        if self.low >= self.high or (self.log and self.low <= 0):
            raise ValueError(f"low {self.low:g} and high {self.high:g} do not make a range; log needs low above 0")
        return self


class ChoiceSpace(Section):
    choices: Annotated[tuple[Any, ...], Field(min_length=1)]


def _form_of_space(given: Any) -> str:
    return "list" if isinstance(given, ChoiceSpace) or (isinstance(given, dict) and "choices" in given) else "range"


Space = Annotated[
    Annotated[NumberSpace, Tag("range")] | Annotated[ChoiceSpace, Tag("list")],
    Discriminator(_form_of_space),
]


class TuningSettings(Section):
    trials: Annotated[int, Field(ge=1, le=100_000)]
    epochs: Annotated[int, Field(ge=1, le=1000)]
    startup_trials: Annotated[int, Field(ge=1, le=1000)]
    storage: Annotated[str, Field(min_length=1)] | None
    space: Annotated[dict[str, Space], Field(min_length=1)]

    @field_validator("storage")
    @classmethod
    def storage_has_no_login(cls, storage: str | None) -> str | None:
        if storage is None or "://" not in storage:
            return storage
        try:
            parts = urlsplit(storage)
            _ = parts.port
            asked = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
        except ValueError:  # its text quotes the address
            parts, asked = urlsplit(""), set()
        if parts.scheme not in ("postgresql", "postgresql+psycopg2"):
            raise ValueError("expected postgresql://SERVER:PORT/DATABASE, the path of a journal file, or null")
        if "@" in storage or asked & {"user", "password"}:
            raise ValueError(
                "the address holds a login, which would be kept with the run; leave it out, and set PGUSER and "
                "PGPASSWORD in the environment"
            )
        return storage
