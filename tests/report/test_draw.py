"""What becomes of matplotlib's SVG."""

from xml.etree import ElementTree

from llmtrain.report import draw


def curve(axes):
    axes.plot([0, 1, 2], [3, 1, 2], color=draw.SERIES[1], marker="o")
    axes.set_xlabel("step")


def test_colours_are_properties_and_text_stays_text():
    svg = draw.picture(200, "a curve", curve)
    assert "var(--c2)" in svg and "var(--muted)" in svg and ">step<" in svg
    assert not any(colour in svg for colour in (*draw.PROPERTIES, "DejaVu"))


def test_elements_and_attributes_come_from_the_list():
    root = ElementTree.fromstring(draw.picture(200, 'an "odd" <title>', curve))
    assert root.attrib["aria-label"] == 'an "odd" <title>'
    for node in root.iter():
        if node is not root:
            assert set(node.attrib) <= set(draw.KEPT[node.tag])
    assert {node.tag for node in root.iter()} == {"svg", "g", "path", "use", "text", "defs", "clipPath", "rect"}


def test_foreign_elements_and_attributes_do_not_get_through():
    svg = """<svg xmlns="http://www.w3.org/2000/svg" onload="x()"><script>x()</script><style>*{}</style>
    <image href="//evil.example/a.png"/><a href="javascript:x()"><text>in a link</text></a>
    <g onclick="x()"><text x="1" onclick="x()">&lt;b&gt; &amp;</text></g></svg>"""
    out = draw.inline(svg.encode(), 100, "t")
    assert out.partition(">")[2] == '<text x="1">&lt;b&gt; &amp;</text></svg>'


def test_ids_of_two_pictures_differ():
    one, two = draw.picture(200, "a", curve), draw.picture(200, "a", curve)
    ids = [
        {node.attrib["id"] for node in ElementTree.fromstring(svg).iter() if "id" in node.attrib} for svg in (one, two)
    ]
    assert ids[0] and ids[1] and not ids[0] & ids[1]


def test_short_numbers():
    assert [draw.short(x) for x in (0, 0.0002, 12.5, -1500, 20_000, 3e6, 2.5e9)] == [
        "0", "0.0002", "12.5", "\u22121500", "20k", "3M", "2.5G",
    ]  # fmt: skip
