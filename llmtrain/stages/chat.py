"""chat: talk to models, in the terminal, in a page, or from a script. Nothing is trained and no run is left behind."""

import io
import os
import signal
import sys
from functools import partial

from rich.console import Console
from torch import Tensor

from llmtrain.chat import script, terminal
from llmtrain.chat.conversation import Conversation
from llmtrain.chat.panel import Panel, Scorer, Voice
from llmtrain.config.choices import AnswerFormat
from llmtrain.config.schema import Chat
from llmtrain.errors import Interrupted
from llmtrain.models import scalar
from llmtrain.rollout.judge import RewardJudge
from llmtrain.run import lineage
from llmtrain.run.seeding import generator
from llmtrain.run.signals import StopSignal
from llmtrain.stages import lineup, setup
from llmtrain.stages.lineup import JUDGE

MICRO_TOKENS = 8192  # of the judge, which reads one answer at a time


def talk(config: Chat) -> int:
    """Load the models and let somebody talk to them; returns the exit code. Raises what loading and answering raise."""
    try:
        panel, heat = opened(config), config.sampling.temperature
        if config.web:
            from llmtrain.chat import page  # the others need no server

            with StopSignal() as stop:  # the page has nothing to save: a signal is its ordinary end
                page.serve(
                    panel,
                    config.system,
                    heat,
                    host=config.page.host,
                    port=config.page.port,
                    allow_remote=config.page.allow_remote,
                    tell=partial(print, flush=True),
                    poll=lambda: bool(stop.requested),
                )
            return 0
        conversation = Conversation(panel, system=config.system, temperature=heat)
        if config.prompt is None and sys.stdin and sys.stdin.isatty():
            terminal.converse(conversation, Console(highlight=False))
        else:
            asked = script.prompts(config.prompt, sys.stdin.buffer if sys.stdin else io.BytesIO())
            script.answer_all(conversation, asked, sys.stdout, lines=config.format is AnswerFormat.jsonl)
    except KeyboardInterrupt:
        raise Interrupted(signal.SIGINT) from None
    except BrokenPipeError:  # whoever read the answers has enough of them
        silenced()
    return 0


def silenced() -> None:
    """Let Python's last flush of standard output go nowhere, where it would fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def opened(config: Chat) -> Panel:
    """The models of the configuration and their judge. Raises InitError."""
    mesh = setup.mesh_of(config)
    named = lineup.talking(config)
    found = {
        role: lineage.resolve_model(
            init, root=config.run.root, name=config.run.name, stages=lineup.stages_of(role, init)
        )
        for role, init in named.items()
    }
    entries = lineup.labelled(named, found)
    judge = entries.pop(JUDGE, None)
    voices = [
        Voice(
            entry.label,
            setup.model_at(entry.origin.path, mesh).eval(),
            setup.tokenizer_at(entry.origin.path, chat=False),
        )
        for entry in entries.values()
    ]
    scorer = None
    if judge is not None:
        model = scalar.load(judge.origin.path, device=mesh.device, dtype=mesh.dtype).eval().requires_grad_(False)
        tokenizer = setup.tokenizer_at(judge.origin.path, chat=True)
        scorer = Scorer(judge.label, RewardJudge(model, MICRO_TOKENS), tokenizer)
    draws = partial(uniforms, config.seed)
    return Panel(voices, scorer, max_new_tokens=config.sampling.max_new_tokens, draws=draws)


def uniforms(seed: int, number: int, tokens: int) -> Tensor:
    """[1, tokens] draws for the answers to question `number`: all models have the same luck."""
    return Tensor(1, tokens).uniform_(generator=generator(seed, "chat", number))
