"""vLLM in the place of our own engine (pip install 'llmtrain[vllm]'), on a GPU: for models too large for it.

It holds weights of its own, which are written to a folder and read again before each batch; between batches it sleeps,
so that training has the memory. Log-probabilities that train anything are computed by our own model, as always.
"""

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from llmtrain.errors import ConfigError
from llmtrain.rollout.sample import Completion

MEMORY = 0.4  # of the GPU's, while it is awake


class Engine:
    """One vLLM in this process, for one configuration of a model."""

    def __init__(self, model: PreTrainedModel):
        """Raises ConfigError where vLLM is not installed or the model lies on no GPU."""
        if model.device.type != "cuda":
            raise ConfigError(f"sampling.engine=vllm needs a GPU, the model is on {model.device}; give own")
        try:
            import vllm
        except ImportError:
            raise ConfigError("sampling.engine=vllm: vLLM is not installed; pip install 'llmtrain[vllm]'") from None
        self.params: Any = vllm.SamplingParams
        self.folder = TemporaryDirectory(prefix="llmtrain-vllm-")
        model.save_pretrained(self.folder.name)
        self.config = model.config.to_dict()  # saving writes into it
        self.llm = vllm.LLM(
            model=self.folder.name,
            skip_tokenizer_init=True,
            trust_remote_code=False,
            generation_config="vllm",  # none of the model's own
            logprobs_mode="processed_logprobs",  # behind the temperature, as ours
            enable_sleep_mode=True,
            gpu_memory_utilization=MEMORY,
        )
        self.llm.sleep(level=2)

    def write(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], params: list[Any]) -> list[Any]:
        """vLLM's outputs for these prompts under the model's weights of now."""
        model.save_pretrained(Path(self.folder.name))
        self.llm.wake_up(tags=["weights"])
        self.llm.collective_rpc("reload_weights")
        self.llm.wake_up(tags=["kv_cache"])
        try:
            outputs = self.llm.generate([{"prompt_token_ids": list(p)} for p in prompts], params, use_tqdm=False)
        finally:
            self.llm.sleep(level=2)
        return list(outputs)


_engine: list[Engine] = []  # the one of this process: a second would not fit beside it


def generate(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float,
    eos_id: int,
    uniforms: Tensor | None = None,
    batch_rows: int = 256,
    should_stop: Callable[[], None] | None = None,
) -> list[Completion]:
    """As sample.generate; a row's draws come from a seed made of its uniforms. vLLM is not stopped within a batch."""
    if not prompts:
        return []
    if should_stop is not None:
        should_stop()
    if not _engine or _engine[0].config != model.config.to_dict():
        _engine[:] = []
        _engine.append(Engine(model))
    engine = _engine[0]
    draws: list[Tensor | None] = [None] * len(prompts) if uniforms is None else list(uniforms)
    params = [
        engine.params(
            max_tokens=max_new_tokens,
            temperature=temperature,
            stop_token_ids=[eos_id],
            seed=None if draw is None else zlib.crc32(draw.numpy().tobytes()),
            logprobs=None if draw is None else 0,  # of the sampled token alone
            detokenize=False,
        )
        for draw in draws
    ]
    return [_completion(o.outputs[0], eos_id) for o in engine.write(model, prompts, params)]


def _completion(output: Any, eos_id: int) -> Completion:
    ids = list(output.token_ids)
    said = [] if output.logprobs is None else [at[i].logprob for i, at in zip(ids, output.logprobs, strict=True)]
    return Completion(ids, ids[-1] == eos_id, torch.tensor(said))
