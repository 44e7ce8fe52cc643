"""Several processes on one port: every way of sharing it serves, counts, drains and fails as one server."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pytest

import servers
from servers._server import Counters

SHARING = ("shared", "exclusive", "reuseport")
WORKERS = 3


@pytest.fixture(params=SHARING)
def sharing(request):
    """Every way of sharing, in turn."""
    return request.param


def children(pid):
    tasks = Path(f"/proc/{pid}/task")
    return [int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()]


def state(pid):
    """A process's state, one letter of proc(5); X if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def alive(pid):
    return state(pid) not in "ZX"


def sleeps(pid):
    """Times that a process has gone to sleep so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("voluntary_ctxt_switches:")[1].split()[0])


def test_all_requests_are_served_and_counted_by_worker(serve, specweb, client, sharing, eventually):
    server = serve("prefork", specweb.root, workers=WORKERS, sharing=sharing)
    assert len(children(server.pid)) == WORKERS - 1
    small = [file for file in specweb.files if file.bytes < 20_000]
    clients = [client(server.address) for _ in range(60)]
    for one, file in zip(clients, small * 60, strict=False):
        reply = one.ask(file.path)
        assert (reply.status, reply.body) == (200, specweb.on_disk(file).read_bytes())
    eventually(lambda: server.counters()["replies"] == 60)
    workers = server.workers()
    assert len(workers) == WORKERS
    total = server.counters()
    sums = total.keys() - {"turn_max_us"}  # which is the longest of any
    assert all(total[name] == sum(worker[name] for worker in workers) for name in sums)
    assert (total["accepts"], total["requests"], total["connections_open"]) == (60, 60, 60)
    # Connections stay with the worker that accepted them.
    assert [worker["requests"] for worker in workers] == [worker["accepts"] for worker in workers]
    for one in clients:
        one.socket.close()
    eventually(lambda: server.counters()["closes"] == 60)
    assert server.stop() == 0
    assert server.log == ""
    assert [worker["accepts"] for worker in server.workers()] == [worker["accepts"] for worker in workers]


def test_all_run_on_the_cpu_that_is_named(serve, small, sharing):
    cpu = max(os.sched_getaffinity(0))
    server = serve("prefork", small.root, workers=WORKERS, sharing=sharing, cpu=cpu)
    for pid in (server.pid, *children(server.pid)):
        assert os.sched_getaffinity(pid) == {cpu}


def test_reuseport_deals_connections_out_to_all(serve, small, client, eventually):
    """By a hash of the addresses, here of 150 source ports: a worker without any would be a wonder."""
    server = serve("prefork", small.root, workers=WORKERS, sharing="reuseport")
    for _ in range(150):
        with client(server.address) as one:
            assert one.ask("/1k.bin").status == 200
    eventually(lambda: server.counters()["replies"] == 150)
    accepts = [worker["accepts"] for worker in server.workers()]
    assert sum(accepts) == 150
    assert min(accepts) > 10, accepts


@pytest.mark.parametrize(("sharing", "all_wake"), [("shared", True), ("exclusive", False)])
def test_who_wakes(serve, small, client, eventually, sharing, all_wake):
    """A connection wakes all workers that sleep, or with EPOLLEXCLUSIVE one.

    A worker that is woken goes to sleep again, which the kernel counts. Besides it wakes twice a second.
    """
    connections = 100
    server = serve("prefork", small.root, workers=WORKERS, sharing=sharing)
    pids = [server.pid, *children(server.pid)]
    everybody_sleeps = lambda: all(state(pid) == "S" for pid in pids)  # noqa: E731
    eventually(lambda: all(worker["getevents"] >= 2 for worker in server.workers()))
    eventually(everybody_sleeps)
    before = [sleeps(pid) for pid in pids]
    for number in range(connections):
        with client(server.address) as one:
            assert one.ask("/1k.bin").status == 200
        eventually(lambda number=number: server.counters()["closes"] == number + 1)
        eventually(everybody_sleeps)
    slept = sorted(sleeps(pid) - begin for pid, begin in zip(pids, before, strict=True))
    if all_wake:
        assert slept[0] >= connections, slept
    else:
        assert slept[1] < connections / 2, slept
        assert server.counters()["accept_phases_empty"] == 0


@pytest.mark.parametrize("sharing", ["shared", "exclusive"])
def test_a_worker_that_sleeps_in_a_request_holds_up_nobody_else(serve, small, client, eventually, sharing):
    server = serve("prefork", small.root, workers=2, sharing=sharing, slow_sleeps=True, slow_us=2_500_000)
    with client(server.address, 30.0) as slow:
        slow.send("GET /slow/1k.bin HTTP/1.1\r\nHost: test\r\n\r\n")
        eventually(lambda: server.counters()["blocked_calls"] == 1)
        for _ in range(20):
            with client(server.address) as fast:
                assert fast.ask("/1k.bin").status == 200
        eventually(lambda: server.counters()["replies"] == 20)
        assert sorted(worker["accepts"] for worker in server.workers()) == [1, 20]
        assert slow.reply().status == 200


def test_sigterm_ends_all_after_their_replies(serve, specweb, client, sharing, eventually):
    largest = max(specweb.files, key=lambda file: file.bytes)
    server = serve("prefork", specweb.root, workers=WORKERS, sharing=sharing)
    pids = children(server.pid)
    clients = [client(server.address) for _ in range(30)]
    for one in clients:
        one.send(f"GET {largest.path} HTTP/1.1\r\nHost: test\r\n\r\n")
    eventually(lambda: server.counters()["requests"] == 30)
    os.kill(server.pid, signal.SIGTERM)
    for one in clients:
        assert one.reply().body == specweb.on_disk(largest).read_bytes()
    assert server.stop() == 0
    assert not any(alive(pid) for pid in pids)
    assert server.log == ""
    with pytest.raises(ConnectionRefusedError):
        client(server.address)


@pytest.mark.parametrize("sharing", ["shared", "exclusive"])
def test_a_worker_that_drains_hears_no_more_of_a_listener_that_another_holds(
    serve, specweb, client, eventually, sharing
):
    """While the child is stopped, the kernel still takes connections to the listener that both have."""
    largest = max(specweb.files, key=lambda file: file.bytes)
    server = serve("prefork", specweb.root, workers=2, sharing=sharing)
    (child,) = children(server.pid)
    eventually(lambda: server.workers()[1]["getevents"] > 0)
    os.kill(child, signal.SIGSTOP)
    eventually(lambda: state(child) == "T")
    with client(server.address) as busy, client(server.address) as idle:
        busy.send(f"GET {largest.path} HTTP/1.1\r\nHost: test\r\n\r\n" * 20)  # more than sockets hold
        assert idle.ask(specweb.files[0].path).status == 200
        os.kill(server.pid, signal.SIGTERM)
        assert idle.ended()  # so it drains
        with client(server.address) as late:
            late.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            assert busy.reply().body == specweb.on_disk(largest).read_bytes()
            with contextlib.suppress(ConnectionResetError):  # what it asked besides is not answered
                while busy.socket.recv(1 << 20):
                    pass
            os.kill(child, signal.SIGCONT)
            assert server.stop() == 0
    assert (server.counters()["accepts"], server.counters()["closes"]) == (2, 2)
    assert server.log == ""


def test_an_interrupt_of_the_whole_group_ends_it_in_peace(small, sharing):
    """As Ctrl-C does: the children are told twice, and may end before their parent has noticed."""
    for _ in range(5):
        program = [str(servers.binary("prefork")), "--listen", "127.0.0.1:0", "--root", str(small.root)]
        group = subprocess.Popen(
            [*program, "--workers", "3", "--sharing", sharing],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert group.stdout.readline().startswith("listening ")
        os.killpg(group.pid, signal.SIGINT)
        _, said = group.communicate(timeout=10)
        assert (group.returncode, said) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_that_ends_ends_the_server(small, sharing, number, eventually):
    server = servers.Server("prefork", root=small.root, workers=WORKERS, sharing=sharing).start()
    try:
        first, second = children(server.pid)
        os.kill(first, number)
        eventually(lambda: not server.alive())
        assert server.stop() == 1
        how = "was ended by signal 9" if number == signal.SIGKILL else "ended with status 0"
        assert server.log == f"prefork: the worker with process id {first} {how}\n"
        assert not alive(first)
        assert not alive(second)
    finally:
        server.kill()


def test_no_child_outlives_a_killed_parent(small, sharing, eventually):
    server = servers.Server("prefork", root=small.root, workers=WORKERS, sharing=sharing).start()
    pids = children(server.pid)
    assert len(pids) == WORKERS - 1
    server.kill()
    eventually(lambda: not any(alive(pid) for pid in pids))


def test_a_taken_port_is_refused(serve, small, sharing):
    """Also by reuseport, which the kernel would let join another server's port without a word."""
    for other in SHARING:
        server = serve("prefork", small.root, workers=2, sharing=other)
        refused = subprocess.run(
            [
                *(str(servers.binary("prefork")), "--root", str(small.root), "--workers", "2"),
                *("--sharing", sharing, "--listen", f"127.0.0.1:{server.address[1]}"),
            ],
            capture_output=True,
            text=True,
            timeout=10,
        )
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr == "prefork: cannot listen: Address already in use\n"


def test_it_drains_at_once_when_nobody_is_connected(serve, small, sharing):
    """Many times over, so that SIGTERM meets the workers wherever they are."""
    for _ in range(20):
        server = serve("prefork", small.root, workers=WORKERS, sharing=sharing)
        pids = children(server.pid)
        assert server.stop() == 0
        assert server.log == ""
        assert not any(alive(pid) for pid in pids)


def test_a_block_of_counters_that_is_not_whole_is_not_read():
    counters = Counters()
    try:
        assert counters.workers() == []
        assert counters.read() == {}
        block = b"NAICNT01" + (1).to_bytes(8, "little") + b"accepts".ljust(24, b"\0")
        whole = [block + number.to_bytes(8, "little") for number in (5, 7)]
        assert Counters.decode_workers(b"".join(whole)) == [{"accepts": 5}, {"accepts": 7}]
        assert Counters.decode(b"".join(whole)) == {"accepts": 12}
        assert Counters.decode_workers(whole[0] + block) == [{"accepts": 5}]
        assert Counters.decode_workers(whole[0] + b"\0" * len(whole[1])) == [{"accepts": 5}]
    finally:
        counters.close()
