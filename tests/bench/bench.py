#!/usr/bin/env -S python3 -B
"""Measures kv beside its peers: `make bench`.

    BENCH_QUICK=1       about a minute, with the cases that tell most
    BENCH_CASES=get-*   only the cases with such names, separated by commas
    BENCH_ROUNDS=5      how often everything is measured
    BENCH_SECONDS=1     how long a sample takes
    BENCH_INSTALL=1     installs what is missing: Debian packages, FastAPI in target/bench/venv

The page goes to the standard output and to target/bench/benchmarks.md, and that of a whole run
to docs/benchmarks.md. What is missing is named and left out.
"""

from __future__ import annotations

import fnmatch
import importlib.util
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from cases import KV, MUSL, TINY_HTTP, Bench, all_cases
from load import CORES, Operation
from peers import FASTAPI_PACKAGES, EtcdV2, EtcdV3, FastApi, Kv, Nginx, Peer, Redis, Webdis
from report import page
from system import raise_descriptor_limit

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
VENV = TARGET / "bench" / "venv"
IDLE_CONNECTIONS = 10_000
# Beside those of the idle connections.
DESCRIPTORS_RESERVED = 2_000
DESCRIPTORS = IDLE_CONNECTIONS + DESCRIPTORS_RESERVED
VALUE_BYTES = (100, 10_240)
RETRIES_MAX = 40


def say(text: str) -> None:
    """Progress, on the standard error."""
    print(text, file=sys.stderr, flush=True)


def run(*command: str | Path) -> str:
    """Runs a command in the project's root; what it prints is returned."""
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def builds() -> list[Kv]:
    """Builds kv in all its ways."""
    say("building kv: release, static, and with the feature tiny_http where there is one")
    run("cargo", "build", "--locked", "--release", "--bin", "kv")
    static = Path(run("scripts/build-static.sh").splitlines()[0])
    made = [Kv(KV, TARGET / "release" / "kv")]
    if "musl" in str(static):
        made.append(Kv(MUSL, ROOT / static))
    if re.search(r"^tiny_http\s*=", (ROOT / "kv" / "Cargo.toml").read_text(), re.MULTILINE):
        cargo = ["cargo", "build", "--locked", "--release", "-p", "kv", "--features", "tiny_http"]
        run(*cargo, "--target-dir", TARGET / "tiny")
        made.append(Kv(TINY_HTTP, TARGET / "tiny" / "release" / "kv"))
    return made


def install(missing: set[str]) -> None:
    """Installs Debian packages, and FastAPI in an environment of its own."""
    packages = sorted(missing - {FASTAPI_PACKAGES})
    if FASTAPI_PACKAGES in missing and not importlib.util.find_spec("ensurepip"):
        packages.append("python3-venv")
    if packages:
        say(f"installing {', '.join(packages)}; Debian starts their services, if systemd runs")
        root = [] if os.geteuid() == 0 else ["sudo"]
        run(*root, "apt-get", "update", "-q")
        run(*root, "apt-get", "install", "-q", "-y", "--no-install-recommends", *packages)
    if FASTAPI_PACKAGES in missing:
        say(f"installing {FASTAPI_PACKAGES}")
        run(sys.executable, "-m", "venv", VENV)
        run(VENV / "bin" / "pip", "install", "-q", "fastapi", "uvicorn")


def missing_generator() -> set[str]:
    """What every measurement over HTTP needs."""
    return set() if shutil.which("wrk") else {"wrk"}


def candidates() -> list[Peer]:
    """Everyone that may take part, kv first."""
    app_dir = ROOT / "tests" / "bench"
    fast_api: list[Peer] = [FastApi(workers, VENV, app_dir) for workers in (1, 2)]
    others: list[Peer] = [Nginx(), Redis(), Webdis(), EtcdV2(), EtcdV3(), *fast_api]
    missing = missing_generator().union(*(peer.missing() for peer in others))
    if missing and os.environ.get("BENCH_INSTALL") == "1":
        install(missing)
    if missing_generator():
        raise SystemExit("bench: wrk is missing; BENCH_INSTALL=1 installs its Debian package")
    return [*builds(), *others]


def take_part(everyone: list[Peer]) -> tuple[dict[str, Peer], dict[str, str], list[str]]:
    """Those that work, what is known about them, and who is left out for want of what."""
    peers, facts, sizes = {}, {}, []
    built = {peer.name for peer in everyone}
    absent = [f"{name} (not built)" for name in (MUSL, TINY_HTTP) if name not in built]
    bytes_of_kv: dict[int, int] = {}
    for peer in everyone:
        if missing := peer.missing():
            absent.append(f"{peer.name} (missing: {', '.join(missing)})")
            continue
        if isinstance(peer, Nginx):
            peer.answer_bytes = bytes_of_kv
        try:
            answers = {size: answer(peer, Operation("GET", size)) for size in VALUE_BYTES}
        except RuntimeError as error:
            absent.append(f"{peer.name} ({error})")
            continue
        if peer.name == KV:
            bytes_of_kv = {size: len(whole) for size, whole in answers.items()}
        fields = answers[100].partition(b"\r\n\r\n")[0].count(b"\r\n")
        sizes.append(f"{peer.name} {len(answers[100])} ({fields})")
        peers[peer.name], facts[peer.name] = peer, peer.version()
    for text in absent:
        say(f"left out: {text}")
    if KV not in peers:
        raise SystemExit("bench: kv itself does not work")
    facts["Bytes of an answer to GET (and its header fields)"] = ", ".join(sizes)
    return peers, facts, absent


def answer(peer: Peer, operation: Operation) -> bytes:
    """What the peer, started for it, answers."""
    with peer.started() as started:
        return peer.fill(started, operation)


def machine() -> dict[str, str]:
    """What the numbers depend on."""
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    return {
        "Date": time.strftime("%Y-%m-%d"),
        "Commit": commit or "unknown",
        "CPU": f"{cpu[1] if cpu else platform.machine()}, {CORES} cores",
        "Memory": f"{int(memory[1]) * 1024 / 1e9:.1f} GB" if memory else "unknown",
        "Kernel": f"{platform.system()} {platform.release()}",
        "System": platform.freedesktop_os_release()["PRETTY_NAME"],
        "Compiler": run("rustc", "--version"),
        "Load generator": subprocess.run(
            ["wrk", "-v"], capture_output=True, text=True
        ).stdout.split(" [")[0],
        "Load average before": f"{os.getloadavg()[0]:.1f}",
    }


def measure(bench: Bench) -> None:
    """All rounds of all cases."""
    started = time.monotonic()
    for round_ in range(bench.rounds):
        for case in bench.cases:
            elapsed = time.monotonic() - started
            say(f"{elapsed:4.0f} s  round {round_ + 1} of {bench.rounds}  {case.name}")
            case.run(bench, round_)


def main() -> None:
    """One run, from the settings to the page."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    quick = os.environ.get("BENCH_QUICK") == "1"
    wanted = os.environ.get("BENCH_CASES", "*").split(",")
    rounds = int(os.environ.get("BENCH_ROUNDS", "1" if quick else "5"))
    seconds = int(os.environ.get("BENCH_SECONDS", "1"))
    idle = min(IDLE_CONNECTIONS, raise_descriptor_limit(DESCRIPTORS) - DESCRIPTORS_RESERVED)

    cases = all_cases(quick, rounds, idle)
    cases = [case for case in cases if any(fnmatch.fnmatch(case.name, name) for name in wanted)]
    if not cases:
        raise SystemExit(f"bench: no case is called {','.join(wanted)}")
    facts = machine()
    peers, versions, absent = take_part(candidates())
    bench = Bench(peers, cases, seconds, rounds, retries_left=0 if quick else RETRIES_MAX)
    measure(bench)

    text = page(bench, facts | versions, absent)
    print(text)
    pages = [TARGET / "bench" / "benchmarks.md"]
    if not quick and wanted == ["*"]:
        pages.append(ROOT / "docs" / "benchmarks.md")
    for path in pages:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        say(f"written to {path}")


if __name__ == "__main__":
    main()
