"""Long texts in parts, so that memory does not grow with a document.

A part ends behind a lone line break, or before a lone space where a line is too long. The patterns of byte-level
tokenizers (GPT-2's, ours, Llama 3's) cut there as well, so the ids of the parts are the ids of the whole.
"""

import io
from collections.abc import Callable, Iterator

from llmtrain.data.records import Text

PART = 2**18  # characters; the tokenizer needs 230 bytes for each
HARD = 2**22  # a text without such a place is cut here


def parts(read: Callable[[int], str]) -> Iterator[tuple[str, bool]]:
    """(part, whether more follows) of what `read(n)` gives, n characters at a time and fewer only at the end."""
    rest, window = "", PART
    while True:
        rest += read(window - len(rest))
        if len(rest) < window:
            yield rest, False
            return
        at = _place(rest) or (len(rest) - 1 if window >= HARD else 0)
        if at:
            yield rest[:at], True
            rest, window = rest[at:], PART
        else:
            window *= 2


def split(record: Text) -> Iterator[Text]:
    """A record as its parts; one that is a part already comes back as it is."""
    if len(record.text) < PART:
        yield record
        return
    for text, more in parts(io.StringIO(record.text, newline="").read):
        yield Text(text, more or record.more)


def _place(text: str) -> int:
    """The last good place to cut, 0 when there is none."""
    for character, behind in (("\n", 1), (" ", 0)):
        at = len(text) - 1
        while (at := text.rfind(character, 1, at)) > 0:
            if not text[at - 1].isspace() and not text[at + 1].isspace():
                return at + behind
    return 0
