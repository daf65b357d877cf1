"""Slack, drag, and what-if against a request played again child by child; clocks, links and retries; paths by hand."""

import json
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights.journeys.clocks import shifts
from lift_insights.journeys.critical import critical_path, slack, walk
from lift_insights.journeys.links import links
from lift_insights.journeys.map import edges
from lift_insights.journeys.paths import journeys
from lift_insights.journeys.slack import replay, sweep
from lift_insights.journeys.tree import forest, tree
from tests.test_journeys import T, begin, by_id, frame, payment, span, traces

# ---- slow twins -----------------------------------------------------------------------------------------------------


def cut(spans):
    """Start and end of each span, cut to its parent's, in ms; the children that somebody waits for."""
    one = {s["span_id"]: s for s in spans}
    times, below = {}, {id: [] for id in one}

    def place(id):
        if id not in times:
            lo, hi = begin(one[id]), begin(one[id]) + int(one[id]["duration_ms"])
            up = one[id]["parent_id"]
            if up is not None:
                a, b = place(up)
                lo = min(max(lo, a), b)
                hi = min(max(hi, lo), b)
                if one[id]["kind"] != "consumer" and hi > lo:
                    below[up].append(id)
            times[id] = lo, hi
        return times[id]

    for id in one:
        place(id)
    return times, below


def played(spans, factor=None, longer=None, nothing=None):
    """How long the root takes if own times are multiplied, spans made longer by so many ms, or one takes no time."""
    times, below = cut(spans)
    factor, longer = factor or {}, longer or {}

    def length(id):
        if id == nothing:
            return 0
        lo, hi = times[id]
        f = factor.get(id, 1)
        ends = {}
        for child in sorted(below[id], key=lambda c: times[c]):
            earlier = [c for c in below[id] if times[c][1] <= times[child][0]]
            held = max((times[c][1] for c in earlier), default=lo)
            start = max((ends[c] for c in earlier), default=0) + f * (times[child][0] - held)
            ends[child] = start + length(child)
        tail = hi - max((times[c][1] for c in below[id]), default=lo)
        return max(ends.values(), default=0) + f * tail + longer.get(id, 0)

    return length(next(s["span_id"] for s in spans if s["parent_id"] is None))


def reached(spans):
    """Ids that somebody waits for, all the way up."""
    _, below = cut(spans)
    out, todo = set(), [s["span_id"] for s in spans if s["parent_id"] is None and s["duration_ms"] > 0]
    while todo:
        out.add(now := todo.pop())
        todo += below[now]
    return out


@given(traces(kinds=("internal", "client", "consumer")))
@settings(max_examples=100, deadline=None)
def test_slack_is_how_far_a_span_can_grow(spans):
    whole = played(spans)
    found = by_id(slack(frame(*spans)), "slack_ms")
    for id, ms in found.items():
        if id not in reached(spans):
            assert ms is None
            continue
        assert played(spans, longer={id: ms}) == whole
        assert played(spans, longer={id: ms + 1}) == whole + 1


@given(traces(kinds=("internal", "client", "consumer")))
@settings(max_examples=100, deadline=None)
def test_drag_is_what_a_span_costs(spans):
    whole = played(spans)
    path = critical_path(frame(*spans))
    for id, ms in by_id(path, "drag_ms").items():
        assert whole - played(spans, nothing=id) == ms
    assert (path["slack_ms"] == 0).all()


@given(traces(kinds=("internal", "client", "consumer")), st.data())
@settings(max_examples=100, deadline=None)
def test_a_replay_is_what_playing_gives(spans, data):
    trees = forest(frame(*spans))
    path = walk(trees)
    ids = trees.spans["span_id"].to_list()
    factor = np.array([[data.draw(st.sampled_from([0, 0.25, 1, 2])) for _ in ids] for _ in range(2)])
    found = replay(trees, sweep(trees, path.lo, path.hi), path.lo, path.hi, factor)
    root = trees.parent.tolist().index(-1)
    for line, taken in zip(factor, found, strict=True):
        assert taken[root] / 1e6 == played(spans, factor=dict(zip(ids, line, strict=True)))


@given(st.lists(traces(), min_size=1, max_size=4))
@settings(max_examples=50, deadline=None)
def test_traces_do_not_disturb_each_other(many):
    together = frame(*[one | {"trace_id": str(i)} for i, trace in enumerate(many) for one in trace])
    apart = [critical_path(frame(*[one | {"trace_id": str(i)} for one in trace])) for i, trace in enumerate(many)]
    assert critical_path(together).equals(pl.concat(apart))


# ---- by hand: the shapes of CRISP (Zhang et al., USENIX ATC 2022), with answers worked out on paper -----------------

SHAPES = {
    # children one after the other: all of it counts, nothing may slip
    "serial": (
        [("r", None, 0, 100), ("a", "r", 10, 30), ("b", "r", 50, 40)],
        {"r": 30, "a": 30, "b": 40},
        {"r": 100, "a": 30, "b": 40},
        {},
    ),
    # side by side: the one that ends last, whose drag is the other's slack
    "parallel": (
        [("r", None, 0, 100), ("a", "r", 10, 50), ("b", "r", 10, 80)],
        {"r": 20, "b": 80},
        {"r": 100, "b": 30},
        {"a": 30},
    ),
    # fan-out, join, fan-out: the last to end of each
    "two joins": (
        [
            ("r", None, 0, 100),
            ("a", "r", 0, 30),
            ("b", "r", 0, 40),
            ("c", "r", 40, 60),
            ("d", "r", 45, 50),
        ],
        {"r": 0, "b": 40, "c": 60},
        {"r": 100, "b": 10, "c": 5},
        {"a": 10, "d": 5},
    ),
    # a child of a child that is not on the path is not on it, however long it is in its parent
    "nested": (
        [
            ("r", None, 0, 100),
            ("a", "r", 0, 90),
            ("aa", "a", 10, 60),
            ("b", "r", 0, 70),
            ("bb", "b", 0, 70),
        ],
        {"r": 10, "a": 30, "aa": 60},
        {"r": 100, "a": 20, "aa": 20},
        {"b": 20, "bb": 20},
    ),
    # a chain beside one long call: each of its parts may slip by what the chain has left
    "chain beside": (
        [("r", None, 0, 100), ("x", "r", 0, 100), ("a", "r", 0, 40), ("b", "r", 45, 50)],
        {"r": 0, "x": 100},
        {"r": 100, "x": 5},
        {"a": 5, "b": 5},
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_by_hand(shape):
    rows, own, drags, slacks = SHAPES[shape]
    spans = frame(*[span(id, up, at, ms) for id, up, at, ms in rows])
    path = critical_path(spans)
    assert by_id(path, "self_ms") == own
    assert by_id(path, "drag_ms") == drags
    off = slack(spans).filter(~pl.col("on_path"))
    assert by_id(off, "slack_ms") == slacks


# ---- clocks ---------------------------------------------------------------------------------------------------------


def called(at=0, off=0, ms=60.0, kind="server", whole=100.0):
    """A calls B, whose clock is `off` ms wrong, and B its table and then C, whose clock is right."""
    return [
        span("r", None, at, 200, "a", "server"),
        span("c", "r", at + 20, whole, "a", "client"),
        span("s", "c", at + 40 + off, ms, "b", kind),
        span("d", "s", at + 45 + off, 10, "b", "client"),
        span("e", "s", at + 60 + off, 30, "b", "client"),
        span("f", "e", at + 62, 25, "c", "server"),
    ]


@pytest.mark.parametrize("off", [-5000, -300, 300, 5000])
def test_a_clock_is_put_right(off):
    found = tree(frame(*called(off=off)))
    assert by_id(found, "skew_ms") == {"r": 0, "c": 0, "s": -off, "d": -off, "e": -off, "f": 0}
    assert not found["late"].any()
    assert found["start"].to_list() == [one["start"] for one in called(off=off)]  # what was written stays
    straight = critical_path(frame(*called())).drop("start")
    assert critical_path(frame(*called(off=off))).drop("start").equals(straight)


@given(st.integers(-10_000, 10_000), st.integers(0, 40), st.integers(0, 40))
@settings(max_examples=100, deadline=None)
def test_a_clock_is_known_to_half_the_way(off, there, back):
    spans = [span("c", None, 0, 100, "a", "client"), span("s", "c", there + off, 100 - there - back, "b", "server")]
    moved = by_id(tree(frame(*spans)), "skew_ms")["s"]
    inside = there + off >= 0 and off <= back
    assert moved == 0 if inside else abs(moved + off) <= (there + back) / 2


def test_what_is_no_clock():
    patient = called(ms=400.0)  # the client gave up; the server went on
    assert not tree(frame(*patient))["skew_ms"].to_numpy().any()
    assert by_id(tree(frame(*patient)), "late")["s"]
    loose = [span("r", None, 0, 10, "a"), span("x", "r", 5, 8, "b")]  # no server's side: it may just go on
    assert by_id(tree(frame(*loose)), "skew_ms") == {"r": 0, "x": 0}
    assert by_id(tree(frame(*loose)), "late") == {"r": False, "x": True}
    queue = [span("s", None, 50, 5, "a", "producer"), span("n", "s", 20, 9, "b", "consumer")]
    assert not tree(frame(*queue))["skew_ms"].to_numpy().any()
    open_ = [span("r", None, 50, None, "a", "client"), span("x", "r", 20, 8, "b", "server")]
    assert by_id(tree(frame(*open_)), "skew_ms") == {"r": 0, "x": 30}  # known: not before its call


@given(st.lists(traces(kinds=("client", "server", "internal")), min_size=1, max_size=3), st.data())
@settings(max_examples=100, deadline=None)
def test_nothing_waited_for_begins_before_its_call(many, data):
    spans = [
        one | {"trace_id": str(i), "service": data.draw(st.sampled_from("abc"))}
        for i, trace in enumerate(many)
        for one in trace
    ]
    trees = forest(frame(*spans))
    service, kind = trees.spans["service"].to_list(), trees.spans["kind"].to_list()
    for i, up in enumerate(trees.parent):
        if up >= 0 and (service[i] != service[up] or (kind[up], kind[i]) == ("client", "server")):
            assert trees.start[i] >= trees.start[up]
        elif up >= 0:
            assert trees.skew[i] == trees.skew[up]


def test_nothing_to_put_right_for_nobody():
    none, flags = np.zeros(0, np.int64), np.zeros(0, bool)
    assert len(shifts(none, none, none, none, none, flags, flags)) == 0


# ---- links ----------------------------------------------------------------------------------------------------------


def batch(*targets, shape="otel"):
    names = ("traceId", "spanId") if shape == "otel" else ("trace_id", "id")
    return {"links": [dict(zip(names, target, strict=True)) for target in targets]}


@pytest.mark.parametrize("shape", ["otel", "xray"])
def test_a_journey_goes_on_behind_a_link(shape):
    ids = "1-" + "a" * 8 + "-" + "a" * 24
    sent = ["a" * 32 if shape == "otel" else ids, "s"]
    first = [
        span("r", None, 0, 10, "shop", "server", trace=ids),
        span("s", "r", 2, 5, "shop", "producer", trace=ids, peer_service="SQS mail", peer_type="queue"),
    ]
    there = span("m", None, 400, 30, "mailer", "consumer", trace="2", extra=batch(sent, ["b" * 32, "x"], shape=shape))
    below = span("d", "m", 410, 5, "mailer", "client", trace="2", peer_service="SES", peer_type="external")
    spans = frame(*first, there, below)
    found = tree(spans)
    assert by_id(found, "linked") == {"r": False, "s": False, "m": True, "d": False}
    assert by_id(found, "root_id") == dict.fromkeys("rsmd", "r")
    assert journeys(spans).select("steps", "traces").rows() == [("shop → mailer (SES)", 1)]
    row = {(r["client"], r["server"]): r for r in edges(spans).iter_rows(named=True)}
    assert set(row) == {("client", "shop"), ("shop", "SQS mail"), ("SQS mail", "mailer"), ("mailer", "SES")}
    assert row["SQS mail", "mailer"]["async"]
    assert by_id(critical_path(spans), "self_ms") == {"r": 5, "s": 5}
    said = links(spans)
    assert said["waited_ms"].to_list() == [393.0, None]
    assert said["from_service"].to_list() == ["shop", None]


@pytest.mark.parametrize(
    "given", [None, "links", {"links": 3}, {"links": [None, 7, {"spanId": 4}, {"traceId": "x"}]}, []]
)
def test_what_is_no_link(given):
    one = span("m", None, 0, 3, kind="consumer") | {"attributes": json.dumps(given)}
    two = span("n", None, 0, 3, kind="consumer") | {"attributes": '{"links": [{"traceId": '}
    assert links(frame(one, two)).is_empty()
    assert tree(frame(one, two))["linked"].to_list() == [False, False]


def test_links_in_a_circle():
    spans = [
        span(id, None, i, 5, "a", "consumer", trace=t, extra=batch([other, to], shape="xray"))
        for i, (id, t, other, to) in enumerate([("x", "1", "2", "y"), ("y", "2", "1", "x")])
    ]
    found = tree(frame(*spans))
    assert by_id(found, "depth") == {"x": 0, "y": 1}
    assert by_id(found, "linked") == {"x": False, "y": True}
    child = batch(["1", "r"], shape="xray")
    child["links"][0]["attributes"] = {"ReferenceType": "child"}
    down = frame(span("r", None, 0, 5, trace="1"), span("q", None, 1, 2, trace="2", extra=child))
    assert not tree(down)["linked"].any()  # a link to what comes after says nothing of where one came from


# ---- retries and cold starts ----------------------------------------------------------------------------------------


def test_attempts():
    found = by_id(tree(frame(*payment(retry=3))), "attempt")
    assert {id: n for id, n in found.items() if n > 1} == {"x1": 2, "x2": 3}
    side = [span("r", None, 0, 50), span("x", "r", 0, 20, fault=True), span("y", "r", 10, 20)]
    for one in side[1:]:
        one["operation"] = "same"
    assert by_id(tree(frame(*side)), "attempt") == {"r": 1, "x": 1, "y": 1}  # begun before the other had failed
    side[2]["start"] = T + timedelta(milliseconds=20)
    assert by_id(tree(frame(*side)), "attempt") == {"r": 1, "x": 1, "y": 2}
    side[2]["operation"] = "other"
    assert by_id(tree(frame(*side)), "attempt") == {"r": 1, "x": 1, "y": 1}


def test_what_spans_say():
    spans = [
        span("a", extra={"cold_start": True}),
        span("b", extra={"aws": {"retries": 2}}),
        span("c", extra={"annotations": {"http.request.resend_count": 3}}),
        span("d", op="Initialization"),
        span("e", extra={"aws": {"retries": "many"}, "cold_start": False}),
    ]
    found = tree(frame(*spans))
    assert by_id(found, "cold_start") == {"a": True, "b": False, "c": False, "d": True, "e": False}
    assert by_id(found, "retries") == {"a": 0, "b": 2, "c": 3, "d": 0, "e": 0}


# ---- size and bad input ---------------------------------------------------------------------------------------------


def test_a_trace_of_ten_thousand_in_many_pages():
    rng = np.random.default_rng(5)
    up = [None] + [str(rng.integers(max(0, i - 50), i)) for i in range(1, 10_000)]
    spans = frame(*[span(str(i), up[i], i / 100, 200 - i / 100, service="abc"[i % 3]) for i in range(10_000)])
    pages = pl.concat([spans[i::7] for i in range(7)] + [spans[:100]])
    path = critical_path(pages)
    assert path["self_ms"].sum() == pytest.approx(200)
    assert len(tree(pages)) == 10_000
    assert len(slack(pages)) == 10_000


def test_xray_and_opentelemetry_in_one_trace():
    from lift_insights.sources.traces import parse, parse_otel

    id = "1-" + "a" * 8 + "-" + "b" * 24
    document = {"trace_id": id, "id": "1" * 16, "name": "shop", "start_time": 1e9, "end_time": 1e9 + 0.1}
    call = {"id": "2" * 16, "name": "ledger", "namespace": "remote", "start_time": 1e9 + 0.02, "end_time": 1e9 + 0.08}
    record = {
        "traceId": "a" * 8 + "b" * 24,
        "spanId": "3" * 16,
        "parentSpanId": "2" * 16,
        "name": "POST /entries",
        "kind": "SERVER",
        "startTimeUnixNano": 1_000_000_000_030_000_000,
        "endTimeUnixNano": 1_000_000_000_070_000_000,
        "resource": {"attributes": {"service.name": "ledger"}},
    }
    spans = pl.concat([parse([document | {"subsegments": [call]}]), parse_otel([record])])
    assert tree(spans)["depth"].to_list() == [0, 1, 2]
    assert edges(spans).select("client", "server").rows() == [("client", "shop"), ("shop", "ledger")]
    assert critical_path(spans)["self_ms"].to_list() == pytest.approx([40, 20, 40])
