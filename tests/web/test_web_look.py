"""Static files of all pages: nothing from elsewhere, no markup from text, contrast."""

import re
from pathlib import Path

import pytest

import llmtrain
from llmtrain.web.assets import SHARED, assets

PACKAGE = Path(llmtrain.__file__).parent
FILES = sorted(file for file in PACKAGE.glob("*/static/*") if file.is_file())
MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser|setHTML|\beval\b"
    r"|new Function|srcdoc|javascript:|\.cssText|setTimeout\(\s*[\"'`]"
)
ELSEWHERE = re.compile(r"""(?:https?:)?//[\w.-]+\.\w+|@import|url\(|data:""")
INLINE = re.compile(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", re.IGNORECASE)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parts[-3]}/{file.name}")
def test_files_hold_no_markup_from_text_and_nothing_from_elsewhere(file):
    text = file.read_text(encoding="utf-8")
    assert not MARKUP.findall(text)
    assert not ELSEWHERE.findall(text)
    if file.suffix == ".html":
        assert not INLINE.findall(text)  # the policy would not run it
        assert '<html lang="en">' in text and 'name="viewport"' in text


@pytest.mark.parametrize("line", ["a.innerHTML = b", "eval(x)", "@import 'x'", "//cdn.example/x.js", "url(x.png)"])
def test_the_search_finds(line):
    assert MARKUP.search(line) or ELSEWHERE.search(line)


def colours(css: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})", css))


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_known_pairs():
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)  # the well-known grey that just fails


LIGHT, _, REST = SHARED["base.css"][1].decode().partition("@media (prefers-color-scheme: dark)")
TEXT = [
    *((ink, ground) for ink in ("ink", "soft", "accent", "good", "bad") for ground in ("ground", "surface", "sunken")),
    *(("on-accent", "accent"), ("ink", "tint"), ("accent", "tint"), ("bad", "bad-tint"), ("ink", "bad-tint")),
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_aa(scheme):
    palette = colours(LIGHT) | (colours(REST) if scheme == "dark" else {})
    low = {pair: ratio for pair in TEXT if (ratio := contrast(palette[pair[0]], palette[pair[1]])) < 4.5}
    assert low == {}
    edges = [
        contrast(palette[edge], palette[ground]) for edge in ("edge", "accent") for ground in ("ground", "surface")
    ]
    assert min(edges) >= 3  # what can be operated, and the focus ring


def test_assets_take_only_what_a_browser_takes(tmp_path):
    (tmp_path / "a.js").write_bytes(b"1")
    (tmp_path / "secret.key").write_bytes(b"2")
    (tmp_path / "folder").mkdir()
    assert assets(tmp_path) == {"a.js": ("text/javascript; charset=utf-8", b"1")}
    assert set(SHARED) == {"base.css", "door.css", "door.html", "door.js", "api.js"}
