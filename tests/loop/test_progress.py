import math

from rich.progress import Task

from llmtrain.loop.progress import CURVE, KEPT, CurveColumn


def shown(column: CurveColumn) -> str:
    return column.render(Task(0, "t", None, 0, _get_time=lambda: 0.0)).plain


def test_the_curve_of_the_first_number_stays_small():
    column = CurveColumn()
    assert shown(column) == ""
    column.note(0, math.nan)
    assert column.points == []
    for step in range(1, 10_001):
        column.note(step, 1 / step)
    assert len(column.points) <= KEPT
    assert (column.points[0][0], column.points[-1][0]) == (1, 10_000)
    assert len(shown(column)) == CURVE
