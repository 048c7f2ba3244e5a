"""Text of models for the eyes of people: what would be unseen, or would change what is seen, is shown by its number."""

import unicodedata

# Cc: control characters and ESC. Cf: bidi controls, zero-width characters, tags. Cs: lone surrogates, no UTF-8.
# Zl, Zp: line breaks that are none in a terminal.
HIDDEN = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
# Letters and marks without ink (Default_Ignorable_Code_Point in Unicode's DerivedCoreProperties.txt, without the
# variation selectors FE00 to FE0F, which colour an emoji) and the blank braille pattern.
BLANK = frozenset(
    (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x2800, 0x3164, 0xFFA0)
) | frozenset(range(0xE0100, 0xE01F0))


class _Table(dict[int, str]):
    """For str.translate: what a code point is shown as, worked out when it is first met."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        plain = char in "\n\t" or (unicodedata.category(char) not in HIDDEN and code not in BLANK)
        self[code] = char if plain else f"⟨U+{code:04X}⟩"
        return self[code]


_TABLE = _Table()


def visible(text: str) -> str:
    """`text` with control, bidi, zero-width and blank characters as ⟨U+202E⟩; newline and tab stay."""
    return text.translate(_TABLE)
