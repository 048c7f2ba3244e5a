"""Logging outside Hydra: to the terminal, and to the run's train.log where there is one."""

import logging
from pathlib import Path

FORMAT = "[%(asctime)s][%(levelname)s] %(message)s"


def plain(run: Path) -> None:
    """Log to stderr and append to RUN/train.log."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if run.is_dir():
        handlers.append(logging.FileHandler(run / "train.log"))
    logging.basicConfig(level=logging.INFO, format=FORMAT, handlers=handlers, force=True)
