"""Assembly: what is missing is named, what is written is whole, and nothing in it points outside."""

import base64
import copy
import importlib.util
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from retrospective import assemble, paths
from retrospective.analysis.claims import ledger
from retrospective.analysis.figures import FIGURES, Site
from retrospective.analysis.statistics import VERDICTS
from retrospective.document import HERE, REFERENCE, Material

DATED = {"generated": "2004-06-29T17:29:00+00:00", "missing_figures": []}
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 90 40" width="90" height="40">'
    '<rect width="90" height="40" fill="#fff"/><path d="M0 40L90 0" stroke="#000"/></svg>'
)


@pytest.fixture
def chapters(tmp_path, monkeypatch):
    """Write chapters in place of the package's; templates and bibliography stay the package's."""
    folder = tmp_path / "chapters"
    folder.mkdir()

    def write(**texts):
        for name, text in texts.items():
            (folder / f"{name.removeprefix('n')}.md").write_text(text)

    monkeypatch.setattr(assemble, "chapter_files", lambda _=None: sorted(folder.glob("*.md")))
    return write


@pytest.fixture
def figure(tmp_path):
    path = tmp_path / "curve.svg"
    path.write_text(SVG)
    return {"curve": path}


class Page(HTMLParser):
    """What a page holds, as far as the tests ask."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.resources, self.styles, self.scripts = [], [], [], [], 0
        self._in_style = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.ids += [attributes["id"]] if "id" in attributes else []
        if tag == "a":
            self.links.append(attributes.get("href") or "")
        for name in ("src", "srcset", "data", "poster"):
            self.resources += [attributes[name]] if name in attributes else []
        if tag == "link":
            self.resources.append(attributes.get("href"))
        self.scripts += tag == "script"
        self._in_style = tag == "style"

    def handle_data(self, data):
        if self._in_style:
            self.styles.append(data)


def assert_self_contained(page):
    assert page.scripts == 0
    assert all(resource.startswith("data:") for resource in page.resources), page.resources
    assert not re.search(r"@import|url\((?!['\"]?data:)", "".join(page.styles))


def assert_links_resolve(page):
    assert len(page.ids) == len(set(page.ids))
    inside = {link[1:] for link in page.links if link.startswith("#")}
    assert inside <= set(page.ids), inside - set(page.ids)


def text_of(html):
    return re.sub(r"[ \n]+", " ", re.sub(r"<[^>]+>", "", html.split("<main")[1]))


def test_a_missing_value_stops_the_build_naming_it(chapters, tmp_path):
    chapters(n10_first="# One\n\nfine\n", n20_second="# Two\n\n{{ here.floor.percent }}\n")
    with pytest.raises(assemble.MissingValue, match=r"20_second\.md:3 .*here\.floor\.percent.*'percent'"):
        assemble.assemble({**DATED, "here": {"floor": {}}}, {}, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_none_in_a_sentence_is_missing_too(chapters, tmp_path):
    chapters(n10_first="{{ here.peak }}\n")
    with pytest.raises(assemble.MissingValue, match=r"10_first\.md:1 .*None"):
        assemble.assemble({**DATED, "here": {"peak": None}}, {}, tmp_path / "out")


def test_a_figure_neither_drawn_nor_reported_missing_stops_the_build(chapters, tmp_path):
    chapters(n10_first="![A curve.](figures/curve.svg){#fig:curve}\n")
    with pytest.raises(assemble.MissingValue, match=r"10_first\.md: .*curve"):
        assemble.assemble(DATED, {}, tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("See @fig:nowhere.\n", "fig:nowhere, which is nowhere"),
        ("As shown [@nobody1999].\n", "nobody1999"),
        ("| a |\n|---|\n| b |\n\nTable: Nameless.\n", "no label"),
        ("# A {#sec:a}\n\n# B {#sec:a}\n", "sec:a"),
    ],
)
def test_what_pandoc_refuses_is_said(chapters, tmp_path, text, message):
    chapters(n10_first=text)
    with pytest.raises(RuntimeError, match=re.escape(message)):
        assemble.assemble(DATED, {}, tmp_path / "out")


def test_a_template_that_does_not_parse_names_file_and_line(chapters, tmp_path):
    chapters(n10_first="fine\n\n{% if %}\n")
    with pytest.raises(RuntimeError, match=r"10_first\.md:3"):
        assemble.assemble(DATED, {}, tmp_path / "out")


def test_a_broken_figure_is_a_clear_error(chapters, tmp_path, figure):
    figure["curve"].write_text("not an svg")
    chapters(n10_first="![A curve.](figures/curve.svg){#fig:curve}\n")
    with pytest.raises(RuntimeError, match=r"retrospective\.pdf"):
        assemble.assemble(DATED, figure, tmp_path / "out")


SMALL = """
::: {.abstract}
About {{ cpu }}.
:::

# Method {#sec:method}

@fig:curve and [@tbl:one; @tbl:two] in @sec:after; [@brecht2004].

![A curve.](figures/curve.svg){#fig:curve}

| a | b |
|:--|--:|
| {{ cpu }} | {{ "not testable here"|badge }} |

Table: One. {#tbl:one}

::: {.landscape}

| a | b |
|:--|--:|
| 1 | {{ "reproduced"|badge }} |

Table: Two. {#tbl:two}

:::

## After {#sec:after}

$$ a = \\frac{b}{c} $$

![Nothing.](figures/absent.svg){#fig:absent}

# References {.unnumbered}

::: {#refs}
:::
"""


SMALL_VALUES = {
    **DATED,
    "cpu": "Fast(R) *CPU* <3> @home_2 | 50\u202f% [a](b) $x$ --flag",
    "missing_figures": [{"name": "absent", "why": "no trials of *it*"}],
}


@pytest.fixture
def small(chapters, figure, tmp_path):
    chapters(n10_first=SMALL)
    return assemble.assemble(SMALL_VALUES, figure, tmp_path / "out")


def test_a_small_document(small):
    html, pdf = small
    assert [html.name, pdf.name] == ["retrospective.html", "retrospective.pdf"]
    text = html.read_text()
    page = Page(text)
    assert_self_contained(page)
    assert_links_resolve(page)
    said = text_of(text).replace("\u00a0", " ")
    assert "Figure 1 and Table 1 and Table 2 in Section 1.1" in said
    assert "Figure 1. A curve." in said
    assert "Table 2. Two." in said
    assert "Figure 2. Nothing." in said
    assert "Not drawn: no trials of *it*" in said
    assert "(Brecht et al. 2004)" in said
    assert '<span class="badge badge-not">not testable here</span>' in text
    assert "measured 29 June 2004" in text
    assert "<math" in text
    assert sorted(path.name for path in html.parent.iterdir()) == ["retrospective.html", "retrospective.pdf"]


def test_values_are_text_and_never_markup(small):
    said = text_of(small[0].read_text())
    assert "About Fast(R) *CPU* &lt;3&gt; @home_2 | 50\u202f% [a](b) $x$ --flag." in said


def test_the_figure_is_inside_the_page(small):
    data = re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', small[0].read_text())
    assert b"M0 40L90 0" in base64.b64decode(data[1])


def test_the_pdf_has_pages(small):
    assert pages(small[1]) >= 2  # a landscape table has a page of its own


def test_the_same_values_make_the_same_files(small, figure, tmp_path):
    first = [path.read_bytes() for path in small]
    again = assemble.assemble(SMALL_VALUES, figure, tmp_path / "again")
    assert [path.read_bytes() for path in again] == first


def pages(pdf):
    """Count the pages a PDF's page tree declares (poppler's count, where it is installed, agrees)."""
    data = pdf.read_bytes()
    assert data.startswith(b"%PDF-")
    declared = max(int(n) for n in re.findall(rb"/Type\s*/Pages\b.*?/Count\s+(\d+)", data, re.DOTALL))
    try:
        said = subprocess.run(["pdfinfo", str(pdf)], capture_output=True, text=True)
    except FileNotFoundError:
        return declared
    assert f"Pages:           {declared}" in said.stdout
    return declared


def bibliography():
    return set(re.findall(r"^@\w+\{([^,\s]+),", (paths.CHAPTERS / "refs.bib").read_text(), re.MULTILINE))


def test_the_bibliography_is_what_is_cited():
    cited = set()
    for chapter in assemble.chapter_files():
        cited |= set(re.findall(r"(?<![\w\\])-?@([a-z][\w]*\d{0,4}[a-z]?)(?![\w:])", chapter.read_text()))
    assert cited == bibliography()


# ------------------------------------------------------------------------------------- the package's chapters


@pytest.fixture(scope="module")
def values():
    """Values of every kind of document, from synthetic trials."""
    place = Path(__file__).parent / "analysis" / "synthetic.py"
    spec = importlib.util.spec_from_file_location("synthetic_for_assembly", place)
    synthetic = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(synthetic)
    reference = Site(REFERENCE, synthetic.paper(rounds=3), synthetic.provenance("Reference CPU"))
    here = Site(HERE, synthetic.quick(), synthetic.provenance("Own CPU"))
    bare = here.frame[(here.frame["round"] == 0) & here.frame["experiment"].isin(["one-packet", "aa"])]
    recorded, own = ledger(reference.frame), ledger(here.frame)
    old = Site(REFERENCE, first_edition(reference.frame), synthetic.provenance("Reference CPU"))
    alone = Site(HERE, bare, synthetic.provenance("Own CPU"))
    return {
        "recorded": Material("recorded", "paper", reference, reference, recorded).values(),
        "recorded by the first edition": Material("recorded", "paper", old, old, ledger(old.frame)).values(),
        "live": Material("live", "quick", here, reference, own, recorded).values(),
        "live, nothing recorded": Material("live", "quick", here, None, own).values(),
        "live, hardly anything measured": Material("live", "smoke", alone, None, ledger(bare)).values(),
        "live, no lazy I/O": without_lazy(here, synthetic),
    }


def without_lazy(site, synthetic):
    """A machine on which the chapter was left out, or whose rows were recorded before there was one."""
    frame = site.frame[site.frame["chapter"] != "lazy"].dropna(axis="columns", how="all")
    alone = Site(HERE, frame, synthetic.provenance("Own CPU"))
    return Material("live", "quick", alone, None, ledger(frame)).values()


def first_edition(frame):
    """Rows as they were recorded when there was one kind of server: fewer designs, experiments and columns."""
    frame = frame[frame["chapter"] != "lazy"]
    kept = frame["chapter"].ne("accept") | (
        frame["experiment"].isin(["one-packet", "specweb99-like", "peers", "peers-overload"])
        & frame["design"].isin(["select", "epoll", "floor", "nginx", "lighttpd"])
    )
    columns = r"timeout_ms|defer_accept_s|system_calls_per_reply|server_(user|system)_us_per_reply|worker_"
    return frame[kept].drop(columns=frame.filter(regex=columns).columns).reset_index(drop=True)


@pytest.fixture
def curves(figure):
    return dict.fromkeys(FIGURES, figure["curve"])


KINDS = [
    "recorded",
    "recorded by the first edition",
    "live",
    "live, nothing recorded",
    "live, hardly anything measured",
    "live, no lazy I/O",
]


@pytest.mark.parametrize("kind", KINDS)
def test_the_retrospective_is_whole(kind, values, curves, tmp_path):
    html, pdf = assemble.assemble(values[kind], curves, tmp_path)
    text = html.read_text()
    page = Page(text)
    assert_self_contained(page)
    assert_links_resolve(page)
    for word in ("Figure", "Table"):
        labels = re.findall(rf"<strong>{word}\u00a0(\d+)\.</strong>", text)
        assert [int(label) for label in labels] == list(range(1, len(labels) + 1))
        assert labels
    assert not re.search(r"\{\{|\{%|Undefined|\bNone\b|\bnan\b|@(?:fig|tbl|sec):", text_of(text))
    assert pages(pdf) >= 10


def test_a_live_document_stands_beside_the_reference(values, curves, tmp_path):
    page, _ = assemble.assemble(values["live"], curves, tmp_path)
    said = text_of(page.read_text())
    assert "The reference machine's verdict:" in said.replace("\u2019", "'")
    alone = assemble.document(values["live, nothing recorded"], curves)
    assert "reference machine" not in alone.split("# Colophon")[0].split("# The machine")[1]


def test_figures_that_could_not_be_drawn_keep_their_place(values, curves, tmp_path):
    missing = copy.deepcopy(values["recorded"])
    missing["missing_figures"] = [{"name": "accept_peers", "why": "no valid trials beside peers"}]
    del curves["accept_peers"]
    page, _ = assemble.assemble(missing, curves, tmp_path)
    said = text_of(page.read_text())
    assert "Not drawn: no valid trials beside peers" in said
    assert len(re.findall(r"Figure\u00a0\d+\. ", said)) == len(FIGURES)


@pytest.mark.parametrize("word", [word for word in VERDICTS if word != "analog agrees"])
@pytest.mark.parametrize("kind", ["recorded", "live"])
def test_the_text_can_say_every_verdict(word, kind, values, curves):
    confirmed = ("reproduced", "analog agrees")
    turned = copy.deepcopy(values[kind])
    for claim in turned["claims"]:
        # What would be "reproduced" of an original is "analog agrees" of an analog, and the other way round.
        own = {True: "analog agrees", False: "reproduced"}[claim["analog"]] if word in confirmed else word
        claim["verdict"] = claim["reference_verdict"] = own
    turned["claim"] = {claim["id"]: claim for claim in turned["claims"]}
    turned["verdicts"] = {chapter: [{"verdict": word, "count": "3"}] for chapter in turned["verdicts"]}
    text = re.sub(r"\s+", " ", assemble.document(turned, curves))
    saying = {
        "reproduced": "is reproduced: with the receiver paying",
        "shrunk": "has shrunk.",
        "reversed": "is reversed: on this machine",
        "vanished": "has vanished.",
        "undecided": "is not decided by these trials.",
        "depends on who pays": "depends on who pays for packets.",
        "not testable here": "could not be tested here",
    }
    for said, sentence in saying.items():
        assert (sentence in text) == (said == word or {said, word} == set(confirmed)), sentence
    of_tux = {
        "analog agrees": "the inversion belongs to the loop",
        "reversed": "The analog sides with the µserver",
        "vanished": "In the analog the limit does not matter",
        "undecided": "That leaves open whether the inversion",
        "not testable here": "The trials that would tell are not part of this profile.",
    }
    for said, sentence in of_tux.items():
        assert (sentence in text) == (said == word or {said, word} == set(confirmed)), sentence
    assert "3 are depends" not in text
    assert "here here" not in text
    of_v3 = {
        "reproduced": "One interface does not do what its name says where it matters",
        "reversed": "At least one of the two does better than its reputation.",
        "undecided": "These trials do not settle it.",
    }
    for said, sentence in of_v3.items():
        assert (sentence in text) == (said == word), sentence
    chapter = text.split("# accept()")[1].split("# The ledger")[0]
    assert not re.search(r"\b(is|has) \*?(is|has|holds|depends|analog agrees)\b", chapter)
