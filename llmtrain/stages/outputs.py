"""What rank takes its answers from: files and sample runs, or models that answer first. No torch here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmtrain.config.schema import Rank
from llmtrain.data import files as data_files
from llmtrain.errors import ConfigError, InitError, LlmtrainError
from llmtrain.run import directory, durable, lineage

NO_MODELS = (".jsonl", ".json", ".csv", ".parquet", ".gz")  # a name that ends so is a file's
OUTPUTS = "outputs.jsonl"  # what `sample` leaves, ranked or not


@dataclass(frozen=True)
class Sources:
    files: list[Path]
    models: list[str]


def named(config: Rank) -> Sources:
    """The sources by their kind. Raises ConfigError with all that is wrong with them."""
    files, models, faults = [], [], []
    for source in config.sources:
        try:
            file = _file(source, config.run.root, config.run.name)
        except LlmtrainError as error:
            faults.append(f"sources: {str(error).removeprefix('init=')}")
            continue
        if file is None:
            models.append(source)
        else:
            files.append(file)
    if files and models:
        faults.append(f"sources: {models[0]} is a model and {files[0]} holds answers; name either models or answers")
    if files and config.sample:
        faults.append("sample: does nothing where the answers are there already; drop sample.*")
    if faults:
        raise ConfigError("\n".join(faults))
    return Sources(files, models)


def _file(source: str, root: str, name: str) -> Path | None:
    """The file of answers that `source` stands for; None for a model. Raises LlmtrainError."""
    path = Path(source).expanduser()
    if source == directory.LATEST:
        return lineage.resolve_file(source, root=root, name=name, stages=("sample",), file=OUTPUTS)
    if path.is_file():
        return data_files.expand(str(path))[0].resolve()  # raises for a kind of file that nobody reads
    if path.suffix in NO_MODELS and not path.exists():
        raise InitError(f"{source}: there is no such file")
    if not durable.exists(path / directory.CONFIG):
        return None
    command = directory.read_config(path).get("command")
    if command not in ("sample", "pipeline"):
        return None
    return lineage.resolve_file(source, root=root, name=name, stages=("sample",), file=OUTPUTS)


def sampling(config: Rank, models: list[str]) -> dict[str, Any]:
    """The overrides of the sampling that comes first."""
    return {"init": models[0], "policies": models[1:], **UNRANKED}


# A sampling whose answers people rank: the recipes' own simulated annotator stays out.
UNRANKED: dict[str, Any] = {"annotate": "none", "noise": 0.0, "held_out": 0}
