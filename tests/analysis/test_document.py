import json

import pytest
from matplotlib import pyplot

from retrospective import bench, document
from retrospective.analysis.claims import ledger
from retrospective.analysis.figures import FIGURES, Site
from retrospective.analysis.rows import NoReferenceError
from retrospective.document import Material, draw
from retrospective.experiments import CHAPTERS


@pytest.fixture(scope="module")
def material(paper, quick, facts):
    here, reference = Site("this machine", quick, facts), Site("reference machine", paper, facts)
    return Material("live", "quick", here, reference, ledger(quick), ledger(paper))


def leaves(value, path=""):
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from leaves(inner, f"{path}[{i}]")
    else:
        yield path, value


def test_values_are_text_or_yes_and_no(material):
    values = material.values()
    json.dumps(values, allow_nan=False)
    for path, value in leaves(values):
        assert isinstance(value, str | bool), path
        assert "nan" not in str(value).lower().split(), path


def test_the_same_names_whatever_was_measured(material, paper, facts):
    def names(value, path=""):
        if isinstance(value, dict):
            return {p for name, inner in value.items() for p in names(inner, f"{path}.{name}")}
        return {path}

    values = material.values()
    for group in ("accept", "floor", "who_pays", "ceilings", "nginx_overload", "machine", "clock", "lazy"):
        assert names(values["here"][group]) == names(values["reference"][group])
    empty = document.summary.site_values(Site("empty", paper.iloc[:0], {}))
    assert names(empty["accept"]) == names(values["here"]["accept"])
    assert empty["accept"]["one_packet"]["select"]["receiver"]["gain"] == "not measured"


def test_recorded_shows_the_reference_as_itself(paper, facts):
    site = Site("reference machine", paper, facts)
    values = Material("recorded", "paper", site, site, ledger(paper)).values()
    assert values["here"] == values["reference"]
    assert not values["is_live"]
    assert values["claim"]["A1"]["reference_verdict"] == values["claim"]["A1"]["verdict"]


def test_no_reference_is_none(quick, facts):
    values = Material("live", "quick", Site("this machine", quick, facts), None, ledger(quick)).values()
    assert values["reference"] is None
    assert values["claim"]["A1"]["reference_verdict"] == "—"


def test_every_figure_is_drawn_or_named_as_missing(material, quick, facts):
    drawn = []
    for name, figure in draw(material):
        drawn.append(name)
        pyplot.close(figure)
    # The quick profile varies nothing one thing at a time, and has too few numbers of processes for a model of timers.
    paper_only = {"accept_backlog", "accept_timeout", "accept_work", "timers_model"}
    assert drawn == [name for name in FIGURES if name not in paper_only]
    poor = Site("this machine", quick[quick["experiment"] != "peers"], {})
    material = Material("live", "quick", poor, None, [])
    drawn = []
    for name, figure in draw(material):
        drawn.append(name)
        pyplot.close(figure)
    missing = {entry["name"] for entry in material.missing}
    persistent = {f"accept_{kind}_{what}specweb" for kind in ("tux", "knot") for what in ("", "drops_")}
    assert missing == {"accept_peers", "machine_timers"} | paper_only | persistent
    assert missing | set(drawn) == set(FIGURES)
    assert all(entry["why"] for entry in material.missing)


@pytest.fixture
def stored(monkeypatch, quick, facts):
    workflow = pytest.importorskip("retrospective.workflow")

    def rows(name, source, profile):
        return quick[quick["chapter"] == name].reset_index(drop=True), facts

    monkeypatch.setattr(workflow, "rows", rows)


def test_gather_stands_without_a_reference(stored, monkeypatch):
    def absent(chapter):
        raise NoReferenceError(chapter)

    monkeypatch.setattr(document, "load_reference", absent)
    material = document.gather("live", "quick")
    assert material.reference is None
    assert material.is_live


def test_gather_puts_the_reference_beside(stored, monkeypatch, paper, facts):
    def recorded(chapter):
        return paper[paper["chapter"] == chapter].reset_index(drop=True), facts

    monkeypatch.setattr(document, "load_reference", recorded)
    material = document.gather("live", "quick")
    assert material.beside is material.reference
    assert len(material.reference_claims) == len(material.claims)
    assert set(material.here.frame["chapter"]) == set(CHAPTERS)


def test_what_bench_recorded_is_told_with_its_bound_and_nothing_else(monkeypatch):
    last = {"date": "2024-06-29", "low": None, "high": None, "note": ""}
    recorded = {
        "userstack-flood": last | {"value": 3},
        "userstack-scale": last | {"value": None},
        "aa-pairs": last,
    }
    monkeypatch.setattr(bench, "recorded", lambda: recorded)
    (told,) = document.counted("userstack-")
    assert (told["id"], told["value"], told["holds"], told["note"]) == ("userstack-flood", "3", "no", "—")
