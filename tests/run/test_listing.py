import io
import json

from rich.console import Console

from llmtrain.run import directory, lineage, listing, lock
from llmtrain.run.lineage import resolve_model


def origin(run):
    return resolve_model(str(run), root="", name="", stages=(directory.read_config(run)["command"],))


def shown(root) -> list[str]:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(listing.table(root))
    return console.export_text().splitlines()


def line(text: list[str], word: str) -> str:
    (found,) = [row for row in text if word in row]
    return found


def test_children_stand_under_what_they_came_from(make_run, tmp_path):
    base, other = make_run("pretrain", "20260101-000000-000001"), make_run("pretrain", "20260105-000000-000001")
    sft = make_run("sft", "20260102-000000-000001", steps=(40,))
    reward = make_run("reward", "20260103-000000-000001", status="failed")
    ppo = make_run("ppo", "20260104-000000-000001", status=None)
    lineage.write(sft, {"init": origin(base)}, {})
    lineage.write(reward, {"init": origin(sft)}, {})
    lineage.write(ppo, {"judge": origin(reward), "init": origin(sft)}, {})
    tops = listing.forest(tmp_path / "runs")
    assert [entry.path for entry in tops] == [base, other]
    (under,) = tops[0].children
    assert [entry.path for entry in under.children] == [reward, ppo]
    assert under.children[1].others == [str(reward.relative_to(tmp_path / "runs"))]
    with lock.hold(ppo):
        text = shown(tmp_path / "runs")
    assert "running" in line(text, "ppo/demo")
    assert "finished" in line(text, "sft/demo") and "40" in line(text, "sft/demo")
    assert "eval/loss 1.5" in line(text, "sft/demo")
    assert "because" in [row for row in text if "reward/demo" in row and "failed" in row][0]


def test_stages_hang_under_their_pipeline(make_run, tmp_path):
    stage = make_run("sft", "20260101-000000-000001", inside="pipeline")
    directory.create(stage.parent, {"command": "pipeline"}, argv=[])
    (top,) = listing.forest(tmp_path / "runs")
    assert [entry.path for entry in top.children] == [stage]
    assert line(shown(tmp_path / "runs"), "└ ").split()[2] == stage.name  # the rest of its path stands above
    assert top.state == "died"


def test_the_step_of_a_run_without_result_is_its_last_logged(make_run, tmp_path):
    run = make_run("sft", "20260101-000000-000001", status=None)
    (run / "metrics.jsonl").write_text('{"step": 11}\n{"step": 12}\n{"st')
    (top,) = listing.forest(tmp_path / "runs")
    assert (top.state, top.step) == ("died", "12")


def test_rubbish_and_forged_records_do_not_stop_it(make_run, tmp_path):
    """A circle of parents, a broken result, a broken lineage, markup and escapes in a reason."""
    a, b = make_run("sft", "20260101-000000-000001"), make_run("sft", "20260101-000000-000002")
    for run, parent in ((a, b), (b, a)):
        entry = {"path": str(parent / "checkpoints/step-00000005"), "digest": "x"}
        (run / "lineage.json").write_text(json.dumps({"parents": {"init": entry}, "data": {}}))
    broken = make_run("sft", "20260101-000000-000003")
    (broken / "result.json").write_text("{")
    (broken / "lineage.json").write_text("[")
    evil = make_run("sft", "20260101-000000-000004", status=None)
    directory.write_result(evil, "failed", "\x1b[2J[bold]x[/bold]", 1, {})
    text = "\n".join(shown(tmp_path / "runs"))
    assert text.count("20260101-") == 4
    assert "\x1b" not in text and "[bold]x[/bold]" in text


def test_an_empty_root(tmp_path):
    assert listing.forest(tmp_path / "nothing") == []
    assert shown(tmp_path)
