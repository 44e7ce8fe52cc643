"""From chapters to the written retrospective: measure, execute the notebooks, assemble; nothing is done twice."""

from __future__ import annotations

import ast
import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import papermill
from tqdm import tqdm

from retrospective import paths
from retrospective.experiments import CHAPTERS, chapter, runner

if TYPE_CHECKING:
    import pandas as pd

Provenance = dict[str, Any]


def quick() -> None:
    """Measure every chapter in the quick profile and write the retrospective with this machine beside the reference."""
    retrospective("live", "quick", paths.BUILD / "retrospective")


def figures() -> None:
    """Write the retrospective from the recorded reference data; no server runs."""
    retrospective("recorded", "paper", paths.BUILD / "retrospective-recorded")


def retrospective(source: str, profile: str, target: Path, chapters: Sequence[str] = tuple(CHAPTERS)) -> None:
    """Measure (if live), execute the notebooks and assemble the document into ``target``, each only if out of date."""
    if source == "live":
        for name in chapters:
            print(f"— {name}: trials of the {profile} profile")
            chapter(name).run(profile)
    inputs = fingerprint(source, profile)
    page = target / "retrospective.html"
    made: list[tuple[Path, Callable[[], None]]] = []
    for name in chapters:
        notebook = executed_path(name, source, profile)
        made.append((notebook, partial(execute, name, source, profile, notebook)))
    made.append((page, partial(write, source, profile, target)))
    # What is recorded stays as it is, so all are made at once. A live notebook may measure: nothing runs beside it.
    with ThreadPoolExecutor(os.cpu_count() if source == "recorded" else 1) as pool:
        for done in [pool.submit(with_stamp, product, inputs, make) for product, make in made]:
            done.result()
    for document in sorted(target.glob("retrospective.*")):
        if document.suffix in {".html", ".pdf"}:
            print(document.relative_to(paths.ROOT) if document.is_relative_to(paths.ROOT) else document)


def run(name: str, profile: str, **changes: object) -> None:
    """Measure one chapter and execute its notebook from those rows.

    ``changes`` are other parameters of the notebook, as its first cell names them; the copy then lies apart.
    """
    module = chapter(name)
    if profile not in module.PROFILES:
        raise ValueError(f"no profile {profile!r}: there are {', '.join(module.PROFILES)}")
    notebook = executed_path(name, "live", profile)
    if changes:
        notebook = notebook.with_stem(f"{notebook.stem}_changed")
        execute(name, "live", profile, notebook, **changes)
    else:
        module.run(profile)
        with_stamp(notebook, fingerprint("live", profile), lambda: execute(name, "live", profile, notebook))
    print(notebook.relative_to(paths.ROOT) if notebook.is_relative_to(paths.ROOT) else notebook)


def reference(chapters: Sequence[str] = ()) -> None:
    """Measure the paper profile, record it under data/reference/ and execute the committed notebooks from it."""
    from retrospective.lab.journal import Journal  # noqa: PLC0415 (pandas)

    for name in chapters or CHAPTERS:
        print(f"— {name}: trials of the paper profile")
        frame = chapter(name).run("paper")
        with Journal(runner.journal_path(name, "paper")) as journal:
            provenance = json.loads(runner.provenance_path(name, "paper").read_text())
            journal.consolidate(paths.REFERENCE / f"{name}.parquet", provenance, frame)
    for name in chapters or CHAPTERS:
        execute_in_place(paths.NOTEBOOKS / CHAPTERS[name])


# ---------------------------------------------------------------------------------------------------- rows


def rows(name: str, source: str, profile: str, **changes: object) -> tuple[pd.DataFrame, Provenance]:
    """Rows and provenance of a chapter: ``recorded`` (data/reference) or ``live`` (this machine).

    Live trials that the journal lacks are run. ``changes`` are what a reader changed of the profile, as the chapter's
    ``profile_with`` takes them; ``None`` changes nothing. A chapter that is newer than the recorded data has no rows.
    Raises ``ValueError`` if recorded trials are to be changed.
    """
    from retrospective.analysis.rows import NoReferenceError, load_reference, no_rows  # noqa: PLC0415 (pandas)

    changes = {key: value for key, value in changes.items() if value is not None}
    if source == "recorded":
        if changes:
            raise ValueError(
                f"recorded trials cannot be changed: say source = 'live' with {', '.join(changes)}"
            )
        try:
            return load_reference(name)
        except NoReferenceError:
            if not any(paths.REFERENCE.glob("*.parquet")):
                raise
            return no_rows(), {}
    if source != "live":
        raise ValueError(f"source is 'recorded' or 'live', not {source!r}")
    module = chapter(name)
    frame = module.run(module.profile_with(profile, **changes))
    return frame, json.loads(runner.provenance_path(name, profile).read_text())


def all_rows(source: str, profile: str) -> pd.DataFrame:
    """Rows of every chapter in one frame, as the ledger wants them."""
    import pandas as pd  # noqa: PLC0415

    frames = [rows(name, source, profile)[0] for name in CHAPTERS]
    # What has no rows must not decide the type of what has.
    return pd.concat([frame for frame in frames if len(frame)] or frames, ignore_index=True)


def interval(claim: dict[str, Any]) -> str:
    """``value [low, high]`` of a ledger row, or a dash."""
    from retrospective.analysis.formatting import fmt_ratio_interval  # noqa: PLC0415

    if claim["value"] is None:
        return "—"
    return fmt_ratio_interval(claim["value"], claim["low"], claim["high"])


# ---------------------------------------------------------------------------------------------------- notebooks


def executed_path(name: str, source: str, profile: str) -> Path:
    """Where an executed copy of a chapter's notebook goes."""
    return paths.BUILD / "notebooks" / (profile if source == "live" else "recorded") / CHAPTERS[name]


def parameters_of(notebook: Path) -> list[str]:
    """Names that the cell tagged ``parameters`` gives values to (papermill misses those typed ``X | None``)."""
    import nbformat  # noqa: PLC0415

    cells = nbformat.read(notebook, as_version=4).cells
    (cell,) = [c for c in cells if "parameters" in c.metadata.get("tags", [])]
    return [line.target.id for line in ast.parse(cell.source).body if isinstance(line, ast.AnnAssign)]


def execute(name: str, source: str, profile: str, output: Path, **parameters: object) -> None:
    """Execute a chapter's notebook with papermill into ``output``.

    Raises ``ValueError`` on a parameter the notebook does not have: papermill would only warn, and run without it.
    """
    notebook = paths.NOTEBOOKS / CHAPTERS[name]
    values = {"source": source, "profile": profile, **parameters}
    known = parameters_of(notebook)
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"{notebook.name} has no parameter {', '.join(unknown)}: it has {', '.join(known)}")
    output.parent.mkdir(parents=True, exist_ok=True)
    logging.getLogger("papermill").setLevel(logging.ERROR)  # it would warn of parameters it does not know
    papermill.execute_notebook(
        notebook, output, parameters=values, cwd=paths.NOTEBOOKS, execution_timeout=600, progress_bar=True
    )


def execute_in_place(notebook: Path) -> None:
    """Execute a committed notebook where it lies, without papermill's extra cells and times."""
    import nbformat  # noqa: PLC0415
    from nbclient import NotebookClient  # noqa: PLC0415

    book = nbformat.read(notebook, as_version=4)
    NotebookClient(book, timeout=600, resources={"metadata": {"path": str(notebook.parent)}}).execute()
    for cell in book.cells:
        cell.metadata.pop("execution", None)  # times would change with every run
    book.metadata["language_info"] = {"name": "python"}
    nbformat.write(book, notebook)


# ---------------------------------------------------------------------------------------------------- document


def write(source: str, profile: str, target: Path) -> None:
    """Draw every figure, compute every value and assemble HTML and PDF into ``target``."""
    from matplotlib import pyplot  # noqa: PLC0415

    from retrospective.assemble import assemble  # noqa: PLC0415
    from retrospective.document import draw, gather  # noqa: PLC0415

    material = gather(source, profile)
    drawn: dict[str, Path] = {}
    for name, figure in tqdm(draw(material), desc="figures", unit="figure", leave=False):
        drawn[name] = target / "figures" / f"{name}.svg"
        drawn[name].parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(drawn[name], bbox_inches="tight", metadata={"Date": None})
        pyplot.close(figure)
    assemble(material.values(), drawn, target)


def fingerprint(source: str, profile: str) -> str:
    """Hash of all that notebooks and document are made from: code, text, published and recorded data, journals."""
    digest = hashlib.sha256(f"{source} {profile}".encode())
    inputs = [
        *sorted((paths.ROOT / "retrospective").rglob("*")),
        *sorted((paths.ROOT / "servers").glob("*.py")),
        *sorted(paths.NOTEBOOKS.glob("*.ipynb")),
        *sorted(paths.PUBLISHED.glob("*.csv")),
        *sorted(paths.REFERENCE.glob("*")),
    ]
    if source == "live":
        inputs += [runner.journal_path(name, profile) for name in CHAPTERS]
    for path in inputs:
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def with_stamp(product: Path, inputs: str, make: Callable[[], None]) -> None:
    """Make a product unless it exists and was made from the same inputs."""
    stamp = product.with_name(f".{product.name}.inputs")
    if product.exists() and stamp.exists() and stamp.read_text() == inputs:
        return
    stamp.unlink(missing_ok=True)
    make()
    stamp.write_text(inputs)
