"""What the sides load: models with the same initial weights, tokenizers, rows of tokens. Run in our environment.

    python -m bench.peers.prepare FOLDER SETTINGS

Real files where the folder `data` has them (tinyshakespeare.txt, alpaca_en.json, hh_harmless.jsonl.gz), else the
embedded microworld, which is told in sources.json.
"""

import json
import math
import random
import sys
from argparse import Namespace
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from bench import rewards
from llmtrain.data import encode
from llmtrain.data.formats import Record
from llmtrain.data.microworld import rows as microworld
from llmtrain.data.microworld.world import World
from llmtrain.data.records import Chat, Kind, Text
from llmtrain.data.sources import read
from llmtrain.models import causal, scalar
from llmtrain.text import tokenizers

FILES = {"text": "tinyshakespeare.txt", "sft": "alpaca_en.json", "reward": "hh_harmless.jsonl.gz"}
CONTEXT = 1024
STEP = 16  # rows of a step of sft and reward


class Larder:
    """The folder, and what is put there."""

    def __init__(self, folder: Path, asked: dict[str, Any]):
        self.folder, self.sizes, self.rows = folder, asked["sizes"], asked["rows"]
        data = Path(asked["data"]) if asked["data"] else None
        self.files = {k: str(data / name) if data and (data / name).is_file() else None for k, name in FILES.items()}
        made = {"text": microworld.documents, "sft": microworld.demonstrations}
        self.records: dict[str, list[Record]] = {}
        for kind, form in (("text", Kind.text), ("sft", Kind.chat)):
            file = self.files[kind]
            self.records[kind] = list(
                read([file], form, split="train", text_column=None, on_bad_row="skip", limit=None).records
                if file
                else made[kind](World(0), self.rows, 0)
            )
        said = [t for r in self.records["text"] if isinstance(r, Text) for t in [r.text]]
        said += [m.content for r in self.records["sft"] if isinstance(r, Chat) for m in r.messages]
        self.tokenizer = tokenizers.train_bpe(said, self.sizes["small"]["vocab"])
        self._sources()

    def _sources(self) -> None:
        told = {kind: FILES[kind] if file else "microworld" for kind, file in self.files.items()}
        (self.folder / "sources.json").write_text(json.dumps(told))

    def columns(self, kind: str, form: Kind, longest: int) -> list[dict[str, list]]:
        """Rows of tokens."""
        return list(encode.rows(self.records[kind], form, self.tokenizer, longest, Counter()))

    def model(self, name: str) -> None:
        """Random weights, with the tokenizer; its ids may be fewer than the model knows."""
        causal.save(self._built(name), self.tokenizer, self.folder / name)

    def _built(self, name: str) -> PreTrainedModel:
        size = self.sizes[name]
        return causal.build(
            "llama", layers=size["layers"], width=size["width"], heads=size["width"] // 64 or 1,
            ffn_width=math.ceil(size["width"] * 8 / 3), vocab_size=size["vocab"], context=CONTEXT, tie_embeddings=False,
            embedding_std=0.02, init_std=0.0, dropout=0.0, eos_id=self.tokenizer.eos_token_id,
            pad_id=self.tokenizer.pad_token_id, seed=0,
        )  # fmt: skip

    def text(self) -> None:
        """All documents in one line of tokens."""
        rows = self.columns("text", Kind.text, CONTEXT)
        np.save(self.folder / "text.npy", np.concatenate([np.asarray(row["ids"], dtype=np.int32) for row in rows]))

    def sft(self) -> None:
        """Conversations in a drawn order, a whole number of steps."""
        rows = self.columns("sft", Kind.chat, 512)
        random.Random(0).shuffle(rows)
        kept = [{"ids": list(r["ids"]), "mask": [bool(m) for m in r["mask"]]} for r in rows]
        (self.folder / "sft.json").write_text(json.dumps(kept[: len(kept) // STEP * STEP]))

    def reward(self, answers: int) -> None:
        """Rankings with so many answers, and the same as pairs: in their order for K=2, shuffled beyond."""
        size = dict(architecture="llama", layers=self.sizes["small"]["layers"], width=self.sizes["small"]["width"])
        made, tokenizer = rewards.rows(self.files["reward"], answers, 512 // answers)
        made = made[: len(made) // STEP * STEP]
        judging = rewards.learner(Namespace(**size), made, tokenizer)
        folder = self.folder / f"reward-{answers}"
        scalar.save(judging.model, tokenizer, folder)
        pairs = list(rewards.examples(made))
        if answers > 2:
            random.Random(1).shuffle(pairs)
        (folder / "rows.json").write_text(json.dumps(made))
        (folder / "pairs.json").write_text(json.dumps(pairs))

    def ppo(self) -> None:
        """Reward model and critic on the policy's trunk."""
        policy = self._built("small")
        for name, seed in (("judge", 2), ("critic", 1)):
            scalar.save(scalar.from_causal(policy, seed=seed), self.tokenizer, self.folder / name)


def main() -> None:
    """Put there what is asked for: names of models and methods."""
    folder, asked = Path(sys.argv[1]), json.loads(sys.argv[2])
    larder = Larder(folder, asked)
    make = {
        "small": lambda: larder.model("small"), "large": lambda: larder.model("large"), "text": larder.text,
        "sft": larder.sft, "reward-2": lambda: larder.reward(2), "reward-4": lambda: larder.reward(4),
        "ppo": larder.ppo,
    }  # fmt: skip
    for need in asked["needs"]:
        make[need]()


if __name__ == "__main__":
    main()
