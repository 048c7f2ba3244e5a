"""ppo by a rule or by the user's own function: no reward model; the critic begins on the policy's trunk."""

import hashlib
import json
from pathlib import Path

import pytest
import tiny
import torch

from llmtrain.errors import ConfigError, DataError, InitError, RunError, TrainingError
from llmtrain.launch.processes import stage
from llmtrain.loop.fit import Outcome
from llmtrain.run import metrics
from llmtrain.stages import ppo, preflight
from llmtrain.stages.plan import Step

MINE = "def score(prompt, answer, row):\n    return float(len(answer)) / 10 + (row['h'] == 'honest')\n"


def changes(chain: tiny.Chain, judge: str, more: dict | None = None, **own) -> dict:
    return tiny.merged({"init": str(chain.sft), "choose": {"judge": judge}, "judge": own, "max_steps": 2}, more or {})


def function(chain: tiny.Chain, folder: Path, text: str = MINE, **more) -> dict:
    (folder / "mine.py").write_text(text)
    return changes(chain, "function", more, path=f"{folder}/mine.py:score")


def rows(folder: Path, **columns) -> str:
    file = folder / "rows.jsonl"
    lines = [{"prompt": f"How many are {i} and 1?", "answer": str(i + 1)} | columns for i in range(30)]
    file.write_text("".join(json.dumps({k: v for k, v in row.items() if v is not None}) + "\n" for row in lines))
    return str(file)


def test_a_function_of_the_user_s(chain, runs, tmp_path):
    run = tiny.ran("ppo", runs, **function(chain, tmp_path))
    assert json.loads((run / "result.json").read_text())["status"] == "finished"
    lineage = json.loads((run / "lineage.json").read_text())
    assert lineage["data"]["judge"] == hashlib.sha256(MINE.encode()).hexdigest()
    assert set(lineage["parents"]) == {"init", "reference"}
    found = {key for row in metrics.read(run / "metrics.jsonl") for key in row}
    assert {"eval/score", "eval/win_rate", "gold/min", "ppo/score", "ppo/explained_variance"} <= found
    samples = [json.loads(line) for line in (run / "samples" / "step-00000000.jsonl").read_text().splitlines()]
    ended = [row for row in samples if row["ended"]]
    assert all(row["score"] == -1.0 for row in samples if not row["ended"])  # conf/judge/function.yaml
    assert all(row["score"] % 1 == pytest.approx(len(row["answer"]) / 10 % 1, abs=1e-3) for row in ended)


@pytest.mark.parametrize("estimator", ["gae", "grpo"])
def test_gold_rule(estimator, chain, runs):
    run = tiny.ran("ppo", runs, **changes(chain, "rule", {"choose": {"advantage": estimator}}, rule="gold"))
    assert json.loads((run / "result.json").read_text())["status"] == "finished"
    assert "judge" not in json.loads((run / "lineage.json").read_text())["data"]


@pytest.mark.parametrize("rule", [{"rule": "exact"}, {"rule": "match", "pattern": r"\d"}])
def test_rules_on_files(rule, chain, runs, tmp_path):
    files = {"files": [rows(tmp_path)], "data": {"eval_fraction": 0.2}}
    run = tiny.ran("ppo", runs, **changes(chain, "rule", files, **rule))
    assert json.loads((run / "result.json").read_text())["status"] == "finished"


def test_a_critic_without_a_reward_model_begins_with_values_of_0(chain, runs, monkeypatch):
    kept = []
    monkeypatch.setattr(ppo, "fit", lambda learner, *_: kept.append(learner) or Outcome("finished", "", 0, 0, {}))
    tiny.ran("ppo", runs, **changes(chain, "rule", rule="gold"))
    rollout = kept[0].roll_out(0)
    assert torch.equal(rollout.values, torch.zeros(rollout.mask.shape))
    trunk, own = kept[0].critic.model.base_model.state_dict(), kept[0].model.base_model.state_dict()
    assert all(torch.equal(trunk[name], own[name]) for name in own)


def test_exact_needs_an_answer_in_every_row(chain, runs, tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir(), second.mkdir()
    files = {"files": [rows(first), rows(second, answer=None)], "data": {"eval_fraction": 0.2}}
    with pytest.raises(DataError, match="column `answer` beside 'How many are"):
        tiny.ran("ppo", runs, **changes(chain, "rule", files, rule="exact"))


def test_a_fault_in_the_middle_of_a_run_names_the_line(chain, runs, tmp_path):
    text = "calls = []\ndef score(prompt, answer):\n    calls.append(1)\n    return 1 / (5 - len(calls))\n"
    with pytest.raises(TrainingError, match=r"mine.py:4: ZeroDivisionError: division by zero \(prompt '"):
        tiny.ran("ppo", runs, **function(chain, tmp_path, text))


def test_a_run_goes_on_with_the_same_function_alone(chain, runs, tmp_path):
    run = tiny.ran("ppo", runs, **function(chain, tmp_path))
    again = tiny.configured("ppo", runs, **function(chain, tmp_path, MINE.replace("10", "20")))
    with pytest.raises(RunError, match="judge changed since this run began"):
        stage("ppo").run(again, run)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def score(prompt, answer): return len(answer) / len(prompt)", ""),
        ("x = 1\ndef score(prompt, answer): return x / len(answer)", r"mine.py:2: ZeroDivisionError.*answer ''"),
        ("def score(prompt, answer, row): return row['truth']", r"mine.py:1: KeyError: 'truth'"),
        ("def score(prompt): return 1", r"judge.path: .*mine.py:1: score\(prompt\) cannot be called"),
        ("def score(prompt, answer): return 'good'", r"mine.py:1: score gave a str"),
    ],
)
@pytest.mark.parametrize("own", [False, True])
def test_a_function_is_tried_before_a_run_has_a_directory(text, message, own, chain, tmp_path):
    more = {"files": [rows(tmp_path)], "data": {"eval_fraction": 0.2}} if own else {}
    config = tiny.configured("ppo", tmp_path / "runs", **function(chain, tmp_path, text, **more))
    if not message:
        preflight.check(config, [Step("ppo", "ppo", config)], tmp_path / "new")
        return
    with pytest.raises(ConfigError, match=message):
        preflight.check(config, [Step("ppo", "ppo", config)], tmp_path / "new")


def test_a_function_s_file_is_found_again_from_another_folder(chain, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE)
    run = tiny.created("ppo", runs, **changes(chain, "function", path="mine.py:score"))
    assert f"path: {tmp_path}/mine.py:score" in (run / "config.yaml").read_text()


def test_a_policy_is_no_judge(chain, runs):
    with pytest.raises(InitError, match="is a run of `llmtrain sft`"):
        tiny.ran("ppo", runs, init=str(chain.sft), judge={"init": str(chain.sft)})
