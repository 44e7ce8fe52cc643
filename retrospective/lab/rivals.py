"""Other people's clients where ours stand: wrk and httperf on the client host; and a crowd of idle connections."""

from __future__ import annotations

import contextlib
import math
import os
import re
import resource
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import servers
from retrospective import paths
from retrospective.lab import filesets
from retrospective.lab.hosts import CLIENT, Hosts, Process
from retrospective.lab.session import Session
from retrospective.lab.trial import Trial, open_lab, run_trial

_PATIENCE_S = 30.0


@dataclass(frozen=True)
class Rival:
    """What one run of a client reports; NaN where it says nothing or its trial was not valid."""

    replies_per_s: float = math.nan
    p50_us: float = math.nan


@dataclass(frozen=True)
class Idle:
    """Idle connections that answered at last, and what a load beside them achieved."""

    open_after: int
    replies_per_s: float
    failed: int


@dataclass(frozen=True)
class Parked:
    """Connections that had a reply and stay open; the server's resident memory before them and beside them."""

    served: int
    idle_bytes: int
    resident_bytes: int


def ours(design: str, load: dict[str, Any], **options: Any) -> Rival:
    """One trial of our kernel-socket client on the one-packet file; ``options`` are the design's."""
    trial = Trial(
        chapter="bench",
        experiment="rivals",
        kind="trial",
        profile="bench",
        design=design,
        options={"backlog": 511, **options},
        workload="one-packet",
        load={"warmup-s": 0.2, **load},
        charge="receiver",
        x_ratio=None,
        label="load",
    )
    row = run_trial(trial)
    return Rival(row["replies_per_s"], row["latency_p50_us"]) if row["valid"] else Rival()


def wrk(design: str, *, connections: int, duration_s: int, **options: Any) -> Rival:
    """One run of wrk: one thread, ``connections`` in closed loop. NaN if it is not on PATH."""
    output = _their_run(
        design,
        lambda url: ["wrk", "-t1", f"-c{connections}", f"-d{duration_s}s", "--latency", url],
        **options,
    )
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    median = re.search(r"\s50%\s+([\d.]+)(us|ms|s)\b", output)
    if not rate or not median or "Non-2xx" in output:
        return Rival()
    return Rival(float(rate[1]), float(median[1]) * {"us": 1, "ms": 1e3, "s": 1e6}[median[2]])


def httperf(design: str, *, rate: float, duration_s: float) -> Rival:
    """One run of httperf: ``rate`` connections/s, one request each. NaN if it is not on PATH."""

    def command(url: str) -> list[str]:
        host, port, path = re.fullmatch(r"http://([^:]+):(\d+)(/.*)", url).groups()  # type: ignore[union-attr]
        return [
            *("httperf", "--hog", "--server", host, "--port", port, "--uri", path, "--timeout", "2"),
            *("--rate", f"{rate:.0f}", "--num-conns", f"{rate * duration_s:.0f}", "--num-calls", "1"),
        ]

    total = re.search(r"replies (\d+) test-duration ([\d.]+) s", _their_run(design, command))
    return Rival(int(total[1]) / float(total[2])) if total else Rival()


@dataclass(frozen=True)
class Serving:
    """A design at work on a lab's server host."""

    lab: Hosts
    process: Process
    address: tuple[str, int]
    files: filesets.Fileset

    def resident_bytes(self) -> int:
        """Memory of the process that is in RAM now (proc_pid_status(5))."""
        with open(f"/proc/{self.process.pid}/status") as status:
            found = re.search(r"VmRSS:\s+(\d+) kB", status.read())
        return int(found[1]) * 1024 if found else 0


@contextlib.contextmanager
def serving(design: str, **options: Any) -> Iterator[Serving]:
    """Run a design on a fresh lab's server host with the one-packet file."""
    files = filesets.one_packet(paths.BUILD / "filesets")
    with open_lab("receiver") as lab:
        session = Session(lab, design, {"backlog": 511, **options}, {}, files)
        try:
            process = session.start_server()
            yield Serving(lab, process, session.address, files)
        finally:
            session.close()


def _their_run(design: str, command: Callable[[str], Sequence[str]], **options: Any) -> str:
    """Output of a foreign client on the client host; empty if it is missing or does not end."""
    with serving(design, **options) as at:
        argv = command(f"http://{at.address[0]}:{at.address[1]}{at.files.files[0].path}")
        if shutil.which(argv[0]) is None:
            return ""
        memory = os.memfd_create("output", os.MFD_CLOEXEC)
        try:
            process = at.lab.spawn(CLIENT, argv, stdout=memory, stderr=memory, cpu=at.lab.client_cpu)
            if process.wait(_PATIENCE_S) is None:
                process.kill()
                return ""
            return os.pread(memory, 1 << 20, 0).decode(errors="replace")
        finally:
            os.close(memory)


#: So that a server closes nobody while a crowd is opened and asked one by one.
_PATIENT = {"idle-timeout-ms": 120_000, "header-timeout-ms": 120_000}


@contextlib.contextmanager
def _crowd(at: Serving, number: int) -> Iterator[list[socket.socket]]:
    """So many connections from the client host, open at once.

    Raises ``RuntimeError`` if this process may not hold as many descriptors.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number + 200
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise RuntimeError(
            f"{wanted} descriptors are needed, {hard} allowed; raise it with: ulimit -Hn {wanted}"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    crowd: list[socket.socket] = []
    try:
        for _ in range(number):
            crowd.append(at.lab.socket(CLIENT))
            crowd[-1].settimeout(5)
            crowd[-1].connect(at.address)
        yield crowd
    finally:
        for one in crowd:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def hold_idle(design: str, idle: int, duration_s: float) -> Idle:
    """Open ``idle`` connections, load the server beside them, then ask each of them for a file."""
    with serving(design, **_PATIENT) as at, _crowd(at, idle) as crowd:
        replies_per_s = _load_beside(at, duration_s)
        answered = sum(_answers(one, at) for one in crowd)
    return Idle(answered, replies_per_s, idle - answered)


def park(design: str, connections: int, **options: Any) -> Parked:
    """Ask for a file on each of so many connections and leave them open: what the server's memory is then."""
    with serving(design, **_PATIENT, **{"max-connections": connections + 100}, **options) as at:
        before = at.resident_bytes()
        with _crowd(at, connections) as crowd:
            served = sum(_answers(one, at) for one in crowd)
            return Parked(served, before, at.resident_bytes())


def _load_beside(at: Serving, duration_s: float) -> float:
    memory = os.memfd_create("report", os.MFD_CLOEXEC)
    try:
        options = {
            "connect": f"{at.address[0]}:{at.address[1]}",
            "files": at.files.manifest,
            "mode": "closed",
            "clients": 16,
        }
        options |= {"warmup-s": 0.2, "duration-s": duration_s, "sources": at.lab.sources}
        argv = [str(servers.binary("load")), *servers.arguments(options)]
        process = at.lab.spawn(CLIENT, argv, stdout=memory, cpu=at.lab.client_cpu)
        if process.wait(_PATIENCE_S) is None:
            process.kill()
            return math.nan
        found = re.search(r'"replies_per_s":\s*([\d.]+)', os.pread(memory, 1 << 24, 0).decode())
        return float(found[1]) if found else math.nan
    finally:
        os.close(memory)


def _answers(one: socket.socket, at: Serving) -> bool:
    try:
        one.sendall(f"GET {at.files.files[0].path} HTTP/1.1\r\nHost: {at.address[0]}\r\n\r\n".encode())
        return one.recv(1 << 16).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
