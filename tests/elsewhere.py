"""What the tests of rewards that live elsewhere share: a server, a chat model, and small programs, made to order."""

import contextlib
import json
import re
import sys
import textwrap
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from elites.rewards.command import Command
from elites.rewards.judge import Judge

RUBRIC = "Ten is a clear picture of a cat."
HEAD = """
import json, os, sys, time
def put(**line):
    print(json.dumps(line), flush=True)
for text in sys.stdin:
    asked = json.loads(text)
    n, o = asked["id"], asked["object"]
"""
LENGTH = "put(id=n, score=len(o))"
PIDS = "put(id=n, score=os.getpid())"


@dataclass
class Hit:
    """A request: which it is, what it says, when it came; `write` answers byte by byte."""

    number: int
    path: str
    headers: dict
    body: dict
    time: float
    handler: object = field(repr=False)

    def write(self, data):
        self.handler.wfile.write(data)
        self.handler.wfile.flush()


@contextlib.contextmanager
def endpoint(reply):
    """(url, hits) of a server; `reply(hit)` gives (status, text) or (status, text, headers), or writes by itself."""
    hits, lock = [], threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                hit = Hit(len(hits), self.path, dict(self.headers), body, time.monotonic(), self)
                hits.append(hit)
            with contextlib.suppress(OSError):
                if (answer := reply(hit)) is None:
                    self.close_connection = True
                    return
                status, text, *headers = answer
                self.send_response(status)
                for name, value in headers[0].items() if headers else ():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

        do_GET = do_POST

        def log_message(self, *args):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, *args):
            pass

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", hits
    finally:
        server.shutdown()
        server.server_close()


def drip(hit):
    """A reply of a thousand bytes, one at a time."""
    hit.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(40):
        hit.write(b" ")
        time.sleep(0.05)


def drip_headers(hit):
    """A reply whose headers never end."""
    hit.write(b"HTTP/1.1 200 OK\r\n")
    for i in range(40):
        hit.write(b"X-%d: y\r\n" % i)
        time.sleep(0.05)


def flood(hit):
    """A reply of a gigabyte."""
    hit.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    for _ in range(1000):
        hit.write(b" " * 1_000_000)


def drop(hit):
    """A connection closed without a word."""
    hit.handler.connection.close()


def hang(hit):
    """A server that never answers; it ends after the test has."""
    time.sleep(2)


def lengths(hit):
    return 200, json.dumps({"scores": [len(o) for o in hit.body["objects"]]})


def chat(text):
    """A reply as endpoints send it."""
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]})


def says(text):
    return lambda hit: (200, chat(text))


def seen(hit):
    """The texts of the object in a request, without their marks."""
    mark = re.search(r"<<<([0-9a-f]{16}) ", hit.body["messages"][0]["content"])[1]
    texts = [part["text"] for part in hit.body["messages"][1]["content"] if part["type"] == "text"][1:]
    assert all(text.startswith(f"<<<{mark}\n") and text.endswith(f"\n{mark}>>>") for text in texts)
    return [text[20:-20] for text in texts]


def judge(url, **settings):
    return Judge(url, "m", RUBRIC, **{"timeout": 2, "again": 2, **settings})


def program(body, head=HEAD):
    """The command of a small program without site packages, which start slowly."""
    return [sys.executable, "-ISc", head + textwrap.indent(textwrap.dedent(body), "    ")]


def command(body, **settings):
    return Command(program(body), **{"timeout": 5, **settings})


def alive(pid):
    """Whether a process runs: not gone, and no zombie."""
    try:
        with open(f"/proc/{int(pid)}/stat") as stat:  # noqa: PTH123
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pids, seconds=3.0):
    """Whether processes end in time."""
    end = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(map(alive, pids))
