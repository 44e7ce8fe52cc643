"""A trial: one run of one server at one point, and whether it counts.

It counts (``valid``) only if the generator kept its schedule, every checked body was right, the files lay in
memory before and after, the wire was steered as promised, nothing else competed for the server's CPU, and the
server was alive and whole at the end. Otherwise it is a row too, with its reason and the last lines of what
the programs said.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import servers
from retrospective import paths
from retrospective.lab import filesets, peers
from retrospective.lab.hosts import Hosts, Lab, LabError, LabUnavailable, LoopbackLab, Process
from retrospective.lab.provenance import CPU_MAP, machine_id
from retrospective.lab.session import Rejected, Session
from retrospective.lab.storage import Shelf, Storage, asked

Row = dict[str, Any]

SCHEMA = 2

#: What a trial takes besides its warm-up and window on our reference machine, seconds, by mode of its load: two hosts,
#: the server's start, the checks; and the raw client awaits at last what it has begun.
OVERHEAD_S = {"raw": 0.33, "open": 0.13, "closed": 0.08, "stack": 0.2}

#: A row: first what was asked for, then what became of it, then what was measured (units in the names).
ROW_COLUMNS = tuple(
    """
    key schema chapter experiment kind profile design server label accept_limit backlog defer_accept_s work_us
    workload load_mode timeout_ms charge target_per_s x_ratio clients round attempt machine kernel binary
    started_at duration_s options load disk memory_ratio cache footprint_bytes
    valid status reason log
    replies_per_s attempted_per_s opened_per_s completed_per_s timed_out_per_s refused_per_s reset_per_s
    achieved_ratio lag_p99_us lag_max_us client_cpu_share bodies_verified bodies_mismatched
    accepts_per_s getevents_per_s accepts_per_phase work_items_per_phase events_per_getevents getevents_us
    accept_us accept_phase_us work_us_per_item
    drop_overflow_per_s drop_syn_per_s drop_listen_per_s drop_softnet_per_s queue_drops_per_s
    server_cpu_us_per_reply server_user_us_per_reply server_system_us_per_reply system_calls_per_reply
    worker_accept_share_max worker_cpu_share_max worker_accepts worker_cpu_s
    server_cpu_share server_run_delay_share server_foreign_delay_share
    cpu0_others_share
    cpu0_softirq_share cpu1_softirq_share steal_share device_read_bytes fds_leaked
    memory_limit_bytes memory_controller resident_before_share resident_after_share hot_resident_before_share
    hot_resident_after_share memory_peak_bytes memory_other_bytes rss_peak_bytes threads_peak
    turns_over_100us_per_s turns_over_1ms_per_s turns_over_10ms_per_s turns_over_100ms_per_s turns_over_1s_per_s
    turn_max_us lazy_calls_per_reply path_inline_per_reply path_hit_per_reply path_miss_per_reply
    path_helper_per_reply path_ring_per_reply path_upcall_per_reply path_timer_per_reply path_held_per_reply
    path_refused_per_reply
    latency_mean_us latency_p50_us latency_p90_us latency_p99_us latency_p999_us latency_max_us
    latency_count latency_censored
    hot_latency_p50_us hot_latency_p99_us hot_latency_count hot_latency_censored
    other_latency_p50_us other_latency_p99_us httperf_mean_us connect_p50_us latency_histogram per_second
    """.split()  # noqa: SIM905 (a table is read by columns)
)


@dataclass(frozen=True)
class Trial:
    """What is to be run. Equal trials have equal keys; the label tells replicas of a trial apart.

    ``load["mode"]`` is ``open``, ``closed`` (kernel sockets), ``raw`` (hand-made segments) or ``stack`` (open loop on
    the user-level stack); its other entries are the generator's options, as ``options`` are the server's. ``storage``
    says where the files lie and how much memory there is for them; ``None``: where they are, all in memory throughout.
    ``server`` names a design with certain options.
    """

    chapter: str
    experiment: str
    kind: str
    profile: str
    design: str
    options: dict[str, Any]
    workload: str
    load: dict[str, Any]
    charge: str
    x_ratio: float | None
    label: str
    storage: Storage | None = None
    server: str | None = None

    @property
    def program(self) -> str:
        """What is run: the server."""
        return self.design

    def key(self, binary_hash: str, machine: str, kernel: str, round: int) -> str:  # noqa: A002
        """Name of this trial in a round on a machine: what is stored under it need not be measured again."""
        fields = asdict(self)
        for later in (
            "storage",
            "server",
        ):  # a trial without them keeps the key that it had before there were any
            if fields[later] is None:
                del fields[later]
        return key_of(fields, SCHEMA, binary_hash, machine, kernel, round)

    def seconds(self) -> float:
        """About how long it takes, seconds."""
        of_storage_s = self.storage.seconds() if self.storage else 0.0
        return self.load["warmup-s"] + self.load["duration-s"] + OVERHEAD_S[self.load["mode"]] + of_storage_s


def key_of(
    asked: dict[str, Any],
    schema: int,
    binary_hash: str,
    machine: str,
    kernel: str,
    round: int,  # noqa: A002
) -> str:
    """Hash of what was asked for, and of all that the answer depends on besides."""
    identity = {"schema": schema, "binary": binary_hash, "machine": machine, "kernel": kernel, "round": round}
    text = json.dumps(asked | identity, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


#: Instead of the server's own command line (tests plant faults by it): address, root, counters' path ->
#: words.
Command = Callable[[str, Path, str], list[str]]
#: Called when the measuring window begins, with the hosts and the server.
Disturbance = Callable[[Hosts, Process], None]


def run_trial(
    trial: Trial,
    round: int = 0,  # noqa: A002
    attempt: int = 1,
    *,
    command: Command | None = None,
    disturbance: Disturbance | None = None,
) -> Row:
    """Run a trial and return its row, whatever became of it.

    Raises only what no repetition would mend: ``BuildError``, ``LabUnavailable``, and ``ValueError`` for a
    trial that cannot be (an unknown design, workload or option). Where user namespaces are refused it runs
    over loopback, with kernel sockets, and its row says so (``charge`` and ``load_mode``).
    """
    if trial.workload not in filesets.WORKLOADS:
        raise ValueError(f"no workload {trial.workload!r}: there are {', '.join(filesets.WORKLOADS)}")
    executable = (
        peers.PEERS[trial.design].path() if trial.design in peers.PEERS else servers.binary(trial.design)
    )
    if executable is None:
        raise ValueError(f"{trial.design} is not installed; as root: make system")
    made = paths.BUILD / "filesets"
    if trial.design == "floor":
        files = filesets.canned(made, int(trial.options.get("floor-bytes", filesets.ONE_PACKET_BYTES)))
    else:
        files = filesets.WORKLOADS[trial.workload](made)
    binary, machine, kernel = servers.binary_hash(executable), machine_id(), os.uname().release
    row: Row = dict.fromkeys(ROW_COLUMNS)
    row |= {
        "key": trial.key(binary, machine, kernel, round),
        "schema": SCHEMA,
        **{
            name: getattr(trial, name)
            for name in ("chapter", "experiment", "kind", "profile", "design", "server", "label")
        },
        **{name: getattr(trial, name) for name in ("workload", "charge", "x_ratio")},
        "accept_limit": _text(trial.options.get("accept-limit")),
        "backlog": trial.options.get("backlog"),
        "defer_accept_s": trial.options.get("defer-accept-s", 0),
        "work_us": trial.options.get("work-us", 0),
        "load_mode": trial.load["mode"],
        "timeout_ms": trial.load.get("timeout-ms"),
        "target_per_s": trial.load.get("rate"),
        "clients": trial.load.get("clients"),
        "round": round,
        "attempt": attempt,
        "machine": machine,
        "kernel": kernel,
        "binary": binary,
        "started_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        "duration_s": trial.load.get("duration-s", 2.0),
        "options": json.dumps(trial.options, sort_keys=True),
        "load": json.dumps(trial.load, sort_keys=True),
        **(asked(trial.storage, files) if trial.storage else {}),
    }
    with contextlib.ExitStack() as stack:
        shelf = None
        if trial.storage:
            try:
                # Before the hosts, which see what is mounted when they are made, and are gone before it is.
                shelf = stack.enter_context(Shelf(trial.storage, files))
            except Rejected as rejected:
                return row | _outcome(rejected) | {"log": ""}
        lab = stack.enter_context(open_lab(trial.charge))
        stack.enter_context(sharing_cpu(lab.client_cpu))
        # Arrivals and files are drawn anew in every round, and alike for all that are compared within one.
        load = {"seed": round + 1, **trial.load}
        if lab.interface is None and load["mode"] in ("raw", "stack"):
            load = {"requests-per-connection": 1} | load | {"mode": "open"}
        row |= {"charge": lab.charge, "load_mode": load["mode"]}
        with contextlib.closing(
            Session(lab, trial.design, trial.options, load, files, command=command, shelf=shelf)
        ) as session:
            outcome: Row = {"valid": True, "status": "ok", "reason": ""}
            try:
                session.run(row, disturbance)
            except Rejected as rejected:
                outcome = _outcome(rejected)
            except (OSError, LabError, json.JSONDecodeError) as error:
                outcome = {"valid": False, "status": "failed", "reason": f"lab: {error}"}
            row |= outcome | {"log": session.log()}
    return row


@contextlib.contextmanager
def open_lab(charge: str) -> Iterator[Lab | LoopbackLab]:
    """Make the lab, or its loopback substitute where user namespaces are refused.

    Without a second CPU neither would measure anything: ``LabUnavailable``.
    """
    if (os.cpu_count() or 1) < 2:
        raise LabUnavailable(
            "a trial needs two CPUs, one for the server and one for the client; this machine has one"
        )
    cpus = CPU_MAP["server"], CPU_MAP["client"]
    with contextlib.ExitStack() as stack:
        try:
            lab: Lab | LoopbackLab = stack.enter_context(Lab(charge, *cpus))
        except LabUnavailable:
            lab = stack.enter_context(LoopbackLab(*cpus))
        yield lab


@contextlib.contextmanager
def sharing_cpu(cpu: int) -> Iterator[None]:
    """Keep this thread off the server's CPU while a trial runs."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _outcome(rejected: Rejected) -> Row:
    return {"valid": False, "status": rejected.status, "reason": str(rejected)}


def _text(value: object) -> str | None:
    return None if value is None else str(value)


__all__ = ["ROW_COLUMNS", "SCHEMA", "LabUnavailable", "Storage", "Trial", "open_lab", "run_trial"]
