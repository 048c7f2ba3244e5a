"""vLLM as the sampler, a fake in its place: what it is asked, with which weights, and what becomes of its answers."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from llmtrain.errors import ConfigError
from llmtrain.rollout import vllm

EOS = 1


class Fake:
    """Says each prompt backwards and EOS; remembers what happened."""

    def __init__(self, **options):
        self.options, self.calls = options, []

    def sleep(self, level):
        self.calls.append(f"sleep {level}")

    def wake_up(self, tags):
        self.calls.append(f"wake {tags[0]}")

    def collective_rpc(self, name):
        self.weights = load_file(Path(self.options["model"]) / "model.safetensors")
        self.calls.append(name)

    def generate(self, prompts, params, use_tqdm):
        self.calls.append("generate")
        self.params = params
        pairs = zip(prompts, params, strict=True)
        return [SimpleNamespace(outputs=[self._answer(p["prompt_token_ids"], s)]) for p, s in pairs]

    def _answer(self, ids, params):
        said = [*ids[::-1], EOS][: params.max_tokens]
        logprobs = None if params.logprobs is None else [{i: SimpleNamespace(logprob=-i / 10)} for i in said]
        return SimpleNamespace(token_ids=said, logprobs=logprobs)


@pytest.fixture
def installed(monkeypatch):
    module = SimpleNamespace(LLM=Fake, SamplingParams=lambda **given: SimpleNamespace(**given))
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setattr(vllm, "_engine", [])
    return module


@pytest.fixture
def on_a_gpu(model, monkeypatch):
    monkeypatch.setattr(type(model), "device", SimpleNamespace(type="cuda"))
    return model


def test_a_batch_is_written_with_the_weights_of_now(installed, on_a_gpu):
    draws = torch.rand(2, 3, generator=torch.Generator().manual_seed(0))
    asked, polls = [[5, 6], [7, 8, 9]], []
    how = dict(max_new_tokens=3, temperature=0.7, eos_id=EOS, should_stop=lambda: polls.append(1))
    said = vllm.generate(on_a_gpu, asked, uniforms=draws, **how)
    assert [(c.ids, c.ended) for c in said] == [([6, 5, 1], True), ([9, 8, 7], False)]
    torch.testing.assert_close(said[0].logp, torch.tensor([-0.6, -0.5, -0.1]))
    fake = vllm._engine[0].llm
    seeds = [p.seed for p in fake.params]
    assert fake.calls == ["sleep 2", "wake weights", "reload_weights", "wake kv_cache", "generate", "sleep 2"]
    assert {(p.temperature, p.max_tokens, tuple(p.stop_token_ids), p.logprobs) for p in fake.params} == {
        (0.7, 3, (1,), 0)
    }
    with torch.no_grad():
        next(on_a_gpu.parameters()).add_(1.0)
    vllm.generate(on_a_gpu, asked[1:], uniforms=draws[1:], **how)
    assert vllm._engine[0].llm is fake and len(polls) == 2
    assert [p.seed for p in fake.params] == seeds[1:]  # a row's draws do not depend on those beside it
    name, weight = next(iter(on_a_gpu.named_parameters()))
    assert torch.equal(fake.weights[name], weight)


def test_greedy_has_neither_draws_nor_log_probabilities(installed, on_a_gpu):
    (said,) = vllm.generate(on_a_gpu, [[5]], max_new_tokens=4, temperature=0.0, eos_id=EOS)
    assert said.ids == [5, 1] and len(said.logp) == 0
    assert vllm._engine[0].llm.params[0].seed is None


def test_without_a_gpu_or_vllm_it_says_so(installed, model, monkeypatch):
    with pytest.raises(ConfigError, match="needs a GPU, the model is on cpu; give own"):
        vllm.generate(model, [[5]], max_new_tokens=4, temperature=0.0, eos_id=EOS)
    monkeypatch.setattr(type(model), "device", SimpleNamespace(type="cuda"))
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ConfigError, match=r"not installed; pip install 'llmtrain\[vllm\]'"):
        vllm.generate(model, [[5]], max_new_tokens=4, temperature=0.0, eos_id=EOS)
    assert vllm.generate(model, [], max_new_tokens=4, temperature=0.0, eos_id=EOS) == []
