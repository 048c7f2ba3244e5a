import json

from llmtrain.run.live import Live
from llmtrain.run.tail import Tail


def write(path, *steps, mode="a"):
    with path.open(mode) as file:
        file.write("".join(json.dumps({"step": step, "train/loss": 1.0}) + "\n" for step in steps))


def test_each_row_comes_once(tmp_path):
    file = tmp_path / "metrics.jsonl"
    tail = Tail(file)
    assert tail.read() == (False, [])
    write(file, 1, 2)
    anew, rows = tail.read()
    assert (anew, [row["step"] for row in rows]) == (True, [1, 2])
    assert tail.read() == (False, [])
    write(file, 3)
    assert [row["step"] for row in tail.read()[1]] == [3]


def test_only_what_is_new_is_read(tmp_path, monkeypatch):
    """Bytes that went through parse: those of the new line, whatever stands before it."""
    file = tmp_path / "metrics.jsonl"
    write(file, *range(1000))
    tail = Tail(file)
    tail.read()
    seen = []
    monkeypatch.setattr("llmtrain.run.tail.parse", lambda line: seen.append(line))
    write(file, 1000)
    tail.read()
    tail.read()
    assert seen == [b'{"step": 1000, "train/loss": 1.0}\n']


def test_a_half_line_is_left_until_it_is_whole(tmp_path):
    file = tmp_path / "metrics.jsonl"
    write(file, 1)
    tail = Tail(file)
    tail.read()
    with file.open("a") as opened:
        opened.write('{"step": 2, "tra')
    assert tail.read() == (False, [])
    with file.open("a") as opened:
        opened.write('in/loss": 0.5}\n')
    assert tail.read() == (False, [{"step": 2, "train/loss": 0.5}])


def test_damaged_lines_are_left_out(tmp_path):
    file = tmp_path / "metrics.jsonl"
    deep, large = b"[" * 100_000, b'{"step": 1, "a": ' + b"9" * 400 + b"}"
    file.write_bytes(b"\n".join([b"\x00\xff", b"[1]", b'{"step": "x"}', deep, large, b'{"step": 7}', b""]))
    assert Tail(file).read() == (True, [{"step": 7}])


def test_a_file_that_a_resumed_run_cut_comes_again(tmp_path):
    file = tmp_path / "metrics.jsonl"
    write(file, 1, 2, 3, 4)
    tail = Tail(file)
    tail.read()
    write(tmp_path / "new", 1, 2)
    (tmp_path / "new").replace(file)
    anew, rows = tail.read()
    assert (anew, [row["step"] for row in rows]) == (True, [1, 2])
    file.unlink()
    assert tail.read() == (True, [])
    assert tail.read() == (False, [])


def test_live_begins_anew_with_its_file(make_run, tmp_path):
    run = make_run("sft", "20260101-000000-000001", status=None)
    write(run / "metrics.jsonl", 1, 2, 3)
    live = Live(run)
    live.look()
    assert (live.step, live.command, live.record.all("train/loss").steps) == (3, "sft", (1, 2, 3))
    write(tmp_path / "new", 1)
    (tmp_path / "new").replace(run / "metrics.jsonl")
    live.look()
    assert (live.step, live.record.all("train/loss").steps) == (1, (1,))


def test_the_steps_of_a_run(make_run):
    """max_steps; or epochs over the rows: 6790 rows in steps of 44 are 155 steps, three epochs of them 465."""
    run = make_run("sft", "20260101-000000-000001", status=None)
    write(run / "metrics.jsonl", 1)
    for config, total in (
        ("max_steps: 30", 30),
        ("epochs: 3.0\nbatch: {rows: 44}", 465),
        ("epochs: 3.0\nbatch: {}", None),
        ("epochs: 3.0\nbatch: no", None),
        ("[", None),
    ):
        (run / "config.yaml").write_text(f"command: sft\n{config}\n")
        (run / "counts.json").write_text('{"data/train": 6790}')
        live = Live(run)
        live.look()
        assert live.total == total


def test_the_time_left_counts_evaluations(make_run):
    """Ten steps of 2 s and one evaluation of 5 s: 2.5 s a step, 20 steps to go."""
    run = make_run("sft", "20260101-000000-000001", status=None)
    (run / "config.yaml").write_text("command: sft\nmax_steps: 30\n")
    rows = [{"step": step, "time/step_seconds": 2.0} for step in range(1, 11)] + [
        {"step": 10, "time/eval_seconds": 5.0}
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    live = Live(run)
    assert live.seconds_left() is None
    live.look()
    assert live.seconds_left() == 50.0
