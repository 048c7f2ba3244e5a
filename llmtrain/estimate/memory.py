"""Bytes of one process: weights, gradients, optimizer, what the backward keeps, logits, key-value cache.

The counts are of the tensors that this program's forward keeps (models/causal.py, models/attention.py, the blocks of
transformers) and holds at its worst moment; tests/estimate measures them. Letters as in shape.py; N tokens, M targets.

`wide` is what float32 takes, 4 bytes; `narrow` what matrices are multiplied in, 4 or (bfloat16) 2.
"""

import math

from llmtrain.estimate.shape import Decoding, Load, Shape

WIDE = 4
MOMENTS = 2  # of AdamW, float32
PREFILL = 8192  # tokens of prompts that are read at once, as rollout/sample.py has it
LARGE = 32768  # from this vocabulary on logits are made in chunks (objectives/linear.py), by bench/head.py
LARGE_SUMMED = 4096  # the same of a summed loss, where it is also faster: 1.4x the head's speed
CHUNK = 2**25  # bytes of logits at a time; on a GPU eight times that, which there is a hundredth of the memory


def at_once(vocab: int, *, summed: bool = False, gpu: bool = False) -> int | None:
    """Of how many targets the logits are made at a time; None where all are. summed: all weigh the same in the loss."""
    large = LARGE_SUMMED if summed else LARGE
    return max(1, CHUNK * (8 if gpu else 1) // (vocab * WIDE)) if vocab >= large else None


def weights(shape: Shape) -> int:
    """Parameters in float32."""
    return shape.parameters * WIDE


def gradients(shape: Shape) -> int:
    return sum(map(math.prod, shape.learning.values())) * WIDE


def moments(shape: Shape) -> int:
    return MOMENTS * gradients(shape)


def kept(shape: Shape, load: Load, narrow: int) -> int:
    """Activations that wait for the backward, the logits apart.

    Under adapters norms and head do not learn and keep nothing for it; inputs of layers are kept as ever, now for
    theirs, which is an upper bound where not all layers have one.
    """
    s, half, whole = shape, narrow < WIDE, not shape.adapters
    attention = (2 * s.heads + 2 * s.kv_heads) * s.head_width  # q, k, v in their blocks, and what comes out
    if s.gated:  # both norms keep what they read and what they make of it; gate, its SiLU, up, and their product
        residual, inputs, feed = (4 if whole else 2) * s.width, 2 * s.width, 4 * s.ffn_width
        copies = 3 * s.width if half else 0  # a cast for each of q, k, v and of gate, up, not for each norm
    else:  # GELU by tanh keeps five
        residual, inputs, feed, copies = 2 * s.width, 2 * s.width, 5 * s.ffn_width, 0
    in_narrow = s.heads * s.head_width + inputs + copies + feed
    layer = (residual + 4) * WIDE + in_narrow * narrow + _dropped(s, load)
    slot = s.heads * WIDE + attention * narrow
    last = (2 if s.gated and whole else 1) * s.width * WIDE * load.tokens
    asked = s.width * narrow * load.targets if whole or in_chunks(s, load) else 0
    still = last + asked + casts(s, narrow)
    return (s.layers * layer + s.ranks * narrow) * load.tokens + s.layers * slot * load.slots + still


def casts(shape: Shape, narrow: int) -> int:
    """Matrices in the format that they are multiplied in, where that is not their own: one for each forward."""
    return (shape.matrices + shape.extra + shape.head) * narrow if narrow < WIDE else 0


def _dropped(shape: Shape, load: Load) -> int:
    """Bytes a token and layer for dropout: attention falls back to plain products, which keep their squares thrice."""
    if not shape.dropout or not load.tokens:
        return 0
    masks = 0 if shape.gated else 2 * shape.width
    return (masks + 3 * shape.heads * load.squares // load.tokens) * WIDE


def logits(shape: Shape, load: Load) -> int:
    """One [M, V] in float32, or of a large vocabulary a chunk of it."""
    together = min(load.targets, at_once(shape.vocab, summed=load.summed) or load.targets)
    return 0 if shape.scalar else together * shape.vocab * WIDE


def in_chunks(shape: Shape, load: Load) -> bool:
    """Whether the logits are made a chunk at a time, and none waits for the backward."""
    return not shape.scalar and at_once(shape.vocab, summed=load.summed) is not None


def turning(shape: Shape, load: Load, narrow: int) -> int:
    """What comes on top of `kept` at the worst moment of a backward.

    At the head the kept log-probabilities, their gradient and that of the logits stand side by side; behind it the
    head's own gradient, not yet added to an earlier one; in a feed-forward layer the gradients of two products; where
    prompts are laid out again those of attention's blocks, the feed-forward part of the layer gone by then. In chunks
    the logits, their log-probabilities and the gradients of both sides of the head's product are there at once.
    """
    one, head = logits(shape, load), 0 if shape.adapters else shape.head * WIDE
    feed = (2 * shape.ffn_width + 2 * shape.width) * load.tokens * WIDE
    laid = (2 * shape.heads + 2 * shape.kv_heads) * shape.head_width * load.slots
    inside = max(feed, (laid - 4 * shape.ffn_width * load.tokens) * narrow)
    if in_chunks(shape, load):
        return max(2 * one + head + shape.width * narrow * load.targets, inside)
    return max(3 * one, one + head, inside)


def passing(shape: Shape, load: Load) -> int:
    """A forward that keeps nothing, at its worst layer or at the head."""
    feed = ((4 if shape.gated else 5) * shape.ffn_width + 2 * shape.width) * load.tokens
    attention = (4 * load.tokens + 6 * load.slots) * shape.width
    return max(max(feed, attention) * WIDE, 2 * logits(shape, load))


def cache(shape: Shape, asked: Decoding, narrow: int) -> int:
    """Room for keys and values of all rows that are decoded at once, taken beforehand."""
    return 2 * shape.layers * asked.rows * shape.kv_heads * shape.head_width * (asked.prompt + asked.new) * narrow


def choosing(shape: Shape, asked: Decoding) -> int:
    """Beside the cache: a forward of as many prompts as are read at once, or at the head five times [rows, V]."""
    prompts = Load(min(asked.rows * asked.prompt, PREFILL), 0, asked.rows)
    return max(passing(shape, prompts), 5 * asked.rows * shape.vocab * WIDE)
