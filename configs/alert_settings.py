"""Names, types and bounds of the alerts' settings."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from configs.section import Section

EventName = Literal["failure", "rejected", "drift", "promotion", "rollback", "held"]


class AlertSettings(Section):
    command: tuple[Annotated[str, Field(min_length=1)], ...]
    webhook: SecretStr
    events: tuple[EventName, ...]
    timeout_seconds: Annotated[float, Field(gt=0.0, le=300.0)]
    retries: Annotated[int, Field(ge=0, le=10)]
    backoff_seconds: Annotated[float, Field(ge=0.0, le=60.0)]

    @field_validator("webhook")
    @classmethod
    def webhook_is_an_address(cls, webhook: SecretStr) -> SecretStr:
        given = webhook.get_secret_value()
        try:
            parts = urlsplit(given)
            known = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:  # its text quotes the address
            known = False
        if given and not known:
            raise ValueError("expected an address that starts with http:// or https://, or nothing")
        return webhook
