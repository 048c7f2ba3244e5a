"""A recorded step: its shapes, and that it changes no answer. The GPU's own recording needs a GPU."""

import pytest
import torch

from llmtrain.rollout import sample
from llmtrain.rollout.graph import Recorded

EOS = 1


def test_shapes_are_rounded_up_and_recorded_once():
    ran, recorded = [], []

    def step(n, used):
        ran.append((n, used))
        return torch.arange(n)[:, None]

    def record(call):
        recorded.append(call)
        return call

    forward = Recorded(step, slots=6, room=200, record=record)
    assert [len(forward(n, used)) for n, used in ((6, 3), (5, 128), (3, 129), (3, 199), (1, 1))] == [6, 5, 3, 3, 1]
    assert ran == [(6, 128), (6, 128), (4, 200), (4, 200), (1, 128)]
    assert len(recorded) == 3


@pytest.mark.parametrize("rows", [3, 5])
def test_answers_are_those_of_the_plain_step(model, prompts, rows, monkeypatch):
    """Replayed as a GPU would: into the memory of the first run, slots that are not in use computed along."""
    draws = torch.rand(len(prompts), 20, generator=torch.Generator().manual_seed(0))
    how = dict(max_new_tokens=20, temperature=0.9, eos_id=EOS, uniforms=draws, batch_rows=rows)
    plain = sample.generate(model, prompts, **how)

    def record(call):
        logits = call()

        def replay():
            return logits.copy_(call())

        return replay

    made = sample._Rows.__init__

    def recording(self, *args):
        made(self, *args)
        self.forward = Recorded(self._forward, self.cache.slots, self.cache.room, record)

    monkeypatch.setattr(sample._Rows, "__init__", recording)
    again = sample.generate(model, prompts, **how)
    assert again == plain
    for one, other in zip(again, plain, strict=True):
        torch.testing.assert_close(one.logp, other.logp, atol=1e-5, rtol=0)
