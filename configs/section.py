"""What every section of the settings is made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Probability = Annotated[float, Field(ge=0.0, lt=1.0)]


class Section(BaseModel):
    """A part of the settings: cannot be changed after reading, and knows no other keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
