"""A command line in, a run directory per job out, by Hydra."""

import logging
import os
import sys
import traceback
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from llmtrain.config import recipes, safety, sweep, words
from llmtrain.config.check import mapping
from llmtrain.config.compose import beside, composed, explain, recipe_of, register, typed
from llmtrain.config.paths import CONF
from llmtrain.errors import ConfigError, LlmtrainError, UsageError
from llmtrain.run import directory, logs
from llmtrain.run.provenance import redact

log = logging.getLogger("llmtrain")


def main(command: str, args: list[str], prog: str) -> int:
    """Run `command` with Hydra's command line; returns the exit code. Raises LlmtrainError for a wrong one."""
    run_id = directory.new_id()  # one for all jobs of a sweep, in whatever process they run
    OmegaConf.register_new_resolver("run_id", lambda: run_id, replace=True)
    register()
    args, said = words.spoken(args, command)
    flags, settings = words.split(safety.checked(args), command)
    multirun, looks = "--multirun" in flags, bool(set(flags) - {"--multirun"})
    root, fault = "", None
    if command in words.TALKS and (multirun or (looks and said is not None)):
        raise ConfigError(f"{', '.join(flags)}: does nothing for `{command}`; drop it, or --prompt")
    settings = recipes.resolve(command, settings)
    try:
        if not looks or "--cfg" in flags:
            configs = _check(command, settings, multirun, runs=not looks)
            root = configs[0].run.root
    except UsageError as error:  # of a configuration that is only looked at, after it was printed
        fault = error
    if fault and not looks:
        raise fault
    if command in words.TALKS and not looks:
        return _talk(configs[0], said)
    codes: list[int] = []

    def task(config: DictConfig) -> float | None:
        code, value = job(config, [prog, *args])
        codes.append(code)
        return value

    try:
        with _process([prog, *flags, *settings]):
            hydra.main(config_path=str(CONF), config_name=command, version_base="1.3")(task)()
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise fault or ConfigError(explain(error)) from None
    finally:
        failed = sweep.report(Path(root, command, "sweep", run_id)) if multirun and root else 0  # conf/base.yaml
    if fault:
        raise fault
    return failed if multirun else max(codes, default=0)


def _talk(config: Any, said: str | None) -> int:
    """A command that computes nothing to keep: it runs here, without Hydra's job and its directory."""
    from llmtrain.launch import tuning
    from llmtrain.launch.processes import stage

    tuning.apply(config.launch.tune)
    if said is not None:
        config.prompt = said
    logs.plain(None)
    return stage(config.command).talk(config)


def _check(command: str, settings: list[str], multirun: bool, runs: bool) -> list[Any]:
    """Check all jobs, and all stages of a pipeline, before Hydra makes a directory; returns their configurations.

    runs: whether they are going to, so that their models, data and machine are looked for as well.
    """
    from llmtrain.stages import preflight

    faults: dict[str, list[str]] = {}  # what is wrong -> in which jobs
    configs = []
    with beside():
        jobs = list(sweep.jobs(command, settings)) if multirun else [("", settings)]
        sweep.parsed(settings, multirun)
    for label, own in jobs:
        try:
            configs.append(_checked(command, own, runs))
        except UsageError as error:
            faults.setdefault(str(error), []).append(label)
    roots = {config.run.root for config in configs}
    if len(roots) > 1:
        faults[f"run.root: all jobs of a sweep lie in one folder, not in {', '.join(sorted(roots))}; set it once"] = []
    if faults:
        raise ConfigError("\n".join(_of_jobs(fault, labels, len(jobs)) for fault, labels in faults.items()))
    if runs and command not in words.TALKS:
        preflight.make_root(configs[0].run.root, command)
    return configs


def _of_jobs(fault: str, labels: list[str], jobs: int) -> str:
    """A fault, with the jobs that have it unless all do."""
    if len(labels) in (0, jobs):
        return fault
    more = f" and {len(labels) - 3} more" if len(labels) > 3 else ""
    return f"{'; '.join(labels[:3])}{more}:\n{fault}"


def _checked(command: str, settings: list[str], runs: bool) -> Any:
    """Check a job; returns its configuration. Raises UsageError."""
    from llmtrain.stages import preflight

    config, folder, steps = _steps(command, settings)
    if runs:
        preflight.check(config, steps, folder)
    return config


def steps_of(command: str, args: list[str]) -> tuple[Any, Path, list[Any]]:
    """What a command line would run, checked but for what is not there yet: `_steps`. Raises UsageError."""
    register()
    flags, settings = words.split(safety.checked(args), command)
    if flags:
        raise ConfigError(f"{' '.join(flags)}: a plan is of one job; drop it")
    return _steps(command, recipes.resolve(command, settings), coming=None)


def _steps(command: str, settings: list[str], coming: Collection[str] | None = ()) -> tuple[Any, Path, list[Any]]:
    """Its configuration, the folder of its run, and its stages (of a pipeline several)."""
    from llmtrain.stages import plan

    config = composed(command, settings, coming)
    idle = _idle(config, settings)
    if idle:
        raise ConfigError("\n".join(idle))
    folder = Path(config.run.root, command, config.run.name, "new")
    return config, folder, plan.steps_of(command, config, folder)


def _idle(config: Any, settings: list[str]) -> list[str]:
    """Settings of a new model, when pretrain goes on with another one."""
    if config.command != "pretrain" or config.init is None:
        return []
    keys = [setting.lstrip("+").partition("=")[0] for setting in settings]
    own = [key for key in keys if key.split(".")[0] in ("model", "tokenizer")]
    return [f"{key}: does nothing with init={config.init}, which brings its own; drop it" for key in own]


@contextmanager
def _process(argv: list[str]) -> Iterator[None]:
    """Hydra reads sys.argv; with HYDRA_FULL_ERROR it lets errors reach us instead of printing them itself."""
    before, flag = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = argv, "1"
    try:
        yield
    finally:
        sys.argv = before
        if flag is None:
            os.environ.pop("HYDRA_FULL_ERROR", None)
        else:
            os.environ["HYDRA_FULL_ERROR"] = flag


def job(config: DictConfig, argv: list[str]) -> tuple[int, float | None]:
    """One job, called by Hydra in whatever process its launcher chose: exit code and headline metric.

    argv: the command line, for the record; a job of a sweep records its own part. Hydra would print a failure its own
    way and end a sweep, so nothing but an interruption is raised.
    """
    own = HydraConfig.get()
    path = Path(own.runtime.output_dir)
    if own.mode == RunMode.MULTIRUN:
        argv = [argv[0], *own.overrides.task]
    try:
        checked = typed(config, str(own.job.config_name))
        directory.create(path, mapping(checked), argv, recipe_of(checked.command, list(own.overrides.task)))
    except LlmtrainError as error:
        log.error("%s", error)
        return error.exit_code, None
    return run(path)


def run(path: Path) -> tuple[int, float | None]:
    """Execute (or go on with) the run in `path`: exit code and headline metric.

    What nobody expected becomes one line here and a traceback in a file.
    """
    from llmtrain.launch.processes import execute

    try:
        value = execute(path).get("value")
    except LlmtrainError as error:
        log.error("%s", error)
        return error.exit_code, None
    except Exception as error:
        trace = path / "traceback.txt"
        trace.write_text(redact(traceback.format_exc()), encoding="utf-8")
        log.error("%s: %s (a bug, or a machine in trouble; the traceback is in %s)", type(error).__name__, error, trace)
        return 1, None
    return 0, value if isinstance(value, float) else None
