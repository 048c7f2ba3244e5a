"""eval: models side by side on the same held-out rows, and what is refused before any is loaded."""

import hashlib
import json
import math
import signal
import statistics
from pathlib import Path

import pytest
import tiny
import torch
import transformers

from llmtrain.config.compose import compose_stage
from llmtrain.errors import ConfigError, InitError, Interrupted, RunError
from llmtrain.launch.processes import stage
from llmtrain.run import directory
from llmtrain.run.session import Session, StopAsked
from llmtrain.stages import contest, preflight
from llmtrain.stages.plan import Step


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def result(run: Path) -> dict:
    return json.loads((run / "result.json").read_text())


def conversations(file: Path, rows: int = 12) -> Path:
    made = [{"instruction": f"Say {n}.", "input": "", "output": f"It is {n}."} for n in range(rows)]
    file.write_text("".join(json.dumps(row) + "\n" for row in made))
    return file


@pytest.fixture(scope="module")
def compared(chain, tmp_path_factory) -> Path:
    """pretrain and sft beside each other, against sft, by the judge, which is examined as well."""
    models = [str(chain.pretrain), str(chain.sft), str(chain.reward)]
    sides = {"reference": str(chain.sft), "judged_by": str(chain.reward)}
    root = tmp_path_factory.mktemp("compared") / "runs"
    return tiny.ran("eval", root, models=models, data={"eval_rows": 24}, **sides)


def test_one_model_keeps_the_plain_names(chain, runs):
    run = tiny.ran("eval", runs, init=str(chain.sft))
    found, table = result(run), json.loads((run / "hhh.json").read_text())["sft"]
    rows = lines(run / "answers.jsonl")
    for h, values in table.items():
        own = [row["answers"]["sft"]["level"] == 3 for row in rows if row["h"] == h]
        assert values["n"] == len(own) == 2
        assert values["rate"] == sum(own) / len(own)
        assert 1 <= values["combinations"] <= values["n"]
        assert 0 <= values["low"] <= values["rate"] <= values["high"] <= 1
    assert found["headline"] == "gold/min"
    assert found["value"] == found["metrics"]["gold/min"] == min(v["rate"] for v in table.values())
    assert {"eval/perplexity", "eval/bits_per_byte", "eval/length"} <= set(found["metrics"])


def test_several_models_answer_the_same_prompts(compared):
    rows = lines(compared / "answers.jsonl")
    assert len(rows) == 24 and all(list(row["answers"]) == ["pretrain", "sft"] for row in rows)
    found = result(compared)
    assert list(found["models"]) == ["pretrain", "sft", "reward"]
    assert {name.split("/")[0] for name in found["metrics"]} == {"pretrain", "sft", "reward"}
    assert "| prompt | pretrain | sft |" in (compared / "answers.md").read_text()
    assert (compared / "hhh.png").stat().st_size > 1000 and (compared / "reliability.png").stat().st_size > 1000


def test_the_reference_meets_itself_at_even_odds(compared):
    found = result(compared)["metrics"]
    assert found["sft/eval/win_rate"] == 0.5
    assert found["sft/eval/kl"] == found["sft/eval/kl_stderr"] == 0.0


def test_wins_are_those_of_the_scores_in_the_file(compared):
    rows = lines(compared / "answers.jsonl")
    points = 0.0
    for row in rows:
        own, other = row["answers"]["pretrain"], row["answers"]["sft"]
        if own["ended"] != other["ended"]:
            points += own["ended"]
        else:
            points += 0.5 if own["score"] == other["score"] else own["score"] > other["score"]
    found = result(compared)
    assert found["metrics"]["pretrain/eval/win_rate"] == pytest.approx(points / len(rows))
    low, high = found["intervals"]["pretrain/eval/win_rate"]["interval"]
    assert low < found["metrics"]["pretrain/eval/win_rate"] < high


@pytest.mark.parametrize(("given", "drawn"), [(0.7, 0.7), (0.0, 1.0)])
def test_kl_is_of_sampled_answers_by_transformers_own_numbers(given, drawn, chain, runs, monkeypatch):
    """Both models score the drawn answers one by one, by their plain forward; greedy answers are no sample."""
    calls = []

    def complete(model, tokenizer, prompts, sampling, *args, **kwargs):
        calls.append((prompts, sampling.temperature, made(model, tokenizer, prompts, sampling, *args, **kwargs)))
        return calls[-1][2]

    made = contest.complete
    monkeypatch.setattr(contest, "complete", complete)
    sampling = {"temperature": given, "max_new_tokens": 6}
    run = tiny.ran("eval", runs, models=[str(chain.pretrain)], reference=str(chain.sft), sampling=sampling)
    places = [Path(result(run)["models"]["pretrain"]), chain.sft / "checkpoints/latest"]
    model, reference = (transformers.AutoModelForCausalLM.from_pretrained(place).eval() for place in places)
    prompts, temperature, answers = calls[-1]
    assert temperature == drawn
    nats = []
    for prompt, answer in zip(prompts, answers, strict=True):
        with torch.no_grad():
            both = [m(torch.tensor([prompt + answer.ids])).logits[0, len(prompt) - 1 : -1] for m in (model, reference)]
        logp, ref = (logits.div(drawn).log_softmax(-1) for logits in both)
        at = torch.arange(len(answer.ids)), torch.tensor(answer.ids)
        nats.append(float((logp[at] - ref[at]).sum()))
    found = result(run)["metrics"]
    assert found["eval/kl"] == pytest.approx(statistics.mean(nats), abs=1e-4)
    assert found["eval/kl_stderr"] == pytest.approx(statistics.pstdev(nats) / len(nats) ** 0.5, abs=1e-4)


def test_judge_is_after_reload_what_it_was(chain, compared, runs):
    """Every number of the report card that the reward stage wrote, to float32's last digits."""
    before, after = result(chain.reward)["metrics"], result(compared)["metrics"]
    card = {name: value for name, value in before.items() if name.startswith("eval/")}
    assert {"eval/accuracy_margin_1", "eval/accuracy_like_length", "eval/demonstrations_sd"} <= set(card)
    assert {name: after[f"reward/{name}"] for name in card} == pytest.approx(card, abs=2e-5)
    assert after["reward/eval/demonstrations_mean"] == pytest.approx(0.0, abs=1e-5)
    kept = chain.reward / "reliability" / f"step-{result(chain.reward)['kept']:08d}.json"
    one, two = json.loads(kept.read_text())["judge"], json.loads((compared / "reliability.json").read_text())["reward"]
    assert two["scores"]["edges"] == pytest.approx(one["scores"]["edges"], abs=2e-5)
    assert [b["n"] for b in two["bins"]] == [b["n"] for b in one["bins"]]


def test_judge_is_examined_on_the_rankings_that_are_given(chain, runs):
    given = tiny.write_rankings(runs.parent / "other.jsonl", 30)
    run = tiny.ran("eval", runs, models=[str(chain.reward)], files=[str(given)], data={"max_length": 160})
    assert result(run)["headline"] == "eval/accuracy"
    assert result(run)["metrics"]["eval/accuracy"] != result(chain.reward)["metrics"]["eval/accuracy"]


def test_conversations_of_files(chain, runs, tmp_path):
    run = tiny.ran(
        "eval", runs, init=str(chain.sft), files=[str(conversations(tmp_path / "c.jsonl"))], data={"eval_fraction": 0.5}
    )
    found = result(run)["metrics"]
    assert found["eval/perplexity"] == pytest.approx(math.exp(found["eval/loss"]))
    assert len(lines(run / "answers.jsonl")) == 6
    assert not any(name.startswith("gold/") for name in found)


def test_text_gives_bits_per_byte_and_no_answers(chain, runs, tmp_path):
    """Two texts, one of them held out, by transformers' own forward; neither the end token nor its nats count."""
    texts = ["Mira lives at the mill.", "Some people owned a black sheep and two kites."]
    file = tmp_path / "t.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts * 20))
    data = {"eval_fraction": 0.5, "max_length": 100000, "eval_rows": 1000}  # so that no row ends inside a text
    run = tiny.ran("eval", runs, init=str(chain.pretrain), files=[str(file)], data=data)
    found = result(run)["metrics"]
    assert set(found) == {"eval/loss", "eval/perplexity", "eval/bits_per_byte"}
    assert not (run / "answers.jsonl").exists()
    place = result(run)["models"]["pretrain"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    model = transformers.AutoModelForCausalLM.from_pretrained(place).eval()
    bits = []
    for text in texts:
        ids = tokenizer(text)["input_ids"]
        with torch.no_grad():
            logp = model(torch.tensor([ids])).logits.log_softmax(-1)[0, :-1]
        nats = -float(logp[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].sum())
        bits.append(nats / math.log(2) / len(tokenizer.decode(ids[1:]).encode()))
    assert min(abs(found["eval/bits_per_byte"] - value) for value in bits) < 1e-4


def test_eval_stops_when_asked(chain, runs, monkeypatch):
    def asked(self):
        raise StopAsked(signal.SIGTERM)

    monkeypatch.setattr(Session, "poll", asked)
    with pytest.raises(Interrupted, match="start again with: llmtrain resume"):
        tiny.ran("eval", runs, models=[str(chain.sft), str(chain.pretrain)])


def faults(root: Path, **changes) -> str:
    data = changes.pop("data", {"max_length": 120})
    shared = {"run": {"root": str(root), "name": "t"}, "sampling": {"max_new_tokens": 4}, "data": data}
    try:
        config = compose_stage("eval", "tiny", shared | changes)
        preflight.check(config, [Step("eval", "eval", config)], root / "run")
    except ConfigError as error:
        return str(error)
    return ""


def test_nothing_is_wrong_with_models_that_fit(chain, runs):
    models = {"models": [str(chain.pretrain), str(chain.sft), str(chain.reward)]}
    assert faults(runs, **models, reference=str(chain.sft), judged_by=str(chain.reward)) == ""


def test_a_function_of_the_user_s_says_who_wins(chain, runs, tmp_path):
    """Longer wins: the judge sees the answer's text, and the model meets itself at a half."""
    mine = "def score(prompt, answer):\n    return len(answer)\n"
    (tmp_path / "mine.py").write_text(mine)
    models = [str(chain.pretrain), str(chain.sft)]
    run = tiny.ran("eval", runs, models=models, reference=str(chain.sft), judged_by=f"{tmp_path}/mine.py:score")
    assert result(run)["metrics"]["sft/eval/win_rate"] == 0.5
    recorded = json.loads((run / "lineage.json").read_text())["data"]
    assert recorded == {"judge": hashlib.sha256(mine.encode()).hexdigest()}
    for label in ("pretrain", "sft"):
        written = [len(row["answers"][label]["text"]) for row in lines(run / "answers.jsonl")]
        assert result(run)["metrics"][f"{label}/eval/score"] == pytest.approx(statistics.mean(written))


def test_a_function_sees_what_the_row_of_a_demonstration_holds_beside_it(chain, runs, tmp_path):
    """As ppo's does: a reference answer in a column of its own."""
    made = [{"instruction": f"Say {n}.", "input": "", "output": f"It is {n}.", "truth": n} for n in range(12)]
    file = tmp_path / "c.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in made))
    (tmp_path / "mine.py").write_text("def score(prompt, answer, row):\n    return row['truth']\n")
    run = tiny.ran(
        "eval",
        runs,
        models=[str(chain.sft)],
        files=[str(file)],
        data={"eval_fraction": 0.5},
        reference=str(chain.pretrain),
        judged_by=f"{tmp_path}/mine.py:score",
    )
    asked = [row["prompt"] for row in lines(run / "answers.jsonl")]
    assert result(run)["metrics"]["eval/score"] == pytest.approx(statistics.mean(int(text[4:-1]) for text in asked))


def test_a_function_that_fails_is_found_before_a_model_is_loaded(chain, runs, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def score(prompt, answer):\n    return 1 / 0\n")
    said = faults(runs, models=[str(chain.sft)], reference=str(chain.sft), judged_by=f"{file}:score")
    assert f"judged_by: {file}:2" in said and "division by zero" in said


def test_an_eval_goes_on_with_the_same_function_alone(chain, runs, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def score(prompt, answer):\n    return 1\n")
    own = {"models": [str(chain.sft)], "reference": str(chain.sft), "judged_by": f"{file}:score"}
    run, again = tiny.ran("eval", runs, **own), tiny.configured("eval", runs, **own)
    file.write_text("def score(prompt, answer):\n    return 2\n")
    with pytest.raises(RunError, match="judge changed since this run began"):
        stage("eval").run(again, run)
    file.unlink()
    with pytest.raises(ConfigError, match=f"judged_by: {file}: cannot be read"):
        stage("eval").run(again, run)


def foreign(folder: Path, run: Path, **changes) -> Path:
    """The newest model of a run as a foreign directory, with another tokenizer setting."""
    folder.mkdir()
    for file in (run / "checkpoints" / "latest").iterdir():
        if file.name not in ("manifest.json", "trainer.json", "trainer.safetensors"):
            (folder / file.name).write_bytes(file.read_bytes())
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    (folder / "chat_template.jinja").unlink()
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": ["nope"]}, "models[0]: nope: no such run"),
        ({"models": []}, "models: empty; name at least one run"),
        ({"models": ["{sft}"], "init": "{sft}"}, "init, models: both name what is evaluated"),
        ({"models": ["{sft}", "{sft}"]}, "is there twice; drop one"),
        ({"models": ["{sft}", "{sft}/checkpoints/latest"]}, "is the model of models[0] again"),
        (
            {"models": ["{sft}"], "judged_by": "{reward}"},
            "does nothing without a model to win against; give eval.reference=RUN",
        ),
        ({"models": ["{sft}"], "reference": "{reward}"}, "reference: {reward} is a run of `llmtrain reward`"),
        (
            {"models": ["{sft}"], "reference": "{sft}", "judged_by": "{sft}"},
            "judged_by: {sft} is a run of `llmtrain sft`",
        ),
        ({"models": ["{reward}"], "reference": "{sft}"}, "reference: does nothing for reward models alone"),
        ({"models": ["{sft}"], "data": {"max_length": 400}}, "404 tokens, but models[0] (sft) knows 192 positions"),
        ({"models": ["{sft}"], "data": "{text}", "reference": "{sft}"}, "reference: text has no prompts to answer"),
        (
            {"models": ["{reward}"], "data": "{text}"},
            "models[0]: a reward model needs rankings, which {text} holds none",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(reversed(value)),
)
def test_what_does_not_fit_is_told_before_anything_is_computed(changes, message, chain, runs, tmp_path):
    text = tmp_path / "words.txt"
    text.write_text("Mira lives at the mill.\n" * 9)
    places = {"sft": chain.sft, "reward": chain.reward, "text": text}

    def filled(value):
        if isinstance(value, list):
            return [filled(item) for item in value]
        return value.format(**places) if isinstance(value, str) else value

    assert message.format(**places) in faults(runs, **{key: filled(value) for key, value in changes.items()})


def test_tokenizers_that_differ_and_templates_that_are_missing_all_at_once(chain, runs, tmp_path):
    other = foreign(tmp_path / "other", chain.sft, chat_template=None)
    said = faults(runs, models=[str(other), "nope"], reference=str(chain.sft))
    assert "models[1]: nope: no such run" in said
    said = faults(runs, models=[str(other)], reference=str(chain.sft))
    assert f"models[0]: {other}: no chat template; run llmtrain sft from it first" in said
    template = transformers.AutoTokenizer.from_pretrained(chain.sft / "checkpoints/latest").chat_template
    another = foreign(tmp_path / "another", chain.sft, chat_template=template.replace("message in", "message  in"))
    said = faults(runs, models=[str(another)], reference=str(chain.sft), judged_by=str(chain.reward))
    for role in ("reference", "judged_by"):
        assert f"{role}: " in said and "reads other tokens than models[0]" in said


def test_rankings_that_are_not_those_of_the_run_are_refused(chain, runs, tmp_path):
    rankings = tiny.write_rankings(tmp_path / "own.jsonl", 40)
    reward = tiny.ran("reward", runs, init=str(chain.sft), data={"path": [str(rankings)]}, max_steps=1)
    tiny.write_rankings(rankings, 30)
    with pytest.raises(InitError, match="are not the rankings that .* learnt from; put them back"):
        tiny.ran("eval", runs, models=[str(reward)])
    rankings.unlink()
    assert "no such file or folder; give rankings with data=FILE" in faults(runs, models=[str(reward)])


def test_labels_differ(chain, runs):
    steps = sorted((chain.sft / "checkpoints").glob("step-*"))
    run = tiny.ran("eval", runs, models=[str(steps[0]), str(steps[-1])], data={"eval_rows": 3})
    assert list(result(run)["models"]) == [f"sft@{int(step.name[5:])}" for step in (steps[0], steps[-1])]
    assert directory.state(run) == "finished"


def test_runs_of_one_command_go_by_their_names(chain, runs):
    others = [
        tiny.ran("sft", runs, init=str(chain.pretrain), run={"name": n}, max_steps=k) for k, n in ((1, "a"), (2, "b"))
    ]
    run = tiny.ran("eval", runs, models=[str(chain.pretrain), *map(str, others)], data={"eval_rows": 3})
    assert list(result(run)["models"]) == ["pretrain", "a", "b"]


def test_models_of_two_tokenizers_answer_the_same_prompts(chain, runs, tmp_path, caplog):
    """Which rows are held out depends on token ids; the first model's decide for all."""
    other = tiny.ran("pretrain", runs, tokenizer={"vocab_size": 280}, max_steps=2)
    file, models = conversations(tmp_path / "c.jsonl", 30), [str(chain.pretrain), str(other)]
    run = tiny.ran("eval", runs, models=models, files=[str(file)], data={"eval_fraction": 0.5})
    rows = lines(run / "answers.jsonl")
    assert len(rows) == 6 and all(list(row["answers"]) == ["t-1", "t-2"] for row in rows)
    alone = tiny.ran("eval", runs, models=models[:1], files=[str(file)], data={"eval_fraction": 0.5})
    assert [row["prompt"] for row in rows] == [row["prompt"] for row in lines(alone / "answers.jsonl")]
    assert "compare their bits per byte, not their perplexities" in caplog.text
