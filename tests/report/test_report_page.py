"""The page as a whole: structure, hostile text, size, and what `llmtrain report` says."""

import json
import logging
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
import written
from rank.payloads import HOST, PAYLOADS
from typer.testing import CliRunner

from llmtrain.cli import app
from llmtrain.errors import InitError, LlmtrainError
from llmtrain.report import page

MEGA = 10**6


class Skeleton(HTMLParser):
    """Elements with their attributes in order, and the text."""

    def __init__(self, html: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.declarations: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)

    def handle_comment(self, data):
        self.declarations.append(data)

    def unknown_decl(self, data):
        self.declarations.append(data)


def hostile(folder: Path, texts: tuple[str, ...]) -> Path:
    """A pipeline with one of the texts everywhere where a text can stand, and all of them as prompts and answers."""
    one = iter(texts * 9)
    path = written.pipeline(
        folder,
        name=next(one),
        reason=next(one),
        config={"sft": {"key": next(one)}, "path": [next(one), next(one)]},
        argv=["llmtrain pipeline", *texts],
        recipe={"conf": next(one), "values": {"command": "pipeline", "run": {"root": "runs"}, "path": [next(one)]}},
        findings=[{"name": next(one), "says": next(one), "try": next(one), "steps": [next(one), next(one)]}],
    )
    for stage in path.iterdir():
        if stage.is_dir():
            origin = json.loads((stage / "lineage.json").read_text())
            origin["versions"], origin["machine"] = {next(one): next(one)}, {"host": next(one)}
            origin["git"], origin["created"] = (
                {"commit": next(one)},
                1_760_000_000,
            )  # so stages stand in order of their names
            origin["data"] = {next(one): next(one)}
            origin["parents"] = {next(one): {"path": next(one), "digest": next(one)}}
            (stage / "lineage.json").write_text(json.dumps(origin))
            config = {"command": stage.name.partition("-")[0], "model": {"name": next(one)}, "run": {"name": next(one)}}
            (stage / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    (path / "ppo" / "metrics.jsonl").write_text(next(one) + "\n")
    result = json.loads((path / "result.json").read_text())
    result["hhh"] = {next(one): written.RATES, next(one): written.RATES}
    (path / "result.json").write_text(json.dumps(result))
    judged = json.loads((path / "reward" / "result.json").read_text())
    judged |= {"probes_failed": [next(one)], "reason": next(one)}
    (path / "reward" / "result.json").write_text(json.dumps(judged))
    for stage in ("eval-sft", "eval-ppo"):
        rows = written.answered([stage], list(texts), list(reversed(texts)))
        (path / stage / "answers.jsonl").write_text(written.lines(rows))
    return path


def test_no_element_and_no_attribute_comes_from_a_text(tmp_path):
    """The page of hostile texts has the very skeleton of the page of harmless ones."""
    plain = tuple(f"text {n}" for n in range(len(PAYLOADS)))
    one, two = (
        Skeleton(page.html(page._read([hostile(tmp_path / f"{n}", texts)], False)))
        for n, texts in enumerate((plain, PAYLOADS))
    )
    assert [tag for tag, _ in one.elements] == [tag for tag, _ in two.elements]
    for (tag, calm), (_, wild) in zip(one.elements, two.elements, strict=True):
        same = [name for name in calm if name not in ("id", "clip-path", "href", "aria-label")]
        assert calm.keys() == wild.keys() and [calm[n] for n in same] == [wild[n] for n in same], tag
        assert (wild.get("href") or "#").startswith("#")
        assert not any(name.startswith("on") or name in ("src", "srcdoc", "action") for name in wild)
    assert two.declarations == [] and {tag for tag, _ in two.elements}.isdisjoint(
        {"script", "img", "iframe", "base", "link"}
    )
    said = "".join(two.texts)
    assert sum(text.partition("\n")[0][:40] in said for text in PAYLOADS) > 40  # the others hold unseen characters
    assert "⟨U+2028⟩__xss(54)⟨U+2029⟩" in said and "\x1b" not in said and "\u200b" not in said


def test_the_page_forbids_scripts_and_requests(tmp_path):
    html = page.html(page._read([written.run(tmp_path / "r", "eval", rows=[])], False))
    (policy,) = [a["content"] for tag, a in Skeleton(html).elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy and policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
    assert "http://" not in html and "https://" not in html and HOST not in html and "url(//" not in html


def test_what_a_pipeline_tells(tmp_path):
    path = written.pipeline(tmp_path)
    result = page.write([path])
    assert result.path == path / "report.html" and result.size == result.path.stat().st_size < MEGA
    page_ = Skeleton(result.path.read_text())
    text = " ".join(" ".join(page_.texts).split())
    for part in ("pipeline demo", "What came from what", "The doctor", "Helpful, honest, harmless", "0.77 – 0.96"):
        assert part in text
    for part in ("an answer of sft", "Reliability", "Proxy", "Loss", "1 of 1", "versions"):
        assert part in text
    anchors = {a["id"] for _, a in page_.elements if "id" in a}
    assert all(a["href"][1:] in anchors for tag, a in page_.elements if tag in ("a", "use") and a["href"])


def test_a_run_that_goes_on_is_told_as_such(tmp_path):
    from llmtrain.run.lock import hold

    path = written.run(tmp_path / "r")
    with hold(path):
        html = page.html(page._read([path], False))
    assert "Still running, at step 12" in html and "a snapshot" in html


def test_200_000_rows_and_a_megabyte_of_answers_fit(tmp_path):
    path = written.run(tmp_path / "r", "sft", rows=[])
    with (path / "metrics.jsonl").open("w") as file:
        for n in range(200_000):
            file.write(f'{{"step": {n}, "train/loss": {n * 7919 % 1000 / 1000}, "train/grad_norm": {n * 31 % 97}}}\n')
    (path / "samples").mkdir()
    (path / "samples" / "step-00000001.jsonl").write_text(
        written.lines([{"prompt": "p", "answer": "<b>" * MEGA, "ended": True}] * 3)
    )
    began = time.monotonic()
    assert page.write([path]).size < 300_000
    assert time.monotonic() - began < 60


def test_a_page_that_would_be_too_large_shows_less(tmp_path, monkeypatch):
    rows = [{"step": n, "train/loss": n * 7919 % 1000 / 1000} for n in range(2000)]
    path = written.run(tmp_path / "r", "sft", rows=rows)
    whole = page.write([path]).size
    monkeypatch.setattr(page, "LARGEST", whole - 1)
    assert page.write([path]).size < whole
    monkeypatch.setattr(page, "LARGEST", 1000)
    with pytest.raises(LlmtrainError, match="larger than 1,000 bytes"):
        page.write([path])


def test_a_sweep_is_compared_best_first(tmp_path):
    for n, value in enumerate((0.2, 0.9, None)):
        config, argv = {"kl": {"coef": float(n)}}, ["llmtrain ppo", f"kl.coef={n}", "conf=tiny"]
        result = {"value": value, "metrics": {} if value is None else {"gold/min": value}, "headline": "gold/min"}
        rows = [] if value is None else None
        written.run(tmp_path / "s" / f"{n}-coef-{n}", config=config, argv=argv, rows=rows, **result)
    (tmp_path / "s" / "3-coef-3").mkdir()  # a job that left nothing
    result = page.write([tmp_path / "s"])
    assert result.path == tmp_path / "s" / "report.html"
    text = " ".join(" ".join(Skeleton(result.path.read_text()).texts).split())
    assert "3 runs of ppo" in text and "2 of 3 have a result: gold/min from 0.9 (kl.coef=1) to 0.2 (kl.coef=0)" in text
    assert text.index("kl.coef=1 1") < text.index("kl.coef=0 0") < text.index("kl.coef=2 2")
    assert "gold/min over kl.coef" in text and "Curves, one over the other" in text


def test_the_command_says_where_the_page_is_and_how_large(tmp_path):
    path, out = written.run(tmp_path / "r"), tmp_path / "page.html"
    done = CliRunner().invoke(app, ["report", str(path), "--out", str(out)])
    assert done.exit_code == 0 and done.output.startswith(f"{out}  ") and done.output.endswith("kB\n")


@pytest.mark.parametrize(
    ("out", "told"),
    [("none/page.html", "there is no folder"), ("metrics.jsonl", "ends in .html"), ("folder.html", "is a folder")],
)
def test_out_is_looked_at_before_any_work(out, told, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "_read", lambda *_: pytest.fail("read a run"))
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(InitError, match=told):
        page.write([written.run(tmp_path / "r")], tmp_path / out)


def test_what_is_no_run_is_told_with_runs_near_by(tmp_path):
    path = written.run(tmp_path / "ppo" / "r")
    with pytest.raises(InitError, match=f"is not a run directory; name one of its runs: {path}"):
        page.write([tmp_path / "ppo"])
    with pytest.raises(InitError, match="does not exist"):
        page.write([tmp_path / "nowhere"])


def test_at_the_end_a_failure_is_a_warning(tmp_path, monkeypatch, caplog):
    path = written.run(tmp_path / "r")
    monkeypatch.setattr(page, "html", lambda *_: 1 / 0)
    with caplog.at_level(logging.WARNING, "llmtrain"):
        page.at_the_end(path)
    assert "could not be made (ZeroDivisionError: division by zero); try: llmtrain report" in caplog.text
    assert not (path / "report.html").exists()
