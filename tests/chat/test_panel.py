"""One answer: its tokens, its text, what the model was given to read, its score."""

import threading

import pytest
import torch

from llmtrain.chat.panel import Busy, Panel, Scorer, Stop, Voice, heat
from llmtrain.data.pack import pack
from llmtrain.data.records import Message
from llmtrain.errors import DataError
from llmtrain.rollout.judge import RewardJudge
from llmtrain.rollout.sample import generate
from llmtrain.run.seeding import generator
from llmtrain.stages.policy import text_of
from llmtrain.text import tokenizers
from llmtrain.text.template import encode_answer, encode_chat, encode_prompt

ASKED = [Message("user", "Where does Mira live?")]
LONG = [
    Message("system", "Be kind."),
    Message("user", "one " * 40),
    Message("assistant", "two " * 40),
    Message("user", "three " * 12),
    Message("assistant", "four"),
    Message("user", "five"),
]


def heard(panel, label, messages, temperature=0.0, number=0):
    pieces = []
    return panel.answer(label, messages, temperature, number, pieces.append), pieces


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("label", ["pretrain", "sft"])
def test_the_stream_is_what_generate_writes_at_once(panel, label, temperature):
    voice, limit = panel.voices[label], panel.max_new_tokens
    draws = torch.Tensor(1, limit).uniform_(generator=generator(5, "chat", 3))
    (whole,) = generate(
        voice.model,
        [encode_prompt(voice.tokenizer, ASKED)],
        max_new_tokens=limit,
        temperature=temperature,
        eos_id=voice.tokenizer.eos_token_id,
        uniforms=draws if temperature else None,
    )
    answer, pieces = heard(panel, label, ASKED, temperature, number=3)
    assert "".join(pieces) == answer.text == text_of(voice.tokenizer, whole)
    assert (answer.tokens, answer.ended) == (len(whole.ids), whole.ended)
    assert len(pieces) > 1


def test_every_question_has_its_own_draws_and_the_same_ones_again(panel):
    texts = [heard(panel, "sft", ASKED, 1.0, number)[0].text for number in (0, 1, 0)]
    assert texts[0] == texts[2] != texts[1]


def test_a_model_reads_what_training_shows_it(panel):
    voice = panel.voices["sft"]
    answered = [*LONG, Message("assistant", "six")]
    ids, mask = encode_chat(voice.tokenizer, answered)
    last = len(ids) - mask[::-1].index(False)  # behind it stands the last answer alone
    assert voice.ids(LONG) == ids[:last]


def test_the_oldest_turns_give_way_to_the_answer(panel):
    voice = panel.voices["sft"]
    kept, ids = voice.fitted(LONG, answer=24)
    assert len(voice.ids(LONG)) + 24 > 192, "the conversation was to be too long"
    assert kept == [LONG[0], *LONG[3:]]
    assert len(ids) + 24 <= voice.room == 192
    answer, _ = heard(panel, "sft", LONG)
    assert answer.dropped == 2


def test_an_answer_has_less_room_behind_a_long_question_and_none_behind_a_longer_one(panel):
    voice = panel.voices["sft"]
    long = next(n for n in range(1, 400) if len(voice.ids([Message("user", "z" * n)])) == 190)
    answer, _ = heard(panel, "sft", [Message("user", "z" * long)])
    assert answer.tokens <= 2
    with pytest.raises(DataError, match="sft: the prompt has 192 tokens, and this model sees 192 with its answer"):
        heard(panel, "sft", [Message("user", "z" * (long + 2))])


def test_a_model_without_a_template_goes_on_with_the_text(panel):
    base = panel.voices["pretrain"]
    bare = tokenizers.load(base.tokenizer.name_or_path)
    bare.chat_template = None
    voice = Voice("bare", base.model, bare)
    assert not voice.templated
    assert bare.decode(voice.ids([Message("user", "a b"), Message("assistant", "c"), Message("user", "d")])) == (
        "a b\n\nc\n\nd"
    )
    alone = Panel([voice], panel.scorer, max_new_tokens=8, draws=panel.draws)
    answer, pieces = heard(alone, "bare", ASKED)
    assert "".join(pieces) == answer.text
    assert answer.score is not None


def scored(panel, prompt, answer):
    with torch.no_grad():
        return float(panel.scorer.judge.model.scores(pack([prompt + answer]))[0])


def test_the_score_is_the_reward_models_of_the_very_tokens(panel):
    voice = panel.voices["sft"]
    answer, _ = heard(panel, "sft", ASKED)
    prompt = encode_prompt(voice.tokenizer, ASKED)
    (whole,) = generate(voice.model, [prompt], max_new_tokens=24, temperature=0.0, eos_id=voice.tokenizer.eos_token_id)
    assert answer.score == pytest.approx(scored(panel, prompt, whole.ids), abs=1e-5)


def test_a_judge_of_another_tokenizer_reads_the_text_in_its_own(panel):
    own = panel.scorer.tokenizer
    foreign = tokenizers.train_char([chr(n) for n in range(32, 127)])
    voice = Voice("chars", panel.voices["sft"].model, foreign)
    ended = panel.scorer.score(voice, ASKED, [], whole(foreign, "At home.", True), "At home.")
    cut = panel.scorer.score(voice, ASKED, [], whole(foreign, "At home.", False), "At home.")
    asked, said = encode_prompt(own, ASKED), encode_answer(own, "At home.")
    assert ended == pytest.approx(scored(panel, asked, said), abs=1e-5)
    assert cut == pytest.approx(scored(panel, asked, said[:-1]), abs=1e-5)


def whole(tokenizer, text, ended):
    from llmtrain.rollout.sample import Completion

    return Completion([*tokenizer(text)["input_ids"], *([tokenizer.eos_token_id] if ended else [])], ended)


def test_what_the_judge_cannot_read_has_no_score_and_the_answer_stays(panel):
    scorer = Scorer("reward", RewardJudge(panel.scorer.judge.model, 64), panel.scorer.tokenizer)
    scorer.room = 8
    narrow = Panel(list(panel.voices.values()), scorer, max_new_tokens=8, draws=panel.draws)
    answer, _ = heard(narrow, "sft", ASKED)
    assert answer.text
    assert answer.score is None
    assert answer.unscored.startswith("reward sees 8 tokens, and this has ")


def test_who_listens_can_stop_an_answer(panel):
    pieces = []

    def tell(piece):
        pieces.append(piece)
        if len(pieces) == 3:
            raise Stop

    answer = panel.answer("sft", ASKED, 0.0, 0, tell)
    assert answer.stopped
    assert not answer.ended
    assert (answer.tokens, answer.text) == (3, "".join(pieces))
    assert not heard(panel, "sft", ASKED)[0].stopped, "the next one is whole"


def test_two_at_once_are_told_so_and_never_wait(panel):
    begun, go = threading.Event(), threading.Event()

    def slowly(_):
        begun.set()
        assert go.wait(10)

    thread = threading.Thread(target=panel.answer, args=("sft", ASKED, 0.0, 0, slowly))
    thread.start()
    assert begun.wait(10)
    with pytest.raises(Busy):
        heard(panel, "pretrain", ASKED)
    go.set()
    thread.join(10)
    assert heard(panel, "pretrain", ASKED)[0].text


@pytest.mark.parametrize("value", [-1, 0.001, 101, float("nan"), float("inf")])
def test_temperatures_that_cannot_be(value):
    with pytest.raises(DataError, match="must be 0"):
        heat(value)
