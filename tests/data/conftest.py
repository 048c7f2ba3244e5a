"""A tokenizer and small sources."""

import gzip
import json
from pathlib import Path

import pytest

from llmtrain.text import tokenizers


@pytest.fixture(scope="session")
def bpe():
    return tokenizers.train_bpe(["hello world, why is it so? because. good bad answer"] * 4, 300)


@pytest.fixture
def write(tmp_path):
    """write(name, content) -> path; rows become JSON lines or a JSON list, by the name; .gz is compressed."""

    def make(name: str, content: bytes | str | list) -> str:
        if isinstance(content, list):
            lines = [json.dumps(row) for row in content]
            content = "\n".join(lines) if ".jsonl" in name.lower() else "[\n" + ",\n".join(lines) + "\n]"
        raw = content.encode() if isinstance(content, str) else content
        path = Path(tmp_path / name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
        return str(path)

    return make
