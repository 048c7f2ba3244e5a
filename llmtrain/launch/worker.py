"""`python -m llmtrain.launch.worker RUN`: one of the processes that launch/processes.py starts."""

import os
import sys
from pathlib import Path

import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import record

from llmtrain.launch.processes import worker
from llmtrain.run import logs


@record
def main() -> None:
    path = Path(sys.argv[1])
    logs.plain(path, int(os.environ["RANK"]))
    code = worker(path)
    if code:
        sys.exit(code)
    if dist.is_initialized():
        dist.destroy_process_group()  # a thread of it that outlives the interpreter aborts the process


if __name__ == "__main__":
    main()
