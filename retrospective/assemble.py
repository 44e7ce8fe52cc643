"""Values, figures and chapters become the written retrospective: one self-contained HTML page and one PDF.

``chapters/*.md`` are Jinja2 templates over Markdown. They are rendered in the order of their names, joined,
and read by pandoc twice: into HTML with everything embedded, and into Typst, which its wheel sets as a PDF.
Numbers come in as text, formatted once in Python, so that both print the same digits. Nothing is fetched.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import pypandoc
import typst

from retrospective import paths

TITLE = "The Network-Application Interface"
SUBTITLE = "A measured retrospective on a USENIX session of 2004"
AUTHOR = "The network-application interface retrospective"

#: Pandoc's Markdown without what would read meaning into a measured value's punctuation.
MARKDOWN = "markdown-tex_math_single_backslash-example_lists-subscript-superscript"

#: What Markdown would take for markup in a value: a CPU's name or a kernel's version is only text.
_MARKUP = re.compile(r"([\\`*_\[\]<>|~$@^#])|(?<=-)(-)")

#: How a chapter shows a figure.
_FIGURE = re.compile(r"\]\(figures/(\w+)\.svg\)")

#: Where a line must not end: between a number and its unit.
_UNIT = re.compile(r"(?<=\d) (?=(?:%|[µm]s|KiB)(?!\w))")


class MissingValue(ValueError):  # noqa: N818 (a state of the material, said in one line)
    """A chapter asks for a value or a figure that nobody computed."""


class Markdown(str):
    """Text that is already Markdown, and is not escaped again when a chapter prints it."""

    __slots__ = ()


def assemble(values: Mapping[str, Any], figures: Mapping[str, Path], target: Path) -> list[Path]:
    """Write ``retrospective.html`` and ``retrospective.pdf`` into ``target`` and return their paths.

    Parameters
    ----------
    values : mapping
        What the chapters may print, formatted. ``generated`` (ISO 8601) dates the document;
        ``missing_figures`` (``{name, why}``) could not be drawn: they keep their number and print the reason.
    figures : mapping
        Figure name -> SVG file. Chapters name figures by ``figures/NAME.svg``.
    target : Path
        Folder of the two documents; made if need be. What is there already is replaced whole or left alone.

    Raises
    ------
    MissingValue
        Naming the value and the chapter's file and line.
    RuntimeError
        If pandoc or typst refuse, with what they say and the file they refuse.
    """
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".assemble-", dir=target) as name:
        scratch = Path(name)
        (scratch / "figures").mkdir()
        for figure, source in figures.items():
            shutil.copyfile(source, scratch / "figures" / f"{figure}.svg")
        (scratch / "retrospective.md").write_text(document(values, figures))
        made = [_html(scratch), _pdf(scratch, _moment(values))]
        return [product.replace(target / product.name) for product in made]


# ------------------------------------------------------------------------------------------------ chapters


def chapter_files(folder: Path | None = None) -> list[Path]:
    """Return the chapters in reading order."""
    return sorted((folder or paths.CHAPTERS).glob("[0-9][0-9]_*.md"))


def document(values: Mapping[str, Any], figures: Mapping[str, Path], folder: Path | None = None) -> str:
    """Render every chapter and join them under the document's metadata, as one Markdown text."""
    moment = _moment(values)
    absent = {entry["name"]: _as_text(entry["why"]) for entry in values.get("missing_figures", ())}
    metadata = {
        "title": TITLE,
        "subtitle": SUBTITLE,
        "author": AUTHOR,
        "date": f"{moment.day} {moment:%B %Y}",
        "lang": "en-GB",
        "link-citations": True,
        "not-drawn": absent,
    }
    chapters = []
    for file in chapter_files(folder):
        text = render(file, values)
        unknown = set(_FIGURE.findall(text)) - set(figures) - set(absent)
        if unknown:
            raise MissingValue(
                f"{file.name}: neither drawn nor reported missing: {', '.join(sorted(unknown))}"
            )
        chapters.append(_UNIT.sub("\u00a0", text))
    # JSON is YAML.
    return "\n\n".join([f"---\n{json.dumps(metadata)}\n---", *chapters]) + "\n"


def render(file: Path, values: Mapping[str, Any]) -> str:
    """Render one chapter (``MissingValue`` names what it lacks)."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(file.parent),
        undefined=jinja2.StrictUndefined,
        finalize=_as_text,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        comment_start_string="{%#",  # {#label} is Markdown's
        comment_end_string="#%}",
        autoescape=False,  # the output is Markdown; _as_text escapes for it
    )
    environment.filters |= {"badge": _as_badge, "code": _as_code, "markdown": Markdown}
    try:
        return environment.get_template(file.name).render(values)
    except jinja2.UndefinedError as error:
        raise MissingValue(f"{_place(file, error)}: {error.message}") from error
    except jinja2.TemplateSyntaxError as error:
        raise RuntimeError(f"{file.name}:{error.lineno}: {error.message}") from error


def _place(file: Path, error: jinja2.UndefinedError) -> str:
    """Return ``FILE:LINE (the line itself)`` of the innermost line of the chapter that failed."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).name == file.name and frame.lineno]
    if not lines:
        return file.name
    return f"{file.name}:{lines[-1]} ({file.read_text().splitlines()[lines[-1] - 1].strip()})"


def _as_text(value: object) -> object:
    """Print a value as text, Markdown's characters escaped; ``None`` is refused: a hole in a sentence."""
    if isinstance(value, Markdown | jinja2.Undefined):
        return value
    if value is None:
        raise jinja2.UndefinedError("the value is None where a sentence prints it; guard it with {% if %}")
    # Spaces and line ends only: the narrow no-break space between number and unit stays.
    return _MARKUP.sub(lambda found: "\\" + found[0], re.sub(r"[ \t\r\n]+", " ", str(value)))


def _as_code(value: object) -> Markdown:
    """Print a value in a typewriter face."""
    return Markdown(f"`` {value} ``" if "`" in str(value) else f"`{value}`")


def _as_badge(verdict: str) -> Markdown:
    """Print a verdict as a badge, coloured by the style sheets (class ``badge-WORD``, its first word)."""
    return Markdown(f"[{_as_text(verdict)}]{{.badge .badge-{verdict.split(maxsplit=1)[0].lower()}}}")


def _moment(values: Mapping[str, Any]) -> datetime:
    """When the data were measured: it dates both documents, so that the same data make the same files."""
    if "generated" not in values:
        raise MissingValue("there is no value 'generated': the date of the measurements (ISO 8601)")
    moment = datetime.fromisoformat(str(values["generated"]))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


# ------------------------------------------------------------------------------------------------- outputs


def _html(scratch: Path) -> Path:
    options = ["--to=html5", "--embed-resources", "--mathml", "--toc", "--toc-depth=2", "--number-sections"]
    look = [f"--template={_template('page.html')}", f"--css={_template('style.css')}"]
    return _pandoc(scratch, "retrospective.html", [*options, *look])


def _pdf(scratch: Path, moment: datetime) -> Path:
    source = _pandoc(
        scratch, "retrospective.typ", ["--to=typst-smart", f"--template={_template('paper.typ')}"]
    )
    # Typst brings its text faces, matplotlib DejaVu Sans. The system's are ignored: the same page everywhere.
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    product = source.with_suffix(".pdf")
    try:
        typst.compile(
            str(source),
            output=str(product),
            root=str(scratch),
            font_paths=[str(fonts)],
            ignore_system_fonts=True,
            timestamp=int(moment.timestamp()),
        )
    except typst.TypstError as error:
        raise RuntimeError(f"typst could not set {product.name} from {source.name}: {error}") from error
    return product


def _pandoc(scratch: Path, name: str, options: list[str]) -> Path:
    """Convert the joined chapters; a warning (an unknown citation, a missing figure) is an error."""
    command = [
        pypandoc.get_pandoc_path(),
        f"--from={MARKDOWN}",
        "--standalone",
        "--fail-if-warnings",
        # Ours first: it answers @fig:x, @tbl:x and @sec:x, which citeproc would take for unknown papers.
        f"--lua-filter={_template('crossref.lua')}",
        "--citeproc",
        f"--bibliography={paths.CHAPTERS / 'refs.bib'}",
        f"--output={name}",
        *options,
        "retrospective.md",
    ]
    done = subprocess.run(command, cwd=scratch, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"pandoc could not write {name} from the joined chapters: {done.stderr.strip()}")
    return scratch / name


def _template(name: str) -> Path:
    return paths.CHAPTERS / "templates" / name
