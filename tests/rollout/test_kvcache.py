"""The preallocated cache against the growing one of transformers."""

import torch
from transformers import DynamicCache, LlamaConfig, MistralConfig
from transformers.cache_utils import DynamicSlidingWindowLayer

from llmtrain.rollout.kvcache import RoomyLayer, preallocated


def test_it_holds_what_the_growing_cache_holds():
    config = LlamaConfig(num_hidden_layers=2)
    ours, theirs = preallocated(config, room=9), DynamicCache(config=config)
    draw = torch.Generator().manual_seed(0)
    for rows, tokens, keep in ((4, 5, None), (4, 1, [0, 2, 3]), (3, 1, [2, 0]), (2, 1, [1]), (1, 1, None)):
        for layer in range(2):
            keys, values = (torch.randn(rows, 3, tokens, 8, generator=draw) for _ in range(2))
            for mine, other in zip(ours.update(keys, values, layer), theirs.update(keys, values, layer), strict=True):
                assert torch.equal(mine, other)
        assert ours.get_seq_length() == theirs.get_seq_length()
        assert ours.get_mask_sizes(1, 0) == theirs.get_mask_sizes(1, 0)
        if keep is not None:
            for cache in (ours, theirs):
                cache.batch_select_indices(torch.tensor(keep))


def test_a_step_copies_nothing():
    cache = preallocated(LlamaConfig(num_hidden_layers=1), room=4)
    places = {cache.update(torch.ones(2, 3, 1, 8), torch.ones(2, 3, 1, 8), 0)[0].data_ptr() for _ in range(4)}
    assert len(places) == 1


def test_layers_of_another_kind_stay_what_they_are():
    cache = preallocated(MistralConfig(num_hidden_layers=2, sliding_window=16), room=4)
    assert all(isinstance(layer, DynamicSlidingWindowLayer) for layer in cache.layers)
    assert not any(isinstance(layer, RoomyLayer) for layer in cache.layers)
