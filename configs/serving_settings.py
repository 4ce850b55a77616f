"""Names, types and bounds of the HTTP service's settings."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from configs.environment import ENVIRONMENT_PREFIX
from configs.section import Section

SHORTEST_TOKEN = 16  # characters


class ServingSettings(Section):
    host: Annotated[str, Field(min_length=1)]
    port: Annotated[int, Field(ge=1, le=65_535)]
    token: SecretStr
    allowed_hosts: tuple[Annotated[str, Field(min_length=1)], ...]
    allowed_origins: tuple[Annotated[str, Field(pattern=r"^https?://[^/*\s]+$")], ...]
    runtime: Literal["onnx", "onnx_int8"]
    bundle: Path | None
    registry_seconds: Annotated[float, Field(ge=0.1, le=3600.0)]
    shadow: bool
    workers: Annotated[int, Field(ge=1, le=64)]
    batch_size: Annotated[int, Field(ge=1, le=1024)]
    max_requests: Annotated[int, Field(ge=1, le=10_000)]
    max_waiting_bytes: Annotated[int, Field(ge=1024, le=100_000_000_000)]
    max_connections: Annotated[int, Field(ge=1, le=100_000)]
    max_body_bytes: Annotated[int, Field(ge=1024, le=1_000_000_000)]
    max_pixels: Annotated[int, Field(ge=256, le=400_000_000)]
    max_faces: Annotated[int, Field(ge=1, le=10_000)]
    max_pictures: Annotated[int, Field(ge=1, le=10_000)]
    timeout_seconds: Annotated[float, Field(ge=0.1, le=600.0)]
    log: bool
    log_folder: Path
    log_days: Annotated[int, Field(ge=1, le=3650)]

    @field_validator("token")
    @classmethod
    def token_is_long_enough(cls, token: SecretStr) -> SecretStr:
        given = token.get_secret_value()
        is_plain = given.isascii() and given.isprintable() and " " not in given
        if given and not (is_plain and len(given) >= SHORTEST_TOKEN):
            raise ValueError(f"expected at least {SHORTEST_TOKEN} letters, digits or signs without spaces, or nothing")
        return token

    @model_validator(mode="after")
    def other_addresses_have_a_token(self) -> Self:
        if not is_loopback(self.host) and not self.token.get_secret_value():
            raise ValueError(
                f"serving.host {self.host} can be reached by others, so a token is needed: set "
                f"{ENVIRONMENT_PREFIX}SERVING__TOKEN, or leave serving.host at 127.0.0.1"
            )
        return self


def is_loopback(host: str) -> bool:
    """Say whether only this machine reaches an address or name."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
