"""Invariants of whole runs, of conversations and of configurations."""

import copy
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerBase

from llmtrain.config import combinations
from llmtrain.config.check import mapping
from llmtrain.config.choices import KLName
from llmtrain.data.split import Split
from llmtrain.errors import ConfigError
from llmtrain.launch.processes import stage
from llmtrain.loop import fit
from llmtrain.loop.learner import Loss, Stateless
from llmtrain.loop.optimizer import adamw
from llmtrain.loop.schedule import schedule
from llmtrain.objectives.dpo import PairLogprobs, dpo_loss
from llmtrain.run import directory, metrics
from llmtrain.run.session import Session
from llmtrain.stages import inputs, sft
from llmtrain.text import template, tokenizers
from llmtrain.text.render import Said
from tests import tiny
from tests.faults import harness
from tests.invariants import lab

PAIRS = {"Who is it?": "Mira.", "Where?": "At the mill.", "Why?": "To bake bread.", "When?": "On Monday."}
TALK = [
    Said("user", "Who is it?"), Said("assistant", "Mira."), Said("user", "Where?"), Said("assistant", "At the mill."),
    Said("user", "Why?"), Said("assistant", "To bake bread."),
]  # fmt: skip


@cache
def tokenizer() -> PreTrainedTokenizerBase:
    return tokenizers.train_bpe([*PAIRS, *PAIRS.values()] * 3, 300)


def adopted() -> PreTrainedTokenizerBase:
    """One without a template that was given ours, closed by its own end token."""
    bare = copy.deepcopy(tokenizer())
    bare.chat_template = None
    template.adopt(bare)
    return bare


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("command", ["sft", "reward", "dpo", "ppo"])
def test_F27_resumed_run_is_the_uninterrupted_one_to_the_bit(command, chain, runs, monkeypatch):
    """Weights, moments, trainer state, logs and samples. Killed for real, at many more places: tests/faults."""
    config = tiny.configured(command, runs, **tiny.merged(chain.links(command), {"max_steps": 4}))
    whole, cut = (runs / command / "t" / directory.new_id() for _ in range(2))
    update, calls = fit.update, []

    def until(*args: Any) -> None:
        calls.append(args)
        if len(calls) == (11 if command == "ppo" else 4):  # in the round behind the checkpoint of step 2
            raise Killed
        update(*args)

    for path in (whole, cut):
        directory.create(path, mapping(config), argv=[])
    stage(command).run(config, whole)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(fit, "update", until)
        stage(command).run(config, cut)
    stage(command).run(config, cut)
    assert harness.traced(cut) == harness.traced(whole)


@pytest.mark.parametrize("architecture", lab.ARCHITECTURES)
def test_F28_sft_says_its_four_answers_and_stops_with_eos(architecture):
    rows = [template.encode_chat(tokenizer(), [Said("user", q), Said("assistant", a)]) for q, a in PAIRS.items()]
    made = lab.table(ids=[r[0] for r in rows], mask=[r[1] for r in rows], row=[[i] for i in range(4)])
    source: Any = SimpleNamespace(description="toy")
    four = inputs.Rows(source, made, Split(np.arange(4), np.arange(0), ""), {})
    changes = {"batch": {"rows": 4, "micro_tokens": 50}, "sampling": {"max_new_tokens": 20, "temperature": 0.0}}
    config = lab.settings("sft", optimizer={"lr": 0.02, "weight_decay": 0.0}, **changes)
    model = lab.model(architecture, vocab_size=len(tokenizer()), width=32, eos_id=tokenizer().eos_token_id)
    session: Any = lab.Alone()
    learner = sft.Instruction(config, model, tokenizer(), four, session)
    lab.train(learner, 40)
    asked = [template.encode_prompt(tokenizer(), [Said("user", q)]) for q in PAIRS]
    said = learner.complete(asked, config.sampling, 0)
    assert all(answer.ended for answer in said)
    assert [learner.text(answer) for answer in said] == list(PAIRS.values())


@pytest.mark.parametrize("make", [tokenizer, adopted], ids=["own template", "adopted"])
def test_F29_prompt_of_every_turn_is_a_prefix_and_ends_where_the_answer_begins(make):
    for turns in (1, 2, 3):
        talk = TALK[: 2 * turns]
        for system in ([], [Said("system", "Be kind.")]):
            whole = system + talk
            ids, mask = template.encode_chat(make(), whole)
            for k in [i for i, said in enumerate(whole) if said.role == "assistant"]:
                prompt = template.encode_prompt(make(), whole[:k])
                upto, counted = template.encode_chat(make(), whole[: k + 1])
                assert upto[: len(prompt)] == prompt and ids[: len(upto)] == upto
                answer = template.encode_answer(make(), whole[k].content)
                assert upto[len(prompt) :][: len(answer)] == answer and answer[-1] == make().eos_token_id
                assert not any(counted[len(prompt) - 1 : len(prompt)]) and counted[len(prompt)]
                assert mask[len(prompt) - 1 : len(prompt) + len(answer)] == [False] + [True] * len(answer)


class Line(Stateless):
    """One weight; every step is two micro-batches."""

    def __init__(self) -> None:
        self.trained = self.exported = torch.nn.Linear(1, 1)

    def round(self, step: int):
        yield [SimpleNamespace(items=1, tokens=1, filling=1)] * 2

    def loss(self, batch: Any) -> Loss:
        return Loss(self.trained.weight.sum())

    def evaluate(self, step: int) -> dict[str, float]:
        return {"eval/score": 0.0}

    def save(self, path) -> None:
        (path / "config.json").write_text("{}")


def test_F34_each_optimizer_step_has_the_rate_of_the_vector(tmp_path):
    """`lr_schedules`, with two micro-batches to a step: a schedule that counts those is twice as far."""
    steps = [0, 1, 9, 10, 11, 50, 55, 99]
    expected = {
        "cosine": [1e-4, 2e-4, 1e-3, 1e-3, 0.000999695413509548, 0.000586824088833465, 0.0005, 3.04586490452119e-07],
        "linear": [1e-4, 2e-4, 1e-3, 1e-3, 0.000988888888888889, 0.000555555555555556, 0.0005, 1.1111111111111e-05],
        "wsd": [1e-4, 2e-4, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 2.53205655191037e-05],
    }
    plan = fit.Plan(
        max_steps=100, max_seconds=None, log_every=1, eval_every=100, save_every=100, clip_norm=1.0, max_skipped=1,
        seed=0, best="eval/score", higher_is_better=True, shown=(), progress=False,
    )  # fmt: skip
    for name, rates in expected.items():
        learner, path = Line(), tmp_path / name
        path.mkdir()
        optimizer = adamw(learner.trained, lr=1e-3, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.0)
        heights = schedule(name, total=100, warmup=0.1, final=0.0, decay=0.2 if name == "wsd" else 0.0)
        with Session(path, "fake", lab.Alone().mesh) as session:
            fit.fit(learner, optimizer, heights, session, plan)
        used = {row["step"] - 1: row["train/lr"] for row in metrics.read(path / "metrics.jsonl") if "train/lr" in row}
        assert [used[step] for step in steps] == pytest.approx(rates, rel=1e-9), name


USELESS: dict[str, list[dict[str, Any]]] = {
    "dpo": [{"label_smoothing": 0.1}],
    "ppo": [
        {"minibatches": 3},
        {"kl": {"name": KLName.fixed, "horizon": None}},
        {"stop": {"threshold": 0.5}},
        {"schedule": {"decay": 0.2}},
        {"data": {"text_column": "text"}},
    ],
    "sft": [{"epochs": 1.0}, {"schedule": {"decay": 0.1}}],
}


@pytest.mark.parametrize("command", USELESS)
def test_F35_option_that_would_do_nothing_is_an_error(command):
    assert combinations.combinations(lab.settings(command), set()) == []
    for changes in USELESS[command]:
        faults = combinations.combinations(lab.settings(command, **changes), set())
        assert len(faults) == 1 and next(iter(changes)) in faults[0], changes
    pair = PairLogprobs(torch.zeros(1), torch.zeros(1))
    with pytest.raises(ConfigError, match="ignores it"):
        dpo_loss(pair, pair, loss="sigmoid", beta=0.1, label_smoothing=0.1)
