"""What a model directory that somebody else wrote may not do: run code, or lead to files that are not its own."""

import json
from pathlib import Path
from typing import Any

from llmtrain.errors import InitError

CONFIG, TOKENIZER, ADAPTER, INDEX = (
    "config.json",
    "tokenizer_config.json",
    "adapter_config.json",
    "model.safetensors.index.json",
)


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises InitError."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InitError(f"{file}: cannot be read ({error}); give a whole Hugging Face model directory") from None
    if not isinstance(value, dict):
        raise InitError(f"{file}: holds no JSON object but {str(value)[:40]!r}; give a whole Hugging Face directory")
    return value


def check(folder: Path) -> None:
    """To be called before transformers reads anything of `folder`. Raises InitError.

    transformers asks on the terminal whether to run such code. This program passes trust_remote_code=False as well.
    """
    for file in (folder / CONFIG, folder / TOKENIZER):
        if file.is_file() and "auto_map" in read_json(file):
            raise InitError(f"{file}: wants to run code of its own (auto_map), which is never run; convert it first")
    if (folder / ADAPTER).is_file():
        raise InitError(
            f"{folder}: holds an adapter, whose base would come from elsewhere; merge it into its base first"
        )
    if (folder / INDEX).is_file():
        _check_index(folder / INDEX)


def _check_index(file: Path) -> None:
    """Shards are safetensors beside their index: an index may name a pickle, or a file anywhere."""
    shards = read_json(file).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise InitError(f"{file}: has no weight_map; download the model again")
    for name in sorted(set(map(str, shards.values()))):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise InitError(f"{file}: names {name[:80]!r}, which is no .safetensors file beside it; it is not read")
        if not (file.parent / name).is_file():
            raise InitError(f"{file}: {name} is missing; download the model again")
