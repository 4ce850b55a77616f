import pytest

from configs.errors import UserError
from vision.lifecycle.rollback import check_target, choose_target


def test_without_a_wish_the_target_is_the_champion_before() -> None:
    assert choose_target("faces", "5", previous="3") == "3"


@pytest.mark.parametrize("previous", [None, "none"])
def test_a_first_champion_has_none_before_it(previous: str | None) -> None:
    with pytest.raises(UserError, match=r"version 5 of faces had no champion before it.*--rollback\.version"):
        choose_target("faces", "5", previous)


def test_the_champion_itself_is_refused() -> None:
    with pytest.raises(UserError, match="version 5 of faces is the champion already"):
        check_target("faces", "5", "5", was_promoted=True)


def test_a_version_that_was_never_promoted_is_refused() -> None:
    with pytest.raises(UserError, match=r"rollback\.version 4 of faces never was champion"):
        check_target("faces", "4", "5", was_promoted=False)


def test_a_former_champion_may_come_back_where_there_is_none_now() -> None:
    check_target("faces", "4", None, was_promoted=True)
