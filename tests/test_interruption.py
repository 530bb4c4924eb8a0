"""A stop is one exception: a signal that comes while it is on its way out changes nothing."""

import signal

import pytest

from vqvae.interruption import Interrupted, interrupt_on_signals, stop_on_signals


def test_a_signal_after_a_stop_was_asked_for_does_not_break_into_the_way_out():
    with interrupt_on_signals(), pytest.raises(Interrupted, match=r"^saved$"):
        try:
            with stop_on_signals() as stop:
                signal.raise_signal(signal.SIGTERM)
                raise Interrupted(stop.signum, "saved")
        finally:
            signal.raise_signal(signal.SIGTERM)


def test_a_second_signal_does_not_break_into_the_way_out_of_the_first():
    with interrupt_on_signals(), pytest.raises(Interrupted, match=r"^stopped by SIGTERM$"):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGINT)


def test_without_a_stop_the_next_signal_interrupts():
    with interrupt_on_signals(), pytest.raises(Interrupted):
        with stop_on_signals():
            pass
        signal.raise_signal(signal.SIGTERM)
