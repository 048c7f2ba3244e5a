"""sample: what it leaves."""

import json
from pathlib import Path

import pytest
import tiny

from llmtrain.data.microworld import rows as microworld
from llmtrain.data.microworld.world import World
from llmtrain.data.records import Message, Prompt
from llmtrain.errors import TrainingError
from llmtrain.rollout.sample import Completion
from llmtrain.stages.annotator import Answer, among, rank
from llmtrain.stages.policy import text_of
from llmtrain.text import tokenizers

UNRANKED = {"annotate": "none", "noise": 0.0, "held_out": 0}


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_sample_answers_every_prompt_as_often_as_asked(chain, runs):
    run = tiny.ran("sample", runs, **chain.links("sample"), policies=["self@1.5"], answers=4, **UNRANKED)
    rows = lines(run / "outputs.jsonl")
    assert len(rows) == 6
    for row in rows:
        assert [a["source"] for a in row["answers"]] == ["policy"] * 4 + ["self@1.5"] * 2
    result = json.loads((run / "result.json").read_text())
    assert (result["metrics"]["prompts"], result["metrics"]["answers"]) == (6, 36)


def test_answers_do_not_depend_on_how_many_are_written_together(chain, runs):
    made = []
    for rows in (2, 512):
        sampling = {"batch_rows": rows, "max_new_tokens": 12, "temperature": 0.7}
        run = tiny.ran("sample", runs, **chain.links("sample"), sampling=sampling, **UNRANKED)
        made.append(lines(run / "outputs.jsonl"))
    assert made[0] == made[1]
    texts = {a["text"] for row in made[0] for a in row["answers"]}
    assert len(texts) > 6  # answers to one prompt differ


def answered(noise: float, foreign: int):
    prompts = microworld.prompts(World(0), "train", 40, 0)
    answers = [[Answer(p.meta["good"], True, "a"), Answer(p.meta["bad"], True, "a")] for p in prompts]
    return prompts, answers, rank(prompts, answers, foreign, noise, 0)


def test_rankings_without_noise_put_the_gold_answer_first():
    prompts, _, rankings = answered(0.0, 0)
    gold = {p.messages: p.meta["good"] for p in prompts}
    assert len(rankings) == len(prompts)
    for ranking in rankings:
        best = [text for text, place in zip(ranking.responses, ranking.ranks, strict=True) if place == 1]
        assert gold[ranking.prompt] in best


def test_good_answers_to_other_prompts_are_ranked_behind_the_own_good_one():
    prompts, answers, rankings = answered(0.0, 4)
    own = {p.messages: {a.text for a in given} for p, given in zip(prompts, answers, strict=True)}
    meta = {p.messages: p for p in prompts}
    strangers = 0
    for ranking in rankings:
        for text, place in zip(ranking.responses, ranking.ranks, strict=True):
            if text not in own[ranking.prompt]:
                strangers += 1
                assert (place == 1) == (microworld.grade(meta[ranking.prompt], text) == 3)
    assert strangers > len(prompts)


def test_answers_that_were_cut_off_are_not_ranked():
    """As rows of data they would get an EOS that the model never wrote (correctness A4)."""
    prompts = microworld.prompts(World(0), "train", 10, 0)
    answers = [[Answer(p.meta["good"], False, "a"), Answer(p.meta["bad"], True, "a")] for p in prompts]
    for ranking in rank(prompts, answers, 2, 0.0, 0):
        gold = next(p.meta["good"] for p in prompts if p.messages == ranking.prompt)
        assert gold not in ranking.responses


def test_model_that_never_ends_an_answer_has_nothing_to_rank(chain, runs):
    with pytest.raises(TrainingError, match="none of the 6 prompts.*0 answers ended.*train the model"):
        tiny.ran("sample", runs, **chain.links("sample"), annotate="simulated", sampling={"max_new_tokens": 1})


def test_control_token_inside_an_answer_is_seen(chain):
    tokenizer = tokenizers.load(str(chain.sft / "checkpoints" / "latest"))
    said = tokenizer("Mira")["input_ids"]
    eos, control = tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|user|>")
    assert text_of(tokenizer, Completion([*said, eos], True)) == "Mira"
    assert text_of(tokenizer, Completion([*said, control, eos], True)) == "Mira<|user|>"


def test_rankings_are_a_function_of_the_seed():
    assert answered(0.3, 4)[2] == answered(0.3, 4)[2]
    prompts, answers, rankings = answered(0.3, 4)
    assert rank(prompts, answers, 4, 0.3, 1) != rankings


def test_answers_to_other_prompts_stand_among_those_that_people_rank():
    """The nearest by words, good ones where there are graders, any where there are none; never one's own."""
    plain = [Prompt((Message("user", text),)) for text in ("wash the cat", "wash the dog", "sing a song")]
    given = [[Answer(f"answer {n}", True, "policy"), Answer("cut", False, "policy")] for n in range(3)]
    found = among(plain, given, 1, 0)
    assert [[(a.text, a.source) for a in answers[2:]] for answers in found] == [
        [("answer 1", "foreign")],
        [("answer 0", "foreign")],
        [("answer 0", "foreign")],
    ] or [a.text for a in found[2][2:]] == ["answer 1"]  # nothing is shared with the third: any
    graded = microworld.prompts(World(0), "train", 60, 0)
    texts = [[Answer(p.meta["good"], True, "policy"), Answer(p.meta["bad"], True, "policy")] for p in graded]
    bad = {p.meta["bad"] for p in graded} - {p.meta["good"] for p in graded}
    for prompt, answers in zip(graded, among(graded, texts, 4, 0), strict=True):
        others = [a.text for a in answers[2:]]
        assert len(others) == 4 and not bad & set(others) - {prompt.meta["bad"]}
