"""EleutherAI's lm-evaluation-harness (the extra `lm-eval`) on a checkpoint, which to it is a plain Hugging Face model.

A task is one that the harness ships, by its name, or a YAML file of the user's. The latter is data (house rule 16): the
harness would import the Python that `!function` or `class` name, and render templates without a sandbox.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import yaml

from llmtrain.errors import ConfigError, DataError

YAML = (".yaml", ".yml")
# What a task file may hold. Other keys of the harness lead to Python (class, include, process_docs, use_prompt).
KEYS = set(
    "task task_alias tag dataset_path dataset_name dataset_kwargs training_split validation_split test_split "
    "fewshot_split output_type doc_to_text doc_to_target doc_to_choice target_delimiter fewshot_delimiter "
    "description num_fewshot generation_kwargs repeats filter_list metric_list metadata".split()
)
SEEDS = 2**32  # NumPy's legacy generator, which the harness seeds, takes no more


def faults(tasks: Sequence[str]) -> Iterator[str]:
    """Why tasks cannot be run: the extra is not there, a name is unknown, a file is no task."""
    missing = [name for name in ("lm_eval", "accelerate") if find_spec(name) is None]
    if missing:
        yield f"{', '.join(missing)} is not installed; pip install 'llmtrain[lm-eval]', or set tasks to []"
        return
    for task in tasks:
        if task.endswith(YAML):
            try:
                read(Path(task).expanduser())
            except ConfigError as error:
                yield str(error)
        elif task not in _shipped():
            near = get_close_matches(task, _shipped(), n=1)
            hint = (
                f"did you mean {near[0]}?" if near else "lm_eval ls tasks lists them; a file of your own ends in .yaml"
            )
            yield f"{task}: the harness has no such task; {hint}"


@cache
def _shipped() -> frozenset[str]:
    """The names of the harness's own tasks and groups; reading its index takes seconds."""
    return frozenset(_manager(True).all_tasks)


def _manager(shipped: bool) -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager(include_defaults=shipped)


def read(path: Path) -> dict[str, Any]:
    """A task file as plain data. Raises ConfigError for one that is not there, is no task, or names code."""
    try:
        task = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give the path of a task file") from None
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{path}: not plain YAML, and code (!function) is not run from it ({reason})") from None
    if not isinstance(task, dict) or not isinstance(task.get("task"), str):
        raise ConfigError(f"{path}: no task of the lm-evaluation-harness; it needs at least `task: NAME`")
    other = sorted(str(key) for key in task if key not in KEYS)
    if other:
        raise ConfigError(f"{path}: {', '.join(other)}: not read from a file; it may hold {', '.join(sorted(KEYS))}")
    return task | {"metric_list": _metrics(task.get("metric_list"), path)}


def _metrics(entries: Any, path: Path) -> list[dict[str, Any]]:
    """The metrics of a task file, all of them the harness's own: another name is a script that it would download."""
    import lm_eval.api.metrics  # fills the registry
    import lm_eval.api.registry

    known = sorted(lm_eval.api.registry.METRIC_REGISTRY)
    if not isinstance(entries, list) or not all(isinstance(e, dict) and not e.get("hf_evaluate") for e in entries):
        raise ConfigError(f"{path}: metric_list: should be a list such as [{{metric: acc}}], without hf_evaluate")
    wrong = [str(entry.get("metric")) for entry in entries if entry.get("metric") not in known]
    if wrong:
        raise ConfigError(f"{path}: metric_list: {', '.join(wrong)} is none of {', '.join(known)}")
    return entries


def run(
    model: Path, tasks: Sequence[str], *, device: torch.device, dtype: torch.dtype, seed: int, poll: Callable[[], None]
) -> dict[str, float]:
    """`task/<task>/<metric>` of the model at `model`, and `.../<metric>_stderr` where the harness gives one.

    poll: called before each forward; what it raises ends the evaluation.
    """
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    _sandbox()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)

    class Polled(HFLM):
        def _model_call(self, *args: Any, **kwargs: Any) -> Any:
            poll()
            return super()._model_call(*args, **kwargs)

        def _model_generate(self, *args: Any, **kwargs: Any) -> Any:
            poll()
            return super()._model_generate(*args, **kwargs)

    own = [read(Path(task).expanduser()) if task.endswith(YAML) else task for task in tasks]
    manager = _manager(any(isinstance(task, str) for task in own))
    try:
        manager.load(own)
    except Exception as error:  # whatever a task's data lead to
        reason = " ".join(str(error).split())[:300]
        raise DataError(
            f"tasks: {', '.join(tasks)} cannot be loaded ({reason}); check its data, and the network"
        ) from None
    found = lm_eval.simple_evaluate(
        model=Polled(pretrained=str(model), device=str(device), dtype=dtype, batch_size=16, trust_remote_code=False),
        tasks=own,
        task_manager=manager,
        random_seed=seed,
        numpy_random_seed=seed % SEEDS,
        torch_random_seed=seed,
        fewshot_random_seed=seed,
        log_samples=False,
    )
    return dict(_numbers(found["results"]))


def _numbers(results: dict[str, dict[str, Any]]) -> Iterator[tuple[str, float]]:
    """{"toy": {"acc,none": 0.5}} -> task/toy/acc; a filter other than `none` stays in the name."""
    for task, values in results.items():
        for name, value in values.items():
            metric, comma, how = name.partition(",")
            if comma and isinstance(value, int | float):
                yield f"task/{task}/{metric}{'' if how == 'none' else f'.{how}'}", float(value)


def _sandbox() -> None:
    """Templates of tasks are data too: let the harness render them as transformers does chat templates."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from lm_eval import utils

    before = utils.env
    utils.env = ImmutableSandboxedEnvironment(undefined=before.undefined, keep_trailing_newline=True)
    utils.env.filters.update(before.filters)
