"""A link to a server that a test can cut in the very moment it needs."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict


class SeveredLink:
    """Passes on what goes between clients and the server of *url*, until it is cut; `port` is its own on loopback."""

    def __init__(self, url: str) -> None:
        self._server = conninfo_to_dict(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._word: bytes | None = None
        self._is_answered = False
        self._is_down = False
        self._refusal = b""
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self.cuts = 0

    def __enter__(self) -> SeveredLink:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # A thread in accept() is woken by shutdown, not by close.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._cut()

    def url(self) -> str:
        """The URL of the same database through the link."""
        options = quote(str(self._server.get("options", "")))
        name, user = self._server.get("dbname", "postgres"), self._server.get("user", "postgres")
        return f"postgresql://{user}@127.0.0.1:{self.port}/{name}?sslmode=disable&options={options}"

    def cut_after(self, word: bytes, *, is_answered: bool) -> None:
        """Cut the link once, right after a client has sent *word*: the server has it, and its answer gets lost."""
        self._word, self._is_answered = word, is_answered

    @contextmanager
    def down(self, refusal: str = "") -> Iterator[None]:
        """No connection goes through, and none can be made; the server gives a *refusal* as its reason."""
        fields = "".join(f"{field}\0" for field in ("SFATAL", "VFATAL", "C57P03", f"M{refusal}", ""))
        body = fields.encode()
        self._refusal = b"E" + (len(body) + 4).to_bytes(4, "big") + body if refusal else b""
        self._is_down = True
        self._cut()
        try:
            yield
        finally:
            self._is_down = False

    def _cut(self) -> None:
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._is_down:
                with client, suppress(OSError):
                    # It says so to what was asked; else the answer is lost when this end is closed.
                    if self._refusal and client.recv(65536):
                        client.sendall(self._refusal)
                continue
            pair = (client, self._connect())
            with self._lock:
                self._pairs.append(pair)
            threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _connect(self) -> socket.socket:
        host, port = str(self._server.get("host", "localhost")), int(self._server.get("port") or 5432)
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{port}")
        return server

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, selectors.DefaultSelector() as selector, suppress(OSError):
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in selector.select():
                    assert isinstance(key.fileobj, socket.socket)
                    data = key.fileobj.recv(65536)
                    if not data:
                        return
                    key.data.sendall(data)
                    if self._word is not None and key.fileobj is client and self._word in data:
                        self._word = None
                        self.cuts += 1
                        if self._is_answered:
                            server.recv(65536)
                        return
