"""`python -m llmtrain.launch.worker RUN`: one of the processes that launch/processes.py starts."""

import os
import sys
from pathlib import Path

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


if __name__ == "__main__":
    main()
