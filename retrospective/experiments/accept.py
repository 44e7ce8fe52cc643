"""The accept() chapter: accept strategies of the µserver under overload (Brecht, Pariag & Gammo, USENIX '04).

Four experiments share one journal: ``one-packet`` and ``specweb99-like`` (the paper's workloads: accept-limit × offered
load × who pays for packets), ``peers`` (CPU per reply on persistent connections, beside nginx and lighttpd) and
``peers-overload`` (nginx's own accept strategy, ``multi_accept``, under the same overload).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tqdm import tqdm

from retrospective.experiments.runner import Measurement, measure
from retrospective.lab.peers import PEERS
from retrospective.lab.plan import Plan, place_by_ratio
from retrospective.lab.trial import Trial

if TYPE_CHECKING:
    import pandas as pd

CHAPTER = "accept"

#: The paper's µserver settings (section 5): accept queue of 128, at most 15,000 connections.
BACKLOG = 128
MAX_CONNECTIONS = 15_000
LIMITS = ("1", "10", "inf")

#: The paper does not give its clients' time-out. Ours are short: a warm-up outlasts them, and a trial of a second sees
#: time-outs at their steady rate. A one-packet connection that is served at all is served in a small part of this.
#: On persistent connections the time-out also bounds how many are open at once, and with it what a select call costs.
TIMEOUT_MS = {"one-packet": 300, "specweb99-like": 1000}

#: Mean requests a connection of the paper's SPECweb99-like workload (section 4.2).
REQUESTS_MEAN = 7.2

#: CPU work added to each request, µs, where a client on one CPU could not overload the bare server: on persistent
#: connections the client is a kernel-socket program with a CPU cost of its own, and where the sender pays for packets
#: the client's CPU also does the server's protocol work. Where it receives them itself, a one-packet request costs the
#: bare server about what it cost 2004's (45 µs at its peak of 22,000/s), so nothing is added.
WORK_US = {
    ("one-packet", "receiver"): 0,
    ("one-packet", "sender"): 40,
    ("specweb99-like", "receiver"): 40,
    ("specweb99-like", "sender"): 40,
}

#: Offered rates (requests/s) that overload any of our servers; calibration finds each server's own peak from there.
CALIBRATION_TARGET = {"one-packet": 50_000.0, "specweb99-like": 25_000.0}

#: The climb to a peak ends when a server answers less than this share of what it is offered, or after so many trials.
KEPT_UP = 0.97
CALIBRATION_STEPS = 8

NGINX_VARIANTS = tuple(
    {"sendfile": sendfile, "multi_accept": multi_accept}
    for sendfile in ("off", "on")
    for multi_accept in ("off", "on")
)


@dataclass(frozen=True)
class Series:
    """One curve a limit: a design under one workload and one charge mode, at ratios of its own peak."""

    workload: str
    design: str
    charge: str
    ratios: tuple[float, ...]
    limits: tuple[str, ...] = LIMITS


@dataclass(frozen=True)
class Profile:
    """How much of the chapter is measured: rounds, seconds a trial, and which series."""

    name: str
    rounds: int
    #: Warm-up beyond the clients' time-out, seconds: from then on connections time out as steadily as they begin.
    beyond_timeout_s: float
    duration_s: float
    series: tuple[Series, ...]
    peers: bool = True
    peers_overload: bool = True
    nginx: tuple[dict[str, str], ...] = NGINX_VARIANTS
    #: Instead of ``WORK_US``, everywhere: a reader's choice.
    work_us: int | None = None
    #: Taken for every series' peak instead of calibrating, requests/s. Only for the smoke profile, which shows that
    #: the machinery runs, not where a knee lies.
    assumed_peak: float | None = None


def _grid(
    workloads: Sequence[str], receiver: tuple[float, ...], sender: tuple[float, ...]
) -> tuple[Series, ...]:
    return tuple(
        Series(workload, design, charge, ratios)
        for workload in workloads
        for design in ("select", "epoll")
        for charge, ratios in (("receiver", receiver), ("sender", sender))
    )


PROFILES = {
    "smoke": Profile(
        "smoke",
        rounds=1,
        beyond_timeout_s=0.0,
        duration_s=0.2,
        series=tuple(
            Series("one-packet", design, "receiver", (2.0,), ("1", "inf")) for design in ("select", "epoll")
        ),
        nginx=NGINX_VARIANTS[:1],
        peers_overload=False,
        assumed_peak=4000.0,
    ),
    "quick": Profile(
        # Four rounds, so that intervals mean something; few points, so that it takes little more than a minute.
        "quick",
        rounds=4,
        beyond_timeout_s=0.05,
        duration_s=0.3,
        series=(
            Series("one-packet", "select", "receiver", (0.7,), ("inf",)),
            Series("one-packet", "select", "receiver", (2.0,)),
            Series("one-packet", "select", "sender", (2.0,), ("1", "inf")),
            Series("one-packet", "epoll", "receiver", (2.0,), ("1", "inf")),
            Series("specweb99-like", "select", "receiver", (2.0,), ("1", "inf")),
        ),
        nginx=NGINX_VARIANTS[:1],
        peers_overload=False,
    ),
    "paper": Profile(
        "paper",
        rounds=10,
        beyond_timeout_s=0.1,
        duration_s=0.6,
        series=(
            *_grid(("one-packet",), (0.5, 0.8, 1.0, 1.2, 1.6, 2.1), (0.8, 1.2, 2.1)),
            *_grid(("specweb99-like",), (0.8, 1.2, 1.6, 2.1), (1.2, 2.1)),
        ),
    ),
}


def _options(limit: str | None, profile: Profile, series: Series) -> dict[str, object]:
    options: dict[str, object] = {"backlog": BACKLOG, "max-connections": MAX_CONNECTIONS}
    if limit is not None:
        options["accept-limit"] = limit
    work_us = WORK_US[series.workload, series.charge] if profile.work_us is None else profile.work_us
    if work_us:
        options["work-us"] = work_us
    return options


def overload_trial(
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
        "timeout-ms": TIMEOUT_MS[series.workload],
        "warmup-s": TIMEOUT_MS[series.workload] / 1000 + profile.beyond_timeout_s,
        "duration-s": profile.duration_s,
    }
    if series.workload == "one-packet":
        load["mode"] = "raw"
    else:
        load |= {"mode": "open", "requests-mean": REQUESTS_MEAN}
    return Trial(
        chapter=CHAPTER,
        experiment=series.workload,
        kind=kind,
        profile=profile.name,
        design=series.design,
        options=_options(limit, profile, series),
        workload=series.workload,
        load=load,
        charge=series.charge,
        x_ratio=ratio,
        label=f"{series.design}, limit {limit}",
    )


def peer_trials(profile: Profile, designs: Sequence[str] = ("floor", "epoll", "select")) -> Iterator[Trial]:
    """CPU per reply of ours and of the peers: 1 KiB, cached, 64 persistent connections in closed loop."""
    contenders: list[tuple[str, dict[str, object], str]] = [
        (design, {"backlog": BACKLOG}, design) for design in designs
    ]
    if PEERS["nginx"].path():
        contenders += [
            (
                "nginx",
                dict(variant),
                f"nginx, sendfile {variant['sendfile']}, multi_accept {variant['multi_accept']}",
            )
            for variant in profile.nginx
        ]
    if PEERS["lighttpd"].path():
        contenders.append(("lighttpd", {}, "lighttpd"))
    for design, options, label in contenders:
        yield Trial(
            chapter=CHAPTER,
            experiment="peers",
            kind="trial",
            profile=profile.name,
            design=design,
            options=options,
            workload="one-packet",
            load={
                "mode": "closed",
                "clients": 64,
                "requests-per-connection": "inf",
                "warmup-s": 0.2,  # closed loop: nothing times out
                "duration-s": profile.duration_s,
            },
            charge="receiver",
            x_ratio=None,
            label=label,
        )


def peer_overload_trials(profile: Profile, target_per_s: float, ratio: float) -> Iterator[Trial]:
    """nginx's accept strategy under the µserver's overload: ``multi_accept`` off is limit 1, on is Inf."""
    if not PEERS["nginx"].path():
        return
    for multi_accept in ("off", "on"):
        series = Series("one-packet", "nginx", "receiver", (ratio,))
        trial = overload_trial(profile, series, "1" if multi_accept == "off" else "inf", target_per_s, ratio)
        yield replace(
            trial,
            experiment="peers-overload",
            options={"sendfile": "off", "multi_accept": multi_accept, "backlog": BACKLOG},
            label=f"nginx, multi_accept {multi_accept}",
        )


def find_peak(profile: Profile, series: Series, record: Callable[[Trial], dict[str, object]]) -> float:
    """Peak of one design under one workload and charge mode, replies/s.

    Recorded trials at limit 10 (the paper's highest peak): one far beyond saturation, then a climb from what that
    yielded, since throughput declines past the knee, until the server no longer keeps up with what it is offered.
    """
    peak = 0.0
    target = CALIBRATION_TARGET[series.workload]
    for _ in range(CALIBRATION_STEPS):
        try:
            row = record(overload_trial(profile, series, "10", target, None, kind="calibration"))
        except RuntimeError:
            if peak:  # the client gave out first: known as well as it can be
                break
            # On a slower machine than ours the client may not keep up with the first guess.
            target /= 2
            row = record(overload_trial(profile, series, "10", target, None, kind="calibration"))
        replies_per_s = float(row.get("replies_per_s") or 0.0)
        kept_up = replies_per_s >= KEPT_UP * target
        climbing, peak = peak > 0, max(peak, replies_per_s)
        if peak <= 0 or (climbing and not kept_up):
            break
        target = place_by_ratio(peak, (1.15,))[0]
    return peak


def plan(profile: Profile, peaks: dict[Series, float]) -> Plan:
    """All trials of a profile, given each series' own peak; series whose peak could not be found are left out."""
    trials: list[Trial] = []
    for series in profile.series:
        if peaks.get(series, 0.0) <= 0:
            continue
        for ratio, target in zip(series.ratios, place_by_ratio(peaks[series], series.ratios), strict=True):
            trials += [overload_trial(profile, series, limit, target, ratio) for limit in series.limits]
    if profile.peers:
        trials += peer_trials(profile)
    overload = next(
        (s for s in profile.series if s.workload == "one-packet" and s.charge == "receiver"), None
    )
    if profile.peers_overload and overload and peaks.get(overload, 0.0) > 0:
        ratio = max(overload.ratios)
        trials += peer_overload_trials(profile, place_by_ratio(peaks[overload], (ratio,))[0], ratio)
    return Plan(trials, rounds=profile.rounds, seed=2004)


def profile_with(
    name: str,
    *,
    rounds: int | None = None,
    designs: Sequence[str] | None = None,
    workloads: Sequence[str] | None = None,
    charges: Sequence[str] | None = None,
    limits: Sequence[str] | None = None,
    ratios: Sequence[float] | None = None,
    work_us: int | None = None,
    duration_s: float | None = None,
) -> Profile:
    """A named profile with what a reader changed in the notebook; ``None`` keeps the profile's own.

    Raises ``ValueError`` if nothing of the profile is left.
    """
    if name not in PROFILES:
        raise ValueError(f"no profile {name!r}: there are {', '.join(PROFILES)}")
    profile = PROFILES[name]
    series = [
        s
        for s in profile.series
        if (not workloads or s.workload in workloads) and (not charges or s.charge in charges)
    ]
    if designs:
        # A design the profile does not know yet takes the place of the first one it does.
        first = profile.series[0].design
        series = [
            replace(s, design=d)
            for d in designs
            for s in series
            if s.design == (d if _known(profile, d) else first)
        ]
    if limits:
        series = [replace(s, limits=tuple(str(limit) for limit in limits)) for s in series]
    if ratios:
        series = [replace(s, ratios=tuple(float(r) for r in ratios)) for s in series]
    if not series:
        raise ValueError("nothing is left to measure: check workloads, charges and designs")
    return replace(
        profile,
        series=tuple(series),
        rounds=rounds or profile.rounds,
        work_us=profile.work_us if work_us is None else work_us,
        duration_s=duration_s or profile.duration_s,
    )


def _known(profile: Profile, design: str) -> bool:
    return any(s.design == design for s in profile.series)


def run(profile: Profile | str = "quick", *, progress: bool = True) -> pd.DataFrame:
    """Measure what this machine's journal lacks of ``profile`` and return the rows of its complete rounds."""
    profile = PROFILES[profile] if isinstance(profile, str) else profile

    def planned(record: Callable[[Trial], dict[str, object]]) -> Plan:
        if profile.assumed_peak:
            return plan(profile, dict.fromkeys(profile.series, profile.assumed_peak))
        with tqdm(
            profile.series, desc="finding each server's peak", unit="series", disable=not progress
        ) as series:
            return plan(profile, {one: find_peak(profile, one, record) for one in series})

    return measure(Measurement(CHAPTER, profile.name, planned), progress=progress)
