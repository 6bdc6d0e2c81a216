"""Serve: one line of JSON with the port once it listens, and with `--meter` one after every so many seconds."""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import sys
import time
from typing import Any

from benchmark.sink.answers import Shelf
from benchmark.sink.exchange import Exchange

BUFFER_BYTES = 1 << 20


async def serve(arguments: argparse.Namespace) -> None:
    """Listen until killed."""
    shelf, buffer = Shelf(), memoryview(bytearray(BUFFER_BYTES))
    server = await asyncio.get_running_loop().create_server(
        lambda: Exchange(shelf, buffer, is_hashing=arguments.digest),
        arguments.host,
        arguments.port,
        ssl=_tls(arguments),
        backlog=1024,
    )
    _tell({"port": server.sockets[0].getsockname()[1]})
    while arguments.meter:
        await asyncio.sleep(arguments.meter)
        _tell(_sample(shelf))
    await server.serve_forever()


def _tls(arguments: argparse.Namespace) -> ssl.SSLContext | None:
    if not arguments.certificate:
        return None
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(arguments.certificate, arguments.key)
    return tls


def _sample(shelf: Shelf) -> dict[str, Any]:
    return {
        "at": time.monotonic(),
        "received_bytes": sum(arrival.received_bytes for arrival in shelf.arrivals.values()),
        "arrivals": {path: vars(arrival) for path, arrival in shelf.arrivals.items()},
    }


def _tell(facts: dict[str, Any]) -> None:
    print(json.dumps(facts), flush=True)


def main() -> None:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser(prog="benchmark.sink", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--digest", action="store_true", help="answer with real MD5 ETags")
    parser.add_argument(
        "--meter",
        type=float,
        nargs="?",
        const=1.0,
        metavar="SECONDS",
        help="tell after every so many seconds what was received (1)",
    )
    parser.add_argument("--certificate", help="serve TLS with this certificate")
    parser.add_argument("--key", help="its key")
    arguments = parser.parse_args()
    try:
        asyncio.run(serve(arguments))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
