"""The port of `make ui`: refused if another program listens there, which the MLflow UI would not say by its code."""

import os
import socket
import sys

from configs.errors import UserError, told_in_a_sentence

LAST = 65_535


def check_port(text: str) -> None:
    """Raise UserError where the text is not a port, or nobody may listen on it."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= LAST):
        raise UserError(f"PORT={text} is not a port; give a number from 1 to {LAST}, such as make ui PORT=5001")
    with socket.socket() as listening:
        if os.name != "nt":  # there it would let two programs listen
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", int(text)))
        except OSError as error:
            raise UserError(
                f"port {text} cannot be used ({error.strerror}); choose another: make ui PORT={int(text) % LAST + 1}"
            ) from error


if __name__ == "__main__":
    with told_in_a_sentence():
        check_port(sys.argv[1])
