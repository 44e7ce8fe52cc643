"""The benchmarks of the timers chapter, on the model's rows instead of the machine's."""

import math
import stat

import numpy as np
import pytest

from retrospective import bench_timers
from retrospective.bench_timers import BENCHMARKS

BY_ID = {benchmark.id: benchmark for benchmark in BENCHMARKS}


@pytest.fixture
def on_rows(monkeypatch):
    """Let benchmarks find such rows, whatever they would have measured."""

    def use(rows):
        monkeypatch.setattr(bench_timers, "interleaved", lambda planned, rounds: {"all": [*rows, {}]})
        bench_timers._rows.cache_clear()

    yield use
    bench_timers._rows.cache_clear()


@pytest.fixture
def rows(synthetic):
    return [row | {"machine": "m"} for row in synthetic.timers.rows(np.random.default_rng(1), 3, 0.003)]


def held(name):
    measured = BY_ID[name].run()
    return measured, BY_ID[name].holds(measured.value)


def test_promises_are_kept_by_the_model_and_broken_where_it_is_slower(on_rows, rows):
    on_rows(rows)
    start, holds = held("timers-wheel-start")
    assert holds
    assert start.value == pytest.approx(12.0 * 1.25**3 * 0.8 - 3.0, rel=0.02)
    libev, holds = held("timers-wheel-libev")
    assert holds
    assert libev.value == libev.low < libev.high
    assert "at 100,000" in libev.note
    for name in ("timers-domain-floor", "timers-domain-tickless", "timers-domain-lateness"):
        assert held(name)[1], name
    slower = {
        "operation_ns": {"wheel": 1.5, "libev": 0.4, "libuv": 0.2},
        "cores": {"domain": 3.0},
        "lateness_p99_us": {"domain": 5.0},
    }
    on_rows(
        [
            row
            | {c: row[c] * by[row["design"]] for c, by in slower.items() if c in row and row["design"] in by}
            for row in rows
        ]
    )
    assert held("timers-wheel-start")[0].value > start.value
    for name in ("libev", "libuv"):
        assert held(f"timers-wheel-{name}")[1] is False
    for name in ("timers-domain-floor", "timers-domain-tickless", "timers-domain-lateness"):
        assert held(name)[1] is False, name


def test_what_is_not_here_is_no_number_and_says_so(on_rows, rows):
    on_rows([row for row in rows if row["experiment"] == "prices"])
    for benchmark in BENCHMARKS:
        if not benchmark.long:
            measured = benchmark.run()
            assert math.isnan(measured.value), benchmark.id
            assert measured.note
            assert benchmark.holds(measured.value) is None
    assert "make system" in BY_ID["timers-wheel-libuv"].run().note


def test_probes_are_few_and_each_measures_what_its_benchmark_asks_for():
    planned = {
        name: bench_timers._planned(profile, measures)
        for name, profile, measures in (
            ("wheel", bench_timers.OF_WHEEL, ("cores",)),
            ("libraries", bench_timers.OF_LIBRARIES, ("cores",)),
            ("domain", bench_timers.OF_DOMAIN, ("cores", "lateness")),
            ("model", bench_timers.OF_MODEL, ("cores",)),
        )
    }
    assert {probe.options["facility"] for probe in planned["libraries"].values()} == {"libev", "libuv"}
    assert {probe.options.get("beside") for probe in planned["wheel"].values()} == {"nothing"}
    assert {probe.options["measure"] for probe in planned["model"].values()} == {"cores"}
    assert {"cores", "lateness"} <= {probe.options.get("measure") for probe in planned["domain"].values()}
    assert sum(map(len, planned.values())) < 50


def test_conformance_counts_what_failed_and_names_the_first(tmp_path, monkeypatch):
    program = tmp_path / "test_timers"
    program.write_text(
        '#!/bin/sh\n[ "$1" = hashed ] || exit 0\necho "late by 3" >&2; echo "lost" >&2; exit 1\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(bench_timers.servers, "test_program", lambda name, variant: program)
    found = bench_timers.conformance()
    assert (found.value, found.note) == (2, "hashed: late by 3")
    program.write_text("#!/bin/sh\nexit 0\n")
    assert bench_timers.conformance().value == 0
