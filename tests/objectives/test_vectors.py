"""All vectors of the correctness specification, in both precisions; vectors.json is its copy."""

import json
import math
from pathlib import Path

import pytest
import torch

from tests.objectives import cases_policy, cases_preference, cases_text

VECTORS = {v["name"]: v for v in json.loads((Path(__file__).parent / "vectors.json").read_text())["vectors"]}
CASES = {**cases_text.CASES, **cases_preference.CASES, **cases_policy.CASES}

# Expected values that a vector lists as somebody's bug: name -> key -> the key of ours that must differ from it.
WRONG = {
    "gae_trl_position_bug": {"trl_adv_when_a_pad_column_exists": "correct_adv"},
    "lr_schedules": {"cosine_hf": "cosine_zero"},
    "adam_first_step_eps": {"tf1": "torch"},
    "token_normalised_accumulation": {"mean_of_means": "correct_loss", "mean_of_means_grad": "correct_grad"},
    "perplexity_bpb": {"wrong_mean_of_batch_ppl": "ppl"},
    "rm_bias_normalisation": {"wrong_overwrite_bias": {"bias": "mean_only.bias"}},
}
RELATIVE = {"adam_first_step_eps"}  # numbers far below 1e-5, where an absolute tolerance would say nothing


def number(x):
    return [number(v) for v in x] if isinstance(x, list) else (math.nan if x == "NaN" else x)


def plain(x):
    """Tensors and tuples as lists of floats."""
    if isinstance(x, torch.Tensor):
        return plain(x.detach().tolist())
    return [plain(v) for v in x] if isinstance(x, list | tuple) else float(x)


def faults(ours, expected, close, place=""):
    """Where `ours` differs from `expected`, as readable lines."""
    if isinstance(expected, dict):
        lost = [f"{place}.{key}: not computed" for key in expected if key not in ours]
        return lost + [f for k in expected if k in ours for f in faults(ours[k], expected[k], close, f"{place}.{k}")]
    ours, expected = plain(ours), plain(expected)
    if isinstance(expected, list):
        if not isinstance(ours, list) or len(ours) != len(expected):
            return [f"{place}: {ours} is not {expected}"]
        return [
            f for i, (a, b) in enumerate(zip(ours, expected, strict=True)) for f in faults(a, b, close, f"{place}[{i}]")
        ]
    return [] if close(ours, expected) else [f"{place}: {ours} is not {expected}"]


def compute(name, dtype):
    return CASES[name](
        {k: number(v) for k, v in VECTORS[name]["inputs"].items()}, lambda x, kind=dtype: torch.tensor(x, dtype=kind)
    )


def tolerance(name, dtype):
    if dtype == torch.float64:
        t = VECTORS[name]["tolerance"]
        return lambda a, b: abs(a - b) <= t["abs"] + t["rel"] * abs(b)
    absolute = 1e-12 if name in RELATIVE else 1e-5
    return lambda a, b: abs(a - b) <= absolute + 1e-5 * abs(b)


def test_there_are_35_and_each_has_a_function():
    assert len(VECTORS) == 35
    assert set(CASES) == set(VECTORS)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", VECTORS)
def test_vector(name, dtype):
    expected = {k: v for k, v in VECTORS[name]["expected"].items() if k not in WRONG.get(name, {})}
    assert faults(compute(name, dtype), expected, tolerance(name, dtype)) == []


@pytest.mark.parametrize("name", WRONG)
def test_ours_is_not_the_known_bug(name):
    ours = compute(name, torch.float64)
    for key, right in WRONG[name].items():
        wrong = VECTORS[name]["expected"][key]
        if isinstance(right, dict):  # rm_bias_normalisation
            wrong, right = wrong["bias"], "mean_only.bias"
        value = ours
        for part in right.split("."):
            value = value[part]
        assert faults(value, wrong, tolerance(name, torch.float64)), f"{name}: {right} equals the bug {key}"
