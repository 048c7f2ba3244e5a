"""Logging outside Hydra: to the terminal, and to the run's train.log where there is one."""

import logging
from pathlib import Path

from llmtrain.run.provenance import RedactingFormatter

FORMAT = "[%(asctime)s] %(message)s"


def plain(run: Path) -> None:
    """Log to stderr and append to RUN/train.log."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if run.is_dir():
        handlers.append(logging.FileHandler(run / "train.log"))
    for handler in handlers:
        handler.setFormatter(RedactingFormatter(FORMAT, "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)
