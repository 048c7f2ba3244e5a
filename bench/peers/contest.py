"""Holds a contest: starts the sides, lets them take turns, keeps what they tell."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.measure import Step, alternated
from bench.peers.works import OWN, PEERS, Work


class Worker:
    """A side as a process. Its log is kept beside what it works on."""

    def __init__(self, name: str, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None):
        self.name, self.log = name, log
        self.facts: dict[str, Any] = {}
        self.versions: dict[str, str] = {}
        self.losses: list[float] = []
        self.phases: list[dict[str, float]] = []
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=env
            )

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        """End it: its input is over, so it leaves; one that hangs is killed."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
            self.process.wait(20)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()

    def started(self) -> None:
        """Wait until it is built. Raises RuntimeError with the end of its log when it died."""
        told = self._heard()
        self.facts, self.versions = told["facts"], told["versions"]

    def round(self) -> Step:
        """A round of work, measured by the side itself. Raises RuntimeError as `started` does."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        told = self._heard()
        self.losses += told["losses"]
        self.phases.append(told["phases"])
        return Step(**told["step"])

    def _heard(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"side {self.name!r} ended; its last words:\n{self.log.read_text()[-3000:]}")
        return json.loads(line)


def hold(work: Work, folder: Path, pythons: Mapping[str, str], threads: int, most: int) -> dict[str, Any]:
    """The result of a contest, as it stands in results.json."""
    with ExitStack() as running:
        workers = {}
        for number, side in enumerate(work.sides):
            settings = {"folder": str(folder), "threads": threads} | work.settings | side.settings
            command = [pythons[side.env], "-m", "bench.peers.side", side.does, json.dumps(settings)]
            log = folder / f"{work.name}-{number}.log"
            workers[side.name] = running.enter_context(Worker(side.name, command, log, _environment(threads)))
        for worker in workers.values():
            worker.started()
        found = alternated({name: worker.round for name, worker in workers.items()}, work.rounds, most)
    return {
        "title": work.title,
        "unit": work.unit,
        "threads": threads,
        "targets": [asdict(target) for target in work.targets],
        "curves": list(work.curves),
        "unequal": work.unequal,
        "rounds": [{name: asdict(step) for name, step in one.items()} for one in found.rounds],
        "set_aside": found.set_aside,
        "clean": found.clean,
        "sides": {name: {"facts": w.facts, "losses": w.losses, "phases": w.phases[1:]} for name, w in workers.items()},
        "versions": {env: _versions(work, workers, env) for env in (OWN, PEERS)},
    }


def _environment(threads: int) -> dict[str, str]:
    """Nothing that would tune a side: ours does it itself, the peers do not."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GOMP_", "OMP_", "LLMTRAIN_"))}
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    return kept | offline | {"OMP_NUM_THREADS": str(threads)}


def _versions(work: Work, workers: Mapping[str, Worker], env: str) -> dict[str, str]:
    return next((workers[side.name].versions for side in work.sides if side.env == env), {})
