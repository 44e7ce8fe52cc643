"""The profiler finds what is known: shares of a program that spends its time by plan; and the sources of functions."""

import os
import subprocess

import pytest

import servers
from retrospective.lab import sampling
from retrospective.lab.sampling import Place, category_of


@pytest.fixture(scope="module")
def profile(release, tmp_path_factory):
    file = tmp_path_factory.mktemp("samples") / "samples"
    program = servers.test_program("sampled", "release")
    subprocess.run([program, "1.2"], env=os.environ | {sampling.VARIABLE: str(file)}, check=True, timeout=60)
    return sampling.read(file)


def test_shares_are_those_of_the_plan(profile):
    """A share of n samples errs by sqrt(p (1 - p) / n): with 120, at HZ=100, by 0.05; the bound is 3 of these."""
    assert profile.cpu_s == pytest.approx(1.2, rel=0.3)
    assert profile.samples >= 80
    assert profile.lost == 0

    def kind(place, kernel_sockets):
        if place.in_kernel:
            return "kernel"
        if place.function in ("memcpy", "memmove", "copies"):
            return "copies"
        return place.function

    found = sampling.shares(profile, kind)
    assert found["burns"] == pytest.approx(0.5, abs=0.15)
    assert found["copies"] == pytest.approx(0.3, abs=0.14)
    assert found["kernel"] == pytest.approx(0.2, abs=0.12)
    assert sum(found.values()) == pytest.approx(1)


def test_static_functions_and_their_files_are_known(profile):
    burns = [place for place in profile.places if place.function == "burns"]
    assert {place.file for place in burns} == {"tests/sampled.c"}


def test_functions_of_the_stack_lead_to_their_sources(release):
    """Whatever the compiler has inlined: those that others call are there, and so are static ones."""
    symbols = sampling._symbols(str(servers.binary("epoll-user")))
    assert symbols.exact
    files = {
        name: sampling._source(name, file, symbols.units)
        for name, file in zip(symbols.names, symbols.files, strict=True)
    }
    assert files["stack_input"] == "userstack/ethernet.c"
    assert files["tcp_output"] == "userstack/tcp_output.c"
    assert files["sum_bytes"] == "userstack/checksum.c"
    assert files["tp_recv"] == "userstack/transport_user.c"
    assert files["http_parse"] == "common/http.c"
    assert files["main"] == "events/epoll.c"
    kernels = sampling._symbols(str(servers.binary("epoll")))
    assert sampling._source("tp_recv", "", kernels.units) == "common/transport_kernel.c"


@pytest.mark.parametrize(
    ("place", "kernel_sockets", "category"),
    [
        (Place("epoll", "recv", "", True), True, "kernel"),
        (Place("epoll-user", "epoll_pwait2", "", True), False, "crossings"),
        (Place("epoll-user", "input", "userstack/attach_switch.c", False), False, "crossings"),
        (Place("epoll-user", "ipv4_input", "userstack/ipv4.c", False), False, "parse"),
        (Place("epoll-user", "tcp_take_ack", "userstack/tcp_ack.c", False), False, "tcp"),
        (Place("epoll-user", "start", "timers/wheel.c", False), False, "timers"),
        (Place("[vdso]", "__vdso_clock_gettime", "", False), False, "timers"),
        (Place("epoll-user", "stream_copy", "userstack/stream.c", False), False, "copies"),
        (Place("libc.so.6", "memcpy", "", False), False, "copies"),
        (Place("epoll-user", "http_parse", "common/http.c", False), False, "application"),
        (Place("epoll-lwip", "http_parse", "common/http.c", False), False, "application"),
        (Place("epoll-lwip", "output", "userstack/lwip/netif_attach.c", False), False, "crossings"),
        (Place("liblwip.so.0", "tcp_receive", "", False), False, "tcp"),
        (Place("liblwip.so.0", "inet_chksum", "", False), False, "copies"),
    ],
)
def test_categories(place, kernel_sockets, category):
    assert category_of(place, kernel_sockets) == category


def test_what_holds_no_samples_is_said(tmp_path):
    file = tmp_path / "samples"
    file.write_text("")
    with pytest.raises(ValueError, match="did the program end by itself"):
        sampling.read(file)
