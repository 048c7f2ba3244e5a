import pytest

from llmtrain.web.limits import Bucket, Rate


def test_a_bucket_lets_a_burst_pass_and_then_the_rate():
    now = 100.0
    bucket = Bucket(Rate(2, 3), lambda: now)
    assert [bucket.take() for _ in range(3)] == [0, 0, 0]
    assert bucket.take() == pytest.approx(0.5)  # 2 a second: the next in half a second
    now += 0.4
    assert bucket.take() == pytest.approx(0.1)
    now += 0.1 + 1e-9
    assert bucket.take() == 0
    now += 1000  # never more than a burst
    assert [bucket.take() == 0 for _ in range(4)] == [True, True, True, False]
