"""An exchange: one run of two programs that talk TCP over a path, and whether it counts.

What is measured is the *near* end's stack (``design``, ``stack``): its direction, role and congestion control are the
row's. Every byte of a transfer is compared by who receives it (servers/load/traffic.h), every reply by its CRC-32. What
the machine does not have is a row of its own kind (``unavailable``), never a result.

Exchanges that mostly wait, for time-outs and for what is delayed, may run several at a time (``at_a_time``, written in
the row). They count only if the CPUs had time to spare meanwhile.
"""

from __future__ import annotations

import datetime
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import servers
from retrospective import paths
from retrospective.lab import filesets, kernel_counters, sampling
from retrospective.lab.hosts import LabError
from retrospective.lab.others import Others
from retrospective.lab.provenance import CPU_MAP, machine_id
from retrospective.lab.session import Rejected
from retrospective.lab.stacks import (
    FAR,
    KERNEL,
    NEAR,
    PORT,
    SPIN_US,
    SWITCH,
    Crossing,
    Talker,
    Tuning,
    absent,
    congestion,
    program,
)
from retrospective.lab.trial import ROW_COLUMNS, key_of, sharing_cpu

Row = dict[str, Any]

SCHEMA = 1

TO_PEER, FROM_PEER = DIRECTIONS = ("to_peer", "from_peer")
OPENER, LISTENER = ROLES = ("opener", "listener")
#: Opens in even rounds and listens in odd ones: both are tried, and neither is a factor of its own.
IN_TURN = "in turn"

EXCHANGE_TEXT = (
    *("program", "stack", "peer", "path", "flow", "congestion", "direction", "role", "impairment", "where"),
    *("near_ledger", "switch_ledger"),
)
EXCHANGE_COUNTS = (
    *("seed", "bytes", "verified_bytes", "write_bytes", "window_bytes", "at_a_time", "messages"),
    *("retransmitted", "timeouts", "fast_recoveries", "frames_sent", "frames_received"),
    *("senders", "min_rto_us", "tick_us", "switch_cpu"),
)
EXCHANGE_LEVELS = (
    *("seconds", "connect_s", "goodput_bytes_per_s", "rtt_p50_us", "rtt_p99_us", "connections_per_s"),
    *("server_cpu_s", "client_cpu_s", "switch_cpu_s", "window_s"),
    *("replies_per_cpu_s", "replies_per_cpu_s_whole", "completion_ms"),
    *("others_cores", "cpu_busy_share"),
)
#: What rows of exchanges have besides ROW_COLUMNS.
EXCHANGE_COLUMNS = (*EXCHANGE_TEXT, *EXCHANGE_COUNTS, *EXCHANGE_LEVELS)

#: CPUs that others may have kept busy meanwhile, and, of several exchanges at a time, how busy a CPU may have been.
MOST_OTHERS_CORES = 0.15
MOST_BUSY_SHARE = 0.75

#: What an exchange takes besides what it measures on our reference machine, seconds: hosts, switch, programs.
OVERHEAD_S = 0.25

_PATIENCE_S = 8.0  # for a connection to be established through what impairs it
_GRACE_S = 10.0  # beyond what an exchange is to take
_SENDER_S = 0.5  # for who only sends to see the end, after who receives
_WARMUP_S = 0.1
_LEAD_S = 0.005
_HTTP_PORT = 8080


@dataclass(frozen=True)
class Exchange:
    """What is to be run. Equal exchanges have equal keys.

    ``flow``, one of ``FLOWS``, says what the two ends do; ``options`` what they are told of it: see each flow. All know
    ``congestion``, ``window_bytes``, ``tick_us`` and ``min_rto_us`` (``Tuning``), ``impairment``, its name, and
    ``impair``, what the switch is told, both ways; and ``switch_cpu``. The switch's lots are drawn anew in every round,
    and alike for all that are compared within one. With ``untimed`` whoever else runs is no matter.
    """

    chapter: str
    experiment: str
    kind: str
    profile: str
    design: str
    flow: str
    path: str
    peer: str
    options: dict[str, Any]
    label: str
    at_a_time: int = 1
    takes_s: float | None = None  # about, if it has no fixed time: for estimates alone

    @property
    def programs(self) -> dict[str, str]:
        """What runs at each end."""
        near, far = FLOWS[self.flow].programs
        return {NEAR: program(near, self.design), FAR: program(far, self.peer)}

    @property
    def program(self) -> str:
        """What is measured."""
        return self.programs[NEAR]

    @property
    def all_programs(self) -> tuple[str, ...]:
        """What is measured, and all that the result depends on besides."""
        switch = ("stackswitch",) if self.path == SWITCH else ()
        return tuple(dict.fromkeys((*self.programs.values(), *switch)))

    def key(self, binary_hash: str, machine: str, kernel: str, round: int) -> str:  # noqa: A002
        """Name of this exchange in a round on a machine: what is stored under it need not be measured again.

        ``binary_hash`` is of ``all_programs``, one after the other.
        """
        asked = asdict(self)
        del asked["takes_s"]
        return key_of(asked, SCHEMA, binary_hash, machine, kernel, round)

    def seconds(self) -> float:
        """About how long it takes, its share of the time if there are several at a time; seconds."""
        takes_s = FLOWS[self.flow].takes_s(self.options) if self.takes_s is None else self.takes_s
        return (takes_s + OVERHEAD_S) / self.at_a_time


def _hash(name: str) -> str:
    return "" if absent(name) else servers.binary_hash(servers.binary(name))


def _hashes(exchange: Exchange) -> str:
    return " ".join(map(_hash, exchange.all_programs))


def run_exchange(exchange: Exchange, round: int = 0, attempt: int = 1) -> Row:  # noqa: A002
    """Run an exchange and return its row, whatever became of it.

    Raises only what no repetition would mend: ``BuildError``, ``LabUnavailable`` and ``ValueError`` for an exchange
    that cannot be.
    """
    options = exchange.options
    binary, machine, kernel = _hashes(exchange), machine_id(), os.uname().release
    tuning = Tuning(
        **{
            name: options[name]
            for name in ("congestion", "window_bytes", "tick_us", "min_rto_us")
            if name in options
        }
    )
    switch_cpu = options.get("switch_cpu", CPU_MAP["client"])
    row: Row = dict.fromkeys((*ROW_COLUMNS, *EXCHANGE_COLUMNS))
    row |= {
        "key": exchange.key(binary, machine, kernel, round),
        "schema": SCHEMA,
        **{
            name: getattr(exchange, name)
            for name in ("chapter", "experiment", "kind", "profile", "design", "label")
        },
        **{name: getattr(exchange, name) for name in ("flow", "path", "peer", "at_a_time")},
        "stack": exchange.design,
        "program": exchange.program,
        "round": round,
        "attempt": attempt,
        "seed": round + 1,
        "machine": machine,
        "kernel": kernel,
        "binary": binary,
        "started_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        "options": json.dumps(options, sort_keys=True),
        "impairment": options.get("impairment", "none"),
        **asdict(tuning),
        "congestion": congestion(exchange.design, tuning.congestion),
        **{name: options[name] for name in ("write_bytes", "clients", "direction") if name in options},
    }
    if exchange.path == SWITCH:
        row["switch_cpu"] = switch_cpu
    outcome: Row = {"valid": True, "status": "ok", "reason": ""}
    crossing = Crossing(
        exchange.path,
        exchange.design,
        exchange.peer,
        tuning,
        impair=options.get("impair"),
        spin_us=options.get("spin_us", SPIN_US),
        seed=round + 1,
        cpus={SWITCH: switch_cpu},
    )
    with sharing_cpu(CPU_MAP["lab"]):
        try:
            for name in exchange.all_programs:
                if why := absent(name):
                    raise Rejected("absent", why, "unavailable")
            with crossing:
                try:
                    FLOWS[exchange.flow].run(crossing, exchange, row, round)
                finally:
                    row["log"] = crossing.log()
        except Rejected as rejected:
            outcome = {"valid": False, "status": rejected.status, "reason": str(rejected)}
        except (OSError, LabError, json.JSONDecodeError) as error:
            outcome = {"valid": False, "status": "failed", "reason": f"lab: {error}"}
    return row | outcome


# -------------------------------------------------------------------------------------------- who has the CPUs


class _Window:
    """What goes on on the CPUs from its making to its end: the switch's time, everybody else's, and what is idle.

    Everybody else is who was there at its making, but for what the kernel does for packets in threads of its own;
    ``there`` are the columns of those of the exchange that were.
    """

    def __init__(self, crossing: Crossing, alone: bool, there: Sequence[str] = ("switch_cpu_s",)) -> None:
        self._switch = crossing.switch
        self._there = there
        self._others = Others() if alone else None
        self._softirq_s = kernel_counters.softirq_threads_s()
        self._switch_s = self._switch.process.cpu_s() if self._switch else 0.0
        self._begin_s = time.monotonic()
        self._times = _cpu_times()

    def end(self, row: Row, own: Mapping[str, float | None]) -> None:
        """Fill the row in; ``own`` is the CPU time of both ends by column."""
        row["window_s"] = elapsed_s = time.monotonic() - self._begin_s
        now = _cpu_times()
        row |= own
        if self._switch:
            row["switch_cpu_s"] = self._switch.process.cpu_s() - self._switch_s
        idle_s = [
            now[cpu]["idle"] + now[cpu]["iowait"] - was["idle"] - was["iowait"]
            for cpu, was in self._times.items()
            if cpu in now
        ]
        row["cpu_busy_share"] = max(0.0, 1 - min(idle_s) / elapsed_s)
        if self._others is not None and (cores := self._others.cores()) is not None:
            used_s = sum(row[name] or 0.0 for name in self._there)
            used_s += kernel_counters.softirq_threads_s() - self._softirq_s
            row["others_cores"] = max(0.0, cores - used_s / elapsed_s)


def _judge_cpus(row: Row, exchange: Exchange) -> None:
    """Raise ``Rejected`` if others took what was the exchange's; of one that is ``untimed`` nobody can."""
    if exchange.options.get("untimed"):
        return
    if exchange.at_a_time > 1:
        if row["cpu_busy_share"] > MOST_BUSY_SHARE:
            raise Rejected("crowded", f"a CPU was busy for {row['cpu_busy_share']:.0%} of the time")
    elif (row["others_cores"] or 0.0) > MOST_OTHERS_CORES:
        raise Rejected("disturbed", f"others ran on {row['others_cores']:.2f} CPUs meanwhile")


def _cpu_times() -> dict[int, dict[str, float]]:
    return kernel_counters.cpu_times(Path("/proc/stat").read_text())


# ------------------------------------------------------------------------------------------------- transfers


def _transfer(crossing: Crossing, exchange: Exchange, row: Row, number: int) -> None:
    """Send ``bytes`` in writes of ``write_bytes``, or for ``seconds``, in one ``direction`` or ``both``.

    The clock is the receiver's: from the connection's establishment to the last byte, or the end of the time. Without
    ``seconds`` there is ``limit_s``, after which it has failed.
    """
    options = exchange.options
    direction, role = options["direction"], options["role"]
    row["role"] = role = ROLES[number % 2] if role == IN_TURN else role
    jobs = {
        TO_PEER: {NEAR: "source", FAR: "sink"},
        FROM_PEER: {NEAR: "sink", FAR: "source"},
        "both": {NEAR: "both", FAR: "both"},
    }[direction]
    sender, receiver = (FAR, NEAR) if direction == FROM_PEER else (NEAR, FAR)
    asked = {
        "bytes": options.get("bytes"),
        "write-bytes": options["write_bytes"],
        "seconds": options.get("seconds"),
    }
    limit_s = _PATIENCE_S + options.get("seconds", options.get("limit_s", 0.0)) + _GRACE_S
    window = _Window(crossing, exchange.at_a_time == 1)
    ends = _connected(crossing, jobs, role, exchange, asked)
    at = _report(ends[receiver], limit_s)
    # One that only sends says so when the end has come to it, too: through what impairs it, perhaps not soon.
    sent = _report(ends[sender], limit_s if direction == "both" else _SENDER_S) or {}
    own = {receiver: at or {}, sender: sent}
    window.end(row, {"server_cpu_s": own[NEAR].get("cpu_s"), "client_cpu_s": own[FAR].get("cpu_s")})
    if at is None:
        raise Rejected("time-limit", f"nothing was reported for {limit_s:.0f} s", "failed")
    received = at["received"]
    row |= {
        "bytes": received,
        "seconds": at["seconds"],
        "connect_s": at["connect_s"],
        "goodput_bytes_per_s": received / at["seconds"] if at["seconds"] else None,
        "duration_s": at["seconds"],
    }
    if at["outcome"] in ("unconnected", "broken", "wrong"):
        where = f" at byte {at['wrong_at']:,}" if at["wrong_at"] is not None else ""
        raise Rejected(at["outcome"], f"{at['error']}{where} after {received:,} bytes", "failed")
    row["verified_bytes"] = received + (sent.get("received") or 0 if direction == "both" else 0)
    if at["outcome"] == "ended" and received != options.get("bytes", received):
        raise Rejected("short", f"{received:,} of {options['bytes']:,} bytes", "failed")
    if direction == "both" and (sent.get("outcome"), sent.get("received")) != ("ended", options["bytes"]):
        raise Rejected(
            "short", f"the other way: {sent.get('outcome')}, {sent.get('received')} bytes", "failed"
        )
    if not received:
        raise Rejected("nothing-came", "though the connection was established", "failed")
    _count(crossing, ends, sender, row)
    _judge_cpus(row, exchange)


def _connected(
    crossing: Crossing,
    jobs: Mapping[str, str],
    role: str,
    exchange: Exchange,
    asked: Mapping[str, Any],
) -> dict[str, Talker]:
    """Start both ends, the listener first."""
    opener, listener = (NEAR, FAR) if role == OPENER else (FAR, NEAR)
    address = f"{crossing.address(listener)}:{PORT}"
    ends = {}
    for end, how in ((listener, "listen"), (opener, "connect")):
        options = {"role": jobs[end], how: address, **asked, "patience-s": _PATIENCE_S, "stay-s": 60.0}
        options["congestion"] = congestion(crossing.stack[end], exchange.options.get("congestion", "cubic"))
        ends[end] = crossing.start(end, "traffic", options)
        ends[end].ready()
    return ends


def _report(end: Talker, limit_s: float) -> dict[str, Any] | None:
    line = end.line(limit_s)
    return None if line is None else json.loads(line)


#: The kernel's names of what the user-level stack's ledger calls otherwise; several are added up.
_KERNEL_COUNTS = {
    "retransmitted": ("RetransSegs",),
    "timeouts": ("TCPTimeouts",),
    "fast_recoveries": ("TCPSackRecovery", "TCPRenoRecovery"),
}
_OWN_COUNTS = {
    "retransmitted": "tcp_retransmitted",
    "timeouts": "tcp_timeouts",
    "fast_recoveries": "tcp_fast_recoveries",
}


def _count(crossing: Crossing, ends: Mapping[str, Talker], sender: str, row: Row) -> None:
    """End all programs and take down what was counted: recovery at the sender, frames at the near end."""
    for end in ends.values():
        end.end()
    own = {end: talker.ledger() for end, talker in ends.items() if crossing.stack[end] != KERNEL}
    if own.get(sender):  # a ledger leaves out what is zero
        row |= {name: own[sender].get(word, 0) for name, word in _OWN_COUNTS.items()}
    elif sender not in own:
        counts = crossing.kernel_counts(sender)
        row |= {name: sum(counts.get(word, 0) for word in words) for name, words in _KERNEL_COUNTS.items()}
    if NEAR in own:
        row |= {name: own[NEAR].get(name) for name in ("frames_sent", "frames_received")}
        row["near_ledger"] = json.dumps(own[NEAR])
    if crossing.switch is not None:
        crossing.switch.end()
        row["switch_ledger"] = json.dumps(crossing.switch.ledger())


# ---------------------------------------------------------------------------------------------------- pings


def _ping(crossing: Crossing, exchange: Exchange, row: Row, number: int) -> None:
    """Send a message of ``write_bytes``, and the next when it has come back, for ``seconds``; the near end answers."""
    seconds = exchange.options["seconds"] + _WARMUP_S
    asked = {"write-bytes": exchange.options["write_bytes"], "warmup-s": _WARMUP_S, "seconds": seconds}
    row["role"] = LISTENER
    window = _Window(crossing, exchange.at_a_time == 1)
    ends = _connected(crossing, {NEAR: "echo", FAR: "ping"}, LISTENER, exchange, asked)
    at = _report(ends[FAR], _PATIENCE_S + seconds + _GRACE_S)
    echoed = _report(ends[NEAR], _SENDER_S) or {}
    window.end(row, {"server_cpu_s": echoed.get("cpu_s"), "client_cpu_s": (at or {}).get("cpu_s")})
    if at is None:
        raise Rejected("time-limit", "nothing was reported", "failed")
    if at["outcome"] not in ("ended", "time") or not at.get("messages"):
        raise Rejected(at["outcome"], f"{at['error']} after {at['received']:,} bytes", "failed")
    row |= {name: at[name] for name in ("messages", "rtt_p50_us", "rtt_p99_us", "seconds", "connect_s")}
    row |= {
        "duration_s": exchange.options["seconds"],
        "bytes": at["received"],
        "verified_bytes": at["received"],
    }
    _count(crossing, ends, FAR, row)
    _judge_cpus(row, exchange)


# --------------------------------------------------------------------------------------------------- serving


def _serve(crossing: Crossing, exchange: Exchange, row: Row, number: int) -> None:
    """Let ``clients`` in closed loop ask for a file of 1 KiB, ``requests`` a connection (missing: no end).

    With ``samples`` the near end looks where its CPU time goes (lab/sampling.py).
    """
    options = exchange.options
    files = filesets.one_packet(paths.BUILD / "filesets")
    address = f"{crossing.address(NEAR)}:{_HTTP_PORT}"
    counters = crossing.counters()
    passed: list[Any] = [counters]
    told = {
        "listen": address,
        "root": files.root,
        "backlog": 4096,
        "congestion": congestion(crossing.stack[NEAR], options.get("congestion", "cubic")),
        "counters": "/proc/self/fd/3",
    }
    env = {}
    samples = crossing.memory("samples") if options.get("samples") else None
    if samples is not None:
        passed.append(samples)
        env[sampling.VARIABLE] = "/proc/self/fd/4"
    server = crossing.start(NEAR, "epoll", told, env=env, pass_files=passed)
    server.ready()
    duration_s = options["seconds"]
    load = {
        "connect": address,
        "files": files.manifest,
        "mode": "closed",
        "clients": options["clients"],
        "requests-per-connection": options.get("requests"),
        "warmup-s": _WARMUP_S,
        "duration-s": duration_s,
        "seed": number + 1,
        "timeout-ms": 2000.0,
    }
    client = crossing.start(FAR, "load", load)
    begin_s = time.monotonic() + _LEAD_S + _WARMUP_S
    time.sleep(_LEAD_S + _WARMUP_S)
    late_s = time.monotonic() - begin_s  # the lab shares a CPU with who is busy
    ends = {"server_cpu_s": server.process, "client_cpu_s": client.process}
    window = _Window(crossing, exchange.at_a_time == 1, ("switch_cpu_s", *ends))
    before = {name: process.cpu_s() for name, process in ends.items()}
    counted = counters.read()
    time.sleep(max(0.0, begin_s + duration_s - 2 * _LEAD_S - time.monotonic()))
    try:
        window.end(row, {name: process.cpu_s() - before[name] for name, process in ends.items()})
    except OSError as error:
        raise Rejected("program-failed", f"one had ended: {error}", "failed") from None
    counted = {name: value - counted.get(name, 0) for name, value in counters.read().items()}
    at = _report(client, _GRACE_S)
    if at is None:
        raise Rejected("generator-failed", "it reported nothing", "failed")
    replies = at["replies_per_s"]
    row |= {
        "duration_s": duration_s,
        "seconds": duration_s,
        "replies_per_s": replies,
        "opened_per_s": at["connections_opened_per_s"],
        "connections_per_s": at["connections_completed"] / at["duration_s"],
        "bodies_verified": at["bodies_verified"],
        "bodies_mismatched": at["bodies_mismatched"] + at["lengths_mismatched"],
        "latency_p50_us": at["latency"]["p50_us"],
        "latency_p99_us": at["latency"]["p99_us"],
        "latency_count": at["latency"]["count"],
    }
    if counted.get("replies"):
        row["system_calls_per_reply"] = counted["system_calls"] / counted["replies"]
    if row["bodies_mismatched"]:
        raise Rejected("wrong-body", f"{row['bodies_mismatched']} of {at['bodies_verified']}", "failed")
    failed = (
        sum(at[f"connections_{what}"] for what in ("timed_out", "refused", "reset", "failed_other"))
        + at["replies_not_200"]
    )
    if failed or not replies:
        raise Rejected(
            "not-answering", f"{replies:.0f} replies/s, {failed} connections or replies failed", "failed"
        )
    cores = {
        name: (row[name] or 0.0) / row["window_s"]
        for name in ("server_cpu_s", "client_cpu_s", "switch_cpu_s")
    }
    with_switch = cores["server_cpu_s"] + cores["switch_cpu_s"]
    if not with_switch or (late_s > duration_s / 2 and not options.get("untimed")):
        raise Rejected("disturbed", f"the lab looked at CPU time {late_s:.3f} s late, of {duration_s:g} s")
    row["replies_per_cpu_s"] = replies / with_switch
    row["replies_per_cpu_s_whole"] = replies / (with_switch + cores["client_cpu_s"])
    _count(crossing, {NEAR: server}, NEAR, row)
    if samples is not None:
        shares = sampling.shares(sampling.read(f"/proc/self/fd/{samples}"))
        row["where"] = json.dumps({name: round(share, 4) for name, share in shares.items()})
    _judge_cpus(row, exchange)


@dataclass(frozen=True)
class Flow:
    """What the two ends of an exchange do: their programs' names on the kernel's stack, and for how long."""

    programs: tuple[str, str]
    run: Callable[[Crossing, Exchange, Row, int], None]
    takes_s: Callable[[Mapping[str, Any]], float]


FLOWS = {
    "transfer": Flow(("traffic", "traffic"), _transfer, lambda o: o["seconds"]),
    "ping": Flow(("traffic", "traffic"), _ping, lambda o: o["seconds"] + _WARMUP_S),
    "serve": Flow(("epoll", "load"), _serve, lambda o: o["seconds"] + _WARMUP_S),
}

__all__ = [
    "DIRECTIONS",
    "EXCHANGE_COLUMNS",
    "EXCHANGE_COUNTS",
    "EXCHANGE_TEXT",
    "FROM_PEER",
    "IN_TURN",
    "LISTENER",
    "MOST_BUSY_SHARE",
    "MOST_OTHERS_CORES",
    "OPENER",
    "TO_PEER",
    "Exchange",
    "run_exchange",
]
