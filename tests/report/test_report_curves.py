"""Thinning and averaging of curves, and which there are."""

import numpy as np
import pytest
import written

from llmtrain.report import collect, curves


def test_thinned_keeps_every_extreme_and_both_ends():
    steps = np.arange(100_000.0)
    values = np.zeros(100_000)
    values[[31_234, 77_777]] = 9, -4
    x, y = curves.thinned(steps, values, 100)
    assert len(x) <= 202
    assert (x[0], x[-1]) == (0, 99_999)
    assert dict(zip(x, y, strict=True))[31_234] == 9 and dict(zip(x, y, strict=True))[77_777] == -4
    assert (np.diff(x) > 0).all()


@pytest.mark.parametrize("n", [1, 2, 5, 200])
def test_a_short_curve_stays_as_it_is(n):
    x, y = curves.thinned(np.arange(float(n)), np.ones(n), 100)
    assert len(x) == len(y) == n


def test_running_mean_by_hand():
    """Of three around each: at the ends of the two that there are."""
    assert curves.running_mean(np.array([0.0, 3.0, 6.0, 0.0]), 3).tolist() == [1.5, 3.0, 3.0, 3.0]
    assert curves.running_mean(np.ones(7), 4).tolist() == [1.0] * 7


def test_numbers_that_were_logged_twice_become_curves(tmp_path):
    rows = [{"step": n, "train/loss": 1 / n, "train/lr": 0.1} for n in range(1, 9)]
    rows.append({"step": 8, "eval/loss": 0.5})
    drawn = curves.charts(collect.read(written.run(tmp_path / "r", "sft", rows=rows), "r"), 50)
    assert [(c.title, [k.name for k in c.keys]) for c in drawn] == [
        ("Loss", ["training", "held out"]),
        ("Learning rate", ["training"]),
    ]


def test_the_step_that_was_kept_is_marked_unless_it_is_the_newest_of_a_run_that_keeps_no_best(tmp_path):
    rows = [{"step": n, "train/loss": 1.0} for n in (1, 9, 12)]
    given = ((9, {}), (12, {}), (12, {"loop": {"keep_best": 1}}))
    runs = [written.run(tmp_path / f"{n}", rows=rows, kept=kept, config=own) for n, (kept, own) in enumerate(given)]
    drawn = [curves.charts(collect.read(path, "r"), 50)[0] for path in runs]
    assert [">kept<" in chart.svg for chart in drawn] == [True, False, True]


def test_several_runs_share_a_picture_where_two_have_the_number(tmp_path):
    rows = [{"step": n, "ppo/entropy": 1.0, "ppo/score": 2.0} for n in (1, 2)]
    runs = [collect.read(written.run(tmp_path / name, rows=rows), name) for name in "ab"]
    alone = collect.read(written.run(tmp_path / "c", rows=[{"step": n, "train/loss": 1.0} for n in (1, 2)]), "c")
    titles = [chart.title for chart in curves.overlaid([*runs, alone], 50)]
    assert "Entropy" in titles and "Score of the judge, rollouts" in titles and not any("Loss" in t for t in titles)
