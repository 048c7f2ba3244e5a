"""data: show what a stage will see, without training anything."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from llmtrain.config.choices import Stage
from llmtrain.config.schema import Preview
from llmtrain.data import preview
from llmtrain.data.records import Kind
from llmtrain.run import directory
from llmtrain.stages import inputs, setup
from llmtrain.stages.preflight import KINDS
from llmtrain.stages.pretrain import new_tokenizer


def run(config: Preview, path: Path) -> dict:
    """Print counts, lengths and rows; with init= in that model's tokens, else in those of a tokenizer trained here."""
    kind = KINDS[config.stage.value]
    source = inputs.records(config, config.data, kind)
    if config.init:
        origin = setup.origin_of(config, path, "init", config.init, ("pretrain",))
        tokenizer = setup.tokenizer_at(origin.path, chat=kind is not Kind.text, adopts=config.stage is Stage.sft)
    else:
        tokenizer = new_tokenizer(config.tokenizer, source, config.data.cache)
    table = inputs.table(config.data, source, kind, tokenizer)
    rows = inputs.split(source, table, config.data, kind)
    console = Console()
    console.print(f"[bold]{escape(source.description)}[/], as {config.stage.value} sees it: {rows.split.description}")
    preview.show(table, kind, tokenizer, console, rows=config.show, skipped=source.skipped)
    metrics = {name: float(value) for name, value in source.counts.items()}
    directory.write_result(path, "finished", f"{len(table)} rows shown", 0, metrics)
    return {"status": "finished", "metrics": metrics}
