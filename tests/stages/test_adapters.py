"""ppo and dpo with adapters: what is loaded, learnt, kept and handed on."""

import json
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM

from llmtrain.data.pack import pack
from llmtrain.errors import InitError
from llmtrain.loop.fit import Outcome
from llmtrain.models import causal
from llmtrain.models.lora import Adapters
from llmtrain.run import metrics
from llmtrain.stages import ppo

LORA = {"choose": {"adapter": "lora"}}


def changes(chain: tiny.Chain, command: str, **more) -> dict:
    return tiny.merged(chain.links(command), LORA, more)


def held(*parts: object) -> int:
    """Numbers in the distinct parameters of all modules among `parts`, and of what those hold."""
    modules = [part for part in parts if isinstance(part, nn.Module)]
    return sum(p.numel() for p in {id(p): p for m in modules for p in m.parameters()}.values())


@pytest.fixture
def loaded(monkeypatch) -> list[Path]:
    """Where language models were read."""
    found, load = [], causal.load
    monkeypatch.setattr(causal, "load", lambda path, **options: found.append(path) or load(path, **options))
    return found


def test_the_reference_is_no_second_copy_unless_it_is_another_model(chain, runs, monkeypatch, loaded):
    kept: list[ppo.Alignment] = []
    monkeypatch.setattr(ppo, "fit", lambda learner, *_: kept.append(learner) or Outcome("", "", 0, 0, {}))
    tiny.ran("ppo", runs, **chain.links("ppo"))
    tiny.ran("ppo", runs, **changes(chain, "ppo", reference=str(chain.sft)))  # the name of init by itself
    tiny.ran("ppo", runs, **changes(chain, "ppo", reference=str(chain.pretrain)))
    assert len(loaded) == 2 + 1 + 2
    plain, adapted, other = (held(*vars(learner).values()) for learner in kept)
    one, own = held(kept[1].model), held(kept[1].adapters)
    assert (adapted, other) == (plain - one + own, plain + own)
    assert held(kept[1].trained) == own + held(kept[1].critic)


@pytest.mark.parametrize("command", ["ppo", "dpo"])
def test_a_run_leaves_a_plain_model_and_keeps_its_adapters(command, chain, runs, loaded):
    more = {"advantage": {"critic": "shared"}} if command == "ppo" else {}
    run = tiny.ran(command, runs, **changes(chain, command, optimizer={"lr": 1e-2}, **more))
    assert len(loaded) == 1
    result, newest = json.loads((run / "result.json").read_text()), run / "checkpoints" / "latest"
    assert result["another_algorithm"] == ["adapter.rank=8", *["advantage.critic=shared"] * (command == "ppo")]
    plain, found = AutoModelForCausalLM.from_pretrained(newest, output_loading_info=True)
    assert not any(found.values())
    trainer = load_file(newest / "trainer.safetensors")
    mine = {name for name in trainer if name.startswith("trained.") and "critic" not in name}
    assert len(mine) == 2 * 14 and all(name.endswith((".a", ".b")) for name in mine)  # 2 blocks of 7 layers
    base = causal.load(loaded[0], device=torch.device("cpu"))
    adapters = Adapters(base, rank=8, alpha=16.0, targets=[], seed=99)
    prefix = "trained.policy." if command == "ppo" else "trained."
    adapters.load_state_dict({name: trainer[prefix + name] for name in adapters.state_dict()})
    ids = [5, 9, 3, 40, 7]

    def logits() -> torch.Tensor:
        return causal.logits_at(base, causal.hidden(base, pack([ids])), torch.arange(5)).detach()

    assert float((plain(torch.tensor([ids])).logits[0] - logits()).detach().abs().max()) < 1e-5
    with adapters.off():
        before = logits()
    assert not torch.allclose(before, logits(), atol=1e-3)
    parents = json.loads((run / "lineage.json").read_text())["parents"]
    assert parents["init"]["digest"] == parents["reference"]["digest"]
    kls = [row["ppo/kl"] for row in metrics.read(run / "metrics.jsonl") if "ppo/kl" in row]
    assert command == "dpo" or (kls[0] == 0.0 and all(kl != 0.0 for kl in kls[1:]))


def test_a_target_that_is_no_layer_is_refused(chain, runs):
    with pytest.raises(InitError, match="adapter.targets: q_prj is no linear layer of LlamaForCausalLM; it has q_proj"):
        tiny.ran("dpo", runs, **changes(chain, "dpo", adapter={"targets": ["q_prj"]}))
