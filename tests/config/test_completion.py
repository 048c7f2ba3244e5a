"""What <TAB> offers. bash gives `conf`, `=`, `ti` as three words, zsh gives one."""

from pathlib import Path

import pytest

from llmtrain.config.completion import complete


@pytest.mark.parametrize(
    ("command", "args", "word", "wanted"),
    [
        ("sft", [], "conf=ti", ["conf=tiny"]),
        ("sft", ["conf", "="], "ti", ["tiny"]),
        ("ppo", [], "kl.name=", ["kl.name=fixed", "kl.name=adaptive"]),
        ("ppo", [], "advantage=", [f"advantage={n}" for n in ("dr_grpo", "gae", "grpo", "reinforce_pp", "rloo")]),
        ("ppo", [], "judge.rule=", ["judge.rule=exact", "judge.rule=match", "judge.rule=gold"]),
        ("ppo", [], "kl=", ["kl=adaptive", "kl=fixed"]),
        ("ppo", ["kl.name", "="], "a", ["adaptive"]),
        ("ppo", ["kl.name"], "", ["fixed", "adaptive"]),
        ("ppo", [], "log.tens", ["log.tensorboard=true", "log.tensorboard=false"]),
        ("ppo", [], "schedule=w", ["schedule=wsd"]),
        ("ppo", [], "+seed=", ["+seed=0"]),
        ("sft", [], "optimizer.b", ["optimizer.beta1=", "optimizer.beta2="]),
        ("pipeline", [], "ppo.kl.c", ["ppo.kl.coef=", "ppo.kl.cap="]),
        ("pretrain", [], "conf=tiny,sh", ["conf=tiny,shakespeare-char"]),
        ("pretrain", ["conf", "="], "[tiny,sh", ["[tiny,shakespeare-char"]),
        ("ppo", [], "--c", ["--cfg"]),
        ("ppo", [], "-m", ["-m"]),
        ("ppo", [], "--h", ["--help", "--hydra-help"]),
        ("ppo", ["--cfg"], "", ["job", "hydra", "all"]),
        ("ppo", ["-c"], "j", ["job"]),
        ("sft", [], "modle", []),
        ("sft", [], "model=", []),
    ],
)
def test_offers(command, args, word, wanted):
    assert complete(command, args, word) == wanted


def test_files_are_offered_where_they_can_stand(workplace):
    Path("tidy.yaml").write_text("")
    Path("tidy.txt").write_text("")
    Path("tides").mkdir()
    assert complete("sft", [], "conf=ti") == ["conf=tiny", "conf=tides/", "conf=tidy.yaml"]
    assert complete("sft", [], "data=ti") == ["data=tides/", "data=tidy.txt", "data=tidy.yaml"]
    assert complete("sft", ["seed=1", "init", "="], "lat") == ["latest"]
    assert complete("sft", [], f"conf={workplace}/tid") == [f"conf={workplace}/tides/", f"conf={workplace}/tidy.yaml"]
    assert complete("ppo", [], "judge.path=tidy.") == ["judge.path=tidy.txt", "judge.path=tidy.yaml"]
    assert complete("sft", [], "conf=/nowhere/at/all") == []
    assert complete("eval", [], "ti") == ["tides/", "tidy.txt", "tidy.yaml"]
    assert complete("eval", ["tides/a"], "") == complete("eval", [], "")
    assert complete("sft", [], "ti") == []
