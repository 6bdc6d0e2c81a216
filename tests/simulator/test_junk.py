"""What is no HTTP gets a 400 and leaves no traceback."""

from __future__ import annotations

import logging
import socket

import anyio.to_thread
import pytest

from orchestrator.simulator import Simulator, SimulatorOptions

JUNK = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03hello\r\n\r\n",
    b"GET\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
    b"GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n",
)


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
async def test_junk_is_refused_without_a_traceback(caplog: pytest.LogCaptureFixture, junk: bytes) -> None:
    """Scanners and mistaken clients send such."""
    simulator = Simulator(SimulatorOptions())
    await simulator.start()
    try:
        with caplog.at_level(logging.DEBUG):
            answer = await anyio.to_thread.run_sync(sent, int(simulator.endpoint.rpartition(":")[2]), junk)
    finally:
        await simulator.stop()

    assert b" 400 " in answer.split(b"\r\n")[0]
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def sent(port: int, octets: bytes) -> bytes:
    """The beginning of the answer to *octets*."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(octets)
        return connection.recv(200)
