"""One process's hold on a run directory: lock, signals, metrics, checkpoints, and the record of how it ended."""

import json
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from llmtrain.doctor.examine import Watch, examine
from llmtrain.doctor.record import Finding
from llmtrain.errors import Interrupted
from llmtrain.launch.group import Group
from llmtrain.run import directory, durable, findings
from llmtrain.run.checkpoints import Checkpoint, Checkpoints
from llmtrain.run.lock import hold
from llmtrain.run.metrics import Metrics, read
from llmtrain.run.signals import StopSignal

if TYPE_CHECKING:  # what saves nothing, as `rank`, opens its directory without torch
    from torch import Tensor

log = logging.getLogger("llmtrain")


class StopAsked(Exception):
    """A signal asked this run to stop; the loop saves and turns it into Interrupted."""

    def __init__(self, signal: int):
        super().__init__(f"signal {signal}")
        self.signal = signal


Processes = TypeVar("Processes", bound=Group)  # a Mesh where something is computed


class Session(Generic[Processes]):
    """A run directory while it is worked in. Use as a context manager.

    checkpoint is the newest that verifies, None in a fresh run. Only the first process writes; the others read.
    """

    def __init__(
        self,
        path: Path,
        title: str,
        mesh: Processes,
        *,
        keep_last: int = 1,
        keep_best: int = 0,
        higher_is_better: bool = True,
        trackers: tuple[str, ...] = (),
    ):
        self.path, self.title, self.mesh = path, title, mesh
        self.resume_command = f"llmtrain resume {path}"
        # the launcher forwards to its workers what they got from the terminal as well
        self.stop = StopSignal(
            grace=2.0 if mesh.world > 1 else 0.0,
            early=f"nothing was computed yet; start again with: {self.resume_command}",
        )
        self.checkpoints = Checkpoints(path / "checkpoints", keep_last, keep_best, higher_is_better)
        self._trackers = trackers
        self._open = ExitStack()
        self._worked = False  # whether this process has logged or saved anything
        self._began = time.monotonic()

    def __enter__(self) -> "Session[Processes]":
        with ExitStack() as opened:  # what is open is closed again when a later part of it fails
            if self.mesh.first:
                opened.enter_context(hold(self.path))
            opened.enter_context(self.stop)
            self.checkpoint: Checkpoint | None = self.checkpoints.newest()
            step = self.checkpoint.step if self.checkpoint else 0
            if step:
                self.stop.early = f"stopped before step {step + 1}; go on with: {self.resume_command}"
            if self.mesh.first:
                self.metrics = Metrics(self.path / "metrics.jsonl", step, trackers=self._trackers)
                opened.callback(self.metrics.close)
                earlier = read(self.metrics.path)
                self._watch = Watch(findings.read_counts(self.path) if earlier else {}, earlier)
            self._open = opened.pop_all()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            if error is not None and self.mesh.first and (self._worked or not directory.state_is_done(self.path)):
                status = "interrupted" if isinstance(error, Interrupted | KeyboardInterrupt | StopAsked) else "failed"
                step = max(self.checkpoints.steps(), default=0)
                reason = str(error) or type(error).__name__
                directory.write_result(self.path, status, reason, step, self.metrics.latest, findings=self._findings())
        finally:
            self._open.close()

    def poll(self) -> None:
        """Raise StopAsked when a signal came. Called between updates, in rollouts and in evaluations.

        Before the first call a stage reads and prepares: there a signal ends the program at once.
        """
        self.stop.early = None
        signal = self.mesh.any(self.stop.requested)
        if signal is not None:
            raise StopAsked(signal)

    def poll_alone(self) -> None:
        """poll() for places that processes reach at different times: only a lone process stops there."""
        self.stop.early = None
        if self.mesh.world == 1:
            self.poll()

    def log(self, step: int, values: dict[str, float]) -> None:
        self._worked, self.stop.early = True, None
        if self.mesh.first:
            self.metrics.log(step, values)
            _tell(self._watch.note({"step": step, **values}))

    def count(self, counts: dict[str, int]) -> None:
        """Note how many rows or prompts there are of what; the same in every life of a run."""
        if self.mesh.first and not counts.items() <= self._watch.record.counts.items():
            _tell(self._watch.count(counts))
            text = json.dumps(self._watch.record.counts, indent=1) + "\n"
            try:
                durable.write_text(self.path / findings.COUNTS, text)
            except OSError as error:  # a full disk costs the file, not the run
                log.warning("%s could not be written (%s)", self.path / findings.COUNTS, error)

    def _findings(self) -> list[dict[str, Any]]:
        return [finding.plain() for finding in examine(self._watch.record)]

    def save(
        self,
        step: int,
        write_model: Callable[[Path], None],
        tensors: "dict[str, Tensor]",
        state: dict[str, Any],
        metric: float | None,
    ) -> None:
        """Commit a checkpoint; raises CheckpointError and leaves the older ones as they are."""
        self._worked, self.stop.early = True, None
        if self.mesh.first:
            self.metrics.sync()
            self.checkpoints.save(step, write_model, tensors, state, metric)

    def write_json(self, name: str, value: Any) -> None:
        """A small record beside the run's own."""
        if self.mesh.first:
            (self.path / name).parent.mkdir(exist_ok=True)
            (self.path / name).write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")

    def write_lines(self, name: str, rows: list[dict[str, Any]]) -> None:
        """A JSON Lines file, whole or not at all."""
        if self.mesh.first:
            partial = self.path / f".{name}.partial"
            partial.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
            partial.replace(self.path / name)

    def finish(self, status: str, reason: str, step: int, metrics: dict[str, float], **extra: Any) -> dict[str, Any]:
        """Record the end of the run and let `latest` point at it; returns the record."""
        if not self.mesh.first:
            return {}
        extra["seconds"] = round(time.monotonic() - self._began, 1)
        extra.setdefault("findings", self._findings())
        directory.write_result(self.path, status, reason, step, metrics, **extra)
        directory.point_latest(self.path)
        log.info("%s %s at step %d: %s", self.title, status, step, reason)
        for finding in examine(self._watch.record):
            log.info("  doctor: %s", finding)
        return {"status": status, "reason": reason, "step": step, "metrics": metrics, **extra}


def _tell(new: list[Finding]) -> None:
    for finding in new:
        log.warning("doctor: %s", finding)
