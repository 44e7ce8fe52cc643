"""Paths between two ends: what a lab with a switch looks like, and what ends are told."""

from pathlib import Path

import pytest

from retrospective.lab import stacks
from retrospective.lab.holder import ADDRESS, CLIENT, SERVER
from retrospective.lab.hosts import Lab
from retrospective.lab.session import Rejected
from retrospective.lab.stacks import FAR, KERNEL, LOOPBACK, NEAR, OURS, SWITCH, VETH, Crossing, Tuning


def test_both_stacks_are_told_the_same_window():
    tuning = Tuning("reno", window_bytes=1 << 20, tick_us=10, min_rto_us=1000)
    words = dict(word.split("=", 1) for word in tuning.words(OURS, "switch:/s", "10.0.0.2").split(","))
    assert words == {
        "attach": "switch:/s",
        "address": "10.0.0.2/16",
        "tick-us": "10",
        "min-rto-us": "1000",
        "congestion": "reno",
        "send-bytes": str(1 << 20),
        "receive-bytes": str(1 << 20),
    }
    # What the kernel counts is memory, of which a part is payload.
    assert tuning.sysctls()["net/ipv4/tcp_rmem"].split()[-1] == str((1 << 20) * 8 // 5)
    assert Tuning().sysctls() == {}
    assert Tuning().words("lwip", "switch:/s", "10.0.0.2") == "attach=switch:/s,address=10.0.0.2/16"


@pytest.mark.parametrize(
    ("path", "near", "far", "impair", "said"),
    [
        ("tunnel", KERNEL, KERNEL, {}, "no path"),
        (LOOPBACK, OURS, OURS, {}, "on the switch, not on loopback"),
        (SWITCH, KERNEL, OURS, {}, "the far one"),
        (VETH, KERNEL, KERNEL, {"loss": 0.1}, "nothing impairs veth"),
    ],
)
def test_what_cannot_be(path, near, far, impair, said):
    with pytest.raises(ValueError, match=said):
        Crossing(path, near, far, Tuning(), impair=impair)


@pytest.mark.usefixtures("can_lab")
def test_a_kernel_is_told_its_memory():
    with Lab(sysctls=Tuning(window_bytes=1 << 20).sysctls()) as lab:
        for side in (SERVER, CLIENT):
            assert lab.read(side, "/proc/sys/net/ipv4/tcp_wmem").split()[-1] == str((1 << 20) * 8 // 5)


@pytest.mark.usefixtures("can_lab")
@pytest.mark.parametrize(("behind", "far"), [(None, True), ("kernel", False), ("ports", False)])
def test_nothing_goes_around_a_switch(behind, far):
    """Where a switch is to be, and is none, the two kernels do not reach one another."""
    with Lab(behind=behind, offloads=False, checksums=False) as lab:
        if behind == "ports":
            interfaces = {
                line.split(":")[0].strip() for line in lab.read(CLIENT, "/proc/net/dev").splitlines()[2:]
            }
            assert "lab1" not in interfaces
        with lab.socket(CLIENT) as listener, lab.socket(SERVER) as peer:
            listener.bind(("0.0.0.0", 5001))
            listener.listen()
            peer.settimeout(0.3)
            try:
                peer.connect((ADDRESS[CLIENT], 5001))
                reached = True
            except OSError:
                reached = False
    assert reached == far


def test_a_lab_behind_nothing_known_is_refused():
    with pytest.raises(ValueError, match="ports or kernel"):
        Lab(behind="mirror")


@pytest.mark.usefixtures("can_lab")
@pytest.mark.parametrize(
    ("far", "options", "told"),
    [
        (OURS, {}, str(stacks.SPIN_US)),
        (OURS, {"spin_us": 0}, "0"),
        (OURS, {"impair": {"loss": 0.1}}, None),
        (KERNEL, {}, None),
    ],
)
def test_a_switch_waits_awake_only_for_stacks_that_nothing_delays(far, options, told):
    with Crossing(SWITCH, OURS, far, Tuning(), **options) as crossing:
        words = Path(f"/proc/{crossing.switch.process.pid}/cmdline").read_text().split("\0")
    found = words[words.index("--spin-us") + 1] if "--spin-us" in words else None
    assert found == told


@pytest.mark.usefixtures("can_lab")
def test_a_program_that_does_not_begin_says_why():
    with (
        Crossing(LOOPBACK, KERNEL, KERNEL, Tuning()) as crossing,
        pytest.raises(Rejected, match=r"code 2: .*--role") as told,
    ):
        crossing.start(NEAR, "traffic", {"listen": "127.0.0.1:5001"}).ready()
    assert told.value.status == "failed"


@pytest.mark.usefixtures("can_lab")
def test_a_program_that_is_not_here_is_unavailable(monkeypatch):
    monkeypatch.setattr(stacks, "absent", lambda name: f"{name}: make system")
    with (
        Crossing(LOOPBACK, KERNEL, KERNEL, Tuning()) as crossing,
        pytest.raises(Rejected, match="make system") as told,
    ):
        crossing.start(FAR, "traffic", {})
    assert told.value.status == "unavailable"


@pytest.mark.usefixtures("can_lab")
def test_what_a_program_says_is_read_by_the_line_and_its_ledger_at_the_end():
    with Lab() as lab:
        script = "echo ready; echo '{\"a\": 1}'; echo frames 12; echo port.10.0.0.2.frames_in 3; echo words of no count"
        talker = stacks.Talker(lab, "it", CLIENT, ["sh", "-c", script], cpu=None)
        try:
            talker.ready()
            assert talker.line(5.0) == '{"a": 1}'
            assert talker.process.wait(5.0) is not None  # or its last words would be cut off
            talker.end()
            assert talker.ledger() == {"frames": 12, "port.10.0.0.2.frames_in": 3}
            assert talker.line(0.1) is None
        finally:
            talker.close()
