"""The notebooks as committed, their parameters, and a live smoke run of each that ends in a written document."""

import json
import re

import nbformat
import pytest

from retrospective import paths, workflow
from retrospective.experiments import CHAPTERS, chapter, runner

NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("*.ipynb"))


def recorded(notebook):
    """Whether there are trials of the notebook's chapter to draw."""
    (name,) = [name for name, file in CHAPTERS.items() if file == notebook.name]
    return (paths.REFERENCE / f"{name}.parquet").exists()


def test_every_chapter_has_its_notebook_and_every_notebook_its_chapter():
    assert sorted(CHAPTERS.values()) == [n.name for n in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_committed_notebook_is_executed_and_compares(path):
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    assert book.metadata.kernelspec.language == "python"
    code = [c for c in book.cells if c.cell_type == "code"]
    executed = [c.execution_count for c in code]
    assert executed == list(range(1, len(code) + 1)), "run: jupyter nbconvert --inplace --execute"
    for cell in code:
        for output in cell.outputs:
            assert output.output_type != "error"
            data = output.get("data", {})
            assert "image/svg+xml" not in data, "matplotlib's SVG ids change: nbval would compare them"
            assert not re.search(r"object at 0x", json.dumps(data)), "a memory address is no result"
    drawn = any(o.get("data", {}).get("image/png") for c in code for o in c.outputs)
    assert drawn or not recorded(path), "no figure"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_parameters_are_typed_and_commented(path):
    book = nbformat.read(path, as_version=4)
    (cell,) = [c for c in book.cells if "parameters" in c.metadata.get("tags", [])]
    for line in filter(None, cell.source.splitlines()):
        assert re.fullmatch(r"\w+: .+ = .+?  # .+", line), line
    assert 'source: str = "recorded"' in cell.source


def test_an_unknown_parameter_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no parameter acept_limit"):
        workflow.execute("accept", "recorded", "paper", tmp_path / "n.ipynb", acept_limit="1")


@pytest.fixture(scope="module")
def live():
    """Every chapter measured by its notebook in the smoke profile, with live servers."""
    executed = {}
    for name in CHAPTERS:
        runner.journal_path(name, "smoke").unlink(missing_ok=True)
        executed[name] = workflow.executed_path(name, "live", "smoke")
        workflow.execute(name, "live", "smoke", executed[name])
    return executed


#: Experiment of probes -> what each of its trials must have measured; trials of servers have replies.
MEASURED = {
    "cost": "call_ns",
    "held": "held_p50_ns",
    "upcall": "resumed_p50_ns",
    "preempted": "calls",
    "sleep": "with_ns",
    "surface": "ratio_eager",
    **dict.fromkeys(("operations", "operations-aa"), "operation_ns"),
    "prices": "price_ns",
    **dict.fromkeys(("wall", "wall-aa", "shoot-out", "domain", "soft"), "due"),
    **dict.fromkeys(("bulk", "impaired"), "goodput_bytes_per_s"),
    "rtt": "rtt_p50_us",
    "connections": "connections_per_s",
    **dict.fromkeys(("incast", "incast-live"), "completion_ms"),
}


def measured_by(frame):
    """What each trial was made to measure."""
    return frame.apply(lambda row: row[MEASURED.get(row["experiment"], "replies_per_s")], axis="columns")


def test_smoke_notebooks_measured_something(live):
    for name in CHAPTERS:
        frame = chapter(name).run("smoke", progress=False)
        assert len(frame), name
        served = frame[frame.status == "ok"]
        assert (measured_by(served) > 0).all()
        # Smoke trials last a fraction of a second beside pytest: some may be disturbed, but not all.
        assert len(served), frame[["label", "status", "reason"]].to_string()


def test_smoke_trials_assemble_to_html_and_pdf(live, tmp_path):
    workflow.write("live", "smoke", tmp_path)
    page = (tmp_path / "retrospective.html").read_text()
    assert "accept" in page
    assert "<svg" in page or "data:image/svg" in page
    assert (tmp_path / "retrospective.pdf").read_bytes().startswith(b"%PDF")
