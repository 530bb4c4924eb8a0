"""A stop is one exception: a signal that comes while it is on its way out changes nothing."""

import os
import signal
import subprocess
import sys
import threading

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


def wrapped_by_compiled_code() -> None:
    """Do what compiled code does with an exception of a handler: raise an error of its own instead."""
    try:
        signal.raise_signal(signal.SIGXCPU)
    except KeyboardInterrupt as stop:
        raise ValueError(f"Error building a validator: {stop}") from None


def test_a_stop_that_compiled_code_made_another_error_of_is_a_stop():
    with pytest.raises(Interrupted, match=r"^stopped by SIGXCPU$"), interrupt_on_signals():
        wrapped_by_compiled_code()
    with pytest.raises(Interrupted, match=r"^stopped by SIGXCPU$"), stop_on_signals() as stop, stop.at_once():
        wrapped_by_compiled_code()
    with pytest.raises(ValueError, match="a mistake"), interrupt_on_signals():
        raise ValueError("a mistake")


PROGRAM = """
import signal, sys, time
if sys.argv[1:]:
    signal.signal(signal.Signals[sys.argv[1]], signal.SIG_IGN)
from vqvae.interruption import Interrupted, interrupt_on_signals, stop_on_signals
try:
    with interrupt_on_signals(), stop_on_signals() as stop:
        print("ready", flush=True)
        while not stop:
            time.sleep(0.01)
        raise Interrupted(stop.signum, "saved")
except Interrupted as end:
    print(end, flush=True)
    sys.exit(end.exit_code)
"""


ENDING = """
import sys, time
from vqvae.interruption import Interrupted, ignore_signals, interrupt_on_signals
try:
    with interrupt_on_signals():
        print("ready", flush=True)
        time.sleep(60)
except Interrupted as end:
    ignore_signals()
    print("saved", flush=True)
    time.sleep(0.3)
    sys.exit(end.exit_code)
"""


def test_a_signal_while_the_process_exits_does_not_change_its_exit_code():
    with subprocess.Popen([sys.executable, "-c", ENDING], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "saved\n"
        for signum in (signal.SIGUSR1, signal.SIGINT, signal.SIGHUP):
            process.send_signal(signum)
    assert process.returncode == 143


def program(*arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


@pytest.mark.usefixtures("hangup_as_from_a_shell")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU"])
def test_every_signal_that_ends_a_program_lets_it_save_first(name: str) -> None:
    with program() as process:
        process.send_signal(signal.Signals[name])
        assert process.communicate(timeout=30)[0] == "saved\n"
    assert process.returncode == 128 + signal.Signals[name]


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    with program("SIGHUP") as process:  # as nohup starts it
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.terminate()
        assert process.wait(30) == 143


def test_a_limit_on_cpu_time_lets_a_program_save_first() -> None:
    busy = PROGRAM.replace("time.sleep(0.01)", "pass").replace("import signal,", "import resource, signal,")
    limit = "resource.setrlimit(resource.RLIMIT_CPU, (1, 5))\n"
    done = subprocess.run(
        [sys.executable, "-c", busy.replace("from vqvae", limit + "from vqvae", 1)],
        stdout=subprocess.PIPE,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (128 + signal.SIGXCPU, b"ready\nsaved\n")


def test_the_handlers_of_a_calling_program_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda signum, frame: seen.append(signum))
    try:
        with interrupt_on_signals(), stop_on_signals() as stop:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert not stop
            os.kill(os.getpid(), signal.SIGUSR2)
            assert stop.signum == signal.SIGUSR2
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [signal.SIGUSR1]
    assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL


def test_another_thread_than_the_main_one_leaves_signals_alone() -> None:
    found = []

    def work() -> None:
        with interrupt_on_signals(), stop_on_signals() as stop:
            found.append((bool(stop), signal.getsignal(signal.SIGTERM)))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(False, before)]
