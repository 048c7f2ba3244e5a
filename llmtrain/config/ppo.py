"""The nodes that ppo alone has, and the faults between their keys. A key that would do nothing is one."""

import re
from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from llmtrain.config.choices import AdvantageName, CriticName, DataName, JudgeName, KLName, MissingEos, RuleName
from llmtrain.config.ranges import number


@dataclass
class KL:
    name: KLName = MISSING
    coef: float = number(0)
    target: float | None = number(above=0)
    horizon: float | None = number(1)
    cap: float | None = number(above=0)


@dataclass
class Advantage:
    name: AdvantageName = MISSING
    answers: int = number(1)
    gamma: float | None = number(0, 1)
    lam: float | None = number(0, 1)
    whiten: bool | None = MISSING
    ddof: int | None = number(0, 1)
    critic: CriticName | None = MISSING
    critic_lr: float | None = number(0)
    value_clip: float | None = number(above=0)
    value_coef: float | None = number(0)


@dataclass
class Judge:
    name: JudgeName = MISSING
    init: str | None = MISSING
    require_probes: bool | None = MISSING
    rule: RuleName | None = MISSING
    pattern: str | None = MISSING
    path: str | None = MISSING
    missing_eos: MissingEos = MISSING
    missing_eos_score: float = MISSING
    scale: float = number(above=0)
    clip: float | None = number(above=0)


@dataclass
class Clipping:
    ratio: float = number(above=0)


ADVANTAGE = {  # the keys of `advantage` that are settings of an estimator, which needs them all
    AdvantageName.gae: ("gamma", "lam", "whiten"),
    AdvantageName.reinforce_pp: ("gamma",),
    AdvantageName.grpo: ("ddof",),
    AdvantageName.dr_grpo: (),
    AdvantageName.rloo: (),
}
CRITIC = ("critic", "critic_lr", "value_coef")  # those that training a critic needs, which gae alone has
COMPARING = (AdvantageName.grpo, AdvantageName.dr_grpo, AdvantageName.rloo)  # the answers to a prompt
JUDGE = {  # the same for `judge`
    JudgeName.reward: ("init", "require_probes"),
    JudgeName.rule: ("rule",),
    JudgeName.function: ("path",),
}
FUNCTION = re.compile(r".+\.py:[^\W\d]\w*")


def updates(config: Any) -> list[str]:
    faults = []
    if config.batch.rows % config.minibatches:
        faults.append(f"minibatches: {config.minibatches} does not divide batch.rows={config.batch.rows}")
    if config.sampling.temperature <= 0:
        faults.append("sampling.temperature: PPO samples; it must be more than 0")
    return faults


def kl(config: Any) -> list[str]:
    k, faults = config.kl, []
    for key, value in (("target", k.target), ("horizon", k.horizon)):
        if k.name is KLName.adaptive and value is None:
            faults.append(f"kl.{key}: not set; kl.name=adaptive needs it (kl=adaptive sets it)")
        if k.name is KLName.fixed and value is not None:
            faults.append(f"kl.{key}: {value} does nothing with kl.name=fixed; give kl=adaptive, or set it to null")
    return faults


def _own(group: str, option: Any, given: dict[str, Any], needed: tuple[str, ...]) -> list[str]:
    """Keys of a group that its option needs and that are not set, or that are set and do nothing with it."""
    faults = []
    for key, value in given.items():
        if key in needed and value is None:
            faults.append(f"{group}.{key}: not set; {group}={option.value} needs it")
        elif key not in needed and value is not None:
            faults.append(f"{group}.{key}: {value} does nothing with {group}={option.value}; set it to null")
    return faults


def advantage(config: Any) -> list[str]:
    a, rows = config.advantage, config.batch.rows
    keys = dict.fromkeys(key for keys in (*ADVANTAGE.values(), CRITIC) for key in keys)
    needed = ADVANTAGE[a.name] + (CRITIC if a.name is AdvantageName.gae else ())
    given = {key: getattr(a, key) for key in keys}
    given["critic"] = a.critic and a.critic.value
    faults = _own("advantage", a.name, given, needed)
    if a.name is not AdvantageName.gae:
        faults += _own("advantage", a.name, {"value_clip": a.value_clip}, ())
    if a.name in COMPARING and a.answers == 1:
        faults.append(f"advantage.answers: 1 leaves advantage={a.name.value} nothing to compare; set it to 2 or more")
    if rows % a.answers:
        faults.append(f"advantage.answers: {a.answers} does not divide batch.rows={rows}")
    return faults


def judge(config: Any) -> list[str]:
    j = config.judge
    keys = dict.fromkeys(key for keys in JUDGE.values() for key in keys)
    given = {key: getattr(j, key) for key in keys}
    given["rule"] = j.rule and j.rule.value
    faults = _own("judge", j.name, given, JUDGE[j.name])
    if j.path is not None and not FUNCTION.fullmatch(j.path):
        faults.append(f"judge.path: {j.path!r} is not FILE.py:FUNCTION, such as my_reward.py:score")
    return faults


def rule(config: Any) -> list[str]:
    j, own, faults = config.judge, config.data.name is DataName.microworld, []
    if (j.rule is RuleName.match) != (j.pattern is not None):
        faults.append(f"judge.pattern: {j.pattern!r} goes with judge.rule=match, and only with it")
    if j.rule is RuleName.exact and own:
        faults.append("judge.rule: exact needs rows with a column `answer`, the microworld has graders; give gold")
    if j.rule is RuleName.gold and not own:
        faults.append("judge.rule: gold needs the gold graders of data=microworld; give exact or match")
    try:
        re.compile(j.pattern or "")
    except re.error as error:
        faults.append(f"judge.pattern: {j.pattern!r} is no regular expression ({error})")
    return faults
