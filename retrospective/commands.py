"""The verbs of the command line that are more than one call."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import urllib.parse
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import servers
from retrospective import paths

if TYPE_CHECKING:
    from retrospective.conformance import Outcome


def test(arguments: Sequence[str] = ()) -> int:
    """Ruff; tests that only compute (analysis, strict nbval), a process a CPU; then, alone, those that run servers.

    The latter are the packages, the C tests, the live smoke run of every notebook, and the assembly.
    """
    ruff = str(Path(sys.executable).with_name("ruff"))
    pytest = (sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "--nbval-cell-timeout=300")
    runs = (
        [[*pytest, *arguments]]
        if arguments
        else [
            [*pytest, f"--numprocesses={os.cpu_count()}", "--dist=loadfile", "tests/analysis", "notebooks"],
            [*pytest, "tests", "--ignore=tests/analysis"],
        ]
    )
    checks = [[ruff, "check", "."], [ruff, "format", "--check", "."], *runs]
    for check in checks:
        code = subprocess.run(check, cwd=paths.ROOT).returncode
        if code:
            return code
    return 0


def changes(given: Sequence[str]) -> dict[str, object]:
    """``NAME=VALUE`` words as a dictionary, the values read as YAML."""
    import yaml  # noqa: PLC0415

    pairs = [word.partition("=") for word in given]
    for name, equals, _ in pairs:
        if not equals or not name.isidentifier():
            raise ValueError(f"--set wants NAME=VALUE, not {name}{equals}")
    try:
        return {name: yaml.safe_load(value) for name, _, value in pairs}
    except yaml.YAMLError as error:
        raise ValueError(f"--set: {error}") from None


def claims(*, source: str, profile: str, as_json: bool) -> None:
    """Print the ledger."""
    from retrospective import workflow  # noqa: PLC0415 (pandas)
    from retrospective.analysis.claims import ledger  # noqa: PLC0415

    rows = ledger(workflow.all_rows(source, profile))
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    table(
        ["id", "published", "measured", "verdict", "statement"],
        [[r["id"], r["published"], workflow.interval(r), r["verdict"], r["statement"]] for r in rows],
    )


def bench(ids: Sequence[str], *, as_json: bool, only_list: bool) -> int:
    """Run benchmarks; 1 if a bound does not hold."""
    from retrospective import bench as benchmarks  # noqa: PLC0415

    if only_list:
        table(
            ["id", "measures", "bound"],
            [[b.id, b.measures, b.bound_text] for b in benchmarks.BENCHMARKS.values()],
        )
        return 0
    results = benchmarks.run(ids)
    if as_json:
        print(json.dumps(results, indent=1))
    else:
        table(
            ["id", "value", "interval", "bound", "holds", "measures"],
            [
                [
                    r["id"],
                    benchmarks.text(r["value"]),
                    f"[{benchmarks.text(r['low'])}, {benchmarks.text(r['high'])}]",
                    r["bound"],
                    {True: "yes", False: "NO", None: "—" if r["value"] is not None else "not measured"}[
                        r["holds"]
                    ],
                    r["measures"] + (f" ({r['note']})" if r.get("note") else ""),
                ]
                for r in results
            ],
        )
    return 1 if any(r["holds"] is False for r in results) else 0


def serve(design: str, arguments: Sequence[str]) -> None:
    """Become the design: its options, its output, its exit code. By default it serves 1 KiB locally."""
    binary = servers.binary(design)
    options = list(arguments)
    given = {option.split("=")[0] for option in options}
    if "--help" not in given:
        if "--listen" not in given:
            options += ["--listen", "127.0.0.1:8080"]
        if "--root" not in given:
            from retrospective.lab.filesets import one_packet  # noqa: PLC0415

            files = one_packet(paths.BUILD / "filesets")
            options += ["--root", str(files.root)]
            print(f"serving {files.root} (say --root DIR for another)", file=sys.stderr)
    os.execv(binary, [str(binary), *options])


def load(url: str, arguments: Sequence[str]) -> int:
    """Load one URL; prints the generator's JSON."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"{url!r} is no http://ADDRESS:PORT/PATH")
    try:
        connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=5)
        connection.request("GET", parts.path or "/")
        reply = connection.getresponse()
        body = reply.read()
    except (OSError, http.client.HTTPException) as error:
        raise ValueError(f"nothing answers at {url}: {error}") from error
    if reply.status != 200:
        raise ValueError(f"{url} answers {reply.status} {reply.reason}: load needs a file that is there")
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as manifest:
        manifest.write(f"{parts.path or '/'}\t{len(body)}\t{zlib.crc32(body):08x}\t1\n")
        manifest.flush()
        target = (
            f"{connection.sock.getpeername()[0] if connection.sock else parts.hostname}:{parts.port or 80}"
        )
        command = [str(servers.binary("load")), "--connect", target, "--files", manifest.name]
        if not {word.split("=")[0] for word in arguments} & {"--mode", "--rate"}:
            command += ["--mode", "closed"]  # an open loop needs a rate, and only its reader knows which
        command += arguments
        return subprocess.run(command).returncode


def conformance(folder: str | None, *, as_json: bool, only_ours: bool, recorded: bool) -> int:
    """Run packetdrill's scripts; 1 if a bound does not hold."""
    from tqdm import tqdm  # noqa: PLC0415

    from retrospective import conformance as packetdrill  # noqa: PLC0415

    stacks = packetdrill.STACKS[:1] if only_ours else packetdrill.STACKS
    packetdrill.find(folder)
    if not only_ours and (why := packetdrill.kernel_missing()):
        print(why, file=sys.stderr)
        stacks = packetdrill.STACKS[:1]
    with tqdm(total=sum(s.eligible for s in packetdrill.scripts()), unit="script", leave=False) as bar:

        def step(name: str) -> None:
            bar.set_postfix_str(name.rpartition("/")[2])
            bar.update()

        outcomes = packetdrill.run(folder, stacks=stacks, step=step)
    total = packetdrill.summary(outcomes)
    if recorded:
        packetdrill.record(outcomes)
    if as_json:
        print(json.dumps(packetdrill.as_json(outcomes), indent=1))
    else:
        table(
            ["script", "ours", "kernel", "why"],
            [[o.script, *(o.word(s) for s in packetdrill.STACKS), _why(o)] for o in outcomes],
        )
        print(packetdrill.sentence(total))
    return 0 if total["holds"] else 1


def _why(outcome: Outcome) -> str:
    """Of each failure the explanation, or else packetdrill's words."""
    return "; ".join(
        f"{stack}: {outcome.explanation.get(stack) or 'UNEXPLAINED: ' + said}"
        for stack, said in outcome.said.items()
    )


def show_capabilities(*, as_json: bool) -> None:
    """Print what this machine can do."""
    from retrospective.lab.capabilities import capabilities  # noqa: PLC0415

    rows = capabilities()
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    table(
        ["capability", "here", "detail"],
        [
            [r["name"], "yes" if r["available"] else "no", r["detail"] if r["available"] else r["remedy"]]
            for r in rows
        ],
    )


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under their head, columns aligned; the last column may be long."""
    cells = [list(head), *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
