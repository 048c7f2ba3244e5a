import json
import os
import signal
import subprocess
import sys
import time

import pytest
from checkpoint_fakes import die, in_child

from llmtrain.errors import LockedError, RunError
from llmtrain.run import lock


def child_that_holds(path) -> int:
    """A forked process that holds the lock until it is killed."""
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        with lock.hold(path):
            os.write(tell, b"x")
            time.sleep(60)
        os._exit(0)
    os.read(ready, 1)
    os.close(ready)
    os.close(tell)
    return child


def kill(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_two_writers(tmp_path):
    """R9: the second is refused at once, the message names the first, exit code 73."""
    child = child_that_holds(tmp_path)
    try:
        began = time.monotonic()
        with pytest.raises(LockedError, match=f"in use by process {child} on ") as caught, lock.hold(tmp_path):
            pass
        assert time.monotonic() - began < 1
        assert caught.value.exit_code == 73
        assert lock.is_held(tmp_path)
    finally:
        kill(child)


def test_a_stale_lock_needs_no_manual_step(tmp_path):
    """R10: the owner was killed; its record is still there, and may name a pid that lives again."""
    kill(child_that_holds(tmp_path))
    record = json.loads((tmp_path / lock.NAME).read_text())
    (tmp_path / lock.NAME).write_text(json.dumps({**record, "pid": os.getpid()}))
    assert not lock.is_held(tmp_path)
    with lock.hold(tmp_path):
        assert lock.is_held(tmp_path)
    assert not lock.is_held(tmp_path)


def test_one_process_cannot_take_it_twice(tmp_path):
    with lock.hold(tmp_path), pytest.raises(LockedError), lock.hold(tmp_path):
        pass


def test_a_forked_child_does_not_keep_it(tmp_path):
    """F12: a data worker outlives its parent; the run must be free all the same."""
    stop, orphan_may_end = os.pipe()

    def owner():
        with lock.hold(tmp_path):
            if os.fork() == 0:
                os.close(orphan_may_end)
                os.read(stop, 1)
                os._exit(0)
            die()

    assert in_child(owner) == -9
    with lock.hold(tmp_path):
        pass
    os.close(orphan_may_end)
    os.close(stop)


def test_a_started_program_does_not_keep_it(tmp_path):
    with lock.hold(tmp_path):
        program = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    with lock.hold(tmp_path):
        pass
    program.communicate(b"\n")


def test_looking_does_not_disturb_a_start(tmp_path):
    """is_held() takes the lock for an instant; hold() waits for that instant."""
    with lock.hold(tmp_path):
        pass
    for _ in range(50):
        assert not lock.is_held(tmp_path)
        with lock.hold(tmp_path):
            pass


def test_a_race_has_one_winner(tmp_path):
    """R9: eight at once."""
    go, start = os.pipe()
    children = []
    for _ in range(8):
        child = os.fork()
        if child == 0:
            os.close(start)
            os.read(go, 1)
            try:
                with lock.hold(tmp_path):
                    time.sleep(1.0)
                os._exit(0)
            except LockedError:
                os._exit(73)
        children.append(child)
    os.close(start)
    os.close(go)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert sorted(codes) == [0] + [73] * 7


def test_no_directory_no_lock(tmp_path):
    assert not lock.is_held(tmp_path / "missing")
    with pytest.raises(RunError, match="cannot be opened"), lock.hold(tmp_path / "missing"):
        pass


def test_a_planted_link_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("data")
    (tmp_path / lock.NAME).symlink_to(tmp_path / "precious")
    with pytest.raises(RunError), lock.hold(tmp_path):
        pass
    assert (tmp_path / "precious").read_text() == "data"


def test_resume_of_a_run_at_work_is_refused_before_anything_is_loaded_or_written(tmp_path):
    (tmp_path / "config.yaml").write_text("command: sft")
    code = (
        "import sys\nfrom llmtrain import cli\n"
        f"sys.argv = ['llmtrain', 'resume', {str(tmp_path)!r}]\n"
        "try:\n    cli.main()\nexcept SystemExit as end:\n"
        "    print(end.code, [m for m in ('torch', 'hydra', 'transformers') if m in sys.modules])\n"
    )
    with lock.hold(tmp_path):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "73 []\n"
    assert f"{tmp_path} is in use by process {os.getpid()}" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "config.yaml"]
