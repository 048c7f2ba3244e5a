"""The doctor on real stages: an untrained policy does not end its answers, data that leaks."""

import json
import re

import tiny
from typer.testing import CliRunner

from llmtrain.cli import app
from llmtrain.run import directory, findings, metrics


def test_a_sick_ppo_is_told_once_and_recorded_and_listed(chain, runs, caplog, monkeypatch):
    """Four tokens are too few for any answer of the tiny model, so no rollout ends."""
    caplog.set_level("INFO", "llmtrain")
    run = tiny.ran("ppo", runs, **chain.links("ppo"))
    assert {row["ppo/ended"] for row in metrics.read(run / "metrics.jsonl") if "ppo/ended" in row} == {0.0}
    told = [r.levelname for r in caplog.records if "doctor: no-eos: only 0% of the answers" in r.getMessage()]
    assert told == ["WARNING", "INFO"]  # as soon as it was seen, and at the end
    (found,) = [f for f in directory.read_result(run)["findings"] if f["name"] == "no-eos"]
    assert found["numbers"]["ended"] == 0.0 and found["numbers"]["n"] == 24 and found["steps"] == [2, 4]
    monkeypatch.setenv("COLUMNS", "200")
    listed = CliRunner().invoke(app, ["runs", str(runs)]).output
    assert re.search(r"doctor: .*no-eos", listed)
    shown = CliRunner().invoke(app, ["doctor", str(run)]).output
    assert "no-eos: only 0%" in shown and "sampling.max_new_tokens" in shown and "1 runs examined, 1 with" in shown


def test_rows_of_sft_are_counted(chain, runs, tmp_path, caplog):
    """20 prompts: 6 of them 4 times, in other spellings and spaces; 4 longer than the context."""
    lines = [{"prompt": f"Say {n}.", "completion": f"{n}."} for n in range(20)]
    lines += [
        {"prompt": p.format(n), "completion": f"{n}."} for p in ("say {}.", "Say  {}.", "SAY {}.") for n in range(6)
    ]
    lines += [{"prompt": f"{n} " * 60, "completion": "long"} for n in range(20, 24)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = tiny.ran(
        "sft", runs, init=str(chain.pretrain), files=[str(file)], data={"max_length": 60, "eval_fraction": 0.4}
    )
    counts = findings.read_counts(run)
    assert (counts["data/rows"], counts["data/empty"]) == (38, 4)
    assert counts["data/train"] + counts["data/eval"] == 38
    names = [found["name"] for found in directory.read_result(run)["findings"]]
    assert names == ["empty-mask", "duplicate-rows", "leaking-prompts"]
    told = [r.getMessage() for r in caplog.records if r.getMessage().startswith("doctor: ")]
    assert [line.split(": ")[1] for line in told] == names
