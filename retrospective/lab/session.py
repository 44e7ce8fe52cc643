"""The course of one trial on the lab's hosts: start, await, warm up, measure, check. Every wait ends."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import socket
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import servers
from retrospective.lab import holder, kernel_counters, pagecache
from retrospective.lab.filesets import Fileset
from retrospective.lab.hosts import CLIENT, SERVER, Hosts, Process
from retrospective.lab.peers import PEERS
from servers._server import first_line

if TYPE_CHECKING:
    from retrospective.lab.storage import Shelf

Row = dict[str, Any]

#: The generator issued at least this share of what its schedule held…
LEAST_ACHIEVED = 0.98
#: …and 99 % of its starts no later than this: a tick of today's kernels, far below any time-out.
MOST_LAG_P99_US = 10_000.0
#: A generator that uses this much of its CPU was the bottleneck itself.
SATURATED_SHARE = 0.97
#: Share of the window in which another process had the server's CPU, as the server's run delay tells it (a busy
#: server waits; what its own processes wait for one another is taken off, kernel_counters._delays) or the CPU's
#: ticks (an idle one hardly does). Neither is exact: a softirq on the server's CPU delays the server it has just
#: woken by up to 8 % of the window, and ticks are few.
MOST_OTHERS = 0.10
#: Share of the window in which the hypervisor gave a CPU to others.
MOST_STOLEN = 0.05

#: Status of a row that says that there is no such thing here: no result, and no accident either.
UNAVAILABLE = "unavailable"

PORT = 8080
_START_S = 5.0  # for a server to answer its first request
_ANSWER_S = 2.0  # for a server to answer a single request afterwards
_DRAIN_S = 0.3  # for a server to close another connection of those that its clients have left
_GENERATOR_S = 10.0  # for a generator to end, beyond its window and a time-out
#: From the generator's start to its first request: the lab's readings lag its window by as much, and rates
#: are taken over the time between two readings.
_LEAD_S = 0.005
_STACK_CONNECTIONS = 65536  # that a load on the user-level stack may have open: it has no more ports
_LOG_LINES = 12
_REFUSED = 1  # a design's exit status if the environment refuses what it needs
#: A server that has a disk to wait for may take so many times longer to answer one request more, and to come to an end
#: with those that it has: a whole accept queue of them.
_PATIENCE_WITH_A_DISK = 10.0
#: Counters of turns of a server's loop by how long they lasted (phases.h).
TURNS = tuple(f"turns_over_{least}" for least in ("100us", "1ms", "10ms", "100ms", "1s"))
#: Ways that lazy calls go (LAIO_PATHS, laio.h), each a counter of the server's.
LAZY_PATHS = ("inline", "hit", "miss", "helper", "ring", "upcall", "timer", "held", "refused")


class Rejected(Exception):  # noqa: N818 (an outcome, not an error)
    """Why a trial does not count; the reason begins with a code."""

    def __init__(self, code: str, detail: str = "", status: str = "invalid") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.status = status


class Session:
    """One server, one generator, one window."""

    def __init__(
        self,
        lab: Hosts,
        design: str,
        options: Mapping[str, Any],
        load: Mapping[str, Any],
        files: Fileset,
        *,
        command: Callable[[str, Path, str], list[str]] | None = None,
        shelf: Shelf | None = None,
    ) -> None:
        self._lab = lab
        self._design = design
        self._options = dict(options)
        self._load = dict(load)
        self._files = shelf.files if shelf else files
        self._shelf = shelf
        self._patience = 1.0 if shelf is None else _PATIENCE_WITH_A_DISK
        self._command = command
        self._stack = contextlib.ExitStack()
        self._server_log = self._memory("server-log")
        self._generator_log = self._memory("generator-log")
        self._report = self._memory("report")
        self._counters = servers.Counters()
        self._stack.callback(self._counters.close)
        self.address = (lab.server_address, PORT)

    def _memory(self, name: str) -> int:
        """Memory that a program can write to as to a file: never blocks it, and leaves nothing behind."""
        file = os.memfd_create(name, os.MFD_CLOEXEC)
        self._stack.callback(os.close, file)
        return file

    def close(self) -> None:
        """Give memory and descriptors back; processes end with the lab."""
        self._stack.close()

    def log(self) -> str:
        """Last lines of what server and generator said."""
        lines = []
        for who, file in ((self._design, self._server_log), ("generator", self._generator_log)):
            text = os.pread(file, 1 << 20, max(0, os.fstat(file).st_size - 4096)).decode(errors="replace")
            # nginx and lighttpd name folders; a row must not.
            text = text.replace(str(self._files.root), "ROOT")
            lines += [f"{who}: {line}" for line in text.splitlines()[-_LOG_LINES:]]
        return "\n".join(lines)

    # ------------------------------------------------------------------------------------------ the course

    def run(self, row: Row, disturbance: Callable[[Hosts, Process], None] | None = None) -> None:
        """Fill ``row``; raises ``Rejected`` if it does not count, with what was measured filled in."""
        if not self._lab.steered_as_promised():
            raise Rejected(
                "steering", f"the wire is steered as {self._lab.steering}, not as {self._lab.charge} pays"
            )
        on_disk = [self._files.on_disk(file) for file in self._files.files] if self._design != "floor" else []
        if self._shelf:
            self._shelf.evict()
        else:
            pagecache.warm(on_disk)
            if disturbance is None:  # a planted eviction must be able to happen
                self._stack.enter_context(pagecache.held(on_disk))
        server = self.start_server()
        if self._shelf:
            self._shelf.settle(self._lab, row)
        family = server.family()
        before = kernel_counters.sockets_and_files(family)
        warmup_s = float(self._load.get("warmup-s", 0.5))
        with self._shelf.in_use(warmup_s) if self._shelf else contextlib.nullcontext():
            report, happened = self._measure(server, family, disturbance)
        row |= _of_generator(report) | _of_kernel(happened, report)
        row |= _of_counters(happened) | _of_workers(happened)
        if self._shelf:
            row |= _of_turns_and_paths(happened)
        row["fds_leaked"] = self._leaked(family, before)
        self._judge(row, report["replies_not_200"], server, on_disk)

    def start_server(self) -> Process:
        """Start the server on its host and wait until it answers a request right; else ``Rejected``."""
        if self._lab.interface is None:
            self.address = (self._lab.server_address, _free_port(self._lab.server_address))
        address = f"{self.address[0]}:{self.address[1]}"
        counters = "/proc/self/fd/3"
        passed: list[Any] = [] if self._design in PEERS and self._command is None else [self._counters]
        root = self._shelf.seen_by_a_program(passed) if self._shelf else self._files.root
        says_when_ready = False
        if self._command is not None:
            argv = self._command(address, root, counters)
        elif self._design in PEERS:
            peer = PEERS[self._design]
            config = peer.configuration(root, address, self._options, self._lab.scratch)
            argv = peer.argv(self._lab.write(f"{peer.name}.conf", config), self._lab.scratch)
        else:
            options = {"listen": address, "root": root, **self._options, "counters": counters}
            argv = [str(servers.binary(self._design)), *servers.arguments(options)]
            says_when_ready = True
        reader, writer = os.pipe2(os.O_CLOEXEC)
        self._stack.callback(os.close, reader)
        try:
            server = self._lab.spawn(
                SERVER,
                argv,
                stdout=writer,
                stderr=self._server_log,
                pass_files=passed,
                cpu=self._lab.server_cpu,
                cgroup=self._shelf.cgroup if self._shelf else None,
            )
        finally:
            os.close(writer)
        if says_when_ready:
            first_line(reader, _START_S)
        deadline = time.monotonic() + _START_S
        while (problem := self._ask()) is not None:
            if not server.alive():
                raise self._refused(_code(server))
            if time.monotonic() > deadline:
                raise Rejected("not-answering", problem, "failed")
            time.sleep(0.003)
        return server

    def _refused(self, code: int | str) -> Rejected:
        """Why a server ended before it answered; that its engine cannot be had here (exit status 1) is no accident."""
        said = self.log().splitlines()
        if code == _REFUSED and "engine" in self._options and said:
            return Rejected("refused", said[-1].removeprefix(f"{self._design}: "), UNAVAILABLE)
        return Rejected("server-failed", f"it ended with code {code} before it answered", "failed")

    def _ask(self) -> str | None:
        """One GET from the client's host; what is wrong with the answer, or ``None``."""
        wanted = self._files.files[0]
        request = f"GET {wanted.path} HTTP/1.1\r\nHost: {self.address[0]}\r\nConnection: close\r\n\r\n"
        deadline = time.monotonic() + _ANSWER_S * self._patience
        try:
            with self._lab.socket(CLIENT) as client:
                client.settimeout(_ANSWER_S * self._patience)
                client.connect(self.address)
                client.sendall(request.encode())
                answer = b""
                while (length := _whole(answer)) is None or len(answer) < length:
                    client.settimeout(max(0.001, deadline - time.monotonic()))
                    piece = client.recv(1 << 18)
                    if not piece:
                        break
                    answer += piece
        except OSError as error:
            return f"asked for one file: {error}"
        head, _, body = answer.partition(b"\r\n\r\n")
        if not re.match(rb"HTTP/1\.[01] 200", head):
            return f"asked for one file: {head[:60].decode(errors='replace')!r}"
        return None if zlib.crc32(body) == wanted.crc32 else "asked for one file: its bytes are wrong"

    def _start_generator(self) -> Process:
        load = dict(self._load)
        mode = load.pop("mode")
        options: dict[str, Any] = {
            "connect": f"{self.address[0]}:{self.address[1]}",
            "files": self._files.manifest,
        }
        environment = dict(os.environ)
        if mode == "raw":
            program, options["interface"] = "rawload", self._lab.interface
        elif mode == "stack":
            program, options["mode"] = "load-user", "open"
            environment["NAI_STACK"] = (
                f"attach=packet:{self._lab.interface},address={holder.STACK_ADDRESS}"
                f",connections={_STACK_CONNECTIONS}"
            )
        elif mode in ("open", "closed"):
            program = "load"
            options |= {"mode": mode, "sources": self._lab.sources}
        else:
            raise ValueError(f"no load mode {mode!r}: there are open, closed, raw, stack")
        return self._lab.spawn(
            CLIENT,
            [str(servers.binary(program)), *servers.arguments(options | load)],
            stdout=self._report,
            stderr=self._generator_log,
            cpu=self._lab.client_cpu,
            env=environment,
        )

    def _measure(
        self,
        server: Process,
        family: Sequence[int],
        disturbance: Callable[[Hosts, Process], None] | None,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        warmup_s = float(self._load.get("warmup-s", 0.5))
        duration_s = float(self._load.get("duration-s", 2.0))
        has_counters = self._design not in PEERS
        with kernel_counters.Gauge(self._lab, family, self._counters.raw if has_counters else None) as gauge:
            generator = self._start_generator()
            begin_s = time.monotonic() + _LEAD_S + warmup_s
            try:
                self._watch_until(begin_s, family)
                if self._shelf:  # the longest turn is not to be one of the warm-up
                    self._counters.forget_longest()
                begin = gauge.read()
                if disturbance is not None:
                    disturbance(self._lab, server)
                self._watch_until(begin_s + duration_s - 2 * _LEAD_S, family)
                end = gauge.read()
                of_storage = self._shelf.found() if self._shelf else {}
            except ProcessLookupError:
                raise self._ended(server) from None
        patience_s = _GENERATOR_S + 2 * _LEAD_S + float(self._load.get("timeout-ms", 2000)) / 1000
        usage = generator.wait(patience_s)
        if usage is None or usage.code != 0:
            if not server.alive():
                raise self._ended(server)
            what = "did not end" if usage is None else f"ended with code {usage.code}"
            raise Rejected("generator-failed", f"it {what}", "failed")
        report = json.loads(os.pread(self._report, 1 << 24, 0))
        happened = kernel_counters.differences(begin, end, self._lab.server_cpu, self._lab.client_cpu)
        happened |= of_storage
        happened["workers"] = [
            {name: value - first[name] for name, value in last.items()}
            for first, last in zip(
                servers.Counters.decode_workers(begin.counters),
                servers.Counters.decode_workers(end.counters),
                strict=False,
            )
        ]
        return report, happened

    def _watch_until(self, moment_s: float, family: Sequence[int]) -> None:
        """Sleep; what a shelf has to see is looked at meanwhile."""
        while (left := moment_s - time.monotonic()) > 0:
            time.sleep(min(left, self._shelf.every_s) if self._shelf else left)
            if self._shelf:
                self._shelf.look(family)

    # ------------------------------------------------------------------------------------------ the checks

    def _ended(self, server: Process) -> Rejected:
        if self._shelf and self._shelf.oom_kills():
            return self._shelf.out_of_memory()
        return Rejected("server-failed", f"it ended with code {_code(server)} under load", "failed")

    def _leaked(self, family: Sequence[int], before: tuple[int, int] | None) -> int | None:
        """Descriptors beyond those that open connections and served files account for."""
        fewest = math.inf
        while True:
            after = kernel_counters.sockets_and_files(family)
            if before is None or after is None:
                return None
            files = max(0, after[1] - before[1] - len(family) * len(self._files.files))
            sockets = max(0, after[0] - before[0])
            if sockets == 0:
                return files
            if sockets < fewest:  # a whole accept queue of them takes a while
                fewest, deadline = sockets, time.monotonic() + _DRAIN_S * self._patience
            if time.monotonic() > deadline:
                # A connection whose client has not closed it is open, not leaked.
                return files + max(
                    0, sockets - kernel_counters.established(self._lab.read(SERVER, "/proc/net/tcp"))
                )
            time.sleep(0.01)

    def _judge(self, row: Row, refusals: int, server: Process, on_disk: list[Path]) -> None:
        """Raise ``Rejected`` for the first reason why the trial does not count, the gravest first."""
        if not server.alive() or (self._shelf and self._shelf.oom_kills()):
            raise self._ended(server)
        if row["bodies_mismatched"]:
            raise Rejected(
                "wrong-body",
                f"{row['bodies_mismatched']} of {row['bodies_verified']} checked bodies",
                "failed",
            )
        problem = self._ask()
        if problem is not None:
            raise Rejected("not-answering", f"after the load, {problem}", "failed")
        if self._shelf:
            # A turn that was under way when the window ended has ended by now: it may have lasted all the window.
            row["turn_max_us"] = self._counters.read().get("turn_max_us")
        if row["fds_leaked"]:
            raise Rejected("fd-leak", f"{row['fds_leaked']} descriptors", "failed")
        if refusals or not row["replies_per_s"]:
            raise Rejected(
                "not-answering", f"{row['replies_per_s']:.0f} replies/s, {refusals} were no 200", "failed"
            )
        if self._shelf is None and (gone := pagecache.cold(on_disk)) != []:
            raise Rejected("cache-cold", f"{len(gone)} of {len(on_disk)} files were not in memory at the end")
        hot_before, hot_after = (row[f"hot_resident_{when}_share"] or 0.0 for when in ("before", "after"))
        if row["cache"] == "warm" and hot_after < hot_before:
            raise Rejected("cache-cold", "of the files that were to stay in memory some pages did not")
        others = max(row["server_foreign_delay_share"] or 0.0, row["cpu0_others_share"] or 0.0)
        if others > MOST_OTHERS:
            raise Rejected("disturbed", f"others had the server's CPU for {others:.0%} of the window")
        if (row["steal_share"] or 0.0) > MOST_STOLEN:
            raise Rejected(
                "disturbed", f"the hypervisor took a CPU away for {row['steal_share']:.0%} of the window"
            )
        if row["achieved_ratio"] < LEAST_ACHIEVED or row["lag_p99_us"] > MOST_LAG_P99_US:
            busy = row["client_cpu_share"] + (row["cpu1_softirq_share"] or 0.0)
            raise Rejected(
                "generator-saturated" if busy >= SATURATED_SHARE else "generator-late",
                f"issued {row['achieved_ratio']:.1%} of its schedule, 99 % of it "
                f"within {row['lag_p99_us'] / 1000:.1f} ms, with {row['client_cpu_share']:.0%} of its CPU",
            )


# -------------------------------------------------------------------------------------------- into columns


def _of_generator(report: Mapping[str, Any]) -> Row:
    duration_s = report["duration_s"]
    latency = report["latency"]
    kinds = report.get("kinds", {})  # only where the manifest tells kinds of files apart
    hot, other = kinds.get("hot", {}), kinds.get("other", {})

    def rate(name: str) -> float:
        return report[name] / duration_s

    return {
        "replies_per_s": report["replies_per_s"],
        "attempted_per_s": report["connections_attempted_per_s"],
        "opened_per_s": report["connections_opened_per_s"],
        "completed_per_s": rate("connections_completed"),
        "timed_out_per_s": rate("connections_timed_out"),
        "refused_per_s": rate("connections_refused"),
        "reset_per_s": rate("connections_reset"),
        "achieved_ratio": report["achieved_ratio"],
        "lag_p99_us": report["lag_p99_us"],
        "lag_max_us": report["lag_max_us"],
        "client_cpu_share": report["cpu_share"],
        "bodies_verified": report["bodies_verified"],
        "bodies_mismatched": report["bodies_mismatched"] + report["lengths_mismatched"],
        **{f"latency_{q}_us": latency[f"{q}_us"] for q in ("mean", "p50", "p90", "p99", "p999", "max")},
        "latency_count": latency["count"],
        "latency_censored": latency["censored"],
        "hot_latency_p50_us": hot.get("p50_us"),
        "hot_latency_p99_us": hot.get("p99_us"),
        "hot_latency_count": hot.get("count"),
        "hot_latency_censored": hot.get("censored"),
        "other_latency_p50_us": other.get("p50_us"),
        "other_latency_p99_us": other.get("p99_us"),
        "httperf_mean_us": report["latency_httperf"]["mean_us"],
        "connect_p50_us": report["connect"]["p50_us"],
        "latency_histogram": json.dumps(latency["histogram"], separators=(",", ":")),
        "per_second": json.dumps(report["per_second"], separators=(",", ":")),
    }


#: What differences of readings tell besides columns of a row.
_NOT_COLUMNS = {"elapsed_s", "workers", "processes_cpu_s", "user_part"}


def _of_kernel(happened: Mapping[str, Any], report: Mapping[str, Any]) -> Row:
    row = {name: value for name, value in happened.items() if name not in _NOT_COLUMNS}
    replies_per_s, user_part = report["replies_per_s"], happened["user_part"]
    if replies_per_s:
        cpu_us = happened["server_cpu_share"] / replies_per_s * 1e6
        row["server_cpu_us_per_reply"] = cpu_us
        if user_part is not None:
            row["server_user_us_per_reply"] = cpu_us * user_part
            row["server_system_us_per_reply"] = cpu_us * (1 - user_part)
    return row


def _of_workers(happened: Mapping[str, Any]) -> Row:
    """How a design's processes share the work; nothing for one process, or a peer."""
    accepts = [worker["accepts"] for worker in happened["workers"]]
    cpu_s = happened["processes_cpu_s"]
    if len(accepts) < 2 or len(cpu_s) != len(accepts):
        return {}
    return {
        "worker_accepts": json.dumps(accepts),
        "worker_accept_share_max": max(accepts) / sum(accepts) if sum(accepts) else None,
        "worker_cpu_s": json.dumps([round(spent_s, 6) for spent_s in cpu_s]),
        "worker_cpu_share_max": max(cpu_s) / sum(cpu_s) if sum(cpu_s) else None,
    }


def _counted(happened: Mapping[str, Any]) -> dict[str, int]:
    """How much the design's counters, of all processes, grew; empty for a peer, which has none."""
    workers = happened["workers"]
    return {name: sum(worker[name] for worker in workers) for name in workers[0]} if workers else {}


def _of_counters(happened: Mapping[str, Any]) -> Row:
    """Rates and means from the design's own counters; all missing for a peer."""
    counted, elapsed_s = _counted(happened), happened["elapsed_s"]

    def mean(total: str, number: str, scale: float = 1.0) -> float | None:
        return counted[total] / counted[number] * scale if counted.get(number) else None

    return {
        "accepts_per_s": counted["accepts"] / elapsed_s if counted else None,
        "getevents_per_s": counted["getevents"] / elapsed_s if counted else None,
        "accepts_per_phase": mean("accepts", "accept_phases"),
        "work_items_per_phase": mean("work_items", "work_phases"),
        "events_per_getevents": mean("events", "getevents"),
        "getevents_us": mean("getevents_ready_ns", "getevents_ready", 1e-3),
        "accept_us": mean("accept_ns", "accepts", 1e-3),
        "accept_phase_us": mean("accept_ns", "accept_phases", 1e-3),
        "work_us_per_item": mean("work_ns", "work_items", 1e-3),
        "system_calls_per_reply": mean("system_calls", "replies"),
    }


def _of_turns_and_paths(happened: Mapping[str, Any]) -> Row:
    """How long a loop's turns held everybody, and which way lazy calls went; all missing for a peer."""
    counted = _counted(happened)
    if not counted:
        return {}

    def per_reply(name: str) -> float | None:
        return counted[name] / counted["replies"] if counted["replies"] else None

    return {
        **{f"{name}_per_s": counted[name] / happened["elapsed_s"] for name in TURNS},
        "lazy_calls_per_reply": per_reply("lazy_calls"),
        **{f"path_{path}_per_reply": per_reply(f"lazy_{path}") for path in LAZY_PATHS},
    }


# -------------------------------------------------------------------------------------------- small things


def _whole(answer: bytes) -> int | None:
    """Length of the whole answer, once its head says so."""
    head, end, _ = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head) if end else None
    return len(head) + 4 + int(length[1]) if length else None


def _code(server: Process) -> int | str:
    usage = server.wait(1.0)
    return usage.code if usage else "unknown"


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]
