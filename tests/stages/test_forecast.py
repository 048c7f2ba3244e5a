"""What is forecast of configurations whose numbers are known by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmtrain.config import app
from llmtrain.errors import ConfigError, InitError
from llmtrain.estimate.machine import Machine
from llmtrain.estimate.needs import PROCESS, Needs
from llmtrain.stages import advice
from llmtrain.stages.blueprints import Blueprints
from llmtrain.stages.forecast import forecast
from llmtrain.stages.prospect import prospects
from tests.invariants import lab

GIB = 2**30


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No run is found."""
    monkeypatch.setenv("LLMTRAIN_RUNS", str(tmp_path / "runs"))


def composed(command: str, *settings: str) -> Any:
    return app.steps_of(command, ["launch.device=cpu", *settings])[0]


def needs(command: str, *settings: str) -> Needs:
    return forecast(composed(command, *settings), Blueprints(), cuda=False)


def bytes_of(found: Needs) -> dict[str, dict[str, int]]:
    return {model.role: model.bytes(found.narrow) for model in found.models}


def test_ppo_holds_four_models_two_of_which_learn():
    told = bytes_of(needs("ppo", "conf=tiny"))
    assert list(told) == ["policy", "critic", "reference", "judge"]
    learns = [role for role, parts in told.items() if parts["gradients"]]
    assert learns == ["policy", "critic"]
    for role in learns:  # AdamW: two moments
        assert told[role]["optimizer"] == 2 * told[role]["weights"] == 2 * told[role]["gradients"]
    # 4 layers, keys and values, 512 answers at once, 128 wide, 64 + 40 tokens, float32
    assert told["policy"]["cache"] == 4 * 2 * 512 * 128 * (64 + 40) * 4


def test_without_a_critic_and_a_reward_model_there_are_two():
    settings = ("advantage=rloo", "judge=rule", "judge.rule=gold")
    assert list(bytes_of(needs("ppo", *settings))) == ["policy", "reference"]


@pytest.mark.parametrize("command", ["ppo", "dpo"])
def test_adapters_learn_alone_and_the_reference_is_gone(command):
    told = bytes_of(needs(command, "conf=tiny", "adapter=lora", "adapter.rank=4"))
    assert list(told) == (["policy", "critic", "judge"] if command == "ppo" else ["policy"])
    # of a block: q, k, v and o are 128 x 128, gate, up and down 128 x 352
    learns = 4 * 4 * (4 * (128 + 128) + 3 * (128 + 352))
    policy = told["policy"]
    assert (policy["gradients"], policy["optimizer"]) == (4 * learns, 2 * 4 * learns)
    plain = bytes_of(needs(command, "conf=tiny"))["policy"]
    assert policy["weights"] == plain["weights"] + 4 * learns and policy["activations"] < plain["activations"]


def test_another_reference_than_init_is_a_model_of_its_own(tmp_path):
    lab.model("gpt2").config.save_pretrained(tmp_path / "there")
    assert "reference" in bytes_of(needs("ppo", "adapter=lora", f"reference={tmp_path / 'there'}"))


def test_steps_tokens_and_flops_of_a_pretraining_run():
    found = needs("pretrain", "max_steps=100", "batch.rows=8", "loop.eval_every=50", "loop.save_every=25")
    assert (found.steps, found.tokens, found.evaluations) == (100, 8 * 128, 5)
    shape = found.models[0].shape
    weights = 4 * (4 * 128 * 128 + 3 * 128 * 352) + 128 * 1024
    assert shape.matrices + shape.head == weights
    attention = 14 * 4 * 128 * 128 * (8 * 128)  # 14 a pair of tokens, layer and unit of width
    assert found.step.flops == 6 * weights * 8 * 128 + attention
    assert found.kept == 3  # keep_last=2 and the new one


def test_epochs_over_made_rows_and_over_files(tmp_path):
    assert needs("sft", "data.rows=1000", "data.eval_fraction=0.1", "batch.rows=90", "epochs=2").steps == 20
    file = tmp_path / "rows.jsonl"
    row = '{{"prompt": "What is {0} and {0}?", "completion": "It is {0}, of which there are two and no more."}}\n'
    file.write_text("".join(row.format(n) for n in range(1000, 3000)))
    steps = needs("sft", f"data={file}", "data.rows=null", "data.eval_fraction=0.5", "epochs=1", "batch.rows=10").steps
    assert steps == pytest.approx(100, rel=0.2)  # half of 2000 rows in tens, measured by the first 200


RANKED = '{"prompt": "%s", "responses": ["%s", "%s", "%s", "%s"], "ranks": [1, 2, 3, 4]}\n'


def test_a_ranking_has_its_prompt_once_and_attention_has_it_in_each_answer(tmp_path):
    run = tmp_path / "runs" / "sample" / "there"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("command: sample\n")
    (run / "rankings.jsonl").write_text(RANKED % ("p" * 70, *(letter * 10 for letter in "abcd")) * 9)
    for command, targets in (("reward", 4), ("dpo", 4 * 32)):  # a score an answer, or all tokens of it
        found = needs(command, f"data={run}", "data.max_length=256", "batch.rows=16", "batch.micro_tokens=4096")
        load = found.models[0].load
        # prompts are 70 of 80 letters, so 224 of 256 tokens, and answers 32: 352 of 4096 fit 11 times
        assert load and (load.tokens, load.slots, load.targets) == (11 * 352, 11 * 4 * 256, 11 * targets)
        assert (load.squares, found.tokens, found.batches) == (11 * 4 * 256**2, 16 * 352, 2)
        assert not [note for note in found.notes if "rankings" in note]


@pytest.mark.parametrize("command", ["reward", "dpo"])
def test_without_rankings_the_larger_memory_is_told(command):
    found = needs(command, "data.max_length=256")
    assert [note for note in found.notes if "no rankings to see yet" in note]
    prints = [Blueprints() for _ in range(4)]
    for share, own in zip((0.0, 0.25, 0.5, 0.75), prints, strict=True):
        own.answers, own.share = 2, share
    config = composed(command, "data.max_length=256")
    assert found.peak >= max(forecast(config, own, cuda=False).peak for own in prints)


def test_answers_of_ppo_share_their_prompt():
    settings = ("advantage=rloo", "advantage.answers=4", "data.max_length=60", "sampling.max_new_tokens=20")
    found = needs("ppo", *settings, "batch.rows=32", "minibatches=1", "batch.micro_tokens=400")
    load = found.models[0].load
    # 60 + 4 * 20 fit twice, and of a third prompt three answers: 120 tokens are left
    assert load and (load.tokens, load.slots, load.targets) == (3 * 60 + 11 * 20, 11 * 80, 11 * 20)
    assert found.batches == 3


def test_what_comes_later_is_no_fault_what_never_does_is():
    assert needs("pretrain", "conf=gpt2-124m").models[0].shape.parameters == 124_439_808
    with pytest.raises(InitError, match="init: nowhere: no such run"):
        needs("sft", "init=nowhere")
    with pytest.raises(ConfigError, match=r"batch.rws: .*batch.rows"):
        needs("sft", "batch.rws=3")


def test_half_precision_halves_the_cache_and_not_the_weights():
    config = composed("ppo", "conf=tiny")
    full, half = (bytes_of(forecast(config, Blueprints(), cuda=cuda)) for cuda in (False, True))
    on_gpu = composed("ppo", "conf=tiny", "launch.dtype=bfloat16")
    assert bytes_of(forecast(on_gpu, Blueprints(), cuda=False)) == half
    assert half["policy"]["cache"] * 2 == full["policy"]["cache"]
    assert half["policy"]["weights"] == full["policy"]["weights"]


def test_a_pipeline_hands_its_model_and_rankings_on():
    _, folder, steps = app.steps_of("pipeline", ["conf=tiny", "pretrain.model.layers=2", "launch.device=cpu"])
    told = prospects(steps, folder, flops=1e12)
    assert [stage["stage"] for stage in told][:5] == ["pretrain", "sft", "sample", "reward", "ppo"]
    sizes = {model["parameters"] for stage in told for model in stage["models"]}
    assert len(sizes) == 2  # with the head of a language model, and with that of a judge
    assert not [note for stage in told for note in stage["notes"]]


def machine(memory: int) -> Machine:
    return Machine("cpu", memory, disk=GIB, flops=1e12, bandwidth=1e10)


def test_advice_is_what_makes_it_fit():
    config = composed("ppo", "conf=tiny", "batch.rows=512", "batch.micro_tokens=65536", "launch.nproc_per_node=2")
    prints = Blueprints()

    def told(of: Any) -> Needs:
        return forecast(of, prints, cuda=False)

    settings, need = advice.memory(config, machine(GIB), told)
    assert need <= GIB
    given = " ".join(settings)
    assert "launch.nproc_per_node=1" in given and "batch.micro_tokens=" in given
    again = composed("ppo", "conf=tiny", "batch.rows=512", *[s for s in settings if "another" not in s])
    assert told(again).peak + PROCESS == need


def test_no_advice_helps_against_weights_alone():
    config = composed("pretrain", "conf=gpt2-124m")
    prints = Blueprints()
    assert advice.memory(config, machine(GIB), lambda of: forecast(of, prints, cuda=False))[1] > GIB


def test_disk_advice_keeps_fewer():
    asked = ("loop.save_every=50", "loop.keep_last=9", "loop.keep_best=2")
    config, found = composed("pretrain", *asked), replace(needs("pretrain", *asked), checkpoint=GIB // 4)
    assert advice.disk(config, machine(GIB), found) == (["loop.keep_last=1"], GIB // 4 * (found.kept - 8))


def test_shapes_of_runs_are_those_of_their_configurations(tmp_path):
    model = lab.model("gpt2")
    model.config.save_pretrained(tmp_path / "there")
    told = needs("sft", f"init={tmp_path / 'there'}")
    assert told.models[0].shape.parameters == sum(p.numel() for p in model.parameters())
