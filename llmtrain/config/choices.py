"""The words that a configuration chooses from: an Enum for each key, and an entry in a dict where it is used."""

from enum import Enum


class Device(Enum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Dtype(Enum):
    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


class Architecture(Enum):
    llama = "llama"
    gpt2 = "gpt2"


class TokenizerName(Enum):
    bpe = "bpe"
    char = "char"
    file = "file"


class DataName(Enum):
    microworld = "microworld"
    files = "files"


class OnBadRow(Enum):
    fail = "fail"
    skip = "skip"


class ScheduleName(Enum):
    cosine = "cosine"
    linear = "linear"
    constant = "constant"
    wsd = "wsd"


class KLName(Enum):
    fixed = "fixed"
    adaptive = "adaptive"


class AdvantageName(Enum):
    gae = "gae"
    reinforce_pp = "reinforce_pp"
    grpo = "grpo"
    dr_grpo = "dr_grpo"
    rloo = "rloo"


class CriticName(Enum):
    separate = "separate"
    shared = "shared"


class JudgeName(Enum):
    reward = "reward"
    rule = "rule"
    function = "function"


class RuleName(Enum):
    exact = "exact"
    match = "match"
    gold = "gold"


class MissingEos(Enum):
    replace = "replace"
    subtract = "subtract"


class Tie(Enum):
    drop = "drop"
    half = "half"


class DPOLoss(Enum):
    sigmoid = "sigmoid"
    conservative = "conservative"
    robust = "robust"
    ipo = "ipo"
    hinge = "hinge"


class Annotator(Enum):
    none = "none"
    simulated = "simulated"


class Ranker(Enum):
    none = "none"
    simulated = "simulated"
    people = "people"


class AnswerFormat(Enum):
    text = "text"
    jsonl = "jsonl"


class Engine(Enum):
    own = "own"
    vllm = "vllm"


class Stage(Enum):
    pretrain = "pretrain"
    sft = "sft"
    sample = "sample"
    reward = "reward"
    ppo = "ppo"
    dpo = "dpo"


class Improve(Enum):
    ppo = "ppo"
    dpo = "dpo"
