"""What run.py does: the words are understood, the command is run, and whatever happens becomes an exit code."""

import signal
import sys
import traceback

from commands import alerts, bare, compare, doctor, relocate, reproduce, run_pipeline, serve, tidy
from commands.command_line import Command, check_names, parse_words
from commands.console import secure_output
from configs.errors import STOPPED_BY_USER, UNEXPECTED, UserError
from configs.loading import PROJECT
from pipelines.runner import Outcome


def dispatch(command: Command) -> Outcome:
    """Do the one thing that the command asks for."""
    from stack.local_stack import keep_login, quiet_libraries
    from stack.users_zenml import choose_stack

    keep_login()
    quiet_libraries(command.debug)
    if command.stack:
        choose_stack(command.stack)
    if command.doctor:
        return doctor.run(command)
    if command.compare:
        return compare.run(command)
    if command.tidy:
        return tidy.run(command)
    if command.relocate:
        return relocate.run(command)
    if command.serve:
        return serve.run(command)
    if command.bare:
        return bare.run(command, command.bare)
    if command.reproduce:
        return reproduce.run(command, command.reproduce)
    return run_pipeline.run(command)


def main(words: list[str]) -> int:
    """Do what the words ask for; return the exit code."""
    secure_output()
    debug = "--debug" in words
    for stop in (signal.SIGTERM, signal.SIGINT):  # an orchestrator's stop is treated as Ctrl-C
        signal.signal(stop, signal.default_int_handler)
    command = Command()
    try:
        command = parse_words(words)
        check_names(command)
        outcome = dispatch(command)
        code, event = outcome.exit_code, alerts.ending(command.subject, outcome.exit_code, outcome.lines)
    except UserError as error:
        if debug:
            traceback.print_exc()
        print(f"error: {alerts.without_secrets(str(error))}", file=sys.stderr)
        code, event = error.exit_code, alerts.failure(command, error.exit_code, str(error))
    except KeyboardInterrupt:
        if debug:
            traceback.print_exc()
        print("stopped; finished data steps and epochs are kept and will not run again", file=sys.stderr)
        code, event = STOPPED_BY_USER, alerts.failure(command, STOPPED_BY_USER, "stopped")
    except ModuleNotFoundError as error:
        if debug or not is_package(error.name):
            raise
        message = missing_package(error.name)
        print(f"error: {message}", file=sys.stderr)
        code, event = UserError.exit_code, alerts.failure(command, UserError.exit_code, message)
    except Exception as error:
        alerts.announce(command, alerts.failure(command, UNEXPECTED, f"{type(error).__name__}: {error}"))
        raise
    alerts.announce(command, event)
    return code


def is_package(module: str | None) -> bool:
    """Say whether a module that is missing is not of this project, so that installing the packages helps."""
    return module is not None and not (PROJECT / module.partition(".")[0]).exists()


def missing_package(module: str | None) -> str:
    """Return the sentence for a package that the Python in use lacks."""
    return (
        f"the package {module} is missing in {sys.executable}; run `make setup`, and start run.py with .venv/bin/python"
    )
