"""The cache of slots: what a layer finds in it is what was written for that row, wherever the row stands."""

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, GPTNeoXConfig, LlamaConfig, MistralConfig, OPTConfig

from llmtrain.data.pack import pack
from llmtrain.errors import InitError
from llmtrain.models import causal
from llmtrain.models.attention import PACKED
from llmtrain.rollout.kvcache import Cache, attend, caching, states
from llmtrain.rollout.sample import cache_bytes

CPU = torch.device("cpu")
SMALL = dict(vocab_size=40, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64)
KINDS = {
    "grouped": LlamaConfig(**SMALL, intermediate_size=48, num_key_value_heads=2),
    "window": MistralConfig(**SMALL, intermediate_size=48, num_key_value_heads=2, sliding_window=6),
    "neox": GPTNeoXConfig(**SMALL, intermediate_size=48),
    "opt": OPTConfig(**SMALL, ffn_dim=48, word_embed_proj_dim=32, dropout=0.0),
}


def built(kind):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(KINDS[kind], attn_implementation=PACKED)
    return causal.prepare(model, CPU, torch.float32)


def drawn(tokens, seed):
    """[1,H,T,D] with H 2 and D 3."""
    return torch.randn(1, 2, tokens, 3, generator=torch.Generator().manual_seed(seed))


def test_rows_are_kept_from_the_left_and_move_whole():
    cache, layer, prompts = Cache(3, 5, CPU), nn.Identity(), pack([[7, 7], [7, 7, 7]])
    cache.prompts(prompts, 1)  # slots 1 and 2
    key, value = drawn(5, 0), drawn(5, 1)
    keys, values = cache.write(layer, key, value)
    assert torch.equal(keys[1, :2], key[0].transpose(0, 1)[:2])
    assert torch.equal(values[2, :3], value[0].transpose(0, 1)[2:])
    assert cache.bias.isfinite().sum(1).tolist() == [0, 2, 3]
    cache.move(torch.tensor([0]), torch.tensor([2]), 3)
    assert torch.equal(keys[0, :3], keys[2, :3]) and cache.bias[0].isfinite().sum() == 3
    cache.step(torch.tensor([3, 2]), 4)
    new = torch.randn(2, 2, 1, 3)
    cache.write(layer, new, new)
    assert torch.equal(keys[0, 3], new[0, :, 0]) and torch.equal(keys[1, 2], new[1, :, 0])
    assert cache.window(None).isfinite().flatten(1).sum(1).tolist() == [4, 3]
    assert cache.window(2)[:, 0, 0].isfinite().tolist() == [[False, False, True, True], [False, True, True, False]]
    cache.prompts(pack([[7]]), 0)  # another row in a slot that was used
    assert cache.bias.isfinite().sum(1).tolist() == [1, 3, 3]


def test_a_step_takes_no_new_memory():
    cache, layer = Cache(2, 4, CPU), nn.Identity()
    places = set()
    for at in range(4):
        cache.step(torch.full((2,), at), at + 1)
        places.add(cache.write(layer, torch.ones(2, 3, 1, 8), torch.ones(2, 3, 1, 8))[0].data_ptr())
    assert len(places) == 1 and cache.bytes == 2 * 2 * 4 * 3 * 8 * 4  # two, slots, room, heads, width, float32


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_tokens_one_by_one_give_what_plain_transformers_gives(kind):
    model, rows = built(kind), [[5, 6, 7, 8, 9, 3, 4, 2, 11, 12], [9, 8, 3, 30, 31, 32, 2, 21]]
    model.set_attn_implementation("eager")
    whole = [model.base_model(torch.tensor([r]), use_cache=False).last_hidden_state[0] for r in rows]
    model.set_attn_implementation(PACKED)
    starts, found = [3, 1], [[], []]
    with caching(model):
        cache = Cache(2, 10, CPU)
        packed = pack([r[:n] for r, n in zip(rows, starts, strict=True)])
        cache.prompts(packed, 0)
        states(model, packed.ids[None], packed.positions[None], cache)
        for t in range(7):
            at = torch.tensor([n + t for n in starts])
            ids = torch.tensor([[r[n + t]] for r, n in zip(rows, starts, strict=True)])
            cache.step(at, int(at.max()) + 1)
            for into, state in zip(found, states(model, ids, at[:, None], cache)[:, 0], strict=True):
                into.append(state)
    for n, into, expected in zip(starts, found, whole, strict=True):
        torch.testing.assert_close(torch.stack(into), expected[n : n + 7], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(("kind", "size"), [("grouped", 2 * 2 * 2 * 8 * 4), ("opt", 2 * 2 * 4 * 8 * 4)])
def test_memory_of_a_token_is_known_beforehand(kind, size):
    assert cache_bytes(built(kind)) == size  # layers, keys and values, heads of theirs, width, float32


def test_half_precision_is_kept_in_half():
    model = built("grouped")
    model.llmtrain_dtype = torch.bfloat16
    assert cache_bytes(model) == 2 * 2 * 2 * 8 * 2


def test_a_model_that_hands_no_arguments_on_is_refused():
    x = torch.zeros(1, 2, 1, 3)
    with pytest.raises(InitError, match="Identity does not hand"):
        attend(nn.Identity(), x, x, x, None)
