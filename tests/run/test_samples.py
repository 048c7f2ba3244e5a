"""What was written, read back and shown: `llmtrain samples` on runs of each kind."""

import io
import json

import pytest
from rich.cells import cell_len
from rich.console import Console
from typer.testing import CliRunner

from llmtrain import cli
from llmtrain.errors import ConfigError, RunError
from llmtrain.run.reading import table
from llmtrain.run.samples import read

EVIL = "\x1b[2J\u202eabc\u200b[bold]x[/bold]\x07\ud800"


@pytest.fixture
def trained(make_run):
    """A ppo run with samples of steps 0, 3, 6 and 12: one prompt whose answer changes, one of several lines."""
    run = make_run("ppo", "20260101-000000-000001", steps=())
    for step in (0, 3, 6, 12):
        rows = [
            {"prompt": "Who?", "answer": f"Answer {step}.", "ended": step > 0, "score": -1.23456 + step},
            {
                "prompt": "A story, please.",
                "answer": "One.\nTwo.",
                "ended": True,
                "score": 1.0,
                "level": 3,
                "h": "honest",
            },
        ]
        lines(run / f"samples/step-{step:08d}.jsonl", rows)
    return run


def lines(file, rows) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def drawn(found, width: int = 80) -> str:
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(table(found, 10, width))
    text = console.export_text()
    assert max(map(cell_len, text.splitlines())) <= width
    return text


def called(*args: str):
    return CliRunner().invoke(cli.app, ["samples", *map(str, args)])


def test_the_first_the_middle_and_the_newest_stand_side_by_side(trained):
    text = drawn(read(trained))
    (head,) = [row for row in text.splitlines() if "prompt" in row]
    assert [word for word in head.split() if word.isdigit()] == ["0", "6", "12"]
    (first,) = [row for row in text.splitlines() if "Who?" in row]
    assert "Answer 0. [...]" in first and "Answer 6." in first and "Answer 12." in first
    assert "score -1.23" in text and "score 1, level 3" in text and "honest" in text


def test_one_step_and_every_step(trained):
    assert read(trained, step=3).columns == ["step 3"]
    every = read(trained, every=True)
    assert every.columns == ["step 0", "step 3", "step 6", "step 12"]
    text = drawn(every, 60)  # too narrow for five columns: one below the other
    assert text.index("Who?") < text.index("Answer 3.") < text.index("Answer 12.") < text.index("A story")


def test_a_prompt_that_stands_twice_is_two_rows(make_run):
    run = make_run("pretrain", "20260101-000000-000001", steps=())
    for step in (1, 2):
        texts = [{"prompt": "One day", "text": f"{n} at {step}"} for n in "ab"]
        lines(run / f"samples/step-{step}.jsonl", texts)
    found = read(run)
    assert [[said.text for said in row.answers.values()] for row in found.asked] == [
        ["a at 1", "a at 2"],
        ["b at 1", "b at 2"],
    ]


def test_the_models_of_an_evaluation_stand_side_by_side(make_run):
    run = make_run("eval", "20260101-000000-000001", steps=())
    answers = {"sft": {"text": "Yes.", "ended": True, "level": 0}, "ppo": {"text": "No.", "ended": False, "score": 0.5}}
    lines(run / "answers.jsonl", [{"prompt": "Burn it?", "h": "harmless", "answers": answers}])
    found = read(run)
    assert (found.columns, found.aligned) == (["sft", "ppo"], True)
    assert "No. [...]" in drawn(found)
    with pytest.raises(ConfigError, match="has no steps; leave them out"):
        read(run, step=3)


def test_answers_of_a_sample_run_come_best_first(make_run):
    run = make_run("sample", "20260101-000000-000001", steps=())
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "Go"},
    ]
    said = [{"text": "cold", "ended": True, "source": "policy"}, {"text": "hot", "ended": False, "source": "self@1.5"}]
    lines(run / "outputs.jsonl", [{"prompt": turns, "answers": said}])
    text = drawn(read(run))
    assert "user: Hi" in text and "assistant: Yes?" in text and "source self@1.5  hot [...]" in text
    ranked = {"prompt": turns[:1], "responses": ["b", "a"], "ranks": [2.0, 1.0], "annotator": "anna"}
    lines(run / "rankings.jsonl", [ranked])
    found = read(run)
    assert [said.text for said in found.asked[0].answers.values()] == ["a", "b"]
    assert "ranked by anna" in drawn(found) and "rank 2" in drawn(found)


def test_damaged_lines_are_counted_and_told(trained):
    file = trained / "samples/step-00000012.jsonl"
    bad = ["{", "[]", "7", '{"prompt": 3, "answer": "x"}', '{"prompt": "x"}', '{"prompt": "x", "answer": 5}', "\xff"]
    file.write_bytes(file.read_bytes() + "\n".join(bad).encode("latin-1"))
    assert read(trained).damaged == {"step-00000012.jsonl": len(bad)}
    shown = called(trained)
    assert shown.exit_code == 0
    assert f"step-00000012.jsonl: {len(bad)} damaged lines left out" in shown.stderr


def test_control_characters_are_shown_not_sent(make_run):
    run = make_run("sft", "20260101-000000-000001", steps=())
    lines(run / "samples/step-1.jsonl", [{"prompt": EVIL, "answer": EVIL, "ended": True, "h": EVIL}])
    lines(run / "samples/step-x.jsonl", [{"prompt": "no step", "answer": "no step"}])
    found = read(run)
    shown = called(run)
    assert shown.exit_code == 0
    for text in (drawn(found), shown.stdout):
        assert not set(text) & set("\x1b\u202e\u200b\x07\ud800")
        assert "U+202E" in text and "[bold]" in text and "no step" not in text


def test_piped_it_is_plain_and_whole(trained):
    long = "word " * 400
    lines(trained / "samples/step-00000000.jsonl", [{"prompt": "Who?", "answer": long, "ended": True}])
    shown = called(trained, "--prompt", "WHO")
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[:3] == ["Who?", f"  step 0: {long}", "  step 6: Answer 6.  score 4.77"]
    assert "\x1b" not in shown.stdout


def test_more_prompts_than_shown_are_told(trained):
    shown = called(trained, "--rows", "1")
    assert "A story" not in shown.stdout
    assert "1 more prompts; --rows=2 shows all" in shown.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--step", "4"], r"--step=4: .* has samples of steps 0, 3, 6, 12"),
        (["--step", "3", "--all"], "one of the two"),
        (["--prompt", "nobody"], "--prompt=nobody: none of 2 prompts holds it"),
    ],
)
def test_what_is_wrong_is_told_with_what_there_is(trained, args, message):
    shown = called(trained, *args)
    assert isinstance(shown.exception, ConfigError)
    with pytest.raises(ConfigError, match=message):
        raise shown.exception


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("sft", "no samples yet; sft writes them at each evaluation"),
        ("eval", "when it ends"),
        ("reward", "a reward model writes no text"),
    ],
)
def test_a_run_without_samples_says_why(make_run, command, message):
    with pytest.raises(RunError, match=message):
        read(make_run(command, "20260101-000000-000001", steps=()))


def test_a_pipeline_names_its_stages(make_run):
    stage = make_run("sft", "20260101-000000-000001", inside="pipeline", steps=())
    (stage.parent / "config.yaml").write_text("command: pipeline\n")
    with pytest.raises(RunError, match="is a pipeline: name one of its stages, sft"):
        read(stage.parent)
