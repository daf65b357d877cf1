"""Figures: what is drawn is what is in the frames, whatever the names say, and everybody can tell the parts apart."""

import itertools
import json
from datetime import UTC, datetime, time, timedelta

import numpy as np
import plotly.graph_objects as go
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights.frames import InputError, series_key
from lift_insights.plots import alarms, maps, series, theme

START = datetime(2026, 3, 2, tzinfo=UTC)
EVIL = "</script><script>alert(1)</script><b>%{y}</b>\u2028"


def points(values, name="payments p99", step_s=300):
    times = pl.datetime_range(
        START, START + timedelta(seconds=step_s * (len(values) - 1)), f"{step_s}s", time_unit="us", eager=True
    )
    frame = pl.DataFrame(
        {"series": [name] * len(values), "timestamp": times, "value": pl.Series(values, dtype=pl.Float64)}
    )
    return frame.with_columns(pl.col("timestamp").dt.convert_time_zone("UTC"))


def finding(name="payments p99", start=0, end=60, **more):
    row = {
        "series": name,
        "start": START + timedelta(minutes=start),
        "end": START + timedelta(minutes=end),
        "kind": "spike",
        "severity": "high",
        "score": 0.9,
        "observed": 9.0,
        "expected": 1.0,
        "detector": "tail:value",
    }
    return pl.DataFrame([row | more])


def incident(start=0, end=60, label="card processor slow"):
    return pl.DataFrame(
        {
            "start": [START + timedelta(minutes=start)],
            "end": [START + timedelta(minutes=end)],
            "label": [label],
            "service": ["payments"],
        }
    )


def state(*changes, alarm="a"):
    return pl.DataFrame(
        {
            "alarm": [alarm] * len(changes),
            "timestamp": [START + timedelta(minutes=m) for m, _ in changes],
            "state": [s for _, s in changes],
            "reason": [""] * len(changes),
        }
    )


def of(fig, meta):
    return [trace for trace in fig.data if trace.meta == meta]


# --- theme: the oracles are WCAG's contrast and published simulations of colour blindness


def rgb(colour):
    return np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def linear(channel):
    return np.where(channel <= 0.04045, channel / 12.92, ((channel + 0.055) / 1.055) ** 2.4)


def contrast(one, two):  # WCAG 2.1, success criterion 1.4.3
    light = sorted((float(linear(rgb(c)) @ [0.2126, 0.7152, 0.0722]) for c in (one, two)), reverse=True)
    return (light[0] + 0.05) / (light[1] + 0.05)


def lab(colour_linear):
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ colour_linear
    f = np.where(
        xyz / [0.9505, 1, 1.089] > 0.008856,
        np.cbrt(xyz / [0.9505, 1, 1.089]),
        7.787 * xyz / [0.9505, 1, 1.089] + 16 / 116,
    )
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


BLIND = {  # Machado, Oliveira, Fernandes, IEEE Trans. Vis. Comput. Graph. 15 (2009) 1291, severity 1.0, linear RGB
    "none": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritan": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


@pytest.mark.parametrize("palette", [theme.LIGHT, theme.DARK], ids=["light", "dark"])
def test_contrast(palette):
    for role in ("ink", "muted", "finding", "alarm", "threshold", "incident", "forecast", "line", "ok"):
        least = 4.5 if role in ("ink", "muted", "threshold") else 3
        assert contrast(palette[role], palette["paper"]) >= least, role
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("kind", BLIND)
@pytest.mark.parametrize("palette", [theme.LIGHT, theme.DARK], ids=["light", "dark"])
def test_colour_blind(palette, kind):
    """Lines, findings and forecasts are over 10 CIE76 units apart for everybody; just noticeable is about 2.3."""
    seen = {
        role: lab(np.clip(BLIND[kind] @ linear(rgb(palette[role])), 0, 1)) for role in ("line", "finding", "forecast")
    }
    for one, two in itertools.combinations(seen, 2):
        assert np.linalg.norm(seen[one] - seen[two]) > 10, (one, two)


def test_meaning_is_never_colour_alone():
    assert len(set(theme.SYMBOLS.values())) == len(theme.SYMBOLS)
    assert len(set(theme.DASHES)) == len(theme.DASHES) == len(theme.CYCLE)


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_number_is_short(value):
    shown = theme.number(value)
    assert len(shown) <= 12 or abs(value) >= 1e15
    if np.isfinite(value) and 0.01 <= abs(value) < 1e15:
        size = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}.get(shown[-1], 1)
        assert float(shown.rstrip("kMGT").replace(",", "")) * size == pytest.approx(value, rel=0.01)


def test_units_and_labels():
    assert theme.unit("Milliseconds") == "ms"
    assert theme.unit("Count") == ""
    assert theme.unit(None) == ""
    assert theme.unit("furlongs") == "furlongs"
    assert theme.label(series_key("N", "m|x", {"a": "p,q"}, "p99")) == "m|x p99 · p,q"
    assert "<" not in theme.label(EVIL)
    assert "\u2028" not in theme.label(EVIL)


def test_dark_changes_colours_only():
    fig = series.series(points(range(50)), findings=finding(end=100), incidents=incident(), threshold=30, unit="ms")
    before, dark = fig.to_json(), theme.dark(fig)
    assert fig.to_json() == before
    text = dark.to_json()
    for role in ("paper", "ink", "line", "finding", "threshold"):
        assert theme.LIGHT[role] not in text
        assert theme.DARK[role] in text
    assert json.loads(text)["data"][0]["y"] == json.loads(before)["data"][0]["y"]
    with pytest.raises(InputError, match="plotly Figure"):
        theme.dark({"data": []})


# --- series


def twin(values, size):
    """What decimation has to keep, slowly: each stretch's least and greatest, the first and the last."""
    keep = {0, len(values) - 1}
    for i in range(0, len(values), size):
        part = list(range(i, min(i + size, len(values))))
        keep |= {min(part, key=lambda j: values[j]), max(part, key=lambda j: values[j])}
    return [(START + timedelta(seconds=300 * j), values[j]) for j in sorted(keep)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=400), st.integers(4, 60))
def test_decimate_is_its_slow_twin(values, most):
    got = series.decimate(points(values).drop("series"), most)
    if len(values) <= most:
        assert got["value"].to_list() == values
        return
    assert list(got.iter_rows()) == twin(values, -(-len(values) // (most // 2)))
    assert len(got) <= most + 4


def test_decimate_breaks_at_gaps():
    frame = points(range(1000)).filter(
        ~pl.col("timestamp").is_between(START + timedelta(hours=10), START + timedelta(hours=20))
    )
    got = series.decimate(frame, 100)
    at = got.with_row_index().filter(pl.col("value").is_null())["index"].to_list()
    assert len(at) == 1
    assert got["timestamp"][at[0] - 1] < START + timedelta(hours=10)
    assert got["timestamp"][at[0] + 1] > START + timedelta(hours=20)


def test_sparse_series_is_one_line_and_lonely_points_are_dots():
    sparse = points(range(600)).filter(pl.col("timestamp").dt.epoch("s") // 300 % 20 < 2)
    assert series.decimate(sparse, 1000)["value"].null_count() == 0
    lonely = points(range(600)).filter(
        ~pl.col("timestamp").dt.hour().is_in([3, 4]) | (pl.col("timestamp").dt.time() == time(3, 30))
    )
    modes = [t.mode for t in of(series.series(lonely), "series")]
    assert modes == ["lines", "markers"]


def test_large_series_stay_small():
    values = np.random.default_rng(1).normal(100, 5, 400_000)
    values[123_457] = 900
    fig = series.series(points(values, step_s=60), unit="ms")
    assert fig.data[0].y.max() == 900
    assert len(fig.to_json()) < 40_000


def test_series_draws_what_is_known():
    frame = points(np.arange(500.0) % 9)
    scores = frame.with_columns(lo=pl.lit(0.0), hi=pl.lit(12.0), expected=pl.lit(4.0))
    later = [START + timedelta(days=3, hours=h) for h in range(5)]
    forecasts = pl.DataFrame(
        {
            "series": "payments p99",
            "timestamp": later,
            "model": "naive",
            "level": 0.95,
            "mean": 4.0,
            "lo": 1.0,
            "hi": 8.0,
        }
    )
    fig = series.series(
        frame,
        scores=scores,
        findings=finding(start=40, end=90, observed=8.0),
        forecasts=forecasts,
        incidents=incident(),
        threshold=7,
        unit="Milliseconds",
    )
    assert {t.meta for t in fig.data} == {"band", "series", "finding", "forecast"}
    mark = next(t for t in of(fig, "finding") if t.mode == "markers")
    assert mark.y[0] == 8.0
    assert mark.marker.symbol == "diamond"
    assert (
        (START + timedelta(minutes=40)).timestamp() * 1000
        <= mark.x[0]
        < (START + timedelta(minutes=90)).timestamp() * 1000
    )
    assert [s.name for s in fig.layout.shapes] == ["incident", "threshold"]
    assert fig.layout.yaxis.title.text == "ms"
    assert fig.layout.xaxis.title.text == "UTC"


def test_times_are_drawn_in_utc():
    local = points([1, 2, 3]).with_columns(pl.col("timestamp").dt.convert_time_zone("Asia/Tokyo"))
    assert series.series(local).data[0].x[0] == START.timestamp() * 1000


def test_series_refuses_and_says_so():
    frame = points([1.0, 2.0])
    with pytest.raises(InputError, match="missing: value"):
        series.series(frame.drop("value"))
    with pytest.raises(InputError, match="no time zone"):
        series.series(frame.with_columns(pl.col("timestamp").dt.replace_time_zone(None)))
    with pytest.raises(InputError, match="lo and hi"):
        series.series(frame, scores=frame)
    with pytest.raises(InputError, match=r"at most 12.*small_multiples"):
        series.series(pl.concat([frame.with_columns(series=pl.lit(f"s{i}")) for i in range(13)]))
    with pytest.raises(InputError, match="findings needs"):
        series.series(frame, findings=frame)


@pytest.mark.parametrize("values", [[], [float("nan")] * 3, [float("inf")], [None, None]])
def test_nothing_to_draw_says_so(values):
    frame = points([1.0]).clear() if not values else points(values)
    assert "No data" in series.series(frame).layout.annotations[0].text
    assert "nothing to replay" in alarms.replay(frame, state(), {"Threshold": 1}).layout.annotations[0].text


def test_single_and_extreme_points():
    assert of(series.series(points([5.0])), "series")[1].mode == "markers"
    json.loads(series.series(points([1e300, -1e300, 0, float("inf"), 5e-324])).to_json())


def test_pandas_comes_in():
    fig = series.series(points([1.0, 2.0]).to_pandas(), findings=finding().to_pandas())
    assert isinstance(fig, go.Figure)
    assert of(fig, "series")


def test_names_are_never_markup():
    fig = series.series(
        points([1.0, 9.0, 2.0], name=EVIL),
        findings=finding(EVIL, kind=EVIL),
        incidents=incident(label=EVIL),
        title=EVIL,
    )
    lanes = series.timeline(
        finding(EVIL, kind=EVIL, severity=EVIL),
        incidents=incident(label=EVIL),
        states=state((0, "ALARM"), (9, "OK"), alarm=EVIL),
    )
    few = series.small_multiples(points([1.0, 2.0], name=EVIL))
    for one in (fig, lanes, few):
        assert "<script" not in one.to_json()
        assert "\\u003cscript" not in one.to_json()
    for trace in fig.data:
        assert EVIL not in (trace.hovertemplate or "")


def test_inputs_are_left_alone():
    frames = [points(range(30)), finding(end=50), incident(), state((0, "OK"), (20, "ALARM"))]
    copies = [f.clone() for f in frames]
    series.series(frames[0], findings=frames[1], incidents=frames[2])
    series.timeline(frames[1], incidents=frames[2], states=frames[3])
    alarms.replay(frames[0], frames[3], {"Threshold": 5}, frames[2])
    assert all(a.equals(b) for a, b in zip(frames, copies, strict=True))


def test_small_multiples_of_thousands():
    many = pl.concat([points([1.0, 2.0, 3.0], name=f"s{i}") for i in range(1500)])
    fig = series.small_multiples(many)
    assert len(of(fig, "series")) == 60
    assert any("1,440 more" in a.text for a in fig.layout.annotations)
    domains = [fig.layout[f"yaxis{'' if i == 1 else i}"].domain for i in range(1, 61)]
    assert all(0 <= lo < hi <= 1 for lo, hi in domains)


def test_timeline_lanes_by_severity():
    found = pl.concat(
        [finding("low", severity="low"), finding("worst", severity="critical"), finding("odd", severity="strange")]
    )
    fig = series.timeline(found, window=(START, START + timedelta(days=1)))
    assert fig.layout.yaxis.categoryarray == ("odd", "low", "worst")  # the axis counts from below
    assert {t.marker.symbol for t in fig.data if t.type == "scatter"} == {"star", "circle-open", "circle"}
    assert "Nothing unusual" in series.timeline(found.clear()).layout.annotations[0].text


def test_timeline_with_incidents_only_or_alarms_only():
    assert series.timeline(finding().clear(), incidents=incident()).layout.shapes
    assert of(series.timeline(finding().clear(), states=state((0, "ALARM"), (5, "OK"))), "alarm")


# --- alarms


def test_alarm_stretches():
    changes = state((0, "INSUFFICIENT_DATA"), (5, "OK"), (20, "ALARM"), (30, "OK"), (50, "ALARM"))
    until = START + timedelta(minutes=60)
    got = series.alarm_stretches(changes.sample(fraction=1, shuffle=True, seed=1), until)
    minutes = [
        ((a - START).seconds // 60, (b - START).seconds // 60) for a, b in got.select("start", "end").iter_rows()
    ]
    assert minutes == [(20, 30), (50, 60)]
    assert len(series.alarm_stretches(changes)) == 1  # nobody said until when
    assert series.alarm_stretches(changes.clear()).is_empty()


def test_replay_has_line_threshold_strip_and_incidents():
    alarm = {
        "Threshold": 7.0,
        "ComparisonOperator": "LessThanThreshold",
        "EvaluationPeriods": 3,
        "DatapointsToAlarm": 2,
        "Period": 300,
    }
    fig = alarms.replay(
        points(np.arange(60) % 9), state((0, "OK"), (100, "ALARM"), (150, "OK")), alarm, incident(90, 160), unit="%"
    )
    assert {t.meta for t in fig.data} == {"series", "OK", "ALARM"}
    assert any(a.text == "2 of 3 periods < 7\u202f%" for a in fig.layout.annotations)
    patterns = [t.marker.pattern.shape for t in fig.data if t.type == "bar"]
    assert len(set(patterns)) == len(patterns)
    with pytest.raises(InputError, match="PutMetricAlarm"):
        alarms.replay(points([1.0]), state(), None)


# --- maps


def edge(client, server, calls=100, faults=0, p95=50.0):
    more = {"errors": 0, "faults": faults, "throttles": 0, "p50_ms": p95 / 2, "p95_ms": p95, "p99_ms": p95 * 2}
    return {"client": client, "server": server, "calls": calls} | more


def cards(fig):
    names = of(fig, "nodes")[0]
    return {t.split("</b>")[0][3:]: (x, y) for t, x, y in zip(names.text, names.x, names.y, strict=True)}


def tangle(n, seed):
    rng = np.random.default_rng(seed)
    pairs = {(int(a), int(b)) for a, b in rng.integers(0, n, (2 * n, 2))} | {(i, i + 1) for i in range(0, n - 1, 3)}
    return pl.DataFrame([edge(f"s{a:02d}", f"s{b:02d}", int(rng.integers(1, 999))) for a, b in sorted(pairs)])


@pytest.mark.parametrize("seed", range(4))
def test_sixty_services_with_circles_do_not_overlap(seed):
    edges = tangle(60, seed)
    fig = maps.service_map(edges)
    at = cards(fig)
    assert len(at) == len({*edges["client"], *edges["server"]})
    for (x1, y1), (x2, y2) in itertools.combinations(at.values(), 2):
        assert abs(x1 - x2) >= maps.CARD_W or abs(y1 - y2) >= maps.CARD_H
    shuffled = maps.service_map(edges.sample(fraction=1, shuffle=True, seed=seed))
    assert shuffled.to_json() == fig.to_json()


def test_layers_are_longest_paths():
    """Against the definition, by trying every path."""
    pairs = [("a", "b"), ("b", "d"), ("a", "c"), ("c", "e"), ("e", "d"), ("x", "d")]

    def depth(node):
        return max((depth(a) + 1 for a, b in pairs if b == node), default=0)

    assert maps._layers(pairs, list("abcdex")) == {n: depth(n) for n in "abcdex"}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdefg"), st.sampled_from("abcdefg")), max_size=25))
def test_acyclic_has_no_circle_and_loses_nobody(pairs):
    turned = maps._acyclic(pairs)
    layer = maps._layers(turned, sorted({n for p in pairs for n in p}))
    assert all(layer[a] < layer[b] for a, b in turned)
    assert {frozenset(p) for p in turned} == {frozenset(p) for p in pairs if p[0] != p[1]}


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.floats(-500, 500), st.sampled_from([14.0, 64.0])), min_size=1, max_size=12))
def test_spread_is_scipys_isotonic_regression(items):
    from scipy.optimize import isotonic_regression

    wanted, tall = [w for w, _ in items], [t for _, t in items]
    offset = np.cumsum(tall) - np.array(tall) / 2
    assert maps._spread(wanted, tall) == pytest.approx(isotonic_regression(np.array(wanted) - offset).x + offset)


def test_a_failing_call_is_worded_not_only_coloured():
    fig = maps.service_map(pl.DataFrame([edge("a", "b", 1000, 80), edge("a", "c", 10)]))
    assert [a.text for a in fig.layout.annotations] == ["8\u202f%"]
    widths = {s.line.color: s.line.width for s in fig.layout.shapes if s.name == "call"}
    assert widths[theme.LIGHT["finding"]] > widths[theme.LIGHT["quiet"]]
    slow = maps.service_map(pl.DataFrame([edge("a", "b", p95=1500.0)]), by="latency")
    assert slow.layout.annotations[0].text == "1.5\u202fs"
    with pytest.raises(InputError, match='"errors" or "latency"'):
        maps.service_map(pl.DataFrame([edge("a", "b")]), by="colour")


def test_kinds_have_outlines_of_their_own():
    kinds = ["service", "database", "queue", "gateway", "client"]
    assert len({maps._outline(k, 0, 0) for k in kinds}) == len(kinds)
    nodes = pl.DataFrame({"service": ["a", "b"], "type": ["external", None]})
    fig = maps.service_map(pl.DataFrame([edge("a", "b")]), nodes)
    assert {s.name: s.line.dash for s in fig.layout.shapes if s.name != "call"} == {
        "external": "4px,3px",
        "service": "solid",
    }


def test_types_may_come_with_the_edges():
    edges = pl.DataFrame([edge("users", "table")]).with_columns(
        client_type=pl.lit("client"), server_type=pl.lit("database")
    )
    assert {s.name for s in maps.service_map(edges).layout.shapes} == {"call", "client", "database"}


def test_map_edge_cases():
    assert "No traces" in maps.service_map(pl.DataFrame([edge("a", "b")]).clear()).layout.annotations[0].text
    assert len(cards(maps.service_map(pl.DataFrame([edge("me", "me")])))) == 1
    assert "<script" not in maps.service_map(pl.DataFrame([edge(EVIL, "b")])).to_json()
    with pytest.raises(InputError, match="at most 200"):
        maps.service_map(pl.DataFrame([edge("hub", f"s{i}") for i in range(300)]))
    with pytest.raises(InputError, match="edges needs"):
        maps.service_map(pl.DataFrame({"client": ["a"]}))


def journey(**more):
    row = {
        "entry": "POST /payments",
        "steps": "payments → fraud",
        "traces": 5,
        "p50_ms": 10.0,
        "p95_ms": 30.0,
        "error_rate": 0.1,
    }
    return pl.DataFrame([row | {"slowest": "fraud", "slowest_share": 0.6} | more])


def test_journeys():
    fig = maps.journeys(pl.concat([journey()] * 15))
    assert len(of(fig, "p50")[0].x) == 12
    assert any("3 rarer" in a.text for a in fig.layout.annotations)
    assert any(a.text == "60% in fraud" for a in fig.layout.annotations)
    assert fig.layout.xaxis.title.text == "ms"
    assert any("a → b" in a.text for a in maps.journeys(journey(steps=["a", "b"])).layout.annotations)
    assert maps.journeys(journey(slowest=None, p95_ms=None)).data
    assert "<script" not in maps.journeys(journey(entry=EVIL, slowest=EVIL)).to_json()


def span(i, parent, **more):
    row = {
        "trace_id": "t",
        "span_id": str(i),
        "parent_id": None if parent is None else str(parent),
        "service": f"s{i}",
        "operation": "op",
        "kind": "server",
        "start": START + timedelta(milliseconds=10 * i),
        "duration_ms": 50.0,
        "status": 200,
        "error": False,
        "fault": False,
        "throttle": False,
        "attributes": "{}",
    }
    return row | more


def test_waterfall_walks_the_tree():
    spans = pl.DataFrame([span(3, 1), span(0, None), span(2, 1), span(1, 0), span(4, 0)])
    assert [(r["span_id"], r["depth"]) for r in maps._tree(spans)] == [("0", 0), ("1", 1), ("2", 2), ("3", 2), ("4", 1)]


def test_waterfall_survives_orphans_circles_and_unfinished():
    spans = pl.DataFrame([span(1, 2), span(2, 1), span(3, 99), span(4, 4, duration_ms=None), span(5, 3, fault=True)])
    assert {r["span_id"] for r in maps._tree(spans)} == set("12345")
    fig = maps.waterfall(spans)
    assert of(fig, "failed")
    assert sum(len(t.y) for t in fig.data if t.type == "bar") == 5


def test_waterfall_marks_the_critical_path_of_one_trace():
    spans = pl.DataFrame([span(0, None), span(1, 0), span(9, None, trace_id="other")])
    for fig in (
        maps.waterfall(spans, critical=spans.head(1)),
        maps.waterfall(spans.with_columns(on_path=pl.col("span_id") == "0")),
    ):
        solid, pale = of(fig, "on the critical path")[0], of(fig, "not on it")[0]
        assert list(solid.y) == [0]
        assert list(pale.y) == [1]
        assert solid.width > pale.width  # thickness, not only colour
    assert "No traces" in maps.waterfall(spans.clear()).layout.annotations[0].text
