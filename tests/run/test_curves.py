import math

import pytest

from llmtrain.run.curves import columns, draw, thinned


def dots(lines: list[str]) -> set[tuple[int, int]]:
    """(column, level from the bottom) of each dot, by the numbering of Unicode's braille block."""
    places = {0: (0, 3), 1: (0, 2), 2: (0, 1), 3: (1, 3), 4: (1, 2), 5: (1, 1), 6: (0, 0), 7: (1, 0)}
    found = set()
    for row, line in enumerate(lines):
        for cell, char in enumerate(line):
            for bit, (x, y) in places.items():
                if (ord(char) - 0x2800) >> bit & 1:
                    found.add((2 * cell + x, 4 * (len(lines) - 1 - row) + y))
    return found


def test_a_straight_line_is_a_diagonal():
    curve = draw(range(8), [float(n) for n in range(8)], 4, 2)
    assert dots(curve.lines) == {(n, n) for n in range(8)}
    assert (curve.low, curve.high) == (0, 7)


def test_a_jump_is_joined():
    """From the bottom to the top between two columns: the dots between stand in the second."""
    assert dots(draw([0, 1], [0.0, 1.0], 1, 1).lines) == {(0, 0), (1, 1), (1, 2), (1, 3)}
    assert dots(draw([0, 1], [1.0, 0.0], 1, 1).lines) == {(0, 3), (1, 0), (1, 1), (1, 2)}


def test_columns_are_means_and_straight_between():
    assert columns([0, 1, 10], [1.0, 3.0, 8.0], 3) == [2.0, 5.0, 8.0]
    assert columns([0, 3], [0.0, 3.0], 4) == [0.0, 1.0, 2.0, 3.0]
    assert columns([5], [2.0], 4) == [2.0]


def test_a_long_series_is_thinned_to_means():
    """A straight line with noise of 1: each of 20 columns stays where it is, to a thousandth of the height."""
    values = [n + float(n % 2) for n in range(100_000)]
    steps, means = thinned(range(100_000), values)
    assert len(steps) == len(means) <= 4096
    assert columns(steps, means, 20) == pytest.approx(columns(range(100_000), values, 20), abs=100)
    assert thinned([1, 2], [3.0, 4.0]) == ([1, 2], [3.0, 4.0])


def test_a_steep_beginning_is_left_out():
    """100 and then 0 to 1: with the 100 all that follows would stand at the bottom."""
    values = [100.0] + [n / 98 for n in range(99)]
    curve = draw(range(100), values, 50, 2)
    assert (curve.low, curve.high) == (pytest.approx(9 / 98), 1.0)
    assert min(x for x, _ in dots(curve.lines)) == 10
    assert max(y for _, y in dots(curve.lines)) == 7


@pytest.mark.parametrize(
    "values",
    [[1.0], [2.0] * 9, [1e308, -1e308], [1e308] * 3, [1e308] * 9000, [-1e308, 1e308, 0.0], [0.0, 5e-324]],
    ids=lambda v: str(v)[:30],
)
def test_any_numbers_make_a_curve_of_the_size(values):
    curve = draw(range(len(values)), values, 7, 3)
    assert [len(line) for line in curve.lines] == [7, 7, 7]
    assert dots(curve.lines)


def test_steps_that_go_back_are_no_fault():
    assert dots(draw([3, -1, 2], [1.0, 2.0, 3.0], 4, 1).lines)
    assert not math.isnan(draw([1, 1], [1.0, 2.0], 4, 1).high)
