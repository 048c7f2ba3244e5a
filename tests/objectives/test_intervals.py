import math

from llmtrain.objectives.intervals import fisher, wilson


def test_wilson_solves_its_defining_equation():
    """Its ends are the rates p with |k/n - p| = z sqrt(p (1-p) / n)."""
    for k, n in ((3, 10), (57, 80), (0, 5)):
        for p in wilson(k, n, 0.95):
            if 0 < p < 1:
                assert math.isclose(abs(k / n - p), 1.959963985 * math.sqrt(p * (1 - p) / n), rel_tol=1e-8)


def test_wilson_edges():
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 10)[0] == 0.0 and wilson(10, 10)[1] == 1.0 and wilson(10, 10)[0] < 1
    wide, narrow = wilson(5, 10, 0.99), wilson(5, 10, 0.8)
    assert wide[0] < narrow[0] < 0.5 < narrow[1] < wide[1]


def test_fisher_is_symmetric_on_its_own_scale_and_narrows():
    """r = .5 over 28 pairs: atanh(.5) = .5493, half width 1.96 / 5 = .392."""
    low, high = fisher(0.5, 28)
    assert math.isclose(low, math.tanh(0.5493061 - 0.3919928), rel_tol=1e-6)
    assert math.isclose(high, math.tanh(0.5493061 + 0.3919928), rel_tol=1e-6)
    assert fisher(-0.5, 28) == (-high, -low)
    assert fisher(0.9, 3) == (-1.0, 1.0) and fisher(1.0, 100)[0] > 0.999
