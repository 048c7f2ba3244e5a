"""The models that a command will need, from configuration files alone: no weight is read, none is verified."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig

from llmtrain.config import paths
from llmtrain.config.choices import TokenizerName
from llmtrain.config.compose import compose_stage
from llmtrain.config.nodes import Adapter
from llmtrain.config.schema import Pretrain
from llmtrain.data import sources
from llmtrain.data.records import Kind, Text
from llmtrain.errors import InitError, LlmtrainError
from llmtrain.estimate.shape import Shape
from llmtrain.models import blank, causal
from llmtrain.run import directory, durable
from llmtrain.run.lineage import HUB
from llmtrain.text import tokenizers

SEEN = 2000  # records that are looked at for their characters


class Blueprints:
    """Where a model will come from -> its configuration. notes: what had to be taken for granted."""

    def __init__(self) -> None:
        self.coming: dict[str, PretrainedConfig] = {}  # folders that an earlier stage of a pipeline will fill
        self.notes: dict[str, None] = {}
        self.answers: int | None = None  # of a prompt, and rankings, that an earlier stage will leave
        self.rankings: float | None = None
        self.share: float | None = None  # of a prompt in its text and that of one answer, in those rankings
        self._found: dict[tuple[str, str, str, tuple[str, ...]], PretrainedConfig] = {}
        self._shapes: dict[tuple[str, str], Shape] = {}

    def shape(self, config: PretrainedConfig, **options: Any) -> Shape:
        """The dimensions; options as blank.shape has them."""
        key = config.to_json_string(), repr(options)
        if key not in self._shapes:
            self._shapes[key] = blank.shape(config, **options)
        return self._shapes[key]

    def adapted(self, config: PretrainedConfig, adapter: Adapter) -> Shape:
        """The dimensions of a policy."""
        return self.shape(config, rank=adapter.rank, targets=adapter.targets)

    def new(self, config: Pretrain) -> PretrainedConfig:
        """The model that pretrain will draw."""
        m = config.model
        return blank.configured(
            m.name.value,
            vocab_size=self._vocabulary(config),
            layers=m.layers,
            width=m.width,
            heads=m.heads,
            ffn_width=m.ffn_width,
            context=m.context,
            tie_embeddings=m.tie_embeddings,
            dropout=m.dropout,
        )

    def at(self, config: Any, key: str, init: str, stages: tuple[str, ...]) -> PretrainedConfig:
        """The model that `key`=init names. Raises InitError."""
        if init in self.coming:
            return self.coming[init]
        place = config.run.root, config.run.name, init, stages
        if place not in self._found:
            try:
                self._found[place] = self._read(config, init, stages)
            except LlmtrainError as error:
                raise InitError(f"{key}: {error}") from None
        return self._found[place]

    def _read(self, config: Any, init: str, stages: tuple[str, ...]) -> PretrainedConfig:
        if init == directory.LATEST:
            return self._latest(config, stages)
        path = Path(init).expanduser()
        return causal.read_config(_folder(path, stages) if durable.exists(path) else _of_hub(init))

    def _latest(self, config: Any, stages: tuple[str, ...]) -> PretrainedConfig:
        root, name = config.run.root, config.run.name
        found = [run for stage in stages if (run := directory.newest_finished(root, stage, name))]
        if found:
            return causal.read_config(_folder(max(found, key=directory.run_id), stages))
        if name not in paths.recipes("pretrain"):
            raise InitError(f"latest: no finished run of {' or '.join(stages)} named {name} under {root}; give a path")
        self.notes[f"no run of {' or '.join(stages)} yet: taken for what `pretrain conf={name}` makes"] = None
        return self.new(compose_stage("pretrain", name, {}, coming=None))

    def _vocabulary(self, config: Pretrain) -> int:
        own = config.tokenizer
        if own.name is TokenizerName.file:
            assert own.path is not None  # config/check.py
            return len(tokenizers.load(own.path))
        if own.name is TokenizerName.bpe:
            return own.vocab_size
        characters = set().union(*_texts(config))
        self.notes[f"vocabulary: the {len(characters)} characters of the first rows and 6 control tokens"] = None
        return len(characters) + len(tokenizers.SPECIALS) + 1


def _texts(config: Pretrain) -> Iterator[str]:
    data = config.data
    there = [path for path in data.path if durable.exists(Path(path).expanduser())]
    source = sources.read(there, Kind.text, text_column=data.text_column, on_bad_row="skip", limit=SEEN)
    yield from (record.text for record in islice(source.records, SEEN) if isinstance(record, Text))


def _folder(path: Path, stages: tuple[str, ...]) -> Path:
    """The directory with a config.json: of a run its best checkpoint, else its newest. Raises InitError."""
    own = [path / stage for stage in stages if (path / stage / directory.CONFIG).is_file()]
    run = own[0] if own else path
    places = (run / "checkpoints" / "best", run / "checkpoints" / "latest", run / "best", run / "latest", run)
    for place in places:
        if (place / "config.json").is_file():
            return place
    raise InitError(f"{path}: no config.json in it or in its checkpoints; give a run, a checkpoint or a model")


def _of_hub(init: str) -> Path:
    match = HUB.fullmatch(init)
    if not match:
        raise InitError(f"{init}: no such run, checkpoint or model directory; list runs with llmtrain runs")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(match[1], "config.json", revision=match[2])).parent
    except (OSError, ValueError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise InitError(f"{init}: no such path here, and the hub did not give its config.json ({error})") from None
