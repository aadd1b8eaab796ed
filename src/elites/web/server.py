"""The server of the live page: this machine only, the standard library only, and nobody without the token.

What a viewer may ask for is read off the list of runs: no part of an address is ever taken for a path of a file.

    GET   /                     the page, its style and its script; they say nothing of any run
    GET   /live?show=ID,ID      which runs there are, and what tells the parts of those shown from older ones
    GET   /part/list, /part/ID/NAME    one part as HTML
    POST  /runs/ID/pause, /go-on, /stop
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ..events import page as frame
from ..events import panels
from ..events.control import PAUSE, STOP
from ..store import StoreError
from ..types import InputError
from .runs import Runs
from .watched import MADE, STATE, digest

__all__ = ["Server"]

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")
PATIENCE = 60.0  # seconds without a question after which a connection is closed
BODY = 1024  # most bytes of the body of an order, which is not looked at
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
ORDERS = {"pause": PAUSE, "go-on": "", "stop": STOP}
KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "json": "application/json"}


class Server:
    """The live page of some runs.

    Arguments:
        runs: to show.
        port: to listen on; 0 for a free one.

    Raises:
        InputError: if the port cannot be had.
    """

    def __init__(self, runs: Runs, port: int = 0) -> None:
        self.runs = runs
        self.token = secrets.token_urlsafe(18)
        try:
            self._http = _Http((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise InputError(f"Cannot listen on port {port} ({why}): give another --port, or none.") from None
        self._http.owner = self
        self.port = int(self._http.server_address[1])

    @property
    def address(self) -> str:
        """What to open. The token comes after the #, which a browser tells nobody."""
        return f"http://{HOST}:{self.port}/#{self.token}"

    def serve(self) -> None:
        """Answer until `close` is called from another thread."""
        self._http.serve_forever(poll_interval=0.1)

    def close(self) -> None:
        """Answer no more."""
        self._http.shutdown()
        self._http.server_close()

    @cached_property
    def shell(self) -> dict[str, tuple[str, str]]:
        """Kind and text of what is the same for everybody, by its path."""
        here = files("elites.web")
        texts = {name: (here / name).read_text(encoding="utf-8") for name in ("page.html", "live.css", "live.js")}
        return {
            "/": ("html", texts["page.html"]),
            "/live.css": ("css", frame.STYLE + panels.STYLE + texts["live.css"]),
            "/live.js": ("js", texts["live.js"]),
        }

    def live(self, shown: list[str]) -> str:
        """Which runs there are, and the parts of those shown, each with what tells it from an older one."""
        listed = self.runs.all()
        out = []
        for key in shown:
            if (run := self.runs.get(key)) is not None:
                parts = [[name, part.title, part.digest] for name, part in run.refresh().items()]
                out.append({"id": key, "name": run.name, "word": run.glance.word, "parts": parts})
        told = {
            "list": digest(self.runs.table(listed)),
            "count": len(listed),
            "suggested": self.runs.suggested(listed),
        }
        return json.dumps(told | {"runs": out})

    def part(self, key: str, name: str) -> str | None:
        """A part of the page; `None` if there can be none of that name."""
        run = self.runs.get(key)
        if run is None or (name not in MADE and name != STATE):
            return None
        part = run.parts.get(name)
        return part.html if part is not None else ""


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    owner: Server

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a viewer that went away."""


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "elites", ""
    timeout = PATIENCE

    def do_GET(self) -> None:
        """Send the page, or what it asks for."""
        self._answer(self._read)

    def do_POST(self) -> None:
        """Take an order."""
        self._answer(self._order)

    def _answer(self, take: Callable[[list[str], str, Server], None]) -> None:
        """Refuse who has no business here; else let `take` answer the parts of the path and what follows the ?."""
        owner = self.server.owner
        hosts = {f"{name}:{owner.port}" for name in NAMES}
        if self.headers.get("Host", "") not in hosts:  # a name of a stranger that leads here, or somebody else's page
            self._send(403, "Not this host.")
            return
        if self.headers.get("Origin", f"http://{HOST}:{owner.port}").removeprefix("http://") not in hosts:
            self._send(403, "Not from this page.")
            return
        try:
            url = urlsplit(self.path)
        except ValueError:
            self._send(400, "That is no address.")
            return
        if self.command == "GET" and url.path in owner.shell:
            kind, text = owner.shell[url.path]
            self._send(200, text, kind)
            return
        given = self.headers.get("Authorization", "").encode(errors="replace")
        if not hmac.compare_digest(given, f"Bearer {owner.token}".encode()):
            self._send(403, "Open the address that elites watch has printed.")
            return
        take(url.path.split("/")[1:], url.query, owner)

    def _read(self, path: list[str], query: str, owner: Server) -> None:
        match path:
            case ["live"]:
                shown = parse_qs(query).get("show", [""])[0]
                self._send(200, owner.live([key for key in shown.split(",") if key]), "json")
            case ["part", "list"]:
                self._send(200, owner.runs.table(owner.runs.all()), "html")
            case ["part", key, name] if (html := owner.part(key, name)) is not None:
                self._send(200, html, "html")
            case _:
                self._send(404, "There is no such thing.")

    def _order(self, path: list[str], query: str, owner: Server) -> None:
        size = self.headers.get("Content-Length", "0")
        if not size.isdecimal() or int(size) > BODY or "Transfer-Encoding" in self.headers:
            self._send(413, "An order has no body.")
            return
        self.rfile.read(int(size))
        match path:
            case ["runs", key, word] if word in ORDERS and (run := owner.runs.get(key)) is not None:
                try:
                    done = run.order(ORDERS[word])
                except StoreError as error:
                    self._send(500, str(error))
                    return
                self._send(200 if done else 409, "Asked." if done else f"{run.name} is not at work.")
            case _:
                self._send(404, "There is no such thing.")

    def _send(self, code: int, text: str, kind: str = "") -> None:
        """Send a text, unless the viewer has it."""
        data = text.encode(errors="replace")
        tag = f'"{digest(text)}"'
        if code == 200 and self.command == "GET" and self.headers.get("If-None-Match") == tag:
            code, data = 304, b""
        self.send_response(code)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        if code >= 400:  # what is left of the question is no question
            self.send_header("Connection", "close")
        if code in (200, 304):
            self.send_header("ETag", tag)
        if code == 405:
            self.send_header("Allow", "GET, POST")
        if code != 304:
            self.send_header("Content-Type", f"{KINDS.get(kind, 'text/plain')}; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library refuses: other methods, and what is no HTTP."""
        self._send(405 if code == 501 else code, "This page answers GET and POST.")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the terminal has the address, and stays as it is."""
