"""Signals are noted, and given back."""

import os
import signal

import pytest

from purer_lightning.running.signals import SIGNALS, StopRequest, handlers_kept


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_no_longer_after_the_block(number: int, capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(number)
    request = StopRequest()
    with handlers_kept():
        request.listen(*SIGNALS)
        assert request.number == 0
        os.kill(os.getpid(), number)
        assert request.number == number
    assert signal.getsignal(number) == before
    assert f"purer: {signal.Signals(number).name}: saving at the end of this step" in capfd.readouterr().err


def test_a_second_ctrl_c_stops_at_once() -> None:
    request = StopRequest()
    with handlers_kept():
        request.listen(*SIGNALS)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert request.number == signal.SIGTERM


def test_signals_that_come_before_training_are_noted_but_ctrl_c_ends_it(capfd: pytest.CaptureFixture[str]) -> None:
    request = StopRequest()
    with handlers_kept():
        request.listen(signal.SIGUSR1, signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert request.number == 0
    assert capfd.readouterr().err == ""
