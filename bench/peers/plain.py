"""The plain training script that people write: windows, whole logits, AdamW; transformers' model and attention."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

from bench.peers.decoding import generated, left_padded, workload
from bench.peers.side import Done, Gate
from bench.peers.windows import ADAMW, CLIP, Windows


def pretrain(gate: Gate, asked: dict[str, Any]) -> None:
    """Next-token loss on windows of text."""
    torch.set_num_threads(asked["threads"])
    folder, rows = Path(asked["folder"]), asked["rows"]
    model = AutoModelForCausalLM.from_pretrained(folder / asked["model"], dtype=torch.float32).train()
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    spared = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decayed}, {"params": spared, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, fused=True, **ADAMW)
    windows, taken = Windows(folder / "text.npy", asked["width"], rows), 0

    def step() -> float:
        nonlocal taken
        ids = torch.stack([torch.from_numpy(windows[taken * rows + i]) for i in range(rows)])
        logits = model(ids[:, :-1], use_cache=False).logits
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        taken += 1
        return float(loss.detach())

    def work() -> Done:
        losses = [step() for _ in range(asked["steps"])]
        return Done(asked["steps"] * rows * asked["width"], losses)

    gate.ready()
    gate.serve(work)


def generate(gate: Gate, asked: dict[str, Any]) -> None:
    """Transformers' generate, its own cache, prompts padded on the left."""
    torch.set_num_threads(asked["threads"])
    model = AutoModelForCausalLM.from_pretrained(Path(asked["folder"]) / asked["model"], dtype=torch.float32).eval()
    prompts, lengths = workload(asked["rows"], asked["prompts"], asked["answer"], model.config.vocab_size)
    padded = left_padded(prompts)

    def work() -> Done:
        generated(model, *padded, lengths)
        return Done(int(lengths.sum()))

    gate.ready()
    gate.serve(work)


SIDES = {"pretrain": pretrain, "generate": generate}
