"""Configuration is data: hostile recipes and command lines (reliability S2, S3, S4, S14). All are refused."""

import time
from pathlib import Path

import pytest

from llmtrain.config import safety
from llmtrain.errors import ConfigError
from tests.config.conftest import run

MARKER = "marker-was-written"
CALLS = ["os.system", "subprocess.run", "builtins.eval", "joblib.load", "logging.os.system"]
PLACES = [
    "x: {{_target_: {call}, command: touch {marker}}}",
    "optimizer: {{_target_: {call}, _args_: [touch {marker}]}}",
    "hydra: {{callbacks: {{x: {{_target_: {call}, filename: {marker}}}}}}}",
    "hydra: {{job_logging: {{handlers: {{x: {{class: {call}}}}}}}}}",
    "hydra: {{launcher: {{_target_: {call}}}}}",
    "hydra: {{sweeper: {{params: {{hydra.callbacks.x._target_: {call}}}}}}}",
    "hydra: {{sweeper: {{params: {{hydra.job_logging.root.handlers: {call}}}}}}}",
    "hydra: {{job_logging: {{formatters: {{x: {{(): {call}}}}}}}}}",
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("place", PLACES)
def test_no_recipe_names_code(call, place):
    file = Path("evil.yaml")
    file.write_text(place.format(call=call, marker=MARKER))
    with pytest.raises(ConfigError, match="evil.yaml"):
        run("sft", "conf=evil.yaml")
    assert not Path(MARKER).exists()
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    "text",
    [
        "hydra: {run: {dir: /tmp/elsewhere}}",
        "hydra: {job: {env_set: {LD_PRELOAD: evil.so}}}",
        "hydra: {searchpath: ['file:///tmp']}",
        "hydra: {launcher: {setup: [touch marker]}}",
        "hydra: {sweeper: {custom_search_space: os.system}}",
        "defaults: [{'/model@hydra.callbacks': tiny}]",
        "defaults: ['/model@hydra.callbacks: tiny']",
        "defaults: [{override /hydra/job_logging: none}]",
        "defaults: ['/hydra/output/x']",
    ],
)
def test_a_recipe_sets_nothing_of_hydras_but_sweeps(text):
    Path("evil.yaml").write_text(text)
    with pytest.raises(ConfigError, match="evil.yaml"):
        safety.read(Path("evil.yaml"))


def test_a_recipe_may_sweep():
    text = "defaults: [{override /hydra/sweeper: basic}]\nhydra: {sweeper: {params: {seed: '1,2'}}}\n"
    Path("good.yaml").write_text(text)
    assert safety.read(Path("good.yaml"))["hydra"] == {"sweeper": {"params": {"seed": "1,2"}}}


@pytest.mark.parametrize(
    "arg",
    [
        "+x._target_=os.system",
        "+x={_target_:os.system}",
        "hydra.callbacks.x=1",
        "+hydra.callbacks={x:1}",
        "hydra.run.dir=/tmp/elsewhere",
        "hydra.searchpath=[file:///tmp]",
        "+hydra.job.env_set.LD_PRELOAD=evil.so",
        "hydra/job_logging=none",
        "+model@hydra.callbacks=tiny",
        "--config-dir=/tmp",
        "--config-name=x",
        "-cd",
        "--experimental-rerun=job.pickle",
        "--experimental",
        "--shell-completion",
    ],
)
def test_a_command_line_names_no_code_and_leaves_hydra_alone(arg):
    with pytest.raises(ConfigError):
        safety.checked([arg])


def test_an_ordinary_command_line_passes():
    args = ["-m", "conf=a,b", "seed=range(1,3)", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "~sample_prompts"]
    assert safety.checked(args) == args
    args = ["--cfg", "job", "-p", "optimizer", "tokenizer.path=gpt2", "sampling.max_new_tokens=32"]
    assert safety.checked(args) == args


@pytest.mark.parametrize(
    "canary", ["hf_abcdefghijklmnopqrstuvwx", "https://me:pass-word@host/x", "from-the-environment"]
)
@pytest.mark.parametrize("place", ["override", "file"])
def test_a_secret_is_refused_and_not_shown(monkeypatch, canary, place):
    monkeypatch.setenv("WANDB_API_KEY", "from-the-environment")
    Path("mine.yaml").write_text(f"init: {canary}\n")
    with pytest.raises(ConfigError, match="secret") as caught:
        run("sft", f"init={canary}" if place == "override" else "conf=mine.yaml")
    assert canary not in str(caught.value)
    assert "pass-word" not in str(caught.value)
    assert not Path("runs").exists()


BOMBS = {
    "laughs": "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: [*c,*c]\n",
    "anchor": "a: &a 1\n",
    "recursion": "a: &a [*a]\n",
    "deep flow": "a: " + "[" * 100_000,
    "deep mapping": "".join(" " * i + "a:\n" for i in range(500)),
    "large": "a: " + "x" * (1 << 21),
    "many keys": "".join(f"k{i}: 1\n" for i in range(200_000)),
    "merge": "a: &a {x: 1}\nb: {<<: *a}\n",
    "tag": "a: !!python/object/apply:os.system [touch marker]\n",
    "twice": "a: 1\na: 2\n",
    "bytes": "\udcff\udcfe",
    "nul": "a: \0\n",
    "list": "- 1\n- 2\n",
    "interpolation": "a: ${\n",
    "unclosed": "a: [1, 2\n",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_at_once(name):
    file = Path("bomb.yaml")
    file.write_bytes(BOMBS[name].encode("utf-8", "surrogateescape"))
    began = time.process_time()
    with pytest.raises(ConfigError, match="bomb.yaml"):
        safety.read(file)
    assert time.process_time() - began < 1.0
    assert not Path("marker").exists()
