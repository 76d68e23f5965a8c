"""A PostgreSQL server of one's own, with a password, for as long as it is needed."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PASSWORD = "verysecret7"
INITDB = ("--no-sync", "-E", "UTF8", "--locale", "C")


class NoServer(Exception):
    """There is none here, and why."""


class Server(NamedTuple):
    """A server that runs.

    Args:
        port: on 127.0.0.1, where it listens.
        folder: its own, with its log.
    """

    port: int
    folder: Path

    def url(self, database: str) -> str:
        """Of a database, with the password."""
        return f"postgresql+psycopg://harness:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def make(self, database: str) -> str:
        """Make a database, and give its URL."""
        import psycopg

        place = f"host=127.0.0.1 port={self.port} user=harness password={PASSWORD} dbname=postgres"
        with psycopg.connect(place, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{database}"')  # type: ignore[arg-type]
        return self.url(database)


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """Start a server on a free port, and stop it at the end.

    Raises:
        NoServer: PostgreSQL or its driver is not installed, or nobody here may run it.
    """
    initdb, postgres = _binary("initdb"), _binary("postgres")
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise NoServer("psycopg is not installed") from None
    user = _user()
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    process = None
    try:
        (folder / "password").write_text(PASSWORD)
        if user is not None:
            entry = pwd.getpwnam(user)
            for path in (folder, folder / "password"):
                os.chown(path, entry.pw_uid, entry.pw_gid)
        data = folder / "data"
        _run(
            [initdb, "-D", data, "-U", "harness", "-A", "scram-sha-256", "--pwfile", folder / "password", *INITDB],
            user,
            folder,
        )
        port = _free_port()
        options = ["-p", str(port), "-h", "127.0.0.1", "-k", "", "-F"]
        log = (folder / "log").open("w")
        process = subprocess.Popen([postgres, "-D", str(data), *options], stdout=log, stderr=log, user=user, cwd=folder)
        log.close()
        _wait(process, port, folder / "log")
        yield Server(port, folder)
    finally:
        if process is not None:
            process.terminate()  # a "smart" stop waits for clients; those that are left are ended
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.send_signal(2)
                process.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


def _binary(name: str) -> str:
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    found = shutil.which(name) or (str(places[0]) if places else None)
    if found is None:
        raise NoServer(f"PostgreSQL's {name} is not installed")
    return found


def _user() -> str | None:
    """Who runs the server: PostgreSQL refuses root. None for the current user."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            pwd.getpwnam(name)
            return name
    raise NoServer("PostgreSQL does not run as root, and there is no user 'postgres' or 'nobody'")


def _run(command: list[str | Path], user: str | None, folder: Path) -> None:
    found = subprocess.run(command, user=user, cwd=folder, capture_output=True, text=True, timeout=120)
    if found.returncode:
        raise NoServer(f"{command[0]} failed: {found.stderr.strip()[-300:]}")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    """Until the server takes connections."""
    import psycopg

    deadline = time.monotonic() + 60
    while True:
        if process.poll() is not None or time.monotonic() > deadline:
            raise NoServer(f"PostgreSQL did not start: {log.read_text()[-300:]}")
        try:
            place = f"host=127.0.0.1 port={port} user=harness password={PASSWORD} dbname=postgres connect_timeout=5"
            psycopg.connect(place).close()
            return
        except psycopg.OperationalError:
            time.sleep(0.1)
