"""conf= and data= in the forms that people type them, as the forms that Hydra takes."""

from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore

from llmtrain.config import compose, recipes
from llmtrain.config.choices import DataName
from llmtrain.errors import ConfigError
from tests.config.conftest import conf


def stored() -> set[str]:
    return {name.removesuffix(".yaml") for name in ConfigStore.instance().repo["conf"]}


def test_shipped_recipes_are_options():
    assert recipes.resolve("sft", ["conf=tiny", "seed=1"]) == ["conf=tiny", "seed=1"]
    assert {"tiny", "real"} <= stored()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("conf=./mine.yaml", "conf=mine"),
        ("conf=my file.yaml", "conf=my_file"),
        ("conf='my file.yaml'", "conf=my_file"),
        ("conf=[tiny,./mine.yaml]", "conf=[tiny,mine]"),
        ("conf=tiny,mine.yaml", "conf=tiny,mine"),
        ("conf=glob(*)", "conf=glob(*)"),
        ("conf=null", "~conf"),
    ],
)
def test_files_become_options(given, wanted):
    Path("mine.yaml").write_text("seed: 3\n")
    Path("my file.yaml").write_text("seed: 4\n")
    assert recipes.resolve("sft", [given]) == [wanted]


def test_two_files_of_one_name_stay_apart():
    for folder in "ab":
        Path(folder).mkdir()
        Path(folder, "x.yaml").write_text(f"run: {{name: {folder}}}\n")
    (arg,) = recipes.resolve("sft", ["conf=a/x.yaml,b/x.yaml"])
    first, second = arg.removeprefix("conf=").split(",")
    assert first != second
    names = [compose.composed("sft", [f"conf={option}"]).run.name for option in (first, second)]
    assert names == ["a", "b"]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("data=microworld", ["data=microworld"]),
        ("data=microworld,files", ["data=microworld,files"]),
        ("data=a.txt", ["data=files", "data.path=['a.txt']"]),
        ("data=[a.txt,b/]", ["data=files", "data.path=['a.txt','b/']"]),
        ("data=['a, b.txt']", ["data=files", "data.path=['a, b.txt']"]),
        ("data=it's.txt", ["data=files", "data.path=['it\\'s.txt']"]),
        ("data=hub:org/name", ["data=files", "data.path=['hub:org/name']"]),
        ("data=latest", ["data=files", "data.path=['latest']"]),
        ("data=a.txt,b.txt", ["data=files", "data.path=['a.txt'],['b.txt']"]),
    ],
)
def test_data_takes_paths(given, wanted):
    assert recipes.resolve("sft", [given]) == wanted


def test_data_without_a_value_says_what_to_give():
    with pytest.raises(ConfigError, match="give a path"):
        recipes.resolve("sft", ["data="])


def test_the_keys_of_a_stage_reach_a_pipeline():
    given = ["sft.epochs=2", "+ppo.kl.coef=0.1", "seed=1", "sft.data=[a b.txt,c.txt]", "ppo.stop=never"]
    assert recipes.resolve("pipeline", given) == [
        "++sft.epochs=2",
        "++ppo.kl.coef=0.1",
        "seed=1",
        "++sft.choose.data=['a b.txt','c.txt']",
        "++ppo.choose.stop=never",
    ]


@pytest.mark.parametrize("text", ["data: words.txt", "data: [words.txt]", "data: {path: [words.txt], name: files}"])
def test_a_recipe_names_files_as_the_command_line_does(text):
    Path("words.txt").write_text("x")
    Path("mine.yaml").write_text(f"# Mine.\n{text}\nmax_steps: 5\n")
    config = compose.composed(
        "pretrain", recipes.resolve("pretrain", ["conf=mine.yaml"] + ["data=files"] * ("{" in text))
    )
    assert config.data.name is DataName.files
    assert config.data.path == ["words.txt"]
    assert (config.data.rows, config.data.world) == (None, None)  # of the group files, not of the microworld
    assert config.max_steps == 5


def test_a_recipe_builds_on_another_and_changes_a_group():
    Path("mine.yaml").write_text("defaults:\n  - tiny\n  - override /model: small\nseed: 9\n")
    config = compose.composed("pretrain", recipes.resolve("pretrain", ["conf=mine.yaml"]))
    wanted = (conf("model/small")["width"], 9, conf("recipes/pretrain/tiny")["max_steps"])
    assert (config.model.width, config.seed, config.max_steps) == wanted


def test_a_group_named_without_override_gets_the_remedy():
    Path("mine.yaml").write_text("defaults:\n  - model: small\n")
    with pytest.raises(ConfigError, match="override /model: small"):
        compose.composed("pretrain", recipes.resolve("pretrain", ["conf=mine.yaml"]))


def test_apart_brings_the_recipes_back():
    recipes.resolve("pretrain", [])
    before = stored()
    with recipes.apart():
        recipes.resolve("sft", [])
        assert stored() != before
    assert stored() == before
