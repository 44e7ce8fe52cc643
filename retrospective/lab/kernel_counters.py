"""What the kernel counts, per network, CPU and process: taken raw and fast, decoded after the trial."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrospective.lab.hosts import Hosts, cpu_s, whole

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_STAT_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")


def named_pairs(text: str) -> dict[str, int]:
    """Decode /proc/net/netstat and /proc/net/snmp: a line of names, a line of values, a protocol each."""
    values: dict[str, int] = {}
    lines = text.splitlines()
    for names, numbers in zip(lines[::2], lines[1::2], strict=False):
        values.update(zip(names.split()[1:], map(int, numbers.split()[1:]), strict=False))
    return values


def softnet(text: str) -> dict[int, tuple[int, int]]:
    """Decode /proc/net/softnet_stat: CPU -> packets (processed, dropped), of the whole machine.

    The CPU is the 13th column (net/core/net-procfs.c); rows of CPUs that are offline are left out, so it is
    needed.
    """
    rows = {}
    for number, line in enumerate(text.splitlines()):
        columns = [int(column, 16) for column in line.split()]
        rows[columns[12] if len(columns) > 12 else number] = columns[0], columns[1]
    return rows


def cpu_times(text: str) -> dict[int, dict[str, float]]:
    """Decode /proc/stat: CPU -> seconds by kind, in ticks of USER_HZ: a share is good to a few ticks."""
    rows = {}
    for line in text.splitlines():
        head, *columns = line.split()
        if head.startswith("cpu") and head != "cpu":
            rows[int(head[3:])] = {
                name: int(value) / _TICKS_PER_S for name, value in zip(_STAT_FIELDS, columns, strict=False)
            }
    return rows


def sectors_read(text: str) -> int:
    """Bytes that whole devices have read, from /proc/diskstats (sectors of 512 bytes)."""
    total = 0
    for line in text.splitlines():
        _, _, name, _, _, sectors, *_ = line.split()
        if Path("/sys/block", name).exists():
            total += int(sectors) * 512
    return total


_KSOFTIRQD: dict[int, int | None] = {}


@dataclass
class Reading:
    """Everything at one moment. Differences of two readings make a trial's rates."""

    at_s: float
    server_cpu_s: tuple[float, ...]  # of each of the server's processes, all threads
    server_times: tuple[bytes, ...]  # /proc/PID/stat
    server_schedstat: tuple[bytes, ...]
    server_io: tuple[bytes, ...]
    ksoftirqd_s: (
        float | None
    )  # CPU time of the server CPU's softirq thread: delay by the server's own packets
    counters: bytes
    netstat: bytes
    softnet: bytes
    stat: bytes


class Gauge:
    """Takes readings of one server; all files are open beforehand, so that one costs little.

    ``server`` are the process ids of the server and its children, which it must have by now.
    """

    def __init__(self, lab: Hosts, server: Sequence[int], counters: Callable[[], bytes] | None) -> None:
        self._server = server
        self._counters = counters
        self._netstat = lab.file("server", "/proc/net/netstat")
        with contextlib.ExitStack() as stack:

            def each(name: str) -> list[int | None]:
                return [stack.enter_context(_opened(f"/proc/{pid}/{name}")) for pid in server]

            self._softnet = stack.enter_context(_opened("/proc/net/softnet_stat"))
            self._stat = stack.enter_context(_opened("/proc/stat"))
            self._times, self._schedstat, self._io = each("stat"), each("schedstat"), each("io")
            thread = _ksoftirqd(lab.server_cpu)
            self._ksoftirqd = stack.enter_context(_opened(f"/proc/{thread}/schedstat" if thread else None))
            self._close = stack.pop_all().close

    def __enter__(self) -> Gauge:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def read(self) -> Reading:
        """Take one reading; ``ProcessLookupError`` if the server is gone."""
        try:
            server_cpu_s = tuple(cpu_s(pid) for pid in self._server)
        except OSError as error:
            raise ProcessLookupError("the server is gone") from error
        softirq = _content(self._ksoftirqd).split()
        return Reading(
            at_s=time.monotonic(),
            server_cpu_s=server_cpu_s,
            server_times=tuple(map(_content, self._times)),
            server_schedstat=tuple(map(_content, self._schedstat)),
            server_io=tuple(map(_content, self._io)),
            ksoftirqd_s=int(softirq[0]) / 1e9 if softirq else None,
            counters=self._counters() if self._counters else b"",
            netstat=_content(self._netstat),
            softnet=_content(self._softnet),
            stat=_content(self._stat),
        )


def differences(begin: Reading, end: Reading, server_cpu: int, client_cpu: int) -> dict[str, Any]:
    """Return what happened between two readings as columns of a row: shares of the time, rates a second."""
    elapsed = end.at_s - begin.at_s
    net = {
        name: value - named_pairs(begin.netstat.decode()).get(name, 0)
        for name, value in named_pairs(end.netstat.decode()).items()
    }
    dropped = sum(row[1] for row in softnet(end.softnet.decode()).values()) - sum(
        row[1] for row in softnet(begin.softnet.decode()).values()
    )
    cpus_begin, cpus_end = cpu_times(begin.stat.decode()), cpu_times(end.stat.decode())

    def share(cpu: int, kind: str) -> float | None:
        if cpu not in cpus_end or cpu not in cpus_begin:
            return None
        return min(1.0, (cpus_end[cpu][kind] - cpus_begin[cpu][kind]) / elapsed)

    steal = [s for s in (share(server_cpu, "steal"), share(client_cpu, "steal")) if s is not None]
    softirq_thread = 0.0
    if end.ksoftirqd_s is not None and begin.ksoftirqd_s is not None:
        softirq_thread = (end.ksoftirqd_s - begin.ksoftirqd_s) / elapsed
    busy = [share(server_cpu, kind) for kind in ("user", "nice", "system")]
    processes_cpu_s = [
        after - before for before, after in zip(begin.server_cpu_s, end.server_cpu_s, strict=True)
    ]
    used = sum(processes_cpu_s) / elapsed
    delays, foreign_delays = _delays(begin, end, used, softirq_thread)
    others = None if None in busy else max(0.0, sum(busy) - used - softirq_thread)  # type: ignore[arg-type]
    read_begin, read_end = _read_bytes(begin.server_io), _read_bytes(end.server_io)
    user, system = (
        after - before
        for before, after in zip(
            _user_and_system(begin.server_times), _user_and_system(end.server_times), strict=True
        )
    )
    return {
        "elapsed_s": elapsed,
        "processes_cpu_s": processes_cpu_s,
        "server_cpu_share": used,
        # By ticks, as the kernel has no finer account of it.
        "user_part": user / (user + system) if user + system else None,
        "server_run_delay_share": sum(delays) if delays else None,
        "server_foreign_delay_share": max(0.0, *foreign_delays) if delays else None,
        "cpu0_others_share": others,
        "cpu0_softirq_share": share(server_cpu, "softirq"),
        "cpu1_softirq_share": share(client_cpu, "softirq"),
        "steal_share": max(steal, default=None),
        "drop_overflow_per_s": net["ListenOverflows"] / elapsed,
        "drop_listen_per_s": net["ListenDrops"] / elapsed,
        "drop_syn_per_s": net.get("TCPReqQFullDrop", 0) / elapsed,
        "drop_softnet_per_s": dropped / elapsed,
        "queue_drops_per_s": net["ListenDrops"] / elapsed,
        "device_read_bytes": None if read_begin is None or read_end is None else read_end - read_begin,
    }


def sockets_and_files(pids: Sequence[int]) -> tuple[int, int] | None:
    """Count processes' open sockets and regular files; ``None`` if one is gone or not ours to look at."""
    sockets = files = 0
    try:
        for pid in pids:
            with os.scandir(f"/proc/{pid}/fd") as entries:
                for entry in entries:
                    try:
                        target = os.readlink(entry.path)
                    except FileNotFoundError:  # closed in between
                        continue
                    sockets += target.startswith("socket:")
                    files += target.startswith("/") and not target.startswith(("/dev/", "/memfd:"))
    except OSError:
        return None
    return sockets, files


def established(tcp_table: str) -> int:
    """Count established connections that a process holds, in /proc/net/tcp (state 01, an inode)."""
    rows = (line.split() for line in tcp_table.splitlines()[1:])
    return sum(row[3] == "01" and row[9] != "0" for row in rows)


def _delays(
    begin: Reading, end: Reading, used: float, softirq_thread: float
) -> tuple[list[float], list[float]]:
    """How long each process was runnable but not running, and how much of that was due to others.

    Both as shares of the window, by the schedstat of main threads (proc(5)). A server's processes share one CPU,
    and its threads do: that they delay one another is how it works, not a disturbance. So what the rest of the
    server used is taken off a delay, as is what the softirq thread used for the server's packets. What
    remains is certainly foreign, and in a server that always has work it is all that is: a process that is
    always runnable waits whenever it does not run, so its delay less its siblings' time is the others' time. The
    delay of a main thread that seldom runs says little, and the CPU's ticks are left to tell.
    """
    elapsed = end.at_s - begin.at_s
    delays, foreign = [], []
    for before, after in zip(begin.server_schedstat, end.server_schedstat, strict=True):
        if not before or not after:
            return [], []
        ran, waited = (
            (int(late) - int(early)) / 1e9 / elapsed
            for early, late in zip(before.split()[:2], after.split()[:2], strict=True)
        )
        delays.append(waited)
        foreign.append(waited - max(0.0, used - ran) - softirq_thread)
    return delays, foreign


def _user_and_system(times: Sequence[bytes]) -> tuple[int, int]:
    """Ticks in user mode and in the kernel of all processes, fields 14 and 15 of /proc/PID/stat."""
    fields = [text.rpartition(b")")[2].split() for text in times if text]
    return sum(int(words[11]) for words in fields), sum(int(words[12]) for words in fields)


def _read_bytes(io: Sequence[bytes]) -> int | None:
    """Bytes that devices read for all processes; ``None`` where we may not know."""
    lines = [line for text in io for line in text.decode().splitlines() if line.startswith("read_bytes:")]
    return sum(int(line.split()[1]) for line in lines) if len(lines) == len(io) else None


@contextlib.contextmanager
def _opened(path: str | None) -> Iterator[int | None]:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if path else None
    except OSError:
        file = None
    try:
        yield file
    finally:
        if file is not None:
            os.close(file)


def _content(file: int | None) -> bytes:
    if file is None:
        return b""
    try:
        return whole(file)
    except OSError:
        return b""


def softirq_threads_s() -> float:
    """CPU time of all CPUs' softirq threads so far: what they do is packets', whoever's those are."""
    total_s = 0.0
    for cpu in range(os.cpu_count() or 1):
        thread = _ksoftirqd(cpu)
        with contextlib.suppress(OSError, IndexError):
            total_s += int(Path(f"/proc/{thread}/schedstat").read_text().split()[0]) / 1e9
    return total_s


def _ksoftirqd(cpu: int) -> int | None:
    """Process id of a CPU's softirq thread; ``None`` where a container hides kernel threads."""
    if cpu not in _KSOFTIRQD:
        _KSOFTIRQD[cpu] = None
        for comm in Path("/proc").glob("[0-9]*/comm"):
            with contextlib.suppress(OSError):
                if comm.read_text().strip() == f"ksoftirqd/{cpu}":
                    _KSOFTIRQD[cpu] = int(comm.parent.name)
                    break
    return _KSOFTIRQD[cpu]
