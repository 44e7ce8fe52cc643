"""Plant a bug in a copy of one of the stack's sources, for the test of what fuzzing finds.

    plant.py NAME SOURCE OUT     writes OUT: SOURCE with the bug, a single place changed
    plant.py                     prints NAME TARGET FILE for each

Each takes a check or a clean-up away that an attacker's packet, or a sequence of them, needs.
"""

import sys
from pathlib import Path

#: Name -> fuzz target that must find it, file, what stands there, what takes its place.
BUGS = {
    "ip-options": ("packet", "ipv4.c", " || get16(p + IPV4_LENGTH) < header", ""),
    "udp-length": ("packet", "udp.c", " || length > packet->bytes", ""),
    "tcp-options": ("packet", "tcp_options.c", " || p[1] > end - p", ""),
    "fragment-end": ("stack", "fragments.c", "if (right > stack->limits", "if (left > stack->limits"),
    "sack": (
        "stack",
        "tcp_flight.c",
        "f->sacked += (sacked ? bytes : 0) -",
        "f->sacked += (sacked ? bytes - 1 : 0) -",
    ),
    "window": ("stack", "tcp_data.c", "if (s->bytes > room)", "if (s->bytes > room + 1000)"),
    "reassembly": ("stack", "tcp_data.c", "        s->data += known;\n", ""),
    "leak": ("stack", "tcp_connection.c", "    tcp_flight_clear(c);\n    tcp_starve", "    tcp_starve"),
    "uncounted": ("packet", "icmp.c", "    COUNT(stack, icmp_received);\n", ""),
}


def main() -> None:
    """Do what the module says."""
    if len(sys.argv) == 1:
        print("\n".join(f"{name} {target} {file}" for name, (target, file, _, _) in BUGS.items()))
        return
    name, source, out = sys.argv[1:]
    _, _, there, planted = BUGS[name]
    text = Path(source).read_text()
    if text.count(there) != 1:
        # The build goes on, and the fuzz target will not find what is not there.
        print(f"plant.py: {source} has changed: bug {name} has no place in it", file=sys.stderr)
    Path(out).write_text(text.replace(there, planted, 1))


main()
