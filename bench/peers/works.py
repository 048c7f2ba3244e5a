"""The contests of `make bench`: who meets whom at what, how much of it is a round, and what was wanted of us."""

from dataclasses import dataclass, field
from typing import Any

OWN, PEERS = "own", "peers"  # environments


@dataclass(frozen=True)
class Side:
    """name: in the results. does: module and name for side.py. settings: beside those of the contest."""

    name: str
    does: str
    env: str = PEERS
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """`side` at least `factor` times `base`; of the floor: at least that share of its operations a second.

    `most`: at most, how many times longer `side` takes than `base`.
    """

    side: str
    base: str
    factor: float
    most: bool = False


@dataclass(frozen=True)
class Work:
    """A contest. unit: of what is counted. curves: sides that see the same rows in the same order."""

    name: str
    title: str
    unit: str
    needs: tuple[str, ...]
    settings: dict[str, Any]
    sides: tuple[Side, ...]
    targets: tuple[Target, ...]
    rounds: int
    curves: tuple[str, ...] = ()
    unequal: str = ""


OURS, FLOOR = "llmtrain", "matrix products alone"
TUNED = {"tune": True}
WIDTH = 256  # tokens of a window


def sizes(quick: bool) -> dict[str, dict[str, int]]:
    """The models: Llama's kind, feed-forward 8/3, heads of 64."""
    if quick:
        return {"small": dict(layers=2, width=64, vocab=1024), "large": dict(layers=2, width=96, vocab=5000)}
    return {"small": dict(layers=4, width=256, vocab=4096), "large": dict(layers=6, width=384, vocab=50257)}


def works(quick: bool, rounds: int) -> list[Work]:
    """All of them. quick: small models and few steps, to see whether everything runs."""
    size = sizes(quick)
    return [
        _pretrain("small", size["small"], 4, rounds, 1.30, quick),
        _pretrain("large", size["large"], 2, rounds, 1.55, quick),
        _sft(rounds, quick),
        _reward(2, 2.5, rounds, size["small"]),
        _reward(4, 5.0, rounds, size["small"]),
        _generate("fixed", (16, 16), 96, 1.8, rounds, quick),
        _generate("varying", (8, 48), None, 3.5, rounds, quick),
        _ppo("fixed", 56, "separate", 1.6, rounds, quick),
        _ppo("varying", None, "shared", 3.0, rounds, quick),
        _core(rounds, quick),
    ]


def _of(size: dict[str, int]) -> str:
    return f"{size['layers']}L/{size['width']}, V {size['vocab']}"


def _pretrain(model: str, size: dict[str, int], steps: int, rounds: int, factor: float, quick: bool) -> Work:
    rows = 2 if quick else 8
    tokens = rows * WIDTH
    return Work(
        f"pretrain-{model}",
        f"pretrain, {_of(size)}, steps of {rows} windows of {WIDTH} tokens",
        "tokens",
        ("text", model),
        {"model": model, "rows": rows, "width": WIDTH, "steps": steps},
        (
            Side("Trainer of transformers", "trainers.pretrain"),
            Side("plain script", "plain.pretrain"),
            Side(FLOOR, "ours.products", OWN, TUNED | {"floor": [tokens, tokens]}),
            Side(OURS, "ours.pretrain", OWN, TUNED),
        ),
        (Target(OURS, "Trainer of transformers", factor), Target(OURS, FLOOR, 0.9)),
        rounds,
        ("Trainer of transformers", "plain script", OURS),
        "Trainer puts the last token of a window through the model too (1 of 257) and shifts the labels; the plain "
        "script is a loop of our own around transformers' model, whole logits and SDPA. The tokens are those of a "
        "vocabulary of 4,096 in both sizes.",
    )


def _sft(rounds: int, quick: bool) -> Work:
    rows, steps = 16, 1 if quick else 3
    trl = {"rows": rows, "options": {}}
    return Work(
        "sft",
        f"sft, {_of(sizes(quick)['small'])}, steps of {rows} conversations, at most 512 tokens each",
        "useful tokens",
        ("sft", "small"),
        {"model": "small", "rows": rows, "steps": steps, "longest": 512},
        (
            Side("TRL as it comes", "trainers.sft", settings={"options": {"gradient_checkpointing": True}}),
            Side("TRL padding", "trainers.sft", settings=trl),
            Side(
                "TRL group_by_length", "trainers.sft",
                settings=trl | {"options": {"train_sampling_strategy": "group_by_length"}},
            ),
            Side(
                "TRL packing", "trainers.sft",
                settings=trl | {"options": {"packing": True, "per_device_train_batch_size": 4}},
            ),
            Side(FLOOR, "ours.products", OWN, TUNED | {"floor": None}),
            Side(OURS, "ours.sft", OWN, TUNED),
        ),
        (
            Target(OURS, "TRL as it comes", 5.0), Target(OURS, "TRL group_by_length", 2.0), Target(OURS, FLOOR, 0.75),
        ),
        rounds,
        ("TRL as it comes", "TRL padding", OURS),
        "`as it comes` is SFTTrainer's default, padding with gradient checkpointing, but in float32 and with the batch "
        "of the others; `padding` has the checkpointing off. A step of `packing` is 4 rows of 512 tokens, about as "
        "many as 16 conversations have. SFTTrainer also measures entropy and accuracy of the tokens. Grouping and "
        "packing change which rows meet in a step: their losses are not in the picture. The products alone are those "
        "of a mean step.",
    )  # fmt: skip


def _reward(answers: int, factor: float, rounds: int, size: dict[str, int]) -> Work:
    steps = {2: 3, 4: 2}[answers]
    own = {"architecture": "llama", "layers": size["layers"], "width": size["width"]}
    return Work(
        f"reward-{answers}",
        f"reward, {size['layers']}L/{size['width']}, K={answers}, steps of 16 prompts (TRL: of 16 pairs)",
        "pairs",
        (f"reward-{answers}",),
        {"model": f"reward-{answers}", "rows": 16, "steps": steps, "answers": answers, "size": own},
        (Side("RewardTrainer of TRL", "trainers.reward"), Side(OURS, "ours.reward", OWN, TUNED)),
        (Target(OURS, "RewardTrainer of TRL", factor),),
        rounds,
        ("RewardTrainer of TRL", OURS) if answers == 2 else (),
        {
            2: "The same 16 pairs a step on both sides, in the same order.",
            4: "TRL knows pairs alone: a ranking of 4 answers is 6 examples, shuffled, 16 a step; ours takes 16 "
            "rankings a step. Answers beyond those of a row are other rows' answers.",
        }[answers],
    )


def _generate(name: str, prompts: tuple[int, int], answer: int | None, factor: float, rounds: int, quick: bool) -> Work:
    rows = 16 if quick else 64
    behind = f"{answer} tokens" if answer else "52 tokens on average, 128 at most,"
    long = f"prompts of {prompts[0]} to {prompts[1]}" if prompts[0] < prompts[1] else f"prompts of {prompts[0]}"
    return Work(
        f"generate-{name}",
        f"generate, {_of(sizes(quick)['small'])}, {rows} answers of {behind} behind {long}",
        "tokens of answers",
        ("small",),
        {"model": "small", "rows": rows, "prompts": prompts, "answer": answer},
        (Side("generate of transformers", "plain.generate"), Side(OURS, "ours.generate", OWN, TUNED)),
        (Target(OURS, "generate of transformers", factor),),
        rounds,
        (),
        "The lengths are set on both sides (ours by its draws, generate by a stopping rule); what is written differs, "
        "since the draws do.",
    )


def _ppo(name: str, answer: int | None, critic: str, factor: float, rounds: int, quick: bool) -> Work:
    rows = 8 if quick else 32
    behind = f"{answer} tokens" if answer else "52 tokens on average, 128 at most"
    same = critic == "separate"
    return Work(
        f"ppo-{name}",
        f"ppo, {_of(sizes(quick)['small'])}, {rows} answers of {behind}"
        + ("" if same else "; ours also with a shared trunk"),
        "answers",
        ("small", "ppo"),
        {
            "model": "small", "rows": rows, "prompts": (32, 64), "answer": answer, "epochs": 4, "minibatches": 2,
            "micro_rows": 16, "kl": 0.05, "lam": 0.95, "clip": 0.2, "value_coef": 0.1, "lr": 1e-5,
        },
        (
            Side("plain PPO", "plain_ppo.ppo"),
            Side(OURS, "ours.ppo", OWN, TUNED | {"critic": "separate"}),
            *(() if same else (Side(f"{OURS}, shared", "ours.ppo", OWN, TUNED | {"critic": "shared"}),)),
        ),
        (Target(OURS if same else f"{OURS}, shared", "plain PPO", factor),),
        rounds,
        (),
        "TRL 1.16 has no PPO: `plain PPO` is our own writing of what its last one did (bench/peers/plain_ppo.py), "
        "without its statistics of entropy, which would only slow it. Policy, value, reference and reward model start "
        "from the same weights on both sides; 4 passes of 2 updates. A shared trunk is another algorithm.",
    )  # fmt: skip


def _core(rounds: int, quick: bool) -> Work:
    def side(tune: bool, beside: bool) -> Side:
        return Side(name[tune, beside], "ours.pretrain", OWN, {"tune": tune, "beside": beside})

    name = {
        (True, False): OURS, (True, True): "beside a busy loop",
        (False, False): "launch.tune=false", (False, True): "launch.tune=false, beside it",
    }  # fmt: skip
    rows = 2 if quick else 8
    return Work(
        "core",
        f"one core taken: pretrain, {_of(sizes(quick)['small'])}, with and without the machine's settings",
        "tokens",
        ("text", "small"),
        {"model": "small", "rows": rows, "width": WIDTH, "steps": 4},
        tuple(side(tune, beside) for tune in (True, False) for beside in (False, True)),
        (Target(name[True, True], OURS, 2.2, most=True),),
        rounds,
        (),
        "The busy loop is a process of our own, begun and ended with each round, its start and end within the time and "
        "its CPU time in that column.",
    )
