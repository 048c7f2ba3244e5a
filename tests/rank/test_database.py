"""What goes wrong with a database, and what people read then."""

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy.engine import URL

import llmtrain
from llmtrain.errors import ConfigError, StoreError
from llmtrain.rank import database
from llmtrain.rank.database import Database, local


def test_the_file_is_its_owners_alone(tmp_path):
    path = tmp_path / "votes.db"
    opened = Database(local(path))
    assert {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == dict.fromkeys(
        ("votes.db", "votes.db-wal", "votes.db-shm"), 0o600
    )
    opened.close()


def test_sqlite_waits_for_the_disk(tmp_path):
    opened = Database(local(tmp_path / "votes.db"))

    def settings(connection: sqlalchemy.Connection) -> list[object]:
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]

    assert opened.read(settings) == ["wal", 2]  # 2 is FULL
    opened.close()


def test_postgresql_waits_for_the_disk(server):
    opened = Database(server.emptied())
    assert opened.read(lambda c: c.exec_driver_sql("SHOW synchronous_commit").scalar()) == "on"
    assert opened.read(lambda c: c.exec_driver_sql("SHOW fsync").scalar()) == "on"
    opened.close()


def test_several_may_open_a_new_database_at_once(url):
    faults = []

    def open_it() -> None:
        try:
            Database(url).close()
        except Exception as error:
            faults.append(error)

    people = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in people:
        thread.start()
    for thread in people:
        thread.join()
    assert faults == []


def test_a_failing_write_fails_alone(url):
    """Those who wait together share a transaction; whose part fails must not take the others along."""
    opened = Database(url)
    gate = threading.Event()
    told: dict[str, object] = {}

    def work(name: str):
        def add(connection: sqlalchemy.Connection) -> str:
            gate.wait(10)
            number = {"one": 5, "two": 5, "three": 6}.get(name, 7)
            connection.execute(sqlalchemy.insert(database.schema).values(version=number))
            if name == "four":
                raise ValueError(name)
            return name

        try:
            told[name] = opened.write(add)
        except (ValueError, StoreError) as error:
            told[name] = type(error)

    people = [threading.Thread(target=work, args=(name,)) for name in ("one", "three", "four", "two", "five")]
    for thread in people:
        thread.start()
    gate.set()
    for thread in people:
        thread.join()
    assert told["three"] == "three"
    assert told["four"] is ValueError
    assert told["five"] == "five"
    assert {told["one"], told["two"]} in ({"one", StoreError}, {"two", StoreError})  # version is a primary key
    query = sqlalchemy.select(database.schema.c.version).order_by(database.schema.c.version)
    assert opened.read(lambda c: list(c.scalars(query))) == [1, 5, 6, 7]
    opened.close()


def test_an_outage_is_told_to_all_who_wait_at_once(server, monkeypatch):
    """Not one after the other: each would wait for the server anew."""
    monkeypatch.setattr(database, "PAUSES", (0.01, 0.01))
    opened = Database(server.emptied())
    gate, asked, told = threading.Event(), [], []

    def work(connection: sqlalchemy.Connection) -> None:
        gate.wait(10)
        asked.append(connection)
        connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")

    def write() -> None:
        with pytest.raises(StoreError) as error:
            opened.write(work)
        told.append(str(error.value))

    people = [threading.Thread(target=write) for _ in range(5)]
    for thread in people:
        thread.start()
    gate.set()
    for thread in people:
        thread.join()
    assert len(told) == 5
    assert len(asked) <= 2 * (len(database.PAUSES) + 1)  # who came first alone, then all the others together
    opened.close()


def test_a_file_of_another_kind_is_left_as_it_is(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("no database " * 1000)
    with pytest.raises(StoreError, match=r"notes\.txt is not a SQLite database: name another file"):
        Database(local(path))
    assert path.read_text() == "no database " * 1000


def test_tables_of_another_version(url):
    opened = Database(url)
    opened.write(lambda c: c.execute(sqlalchemy.update(database.schema).values(version=99)) and None)
    opened.close()
    with pytest.raises(StoreError, match="tables of version 99, this llmtrain knows version 1: export"):
        Database(url)


def test_a_folder_that_is_not_there_or_may_not_be_written(tmp_path):
    with pytest.raises(StoreError, match="the folder must exist and be writable"):
        Database(local(tmp_path / "none" / "votes.db"))
    with pytest.raises(StoreError, match="the folder must exist and be writable"):
        Database(local(tmp_path))


def test_a_file_that_is_read_only(tmp_path, monkeypatch):
    """root may write anything, so the driver is told to open it for reading."""
    path = tmp_path / "votes.db"
    Database(local(path)).close()
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3.dbapi2, "connect", lambda name, **kw: connect(f"file:{name}?mode=ro", uri=True, **kw))
    with pytest.raises(StoreError, match=r"votes\.db cannot be written: give yourself write permission"):
        Database(local(path)).write(lambda c: c.execute(sqlalchemy.insert(database.schema).values(version=2)))


def test_a_full_disk(tmp_path):
    """SQLite's own limit of pages stands for the disk."""
    opened = Database(local(tmp_path / "votes.db"))

    def fill(connection: sqlalchemy.Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        connection.exec_driver_sql("CREATE TABLE more (words TEXT)")
        for _ in range(100):
            connection.exec_driver_sql("INSERT INTO more VALUES (?)", ("x" * 4000,))

    with pytest.raises(StoreError, match="no space left on its disk: make room; what was acknowledged is safe"):
        opened.write(fill)
    assert opened.read(lambda c: c.scalar(sqlalchemy.select(database.schema.c.version))) == 1
    opened.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite://", "votes must outlive the program"),
        ("sqlite:///:memory:", "votes must outlive the program"),
        ("mysql://ann:hunter22@host/votes", "kind 'mysql' is not known"),
        ("hunter22 is the password", "url cannot be read"),
    ],
)
def test_urls_of_no_use(url, said):
    with pytest.raises(ConfigError, match=said) as error:
        Database(url)
    assert "hunter22" not in str(error.value)


def test_no_message_tells_the_password(server, caplog):
    url = server.emptied()
    cases: dict[str, URL] = {
        "cannot be reached: start the server": url.set(port=1, password="hunter22"),
        "refuses this login: correct PGUSER and PGPASSWORD": url.set(password="hunter22"),
        "does not exist": url.set(database="hunter"),
    }
    for said, wrong in cases.items():
        with pytest.raises(StoreError, match=said) as error:
            Database(wrong)
        assert error.value.__cause__ is None
        assert error.value.__suppress_context__
        for secret in ("hunter22", str(url.password)):
            assert secret not in str(error.value) + caplog.text


def test_reaching_a_server_leaves_nothing_there(server):
    Database.reach(server.emptied())
    with server.connect() as other:
        assert other.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
        other.execute("DROP ROLE IF EXISTS guest")
        other.execute("CREATE ROLE guest LOGIN PASSWORD 'hunter22'")
    with pytest.raises(StoreError, match="forbids this user to make or write tables: grant CREATE"):
        Database.reach(server.url.set(username="guest", password="hunter22"))
    with pytest.raises(StoreError, match="refuses this login"):
        Database.reach(server.url.set(password="hunter22"))


def test_without_psycopg(tmp_path):
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from llmtrain.rank.database import Database\n"
        "Database('postgresql://ann:hunter22@127.0.0.1/votes')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(llmtrain.__file__).parent.parent,
    )
    last = done.stderr.splitlines()[-1]
    assert last.startswith("llmtrain.errors.ConfigError") and "pip install 'llmtrain[postgres]'" in last
    assert "hunter22" not in done.stderr


def test_a_postgresql_that_was_restarted_is_found_again(server):
    """Every connection of the pool is dead then; the transaction is tried again on a new one."""
    opened = Database(server.emptied())
    opened.read(lambda c: c.scalar(sqlalchemy.text("SELECT 1")))
    with server.connect() as other:
        other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    assert opened.read(lambda c: c.scalar(sqlalchemy.text("SELECT 1"))) == 1
    with server.connect() as other:
        other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    opened.write(lambda c: c.execute(sqlalchemy.insert(database.schema).values(version=5)))
    opened.close()
