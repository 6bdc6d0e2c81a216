"""A chat on loopback that takes notifications."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: A part of the address that no output may hold.
TOKEN = "s3cr3t-of-the-room"


class Room:
    """A chat on loopback: what was posted to it, and what was asked for."""

    def __init__(self) -> None:
        self.posts: list[dict[str, Any]] = []
        self.gets: list[str] = []
        self.status = 200
        self.on_post: Callable[[dict[str, Any]], object] = lambda _post: None
        room = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                post = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                room.posts.append(post)
                room.on_post(post)
                self.answer()

            def do_GET(self) -> None:
                room.gets.append(self.path)
                self.answer()

            def answer(self) -> None:
                self.send_response(room.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        """As `--notify` takes it."""
        return f"json://127.0.0.1:{self.server.server_port}/{TOKEN}"

    @property
    def titles(self) -> Counter[str]:
        """How often each title was posted."""
        return Counter(post["title"] for post in self.posts)
