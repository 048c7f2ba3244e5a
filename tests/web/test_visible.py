import pytest

from llmtrain.web.visible import visible


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain text, Grüße, 漢字, 🦊, ❤️ and e\u0301", "plain text, Grüße, 漢字, 🦊, ❤️ and e\u0301"),
        ("line\n\tindented", "line\n\tindented"),
        ("a\u202eb\u2066c\u200f", "a⟨U+202E⟩b⟨U+2066⟩c⟨U+200F⟩"),
        ("zero\u200bwidth\ufeff\u2060\u00ad", "zero⟨U+200B⟩width⟨U+FEFF⟩⟨U+2060⟩⟨U+00AD⟩"),
        ("\x1b[2J\x07\r\x00\x7f\x9b", "⟨U+001B⟩[2J⟨U+0007⟩⟨U+000D⟩⟨U+0000⟩⟨U+007F⟩⟨U+009B⟩"),
        ("\u2028\u2029\u0085", "⟨U+2028⟩⟨U+2029⟩⟨U+0085⟩"),
        ("\U000e0041\U000e0101\u3164\u2800\u115f", "⟨U+E0041⟩⟨U+E0101⟩⟨U+3164⟩⟨U+2800⟩⟨U+115F⟩"),
        ("\ud800", "⟨U+D800⟩"),
        ("<b>&amp;</b>", "<b>&amp;</b>"),
    ],
)
def test_visible(text, seen):
    assert visible(text) == seen
    visible(text).encode("utf-8")


def test_what_is_visible_stays_so():
    many = "".join(map(chr, (*range(0x4000), *range(0xD000, 0x10000), *range(0xE0000, 0xE0200))))
    assert visible(visible(many)) == visible(many)
