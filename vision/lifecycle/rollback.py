"""Rollback: which version may get the champion's place back."""

from configs.errors import UserError

ROLLED_BACK_AT = "rolled_back_at"  # tag of a version whose place was given back


def choose_target(model_name: str, champion: str, previous: str | None) -> str:
    """Return the version that was the champion before `champion`. Raises UserError where there was none."""
    if previous in (None, "none"):
        raise UserError(
            f"version {champion} of {model_name} had no champion before it; name one with --rollback.version N"
        )
    return str(previous)


def check_target(model_name: str, target: str, champion: str | None, was_promoted: bool) -> None:
    """Raise UserError where the target is the champion already or never was one."""
    if target == champion:
        raise UserError(f"version {target} of {model_name} is the champion already; name another, or do nothing")
    if not was_promoted:
        raise UserError(
            f"rollback.version {target} of {model_name} never was champion; only the gate of --pipeline training "
            "promotes"
        )
