"""Lazy I/O where the C suite does not look: races, no privilege, and what the server counts."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import servers
from retrospective.lab import filesets, pagecache, traces

#: Engines with threads in this process. The thread sanitizer is told of what `activation` orders in assembly.
THREADED = [
    ("activation",),
    ("activation", "--aside"),
    *(("activation", "--watch", watch) for watch in ("perf", "timer")),
    ("nowait",),
    ("pool",),
]
TSAN = {"TSAN_OPTIONS": "halt_on_error=1:exitcode=66"}
NOBODY = 65534
#: How a call can go (laio.h).
LAIO_PATHS = ("inline", "hit", "miss", "helper", "ring", "upcall", "timer", "held", "refused")


def run(command, timeout_s, environment=None, user=None):
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=os.environ | (environment or {}),
        user=user,
        group=user,
        extra_groups=[] if user else None,
    )


@pytest.mark.parametrize("words", THREADED, ids=" ".join)
def test_engines_under_the_thread_sanitizer(words):
    done = run([servers.test_program("test_laio", "tsan"), *words, "--operations", "3000"], 300, TSAN)
    assert "WARNING: ThreadSanitizer" not in done.stderr, done.stderr[-8000:]
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.skipif(os.geteuid() != 0, reason="the whole suite runs without privilege already")
@pytest.mark.parametrize(
    "words",
    [("activation", "--watch", "adaptive"), ("activation", "--watch", "perf"), ("nowait",), ("amped",)],
    ids=" ".join,
)
def test_engines_without_privilege(words):
    """As an unprivileged user everything works alike, switch records included."""
    program = Path("/tmp") / f"nai-test-laio-{os.getpid()}"  # where anybody may read it
    shutil.copy2(servers.test_program("test_laio", "release"), program)
    program.chmod(0o755)
    try:
        done = run([program, *words, "--operations", "3000"], 300, {"TMPDIR": "/tmp"}, user=NOBODY)
    finally:
        program.unlink()
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


@pytest.mark.parametrize("design", ["epoll", "drain", "user-threads", "lazy"])
def test_a_long_turn_is_counted_by_its_length(serve, small, client, design):
    """A request that burns 20 ms holds everybody for that long: longer than 10 ms."""
    server = serve(design, small.root, slow_us=20_000)
    with client(server.address) as c:
        assert c.ask("/1k.bin").status == 200
        assert c.ask("/slow/1k.bin").status == 200
        assert c.ask("/1k.bin").status == 200  # the turn before it has ended
    counters = server.counters()
    assert counters["turns_over_100us"] >= counters["turns_over_1ms"] >= counters["turns_over_10ms"] >= 1
    assert counters["turn_max_us"] >= 20_000
    assert counters["turns_over_10ms"] <= counters["getevents"]


def test_the_longest_turn_of_several_processes_is_the_longest_of_one(serve, small, client):
    server = serve("prefork", small.root, workers=2, slow_us=20_000)
    for _ in range(4):
        with client(server.address) as c:
            assert c.ask("/slow/1k.bin").status == 200
            assert c.ask("/1k.bin").status == 200
    assert server.stop() == 0
    longest = [worker["turn_max_us"] for worker in server.workers()]
    assert server.counters()["turn_max_us"] == max(longest) >= 20_000


def test_the_longest_turn_can_be_forgotten_while_the_server_runs(serve, small, client):
    server = serve("prefork", small.root, workers=2, slow_us=20_000)
    with client(server.address) as c:
        assert c.ask("/slow/1k.bin").status == 200
        assert c.ask("/1k.bin").status == 200
    before = server.counters()
    server._counters.forget_longest()
    after = server.counters()
    assert before["turn_max_us"] >= 20_000 > after["turn_max_us"]
    assert after["replies"] >= before["replies"] >= 1


@pytest.mark.parametrize("engine", ["plain", "pool"])
def test_every_lazy_call_is_counted_on_its_path(serve, small, client, engine):
    server = serve("lazy", small.root, engine=engine)
    with client(server.address) as c:
        for _ in range(10):
            assert c.ask("/1k.bin").status == 200
    assert server.stop() == 0
    counters = server.counters()
    paths = {name: counters[f"lazy_{name}"] for name in LAIO_PATHS}
    assert sum(paths.values()) == counters["lazy_calls"] >= 10
    assert paths["inline" if engine == "plain" else "helper"] == counters["lazy_calls"]


@pytest.fixture
def cold_trace(tmp_path_factory):
    trace = filesets.trace_like(
        tmp_path_factory.mktemp("filesets"), "rice-like", 4 * traces.LEAST_FOOTPRINT_BYTES
    )
    for file in trace.files:
        pagecache.evict(trace.on_disk(file))
    return trace


def threads(server):
    return len(os.listdir(f"/proc/{server.pid}/task"))


@pytest.mark.parametrize("words", [{"engine": "activation", "watch": "adaptive"}, {"engine": "nowait"}])
def test_a_server_whose_files_are_in_memory_stays_one_thread(serve, small, client, words):
    (small.root / "1k.bin").read_bytes()
    server = serve("lazy", small.root, **words)
    with client(server.address) as c:
        for _ in range(100):
            assert c.ask("/1k.bin").status == 200
    assert threads(server) == 1
    assert server.stop() == 0
    assert server.counters()["lazy_hit"] == server.counters()["lazy_calls"] >= 100


@pytest.mark.parametrize("reads", ["lazy", "begun"])
@pytest.mark.parametrize(
    ("engine", "network"),
    [
        *((e, n) for e in ("activation", "uring", "nowait") for n in ("nonblocking", "lazy")),
        ("plain", "nonblocking"),
    ],
)
def test_what_is_not_in_memory_comes_whole(cold_trace, engine, network, reads):
    """Reads that are begun first, and looked at again, bring every byte; those of many clients wait for one another."""
    if reason := servers.unavailable().get(engine):
        pytest.skip(reason)
    words = {"engine": engine, "network": network, "reads": reads, "backlog": 1024, "lazy_threads": 300}
    with servers.Server("lazy", root=cold_trace.root, **words) as server:
        at = f"{server.address[0]}:{server.address[1]}"
        load = [servers.binary("load"), "--connect", at, "--files", cold_trace.manifest, "--mode", "closed"]
        done = run([*load, "--clients", 256, "--timeout-ms", 60_000, "--duration-s", 0.8], 60)
        assert done.returncode == 0, done.stderr
        counters = server.counters()
    report = json.loads(done.stdout)
    assert report["replies"] > 256
    assert report["bodies_mismatched"] == report["lengths_mismatched"] == report["replies_not_200"] == 0
    assert report["replies_timed_out"] == 0
    assert counters["lazy_calls"] > counters["lazy_in_progress"]
    assert (counters["lazy_in_progress"] > 0) == (engine != "plain")


@pytest.mark.parametrize("engine", ["amped", "pool", "posix-aio", "linux-aio"])
def test_who_cannot_begin_reads_says_so(small, engine):
    words = [servers.binary("lazy"), "--listen", "127.0.0.1:0", "--root", small.root]
    done = run([*words, "--engine", engine, "--reads", "begun"], 10)
    assert done.returncode == 2
    assert done.stderr == (
        f"lazy: --reads begun wants --engine activation, uring, nowait or plain, not {engine}\n"
    )


@pytest.mark.parametrize("engine", ["activation", "nowait", "pool"])
def test_a_lazy_network_has_its_threads_at_once(serve, small, client, engine):
    server = serve("lazy", small.root, engine=engine, network="lazy", lazy_threads=8)
    assert threads(server) == 1 + 8
    with client(server.address) as c:
        for _ in range(20):
            assert c.ask("/1k.bin").status == 200
    assert server.stop() == 0
    assert server.counters()["lazy_calls"] > 20


def test_amped_has_as_many_processes_as_are_asked_for(serve, small, client):
    server = serve("lazy", small.root, engine="amped", lazy_processes=7)
    with client(server.address) as c:
        assert c.ask("/1k.bin").status == 200
    assert len(Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()) == 7
    assert server.stop() == 0
