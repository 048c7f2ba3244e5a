"""The lm-evaluation-harness on a checkpoint: a task made on the spot, no network; and task files that hold code."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import tiny
import torch
import transformers

from llmtrain.errors import ConfigError, DataError
from llmtrain.evaluate import harness

installed = find_spec("lm_eval") is not None and find_spec("accelerate") is not None
needs = pytest.mark.skipif(not installed, reason="the extra lm-eval is not installed: pip install 'llmtrain[lm-eval]'")

QUESTIONS = [("Mira lives at the", ["mill", "farm", "inn"], 0), ("Tom owns a", ["kite.", "goat"], 1)]
TASK = """task: toy
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{q}}}}"
doc_to_choice: choices
doc_to_target: gold
metric_list: [{{metric: acc}}]
"""


@pytest.fixture
def task(tmp_path, monkeypatch) -> Path:
    """A task file with its rows beside it; its data set is cached below tmp_path."""
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    rows, file = tmp_path / "rows.jsonl", tmp_path / "toy.yaml"
    made = [{"q": q, "choices": choices, "gold": gold} for q, choices, gold in QUESTIONS]
    rows.write_text("".join(json.dumps(row) + "\n" for row in made))
    file.write_text(TASK.format(rows=rows))
    return file


def right(model: Path) -> list[bool]:
    """Which questions a model answers rightly: its likeliest choice, by transformers' own forward."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    plain = transformers.AutoModelForCausalLM.from_pretrained(model).eval()
    found = []
    for question, choices, gold in QUESTIONS:
        start = len(tokenizer(question)["input_ids"])
        sums = []
        for choice in choices:
            ids = torch.tensor(tokenizer(f"{question} {choice}")["input_ids"])
            with torch.no_grad():
                logp = plain(ids[None]).logits.log_softmax(-1)[0]
            sums.append(float(logp[torch.arange(start - 1, len(ids) - 1), ids[start:]].sum()))
        found.append(sums.index(max(sums)) == gold)
    return found


@needs
def test_a_task_made_on_the_spot(chain, runs, task):
    run = tiny.ran("eval", runs, models=[str(chain.pretrain), str(chain.sft)], tasks=[str(task)])
    found = json.loads((run / "result.json").read_text())
    for label in ("pretrain", "sft"):
        wanted = right(Path(found["models"][label]))
        assert found["metrics"][f"{label}/task/toy/acc"] == sum(wanted) / len(wanted)


@needs
def test_what_the_poll_raises_ends_it(chain, task):
    def poll():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        harness.run(
            chain.sft / "checkpoints/latest",
            [str(task)],
            device=torch.device("cpu"),
            dtype=torch.float32,
            seed=2**40,
            poll=poll,
        )


@needs
def test_a_task_without_its_data_is_an_error_of_the_input(chain, task):
    (task.parent / "rows.jsonl").unlink()
    place = chain.sft / "checkpoints/latest"
    with pytest.raises(DataError, match="toy.yaml cannot be loaded"):
        harness.run(place, [str(task)], device=torch.device("cpu"), dtype=torch.float32, seed=0, poll=lambda: None)


@needs
def test_a_template_cannot_reach_python(chain, task):
    task.write_text(task.read_text().replace("{{q}}", "{{ q.__class__.__mro__ }}"))
    place = chain.sft / "checkpoints/latest"
    with pytest.raises(Exception, match="unsafe"):
        harness.run(place, [str(task)], device=torch.device("cpu"), dtype=torch.float32, seed=0, poll=lambda: None)


@needs
def test_names_that_the_harness_does_not_know(task):
    said = list(harness.faults(["hellaswagg", "hellaswag", str(task)]))
    assert said == ["hellaswagg: the harness has no such task; did you mean hellaswag?"]


@needs
@pytest.mark.parametrize("metric", ["[{metric: accuracy_of_the_hub}]", "[{metric: acc, hf_evaluate: true}]", "acc"])
def test_metrics_are_the_harness_s_own(metric, task):
    task.write_text(task.read_text().replace("[{metric: acc}]", metric))
    with pytest.raises(ConfigError, match="metric_list"):
        harness.read(task)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("process_docs: !function utils.process", "code .!function. is not run from it"),
        ("include: other.yaml", "include: not read from a file"),
        ("class: !!python/name:os.system", "not plain YAML"),
        ("class: os.system", "class: not read from a file"),
    ],
)
def test_code_in_a_task_file_is_refused(line, message, task):
    task.write_text(task.read_text() + line + "\n")
    with pytest.raises(ConfigError, match=message):
        harness.read(task)


def test_a_file_that_is_no_task(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read .*; give the path of a task file"):
        harness.read(tmp_path / "nope.yaml")
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(ConfigError, match="no task of the lm-evaluation-harness"):
        harness.read(tmp_path / "list.yaml")


def test_without_the_extra_there_is_a_remedy(monkeypatch):
    monkeypatch.setattr(harness, "find_spec", lambda name: None)
    (said,) = harness.faults(["hellaswag"])
    assert said == "lm_eval, accelerate is not installed; pip install 'llmtrain[lm-eval]', or set tasks to []"
