"""Who is measured: how each is started, spoken to and put under load."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from load import HttpRequest, Load, Operation, Sample, redis_benchmark, wrk
from system import Server, ask_at_once, ask_whole, free_port

KEY = "bench"
FASTAPI_PACKAGES = "fastapi and uvicorn from PyPI"
# What nginx sends beside the body; its version is left out.
NGINX_HEAD = (
    "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
    "Content-Type: application/json\r\nContent-Length: 137\r\nConnection: keep-alive\r\n\r\n"
)
# Enough that each worker gets some of them.
FILL_CONNECTIONS = 64
FILLS_IN_A_ROW = 3
FILL_TIMEOUT_S = 10
# A text in its configuration cannot be much longer.
NGINX_BLOCK_BYTES = 1_000


def value(operation: Operation) -> str:
    """The text that is stored; the same for all peers."""
    return "x" * operation.value_bytes


def first_line(*command: str) -> str:
    """What a program says of its version."""
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    return (said.stdout or said.stderr).splitlines()[0].strip()


@dataclass
class Started:
    """A peer that answers."""

    server: Server
    port: int
    first_answer_s: float
    directory: Path


class Peer:
    """Something that keeps values under keys and is spoken to over HTTP."""

    name: str
    needs: dict[str, str] = {}
    """Commands, and the Debian packages that have them."""
    log = "log"
    """Where its output goes; a relative path is one in its directory."""

    def version(self) -> str:
        """Which one it is, and how it is run where that matters."""
        raise NotImplementedError

    def command(self, port: int, directory: Path) -> list[str]:
        """Runs it in the foreground; files go to the directory."""
        raise NotImplementedError

    def request(self, operation: Operation) -> HttpRequest:
        """The operation on the one key that all load is on."""
        raise NotImplementedError

    def environment(self, port: int) -> dict[str, str]:
        """What it is told by environment variables."""
        return {}

    def missing(self) -> list[str]:
        """Packages to install before it can be started."""
        found = {command: shutil.which(command) for command in self.needs}
        return [package for command, package in self.needs.items() if not found[command]]

    def probe(self) -> bytes:
        """A request that a server which works answers."""
        return self.request(Operation("GET")).raw()

    @contextlib.contextmanager
    def started(self) -> Iterator[Started]:
        """A server of its own, on a free port, without any key."""
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            directory, port = Path(name), free_port()
            command = self.command(port, directory)
            server = Server(command, directory, self.environment(port), self.log)
            try:
                seconds = server.wait_for_answer(port, self.probe())
                yield Started(server, port, seconds, directory)
            finally:
                server.stop()

    def fill(self, started: Started, operation: Operation) -> bytes:
        """Stores the value, and makes sure that a GET finds it; returns that answer."""
        put = Operation("PUT", operation.value_bytes)
        ask_whole(started.port, self.request(put).raw())
        get = Operation("GET", operation.value_bytes)
        answer = ask_whole(started.port, self.request(get).raw())
        texts = (value(operation).encode(), base64.b64encode(value(operation).encode()))
        if not any(text in answer for text in texts):
            raise RuntimeError(f"{self.name} does not keep what it is given: {answer[:500]!r}")
        return answer

    def load(self, started: Started, load: Load) -> Sample:
        """Puts the server under load; a value is there."""
        return wrk(started.server, started.port, self.request(load.operation), load)


class Kv(Peer):
    """One of the builds of kv."""

    def __init__(
        self, name: str, binary: Path, env: dict[str, str] | None = None, log: str = "log"
    ) -> None:
        self.name = name
        self.binary = binary
        self.env = {"LOG_LEVEL": "WARNING"} | (env or {})
        self.log = log

    def version(self) -> str:
        return f"{first_line(str(self.binary), '--version')}, {self.binary.stat().st_size:,} bytes"

    def command(self, port: int, directory: Path) -> list[str]:
        return [str(self.binary)]

    def environment(self, port: int) -> dict[str, str]:
        return {"HOST": "127.0.0.1", "PORT": str(port)} | self.env

    def request(self, operation: Operation) -> HttpRequest:
        if operation.verb == "GET":
            return HttpRequest("GET", f"/keys/{KEY}")
        body = json.dumps({"key": KEY, "value": value(operation)}, separators=(",", ":"))
        return HttpRequest("PUT", f"/keys/{KEY}", "application/json", body)


class FastApi(Kv):
    """The FastAPI twin of the original; what is asked and answered is the same."""

    def __init__(self, workers: int, venv: Path, app_dir: Path) -> None:
        super().__init__(f"FastAPI ×{workers}", venv / "bin" / "uvicorn")
        self.workers = workers
        self.app_dir = app_dir

    def missing(self) -> list[str]:
        return [] if self.binary.exists() else [FASTAPI_PACKAGES]

    def version(self) -> str:
        listed = subprocess.run(
            [self.binary.with_name("pip"), "freeze"], capture_output=True, text=True, check=True
        )
        packages = [
            line for line in listed.stdout.split() if line.startswith(("fastapi=", "uvicorn="))
        ]
        python = first_line(str(self.binary.with_name("python")), "--version")
        # asyncio sets TCP_NODELAY on connections of a socket that it made itself, which it does not
        # for several workers; so each answer's second segment waits for an acknowledgment.
        nodelay = "" if self.workers == 1 else ", connections without TCP_NODELAY"
        return f"{', '.join(packages).replace('==', ' ')}, {python}{nodelay}"

    def command(self, port: int, directory: Path) -> list[str]:
        uvicorn = [str(self.binary), "--app-dir", str(self.app_dir), "fastapi_twin:app"]
        return uvicorn + ["--port", str(port), "--workers", str(self.workers), "--no-access-log"]

    def environment(self, port: int) -> dict[str, str]:
        return {"PYTHONDONTWRITEBYTECODE": "1"}

    def fill(self, started: Started, operation: Operation) -> bytes:
        """Each worker has a store of its own and starts in its own time: all get the value."""
        get = self.request(Operation("GET", operation.value_bytes)).raw()
        put = self.request(Operation("PUT", operation.value_bytes)).raw()
        deadline = time.monotonic() + FILL_TIMEOUT_S
        in_a_row = 0
        while in_a_row < FILLS_IN_A_ROW and time.monotonic() < deadline:
            ask_at_once(started.port, put, FILL_CONNECTIONS)
            answers = ask_at_once(started.port, get, FILL_CONNECTIONS)
            running = started.server.log.read_text().count("Application startup complete")
            is_full = running == self.workers and all(b" 200 " in answer for answer in answers)
            in_a_row = in_a_row + 1 if is_full else 0
        return super().fill(started, operation)


class Nginx(Peer):
    """The ceiling: a constant instead of a store, in as many bytes as kv's answer has."""

    name = "nginx"
    needs = {"nginx": "nginx-light"}

    def __init__(self) -> None:
        self.answer_bytes: dict[int, int] = {}
        """Bytes of kv's whole answer, by the bytes of the value; known once kv has answered."""

    def version(self) -> str:
        return f"{first_line('nginx', '-v')}, one worker a core, no access log"

    def command(self, port: int, directory: Path) -> list[str]:
        locations = ""
        for size, answer_bytes in self.answer_bytes.items():
            blocks, rest = divmod(max(0, answer_bytes - len(NGINX_HEAD)), NGINX_BLOCK_BYTES)
            locations += (
                f"location = /keys/{size} {{ return 200 '{'${block}' * blocks}{'x' * rest}'; }} "
            )
        config = f"""
            daemon off; worker_processes auto; pid nginx.pid; error_log stderr;
            events {{ worker_connections 4096; }}
            http {{
                access_log off; server_tokens off; keepalive_requests 1000000000;
                default_type application/json;
                map '' $block {{ default '{"x" * NGINX_BLOCK_BYTES}'; }}
                server {{ listen 127.0.0.1:{port} backlog=4096; {locations} }}
            }}"""
        (directory / "nginx.conf").write_text(config)
        return ["nginx", "-p", str(directory), "-e", "stderr", "-c", "nginx.conf"]

    def request(self, operation: Operation) -> HttpRequest:
        return HttpRequest("GET", f"/keys/{operation.value_bytes}")

    def fill(self, started: Started, operation: Operation) -> bytes:
        return ask_whole(started.port, self.request(operation).raw())


class Redis(Peer):
    """Redis without persistence, by its own load generator."""

    name = "Redis"
    needs = {"redis-server": "redis-server", "redis-benchmark": "redis-tools"}

    def __init__(self) -> None:
        self.rates: dict[tuple[Operation, int], float] = {}
        """What it reached last, from which the number of requests for a time follows."""

    def version(self) -> str:
        return f"{first_line('redis-server', '--version')}, no persistence"

    def command(self, port: int, directory: Path) -> list[str]:
        redis = ["redis-server", "--port", str(port), "--bind", "127.0.0.1"]
        return redis + ["--save", "", "--appendonly", "no"]

    def words(self, operation: Operation) -> list[str]:
        """The operation as a command."""
        return ["GET", KEY] if operation.verb == "GET" else ["SET", KEY, value(operation)]

    def probe(self) -> bytes:
        return b"PING\r\n"

    def fill(self, started: Started, operation: Operation) -> bytes:
        ask_whole(started.port, redis_command(self.words(Operation("PUT", operation.value_bytes))))
        answer = ask_whole(started.port, redis_command(["GET", KEY]))
        if value(operation).encode() not in answer:
            raise RuntimeError(f"{self.name} does not keep what it is given: {answer[:500]!r}")
        return answer

    def load(self, started: Started, load: Load) -> Sample:
        guess = 20_000 if load.connections == 1 else 100_000 * min(load.operation.depth, 10)
        like = (load.operation, load.connections)
        requests = int(self.rates.get(like, guess) * load.seconds)
        words = self.words(load.operation)
        sample = redis_benchmark(started.server, started.port, words, load, requests)
        self.rates[like] = sample.rate
        return sample


class Webdis(Peer):
    """Redis behind HTTP, as its Debian package configures it but for ports and logging."""

    name = "Webdis"
    needs = Redis.needs | {"webdis": "webdis"}

    def version(self) -> str:
        # Its own `--version` starts it.
        listed = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Version}", "webdis"], capture_output=True, text=True
        )
        return f"webdis {listed.stdout.strip()}, 2 threads"

    def command(self, port: int, directory: Path) -> list[str]:
        redis_port = free_port()
        config = {
            "redis_host": "127.0.0.1",
            "redis_port": redis_port,
            "http_host": "127.0.0.1",
            "http_port": port,
            "threads": 2,
            "daemonize": False,
            "database": 0,
            "acl": [{"disabled": ["DEBUG"]}],
            "verbosity": 0,
            "logfile": "/dev/null",
        }
        (directory / "webdis.json").write_text(json.dumps(config))
        redis = " ".join(f"'{word}'" for word in Redis().command(redis_port, directory))
        ping = f"until redis-cli -p {redis_port} ping; do sleep 0.02; done"
        # Both end with the shell: it is what the benchmark stops.
        script = (
            f"trap 'kill $(jobs -p); wait; exit' TERM; {redis} & {ping}; webdis webdis.json & wait"
        )
        return ["bash", "-c", script]

    def request(self, operation: Operation) -> HttpRequest:
        if operation.verb == "GET":
            return HttpRequest("GET", f"/GET/{KEY}")
        return HttpRequest("PUT", f"/SET/{KEY}", "text/plain", value(operation))


class Etcd(Peer):
    """One etcd node, with its defaults: each write is synced to the disk."""

    needs = {"etcd": "etcd-server"}

    def version(self) -> str:
        return f"{first_line('etcd', '--version')}, one node, writes are synced to disk"

    def command(self, port: int, directory: Path) -> list[str]:
        client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{free_port()}"
        etcd = [
            "etcd",
            "--enable-v2",
            "--data-dir",
            "data",
            "--logger",
            "zap",
            "--log-level",
            "error",
        ]
        etcd += ["--listen-client-urls", client, "--advertise-client-urls", client]
        etcd += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        return etcd + ["--initial-cluster", f"default={peer}"]

    def environment(self, port: int) -> dict[str, str]:
        # Elsewhere than on amd64 it wants to be told so.
        return {"ETCD_UNSUPPORTED_ARCH": "arm64"} if os.uname().machine == "aarch64" else {}

    def probe(self) -> bytes:
        return HttpRequest("GET", "/health").raw()


class EtcdV2(Etcd):
    """Its first HTTP API: a read is answered from memory."""

    name = "etcd v2"

    def missing(self) -> list[str]:
        if packages := super().missing():
            return packages
        usage = subprocess.run(["etcd", "--help"], capture_output=True, text=True)
        return (
            []
            if "--enable-v2" in usage.stdout + usage.stderr
            else ["an etcd before 3.6 (it has the v2 API)"]
        )

    def request(self, operation: Operation) -> HttpRequest:
        path = f"/v2/keys/{KEY}"
        if operation.verb == "GET":
            return HttpRequest("GET", path)
        form = "application/x-www-form-urlencoded"
        return HttpRequest("PUT", path, form, f"value={value(operation)}")


class EtcdV3(Etcd):
    """The JSON gateway to its second API: a read is linearizable."""

    name = "etcd v3"

    def request(self, operation: Operation) -> HttpRequest:
        key = base64.b64encode(KEY.encode()).decode()
        if operation.verb == "GET":
            return HttpRequest("POST", "/v3/kv/range", "application/json", f'{{"key":"{key}"}}')
        text = base64.b64encode(value(operation).encode()).decode()
        body = f'{{"key":"{key}","value":"{text}"}}'
        return HttpRequest("POST", "/v3/kv/put", "application/json", body)


def redis_command(words: list[str]) -> bytes:
    """A command in Redis's protocol."""
    return "".join([f"*{len(words)}\r\n", *(f"${len(w)}\r\n{w}\r\n" for w in words)]).encode()
