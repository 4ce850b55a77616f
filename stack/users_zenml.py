"""A ZenML of the user's own: which of its stacks runs, and whether that stack can."""

import os
from pathlib import Path
from typing import Any

from configs.environment import without_login
from configs.errors import UserError
from stack.error_messages import reason_of

OWN_ZENML = "zenml"  # folder in the state folder
STACK_ID, STACK_NAME = "ZENML_ACTIVE_STACK_ID", "ZENML_ACTIVE_STACK_NAME"  # ZenML itself knows no names here
OPTION = "FACE_EMOTION_STACK"  # what --stack names, set by us
USERS_ZENML = ("ZENML_CONFIG_PATH", "ZENML_STORE_URL", STACK_ID, STACK_NAME, OPTION)
SHOWN_STACKS = 20


def wants_users_zenml(state: Path) -> bool:
    """Say whether the environment asks for a ZenML of the user's own; one in the home folder is left alone."""
    given = {name: os.environ.get(name) for name in USERS_ZENML}
    if given["ZENML_CONFIG_PATH"] == str(state / OWN_ZENML):  # set by us
        given["ZENML_CONFIG_PATH"] = None
    return any(given.values())


def choose_stack(name: str) -> None:
    """Have the run use the stack of that name, of the user's own ZenML."""
    os.environ[OPTION] = name
    for less in (STACK_ID, STACK_NAME):
        os.environ.pop(less, None)


def asking() -> str:
    """Return the option and the variables that ask for the user's own ZenML."""
    return " and ".join([*_chosen(), *_variables()])


def way_back() -> str:
    """Return what to do for this project's own ZenML to be used."""
    less = [f"leave out {option}" for option in _chosen()]
    return " and ".join([*less, *([f"unset {' and '.join(_variables())}"] if _variables() else [])])


def _chosen() -> list[str]:
    return [f"--stack {name}"] if (name := os.environ.get(OPTION)) else []


def _variables() -> list[str]:
    ours = {OPTION, STACK_ID} if os.environ.get(OPTION) or os.environ.get(STACK_NAME) else {OPTION}  # see _activate
    return [name for name in USERS_ZENML if name not in ours and os.environ.get(name)]


def open_users_stack() -> Any:
    """Return the stack that the environment names, or the active one, which tracks with MLflow. Raises UserError."""
    from sqlalchemy.exc import SQLAlchemyError
    from zenml.client import Client
    from zenml.exceptions import AuthorizationException

    try:
        client = Client()
        if name := os.environ.get(OPTION) or os.environ.get(STACK_NAME):
            _activate(client, name)
        stack = client.active_stack
    except AuthorizationException as error:
        raise UserError(
            f"the ZenML server {without_login(os.environ.get('ZENML_STORE_URL', ''))} refuses the login "
            f"({reason_of(error)}); set ZENML_STORE_API_KEY to a key of `zenml service-account api-key`"
        ) from error
    except (SQLAlchemyError, KeyError) as error:  # KeyError: of a stack that is not there
        raise UserError(
            f"the ZenML of yours that {asking()} asks for cannot be used ({reason_of(error)}); it is never migrated "
            f"from here: bring it to this version with ZenML's own commands, or {way_back()}"
        ) from error
    except ImportError as error:  # of a part of the stack; ZenML's message names the packages
        raise UserError(f"the stack that {asking()} asks for needs more packages: {reason_of(error)}") from error
    tracker = stack.experiment_tracker
    if tracker is None or tracker.flavor != "mlflow":
        kind = "without an experiment tracker" if tracker is None else f"with {tracker.flavor}"
        raise UserError(
            f"the ZenML of yours that {asking()} asks for has the active stack {stack.name}, which tracks {kind}; this "
            f"pipeline needs MLflow: {_list_stacks(client)}; name one with --stack, or {way_back()}, and "
            "this project sets up its own"
        )
    return stack


def check_complete(stack: Any) -> None:
    """Raise UserError where the stack lacks a part that its other parts need."""
    from zenml.client import Client
    from zenml.exceptions import StackValidationError

    try:
        stack.validate()
    except StackValidationError as error:
        raise UserError(
            f"the stack {stack.name} lacks a part ({reason_of(error)}); {_list_stacks(Client())}; add the part, or "
            "name another stack with --stack"
        ) from error


def _activate(client: Any, name: str) -> None:
    """Make the stack of that name the active one of this process. Raises UserError that lists the stacks."""
    try:
        found = client.get_stack(name, allow_name_prefix_match=False)
    except KeyError as error:
        raise UserError(f"the ZenML of yours has no stack {name}; {_list_stacks(client)}") from error
    os.environ[STACK_ID] = str(found.id)


def _list_stacks(client: Any) -> str:
    """Return a sentence that names the user's stacks, and what each tracks with."""
    from zenml.enums import StackComponentType

    page = client.list_stacks(size=SHOWN_STACKS, hydrate=True)
    named = []
    for stack in page.items:
        trackers = stack.components.get(StackComponentType.EXPERIMENT_TRACKER, [])
        tracks = f"tracks with {trackers[0].flavor_name}" if trackers else "without a tracker"
        named.append(f"{stack.name} ({tracks})")
    more = f" and {page.total - len(page.items)} more" if page.total > len(page.items) else ""
    return f"your stacks are {', '.join(named)}{more}"
