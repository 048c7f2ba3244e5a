"""rank as a whole: what it asks, the page over HTTP with people in threads, what it leaves, going on, export."""

import json
import re
import socket
import threading
import urllib.error
import urllib.request
import uuid
from http.cookiejar import CookieJar
from pathlib import Path

import pytest
import tiny

from llmtrain.config.check import mapping
from llmtrain.config.compose import compose_stage
from llmtrain.data.records import Kind
from llmtrain.data.sources import read
from llmtrain.errors import ConfigError, InitError, Interrupted, RunError
from llmtrain.launch import processes
from llmtrain.run import directory, listing
from llmtrain.run.signals import StopSignal
from llmtrain.stages import plan, preflight, rank, votes

GOOD = "good"


@pytest.fixture
def answers(tmp_path):
    """A file of four prompts with three answers each, one of which is good."""
    file = tmp_path / "answers.jsonl"
    rows = [{"prompt": f"Question {n}", "answers": [f"bad {n}", f"{GOOD} {n}", f"so so {n}"]} for n in range(4)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def configured(runs, sources, **changes):
    shared = {"run": {"root": str(runs), "name": "t"}, "launch": {"threads": 1, "device": "cpu"}}
    own = {"sources": [str(source) for source in sources], "log": {"tensorboard": False}, "prompts": None}
    return compose_stage("rank", "tiny", tiny.merged(shared, own, changes))


def created(config):
    path = Path(config.run.root) / "rank" / "t" / directory.new_id()
    directory.create(path, mapping(config), argv=[])
    return path


class Person(threading.Thread):
    """Ranks what the page hands out, the good answer first, until there is nothing left or `most` are done."""

    def __init__(self, link: str, most: int = 100, ending: bool = False, skips: bool = False):
        super().__init__(daemon=True)
        self.base, _, self.token = link.partition("/#k=")
        self.most, self.ending, self.skips = most, ending, skips
        self.open = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar())).open
        self.csrf = ""
        self.start()

    def post(self, path, **body):
        headers = {"Content-Type": "application/json", "Origin": self.base, "X-CSRF-Token": self.csrf}
        return json.load(self.open(urllib.request.Request(self.base + path, json.dumps(body).encode(), headers)))

    def run(self):
        self.post("/enter", token=self.token)
        self.csrf = json.load(self.open(self.base + "/api/me"))["csrf"]
        task, done = self.post("/api/next")["task"], 0
        while task and done < self.most:
            said = {"ranks": {a["id"]: 1 if a["text"].startswith(GOOD) else 2 for a in task["answers"]}}
            said = {"skip": "no idea"} if self.skips else said
            task, done = self.post("/api/vote", key=str(uuid.uuid4()), task=task["id"], **said)["task"], done + 1
        if self.ending:
            self.post("/api/finish")


@pytest.fixture
def people(monkeypatch):
    """people(behave) runs behave(name -> link) as soon as the page listens."""
    original = rank.links

    def come(behave):
        def links(config, doors, address):
            view = original(config, doors, address)
            behave(dict(re.findall(r"^  (\w+) +(http\S+)$", view.plain, re.MULTILINE)))
            return view

        monkeypatch.setattr(rank, "links", links)

    monkeypatch.setattr(rank, "LINGER", 0.0)
    return come


def test_two_people_rank_all_prompts_and_reward_reads_what_they_said(people, answers, runs, capsys):
    path = created(configured(runs, [answers], raters=["anna", "ben"], raters_per_prompt=2))
    people(lambda links: [Person(links[name]) for name in ("anna", "ben")])
    result = processes.execute(path)
    assert result["status"] == "finished" and result["reason"] == "every prompt has its votes"
    counted = {name: result["metrics"][name] for name in ("prompts", "rankings", "votes", "skipped")}
    assert counted == {"prompts": 4, "rankings": 8, "votes": 8, "skipped": 0}
    assert result["metrics"]["agreement/pairwise"] == result["metrics"]["agreement/tau"] == 1
    rankings = list(read([str(path / "rankings.jsonl")], Kind.ranking).records)
    assert {r.annotator for r in rankings} == {"anna", "ben"} and len(rankings) == 8
    assert {
        (text.startswith(GOOD), rank) for r in rankings for text, rank in zip(r.responses, r.ranks, strict=True)
    } == {
        (True, 1.0),
        (False, 2.0),
    }
    assert "8 prompts" not in capsys.readouterr().out
    assert directory.newest_finished(runs, "rank", "t") == path
    assert preflight.where("latest", str(runs), "t") == str(path / "rankings.jsonl")


def test_a_signal_keeps_the_votes_and_resume_goes_on(people, answers, runs, monkeypatch):
    path = created(configured(runs, [answers]))
    stops = []
    enter = StopSignal.__enter__
    monkeypatch.setattr(StopSignal, "__enter__", lambda self: stops.append(self) or enter(self))

    def first(links):
        Person(links["me"], most=3).join()
        stops[-1].requested = 15

    def leave(links):
        threading.Thread(target=first, args=(links,), daemon=True).start()

    people(leave)
    with pytest.raises(Interrupted, match=f"every vote is kept; go on with: llmtrain resume {path}"):
        processes.execute(path)
    assert directory.read_result(path)["status"] == "interrupted"
    assert votes.export(path, answers.parent / "early.jsonl", pairs=False).startswith("3 rows in ")
    people(lambda links: [Person(links["me"])])
    assert processes.execute(path)["metrics"]["votes"] == 4


def test_the_host_may_end_it_sooner(people, answers, runs):
    path = created(configured(runs, [answers]))
    people(lambda links: [Person(links["me"], most=2, ending=True)])
    result = processes.execute(path)
    assert (result["status"], result["reason"], result["metrics"]["votes"]) == ("stopped", "the host ended it", 2)


def test_a_narrow_terminal_does_not_cut_a_link(people, answers, runs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    seen = {}
    people(lambda links: (seen.update(links), Person(links["me"])))
    processes.execute(created(configured(runs, [answers])))
    assert seen["me"] in capsys.readouterr().out.split()


def test_votes_that_prefer_nothing_teach_nothing(people, answers, runs):
    path = created(configured(runs, [answers]))
    people(lambda links: [Person(links["me"], skips=True)])
    with pytest.raises(RunError, match="none of the 4 votes prefers an answer to another"):
        processes.execute(path)
    assert not (path / "rankings.jsonl").exists()


def test_models_answer_first_and_are_mixed(people, chain, runs):
    own = tiny.OWN["sample"] | {"policies": "DROP", "answers": 4}
    own = {key: value for key, value in own.items() if key not in ("policies", "foreign")}
    config = configured(runs, [chain.sft, chain.pretrain], sample=own)
    (step,) = plan.sampling(config)
    assert step.config.init == str(chain.sft) and step.config.policies == [str(chain.pretrain)]
    assert step.config.annotate.value == "none" and step.config.data.rows == 6
    path = created(config)
    with pytest.raises(Exception, match="nothing to rank"):  # models this small never end an answer
        processes.execute(path)
    rows = [json.loads(line) for line in (path / "sample" / "outputs.jsonl").read_text().splitlines()]
    assert [[a["source"] for a in row["answers"]] for row in rows] == [["policy"] * 4 + [str(chain.pretrain)] * 2] * 6
    assert listing.forest(runs)[0].path == path


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sources": []}, "sources: empty"),
        ({"sources": ["a.jsonl", "a.jsonl"]}, "sources: a.jsonl is there twice"),
        ({"sources": [" "]}, "sources: holds an empty entry"),
        ({"raters": []}, "raters: empty"),
        ({"raters": ["anna", "anna"]}, "raters: anna is there twice"),
        ({"raters": ["<b>"]}, "raters: '<b>' is no name"),
        ({"raters_per_prompt": 2}, "raters_per_prompt: 2 with 1 raters"),
        ({"answers": 1}, "answers: 1 must be between 2 and 9"),
        ({"answers": 10}, "answers: 10 must be between 2 and 9"),
        ({"prompts": 0}, "prompts: 0 must be at least 1"),
        ({"database": "sqlite:///x"}, "database: 'sqlite:///x' is not postgresql"),
        ({"database": "postgresql://a:b@host/db"}, "looks like a secret"),
        ({"database": "postgresql://host:port/db"}, "database: is no URL"),
        ({"page": {"host": "0.0.0.0"}}, "page.host: 0.0.0.0 lets other machines in"),
        ({"page": {"allow_remote": True}}, "page.allow_remote: true does nothing"),
        ({"page": {"port": 70000}}, "page.port: 70000 must be between 0 and 65535"),
        ({"data": {"rows": 3}}, "sample.data"),
    ],
)
def test_bad_settings_are_told(runs, changes, told):
    with pytest.raises(ConfigError) as caught:
        compose_stage("rank", "tiny", {"sources": ["x"], **changes})
    assert told in str(caught.value)
    assert "a:b@" not in str(caught.value)


def test_what_is_named_is_looked_for_before_anything_is_written(answers, chain, runs, tmp_path):
    def faults(*sources, **changes):
        config = configured(runs, sources, **changes)
        with pytest.raises(ConfigError) as caught:
            preflight.check(config, plan.steps_of("rank", config, tmp_path / "new"), tmp_path / "new")
        return str(caught.value)

    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"prompt": "Q"}\n')
    assert f"{broken}:1: no 'answers'" in faults(broken)
    assert "is a model and" in faults(answers, chain.sft)
    assert "sample: does nothing where the answers are there already" in faults(answers, sample={"answers": 2})
    assert "sample.init: is set by rank" in faults(chain.sft, sample={"init": "x"})
    assert "no such run" in faults("runs/nothing")
    assert "is a run of `llmtrain reward`" in faults(chain.reward)
    assert "no finished run of `llmtrain sample" in faults("latest")
    assert faults(chain.sft, "nope") == faults("nope") and faults("nope").startswith("sources: nope: no such run")
    assert faults(tmp_path / "no.jsonl") == f"sources: {tmp_path / 'no.jsonl'}: there is no such file"
    (tmp_path / "notes").write_text("hello")
    assert f"sources: {tmp_path / 'notes'}: unknown file type" in faults(tmp_path / "notes")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert f"page: 127.0.0.1:{port} cannot be listened on" in faults(answers, page={"port": port})
    url = f"postgresql://127.0.0.1:{port}/votes"  # where nobody listens any more
    assert f"database: the PostgreSQL database 'votes' on 127.0.0.1:{port} cannot be reached" in faults(
        chain.sft, database=url
    )


def test_export_says_what_it_cannot_do(answers, chain, runs, tmp_path):
    path = created(configured(runs, [answers]))
    taken = tmp_path / "taken.jsonl"
    taken.write_text("")
    for run, to, told in (
        (path, taken, "is there already"),
        (path, tmp_path / "no" / "x.jsonl", "its folder is not there"),
        (chain.sft, tmp_path / "x.jsonl", "is a run of `llmtrain sft`"),
        (path, tmp_path / "x.jsonl", "nobody has opened its page yet"),
    ):
        with pytest.raises((InitError, RunError), match=re.escape(told)):
            votes.export(run, to, pairs=False)


def test_a_pipeline_that_waits_for_people(runs):
    from tests.stages.test_pipeline import configured as pipeline

    config, _ = pipeline(runs, annotate="people", rank={"raters": ["anna", "ben"], "raters_per_prompt": 2}, rounds=2)
    steps = {step.name: step.config for step in plan.plan(config, runs)}
    names = ["pretrain", "sft", "sample-1", "rank-1", "reward-1", "ppo-1", "sample", "rank", "reward", "ppo"]
    assert list(steps)[:10] == names
    assert steps["rank"].sources == [str(runs / "sample")] and steps["rank"].raters_per_prompt == 2
    assert steps["sample"].annotate.value == "none" and steps["sample"].noise == steps["sample"].held_out == 0
    assert steps["sample"].foreign == 4  # of the recipe
    assert steps["reward"].data.path == [str(runs / "rank-1"), str(runs / "rank")]
    for changes, told in (
        ({"annotate": "simulated", "rank": {"raters": ["anna"]}}, "rank: does nothing with annotate=simulated"),
        ({"annotate": "people", "rank": {"sample": {"answers": 2}}}, "rank.sample: does nothing here"),
        ({"annotate": "people", "rank": {"sources": ["x"]}}, "rank.sources: is set by the pipeline"),
        ({"annotate": "people", "sample": {"noise": 0.2}}, "sample.noise: is set by the pipeline"),
        ({"annotate": "people", "rank": {"raters": []}}, "rank.raters: empty"),
    ):
        with pytest.raises(ConfigError) as caught:
            plan.plan(pipeline(runs, **changes)[0], runs)
        assert told in str(caught.value)
