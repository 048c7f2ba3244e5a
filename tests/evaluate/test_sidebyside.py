"""The table of all models, and their answers side by side."""

from rich.console import Console

from llmtrain.data.records import Message, Prompt
from llmtrain.evaluate import sidebyside
from llmtrain.loop.learner import Rate


def shown(table) -> str:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def test_table_with_every_column_fits_80_characters():
    numbers = {"eval/perplexity": 12345.678, "eval/bits_per_byte": 3.815, "eval/kl": 101.42, "eval/length": 33.14}
    numbers |= {f"gold/{h}": Rate(1, 3) for h in ("helpful", "honest", "harmless")}
    said = shown(sidebyside.table({"pretrain": numbers | {"eval/win_rate": Rate(29, 100)}, "sft@465": numbers}, "sft"))
    rows = {line.split()[0]: line for line in said.splitlines() if line.strip()}
    for part in ("1e+04", "3.815", "0.33", "0.29 [0.21, 0.39]", "101.42", "33.1"):  # Wilson of 29 of 100
        assert part in rows["pretrain"]
    assert "wins: share of answers better than those of sft" in said


def test_columns_that_no_model_has_are_left_out():
    said = shown(sidebyside.table({"a": {"eval/perplexity": 2.0}}, None))
    assert "2.00" in said and "wins" not in said and "KL" not in said


def test_tasks_with_their_errors():
    said = shown(
        sidebyside.tasks({"a": {"task/toy/acc": 0.5, "task/toy/acc_stderr": 0.25}, "b": {"task/toy/acc": 1.0}})
    )
    row = next(line for line in said.splitlines() if "toy/acc" in line)
    assert row.split() == ["toy/acc", "0.500", "±", "0.250", "1.000"]


def test_answers_side_by_side():
    prompts = [Prompt((Message("user", "Who | what?"),))]
    rows = sidebyside.rows(prompts, {"a": [("Mira.", True)], "b": [("Tom and\nhis", False)]}, {"a": [1.25]})
    assert rows == [
        {
            "prompt": "Who | what?",
            "answers": {
                "a": {"text": "Mira.", "ended": True, "score": 1.25},
                "b": {"text": "Tom and\nhis", "ended": False},
            },
        }
    ]
    assert "| Who \\| what? | Mira. (1.25) | Tom and his [...] |" in sidebyside.markdown(rows, 3)
