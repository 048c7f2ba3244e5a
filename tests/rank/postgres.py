"""A PostgreSQL server of one's own: made, started on a free port of 127.0.0.1, stopped, removed."""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy.engine import URL

USER = "llmtrain"
SECONDS = 60  # for the server to come up or to end


class Missing(Exception):
    """Why no server can be made here."""


class Server:
    """A running server with one database, whose user may do anything."""

    def __init__(self, port: int, password: str):
        self.url = URL.create("postgresql", USER, password, "127.0.0.1", port, "postgres")

    def emptied(self) -> URL:
        """The url of the database, without anything in it: a new database each time would take seconds to write."""
        with self.connect() as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        return self.url

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.url.render_as_string(hide_password=False), autocommit=True)


@contextmanager
def server() -> Iterator[Server]:
    """A server until the block ends. Raises Missing when PostgreSQL is not installed, or nobody may run it."""
    programs, owner = _programs(), _owner()
    folder = Path(tempfile.mkdtemp(prefix="llmtrain-postgres-"))
    process = None
    try:
        password = secrets.token_hex(8)
        (folder / "password").write_text(password)
        for path in (folder, folder / "password"):
            shutil.chown(path, owner.pw_uid, owner.pw_gid)
        identity = dict(user=owner.pw_uid, group=owner.pw_gid, extra_groups=[]) if os.geteuid() == 0 else {}
        made = subprocess.run(
            [programs / "initdb", "-D", folder / "data", "-U", USER, "--auth=scram-sha-256", "--no-sync", "-E", "UTF8"]
            + [f"--pwfile={folder / 'password'}", "--locale=C"],
            **{"cwd": folder, "capture_output": True, "text": True, **identity},
        )
        assert made.returncode == 0, made.stderr
        port = _free_port()
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "on", "port": port}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [programs / "postgres", "-D", folder / "data", *options],
                **{"cwd": folder, "stdout": log, "stderr": log, **identity},
            )
        found = Server(port, password)
        _wait(found, process, folder / "log")
        yield found
    finally:
        if process is not None:
            process.send_signal(signal.SIGQUIT)  # at once: what it holds is thrown away
            process.wait(SECONDS)
        shutil.rmtree(folder)


def _programs() -> Path:
    on_path = shutil.which("initdb")
    places = [Path(on_path).resolve().parent] if on_path else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in places:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    raise Missing("no PostgreSQL server: initdb is neither on the PATH nor under /usr/lib/postgresql")


def _owner() -> pwd.struct_passwd:
    """PostgreSQL does not run as root."""
    if os.geteuid():
        return pwd.getpwuid(os.geteuid())
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        raise Missing("PostgreSQL does not run as root, and there is no user postgres") from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(found: Server, process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + SECONDS
    while True:
        try:
            found.connect().close()
            return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(log.read_text()) from None
            time.sleep(0.05)
