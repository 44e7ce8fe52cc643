"""Clients that others wrote run cleanly against every design, *floor* too."""

import re
import shutil
import subprocess
import zlib

import pytest

import servers


@pytest.fixture(params=[*servers.designs()])
def server(request, serve, small):
    return serve(request.param, small.root)


def run(*command):
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed; as root: make system")
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def url(server):
    return f"http://{server.address[0]}:{server.address[1]}/1k.bin"


def number(pattern, text):
    return float(re.search(pattern, text)[1])


def clean(server):
    counters = server.counters()
    assert counters["replies_4xx"] == counters["replies_5xx"] == 0
    assert counters["accept_errors"] == 0
    assert server.stop() == 0
    assert server.log == ""


def test_curl(server, small, tmp_path):
    target = tmp_path / "body"
    for options in ([], ["--http1.0"], ["--header", "Connection: close"]):
        run("curl", "--silent", "--show-error", "--fail", *options, "--output", target, url(server))
        body = target.read_bytes()
        right = b"x" * 1024 if server.design == "floor" else small.on_disk(small.files[0]).read_bytes()
        assert zlib.crc32(body) == zlib.crc32(right)
    clean(server)


def test_wrk(server):
    text = run("wrk", "--threads", "1", "--connections", "32", "--duration", "1s", url(server))
    assert number(r"(\d+) requests in", text) > 100
    assert "Non-2xx" not in text
    assert "Socket errors" not in text
    clean(server)


@pytest.mark.parametrize("calls", [1, 10])
def test_httperf(server, calls):
    text = run(
        *("httperf", "--server", server.address[0], "--port", server.address[1], "--uri", "/1k.bin"),
        *("--num-conns", 200, "--rate", 400, "--num-calls", calls, "--timeout", 5),
    )
    assert number(r"Errors: total (\d+)", text) == 0
    assert number(r"Reply status:.*2xx=(\d+)", text) == 200 * calls
    clean(server)


@pytest.mark.parametrize("keep_alive", [[], ["-k"]])
def test_ab(server, serve, small, keep_alive):
    if server.design == "floor" and not keep_alive:  # without -k ab waits for the server to close
        server = serve("floor", small.root, close_after_reply=True)
    text = run("ab", "-s", 5, "-n", 1000, "-c", 16, *keep_alive, url(server))
    assert number(r"Complete requests: +(\d+)", text) == 1000
    assert number(r"Failed requests: +(\d+)", text) == 0
    assert "Non-2xx" not in text
    if keep_alive:
        assert number(r"Keep-Alive requests: +(\d+)", text) == 1000
    clean(server)


def test_h2load(server):
    text = run("h2load", "--h1", "--requests", 2000, "--clients", 16, url(server))
    assert number(r"requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded", text) == 2000
    clean(server)
