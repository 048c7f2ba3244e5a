"""Directories that somebody else wrote: nothing runs, nothing asks, nothing outside is read (S1, S5)."""

import ast
import builtins
import json
from pathlib import Path

import pytest

import llmtrain
from llmtrain.errors import InitError
from llmtrain.text import foreign, tokenizers


@pytest.fixture
def folder(tmp_path, bpe, monkeypatch):
    """A tokenizer beside code that leaves a mark, and a terminal that always says yes."""
    monkeypatch.setattr(builtins, "input", lambda *_: "y")
    made = tmp_path / "model"
    tokenizers.save(bpe, made)
    (made / "config.json").write_text(json.dumps({"model_type": "llama"}))
    mark = f"open({str(tmp_path / 'ran')!r}, 'w')\n"
    (made / "evil.py").write_text(
        mark + "from transformers import LlamaConfig as C, PreTrainedTokenizerFast as T\nclass C(C): pass\n"
    )
    return made


def change(file: Path, **keys):
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))


def spelled(file: Path):
    file.write_text(file.read_text().replace("auto_map", "auto\\u005fmap"))


@pytest.mark.parametrize("spell", [False, True])
def test_code_in_the_tokenizer_config_never_runs(folder, tmp_path, spell):
    file = folder / "tokenizer_config.json"
    change(file, auto_map={"AutoTokenizer": ["evil.T", None]}, tokenizer_class="T")
    if spell:
        spelled(file)
    with pytest.raises(InitError, match=f"{file}.*auto_map"):
        tokenizers.load(str(folder))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("spell", [False, True])
def test_code_in_the_model_config_never_runs(folder, tmp_path, spell):
    change(folder / "config.json", auto_map={"AutoConfig": "evil.C"}, model_type="zzz")
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "tokenizer_class"}))
    if spell:
        spelled(folder / "config.json")
    with pytest.raises(InitError, match="config.json.*auto_map"):
        tokenizers.load(str(folder))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("text", ["[]", "{", '"x"', "[" * 100_000, "\udcff"])
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_what_is_no_object_is_one_line_with_its_place(folder, name, text):
    (folder / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InitError, match=f"{folder / name}: ") as error:
        foreign.check(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "shard", ["x.bin", "../other/model.safetensors", "/etc/passwd", "sub/x.safetensors", "gone.safetensors", "", 5]
)
def test_an_index_names_safetensors_beside_it_alone(folder, tmp_path, shard):
    (folder / "x.bin").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.safetensors").touch()
    (folder / "good.safetensors").touch()
    file = folder / "model.safetensors.index.json"
    file.write_text(json.dumps({"weight_map": {"a": "good.safetensors"}}))
    foreign.check(folder)
    file.write_text(json.dumps({"weight_map": {"a": "good.safetensors", "b": shard}}))
    with pytest.raises(InitError, match=str(file)):
        foreign.check(folder)


def test_an_adapter_would_bring_a_base_from_elsewhere(folder):
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "gpt2"}))
    with pytest.raises(InitError, match="adapter"):
        foreign.check(folder)


def loads(source: ast.Module) -> list[tuple[int, bool]]:
    """(line, whether trust_remote_code=False is said) of each call that makes something of a foreign directory."""
    names = ("from_pretrained", "from_config")
    calls = [n for n in ast.walk(source) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)]
    return [
        (call.lineno, any(k.arg == "trust_remote_code" and ast.unparse(k.value) == "False" for k in call.keywords))
        for call in calls
        if call.func.attr in names
    ]


def test_every_load_says_that_it_trusts_nothing():
    found = [
        (file.name, *call)
        for file in Path(llmtrain.__file__).parent.rglob("*.py")
        for call in loads(ast.parse(file.read_text()))
    ]
    assert len(found) >= 5
    assert not [where for *where, said in found if not said]
    assert loads(ast.parse("AutoModel.from_pretrained(p)")) == [(1, False)]
