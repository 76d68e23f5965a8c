import re

import pytest
from matplotlib import rc_context, rcParams
from matplotlib.figure import Figure

from harness.report.curves import panels
from harness.report.data import load
from harness.report.figures import quality
from harness.report.figures.legend import line_entries, mark_entries
from harness.report.figures.style import COLOURS, styles
from harness.report.figures.svg import inline
from tests.report import synthetic


def draw(store):
    data = load(store, "fig2")[0]
    shown, looks = panels(data), styles(data.plan["series"])
    frame = quality.common_frame(data, shown)
    return [inline(quality.plot(data, panel, frame, looks), f"p{index}") for index, panel in enumerate(shown)]


def ids(svg):
    return re.findall(r'\bid="([^"]*)"', svg)


def test_panels_show_what_they_should(store):
    vp, ve, adm = draw(store)
    for svg in (vp, ve, adm):
        assert ">perfect 1.62<" in svg
        for tick in (5, 10, 20, 50, 100, 200, 500, 1000):
            assert f">{tick}<" in svg
    assert ">paper 35 (FID 2.93)<" in vp
    assert ">paper 8192 (FID 4.78) →<" in ve  # off the axis
    assert "Our choices: best" in vp
    assert "Our choices" not in adm


def test_ids_do_not_collide_and_references_resolve(store):
    svgs = draw(store)
    every = [name for svg in svgs for name in ids(svg)]
    assert len(every) == len(set(every))
    for svg in svgs:
        wanted = set(re.findall(r'href="#([^"]*)"', svg)) | set(re.findall(r"url\(#([^)]*)\)", svg))
        assert wanted == set(ids(svg))


def test_colours_follow_the_page(store):
    svg = draw(store)[0]
    for colour in COLOURS:
        assert not re.search(rf"(?<!, ){colour.light}", svg)  # only as the fallback of a variable
    assert "var(--ours, " in svg
    assert "xmlns" not in svg
    assert "<style" not in svg


def test_the_readers_matplotlib_settings_do_not_matter_and_stay(store):
    plain = draw(store)
    with rc_context({"font.size": 30, "axes.grid": True, "svg.fonttype": "path"}):
        assert draw(store) == plain
        assert rcParams["font.size"] == 30


def test_words_of_the_metric_are_not_mathematics(store):
    data = load(store, "fig2")[0]
    frame = quality.common_frame(data, panels(data))._replace(y_title="FD $x_1$ <&>")
    svg = inline(quality.plot(data, frame=frame), "p")
    assert "FD $x_1$ &lt;&amp;&gt;" in svg


def test_values_that_a_log_axis_cannot_show(make_store):
    store = make_store(skip=range(1, 80))
    data = load(store, "fig2")[0]
    frame = quality.common_frame(data, panels(data))
    store.put_result(synthetic.row(synthetic.items()[1], value=-1e-9, low=-1.0, high=1.0))
    assert "<svg" in inline(quality.plot(load(store, "fig2")[0], frame=frame), "p")


def test_nothing_to_draw(make_store):
    data = load(make_store(skip=range(80)), "fig2")[0]
    assert quality.common_frame(data, panels(data)) is None
    assert mark_entries([], data.floor) == []
    with pytest.raises(ValueError, match="FD-digits: no trial is done yet"):
        quality.plot(data)


def test_series_look_alike_nowhere():
    many = [{"name": "base", "role": "baseline"}, *({"name": f"series {i}"} for i in range(12))]
    many += [{"name": "first of ours", "role": "ours"}, {"name": "ours", "role": "ours"}]
    looks = styles(many)
    assert list(looks) == [entry["name"] for entry in many]
    assert len(set(looks.values())) == len(many)
    assert looks["base"].colour.variable == "--baseline"
    assert looks["ours"].colour.variable == "--ours"
    legend = line_entries(looks, "series")
    names = [name for entry in legend.values() for name in ids(entry.symbol)]
    assert len(names) == len(set(names))


def test_a_thousand_series_look_alike_nowhere():
    looks = styles([{"name": str(number)} for number in range(1000)], first=["900", "700"])
    assert len(set(looks.values())) == 1000
    assert list(looks) == [str(number) for number in range(1000)]
    assert [looks[name] for name in ("900", "700")] == list(styles([{"name": "a"}, {"name": "b"}]).values())
    legend = line_entries({name: looks[name] for name in ("900", "999")}, "series")
    assert "stroke-dasharray" in legend["999"].symbol


def test_series_look_the_same_in_every_grid_order():
    looks = styles([{"name": "a", "role": "baseline"}, {"name": "b", "role": None}, {"name": "c", "role": "ours"}])
    assert [style.marker for style in looks.values()] == ["s", "^", "o"]


@pytest.mark.parametrize("label", ["plain", 'quotes " and <tags> & more'])
def test_labels_are_escaped(label):
    svg = inline(Figure(figsize=(1, 1), label=label).add_axes((0, 0, 1, 1)), "x")
    assert "<tags>" not in svg


def test_figures_are_the_users_own(store, tmp_path):
    """A plot is matplotlib's axes on a figure of their own, to be changed and saved."""
    data = load(store, "fig2")[0]
    axes = quality.plot(data, panels(data)[1])
    assert [len(line.get_xdata()) for line in axes.get_lines() if line.get_marker() == "s"] == [10]
    assert len(axes.figure.axes) == 2  # the lowest-NFE strip is the second
    axes.set_title("My own")
    axes.figure.savefig(tmp_path / "mine.png")
    assert (tmp_path / "mine.png").stat().st_size > 1000
