"""A reward server of the standard library: it needs no elites, and Pillow only for images.

    python reward_server.py --port 8000                       # the sample below: how light an image is
    python reward_server.py my_rewards:score --port 8000      # score(objects, prompt="...") -> a number for each

    reward = elites.rewards.HTTP("http://127.0.0.1:8000", about={"prompt": "a lighthouse"})

Images come as Pillow images, other arrays as nested lists, the rest as it was. An exception in the place of a number
fails that object. Calls come one at a time; whoever is on this machine may make them.
"""

import argparse
import base64
import importlib
import io
import json
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CODES = {"float16": "e", "float32": "f", "float64": "d", "bool": "?", "int8": "b", "int16": "h", "int32": "i"}
CODES |= {"int64": "q", "uint8": "B", "uint16": "H", "uint32": "I", "uint64": "Q"}
LARGEST = 100_000_000  # bytes of a request
ONE = threading.Lock()


def brightness(images):
    """Mean of an image in [0, 1]."""
    scores = []
    for image in images:
        grey = image.convert("L")
        scores.append(sum(level * n for level, n in enumerate(grey.histogram())) / (255 * grey.width * grey.height))
    return scores


def decode(obj):
    if isinstance(obj, dict) and set(obj) == {"png"}:
        from PIL import Image

        return Image.open(io.BytesIO(base64.b64decode(obj["png"])))
    if isinstance(obj, dict) and set(obj) == {"shape", "dtype", "data"}:
        flat = [value for (value,) in struct.iter_unpack("<" + CODES[obj["dtype"]], base64.b64decode(obj["data"]))]
        return nested(flat, obj["shape"])
    if isinstance(obj, dict):
        return {k: decode(v) for k, v in obj.items()}
    return [decode(o) for o in obj] if isinstance(obj, list) else obj


def nested(flat, shape):
    if not shape:
        return flat[0]
    size = len(flat) // shape[0] if shape[0] else 0
    return [nested(flat[i * size : (i + 1) * size], shape[1:]) for i in range(shape[0])]


def scored(score, request):
    """Scores, and the reasons of those that are none."""
    try:
        with ONE:
            scores = list(score([decode(o) for o in request["objects"]], **request.get("about", {})))
        scores = [s if isinstance(s, Exception) else float(s) for s in scores]
    except Exception as error:
        scores = [error] * len(request["objects"])
    errors = [f"{type(s).__name__}: {s}" if isinstance(s, Exception) else None for s in scores]
    return {"scores": [None if e else s for s, e in zip(scores, errors, strict=True)], "errors": errors}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        here = self.headers.get("Host", "").partition(":")[0] in ("127.0.0.1", "localhost")
        if not here or self.headers.get_content_type() != "application/json":  # a page in a browser, perhaps
            self.send_error(403)
        elif not 0 < length <= LARGEST:
            self.send_error(413)
        else:
            reply = json.dumps(scored(self.server.score, json.loads(self.rfile.read(length)))).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

    def log_message(self, *args):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reward", nargs="?", default="reward_server:brightness", help="module:function")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    args = parser.parse_args()
    sys.path.insert(0, "")
    module, _, name = args.reward.partition(":")
    server = ThreadingHTTPServer(("127.0.0.1", args.port), Handler)
    server.daemon_threads = True
    server.score = getattr(importlib.import_module(module), name)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
