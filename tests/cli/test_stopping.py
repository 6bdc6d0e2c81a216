"""Signals outside the part of a run that drains: a sentence and the exit code, from the first moment on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import anyio
import pytest

from orchestrator.cli.process import StoppedBySignal, run_async

#: What a command does before its event loop runs, for as long as it takes.
LOADING = """
import signal
from orchestrator.cli.process import stop_on_signals
stop_on_signals()
signal.raise_signal(signal.SIGUSR1)
print("loading", flush=True)
while True:
    signal.pause()
"""


@pytest.mark.parametrize(
    ("number", "code", "sentence"),
    [
        (signal.SIGINT, 130, "interrupted\n"),
        (signal.SIGTERM, 143, "stopped by SIGTERM\n"),
        (signal.SIGHUP, 129, "stopped by SIGHUP\n"),
    ],
)
def test_a_signal_ends_a_command_that_is_still_loading(
    number: signal.Signals, code: int, sentence: str
) -> None:
    """With a line and no traceback; SIGUSR1 has done nothing to it before."""
    command = [sys.executable, "-c", LOADING]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(number)
        _, told = process.communicate(timeout=20)

    assert (process.returncode, told) == (code, sentence)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_what_runs_on_a_loop_in_order(number: signal.Signals) -> None:
    """What is open is closed, and the handlers from before are back."""
    before = [signal.getsignal(each) for each in signal.valid_signals()]
    closed = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await anyio.sleep_forever()
        finally:
            closed.append(True)

    with pytest.raises(StoppedBySignal) as stopped:
        run_async(work)

    assert closed == [True]
    assert stopped.value.exit_code == 128 + number
    assert [signal.getsignal(each) for each in signal.valid_signals()] == before


def test_the_cursor_is_there_while_a_command_is_suspended() -> None:
    """^Z gives it back to the shell, fg takes it again, and the end of the command gives it back for good."""
    code = (
        "import sys\n"
        "from orchestrator.cli.process import cursor_shown_while_suspended\n"
        "with cursor_shown_while_suspended():\n"
        "    print('begun', flush=True)\n"
        "    sys.stdin.readline()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,  # a group of its own, with its parent outside: an orphaned one would not be suspended
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()

    process.send_signal(signal.SIGTSTP)
    assert os.read(process.stderr.fileno(), 100) == b"\x1b[?25h"
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    process.send_signal(signal.SIGCONT)
    assert os.read(process.stderr.fileno(), 100) == b"\x1b[?25l"
    _, rest = process.communicate(b"\n")
    assert (process.returncode, rest) == (0, b"\x1b[?25h")
