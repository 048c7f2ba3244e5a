"""Text while its tokens come: a character is told when its last byte is there."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

UNFINISHED = "\ufffd"  # what decoders put for bytes that are no character (yet)


class Pieces:
    """The text of tokens that come one by one. All pieces joined are what decoding the tokens at once gives.

    A token may end inside a character, and a decoder may write its text otherwise once more is there (SentencePiece's
    leading space); so all is decoded anew each time, and what may still change is held back.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self.tokenizer = tokenizer
        self.ids: list[int] = []
        self.text = ""  # what was told so far

    def take(self, token: int) -> str:
        """What `token` adds to the text; empty while a character is incomplete."""
        self.ids.append(token)
        return self._new(decoded(self.tokenizer, self.ids).rstrip(UNFINISHED))

    def rest(self) -> str:
        """What was held back, as it stands."""
        return self._new(decoded(self.tokenizer, self.ids))

    def _new(self, text: str) -> str:
        if not text.startswith(self.text):
            return ""
        piece = text[len(self.text) :]
        self.text = text
        return piece


def decoded(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """The text of ids. A control token inside stays visible: where one stands in an answer it is a fault."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=False))
