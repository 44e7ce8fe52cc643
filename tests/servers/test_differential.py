"""The whole file set: every design and every peer send the same bytes under the same length."""

import contextlib
import socket
import subprocess
import zlib

import pytest

from retrospective.lab.peers import PEERS


def fetch_all(client, address, specweb):
    """Every file once on one connection, five requests ahead; path -> (length, CRC-32, Content-Type is there)."""
    got = {}
    with client(address) as c:
        waiting = list(specweb.files)
        asked = []
        while waiting or asked:
            while waiting and len(asked) < 5:
                file = waiting.pop()
                c.send(f"GET {file.path} HTTP/1.1\r\nHost: test\r\n\r\n")
                asked.append(file)
            file = asked.pop(0)
            reply = c.reply()
            assert reply.status == 200
            length = int(reply.fields["content-length"])
            got[file.path] = length, zlib.crc32(reply.body), "content-type" in reply.fields
    return got


@contextlib.contextmanager
def running(peer, root, scratch, eventually, prefix=()):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = probe.getsockname()

    def answers():
        with contextlib.suppress(OSError), socket.create_connection(address, 1):
            return True

    process = subprocess.Popen(
        [*prefix, *peer.command(root, f"{address[0]}:{address[1]}", {}, scratch)], stderr=subprocess.DEVNULL
    )
    try:
        eventually(answers)
        yield address
    finally:
        process.terminate()
        process.wait(10)


def test_designs_send_what_the_manifest_says(serve, design, specweb, client):
    wanted = {file.path: (file.bytes, file.crc32, True) for file in specweb.files}
    assert fetch_all(client, serve(design, specweb.root).address, specweb) == wanted
    assert fetch_all(client, serve(design, specweb.root, file_cache_bytes=0).address, specweb) == wanted


@pytest.mark.parametrize("name", [*PEERS])
def test_peers_send_the_same(name, specweb, client, tmp_path, eventually):
    peer = PEERS[name]
    if peer.path() is None:
        pytest.skip(f"{name} is not installed; as root: make system")
    wanted = {file.path: (file.bytes, file.crc32, True) for file in specweb.files}
    with running(peer, specweb.root, tmp_path, eventually) as address:
        assert fetch_all(client, address, specweb) == wanted


def test_h2o_serves_as_root_of_a_user_namespace(specweb, client, tmp_path, eventually, monkeypatch):
    """In the lab it is root, and may not take on another's identity as it wants to."""
    prefix = ("unshare", "--user", "--map-root-user")
    if PEERS["h2o"].path() is None or subprocess.run([*prefix, "true"], capture_output=True).returncode != 0:
        pytest.skip("h2o is not installed, or no user namespace can be made; as root: make system")
    monkeypatch.setattr("retrospective.lab.peers._may_set_groups", lambda: False)
    with running(PEERS["h2o"], specweb.root, tmp_path, eventually, prefix) as address, client(address) as c:
        assert len(c.ask(specweb.files[0].path).body) == specweb.files[0].bytes


def test_what_a_request_is_answered_with_is_what_nginx_answers(
    serve, design, specweb, client, tmp_path, eventually
):
    """Status, length and connection of requests on which RFC 9112 leaves a server no choice."""
    if PEERS["nginx"].path() is None:
        pytest.skip("nginx is not installed; as root: make system")
    path = specweb.files[0].path
    cases = [
        (path, (), "GET", "1.1"),
        (path, (), "HEAD", "1.1"),
        (path, (), "GET", "1.0"),
        (path, ("Connection: keep-alive",), "GET", "1.0"),
        (path, ("Connection: close",), "GET", "1.1"),
        (f"{path}?query=1", (), "GET", "1.1"),
        (f"/.{path}", (), "GET", "1.1"),
        (f"/dir00000/../{path}", (), "GET", "1.1"),
        (path.replace("class", "%63lass"), (), "GET", "1.1"),
        ("/none", (), "GET", "1.1"),
        (path, ("If-Modified-Since: Thu, 01 Jan 1970 00:00:01 GMT",), "GET", "1.1"),
        (path, (), "POST", "1.1"),
    ]

    def answers(address):
        seen = []
        for target, fields, method, version in cases:
            with client(address) as c:
                reply = c.ask(target, *fields, method=method, version=version)
                length = reply.fields["content-length"] if reply.status == 200 else None
                seen.append((reply.status, length, reply.fields.get("connection", "").lower() == "close"))
        return seen

    with running(PEERS["nginx"], specweb.root, tmp_path, eventually) as address:
        theirs = answers(address)
    ours = answers(serve(design, specweb.root).address)
    for case, one, other in zip(cases, ours, theirs, strict=True):
        assert one[:2] == other[:2], case
        if one[0] == 200:
            assert one[2] == other[2], case
