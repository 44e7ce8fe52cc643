"""What Wireshark thinks of the user-level stack: captures of two of them on a simulated link, judged by tshark.

Its expert analysis follows every connection and verifies every checksum. Whatever it remarks upon that neither opens
nor closes a connection must be what the scenario itself did to it: each such remark is named below.
"""

import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

import servers

TSHARK = shutil.which("tshark")
pytestmark = pytest.mark.skipif(TSHARK is None, reason="tshark is not on PATH; as root: make system")

#: Severities of its expert items, in its own numbers; what is below a note is chat: SYN, FIN, a window update.
NOTE, WARNING, ERROR = 0x400000, 0x600000, 0x800000

CLOSES = {"This frame initiates the connection closing", "This frame undergoes the connection closing"}
#: What a receiver sees of loss and reordering, and what a sender does.
GAP = "Previous segment(s) not captured (common at capture start)"
OUT_OF_ORDER = "This frame is a (suspected) out-of-order segment"
RETRANSMISSION = "This frame is a (suspected) retransmission"
FAST = "This frame is a (suspected) fast retransmission"
DUPLICATE_ACK = "Duplicate ACK"

#: Scenario -> a display filter that must find something in it, and remarks that it is about, by the end that sees them.
SCENARIOS: dict[str, tuple[str, set[str], set[str]]] = {
    "orderly": ("tcp.len > 0", set(), set()),
    "loss": (
        "tcp.options.sack.count > 0",
        {RETRANSMISSION, FAST, OUT_OF_ORDER, DUPLICATE_ACK},
        {GAP, OUT_OF_ORDER, RETRANSMISSION, FAST, DUPLICATE_ACK},
    ),
    "reordering": (
        "tcp.options.sack.count > 0",
        {DUPLICATE_ACK},
        {GAP, OUT_OF_ORDER, DUPLICATE_ACK},
    ),
    "window": (
        "tcp.analysis.zero_window_probe",
        {"TCP window specified by the receiver is now completely full", "TCP Zero Window segment",
         "TCP Zero Window Probe", "ACK to a TCP Zero Window Probe"},
        {"TCP window specified by the receiver is now completely full", "TCP Zero Window segment",
         "TCP Zero Window Probe", "ACK to a TCP Zero Window Probe"},
    ),
    "keepalive": (
        "tcp.analysis.keep_alive",
        {"TCP keep-alive segment", "ACK to a TCP keep-alive segment"},
        {"TCP keep-alive segment", "ACK to a TCP keep-alive segment"},
    ),
    "reset": ("tcp.flags.reset == 1", {"Connection reset (RST)"}, {"Connection reset (RST)"}),
    # Each sends its SYN once more, with an ACK: figure 8 of RFC 9293, 3.5.
    "simultaneous": ("tcp.flags.syn == 1", {RETRANSMISSION}, {RETRANSMISSION}),
    "cookie": ("tcp.flags.syn == 1 && tcp.flags.ack == 1", set(), set()),
    "udp": ("ip.flags.mf == 1", set(), set()),
    "icmp": ("icmp.type == 0", set(), set()),
}  # fmt: skip

#: Where the two ends do not see the same.
IMPAIRED = ("loss", "reordering", "window")


def tshark(capture: Path, display: str, *fields: str) -> list[list[str]]:
    """Columns of the frames that the display filter passes, several values of one frame joined by ``|``."""
    command = [TSHARK, "-n", "-r", str(capture), "-Y", display, "-T", "fields", "-E", "aggregator=|"]
    for protocol in ("ip", "tcp", "udp"):
        command += ["-o", f"{protocol}.check_checksum:TRUE"]
    for field in fields:
        command += ["-e", field]
    # No preferences of the reader's.
    environment = os.environ | {"HOME": str(capture.parent), "XDG_CONFIG_HOME": str(capture.parent)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


def remarks(capture: Path) -> Counter[str]:
    """Expert items from a note on."""
    found: Counter[str] = Counter()
    for severities, messages in tshark(capture, "_ws.expert", "_ws.expert.severity", "_ws.expert.message"):
        for severity, message in zip(severities.split("|"), messages.split("|"), strict=True):
            if int(severity, 0) >= NOTE:
                found[message] += 1
    return found


def record(folder: Path, scenario: str, end: int) -> Path:
    capture = folder / f"{scenario}-{end}.pcap"
    with capture.open("wb") as file:
        subprocess.run(
            [servers.test_program("userstack_capture"), scenario, str(end)],
            stdout=file,
            check=True,
            timeout=60,
        )
    return capture


def is_allowed(message: str, allowed: set[str]) -> bool:
    return any(message.startswith(start) for start in allowed | CLOSES)


def test_the_table_has_all_scenarios():
    done = subprocess.run(
        [servers.test_program("userstack_capture")], capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) == set(SCENARIOS)


@pytest.mark.parametrize(
    ("scenario", "end"), [(name, end) for name in SCENARIOS for end in ((0, 1) if name in IMPAIRED else (0,))]
)
def test_nothing_is_wrong_but_what_was_done_to_it(tmp_path, scenario, end):
    present, *allowed = SCENARIOS[scenario]
    capture = record(tmp_path, scenario, end)
    assert tshark(capture, present, "frame.number"), "the scenario shows what it is about"
    found = remarks(capture)
    wrong = {message: n for message, n in found.items() if not is_allowed(message, allowed[end])}
    assert not wrong, wrong


def test_a_wrong_checksum_is_found(tmp_path):
    capture = record(tmp_path, "udp", 0)
    data = bytearray(capture.read_bytes())
    data[-1] ^= 1
    capture.write_bytes(data)
    assert any("hecksum" in message for message in remarks(capture)), remarks(capture)
