"""Settings, lineage, answers and judges as the page tells them."""

import json

import pytest
import written

from llmtrain.report import answers, charts, collect, family, judge, parts, settings
from llmtrain.report.collect import Share


def test_what_differs_from_the_recipe(tmp_path):
    recipe = {"conf": "tiny", "values": {"command": "ppo", "kl": {"coef": 1.0}, "seed": 0, "run": {"root": "runs"}}}
    path = written.run(tmp_path / "r", config={"kl": {"coef": 0.1}, "seed": 0}, recipe=recipe)
    told = settings.settings(collect.read(path, "r"))
    assert told.recipe == "tiny"
    assert [(s.key, s.value, s.recipe) for s in told.changed] == [("run.name", "demo", "null"), ("kl.coef", "0.1", "1")]


def test_of_a_run_of_an_earlier_version_nothing_is_said_to_differ(tmp_path):
    told = settings.settings(collect.read(written.run(tmp_path / "r"), "r"))
    assert (told.recipe, told.changed) == ("", []) and told.all


def test_what_sets_runs_apart(tmp_path):
    runs = [
        collect.read(
            written.run(
                tmp_path / f"{n}",
                config={"kl": {"coef": n}, "seed": 0, "log": {"every": n}},
                argv=["llmtrain ppo", "conf=x", f"kl.coef={n}"],
            ),
            str(n),
        )
        for n in (1, 2)
    ]
    assert settings.apart(runs) == [("kl.coef", ["1", "2"])]
    assert settings.varied(runs) == [("kl.coef", ["1", "2"])]


def test_lineage_of_a_pipeline_and_of_what_lies_outside(tmp_path):
    outside = written.run(tmp_path / "pretrain" / "demo" / written.ID.format(1), "pretrain")
    path = written.pipeline(tmp_path / "pipeline")
    origin = json.loads((path / "sft" / "lineage.json").read_text())
    origin["parents"] = {"init": {"path": str(outside / "checkpoints" / "step-1"), "digest": "0"}}
    origin["created"] += 1
    (path / "sft" / "lineage.json").write_text(json.dumps(origin))
    origin["parents"] = {
        "init": {"path": "../sft/checkpoints/step-00000001", "digest": "0"},
        "policy 0": {"path": "../sft/checkpoints/step-00000001", "digest": "0"},
        "judge": {"path": "../reward", "digest": "0"},
        "gone": {"path": "../../../nowhere", "digest": 3},
        "odd": 7,
    }
    origin["created"] += 9
    (path / "ppo" / "lineage.json").write_text(json.dumps(origin))
    tree = family.tree([collect.read(path, "p")])
    rows = {row.run.label: (row.own, row.made_of) for row in tree.rows}
    assert rows["pretrain/demo/" + written.ID.format(1)] == (False, "")
    assert rows["sft"] == (True, "init from pretrain/demo/" + written.ID.format(1))
    assert rows["ppo"] == (True, "init from sft, judge from reward")
    assert tree.arcs.count("<path") == 3


def test_a_record_that_names_itself_closes_no_circle(tmp_path):
    a, b = (written.run(tmp_path / name) for name in "ab")
    for own, other in ((a, b), (b, a)):
        origin = json.loads((own / "lineage.json").read_text())
        parents = {"init": {"path": str(other), "digest": ""}, "judge": {"path": str(own), "digest": ""}}
        (own / "lineage.json").write_text(json.dumps(origin | {"parents": parents}))
    assert len(family.tree([collect.read(a, "a")]).rows) == 2


def test_answers_stand_side_by_side_by_prompt(tmp_path):
    helpful, honest, harmless = answers.blocks(collect.read(written.pipeline(tmp_path), "p"), 4, 500)
    assert (helpful.h, helpful.labels, len(helpful.shown), len(helpful.folded)) == ("helpful", ["ppo", "sft"], 4, 6)
    first = helpful.shown[0]
    assert first.prompt == "question 0?" and [a.text for a in first.answers if a] == [
        "an answer of ppo",
        "an answer of sft",
    ]
    assert [row.answers[0].good for row in helpful.shown if row.answers[0]] == [
        False,
        True,
        False,
        False,
    ]  # levels 0 3 2 1


def test_of_a_training_run_the_first_and_the_last_samples(tmp_path):
    path = written.run(tmp_path / "r")
    (path / "samples").mkdir()
    for step in (0, 3, 6):
        rows = [{"prompt": "who?", "answer": f"at {step}", "ended": step > 0, "score": 0.25}]
        (path / "samples" / f"step-{step:08d}.jsonl").write_text(written.lines(rows) + "{broken\n")
    (block,) = answers.blocks(collect.read(path, "r"), 4, 500)
    assert block.labels == ["step 0", "step 6"]
    assert [(a.text, a.mark) for a in block.shown[0].answers if a] == [
        ("at 0 […]", "score 0.25"),
        ("at 6", "score 0.25"),
    ]


def test_a_long_text_is_cut_and_says_so(tmp_path):
    path = written.run(tmp_path / "r", "eval", rows=[], models={"m": "x"})
    (path / "answers.jsonl").write_text(written.lines(written.answered(["m"], ["p" * 900], ["a" * 10**6])))
    (block,) = answers.blocks(collect.read(path, "r"), 4, 100)
    answer = block.shown[0].answers[0]
    assert answer and answer.text == "a" * 100 + " [… 999,900 more characters]"
    assert block.shown[0].prompt.endswith("[… 800 more characters]")


def test_a_judge_with_its_file_and_without(tmp_path):
    run = collect.read(written.pipeline(tmp_path), "p")
    (reward,) = [stage for stage in run.stages if stage.command == "reward"]
    (told,) = judge.judges(reward)
    assert [b.n for b in told.bins] == [9, 40] and told.scores and told.scores.others == [8, 2]
    assert told.card[0] == ("pairs in the right order", Share(0.8)) and (told.probes, told.failed) == (1, [])
    file = reward.path / "reliability" / "step-00000009.json"
    for text in ("", "[]", '{"judge": {"bins": [1, {"n": -1}], "scores": {"edges": [2, 1], "best": 3}}}'):
        file.write_text(text)
        (bare,) = judge.judges(reward)
        assert (bare.bins, bare.scores) == ([], None)


def test_points_of_proxy_and_gold(tmp_path):
    """By the rule of evaluate/overoptimisation.py: step 3 was measured by the rollout of step 4."""
    found = charts.points(collect.read(written.run(tmp_path / "r"), "r"))
    assert [(p.step, round(p.kl, 3)) for p in found] == [(0, 0.05), (3, 0.2), (6, 0.35), (9, 0.5), (12, 0.6)]
    assert found[1].gold == pytest.approx(0.53) and found[1].proxy == pytest.approx(-0.7)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.21, "3.2 s"), (59.4, "59 s"), (476.4, "7 min 56 s"), (3599.7, "1 h 0 min"), (90000, "25 h 0 min")],
)
def test_durations(seconds, text):
    assert parts.duration(seconds) == text
