#!/usr/bin/env python3
"""A small hub for tests/test_fetch.sh: hub_stub.py LOG prints its port, then serves and logs each request.

Each repository misbehaves in its own way:
    org/good        sends half of model.safetensors at first, then breaks off; goes on by Range
    org/norange     the same, but knows no Range
    org/damaged     other bytes than the hash says          org/short     fewer bytes than the size says
    org/slow        half of the weights, then nothing       org/sharded   an index and two shards
    org/pickled     only pytorch_model.bin                  org/gated     401
    org/evil        names that climb out of the folder      org/moved     the weights are on another host
    org/bare        no weights                              org/nojson    answers that are no JSON
"""
import hashlib
import http.server
import json
import sys
import time

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONFIG = b'{"model_type": "llama"}\n'
TOKENIZER = b'{"model": {}}\n'
WEIGHTS = bytes(range(256)) * 4096
INDEX = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}).encode()
FILES = {"config.json": CONFIG, "tokenizer.json": TOKENIZER, "empty.json": b""}
FILES_OF = {
    "pickled": {**FILES, "pytorch_model.bin": WEIGHTS},
    "sharded": {**FILES, "model.safetensors.index.json": INDEX, "model-1.safetensors": WEIGHTS[:5000],
                "model-2.safetensors": WEIGHTS[5000:9000]},
    "bare": FILES,
}
broken_off = set()


def files_of(name):
    return FILES_OF.get(name, {**FILES, "model.safetensors": WEIGHTS})


def tree_item(path, data):
    item = {"type": "file", "path": path, "size": len(data),
            "oid": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()}
    if len(data) > 1000 or path.endswith(".safetensors"):
        item["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}
    return item


def tree(name):
    items = [tree_item(path, data) for path, data in files_of(name).items()]
    if name == "evil":
        items += [tree_item(path, CONFIG) for path in ("../../../evil.json", "/tmp/evil", "a/b.safetensors")]
    return items


class Hub(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def note(self):
        with open(sys.argv[1], "a", encoding="utf-8") as log:
            log.write("%s %s range=%s login=%s\n" % (self.headers.get("Host"), self.path, self.headers.get("Range"),
                                                  self.headers.get("Authorization")))

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.note()
        parts = self.path.strip("/").split("/")
        repo = parts[2:] if parts[:2] == ["api", "models"] else parts
        name = repo[0] if repo[1] in ("revision", "tree", "resolve") else repo[1]  # without an organisation, and with
        if name == "gated":
            self.answer(401)
        elif name == "absent" or "nosuch" in parts:
            self.answer(404)
        elif name == "nojson":
            self.answer(200, b"<html>")
        elif "revision" in parts:
            self.answer(200, json.dumps({"sha": COMMIT}).encode())
        elif "tree" in parts:
            self.answer(200, json.dumps(tree(name)).encode())
        else:
            self.file(name, parts[-1])

    def file(self, name, path):
        data = files_of(name)[path]
        heavy = path in ("model.safetensors", "pytorch_model.bin")
        if name == "moved" and heavy and self.headers.get("Host", "").startswith("127.0.0.1"):
            port = self.server.server_address[1]
            self.answer(302, headers=[("Location", "http://localhost:%d%s" % (port, self.path))])
        elif name == "damaged" and heavy:
            self.answer(200, data[::-1])
        elif name == "short" and heavy:
            self.answer(200, data[:-1])
        elif name in ("good", "norange", "slow") and heavy and name not in broken_off:
            broken_off.add(name)
            self.half(data, 600 if name == "slow" else 0)
        else:
            self.rest(data, name != "norange")

    def half(self, data, wait):
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[:len(data) // 2])
        self.wfile.flush()
        time.sleep(wait)
        self.close_connection = True

    def rest(self, data, knows_range):
        wanted = self.headers.get("Range", "")
        if knows_range and wanted.startswith("bytes=") and wanted.endswith("-"):
            start = int(wanted[6:-1])
            self.answer(206, data[start:], [("Content-Range", "bytes %d-%d/%d" % (start, len(data) - 1, len(data)))])
        else:
            self.answer(200, data)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Hub)
    print(server.server_address[1], flush=True)
    server.serve_forever()
