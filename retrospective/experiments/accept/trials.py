"""One function an experiment: from a profile to trials."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from retrospective.experiments.accept.profiles import Profile, Series
from retrospective.experiments.accept.settings import (
    BACKLOG,
    CHAPTER,
    CONCURRENCY_WORK_US,
    FAIRNESS_BACKLOG,
    FAIRNESS_PER_S,
    FAIRNESS_SLEEP_US,
    FAIRNESS_TIMEOUT_MS,
    FAIRNESS_WORKERS,
    PEERS_CLIENTS,
    REQUESTS_MEAN,
    THREADS,
    WORK_US,
    kind_of,
)
from retrospective.lab.peers import PEERS
from retrospective.lab.trial import Trial

#: Warm-up where nothing times out, seconds.
WARMUP_S = 0.2

Options = dict[str, Any]


def _trial(
    profile: Profile, experiment: str, label: str, design: str, options: Options, **more: Any
) -> Trial:
    """A trial of the chapter; whoever receives packets pays for them, and files are the one-packet file."""
    asked = {"kind": "trial", "workload": "one-packet", "charge": "receiver", "x_ratio": None} | more
    return Trial(
        chapter=CHAPTER,
        experiment=experiment,
        profile=profile.name,
        label=label,
        design=design,
        options={name: value for name, value in options.items() if value is not None},
        **asked,
    )


def overload(
    profile: Profile,
    series: Series,
    limit: str,
    target_per_s: float,
    ratio: float | None,
    kind: str = "trial",
) -> Trial:
    """One point of a curve: ``series.design`` with ``limit``, offered ``target_per_s`` requests/s in open loop."""
    load: dict[str, object] = {
        "rate": target_per_s,
        "arrivals": "uniform",
        "timeout-ms": series.timeout_ms,
        "warmup-s": series.timeout_ms / 1000 + profile.beyond_timeout_s,
        "duration-s": profile.duration_s,
    }
    if series.workload == "one-packet":
        load["mode"] = "raw"
        if (
            series.experiment == "sensitivity-defer"
        ):  # a handshake that ends with the request is never deferred
            load["handshake-ack"] = "alone"
    else:
        load |= {"mode": "open", "requests-mean": REQUESTS_MEAN}
    work_us = next(
        value
        for value in (series.work_us, profile.work_us, WORK_US[series.workload, series.charge])
        if value is not None
    )
    options = {
        "backlog": series.backlog,
        **kind_of(series.design).options,
        "accept-limit": limit,
        "work-us": work_us or None,
        "defer-accept-s": series.defer_accept_s or None,
    }
    return _trial(
        profile,
        series.experiment,
        f"{series.design}, limit {limit}",
        series.design,
        options,
        kind=kind,
        workload=series.workload,
        load=load,
        charge=series.charge,
        x_ratio=ratio,
    )


def concurrency(profile: Profile) -> Iterator[Trial]:
    """Where the sign of the gain flips: the limit against the number of clients, in closed loop.

    A closed loop offers what the server takes, so there is no peak to go beyond, and nothing is dropped as long as
    the accept queue holds every client.
    """
    work_us = CONCURRENCY_WORK_US if profile.work_us is None else profile.work_us
    for design in profile.concurrency.designs:
        for limit in profile.concurrency.limits:
            for clients in profile.concurrency.clients:
                yield _trial(
                    profile,
                    "concurrency",
                    f"{design}, limit {limit}, {clients} clients",
                    design,
                    {
                        "backlog": max(BACKLOG, *profile.concurrency.clients),
                        **kind_of(design).options,
                        "accept-limit": limit,
                        "work-us": work_us or None,
                    },
                    load={
                        "mode": "closed",
                        "clients": clients,
                        "requests-per-connection": 1,
                        "close": "client",
                        "warmup-s": WARMUP_S,
                        "duration-s": profile.concurrency_s,
                    },
                )


#: Label -> design and options: how several processes share one port, and what one process makes of it.
FAIRNESS: dict[str, tuple[str, Options]] = {
    **{
        sharing: ("prefork", {"workers": FAIRNESS_WORKERS, "sharing": sharing})
        for sharing in ("shared", "exclusive", "reuseport")
    },
    "one process": ("epoll", {}),
    "kernel threads": ("kernel-threads", {"threads": THREADS}),
    "user threads": ("user-threads", {"threads": THREADS}),
}


def fairness(profile: Profile) -> Iterator[Trial]:
    """Who waits behind a request that sleeps: few connections, of which few ask for ``/slow/``.

    On one CPU a handler that *computes* delays everybody whatever the design; one that sleeps leaves the CPU to the
    other worker, which can take only what has not been given to the sleeping one already.
    """
    for label, workloads in profile.fairness.items():
        design, options = FAIRNESS.get(label, (label, {}))
        for workload in workloads:
            yield _trial(
                profile,
                "fairness",
                label,
                design,
                {
                    "backlog": FAIRNESS_BACKLOG,
                    "slow-us": FAIRNESS_SLEEP_US,
                    "slow-sleeps": True,
                    **options,
                },
                workload=workload,
                load={
                    "mode": "open",
                    "rate": FAIRNESS_PER_S,
                    "arrivals": "poisson",
                    "timeout-ms": FAIRNESS_TIMEOUT_MS,
                    "warmup-s": WARMUP_S,
                    "duration-s": profile.fairness_s,
                },
            )


def peers(profile: Profile) -> Iterator[Trial]:
    """CPU per reply of ours and of the peers: 1 KiB, cached, persistent connections in closed loop."""
    contenders: list[tuple[str, str, Options]] = []
    for label in profile.peers:
        design, _, variant = label.partition(", ")
        options = {"defer-taskrun": "off"} if variant == "no DEFER_TASKRUN" else {}
        contenders.append((label, design, {"backlog": BACKLOG, **options}))
    for variant in profile.nginx:
        settings = ", ".join(f"{name} {value}" for name, value in variant.items())
        contenders.append((f"nginx, {settings}", "nginx", dict(variant)))
    contenders += [(name, name, {}) for name in PEERS if name != "nginx"]
    for label, design, options in contenders:
        yield _trial(
            profile,
            "peers",
            label,
            design,
            options,
            load={
                "mode": "closed",
                "clients": PEERS_CLIENTS,
                "requests-per-connection": "inf",
                "warmup-s": WARMUP_S,
                "duration-s": profile.duration_s,
            },
        )


def peers_overload(profile: Profile, target_per_s: float, ratio: float) -> Iterator[Trial]:
    """nginx's accept strategy under the µserver's overload: ``multi_accept`` off is limit 1, on is Inf."""
    series = Series("one-packet", "nginx", "receiver", (ratio,), experiment="peers-overload")
    for multi_accept, limit in (("off", "1"), ("on", "inf")):
        yield replace(
            overload(profile, series, limit, target_per_s, ratio),
            options={"sendfile": "off", "multi_accept": multi_accept, "backlog": BACKLOG},
            label=f"nginx, multi_accept {multi_accept}",
        )
