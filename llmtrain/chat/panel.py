"""Models to talk to: each with its own tokenizer and room, answers token by token, and the score of a reward model."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmtrain.data.records import Message, Prompt
from llmtrain.errors import DataError
from llmtrain.rollout.judge import RewardJudge
from llmtrain.rollout.sample import Completion, generate
from llmtrain.text import tokenizers
from llmtrain.text.plain import bos, encode
from llmtrain.text.streaming import Pieces
from llmtrain.text.template import encode_answer, encode_prompt

Messages = Sequence[Message]
Told = Callable[[str], None]
COLDEST, HOTTEST = 0.01, 100.0  # beyond them float32 cannot tell the logits apart, or the model plays no part


class Stop(Exception):
    """Raised by who listens, to end an answer where it stands."""


class Busy(Exception):
    """The models are answering somebody else."""


@dataclass(frozen=True)
class Answer:
    """What a model said. tokens: with the end token, if it `ended` by itself.

    score: of the reward model, None without one; unscored says why there is none although there is a judge.
    dropped: messages of the conversation, the oldest, that did not fit into the model's context.
    """

    text: str
    tokens: int
    ended: bool
    stopped: bool = False
    score: float | None = None
    unscored: str = ""
    dropped: int = 0


def heat(value: float) -> float:
    """A temperature that can be sampled at. Raises DataError."""
    if value == 0 or COLDEST <= value <= HOTTEST:
        return value
    raise DataError(f"{value:g} must be 0 (the likeliest token), or between {COLDEST:g} and {HOTTEST:g}")


def positions(model: PreTrainedModel) -> int | None:
    """How many tokens a model can see at once, None where it does not say."""
    return model.config.get_text_config().to_dict().get("max_position_embeddings")


class Voice:
    """A model that writes, under the name that it has in this conversation."""

    def __init__(self, label: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase):
        self.label, self.model, self.tokenizer = label, model, tokenizer
        self.room = positions(model)
        self.templated = tokenizer.chat_template is not None

    def ids(self, messages: Messages) -> list[int]:
        """A conversation in this model's tokens, up to where its answer begins.

        Without a chat template all that was said is one text, its parts joined as pretrain joins conversations, which
        the model goes on with.
        """
        if self.templated:
            return encode_prompt(self.tokenizer, messages)
        return bos(self.tokenizer) + encode(self.tokenizer, ["\n\n".join(m.content for m in messages)])[0]

    def fitted(self, messages: Messages, answer: int) -> tuple[list[Message], list[int]]:
        """The conversation and its ids, without its oldest turns where they leave no room for `answer` tokens.

        The system message and the last question stay; the answer may then have less room. Raises DataError when there
        is none at all.
        """
        kept = list(messages)
        first = int(kept[0].role == "system")
        ids = self.ids(kept)
        while self.room is not None and len(ids) + answer > self.room and len(kept) > first + 1:
            del kept[first : first + 2]
            ids = self.ids(kept)
        if self.room is not None and len(ids) >= self.room:
            raise DataError(
                f"{self.label}: the prompt has {len(ids)} tokens, and this model sees {self.room} with its answer; "
                "shorten it"
            )
        return kept, ids


class Scorer:
    """A reward model beside the conversation; it reads in its own tokens."""

    def __init__(self, label: str, judge: RewardJudge, tokenizer: PreTrainedTokenizerBase):
        self.label, self.judge, self.tokenizer = label, judge, tokenizer
        self.room = positions(judge.model.model)
        self.digest = tokenizers.digest(tokenizer)

    def score(self, voice: Voice, messages: Messages, ids: list[int], said: Completion, text: str) -> float:
        """The score of an answer. Of a model with the judge's own tokenizer the very tokens are scored, as ppo does.

        Raises DataError when the judge cannot read them.
        """
        if tokenizers.digest(voice.tokenizer) != self.digest:
            ids = encode_prompt(self.tokenizer, messages)
            own = encode_answer(self.tokenizer, text)
            said = Completion(own if said.ended else own[:-1], said.ended)
        if self.room is not None and len(ids) + len(said.ids) > self.room:
            raise DataError(f"{self.label} sees {self.room} tokens, and this has {len(ids) + len(said.ids)}")
        return float(self.judge.score([Prompt(tuple(messages))], [ids], [said])[0])


class Panel:
    """All that take part. One answer is written at a time, whoever asks.

    draws: (number of the question, tokens) -> uniforms [1, tokens]; the same question number has the same luck.
    """

    def __init__(
        self,
        voices: Sequence[Voice],
        scorer: Scorer | None,
        *,
        max_new_tokens: int,
        draws: Callable[[int, int], Tensor],
    ):
        self.voices = {voice.label: voice for voice in voices}
        self.scorer, self.max_new_tokens, self.draws = scorer, max_new_tokens, draws
        self._lock = threading.Lock()

    def answer(self, label: str, messages: Messages, temperature: float, number: int, tell: Told) -> Answer:
        """What a model says to a conversation; `tell` hears it piece by piece and may raise Stop.

        Raises DataError for a conversation that the model cannot read, Busy while another answer is being written.
        """
        with self.held():
            voice = self.voices[label]
            kept, ids = voice.fitted(messages, self.max_new_tokens)
            said, text, stopped = self._spoken(voice, ids, temperature, number, tell)
            score, unscored = self._scored(voice, kept, ids, said, text)
        dropped = len(messages) - len(kept)
        return Answer(text, len(said.ids), said.ended, stopped, score, unscored, dropped)

    @contextmanager
    def held(self) -> Iterator[None]:
        """The models to oneself. Raises Busy when somebody else has them."""
        if not self._lock.acquire(blocking=False):
            raise Busy
        try:
            yield
        finally:
            self._lock.release()

    def _spoken(
        self, voice: Voice, ids: list[int], temperature: float, number: int, tell: Told
    ) -> tuple[Completion, str, bool]:
        limit = self.max_new_tokens if voice.room is None else min(self.max_new_tokens, voice.room - len(ids))
        eos, pieces, written = voice.tokenizer.eos_token_id, Pieces(voice.tokenizer), list[int]()

        def told(_: int, token: int) -> None:
            written.append(token)
            tell("" if token == eos else pieces.take(token))

        stopped = False
        try:
            generate(
                voice.model,
                [ids],
                max_new_tokens=limit,
                temperature=temperature,
                eos_id=eos,
                uniforms=self.draws(number, limit) if temperature else None,
                told=told,
            )
            tell(pieces.rest())
        except Stop:
            stopped = True
        return Completion(written, bool(written) and written[-1] == eos), pieces.text, stopped

    def _scored(
        self, voice: Voice, messages: Messages, ids: list[int], said: Completion, text: str
    ) -> tuple[float | None, str]:
        if self.scorer is None or not said.ids:
            return None, ""
        try:
            return self.scorer.score(voice, messages, ids, said, text), ""
        except DataError as error:
            return None, str(error)
