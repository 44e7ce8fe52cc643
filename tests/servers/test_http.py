"""HTTP as every design speaks it, byte by byte over raw sockets (RFC 9110, RFC 9112)."""

import email.utils
import os
import socket
import time

import pytest

GET = "GET /1k.bin HTTP/1.1\r\nHost: test\r\n\r\n"


@pytest.fixture
def server(serve, design, small):
    return serve(design, small.root, header_timeout_ms=400, idle_timeout_ms=600)


@pytest.fixture
def body(small):
    return small.on_disk(small.files[0]).read_bytes()


def test_get(server, client, small, body):
    with client(server.address) as c:
        reply = c.ask("/1k.bin")
    assert (reply.status, reply.version, reply.body) == (200, "HTTP/1.1", body)
    assert reply.fields["content-length"] == "1024"
    assert "/" in reply.fields["content-type"]
    now = email.utils.parsedate_to_datetime(reply.fields["date"]).timestamp()
    assert abs(now - time.time()) < 5
    modified = email.utils.parsedate_to_datetime(reply.fields["last-modified"]).timestamp()
    assert modified == int(small.on_disk(small.files[0]).stat().st_mtime)
    assert reply.fields["last-modified"].endswith(" GMT")


def test_head_is_get_without_a_body(server, client):
    with client(server.address) as c:
        head, get = c.ask("/1k.bin", method="HEAD"), c.ask("/1k.bin")
    for name in ("content-length", "content-type", "last-modified"):
        assert head.fields[name] == get.fields[name]


@pytest.mark.parametrize(
    ("version", "field", "stays"),
    [
        ("1.1", "X: y", True),
        ("1.1", "Connection: close", False),
        ("1.1", "connection: foo, CLOSE", False),
        ("1.0", "X: y", False),
        ("1.0", "Connection: keep-alive", True),
    ],
)
def test_who_stays_connected(server, client, body, version, field, stays):
    with client(server.address) as c:
        assert c.ask("/1k.bin", field, version=version).body == body
        if stays:
            assert c.ask("/1k.bin", field, version=version).body == body
        else:
            assert c.ended()


def test_pipelined_requests_are_answered_in_order(server, client, body):
    with client(server.address) as c:
        c.send((GET + "GET /none HTTP/1.1\r\nHost: test\r\n\r\n") * 20 + GET.replace("GET", "HEAD") + GET)
        for _ in range(20):
            assert c.reply().body == body
            assert c.reply().status == 404
        assert c.reply(head=True).status == 200
        assert c.reply().body == body


def test_a_request_may_come_byte_by_byte(server, client, body):
    with client(server.address) as c:
        c.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in GET.encode():
            c.send(bytes([byte]))
        assert c.reply().body == body


def test_conditional_requests(server, client):
    with client(server.address) as c:
        modified = c.ask("/1k.bin").fields["last-modified"]
        same = c.ask("/1k.bin", f"If-Modified-Since: {modified}")
        assert (same.status, same.body) == (304, b"")
        assert c.ask("/1k.bin", "If-Modified-Since: Thu, 01 Jan 1970 00:00:01 GMT").status == 200
        assert c.ask("/1k.bin", "If-Modified-Since: yesterday").status == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ("nonsense\r\n\r\n", 400),
        ("GET /1k.bin HTTP/1.1\r\n\r\n", 400),  # 1.1 without Host
        ("GET /1k.bin HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET /1k.bin HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        ("GET /1k.bin HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
        ("GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /a%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /none HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("DELETE /1k.bin HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("POST /1k.bin HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 405),
        (f"GET /{'a' * 5000} HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (f"GET /1k.bin HTTP/1.1\r\nHost: a\r\nX: {'a' * 9000}\r\n\r\n", 431),
        ("GET /1k.bin HTTP/1.1\r\nHost: a\r\n" + "X: y\r\n" * 200 + "\r\n", 431),
        ("BREW /1k.bin HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        ("GET /1k.bin HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("GET /1k.bin HTTP/0.9\r\nHost: a\r\n\r\n", 505),
    ],
)
def test_refusals(server, client, request_, status):
    with client(server.address) as c:
        c.send(request_)
        assert c.reply().status == status
    with client(server.address) as c:  # and it serves on
        assert c.ask("/1k.bin").status == 200


@pytest.mark.parametrize("dots", ["..", "%2e%2e", ".%2E", "%2e."])
@pytest.mark.parametrize("prefix", ["", "/dir", "/1k.bin"])
def test_no_path_leads_out(serve, design, client, tmp_path, dots, prefix):
    root = tmp_path / "root"
    (root / "dir").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    server = serve(design, root)
    for path in (f"{prefix}/{dots}/secret", f"{prefix}/{dots}/{dots}/secret", f"{prefix}/{dots}%2fsecret"):
        with client(server.address) as c:
            reply = c.ask(path)
            assert reply.status in {400, 404}
            assert b"secret" not in reply.body


def test_no_link_leads_out(serve, design, client, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_text("secret")
    (root / "inside").write_text("inside")
    (root / "link").symlink_to("../secret")
    (root / "absolute").symlink_to(tmp_path / "secret")
    (root / "folder").symlink_to(tmp_path)
    os.mkfifo(root / "fifo")
    server = serve(design, root)
    with client(server.address) as c:
        assert c.ask("/inside").body == b"inside"
        for path in ("/link", "/absolute", "/folder/secret", "/fifo", "/%2e%2e/secret"):
            reply = c.ask(path)
            assert reply.status in {400, 403, 404}
            assert b"secret" not in reply.body
            if reply.fields.get("connection") == "close":
                break


def test_slow_paths_cost_cpu_and_serve_the_same(serve, design, small, client, body):
    server = serve(design, small.root, slow_us=20_000)

    def cpu_s():
        return time.clock_gettime((~server.pid << 3) | 2)

    with client(server.address) as c:
        begin = cpu_s()
        assert c.ask("/1k.bin").body == body
        quick = cpu_s() - begin
        assert c.ask("/slow/1k.bin").body == body
        slow = cpu_s() - begin - quick
    assert quick < 0.02 <= slow * 1.05


def test_an_unfinished_request_is_ended(server, client):
    with client(server.address) as c:
        c.send("GET /1k.bin HT")
        begin = time.monotonic()
        if c.socket.recv(1, socket.MSG_PEEK):
            assert c.reply().status == 408
        assert c.ended()
        assert 0.2 < time.monotonic() - begin < 4
    assert server.counters()["timeouts"] == 1


def test_an_idle_connection_is_ended(server, client):
    with client(server.address) as c:
        assert c.ask("/1k.bin").status == 200
        assert c.ended()
    assert server.counters()["timeouts"] == 1


@pytest.mark.parametrize("reset", [False, True])
def test_clients_that_vanish_at_any_byte_are_survived(server, client, eventually, body, reset):
    for length in range(len(GET)):
        with client(server.address) as c:
            if reset:  # SO_LINGER with no time: close(2) sends a reset
                c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            c.send(GET[:length])
    with client(server.address) as c:
        assert c.ask("/1k.bin").body == body
    eventually(lambda: server.counters()["connections_open"] == 0)
    assert server.alive()


def test_a_client_that_stops_reading_holds_nobody_up(serve, design, specweb, client):
    largest = max(specweb.files, key=lambda file: file.bytes)
    server = serve(design, specweb.root)
    with client(server.address) as stuck, client(server.address) as c:
        stuck.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        for _ in range(20):
            stuck.send(f"GET {largest.path} HTTP/1.1\r\nHost: test\r\n\r\n")
        content = specweb.on_disk(largest).read_bytes()
        assert c.ask(largest.path).body == content
        assert stuck.reply().body == content  # and what it waited for is whole


def test_floor_answers_everything_alike(serve, tmp_path, client):
    server = serve("floor", tmp_path, floor_bytes=100)
    with client(server.address) as c:
        c.send("GET /anything HTTP/1.1\r\n\r\n" * 5 + "GET / HT")
        replies = [c.reply() for _ in range(5)]
        c.send("TP/1.1\r\n\r")
        c.send("\n")
        replies.append(c.reply())
    assert {(reply.status, reply.body) for reply in replies} == {(200, b"x" * 100)}
    server = serve("floor", tmp_path, close_after_reply=True)
    with client(server.address) as c:
        assert c.ask("/").fields["connection"] == "close"
        assert c.ended()
