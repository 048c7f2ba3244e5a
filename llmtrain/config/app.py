"""The only module that knows Hydra: a command line in, a run directory per job out."""

import logging
import os
import re
import sys
import traceback
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from llmtrain.config import recipes, safety, sweep, words
from llmtrain.config.check import build, mapping
from llmtrain.config.paths import CONF
from llmtrain.errors import ConfigError, LlmtrainError, UsageError
from llmtrain.run import directory
from llmtrain.run.provenance import redact

log = logging.getLogger("llmtrain")
ENVIRONMENT = ("LLMTRAIN_RUNS", "LLMTRAIN_CACHE")


def main(command: str, args: list[str], prog: str) -> int:
    """Run `command` with Hydra's command line; returns the exit code. Raises LlmtrainError for a wrong one."""
    run_id = directory.new_id()  # one for all jobs of a sweep, in whatever process they run
    OmegaConf.register_new_resolver("run_id", lambda: run_id, replace=True)
    _register()
    flags, settings = words.split(safety.checked(args), command)
    multirun, looks = "--multirun" in flags, bool(set(flags) - {"--multirun"})
    root, fault = "", None
    try:
        if not looks or "--cfg" in flags:
            root = _check(command, settings, multirun, runs=not looks)
    except UsageError as error:  # of a configuration that is only looked at, after it was printed
        fault = error
    if fault and not looks:
        raise fault
    codes: list[int] = []

    def task(config: DictConfig) -> float | None:
        code, value = job(config, [prog, *args])
        codes.append(code)
        return value

    try:
        settings = recipes.resolve(command, settings)
        with _process([prog, *flags, *settings]):
            hydra.main(config_path=str(CONF), config_name=command, version_base="1.3")(task)()
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise fault or ConfigError(explain(error)) from None
    finally:
        failed = sweep.report(Path(root, command, "sweep", run_id)) if multirun and root else 0  # conf/base.yaml
    if fault:
        raise fault
    return failed if multirun else max(codes, default=0)


def _check(command: str, settings: list[str], multirun: bool, runs: bool) -> str:
    """Check all jobs, and all stages of a pipeline, before Hydra makes a directory; returns run.root.

    runs: whether they are going to, so that their models, data and machine are looked for as well.
    """
    from llmtrain.stages import preflight

    faults: dict[str, list[str]] = {}  # what is wrong -> in which jobs
    roots = set()
    settings = recipes.resolve(command, settings)
    with _beside():
        jobs = list(sweep.jobs(command, settings)) if multirun else [("", settings)]
        sweep.parsed(settings, multirun)
    for label, own in jobs:
        try:
            roots.add(_checked(command, own, runs))
        except UsageError as error:
            faults.setdefault(str(error), []).append(label)
    if len(roots) > 1:
        faults[f"run.root: all jobs of a sweep lie in one folder, not in {', '.join(sorted(roots))}; set it once"] = []
    if faults:
        raise ConfigError("\n".join(_of_jobs(fault, labels, len(jobs)) for fault, labels in faults.items()))
    root = roots.pop()
    if runs:
        preflight.make_root(root, command)
    return root


def _of_jobs(fault: str, labels: list[str], jobs: int) -> str:
    """A fault, with the jobs that have it unless all do."""
    if len(labels) in (0, jobs):
        return fault
    more = f" and {len(labels) - 3} more" if len(labels) > 3 else ""
    return f"{'; '.join(labels[:3])}{more}:\n{fault}"


def _checked(command: str, settings: list[str], runs: bool) -> str:
    """Check a job; returns its run.root. Raises UsageError."""
    from llmtrain.stages import preflight

    config, folder, steps = _steps(command, settings)
    if runs:
        preflight.check(config, steps, folder)
    return config.run.root


def steps_of(command: str, args: list[str]) -> tuple[Any, Path, list[Any]]:
    """What a command line would run, checked but for what is not there yet: `_steps`. Raises UsageError."""
    _register()
    flags, settings = words.split(safety.checked(args), command)
    if flags:
        raise ConfigError(f"{' '.join(flags)}: a plan is of one job; drop it")
    return _steps(command, recipes.resolve(command, settings), coming=None)


def _steps(command: str, settings: list[str], coming: Collection[str] | None = ()) -> tuple[Any, Path, list[Any]]:
    """Its configuration, the folder of its run, and its stages (of a pipeline several)."""
    from llmtrain.stages import plan

    config = _compose(command, settings, coming)
    idle = _idle(config, settings)
    if idle:
        raise ConfigError("\n".join(idle))
    folder = Path(config.run.root, command, config.run.name, "new")
    return config, folder, plan.plan(config, folder) if command == "pipeline" else [plan.Step(command, command, config)]


def compose_stage(command: str, recipe: str, overrides: dict[str, Any], coming: Collection[str] | None = ()) -> Any:
    """The checked configuration of a stage: its recipe (a name, or a YAML file) under nested overrides.

    coming: paths that an earlier stage will have made by then; None: any. Raises ConfigError whose keys begin with
    the stage.
    """
    _register()
    given = [f"conf={recipe}", *recipes.flat(recipes.choices(command, overrides))]
    with recipes.apart():
        try:
            return _compose(command, recipes.resolve(command, given), coming)
        except UsageError as error:
            keys = r"(^|give |mean |set )(?=[a-z_]+[.=:,])|(no such key; did you mean )"
            own = re.sub(keys, rf"\1\2{command}.", str(error), flags=re.MULTILINE)
            raise ConfigError(f"{command} (conf={recipe}):\n{own}") from None


def _compose(command: str, settings: list[str], coming: Collection[str] | None = ()) -> Any:
    """Compose beside Hydra's own job and check. Raises ConfigError with all faults."""
    faults = recipes.faulty_options(command, settings)
    given = [_forced(command, setting) for setting in settings if setting not in faults]
    told = list(faults.values())
    try:
        with _beside():
            config = _typed(compose(command, given), command, coming)
    except ConfigError as error:
        told.append(str(error))
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        told.append(explain(error))
    if told:
        raise ConfigError("\n".join(told))
    return config


def _forced(command: str, setting: str) -> str:
    """Keys that nobody knows are added, so that check.py tells all of them at once, each with the nearest name."""
    key = setting.lstrip("+").partition("=")[0]
    is_group = key in ("conf", *recipes.groups_of(command))
    return setting if is_group or setting.startswith("~") else "++" + setting.lstrip("+")


def _idle(config: Any, settings: list[str]) -> list[str]:
    """Settings of a new model, when pretrain goes on with another one."""
    if config.command != "pretrain" or config.init is None:
        return []
    keys = [setting.lstrip("+").partition("=")[0] for setting in settings]
    own = [key for key in keys if key.split(".")[0] in ("model", "tokenizer")]
    return [f"{key}: does nothing with init={config.init}, which brings its own; drop it" for key in own]


@contextmanager
def _beside() -> Iterator[None]:
    """Hydra's Compose API, whatever job is running: a pipeline composes its stages inside its own."""
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = running


def _typed(config: DictConfig, command: str, coming: Collection[str] | None = ()) -> Any:
    """The dataclass of a composed configuration. Raises ConfigError with all faults."""
    values = OmegaConf.to_container(config, resolve=True, throw_on_missing=False, enum_to_str=True)
    assert isinstance(values, dict)
    plain = {str(key): value for key, value in values.items() if key not in ("hydra", "conf")}
    if plain.get("command") != command:
        own = plain.get("command")
        raise ConfigError(f"command: this is a configuration of {own!r}, not of {command!r}; use llmtrain {own}")
    return build(plain, coming)


def _register() -> None:
    OmegaConf.register_new_resolver("slug", directory.slug, replace=True)
    OmegaConf.register_new_resolver("oc.env", _environment, replace=True)


def _environment(name: str, default: str | None = None) -> str | None:
    """What ${oc.env:..} gives. A configuration is saved, so no other variable gets in. Raises ConfigError."""
    if name not in ENVIRONMENT:
        raise ConfigError(
            f"oc.env: {name} does not go into a configuration, which is saved (only {', '.join(ENVIRONMENT)})"
        )
    return os.environ.get(name, default)


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
        typed = _typed(config, str(own.job.config_name))
        directory.create(path, mapping(typed), argv=argv)
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


def explain(error: Exception) -> str:
    """A composition error in a few lines: what, where, and the remedy."""
    cause = error.__cause__ or error.__context__
    text = str(error).split("Config search path:")[0].split("    full_key:")[0]
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("To append to your config")]
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        lines = [f"{error.full_key}: {lines[0]}; a recipe refers to other keys of its own as ${{data.rows}}"]
    elif isinstance(cause, OmegaConfBaseException):
        lines[1:] = [str(cause).splitlines()[0]]
    group = re.search(r"In 'conf/.*': Could not find 'conf/(\w+)/(.+)'", text)
    if group:
        lines.append(f"a recipe changes a group with `- override /{group[1]}: {group[2]}`")
    recipe = re.search(r"In 'conf/(.*)': Could not load 'conf/(.+)'", text)
    if recipe:
        lines = [
            f"{recipe[1]}: defaults: {recipe[2]}: no such recipe; a defaults list names shipped ones (--help); put "
            f"your own files side by side: conf=[{recipe[2]}.yaml,{recipe[1]}.yaml]"
        ]
    return "\n".join(line for line in lines if line)
