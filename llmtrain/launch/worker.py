"""`python -m llmtrain.launch.worker RUN`: one of the processes that launch/processes.py starts."""

import logging
import os
import sys
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import record

from llmtrain.launch.processes import worker


@record
def main() -> None:
    rank = int(os.environ["RANK"])
    form = f"[%(asctime)s][%(levelname)s] {'' if rank == 0 else f'process {rank}: '}%(message)s"
    logging.basicConfig(level=logging.INFO if rank == 0 else logging.WARNING, format=form)
    code = worker(Path(sys.argv[1]))
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
