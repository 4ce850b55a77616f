"""PostgreSQL on the loopback: the binaries of PATH or of Debian, as a user that is not root."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.servers.processes import HOST, WITH_THE_TESTS, ServerProcess, free_ports, running

USER, PASSWORD = "tests", "secret-of-postgresql"
DEBIAN = Path("/usr/lib/postgresql")
SERVERS_USERS = ("postgres", "nobody")  # initdb refuses to run as root


def find_binaries() -> Path | None:
    """Return the folder of initdb and postgres, or None where this machine has none."""
    debian = sorted(DEBIAN.glob("*/bin"), key=lambda folder: int(folder.parent.name), reverse=True)
    named = shutil.which("initdb")
    places = [*debian, *([Path(named).resolve().parent] if named else [])]
    return next((place for place in places if (place / "postgres").exists() and (place / "initdb").exists()), None)


def why_missing() -> str:
    """Return why PostgreSQL cannot be started here, or ""."""
    try:
        import psycopg2  # noqa: F401
    except ModuleNotFoundError:
        return "needs psycopg2: make setup-servers"
    if find_binaries() is None:
        return "needs PostgreSQL: apt-get install postgresql"
    if os.getuid() == 0 and shutil.which("setpriv") is None:
        return "needs setpriv, to start PostgreSQL as another user than root"
    return ""


class PostgreSQL(ServerProcess):
    """A PostgreSQL server that asks for a password."""

    def __init__(self, binaries: Path, folder: Path, as_user: list[str]) -> None:
        (self.port,) = free_ports(1)
        self.data, self.binaries, self.as_user = folder / "data", binaries, as_user
        options = {"listen_addresses": HOST, "port": self.port, "unix_socket_directories": "", "fsync": "off"}
        line = [*as_user, str(binaries / "postgres"), "-D", str(self.data)]
        for name, value in options.items():
            line += ["-c", f"{name}={value}"]
        super().__init__(line, folder, self._is_ready)

    def make(self) -> None:
        """Make an empty cluster."""
        password = self.folder / "password"
        password.write_text(PASSWORD, encoding="utf-8")
        password.chmod(0o644)
        line = [
            *self.as_user, str(self.binaries / "initdb"), "-D", str(self.data), "-U", USER, "--pwfile", str(password),
            "--auth", "scram-sha-256", "--no-sync", "--encoding", "UTF8", "--locale", "C",
        ]  # fmt: skip
        subprocess.run(line, check=True, capture_output=True, cwd=self.folder)

    def uri(self, database: str = "postgres") -> str:
        """Return the address of a database, with user and password."""
        return f"postgresql://{USER}:{PASSWORD}@{HOST}:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """Make a database and return its address."""
        with contextlib.closing(self._connect()) as connection:
            connection.autocommit = True
            connection.cursor().execute(f'CREATE DATABASE "{name}"')
        return self.uri(name)

    def _connect(self) -> "object":
        import psycopg2

        return psycopg2.connect(self.uri(), connect_timeout=2)

    def _is_ready(self) -> bool:
        import psycopg2

        try:
            self._connect().close()
        except psycopg2.OperationalError:
            return False
        return True


@contextlib.contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """Run PostgreSQL for a block, with its files in a folder that goes with it."""
    binaries = find_binaries()
    assert binaries is not None, why_missing()
    folder = Path(tempfile.mkdtemp(prefix="postgresql-of-tests-"))  # pytest's own folders are closed to other users
    as_user: list[str] = []
    try:
        if os.getuid() == 0:
            owner = next(user for user in map(_user, SERVERS_USERS) if user)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
            as_user = [*WITH_THE_TESTS, f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
        server = PostgreSQL(binaries, folder, as_user)
        server.make()
        with running(server):
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None
