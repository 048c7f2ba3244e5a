"""What each command needs, told from its configuration: which models, what they read at once and in a step, how often.

Rows are taken at their longest (data.max_length, sampling.max_new_tokens) and every token as a target where the stage
has text: what is told of memory is an upper bound, reached when a micro-batch of full rows comes. Of rankings the part
that is prompt, which the answers share, is the mean of sampled ones.
"""

import math
from collections.abc import Callable
from typing import Any

from llmtrain.config.choices import AdvantageName, Annotator, CriticName, Device, Dtype, JudgeName
from llmtrain.config.schema import DPO, PPO, SFT, Eval, Pretrain, Reward, Sample, Training
from llmtrain.data.records import Kind
from llmtrain.estimate import flops, memory, needs
from llmtrain.estimate.flops import Work
from llmtrain.estimate.memory import WIDE
from llmtrain.estimate.needs import Model, Needs
from llmtrain.estimate.shape import Decoding, Load, Shape, fitting, head, sequences
from llmtrain.stages import amounts, lineup
from llmtrain.stages.blueprints import Blueprints
from llmtrain.stages.preflight import LATEST

SHOWN = 8  # held-out prompts that sft answers at each evaluation
HALF = 2
SHARES = (0.0, 0.75)  # of a prompt in its text and one answer's where no data tells: whichever takes more memory


def forecast(config: Any, prints: Blueprints, cuda: bool) -> Needs:
    """The needs of one process of a stage. Raises InitError for a model that is not there.

    cuda: whether it will run on a GPU.
    """
    narrow = HALF if config.launch.dtype is Dtype.bfloat16 or (config.launch.dtype is Dtype.auto and cuda) else WIDE
    return STAGES[config.command](config, prints, narrow)


def on_cuda(config: Any, there: bool) -> bool:
    return config.launch.device is Device.cuda or (config.launch.device is Device.auto and there)


def _pretrain(config: Pretrain, prints: Blueprints, narrow: int) -> Needs:
    own = prints.new(config) if config.init is None else _at(config, prints, "init", config.init)
    shape = prints.shape(own, dropout=config.model.dropout)
    length, rows = config.data.max_length, config.batch.rows
    one = sequences(1, length, length, summed=True)
    micro, batches = _micro(rows, length + 1, one, config.batch.micro_tokens)
    samples = _asked(config, len(config.sample_prompts), own.max_position_embeddings - config.sampling.max_new_tokens)
    model = Model("policy", shape, trained=True, load=micro, asked=samples)
    step = one * rows
    held = flops.forward(shape, one * config.data.eval_rows)
    work = flops.training(shape, step), held + flops.decoding(shape, samples, narrow, narrow)
    return _trained(config, narrow, (model,), ("",), batches, step, work, amounts.pieces(config), prints)


def _sft(config: SFT, prints: Blueprints, narrow: int) -> Needs:
    shape = prints.shape(_at(config, prints, "init", config.init))
    length, rows = config.data.max_length, config.batch.rows
    one = sequences(1, length, length - 1, summed=True)
    micro, batches = _micro(rows, length, one, config.batch.micro_tokens)
    samples = _asked(config, SHOWN, length)
    model = Model("policy", shape, trained=True, load=micro, asked=samples)
    held = flops.forward(shape, one * config.data.eval_rows) + flops.decoding(shape, samples, narrow, narrow)
    work = flops.training(shape, one * rows), held
    counted = amounts.rows(config, Kind.chat)
    return _trained(config, narrow, (model,), ("",), batches, one * rows, work, counted, prints)


def _reward(config: Reward, prints: Blueprints, narrow: int) -> Needs:
    own = _at(config, prints, "init", config.init)
    shape = prints.shape(own, scalar=True)
    one, micro, batches = _ranked(config, prints, shape, narrow)
    models = (Model("judge", shape, trained=True, load=micro), Model("init", prints.shape(own)))
    step = one * config.batch.rows
    work = flops.training(shape, step), flops.forward(shape, one * config.data.eval_rows)
    counted = _rankings(config, prints)
    return _trained(config, narrow, models, ("model.",), batches, step, work, counted, prints)


def _dpo(config: DPO, prints: Blueprints, narrow: int) -> Needs:
    own, length = _at(config, prints, "init", config.init), config.data.max_length
    shape = prints.adapted(own, config.adapter)
    one, micro, batches = _ranked(config, prints, shape, narrow)
    graded = config.data.world is not None
    asked = _asked(config, config.data.eval_rows, length) if graded else None
    policy = Model("policy", shape, trained=True, load=micro, asked=asked)
    models = (policy,) if config.adapter.rank else (policy, Model("reference", shape, load=micro))
    step = one * config.batch.rows
    held = flops.forward(shape, one * config.data.eval_rows)
    held += flops.decoding(shape, asked, narrow, narrow) if asked else Work()
    counted = _rankings(config, prints)
    return _trained(config, narrow, models, ("",), batches, step, (flops.training(shape, step), held), counted, prints)


def _ppo(config: PPO, prints: Blueprints, narrow: int) -> Needs:
    own = _at(config, prints, "init", config.init)
    shape, rows = prints.adapted(own, config.adapter), config.batch.rows
    new, prompt = config.sampling.max_new_tokens, config.data.max_length
    k, minibatch = config.advantage.answers, rows // config.minibatches
    fit = min(minibatch, fitting(config.batch.micro_tokens, prompt + new, together=k, shared=prompt))
    k = min(k, fit)  # answers that a micro-batch parts read their prompt again
    micro, whole = (sequences(count, prompt + new, new, together=k, shared=prompt) for count in (fit, rows))
    rollout, eval_rows = _asked(config, rows, prompt), config.data.eval_rows
    held = _asked(config, eval_rows, prompt)
    models = [Model("policy", shape, trained=True, load=micro, asked=max(rollout, held, key=lambda d: d.rows))]
    reference = config.reference or config.init
    frozen = prints.shape(_at(config, prints, "reference", reference))
    scored = flops.forward(shape, whole) + flops.forward(frozen, whole)
    learnt = flops.training(shape, whole)
    judge = own
    if config.judge.name is JudgeName.reward:
        assert config.judge.init is not None  # config/ppo.py
        judge = _at(config, prints, "judge.init", config.judge.init)
    scorer = prints.shape(judge, scalar=True)
    prefixes: tuple[str, ...] = ("policy.",)
    if config.advantage.critic is CriticName.shared:
        models.append(Model("critic", head(shape.width), trained=True))
        prefixes = ("policy.", "critic.")
    elif config.advantage.name is AdvantageName.gae:
        prefixes = ("policy.", "critic.model.")
        models.append(Model("critic", scorer, trained=True, load=micro))
        scored, learnt = scored + flops.forward(scorer, whole), learnt + flops.training(scorer, whole)
    if reference != config.init or not config.adapter.rank:
        models.append(Model("reference", frozen, load=micro))
    answered = flops.decoding(shape, held, narrow, narrow)
    if config.judge.name is JudgeName.reward:
        models.append(Model("judge", scorer, load=micro))
        scored += flops.forward(scorer, whole)
        answered += flops.forward(scorer, sequences(eval_rows, prompt + new, new))
    step = flops.decoding(shape, rollout, narrow, narrow) + scored + learnt * config.ppo_epochs
    counted = amounts.rows(config, Kind.prompt)
    counted = counted and counted * config.advantage.answers
    work, batches = (step, answered), -(-minibatch // fit)
    return _trained(config, narrow, tuple(models), prefixes, batches, whole * config.ppo_epochs, work, counted, prints)


def _sample(config: Sample, prints: Blueprints, narrow: int) -> Needs:
    shape = prints.shape(_at(config, prints, "init", config.init))
    prompts = amounts.rows(config, Kind.prompt)
    each = config.answers + len(config.policies) * max(1, config.answers // 2)
    held = config.held_out * config.answers if config.annotate is Annotator.simulated else 0
    count = math.ceil(prompts) * each + held if prompts else config.sampling.batch_rows
    asked = _asked(config, count, config.data.max_length)
    prints.answers, prints.rankings = each + config.foreign, prompts  # for the stages behind it in a pipeline
    prints.share = amounts.share_of_world(config)
    work = flops.decoding(shape, asked, narrow, narrow)
    notes = tuple(prints.notes)
    models = (Model("policy", shape, asked=asked),)
    return Needs(
        "sample",
        models,
        narrow,
        config.launch.nproc_per_node,
        0,
        0,
        work,
        1 if prompts else None,
        Work(),
        0,
        0,
        0,
        notes,
    )


def _eval(config: Eval, prints: Blueprints, narrow: int) -> Needs:
    named = {key: init for key, init in lineup.named(config).items() if init is not None}
    rows, length = config.data.eval_rows, config.data.max_length
    asked = _asked(config, rows, length)
    read = sequences(max(1, config.micro_tokens // length), length, length)
    models, work = [], Work()
    for key, init in named.items():
        judge = key == lineup.JUDGE
        shape = prints.shape(prints.at(config, key, init, lineup.stages_of(key, init)), scalar=judge)
        models.append(Model(key, shape, load=read, asked=None if judge else asked))
        work += flops.forward(shape, sequences(rows, length, length))
        work += Work() if judge else flops.decoding(shape, asked, narrow, narrow)
    notes = tuple(prints.notes)
    return Needs("eval", tuple(models), narrow, config.launch.nproc_per_node, 0, 0, work, 1, Work(), 0, 0, 0, notes)


STAGES: dict[str, Callable[[Any, Blueprints, int], Needs]] = {
    "pretrain": _pretrain,
    "sft": _sft,
    "sample": _sample,
    "reward": _reward,
    "ppo": _ppo,
    "dpo": _dpo,
    "eval": _eval,
}


def _at(config: Any, prints: Blueprints, key: str, init: str) -> Any:
    return prints.at(config, key, init, LATEST[config.command, key])


def _micro(count: int, cost: int, one: Load, budget: int) -> tuple[Load, int]:
    """The largest micro-batch of `count` units that cost so many tokens each, and how many of them there are."""
    fit = min(count, max(1, budget // cost))
    return one * fit, -(-count // fit)


def _ranked(config: Any, prints: Blueprints, shape: Shape, narrow: int) -> tuple[Load, Load, int]:
    """A prompt with its answers, the largest micro-batch of them, and how many of these a step has.

    A judge is asked once an answer, a policy for all tokens of it.
    """
    length, k = config.data.max_length, prints.answers or amounts.answers(config)
    known = prints.share if prints.answers else amounts.share(config)
    if known is None:
        note = f"no rankings to see yet: prompts of none or {SHARES[-1]:.0%} of data.max_length, the worse for memory"
        prints.notes[note] = None
    found = []
    for share in SHARES if known is None else (known,):
        prompt = min(max(1, round(share * length)), length - 1)
        one = sequences(k, length, 1 if shape.scalar else length - prompt, together=k, shared=prompt)
        found.append((one, *_micro(config.batch.rows, one.tokens, one, config.batch.micro_tokens)))
    return max(found, key=lambda loads: memory.kept(shape, loads[1], narrow) + memory.turning(shape, loads[1], narrow))


def _asked(config: Any, answers: int, prompt: int) -> Decoding:
    """What a process samples of `answers` in all; the processes of a run share them."""
    s, mine = config.sampling, -(-answers // config.launch.nproc_per_node)
    return Decoding(answers, max(1, min(s.batch_rows, mine)), prompt, s.max_new_tokens)


def _trained(
    config: Training,
    narrow: int,
    models: tuple[Model, ...],
    prefixes: tuple[str, ...],
    batches: int,
    step: Load,
    work: tuple[Work, Work],
    rows: float | None,
    prints: Blueprints,
) -> Needs:
    """The needs of a training stage; work is that of a step and of an evaluation."""
    steps, loop = amounts.steps(config, rows), config.loop
    often, saves = loop.eval_every, loop.save_every
    total = steps or 0
    evaluated = total // often + total // saves - total // math.lcm(often, saves) + 1
    kept = min(
        -(-total // saves) if steps else loop.keep_last + loop.keep_best + 1, loop.keep_last + loop.keep_best + 1
    )
    size = needs.checkpoint(models, prefixes)
    notes = tuple(prints.notes)
    return Needs(
        config.command,
        models,
        narrow,
        config.launch.nproc_per_node,
        batches,
        step.tokens,
        work[0],
        steps,
        work[1],
        evaluated,
        size,
        kept,
        notes,
    )


def _rankings(config: Any, prints: Blueprints) -> float | None:
    """Prompts with their answers: of a pipeline each round's, else what the files hold."""
    if prints.rankings:
        return prints.rankings * len(config.data.path)
    return amounts.rows(config, Kind.ranking)
