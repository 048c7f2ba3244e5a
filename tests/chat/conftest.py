"""The models of the tiny chain, opened as `llmtrain chat` opens them."""

import pytest
import tiny

from llmtrain.chat.panel import Panel
from llmtrain.config.compose import compose_stage
from llmtrain.stages import chat

LONGEST = 24  # tokens of an answer


@pytest.fixture(scope="session")
def config(chain: tiny.Chain):
    """base and sft side by side, scored by the reward run."""
    given = {
        "models": [str(chain.pretrain), str(chain.sft)],
        "judged_by": str(chain.reward),
        "run": {"root": str(chain.root), "name": "t"},
        "launch": {"threads": 1, "device": "cpu"},
        "sampling": {"max_new_tokens": LONGEST},
        "seed": 5,
    }
    return compose_stage("chat", "tiny", given)


@pytest.fixture(scope="session")
def panel(config) -> Panel:
    """Nobody changes it."""
    return chat.opened(config)
