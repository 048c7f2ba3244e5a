import os
import signal
import threading
import time

import pytest
from checkpoint_fakes import in_child

from llmtrain.errors import Interrupted
from llmtrain.run.signals import StopSignal


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_noted_and_handlers_come_back(number, code):
    before = signal.getsignal(number)
    with StopSignal() as stop:
        stop.check()
        assert stop.requested is None
        os.kill(os.getpid(), number)
        assert stop.requested == number
        with pytest.raises(Interrupted) as caught:
            stop.check()
        assert caught.value.exit_code == code
    assert signal.getsignal(number) == before


def test_the_second_signal_ends_at_once():
    def work():
        with StopSignal():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)

    began = time.monotonic()
    assert in_child(work) == 130
    assert time.monotonic() - began < 5


def test_within_the_grace_a_repeat_is_the_same_request():
    """A launcher forwards the Ctrl-C that its workers got from the terminal as well."""

    def work():
        with StopSignal(grace=0.3) as stop:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.requested == signal.SIGINT
            time.sleep(0.4)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)

    assert in_child(work) == 143


def test_a_signal_for_a_stage_is_one_for_its_pipeline():
    """The stage may just have ended well; the pipeline must not begin the next one."""
    with StopSignal() as pipeline:
        with StopSignal() as stage:
            os.kill(os.getpid(), signal.SIGTERM)
        assert stage.requested == pipeline.requested == signal.SIGTERM


def test_in_another_thread_it_installs_nothing():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with StopSignal() as stop:
            seen.append((stop.requested, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(None, before)]


def test_a_stage_that_opens_after_the_signal_hears_of_it():
    with StopSignal() as pipeline:
        os.kill(os.getpid(), signal.SIGTERM)
        with StopSignal() as stage:
            assert stage.requested == pipeline.requested == signal.SIGTERM
