"""Logging outside Hydra: to the terminal, and to the run's train.log where there is one."""

import logging
from pathlib import Path

from llmtrain.run.provenance import RedactingFormatter

FORMAT = "[%(asctime)s] %(message)s"


def plain(run: Path | None, rank: int = 0) -> None:
    """Log to stderr and append to RUN/train.log, if there is a run. Processes behind the first tell what is wrong."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if run and run.is_dir():
        handlers.append(logging.FileHandler(run / "train.log"))
    form = FORMAT.replace("] ", f"] process {rank}: ") if rank else FORMAT
    for handler in handlers:
        handler.setFormatter(RedactingFormatter(form, "%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING if rank else logging.INFO, handlers=handlers, force=True)
