"""Where the votes of a run are: a schema of its own on a server, the ranking that is meant in a pipeline."""

from pathlib import Path

import pytest

from llmtrain.config.check import mapping
from llmtrain.config.compose import compose_stage
from llmtrain.errors import InitError
from llmtrain.run import directory
from llmtrain.stages import votes

ID = "20261126-220145-425877"


def test_no_two_runs_share_a_schema():
    runs = [
        f"a/rank/t/{ID}",
        f"a/pipeline/t/{ID}/rank-1",
        f"a/pipeline/t/{ID}/rank",
        f"a/rank/sweep/{ID}/0-seed-1",
        f"a/rank/sweep/{ID}/1-seed-2",
        f"a/pipeline/sweep/{ID}/0-seed-1/rank",
        f"a/pipeline/sweep/{ID}/1-seed-2/rank",
        "a/rank/renamed",
        "a/rank/otherwise",
    ]
    spaces = [votes.space_of(Path(run)) for run in runs]
    assert len(set(spaces)) == len(runs)
    assert spaces[0] == "llmtrain_20261126_220145_425877"
    assert spaces == [space.lower() for space in spaces] and all(len(space) < 63 for space in spaces)  # PostgreSQL's
    moved = [votes.space_of(Path(f"/elsewhere/{run}")) for run in runs[:-2]]
    assert moved == spaces[:-2]


def test_export_takes_the_only_ranking_of_a_pipeline(tmp_path):
    def create(path, command, **changes):
        directory.create(path, mapping(compose_stage(command, "tiny", changes)), argv=[])

    run = tmp_path / ID
    create(run, "pipeline", annotate="people")
    with pytest.raises(InitError, match="is a pipeline with no votes"):
        votes.export(run, tmp_path / "x.jsonl", pairs=False)
    create(run / "rank", "rank")
    with pytest.raises(Exception, match=f"{run}/rank: nobody has opened its page yet"):
        votes.export(run, tmp_path / "x.jsonl", pairs=False)
    create(run / "rank-1", "rank")
    with pytest.raises(InitError, match=f"several rounds; name one: {run}/rank, {run}/rank-1"):
        votes.export(run, tmp_path / "x.jsonl", pairs=False)
