"""Command line: `python run.py --pipeline NAME`. Heavy imports come after the words are understood."""

import gc
import signal
import sys
import traceback

from commands import alerts, bare, compare, doctor, relocate, reproduce, run_pipeline, tidy
from commands.command_line import Command, parse_words
from configs.errors import STOPPED_BY_USER, UNEXPECTED, UserError
from pipelines.runner import Outcome


def dispatch(command: Command) -> Outcome:
    """Do the one thing that the command asks for."""
    from stack.local_stack import keep_login, quiet_libraries

    keep_login()
    quiet_libraries(command.debug)
    if command.doctor:
        return doctor.run(command)
    if command.compare:
        return compare.run(command)
    if command.tidy:
        return tidy.run(command)
    if command.relocate:
        return relocate.run(command)
    if command.bare:
        return bare.run(command, command.bare)
    if command.reproduce:
        return reproduce.run(command, command.reproduce)
    return run_pipeline.run(command)


def main(words: list[str]) -> int:
    """Do what the words ask for; return the exit code."""
    debug = "--debug" in words
    for stop in (signal.SIGTERM, signal.SIGINT):  # an orchestrator's stop is treated as Ctrl-C
        signal.signal(stop, signal.default_int_handler)
    command = Command()
    try:
        command = parse_words(words)
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
    except Exception as error:
        alerts.announce(command, alerts.failure(command, UNEXPECTED, f"{type(error).__name__}: {error}"))
        raise
    alerts.announce(command, event)
    return code


if __name__ == "__main__":
    ended_with = main(sys.argv[1:])
    gc.freeze()  # leaves what remains to the operating system: collecting it takes seconds
    sys.exit(ended_with)
