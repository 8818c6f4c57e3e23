"""What the benchmark asks of the machine: ports, processes, their memory and their CPU time."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import time
from pathlib import Path

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 10


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(port: int, request: bytes) -> bytes:
    """The first bytes of the answer to `request`; empty when nobody answers."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(request)
            return connection.recv(65536)
    except OSError:
        return b""


def ask_whole(port: int, request: bytes) -> bytes:
    """The answer to `request`, up to where the server falls silent."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(request)
        with contextlib.suppress(TimeoutError):
            while received := connection.recv(65536):
                answer += received
                connection.settimeout(0.05)
    return answer


def ask_at_once(port: int, request: bytes, connections: int) -> list[bytes]:
    """The first bytes of the answers to a request on each of so many connections."""
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(connections):
            connection = socket.create_connection(("127.0.0.1", port), timeout=5)
            opened.append(stack.enter_context(connection))
            connection.sendall(request)
        return [connection.recv(65536) for connection in opened]


def raise_descriptor_limit(wanted: int) -> int:
    """Raises the limit for this process and those it starts as far as it goes; says how far."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(wanted, hard), max(wanted, hard)))
    except (OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def busy_seconds() -> float:
    """CPU time that the whole machine has spent, in seconds since its start."""
    user, nice, kernel, _idle, _iowait, irq, softirq, steal = (
        int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]
    )
    return (user + nice + kernel + irq + softirq + steal) / TICKS_A_SECOND


class Server:
    """A program that listens, with all processes that it starts."""

    def __init__(self, command: list[str], directory: Path, env: dict[str, str], log: str) -> None:
        """Starts it in the directory; its output goes to `log`."""
        self.log = directory / log
        with self.log.open("ab") as output:
            self.started = time.perf_counter()
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=os.environ | env,
                cwd=directory,
                start_new_session=True,
            )

    def wait_for_answer(self, port: int, request: bytes) -> float:
        """Seconds from the start to the first answer."""
        while not ask(port, request):
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.process.args[0]} ended: {self.log.read_text()}")
            if time.perf_counter() - self.started > START_TIMEOUT_S:
                raise RuntimeError(f"{self.process.args[0]} does not answer")
            time.sleep(0.0002)
        return time.perf_counter() - self.started

    def stop(self) -> None:
        """Ends it and waits; by force when it does not end by itself."""
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def log_lines(self) -> int:
        """Lines that it has logged so far."""
        with self.log.open("rb") as log:
            return sum(1 for _ in log)

    def resident_kib(self) -> int:
        """Resident memory of all its processes together."""
        return sum(
            int(line.split()[1])
            for process in self._processes()
            for line in (process / "status").read_text().splitlines()
            if line.startswith("VmRSS:")
        )

    def cpu_seconds(self) -> float:
        """CPU time that all its processes have spent."""
        return sum(sum(map(int, _stat(process)[11:13])) for process in self._processes()) / (
            TICKS_A_SECOND
        )

    def _processes(self) -> list[Path]:
        session = str(self.process.pid)
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if _stat(process)[3] == session:
                    found.append(process)
            except (FileNotFoundError, ProcessLookupError):
                pass  # It ended while we looked.
        return found


def _stat(process: Path) -> list[str]:
    """The fields of proc_pid_stat(5) from the third on: the second can hold anything."""
    return (process / "stat").read_text().rpartition(")")[2].split()
