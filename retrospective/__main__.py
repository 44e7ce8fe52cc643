"""The command line: ``python -m retrospective VERB``. The Makefile's verbs, and a few for people who explore."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from retrospective import paths


def parser() -> argparse.ArgumentParser:
    """Every verb with its options."""
    top = argparse.ArgumentParser(prog="python -m retrospective", description=__doc__)
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)

    verbs.add_parser(
        "quick", help="measure every chapter in the quick profile, write the retrospective (what `make` does)"
    )
    verbs.add_parser(
        "figures", help="write the retrospective from the recorded reference data; runs no server"
    )
    reference = verbs.add_parser(
        "reference", help="measure the paper profile, record data/reference/, re-execute the notebooks"
    )
    reference.add_argument("chapters", nargs="*", metavar="CHAPTER", help="only these chapters")

    run = verbs.add_parser("run", help="measure one chapter and execute its notebook")
    run.add_argument("chapter")
    run.add_argument("--profile", default="quick", help="smoke, quick or paper (default: quick)")
    run.add_argument(
        "--set",
        action="append",
        default=[],
        dest="changes",
        metavar="NAME=VALUE",
        help="another parameter of the notebook, its value in YAML: --set 'designs=[epoll, poll]'; may be repeated",
    )

    test = verbs.add_parser("test", help="everything `make test` runs; further arguments go to pytest")
    test.add_argument("arguments", nargs=argparse.REMAINDER)
    verbs.add_parser("lab", help="JupyterLab on the notebooks")

    claims = verbs.add_parser("claims", help="the ledger: every claim of 2004 with its verdict")
    claims.add_argument("--json", action="store_true", help="a JSON list instead of a table")
    claims.add_argument(
        "--source", choices=("recorded", "live"), default="recorded", help="whose trials are judged"
    )
    claims.add_argument("--profile", default="quick", help="with --source live: which profile's journal")

    bench = verbs.add_parser("bench", help="every promised number, measured as a ratio on this machine")
    bench.add_argument(
        "ids", nargs="*", metavar="ID", help="only these (long ones run only when named); see --list"
    )
    bench.add_argument("--json", action="store_true", help="a JSON list instead of a table")
    bench.add_argument("--list", action="store_true", help="the ids and what each measures")

    serve = verbs.add_parser(
        "serve", help="run one design; further options go to it (see: serve DESIGN --help)"
    )
    serve.add_argument("design")
    serve.add_argument("arguments", nargs=argparse.REMAINDER)

    load = verbs.add_parser(
        "load", help="load one URL with the kernel-socket generator; further options go to it"
    )
    load.add_argument(
        "url", help="http://ADDRESS:PORT/PATH; the file is fetched once to know length and hash"
    )
    load.add_argument("arguments", nargs=argparse.REMAINDER)

    conformance = verbs.add_parser(
        "conformance",
        help="packetdrill's public scripts against the user-level stack, beside the kernel's result",
    )
    conformance.add_argument("scripts", nargs="?", metavar="DIR", help="a clone of google/packetdrill")
    conformance.add_argument("--json", action="store_true", help="a JSON object instead of a table")
    conformance.add_argument(
        "--ours", action="store_true", help="only against ours: seconds instead of minutes"
    )
    conformance.add_argument(
        "--record", action="store_true", help="write data/reference/conformance.csv, too"
    )

    capabilities = verbs.add_parser("capabilities", help="what this machine can do, and how to get the rest")
    capabilities.add_argument("--json", action="store_true")
    return top


def dispatch(arguments: argparse.Namespace) -> int:
    """Run one verb; imports wait until the verb is known, so that ``--help`` and ``serve`` start at once."""
    from retrospective import commands, workflow  # noqa: PLC0415

    match arguments.verb:
        case "quick":
            workflow.quick()
        case "figures":
            workflow.figures()
        case "reference":
            workflow.reference(arguments.chapters)
        case "run":
            workflow.run(arguments.chapter, arguments.profile, **commands.changes(arguments.changes))
        case "test":
            return commands.test(arguments.arguments)
        case "lab":
            lab = [sys.executable, "-m", "jupyterlab", "--notebook-dir", str(paths.NOTEBOOKS)]
            os.execv(sys.executable, lab)
        case "claims":
            commands.claims(source=arguments.source, profile=arguments.profile, as_json=arguments.json)
        case "bench":
            return commands.bench(arguments.ids, as_json=arguments.json, only_list=arguments.list)
        case "serve":
            commands.serve(arguments.design, arguments.arguments)
        case "load":
            return commands.load(arguments.url, arguments.arguments)
        case "conformance":
            return commands.conformance(
                arguments.scripts,
                as_json=arguments.json,
                only_ours=arguments.ours,
                recorded=arguments.record,
            )
        case "capabilities":
            commands.show_capabilities(as_json=arguments.json)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run, and turn every error that has something to say into one sentence and an exit code."""
    from servers import BuildError  # noqa: PLC0415

    arguments = parser().parse_args(argv)
    # Meson must find the ninja wheel, and notebooks the tools, also when called without the Makefile.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    try:
        return dispatch(arguments)
    except KeyboardInterrupt:
        print(
            "\ninterrupted; what was measured is kept, the same command goes on from there", file=sys.stderr
        )
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (BuildError, ValueError, OSError, RuntimeError) as error:
        print(f"retrospective: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
