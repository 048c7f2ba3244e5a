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
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from llmtrain.config import recipes, sweep
from llmtrain.config.check import build, mapping
from llmtrain.config.paths import CONF
from llmtrain.config.schema import COMMANDS
from llmtrain.errors import ConfigError, LlmtrainError, UsageError
from llmtrain.run import directory
from llmtrain.run.provenance import redact

log = logging.getLogger("llmtrain")
ENVIRONMENT = ("LLMTRAIN_RUNS", "LLMTRAIN_CACHE")
QUIET = ("--cfg", "-c", "--info", "-i", "--hydra-help", "--resolve", "--package", "-p")


def main(command: str, args: list[str], prog: str) -> int:
    """Run `command` with Hydra's command line; returns the exit code. Raises LlmtrainError for a wrong one."""
    run_id = directory.new_id()  # one for all jobs of a sweep, in whatever process they run
    OmegaConf.register_new_resolver("run_id", lambda: run_id, replace=True)
    _register()
    multirun = bool({"-m", "--multirun"} & set(args))
    looks = any(arg.split("=")[0] in QUIET for arg in args)
    argv = [prog, *args]
    root = "" if looks else _check(command, recipes.resolve(command, args), multirun)  # before Hydra makes a directory
    args = recipes.resolve(command, args)  # again: a pipeline's check has stored its stages' recipes
    codes: list[int] = []

    def task(config: DictConfig) -> float | None:
        code, value = job(config, argv)
        codes.append(code)
        return value

    try:
        with _process([prog, *args]):
            hydra.main(config_path=str(CONF), config_name=command, version_base="1.3")(task)()
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise ConfigError(explain(error)) from None
    if multirun:
        return sweep.report(Path(root, command, "sweep", run_id))  # hydra.sweep.dir of conf/base.yaml
    return max(codes, default=0)


def _check(command: str, args: list[str], multirun: bool) -> str:
    """Check a single run, or the first job of a sweep, and all stages of a pipeline; returns run.root."""
    given = [arg for arg in args if not arg.startswith(("-", "hydra.", "hydra/"))]
    config = _compose(command, _first_job(given) if multirun else given)
    if command == "pipeline":
        from llmtrain.stages.pipeline import plan

        plan(config, Path(config.run.root))
    return config.run.root


def _first_job(overrides: list[str]) -> list[str]:
    """Overrides with the first value of each sweep; what only a sweeper can choose is left out. Raises ConfigError."""
    first = []
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except HydraException as error:
        raise ConfigError(explain(error)) from None
    for override in parsed:
        if override.is_discrete_sweep():
            first.append(f"{override.get_key_element()}={next(iter(override.sweep_string_iterator()))}")
        elif not override.is_sweep_override():
            first.append(str(override.input_line))
    return first


def compose_stage(command: str, recipe: str, overrides: dict[str, Any], coming: Collection[str] = ()) -> Any:
    """The checked configuration of a stage: its recipe (a name, or a YAML file) under nested overrides.

    coming: paths that an earlier stage will have made by then. Raises ConfigError that names the stage.
    """
    _register()
    with recipes.apart():
        try:
            return _compose(command, recipes.resolve(command, [f"conf={recipe}", *_flat(overrides)]), coming)
        except UsageError as error:
            raise ConfigError(f"{command} (conf={recipe}):\n{error}") from None


def _flat(overrides: dict[str, Any], at: str = "") -> Iterator[str]:
    for key, value in overrides.items():
        where = f"{at}.{key}" if at else key
        if isinstance(value, dict):
            yield from _flat(value, where)
        else:
            yield f"{where}={_literal(value)}"


def _literal(value: Any) -> str:
    """A value in Hydra's override grammar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ",".join(map(_literal, value)) + "]"
    if isinstance(value, str) and (
        value in ("true", "false", "null") or not re.fullmatch(r"[A-Za-z_][\w./:-]*", value)
    ):
        return recipes.quoted(value)
    return str(value)


def _compose(command: str, overrides: list[str], coming: Collection[str] = ()) -> Any:
    """Compose beside Hydra's own job and check. Raises ConfigError."""
    running = GlobalHydra.instance().hydra  # a pipeline composes its stages inside its own job
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return _typed(compose(command, overrides), command, coming)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise ConfigError(explain(error)) from None
    finally:
        GlobalHydra.instance().hydra = running


def _typed(config: DictConfig, command: str, coming: Collection[str] = ()) -> Any:
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
    """A composition error in a few lines: what, where, and the nearest name."""
    cause = error.__cause__ or error.__context__
    text = str(error).split("Config search path:")[0].split("    full_key:")[0]
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("To append to your config")]
    if isinstance(cause, OmegaConfBaseException):
        lines[1:] = [str(cause).splitlines()[0]]
    unknown = re.search(r"Key '(\w+)' is not in struct|Could not override '([\w.]+)'", str(error) + str(cause or ""))
    if unknown:
        lines.append(_nearest(unknown[1] or unknown[2]))
    missing = re.search(r"In 'conf/.*': Could not find 'conf/(\w+)/(.+)'", text)
    if missing:
        lines.append(f"a recipe changes a group with `- override /{missing[1]}: {missing[2]}`")
    return "\n".join(line for line in lines if line)


def _nearest(key: str) -> str:
    import difflib

    from llmtrain.config.usage import keys

    known = {k.name for command in COMMANDS for k in keys(command)}
    leaf = {name.split(".")[-1]: name for name in sorted(known, reverse=True)}
    near = difflib.get_close_matches(key, known, n=1) or [
        leaf[n] for n in difflib.get_close_matches(key.split(".")[-1], leaf, n=1)
    ]
    return f"there is no such key; did you mean {near[0]}?" if near else "there is no such key; --help lists them"
