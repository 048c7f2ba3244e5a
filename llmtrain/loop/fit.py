"""THE loop: the only caller of backward() and optimizer.step() (through update.py).

A step is one round of the learner. Logging, evaluation, saving and the stop test happen between rounds, so a checkpoint
never holds half a rollout and `step` means the same in every stage.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from llmtrain.errors import CheckpointError, Interrupted, TrainingError
from llmtrain.launch import clock
from llmtrain.loop import state
from llmtrain.loop.learner import Evaluation, Learner
from llmtrain.loop.optimizer import set_lr
from llmtrain.loop.progress import Meter
from llmtrain.loop.state import pack, unpack
from llmtrain.loop.stopping import TargetReached, numbers, sizes
from llmtrain.loop.update import Totals, update
from llmtrain.run.checkpoints import Checkpoint
from llmtrain.run.seeding import derive
from llmtrain.run.session import Session, StopAsked

log = logging.getLogger("llmtrain")


@dataclass(frozen=True)
class Plan:
    """Limits and cadence of a run. Steps are rounds; seconds are of this process's life."""

    max_steps: int
    max_seconds: float | None
    log_every: int
    eval_every: int
    save_every: int
    clip_norm: float
    max_skipped: int  # updates in a row with a non-finite gradient that are skipped before a rollback
    seed: int
    best: str  # the evaluated metric that ranks checkpoints
    higher_is_better: bool
    shown: tuple[str, ...]  # metrics of the progress bar
    evaluate_first: bool = False
    progress: bool = True


@dataclass(frozen=True)
class Outcome:
    """How a run ended: finished (all steps) or stopped (before them), and why.

    kept: the step whose weights the next stage takes, the best where best ones are kept, and values what was measured
    on it; step: how far the run came.
    """

    status: str
    reason: str
    step: int
    kept: int
    values: Evaluation


def fit(
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    schedule: Callable[[int], float],
    session: Session,
    plan: Plan,
    stop: TargetReached | None = None,
) -> Outcome:
    """Train until the steps or the time are used up, the target is reached, or the learner says it is finished.

    schedule(step) is the factor on each learning rate for the 0-based step it is used for. Raises Interrupted after
    saving when a signal came, TrainingError when the numbers stay non-finite.
    """
    loop = _Fit(learner, optimizer, schedule, session, plan, stop)
    try:
        return loop.run()
    except StopAsked as asked:  # between two rounds, or in a rollout or an evaluation, which change no weight
        if loop.step:
            loop.save()
        kept = f"saved step {loop.step}" if loop.step else "stopped before the first step"
        raise Interrupted(asked.signal, f"{kept}; go on with: {session.resume_command}") from None


@dataclass
class _Fit:
    learner: Learner
    optimizer: torch.optim.Optimizer
    schedule: Callable[[int], float]
    session: Session
    plan: Plan
    stop: TargetReached | None

    def __post_init__(self) -> None:
        self.step, self.skipped, self.rolled_back = 0, 0, False
        self.reason: str | None = None
        self.out_of_time = False
        self.values: Evaluation = {}
        self.best: tuple[int, Evaluation] | None = None  # of the checkpoints within the learner's own limits
        self.evaluated_at = self.saved_at = -1
        self.settled_at = 0  # the last step after which evaluation, stop test and saving are done
        self.latest: dict[str, float] = {}
        self.once: dict[str, float] = {}  # for the next row of metrics alone
        self.started = time.monotonic()

    def run(self) -> Outcome:
        if self.session.checkpoint:
            self._resume(self.session.checkpoint)
        start = self.step
        if self.session.checkpoint and self.settled_at != self.step:  # a signal came before what follows a round
            self._between()
        if self.plan.evaluate_first and self.step == 0:
            self._evaluate()
        with Meter(self.session.title, self.plan.max_steps, start, enabled=self.plan.progress) as meter:
            self.once["time/start"] = clock.waited()
            while self.reason is None and not self.out_of_time and self.step < self.plan.max_steps:
                self.session.poll()
                totals, seconds = self._round()
                self._log(totals, seconds)
                self._show(meter, totals.tokens / seconds, start)
                self._between()
        self._evaluate()
        self.save()
        late = f"max_time of {self.plan.max_seconds} s used up" if self.out_of_time else None
        reason = self.reason or late
        kept, values = self.best or (self.step, self.values)
        status = "stopped" if reason else "finished"
        return Outcome(status, reason or f"all {self.plan.max_steps} steps done", self.step, kept, values)

    def _resume(self, checkpoint: Checkpoint) -> None:
        saved = state.restore(self.learner, self.optimizer, checkpoint)
        self.step, self.skipped, self.rolled_back = checkpoint.step, saved["skipped"], saved["rolled_back"]
        self.reason = saved["reason"]
        if self.stop:
            self.stop.hits = saved["hits"]
        self.saved_at = self.settled_at = self.step if saved["settled"] else -1
        if saved["best"] is not None:
            self.best = saved["best"][0], unpack(saved["best"][1])
        if saved["values"] is not None:
            self.values, self.evaluated_at = unpack(saved["values"]), self.step
        log.info("resumed at step %d from %s", self.step, checkpoint.path)

    def _round(self) -> tuple[Totals, float]:
        """One step: its updates, with this step's learning rate and randomness."""
        began, totals = time.monotonic(), Totals(in_a_row=self.skipped)
        set_lr(self.optimizer, self.schedule(self.step))
        self.learner.trained.train()
        torch.manual_seed(derive(self.plan.seed, self.step, "dropout"))
        for window in self.learner.round(self.step):
            update(self.learner, self.optimizer, window, self.plan.clip_norm, self.session.mesh, totals)
        self.learner.trained.eval()
        self.step += 1
        due = self.learner.due()
        if due is not None and totals.updates != due:
            raise TrainingError(f"step {self.step}: {totals.updates} optimizer steps instead of {due}; this is a bug")
        self._guard(totals)
        return totals, time.monotonic() - began

    def _guard(self, totals: Totals) -> None:
        """After too many skipped updates in a row take the last checkpoint's weights back, once; then give up."""
        self.skipped = totals.in_a_row
        if totals.skipped:
            log.warning("step %d: the gradient is not finite; update skipped, weights unchanged", self.step)
        if self.skipped <= self.plan.max_skipped:
            return
        place = f"step {self.step}: {self.skipped} updates in a row had a gradient that is not finite"
        checkpoint = None if self.rolled_back else self.session.checkpoints.newest()
        if checkpoint is None:
            raise TrainingError(f"{place}; lower optimizer.lr, or look at the data of these steps")
        log.warning("%s; took back the weights of step %d", place, checkpoint.step)
        state.restore(self.learner, self.optimizer, checkpoint)
        self.skipped, self.rolled_back = 0, True

    def _log(self, totals: Totals, seconds: float) -> None:
        """The numbers of this step alone: what a resumed run logs equals what an uninterrupted one does."""
        sums, counts = self.session.mesh.sums(totals.sums), self.session.mesh.sums(totals.counts)
        self.latest = {
            **{f"train/{name}": sums[name] / counts[name] for name in sums if counts[name]},
            **self.learner.metrics(),
            "train/lr": self.optimizer.param_groups[0]["lr"],
            "train/grad_norm": totals.grad_norm,
            "train/skipped": totals.skipped,
            "train/tokens": totals.tokens,
            "train/useful": totals.tokens / max(1, totals.tokens + totals.filling),
            "time/step_seconds": seconds,
            "time/tokens_per_second": totals.tokens / seconds,
        }
        if self.step % self.plan.log_every == 0 or self.step == self.plan.max_steps:
            self.session.log(self.step, self.latest | self.once)
            self.once = {}

    def _show(self, meter: Meter, speed: float, start: int) -> None:
        known = {**self.latest, **numbers(self.values)}
        shown = {name.split("/")[-1]: known[name] for name in self.plan.shown if name in known}
        left = (time.monotonic() - self.started) / (self.step - start) * (self.plan.max_steps - self.step)
        meter.show(self.step, {**shown, "tok/s": speed}, left)

    def _between(self) -> None:
        """Evaluate, test for the end, save; sets the reason to stop."""
        saves = self.step % self.plan.save_every == 0
        self.reason = self.learner.finished()
        if saves or self.step % self.plan.eval_every == 0:
            self._evaluate()
            if self.stop:
                self.reason = self.stop.observe(self.step, self.values) or self.reason
        self.settled_at = self.step
        if saves:
            self.save()
        limit = self.plan.max_seconds
        late = limit is not None and time.monotonic() - self.started >= limit
        self.out_of_time = self.session.mesh.any(1 if late else None) is not None  # clocks differ; all stop or none

    def _evaluate(self) -> None:
        if self.evaluated_at == self.step:
            return
        began = time.monotonic()
        self.learner.trained.eval()
        with torch.no_grad():
            self.values = self.learner.evaluate(self.step)
        self.evaluated_at = self.step
        self.session.count(sizes(self.values))
        self.session.log(self.step, {**numbers(self.values), "time/eval_seconds": time.monotonic() - began})

    def save(self) -> None:
        """Commit this step. A full disk costs a checkpoint on the way, never the run; at the end it is an error."""
        if self.saved_at == self.step:
            return
        metric = self._metric()
        best = self._best(metric)
        saved = {
            "learner": self.learner.state_dict(),
            "skipped": self.skipped,
            "rolled_back": self.rolled_back,
            "hits": self.stop.hits if self.stop else 0,
            "reason": self.reason,
            "settled": self.settled_at == self.step,
            "values": pack(self.values) if self.evaluated_at == self.step else None,
            "best": [best[0], pack(best[1])] if best else None,
        }
        tensors = state.tensors(self.learner, self.optimizer)
        try:
            self.session.save(self.step, self.learner.save, tensors, saved, metric)
        except CheckpointError:
            if self.reason or self.step == self.plan.max_steps or self.session.stop.requested:
                raise
            log.exception("step %d could not be saved; training goes on", self.step)
            return
        self.saved_at, self.best = self.step, best

    def _metric(self) -> float | None:
        """What ranks this step's checkpoint; none where the learner ends the run for going beyond its limits."""
        if self.evaluated_at != self.step or self.learner.finished():
            return None
        return numbers(self.values).get(self.plan.best)

    def _best(self, metric: float | None) -> tuple[int, Evaluation] | None:
        """The best checkpoint once this step is saved, by the rule of run/checkpoints.py: of equals the newer."""
        if metric is None or not math.isfinite(metric) or not self.session.checkpoints.keep_best:
            return self.best
        if self.best is None:
            return self.step, self.values
        before = numbers(self.best[1])[self.plan.best]
        better = metric >= before if self.plan.higher_is_better else metric <= before
        return (self.step, self.values) if better else self.best
