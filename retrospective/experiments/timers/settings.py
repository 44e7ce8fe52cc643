"""What the timers experiments hold fixed, and the words they are made of."""

from __future__ import annotations

from typing import Any

CHAPTER = "timers"

#: Every experiment of the chapter, in the order in which the chapter tells of them.
EXPERIMENTS = (
    *("operations", "operations-aa", "prices"),
    *("wall", "wall-aa", "shoot-out", "domain", "soft"),
)

# ---------------------------------------------------------------------------------------------- operations

#: Whose timers: ours, then what others have. ``nothing`` is the loop's own price.
OURS = ("list", "heap", "heap4", "hashed", "wheel", "lazy")
OTHERS = ("libev", "libuv", "timerfd")
NOTHING = "nothing"
FACILITIES = (*OURS, *OTHERS, NOTHING)
#: The facility that stands beside every other one, in turn with it.
BESIDE = "wheel"
MIXES = ("tcp", "expiry", "cancel", "rearm")
#: What ``cancel`` is made of, each alone: all timers are started, from none that is pending, and all are cancelled.
APART = ("start-only", "cancel-only")
#: Timers that are pending.
TIMERS = (100, 1_000, 10_000, 100_000, 1_000_000)
#: A search through all takes a list 40 µs an operation at 10,000, and a descriptor a timer is what a process may open.
MOST_TIMERS = {"list": 10_000, "timerfd": 10_000}
#: What goes by the kernel's clock, or has no timers, has no expiries by a virtual one.
NO_EXPIRY = ("timerfd", NOTHING)

# -------------------------------------------------------------------------------------------------- prices

#: Where the shared domain is judged: processes, and granularity in µs.
DOMAIN_CELL = (400, 10_000)
#: Series of primitives -> what timercost is told. Those that are woken are as many as the domain's clients, whose floor
#: that is; beside it what it costs if all is in the caches.
FLOOR = "wake-same-cpu"
PRICES: dict[str, dict[str, Any]] = {
    "stamp": {},
    "clock": {},
    "null-call": {},
    "timerfd-untouched": {},
    "timerfd-reprogrammed": {},
    "timerfd-moved": {},
    "interrupt": {},
    "timer-wake": {},
    "timer-wake-halted": {},
    FLOOR: {"processes": DOMAIN_CELL[0]},
    "wake-same-cpu (1 process)": {"price": FLOOR, "processes": 1},
    "wake-other-cpu": {"processes": DOMAIN_CELL[0]},
}

# ------------------------------------------------------------------------------------------------ wake-ups

#: Series -> options of ticker, in the order of tables and figures. Where expiries are aligned it is to the granularity.
#: What slack does is seen with one driver, epoll; tick, timerfd and io_uring have none. The shared domain has one of
#: its own (servers/timers/domain), a tenth of the granularity up to 1 ms unless it has a grid, or is told another.
ALIGNED = "align"
SERIES: dict[str, dict[str, Any]] = {
    "tick": {"driver": "tick"},
    "timerfd": {"driver": "timerfd"},
    "timerfd (aligned)": {"driver": "timerfd", ALIGNED: True},
    "epoll": {"driver": "epoll"},
    "epoll (slack 1 ns)": {"driver": "epoll", "slack-ns": 1},
    "epoll (slack 1 ms)": {"driver": "epoll", "slack-ns": 1_000_000},
    "nanosleep": {"driver": "nanosleep", "slack-ns": 1},
    "uring": {"driver": "uring"},
    "spin": {"driver": "spin"},
    "domain": {"driver": "domain"},
    "domain (aligned)": {"driver": "domain", ALIGNED: True},
    "domain (slack 1 ns)": {"driver": "domain", "slack-ns": 1},
}
#: Drivers at equal accuracy: none may be late by choice.
EXACT = ("tick", "timerfd", "epoll (slack 1 ns)", "nanosleep", "uring", "spin", "domain (slack 1 ns)")

#: What is compared where the shared domain is judged.
DOMAIN_SERIES = ("timerfd", "timerfd (aligned)", "domain", "domain (aligned)")

PROCESSES = (1, 3, 10, 30, 100, 300, 400, 1_000)
GRANULARITIES_US = (10, 100, 1_000, 10_000, 100_000, 250_000)
#: What is measured of a cell, each in a run of its own: the spinner that counts cores keeps CPUs from halting.
MEASURES = ("cores", "lateness")

#: The same cell against itself: a surface's floors. Processes, granularity in µs.
AA_SERIES = "timerfd"
AA_CELLS = ((100, 10_000), (10, 1_000))

# -------------------------------------------------------------------------------------------- soft timers

#: A process that works has a trigger point after so much of it, µs; seldom enough to cost nothing; and its timers'
#: periods, µs. Aron and Druschel (1999) found one each 5 to 30 µs in what they ran.
TRIGGER_US = 10
SELDOM_US = 1_000
SOFT_PERIODS_US = (20, 50, 100)
#: Where no timers are to be felt there is one with this granularity, µs.
RARE_US = 10_000
