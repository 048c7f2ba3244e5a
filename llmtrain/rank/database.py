"""SQLite or PostgreSQL under one rule: one writer at a time, and what was committed is on the disk.

Many processes may share a database. A write begins by taking the one lock: SQLite's (BEGIN IMMEDIATE), or in PostgreSQL
that of the only row of `rank_schema`. So nothing that a write has read can change before it commits.
"""

import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Generic, TypeVar

from sqlalchemy import Column, Connection, Engine, Integer, MetaData, Table, create_engine, event, insert, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.schema import CreateSchema

from llmtrain.errors import ConfigError, StoreError

T = TypeVar("T")
VERSION = 1  # of the tables
WAIT = 30  # seconds for a lock, a connection of the pool, one statement
CONNECT = 10  # seconds until a server counts as unreachable
PAUSES = (0.05, 0.2, 0.5, 1.0)  # seconds before a transaction is tried again
# What goes away by itself: serialization failure, deadlock, server shut down, server starting up
PASSING = {"40001", "40P01", "57P01", "57P02", "57P03"}
SCHEMA_LOCK = 0x6C6C6D7261  # any number that no other program locks

META = MetaData()
schema = Table("rank_schema", META, Column("version", Integer, primary_key=True, autoincrement=False))
LOCK = select(schema.c.version).with_for_update()  # SQLite, which is locked already, gets it without FOR UPDATE

# What the driver calls a fault (SQLite's name, the head of PostgreSQL's code), or says of it where it gives no code:
# what happened, what to do
CODES = {
    "SQLITE_NOTADB": ("is not a SQLite database", "name another file; this one was left as it is"),
    "SQLITE_CORRUPT": ("is damaged", "restore it from a backup, or save what `sqlite3 FILE .recover` can read"),
    "SQLITE_FULL": ("has no space left on its disk", "make room; what was acknowledged is safe, this was not stored"),
    "SQLITE_READONLY": ("cannot be written", "give yourself write permission for the file and its folder"),
    "SQLITE_CANTOPEN": ("cannot be opened", "the folder must exist and be writable by you"),
    "SQLITE_BUSY": (f"was locked by another program for {WAIT} s", "close what holds it open, then try again"),
    "SQLITE_IOERR": ("cannot be read or written", "look at the disk; on a network folder use PostgreSQL instead"),
    "53": ("has no room left: disk, memory or connections", "make room; this was not stored"),
    "25006": ("is read-only", "connect to the primary server"),
    "42501": ("forbids this user to make or write tables", "grant CREATE on its schema to the user"),
    "57014": (f"did not answer within {WAIT} s", "look for what locks its tables"),
}
WORDS = {
    "password authentication failed": ("refuses this login", "correct PGUSER and PGPASSWORD, or ~/.pgpass"),
    "no password supplied": ("wants a login", "set PGUSER and PGPASSWORD, or write ~/.pgpass"),
    "no pg_hba.conf entry": ("lets nobody in from this machine", "add a line to the server's pg_hba.conf"),
    "does not exist": ("or its user does not exist", "make it with `createdb`, or correct the url"),
    "refused": ("cannot be reached", "start the server, or correct host and port in the url"),
    "resolve": ("cannot be reached", "correct the host in the url"),
    "timeout": ("cannot be reached", "start the server, or correct host and port in the url"),
}


def local(path: Path) -> URL:
    """The url of a SQLite file; any characters in its name are fine."""
    return URL.create("sqlite", database=str(path))


class _Job(Generic[T]):
    """A part of a transaction, and what its thread waits for."""

    def __init__(self, work: Callable[[Connection], T]):
        self.work, self.answer = work, Future[T]()


class Database:
    """Transactions on one database. Its messages name the place and never the password.

    space: on a server, the schema that holds the tables, letters, digits and _; so that runs share a database and no
    more. Raises ConfigError for a url of no use, StoreError when the database cannot be used.
    """

    def __init__(self, url: str | URL, space: str = ""):
        self._prepare(url, space)
        try:
            self._explaining(lambda: self._transact(self._tables, writes=True))
        except BaseException:
            self.close()
            raise

    def _prepare(self, url: str | URL, space: str = "") -> None:
        self._url, self._space = _understood(url), space
        self.place = _place(self._url)
        self._sqlite = self._url.get_backend_name() == "sqlite"
        # In one process writers queue here, in order, where SQLite would let them poll; one of them writes for all.
        self._turn, self._waiting = threading.Lock(), deque[_Job[Any]]()
        self._engine = self._connected()

    @classmethod
    def reach(cls, url: str | URL) -> None:
        """Ask whether votes could be kept there, and leave nothing behind. Raises ConfigError or StoreError if not."""
        asked = cls.__new__(cls)
        asked._prepare(url)
        try:
            may = asked.read(lambda c: c.scalar(text("SELECT has_database_privilege(current_database(), 'CREATE')")))
        finally:
            asked.close()
        if not may:
            forbids, remedy = CODES["42501"]
            raise StoreError(f"{asked.place} {forbids}: {remedy}")

    def write(self, work: Callable[[Connection], T]) -> T:
        """Result of `work`, once its transaction is committed. It may run more than once until then.

        What several threads want to write goes into one transaction, so the disk is waited for once for all of them.
        """
        job = _Job(work)
        self._waiting.append(job)
        with self._turn:
            if not job.answer.done():
                self._run([self._waiting.popleft() for _ in range(len(self._waiting))])
        return self._explaining(job.answer.result)

    def read(self, work: Callable[[Connection], T]) -> T:
        """Result of `work`, which reads only; it waits for no writer."""
        return self._explaining(lambda: self._transact(work, writes=False))

    def close(self) -> None:
        self._engine.dispose()

    def _run(self, jobs: "list[_Job[Any]]") -> None:
        """All or nothing; when one of them fails, each in a transaction of its own."""

        def all_of_them(connection: Connection) -> list[Any]:
            connection.execute(LOCK)
            return [job.work(connection) for job in jobs]

        try:
            results = self._transact(all_of_them, writes=True)
        except BaseException as error:
            common = isinstance(error, OperationalError) or not isinstance(error, Exception)  # the disk, the server
            if len(jobs) > 1 and not common:
                for job in jobs:
                    self._run([job])
                return
            for job in jobs:
                job.answer.set_exception(error)
            return
        for job, result in zip(jobs, results, strict=True):
            job.answer.set_result(result)

    def _transact(self, work: Callable[[Connection], T], *, writes: bool) -> T:
        for pause in (*PAUSES, None):
            try:
                with (
                    self._engine.connect() as connection,
                    connection.execution_options(llmtrain_writes=writes).begin(),
                ):
                    return work(connection)  # the commit comes before the return
            except SQLAlchemyError as error:
                if pause is None or not _passing(error):
                    raise
            time.sleep(pause)
        raise AssertionError("unreachable")

    def _connected(self) -> Engine:
        pool: dict[str, Any] = dict(pool_size=8, max_overflow=0, pool_timeout=WAIT, hide_parameters=True)
        if self._sqlite:
            _private(Path(str(self._url.database)), self.place)
            engine = create_engine(self._url, connect_args={"timeout": WAIT}, **pool)
            event.listen(engine, "connect", _careful)
            event.listen(engine, "begin", _begin)
            return engine
        options = f"-c synchronous_commit=on -c statement_timeout={WAIT * 1000}"
        if self._space:
            options += f" -c search_path={self._space}"
        try:
            return create_engine(
                self._url,
                isolation_level="READ COMMITTED",  # each statement after the lock sees what the last writer did
                connect_args={"connect_timeout": CONNECT, "options": options},
                **pool,
            )
        except ModuleNotFoundError:
            raise ConfigError(
                f"{self.place}: PostgreSQL needs psycopg, which is not installed: pip install 'llmtrain[postgres]'"
            ) from None

    def _tables(self, connection: Connection) -> None:
        """Make the tables where they are missing. Raises StoreError when they are of another version."""
        if not self._sqlite:  # it has one writer as it is
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": SCHEMA_LOCK})
            if self._space:
                connection.execute(CreateSchema(self._space, if_not_exists=True))
        META.create_all(connection)
        found = connection.execute(select(schema.c.version)).scalar()
        if found is None:
            connection.execute(insert(schema).values(version=VERSION))
        elif found != VERSION:
            raise StoreError(
                f"{self.place} holds tables of version {found}, this llmtrain knows version {VERSION}: export its "
                "votes with the llmtrain that made it, or name another database"
            )

    def _explaining(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except SQLAlchemyError as error:
            raise self._explained(error) from None  # the chain could show the url's password

    def _explained(self, error: SQLAlchemyError) -> StoreError:
        said = str(error.orig) if isinstance(error, DBAPIError) else str(error)
        if self._url.password:
            said = said.replace(str(self._url.password), "[redacted]")
        code = _code(error)
        known = [fault for mark, fault in CODES.items() if code.startswith(mark)]
        known += [fault for words, fault in WORDS.items() if words in said]
        if known:
            return StoreError(f"{self.place} {known[0][0]}: {known[0][1]}")
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        return StoreError(f"{self.place} cannot be used: {lines[0] if lines else type(error).__name__}")


def _understood(url: str | URL) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError(
            "the database's url cannot be read: write sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/NAME, "
            "with %40 for @ and %2F for / within user and password"
        ) from None
    backend = "postgresql" if parsed.drivername == "postgres" else parsed.get_backend_name()
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise ConfigError(f"a database of kind '{backend}' is not known: use sqlite:///FILE or postgresql://...")
    if not parsed.database or parsed.database.startswith((":memory:", "file:")) or parsed.query:
        raise ConfigError("votes must outlive the program: name a plain file, as in sqlite:///FILE")
    return parsed.set(drivername="sqlite+pysqlite")


def _place(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return f"the database {url.database}"
    where = url.host or "this machine"
    return f"the PostgreSQL database '{url.database or ''}' on {where}{f':{url.port}' if url.port else ''}"


def _private(path: Path, place: str) -> None:
    """Make the file for its owner alone. SQLite gives its -wal and -shm the same mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreError(
            f"{place} cannot be opened for writing ({error.strerror}): the folder must exist and be writable by you"
        ) from None


def _careful(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # _begin begins, not the driver
    for setting in ("journal_mode=WAL", "synchronous=FULL", "fullfsync=ON", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {setting}").close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("llmtrain_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _code(error: SQLAlchemyError) -> str:
    """SQLITE_FULL, 40001 ..., or nothing when the driver does not say."""
    if not isinstance(error, DBAPIError) or error.orig is None:
        return ""
    if isinstance(error.orig, sqlite3.Error):
        return str(vars(error.orig).get("sqlite_errorname", ""))
    return str(error.orig.sqlstate or "")  # type: ignore[attr-defined]  # every psycopg.Error has it


def _passing(error: SQLAlchemyError) -> bool:
    return isinstance(error, DBAPIError) and (error.connection_invalidated or _code(error) in PASSING)
