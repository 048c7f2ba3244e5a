import logging
import subprocess
import sys

import pytest

from llmtrain.run import directory, lineage, provenance
from llmtrain.run.provenance import HIDDEN, redact, redact_all

CANARIES = {
    "hub token": "canary: hf_AbCdEfGhIjKlMnOpQrStUv",
    "openai key": "sk-proj-0123456789abcdefghij",
    "github token": "ghp_0123456789abcdefghijklmnop",
    "aws key": "AKIAABCDEFGHIJKLMNOP",
    "url password": "data.path=https://alice:s3cretpass@example.org/data",
    "url token": "https://0123456789abcdef@example.org/data",
    "bearer": "Authorization: Bearer abcdef0123456789",
    "json": '{"api_key": "0123456789abcdef"}',
    "override": "wandb_api_key=0123456789abcdef",
    "yaml": "password: hunter2",
    "argument": "--token=0123456789abcdef",
    "long name": "AWS_SECRET_ACCESS_KEY=0123456789abcdef",
}
SECRETS = ["hf_AbC", "sk-proj", "ghp_", "AKIA", "s3cretpass", "alice", "0123456789abcdef", "abcdef0123", "hunter2"]


@pytest.mark.parametrize("text", CANARIES.values(), ids=CANARIES)
def test_canaries_are_gone(text):
    """S14."""
    assert any(secret in text for secret in SECRETS)
    assert not [secret for secret in SECRETS if secret in redact(text)]
    assert HIDDEN in redact(text)
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "eos_token='</s>'",
        '"pad_token": "<|pad|>"',
        "num_tokens=512 max_new_tokens=40 micro_tokens: 4096",
        "batch.micro_tokens=16384",
        "time/tokens_per_second: 123456.7",
        "unknown token: 'q'",
        "eos-token: 0123456789 tokenizer.bos_token=0123456789",
        "tokenizer.name=bpe",
        "commit 2f9c1d6e8a7b5c4d3e2f1a0b9c8d7e6f5a4b3c2d",
        "sk-learn and hf_hub are packages",
        "runs/sk-learn-experiments-with-trees",
        "runs/sft/tiny/20260101-000000-00ab12",
        "https://example.org/a@b",
        "hub:org/name@0123456789abcdef",
        "data.path=[a.jsonl,b.jsonl] keybindings=vi monkey: 3",
        "the password is not set",
        '{"api_key": null}',
    ],
)
def test_what_is_no_secret_stays(text):
    assert redact(text) == text


def test_values_of_secret_variables_go_wherever_they_stand(monkeypatch):
    monkeypatch.setenv("MY_SERVICE_TOKEN", "plain-looking-value")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "falsehood")
    monkeypatch.setenv("SHORT_SECRET", "abc")
    monkeypatch.setenv("PGPASSWORD", "hunter22hunter")
    text = "init=/data/plain-looking-value/x falsehood abc hunter22hunter"
    assert redact(text) == f"init=/data/{HIDDEN}/x falsehood abc {HIDDEN}"


def test_nested_values():
    given = {
        "api_key": "abc",
        "eos_token": "</s>",
        "paths": ["https://a:b@c.org/d", 3],
        "lr": 0.1,
        "on": True,
        "x": None,
    }
    assert redact_all(given) == {**given, "api_key": HIDDEN, "paths": [f"https://{HIDDEN}@c.org/d", 3]}


def test_every_file_of_a_run(tmp_path, monkeypatch):
    """S14: plant canaries in config, argv, environment and reason; nothing in the run directory holds one."""
    monkeypatch.setenv("HF_TOKEN", "canary-in-the-environment")
    texts = [*CANARIES.values(), "x canary-in-the-environment y"]
    directory.create(tmp_path, {"command": "sft", "notes": texts, "password": "hunter2"}, argv=texts)
    directory.write_result(tmp_path, "failed", "; ".join(texts), 0, {})
    lineage.write(tmp_path, {}, {"data": "digest"})
    written = "".join(file.read_text() for file in tmp_path.iterdir())
    assert not [secret for secret in [*SECRETS, "canary-in-the-environment"] if secret in written]
    assert directory.read_config(tmp_path)["command"] == "sft"
    assert lineage.read(tmp_path)["data"] == {"data": "digest"}


def test_log_lines_and_tracebacks():
    formatter = provenance.RedactingFormatter("%(message)s")
    try:
        raise ValueError("password=hunter2")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "got %s", ("hf_AbCdEfGhIjKlMnOpQrStUv",), sys.exc_info())
    text = formatter.format(record)
    assert "Traceback" in text
    assert not [secret for secret in SECRETS if secret in text]


def test_git_commit_is_gits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.git_commit() is None
    for command in ("init -q", "-c user.name=a -c user.email=a@b commit -q --allow-empty -m x"):
        subprocess.run(["git", *command.split()], check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert provenance.git_commit() == {"commit": head, "changed": False}
    (tmp_path / "new").touch()
    subprocess.run(["git", "add", "new"], check=True)
    assert provenance.git_commit() == {"commit": head, "changed": True}


def test_describe_names_the_versions_at_work():
    import torch

    found = provenance.describe()
    assert found["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert found["machine"]["cpus"] >= 1


def test_no_torch_above_the_checkpoints():
    """Start-up time: `llmtrain runs` and the command line need no tensors."""
    rooms = "directory durable lineage listing lock manifest metrics provenance signals trackers".split()
    code = f"import sys; from llmtrain.run import {', '.join(rooms)}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
