"""The Python door: designs, builds, running servers, counters."""

import os
import subprocess
import sys
import time

import pytest

import servers


def test_designs_come_from_meson_s_table():
    designs = servers.designs()
    assert {"select", "epoll", "floor"} <= set(designs)
    assert all(source.is_file() for source in designs.values())


def test_an_unknown_design_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no design 'apache'.*select.*epoll.*floor"):
        servers.binary("apache")
    with pytest.raises(ValueError, match="no variant"):
        servers.build("fast")


def test_a_second_build_is_free_and_silent(release, capfd):
    begin = time.monotonic()
    for _ in range(20):
        assert servers.build("release") == release
    assert time.monotonic() - begin < 2
    assert capfd.readouterr() == ("", "")


def test_every_design_and_generator_is_built(release):
    for name in (*servers.designs(), *servers.GENERATORS):
        path = servers.binary(name)
        assert path.is_relative_to(release)
        assert len(servers.binary_hash(path)) == 64


def test_binaries_do_not_hold_the_place_of_their_sources(release):
    source = str(servers.designs()["epoll"].parent.parent).encode()
    assert source not in servers.binary("epoll").read_bytes()


def test_a_missing_compiler_is_said(tmp_path):
    environment = os.environ | {"NAI_BUILD_DIR": str(tmp_path), "CC": str(tmp_path / "no-such-cc")}
    program = "import servers\ntry: servers.build()\nexcept servers.BuildError as error: print(error)"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60
    )
    assert "no-such-cc" in done.stdout
    assert "make system" in done.stdout
    assert done.stderr == ""


def test_options_become_words():
    options = {
        "accept_limit": "inf",
        "close-after-reply": True,
        "work_us": 40,
        "rate": 20000.0,
        "cpu": None,
        "x": False,
    }
    assert servers.arguments(options) == [
        *("--accept-limit", "inf", "--close-after-reply", "--work-us", "40", "--rate", "20000"),
    ]


@pytest.mark.parametrize("name", [*servers.designs()])
def test_the_command_line(release, tmp_path, name):
    def run(*words):
        return subprocess.run([servers.binary(name), *words], capture_output=True, text=True, timeout=10)

    help_ = run("--help")
    assert help_.returncode == 0
    options = ("listen", "root", "backlog", "accept-limit", "work-us", "cpu", "congestion", "counters")
    assert all(f"--{option}" in help_.stdout for option in options)
    for words in (["--no-such"], ["--listen", "nowhere"], ["--listen", "127.0.0.1:0", "--backlog", "x"], []):
        bad = run(*words)
        assert bad.returncode == 2
        assert len(bad.stderr.strip().splitlines()) == 1, bad.stderr
        assert bad.stdout == ""
    refused = run(
        "--listen", "203.0.113.1:80", "--root", str(tmp_path)
    )  # an address that is not ours (RFC 5737)
    assert refused.returncode == 1
    assert "cannot listen" in refused.stderr


def test_a_server_that_cannot_start_says_why(release, tmp_path):
    with (
        pytest.raises(servers.ServerError, match="cannot open the folder"),
        servers.Server("epoll", root=tmp_path / "missing"),
    ):
        pass


def test_counters_are_live_and_stay(serve, small, client, design, eventually):
    server = serve(design, small.root)
    with client(server.address) as c:
        for _ in range(3):
            assert c.ask("/1k.bin").status == 200
        c.ask("/nothing")
        # The client may have a reply before the server has counted it.
        eventually(lambda: server.counters()["replies"] == 4)
        now = server.counters()
        assert now["accepts"] == now["connections_open"] == 1
        assert (now["requests"], now["replies"], now["replies_4xx"]) == (4, 4, 1)
        assert now["bytes_sent"] > 3 * 1024
        assert now["getevents"] >= 4
    assert server.stop() == 0
    assert server.counters()["closes"] == 1
    assert server.log == ""


def test_a_server_dies_with_the_process_that_started_it(release, small, eventually):
    program = (
        "import os, signal, sys, servers\n"
        f"server = servers.Server('epoll', root={str(small.root)!r}).start()\n"
        "print(server.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    pid = int(done.stdout)
    eventually(lambda: not os.path.exists(f"/proc/{pid}/exe"))
