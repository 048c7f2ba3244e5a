"""From a mapping to the typed configuration: types, ranges, combinations; all faults at once."""

import copy
import math
from typing import Any

import pytest

from llmtrain.config import compose, paths
from llmtrain.config.check import build, mapping
from llmtrain.config.choices import Device
from llmtrain.errors import ConfigError

LORA = {"adapter__rank": 8, "adapter__alpha": 16.0}
FILES = {"data__name": "files", "data__path": ["hub:a/b", "a.txt"], "data__world": None, "data__rows": None}


@pytest.fixture(scope="module")
def shipped() -> dict[str, Any]:
    """command -> the values of its recipe tiny."""
    commands = ("pretrain", "sft", "sample", "ppo", "dpo", "eval", "data", "pipeline")
    values = {command: mapping(compose.compose_stage(command, "tiny", {})) for command in commands}
    values["pretrain"]["model"] |= {"width": 128, "heads": 4, "context": 256}  # known numbers, whatever is tuned
    values["pretrain"]["tokenizer"] |= {"vocab_size": 1024}
    values["sample"] |= {"answers": 4, "foreign": 4}
    values["sample"] |= {"noise": 0.1, "held_out": 300}
    values["ppo"]["batch"] |= {"rows": 128}
    values["ppo"]["stop"] |= {"threshold": 0.92}
    for group in ("advantage", "judge"):
        for option in paths.groups()[group]:
            own = {"rule": {"rule": "gold"}, "function": {"path": "r.py:f"}}.get(option, {})
            overrides = {"choose": {group: option}} | ({group: own} if own else {})
            values[option] = mapping(compose.compose_stage("ppo", "tiny", overrides))
            values[option]["batch"] |= {"rows": 128}
    return values


def changed(values: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """`values` with a__b=1 for a.b: 1."""
    values = copy.deepcopy(values)
    for key, value in changes.items():
        *path, leaf = key.split("__")
        node = values
        for part in path:
            node = node[part]
        node[leaf] = value
    return values


def fault(values: dict[str, Any], **changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        build(changed(values, **changes))
    return str(caught.value)


def test_mapping_is_the_inverse_of_build(shipped):
    for values in shipped.values():
        assert mapping(build(values)) == values


def test_values_are_typed(shipped):
    config = build(changed(shipped["sft"], launch__device="cpu", optimizer__lr=1))
    assert config.launch.device is Device.cpu
    assert isinstance(config.optimizer.lr, float)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": "abc"}, "seed: 'abc' should be a whole number"),
        ({"seed": True}, "seed: True should be a whole number"),
        ({"seed": 1.5}, "seed: 1.5 should be a whole number"),
        ({"seed": None}, "seed: None should be a whole number"),
        ({"seed": "???"}, "seed: not set"),
        ({"optimizer__lr": "1e-3"}, "optimizer.lr: '1e-3' should be a number"),
        ({"optimizer__lr": math.nan}, "optimizer.lr: nan is not a finite number"),
        ({"optimizer__lr": math.inf}, "optimizer.lr: inf is not a finite number"),
        ({"optimizer__lr": -1.0}, "optimizer.lr: -1.0 must be at least 0"),
        ({"data__eval_fraction": 0.95}, "data.eval_fraction: 0.95 must be between 0 and 0.9"),
        ({"log__progress": "yes"}, "log.progress: 'yes' should be true or false"),
        ({"run__name": 7}, "run.name: 7 should be text"),
        ({"launch__device": "gpu"}, "launch.device: 'gpu' is none of auto, cpu, cuda"),
        ({"schedule__name": "linaer"}, "did you mean linear?"),
        ({"data__path": "a.txt"}, "data.path: 'a.txt' should be a list"),
        ({"data__path": [1]}, r"data.path[0]: 1 should be text"),
        ({"optimizer": 3}, "optimizer: 3 should be a group of keys"),
        ({"optimizer__lrr": 1}, "optimizer.lrr: there is no such key; did you mean optimizer.lr?"),
    ],
)
def test_a_wrong_value_is_named_with_its_remedy(shipped, changes, message):
    assert message in fault(shipped["sft"], **changes)


def test_all_faults_come_at_once(shipped):
    text = fault(shipped["sft"], seed=-1, batch__rows=0, launch__device="gpu", optimizer__lrr=1)
    assert len(text.splitlines()) == 4


@pytest.mark.parametrize(
    ("command", "changes", "message"),
    [
        ("sft", {"max_steps": 5}, "max_steps, epochs: set one"),
        ("sft", {"epochs": None}, "max_steps, epochs: set one"),
        ("sft", {"epochs": 0.0}, "epochs: 0.0 must be more than 0"),
        ("sft", {"max_time": "1 day"}, "max_time: '1 day' is not a duration"),
        ("sft", {"optimizer__beta2": 1.0}, "must be less than 1"),
        ("sft", {"schedule__decay": 0.2}, "schedule.decay: 0.2 does nothing"),
        ("sft", {"data__path": ["x"]}, "data.path: ['x'] does nothing with data.name=microworld"),
        ("sft", {"data__rows": None}, "data.rows: not set"),
        ("sft", {"data__name": "files"}, "data.path: empty"),
        ("sft", {"data__name": "files", "data__path": ["/nowhere/x.txt"]}, "no such file"),
        ("pretrain", {"model__heads": 3}, "model.width: 128 is not a multiple of model.heads=3"),
        ("pretrain", {"data__max_length": 257}, "data.max_length: 257 is more than model.context=256"),
        ("pretrain", {"tokenizer__path": "gpt2"}, "tokenizer.path: 'gpt2' goes with tokenizer.name=file"),
        ("pretrain", {"tokenizer__name": "char"}, "tokenizer.vocab_size: 1024 does nothing"),
        ("pretrain", {"tokenizer__vocab_size": 260}, "tokenizer.vocab_size: 260"),
        ("sample", {"sampling__temperature": 0.0}, "makes all 4 answers the same"),
        ("ppo", {"minibatches": 3}, "minibatches: 3 does not divide batch.rows=128"),
        ("ppo", {"sampling__temperature": 0.0}, "PPO samples"),
        ("ppo", {"kl__name": "adaptive", "kl__target": 0.0}, "kl.target: 0.0 must be more than 0"),
        ("dpo", {"label_smoothing": 0.1}, "label_smoothing: 0.1 does nothing with loss=sigmoid"),
        ("dpo", {"loss": "robust", "label_smoothing": 0.5}, "must be less than 0.5"),
        ("dpo", {"data__world": None}, "stop.metric: gold/min needs gold graders"),
        (
            "dpo",
            {"adapter__alpha": 16.0},
            "adapter.alpha: 16.0 does nothing with adapter.rank=0; give adapter=lora",
        ),
        ("ppo", {"adapter__targets": ["q_proj"]}, "adapter.targets: ['q_proj'] does nothing with adapter.rank=0; give"),
        ("ppo", {"adapter__rank": 8}, "adapter.alpha: not set; adapter.rank=8 needs it (adapter=lora sets it)"),
        ("ppo", LORA | {"adapter__alpha": 0.0}, "adapter.alpha: 0.0 must be more than 0"),
        ("ppo", LORA | {"adapter__targets": ["a", "a"]}, "adapter.targets: a is there twice; drop one"),
        ("ppo", LORA | {"adapter__targets": [" "]}, "adapter.targets: holds an empty name; drop it"),
        ("ppo", LORA | {"sampling__engine": "vllm"}, "sampling.engine: vllm would read the model without its adapters"),
        ("sft", {"adapter": {"rank": 8}}, "adapter: there is no such key, it belongs to ppo and dpo; drop it"),
        ("ppo", {"kl__target": 6.0}, "kl.target: 6.0 does nothing with kl.name=fixed; give kl=adaptive"),
        ("ppo", {"kl__name": "adaptive"}, "kl.horizon: not set; kl.name=adaptive needs it"),
        ("ppo", {"kl__cap": 0.0}, "kl.cap: 0.0 must be more than 0"),
        ("ppo", {"clip__ratio": 0.0}, "clip.ratio: 0.0 must be more than 0"),
        ("ppo", {"judge__scale": 0.0}, "judge.scale: 0.0 must be more than 0"),
        ("ppo", {"stop__metric": None}, "stop.threshold: 0.92 does nothing with stop.metric=null; give stop=never"),
        ("ppo", {"stop__patience": None}, "stop.patience: not set; stop.metric needs it"),
        ("gae", {"advantage__lam": None}, "advantage.lam: not set; advantage=gae needs it"),
        ("gae", {"advantage__ddof": 1}, "advantage.ddof: 1 does nothing with advantage=gae; set it to null"),
        ("gae", {"advantage__answers": 3}, "advantage.answers: 3 does not divide batch.rows=128"),
        ("reinforce_pp", {"advantage__lam": 0.9}, "advantage.lam: 0.9 does nothing with advantage=reinforce_pp"),
        ("rloo", {"advantage__critic_lr": 1e-3}, "advantage.critic_lr: 0.001 does nothing with advantage=rloo"),
        ("rloo", {"advantage__critic": "shared"}, "advantage.critic: shared does nothing with advantage=rloo; set it"),
        ("gae", {"advantage__critic": None}, "advantage.critic: not set; advantage=gae needs it"),
        ("rloo", {"advantage__value_coef": 0.1}, "advantage.value_coef: 0.1 does nothing with advantage=rloo"),
        ("rloo", {"advantage__value_clip": 0.2}, "advantage.value_clip: 0.2 does nothing with advantage=rloo"),
        ("rloo", {"advantage__gamma": 1.0}, "advantage.gamma: 1.0 does nothing with advantage=rloo"),
        ("rloo", {"advantage__whiten": False}, "advantage.whiten: False does nothing with advantage=rloo"),
        ("dr_grpo", {"advantage__ddof": 0}, "advantage.ddof: 0 does nothing with advantage=dr_grpo"),
        ("grpo", {"advantage__ddof": None}, "advantage.ddof: not set; advantage=grpo needs it"),
        ("grpo", {"advantage__ddof": 2}, "advantage.ddof: 2 must be between 0 and 1"),
        ("grpo", {"advantage__answers": 1}, "advantage.answers: 1 leaves advantage=grpo nothing to compare"),
        ("reward", {"judge__init": None}, "judge.init: not set; judge=reward needs it"),
        ("reward", {"judge__rule": "gold"}, "judge.rule: gold does nothing with judge=reward; set it to null"),
        ("rule", {"judge__init": "latest"}, "judge.init: latest does nothing with judge=rule"),
        ("rule", {"judge__require_probes": True}, "judge.require_probes: True does nothing with judge=rule"),
        ("rule", {"judge__rule": "exact"}, "judge.rule: exact needs rows with a column `answer`"),
        ("rule", {"judge__rule": "match"}, "judge.pattern: None goes with judge.rule=match"),
        ("rule", {"judge__pattern": "x"}, "judge.pattern: 'x' goes with judge.rule=match, and only with it"),
        ("rule", {"judge__rule": "match", "judge__pattern": "("}, "judge.pattern: '(' is no regular expression"),
        ("rule", FILES | {"stop__metric": None}, "judge.rule: gold needs the gold graders of data=microworld"),
        ("function", {"judge__path": None}, "judge.path: not set; judge=function needs it"),
        ("function", {"judge__path": "os.system"}, "judge.path: 'os.system' is not FILE.py:FUNCTION"),
        ("function", {"judge__path": "r.py:a.b"}, "judge.path: 'r.py:a.b' is not FILE.py:FUNCTION"),
        (
            "ppo",
            {"stop__metric": "gold/mean"},
            "'gold/mean' is none of gold/helpful, gold/honest, gold/harmless, gold/min",
        ),
        ("ppo", {"stop__metric": "eval/score"}, "'eval/score' is none of"),
        ("dpo", {"stop__metric": "eval/win_rate"}, "'eval/win_rate' is none of"),
        ("eval", {"models": []}, "models: empty; name at least one run"),
        ("eval", {"models": ["a"], "init": "b"}, "init, models: both name what is evaluated"),
        ("eval", {"models": ["a", "b", "a"]}, "models: a is there twice; drop one"),
        ("eval", {"tasks": [" "]}, "tasks: holds an empty entry; drop it"),
        ("eval", {"judged_by": "a.py"}, "judged_by: a.py names no function in the file; give a.py:NAME"),
        ("eval", {"judged_by": "a"}, "judged_by: a does nothing without a model to win against"),
        ("eval", {"tasks": ["a"], "launch__nproc_per_node": 2}, "the harness of tasks runs in one process"),
        ("sample", {"annotate": "none"}, "noise: 0.1 does nothing with annotate=none"),
        ("sample", {"annotate": "none"}, "held_out: 300 does nothing with annotate=none"),
        ("sample", {"policies": ["self@hot"]}, "policies: 'self@hot' is none of RUN, RUN@TEMPERATURE"),
        ("sft", FILES | {"data__text_column": "a"}, "data.text_column: is for pretrain"),
        ("sft", FILES | {"data__split": "test", "data__path": ["a.txt"]}, "data.split: test does nothing here"),
        ("sft", FILES | {"data__world": 0}, "data.world: 0 does nothing here with files"),
        ("sft", {"data__eval_fraction": 0.0}, "data.eval_fraction: 0 holds nothing out"),
        ("sft", {"max_time": "0s"}, "max_time: 0s must be more than 0"),
        ("sft", {"seed": 2**63}, "seed: 9223372036854775808 must be between 0 and"),
        ("sft", {"launch__threads": 10**6}, "launch.threads: 1000000 must be between 0 and"),
        ("sft", {"launch__nproc_per_node": 10**6}, "launch.nproc_per_node: 1000000 must be between 1 and"),
        ("pretrain", {"max_steps": 10**12}, "max_steps: 1000000000000 must be between 1 and"),
        ("data", {"stage": "bogus"}, "stage: 'bogus' is none of pretrain, sft"),
        ("data", {"stage": None, "data__text_column": "a"}, "stage: None is none of"),
        ("pipeline", {"improve": "dpo", "ppo": {"seed": 1}}, "ppo: does nothing with improve=dpo"),
        ("pipeline", {"annotate": "none", "rounds": 2}, "rounds: 2"),
    ],
)
def test_combinations_that_cannot_be_or_do_nothing(shipped, command, changes, message):
    assert message in fault(shipped[command], **changes)


def test_a_wrong_type_hides_no_fault_of_a_sound_part(shipped):
    text = fault(shipped["ppo"], seed="abc", minibatches=3, batch__rows="x", kl__target=6.0, stop__metric="gold/mn")
    assert "seed: 'abc'" in text and "batch.rows: 'x'" in text and "kl.target: 6.0" in text and "gold/mn" in text
    assert "minibatches" not in text  # its other half, batch, is not sound


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "../x", "/etc/x", "a b", "a\n", "a\0", "~", "-x", "x" * 65, "ü", "$HOME"]
)
def test_run_names_stay_inside_their_folder(shipped, name):
    assert "run.name" in fault(shipped["sft"], run__name=name)


@pytest.mark.parametrize("name", ["a", "tiny", "gpt2-124m", "A.b_c-1", "x" * 64])
def test_ordinary_run_names_pass(shipped, name):
    assert build(changed(shipped["sft"], run__name=name)).run.name == name


def test_paths_that_are_coming_need_not_exist(shipped):
    values = changed(shipped["sft"], data__name="files", data__path=["made/later"], data__world=None)
    assert build(values, coming=["made/later"]).data.path == ["made/later"]


def test_an_unknown_command_is_named():
    with pytest.raises(ConfigError, match="'train' is none of"):
        build({"command": "train"})


def test_a_configuration_of_before_a_key_came_is_one_still(shipped):
    """A run of an earlier version is resumed, and its judge examined."""
    values = copy.deepcopy(shipped["ppo"])
    del values["log"]["report"], values["adapter"]
    assert build(values).log.report is False and build(values).adapter.rank == 0
