"""How cost grows: time and memory of the program's own steps over what users choose, beside what `llmtrain plan` says.

    python -m bench.growth [--only AXIS] [--quick] [--render] [--threads 0] [--rounds 3] [--out docs]

Writes growth.json, a picture for each axis, and the part of performance.md that is between its two marks. --quick: the
two smallest points of each axis, one round, nothing written unless --out says where. --render: draws and writes again
what growth.json holds. The whole takes about eight minutes on two quiet cores.

Each point is measured in a process of its own, forked from this one, which has loaded the libraries and computed
nothing; a second one of the same point tells what is alive (bench/growth/point.py).
"""

import argparse
import json
import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from llmtrain.launch import tuning

tuning.apply(True)  # before torch loads, as a run has it

import torch  # noqa: E402

from bench.growth import draw, text  # noqa: E402
from bench.growth.axes import Axis, axes  # noqa: E402
from llmtrain.launch import machine  # noqa: E402
from llmtrain.launch.mesh import open_mesh  # noqa: E402
from tests.invariants import lab  # noqa: E402

DOCS = Path(__file__).parents[2] / "docs"
CPU = torch.device("cpu")


def apart(work: Callable[..., Any], *given: Any, threads: int = 0) -> Any:
    """What `work` returns in a process of its own. Raises RuntimeError when that one dies."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(there, threads, work, given))
    process.start()
    there.close()
    try:
        return here.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"the process of a point ended with exit code {process.exitcode}") from None
    finally:
        process.join()


def _child(out: Connection, threads: int, work: Callable[..., Any], given: Sequence[Any]) -> None:
    open_mesh("cpu", "float32", threads)
    out.send(work(*given))


def conditions(threads: int) -> dict[str, Any]:
    """The machine, and what it reaches without any of the work of training around it."""
    speed = apart(machine.matmul, CPU, torch.float32, threads=threads)
    bandwidth = apart(machine.copying, CPU, threads=threads)
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return {
        "cpu": names[0].partition(":")[2].strip() if names else platform.machine(),
        "threads": apart(torch.get_num_threads, threads=threads),
        "torch": torch.__version__,
        "day": time.strftime("%Y-%m-%d"),
        "flops": speed,
        "bandwidth": bandwidth,
    }


def measured(axis: Axis, asked: argparse.Namespace) -> dict[str, Any]:
    """All points of an axis, the smallest first."""
    made, points = conditions(asked.threads), list(axis.points.items())
    told = []
    for x, point in points[:2] if asked.quick else points:
        began = time.monotonic()
        record = apart(point, asked.rounds, threads=asked.threads) | apart(point, 0, threads=asked.threads)
        told.append({"x": x} | record)
        note = f"{record['rounds']} rounds, {record['set_aside']} set aside{'' if record['clean'] else ', DISTURBED'}"
        print(
            f"{axis.name:10} {x:10} {record['seconds']:8.3f} s a step, {record['memory'] / 2**20:6.0f} MiB "
            f"({record['alive'] / 2**20:.0f} alive, plan {record['plan']['memory'] / 2**20:.0f}); "
            f"{note}; {time.monotonic() - began:.0f} s",
            flush=True,
        )
    return {"machine": made, "points": told}


def written(found: dict[str, Any], folder: Path) -> None:
    """The numbers, the pictures, and the section of the document where there is one."""
    images, document = folder / "images", folder / "performance.md"
    images.mkdir(parents=True, exist_ok=True)
    (folder / "growth.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for name, axis in axes().items():
        if name in found:
            (images / f"growth-{name}.svg").write_text(draw.figure(axis, found[name]), encoding="utf-8")
    section = text.section(axes(), found)
    if document.exists():
        document.write_text(text.between(document.read_text(encoding="utf-8"), section), encoding="utf-8")
    else:
        document.write_text(f"{text.BEGIN}\n{section}\n{text.END}\n", encoding="utf-8")


def main() -> int:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(axes()), help="one axis; the others stay as growth.json has them")
    parser.add_argument("--quick", action="store_true", help="the two smallest points of each, one round")
    parser.add_argument("--render", action="store_true", help="measure nothing")
    parser.add_argument("--threads", type=int, default=0, help="0: what a run would take")
    parser.add_argument("--rounds", type=int, default=3, help="clean rounds of each point")
    parser.add_argument("--out", type=Path, help="folder of the results; default: docs, with --quick none")
    asked = parser.parse_args()
    asked.rounds = 1 if asked.quick else asked.rounds
    folder = asked.out or (None if asked.quick else DOCS)
    if asked.render and folder is None:
        parser.error("--render draws what is in growth.json, --quick measures anew: leave one of them out")
    file = folder and folder / "growth.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file and file.exists() else {}
    if not asked.render:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # or the library warns of every fork
        for command in ("pretrain", "reward", "sample"):
            lab.settings(command)  # composed once, for all processes
        for axis in axes().values():
            if asked.only in (None, axis.name):
                found[axis.name] = measured(axis, asked)
                if folder:  # what was measured stays when a later axis fails
                    written(found, folder)
    elif folder:
        written(found, folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
