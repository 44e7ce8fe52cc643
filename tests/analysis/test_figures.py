import pytest
from matplotlib import pyplot

from retrospective.analysis import figures
from retrospective.analysis.figures import FIGURES, NothingToDraw, Site


@pytest.fixture
def reference(paper, facts):
    return Site("reference machine", paper, facts)


@pytest.fixture
def live(quick, facts):
    return Site("this machine", quick, facts)


def save(figure, path):
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path.read_bytes()


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_draws_alone_and_beside_the_reference(name, live, reference, tmp_path):
    assert save(figures.draw(name, reference), tmp_path / "alone.svg")
    assert save(figures.draw(name, live, reference), tmp_path / "beside.svg")


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_without_trials_says_so(name, paper):
    with pytest.raises(NothingToDraw):
        figures.draw(name, Site("empty", paper.iloc[:0], {}))


def test_the_same_trials_give_the_same_file(reference, tmp_path):
    files = []
    for i in range(2):
        with pyplot.rc_context(figures.STYLE):
            files.append(save(figures.draw("accept_gain", reference), tmp_path / f"{i}.svg"))
    assert files[0] == files[1]


def test_drawing_leaves_other_peoples_style_alone(reference):
    before = dict(pyplot.rcParams)
    pyplot.close(figures.draw("machine_aa", reference))
    assert dict(pyplot.rcParams) == before


def test_invalid_trials_are_never_plotted(paper, facts, synthetic):
    """A spoiled trial answers 1 reply/s; a curve through it would touch the ground."""
    figure = figures.draw("accept_one_packet", Site("here", paper, facts))
    for axes in figure.axes:
        for line in axes.lines:
            x, y = line.get_xdata(), line.get_ydata()
            assert all(v > 0.1 for u, v in zip(x, y, strict=True) if u > 0.3)
    pyplot.close(figure)


def test_panels_not_measured_are_omitted(live):
    figure = figures.draw("accept_one_packet", live)
    titles = {axes.get_title(loc="left") for axes in figure.axes}
    assert "select, sender pays" in titles
    assert "epoll, sender pays" not in titles
    assert "2004: µserver (Fig. 8)" in titles
    pyplot.close(figure)


def test_unknown_figures_are_named(live):
    with pytest.raises(ValueError, match="accept_gain"):
        figures.draw("nonsense", live)


def test_a_notebook_gets_words_instead_of_an_exception(paper, live):
    assert "no valid" in figures.show("accept_one_packet", Site("empty", paper.iloc[:0], {}))
    assert figures.show("machine_aa", live).axes
    assert not pyplot.get_fignums()  # pyplot would show them a second time


def test_a_smoke_run_draws_what_it_has(synthetic):
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    rng = np.random.default_rng(0)
    trials = synthetic.overload_rows(
        rng, ("select", "epoll"), ("one-packet",), ("receiver",), (2.0,), ("1", "inf"), rounds=1
    )
    smoke = Site("this machine", pd.DataFrame(trials + synthetic.machine_rows(rng, rounds=1, replicas=3)), {})
    words = {name for name in FIGURES if isinstance(figures.show(name, smoke), str)}
    assert words == {"accept_specweb", "accept_drops_specweb", "accept_peers", "machine_timers"}


def test_a_design_nobody_foresaw_gets_panels_of_its_own(synthetic):
    import pandas as pd  # noqa: PLC0415

    frame = synthetic.paper(rounds=2)
    newcomer = frame[frame["design"] == "epoll"].assign(design="uring")
    figure = figures.draw("accept_one_packet", Site("here", pd.concat([frame, newcomer]), {}))
    assert "uring, receiver pays" in {axes.get_title(loc="left") for axes in figure.axes}
