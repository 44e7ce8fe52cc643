import itertools

import pytest
from matplotlib import pyplot

from retrospective.analysis import figures, lazy_servers
from retrospective.analysis.figures import FIGURES, NothingToDraw, Site


@pytest.fixture
def reference(paper, facts):
    return Site("reference machine", paper, facts)


@pytest.fixture
def live(quick, facts):
    return Site("this machine", quick, facts)


@pytest.fixture(scope="module")
def few(synthetic):
    """Sites of one and of three rounds."""
    return {n: Site("this machine", synthetic.paper(rounds=n), synthetic.provenance()) for n in (1, 3)}


def save(figure, path):
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path.read_bytes()


def titles(figure):
    return {axes.get_title(loc="left") for axes in figure.axes}


def words_of(figure):
    return {text.get_text() for legend in figure.legends for text in legend.get_texts()}


#: What the quick profile does not measure.
PAPER_ONLY = {"accept_backlog", "accept_timeout", "accept_work", "timers_model"}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_draws_alone_and_beside_the_reference(name, live, reference, few, tmp_path):
    assert save(figures.draw(name, reference), tmp_path / "alone.svg")
    if name in PAPER_ONLY:
        live = few[3]
    assert save(figures.draw(name, live, reference), tmp_path / "beside.svg")


@pytest.mark.parametrize("name", [name for name in FIGURES if name.startswith("accept")])
@pytest.mark.parametrize("rounds", [1, 3])
def test_few_rounds_are_enough_to_draw(name, rounds, few, tmp_path):
    """One round has no intervals and three have wide ones; neither may stop a figure."""
    assert save(figures.draw(name, few[rounds]), tmp_path / "few.svg")


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


def test_a_panel_a_curve_and_one_for_single_loads(live):
    """The sender pays at one load only: its points share a panel, named on the axis, and nothing else is drawn."""
    figure = figures.draw("accept_one_packet", live)
    assert titles(figure) == {"select, receiver pays", "2004: µserver (Fig. 8)", "one load"}
    (points,) = [axes for axes in figure.axes if axes.get_title(loc="left") == "one load"]
    assert [label.get_text() for label in points.get_xticklabels()] == [
        "select\nx = 2\nsender",
        "epoll\nx = 2",
    ]


@pytest.mark.parametrize(
    ("name", "published", "limits"),
    [
        ("accept_specweb", "2004: µserver (Fig. 2)", {"1", "10", "Inf"}),
        ("accept_tux_one_packet", "2004: TUX (Fig. 10)", {"1", "50", "Inf"}),
        ("accept_tux_drops_specweb", "2004: TUX (Fig. 7)", {"1", "50", "Inf"}),
        ("accept_knot_one_packet", "2004: Knot (Fig. 12)", {"1", "50", "100"}),
        ("accept_knot_drops_specweb", "2004: Knot (Fig. 5)", {"1", "10", "50", "100"}),
    ],
)
def test_each_kind_has_its_own_figure_of_2004_and_its_limits(name, published, limits, reference):
    figure = figures.draw(name, reference)
    assert published in titles(figure)
    entries = {
        text.get_text() for axes in figure.axes if axes.get_legend() for text in axes.get_legend().get_texts()
    }
    entries |= words_of(figure)
    prefix = "accept-limit "
    assert {word.removeprefix(prefix) for word in entries if word.startswith(prefix)} == limits


def test_limits_that_a_reader_chose_are_drawn(synthetic):
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    trials = synthetic.overload_rows(
        np.random.default_rng(0),
        ("select",),
        ("one-packet",),
        ("receiver",),
        (0.7, 2.0),
        ("1", "30"),
        rounds=2,
    )
    figure = figures.draw("accept_one_packet", Site("this machine", pd.DataFrame(trials), {}))
    assert "accept-limit 30" in words_of(figure)


EXPERIMENT_FIGURES = {
    "accept_backlog": "sensitivity-backlog",
    "accept_concurrency": "concurrency",
    "accept_fairness": "fairness",
    "accept_peers": "peers",
}


@pytest.mark.parametrize("name", EXPERIMENT_FIGURES)
def test_loopback_trials_are_refused_in_words_and_never_mixed_in(name, paper):
    loopback = Site("this machine", paper.assign(charge="loopback"), {})
    with pytest.raises(NothingToDraw, match="loopback"):
        figures.draw(name, loopback)

    import pandas as pd  # noqa: PLC0415

    wild = paper.assign(charge="loopback")
    for column in ("replies_per_s", "server_cpu_us_per_reply", "latency_p99_us", "accepts_per_phase"):
        wild[column] *= 1000
    both = Site("here", pd.concat([paper, wild], ignore_index=True), {})
    alone = figures.draw(name, Site("here", paper, {}))
    for mixed, clean in zip(figures.draw(name, both).axes, alone.axes, strict=True):
        assert mixed.dataLim.bounds == pytest.approx(clean.dataLim.bounds)


def test_the_best_limit_is_ringed_only_where_it_gains(reference):
    """The synthetic servers lose by batching with 8 and 32 clients and gain with 128 and 512."""
    figure = figures.draw("accept_concurrency", reference)
    for axes in figure.axes[:3]:
        rings = [line for line in axes.lines if line.get_markersize() == 9]
        assert len(rings) == 2
        assert all(ring.get_ydata()[0] > 1 for ring in rings)


def test_equation_one_is_drawn_beside_the_diluted_gain(reference):
    """Work per request divides the gain; the model that made the rows is the equation's, so both fall together."""
    figure = figures.draw("accept_work", reference)
    (gain,) = [axes for axes in figure.axes if axes.get_title(loc="left") == "Gain, Inf over 1"]
    curves = [line for line in gain.lines if len(line.get_ydata()) == 3 and line.get_linestyle() != "None"]
    measured, predicted = [line.get_ydata() for line in curves]
    assert list(measured) == sorted(measured, reverse=True)
    assert list(predicted) == pytest.approx(list(measured), rel=0.05)


def test_rows_without_parts_of_the_cost_keep_their_bar(paper, facts):
    """Rows of schema 1 know only the sum of a reply's cost."""
    parts = ["server_user_us_per_reply", "server_system_us_per_reply"]
    figure = figures.draw("accept_peers", Site("here", paper.drop(columns=parts), facts))
    labels = paper.loc[paper["experiment"] == "peers", "label"].unique()
    assert len(figure.axes[0].patches) == len(labels)


def test_unknown_figures_are_named(live):
    with pytest.raises(ValueError, match="accept_gain"):
        figures.draw("nonsense", live)


def test_a_notebook_gets_words_instead_of_an_exception(paper, live):
    assert "no valid" in figures.show("accept_one_packet", Site("empty", paper.iloc[:0], {}))
    assert figures.show("machine_aa", live).axes
    assert not pyplot.get_fignums()  # pyplot would show them a second time


def test_the_surface_is_cut_where_lazy_reads_begin_to_pay(paper, facts):
    """In the model nothing is won one at a time; a copy costs a tenth more, so large reads gain later."""
    site = Site("here", paper[paper["design"] == "activation"], facts)
    figure = figures.draw("lazy_surface", site)
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    assert set(panels) == {f"activation, {number} at a time" for number in (1, 8, 64)}
    assert not panels["activation, 1 at a time"].lines
    cuts = [line.get_xydata().tolist() for line in panels["activation, 8 at a time"].lines]
    steps = [[3.5, -0.5], [3.5, 0.5], [3.5, 1.5], [2.5, 1.5], [2.5, 2.5]]
    assert sorted(map(sorted, cuts)) == sorted(sorted(pair) for pair in itertools.pairwise(steps))
    told = {text.get_text(): text.get_fontweight() for text in panels["activation, 8 at a time"].texts}
    assert len(told) > 10
    assert {told[word] for word in told if float(word) > 1.2} == {"bold"}


def test_a_cell_of_one_round_is_marked_as_undecided(paper, facts):
    few = paper[(paper["round"] == 0) | (paper["experiment"] != "surface")]
    figure = figures.draw("lazy_surface", Site("here", few, facts))
    cells = sum(len(axes.texts) for axes in figure.axes)
    assert sum(patch.get_hatch() is not None for axes in figure.axes for patch in axes.patches) == cells
    assert not any(text.get_fontweight() == "bold" for axes in figure.axes for text in axes.texts)


def test_a_smoke_run_draws_what_it_has(synthetic):
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    rng = np.random.default_rng(0)
    trials = synthetic.overload_rows(
        rng, ("select", "epoll"), ("one-packet",), ("receiver",), (2.0,), ("1", "inf"), rounds=1
    )
    smoke = Site("this machine", pd.DataFrame(trials + synthetic.machine_rows(rng, rounds=1, replicas=3)), {})
    drawn = {name for name in FIGURES if not isinstance(figures.show(name, smoke), str)}
    assert drawn == {
        *("machine_aa", "machine_who_pays", "machine_ceilings"),
        *("accept_one_packet", "accept_drops_one_packet", "accept_best", "accept_gain"),
        *("accept_drop_causes", "accept_getevents", "accept_eq1", "accept_latency"),
    }


def test_a_design_nobody_foresaw_gets_panels_of_its_own(synthetic):
    import pandas as pd  # noqa: PLC0415

    frame = synthetic.paper(rounds=2)
    newcomer = frame[frame["design"] == "epoll"].assign(design="kqueue")
    figure = figures.draw("accept_one_packet", Site("here", pd.concat([frame, newcomer]), {}))
    assert "kqueue, receiver pays" in titles(figure)


SERVER_FIGURES = [
    *("lazy_throughput", "lazy_response", "lazy_hot", "lazy_stall", "lazy_resources", "lazy_fits"),
]


@pytest.mark.parametrize("name", SERVER_FIGURES)
def test_figures_of_servers_say_what_the_machine_lacks(name, synthetic):
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    lost = synthetic.lazy.unavailable(synthetic.lazy.trace_rows(np.random.default_rng(0), 1))
    with pytest.raises(NothingToDraw, match="no-cgroup: "):
        figures.draw(name, Site("this machine", pd.DataFrame(lost), {}))


def test_every_server_is_named_at_its_curve_and_no_name_touches_another(reference):
    figure = figures.draw("lazy_throughput", reference)
    assert titles(figure) == {
        f"{trace}-like, {disk}" for trace in ("Rice", "Berkeley") for disk in ("own disk", "2004-like disk")
    }
    for axes in figure.axes:
        names = {text.get_text(): text for text in axes.texts}
        assert set(names) == set(lazy_servers.SERVERS)
        heights = sorted(text.xyann[1] for text in names.values())
        assert min(b - a for a, b in itertools.pairwise(heights)) > 0.06


def test_turns_that_were_never_counted_stand_at_zero(reference):
    figure = figures.draw("lazy_stall", reference)
    often = figure.axes[0]
    assert next(label.get_text() for label in often.get_xticklabels()) == "0"
    assert [label.get_text() for label in often.get_yticklabels()] == [
        name for name in lazy_servers.SERVERS if name not in ("threads", "processes")
    ]


def test_the_wall_stands_where_ticks_begin_to_be_missed(reference):
    """In the model two CPUs make 150,000 wake-ups by timerfd a second: 100 × 1 ms fit, and 400 do not."""
    figure = figures.draw("timers_wall", reference)
    panel = next(axes for axes in figure.axes if axes.get_title(loc="left") == "timerfd")
    walls = [line for line in panel.lines if line.get_linewidth() > 2]
    above_100 = [line for line in walls if list(line.get_ydata()) == pytest.approx([200, 200])]
    assert [sorted(line.get_xdata()) for line in above_100] == [pytest.approx([10**2.5, 10**3.5])]
    missed = {text.get_text() for text in panel.texts if text.get_text().endswith("%")}
    assert all(int(text.removesuffix("%")) > 10 for text in missed)
    assert len(missed) > 3


def test_a_wall_without_a_cell_that_is_spent_has_no_line(paper, facts):
    calm = paper[(paper["chapter"] == "timers") & (paper["granularity_us"].fillna(0) >= 100_000)]
    figure = figures.draw("timers_wall", Site("here", calm, facts))
    assert not [line for axes in figure.axes for line in axes.lines if line.get_linewidth() > 2]


def test_disturbed_trials_of_timers_are_left_out_in_words(paper, facts):
    disturbed = paper.assign(valid=False, status="invalid", reason="disturbed: others took 0.3 cores")
    with pytest.raises(NothingToDraw, match="'wall' \\(disturbed\\)"):
        figures.draw("timers_wall", Site("here", disturbed, facts))


def test_lateness_ends_at_the_wall(reference):
    figure = figures.draw("timers_lateness", reference)
    assert len(figure.axes) == 2
    for axes in figure.axes:
        assert max(max(line.get_xdata()) for line in axes.lines) < 1e6
