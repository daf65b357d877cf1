"""Trees, maps, journeys, critical paths: known answers by hand, slow obvious twins, and traces in every bad state."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights.frames import EDGES, SPANS, InputError, check
from lift_insights.journeys.map import edges, nodes
from lift_insights.journeys.paths import critical_path, journeys
from lift_insights.journeys.tree import tree

T = datetime(2026, 3, 2, 9, tzinfo=UTC)
BENCH = Path(os.environ.get("LIFT_INSIGHTS_BENCH_DATA", "../shared/data"))


def span(id, parent=None, start=0, ms=1.0, service="a", kind="internal", op=None, trace="t", **more):
    """One span; `start` in ms from T."""
    attributes = {k.replace("_", ".", 1): v for k, v in more.items() if k.startswith("peer")} | more.get("extra", {})
    return {
        "trace_id": trace,
        "span_id": id,
        "parent_id": parent,
        "service": service,
        "operation": op or service,
        "kind": kind,
        "start": T + timedelta(milliseconds=start),
        "duration_ms": ms,
        "status": None,
        "error": more.get("error", False),
        "fault": more.get("fault", False),
        "throttle": more.get("throttle", False),
        "attributes": json.dumps(attributes),
    }


def frame(*spans):
    return pl.DataFrame(list(spans), schema=SPANS.columns)


def by_id(spans, column):
    return dict(zip(spans["span_id"], spans[column], strict=True))


# ---- trees ----------------------------------------------------------------------------------------------------------


def test_a_tree():
    spans = frame(
        span("r", None, 0, 10), span("x", "r", 1, 4), span("y", "r", 3, 4), span("z", "y", 6, 9), span("o", "r", 9, 5)
    )
    found = tree(spans)
    assert by_id(found, "depth") == {"r": 0, "x": 1, "y": 1, "z": 2, "o": 1}
    assert by_id(found, "root_id") == dict.fromkeys("rxyzo", "r")
    assert by_id(found, "children") == {"r": 3, "x": 0, "y": 1, "z": 0, "o": 0}
    # r: children cover 1..7 and 9..10; y: z covers 6..7 of it
    assert by_id(found, "self_ms") == {"r": 3.0, "x": 4.0, "y": 3.0, "z": 9.0, "o": 5.0}
    assert not found["orphan"].any()
    assert found.columns[: len(SPANS.columns)] == list(SPANS.columns)


def test_ids_belong_to_their_trace():
    spans = frame(span("r", trace="1"), span("x", "r", trace="1"), span("x", "r", trace="2"))
    assert tree(spans)["orphan"].to_list() == [False, False, True]


def test_duplicates():
    spans = frame(span("r", ms=None), span("x", "r", ms=1), span("r", ms=5), span("r", ms=7))
    found = tree(spans)
    assert found.select("span_id", "duration_ms").rows() == [("x", 1.0), ("r", 5.0)]  # the first that is finished


@pytest.mark.parametrize("size", [1, 2, 3, 8, 100])
def test_circles_are_cut_at_their_earliest(size):
    ring = [span(f"c{i}", f"c{(i + 1) % size}", start=(i * 7 + 3) % size, ms=1000) for i in range(size)]
    tail = [span("t1", "c0", 50), span("t2", "t1", 51)]
    fine = [span("r", trace="u"), span("x", "r", trace="u")]
    found = tree(frame(*tail, *ring, *fine))
    earliest = min(range(size), key=lambda i: (i * 7 + 3) % size)
    heads = found.filter((pl.col("depth") == 0) & (pl.col("trace_id") == "t"))
    assert heads["span_id"].to_list() == [f"c{earliest}"]
    assert heads["orphan"].to_list() == [True]
    assert found.filter(pl.col("trace_id") == "t")["root_id"].unique().to_list() == [f"c{earliest}"]
    assert found.filter(pl.col("trace_id") == "u")["orphan"].to_list() == [False, False]
    assert found["depth"].max() <= size + 1


def test_a_long_chain():
    n = 10_000
    spans = frame(*[span(str(i), str(i - 1) if i else None, i / 1000, 20 - i / 1000) for i in range(n)])
    found = tree(spans)
    assert found["depth"].to_list() == list(range(n))
    path = critical_path(spans)
    assert path["self_ms"].sum() == pytest.approx(20)
    assert journeys(spans)["traces"].to_list() == [1]
    alternating = spans.with_columns(service=pl.Series(["a", "b"] * (n // 2)))
    assert journeys(alternating)["steps"][0].count("(") == n - 2


def test_ten_thousand_siblings():
    n = 10_000
    spans = frame(span("r", None, 0, n), *[span(str(i), "r", i, 1, service="b") for i in range(n)])
    path = critical_path(spans)
    assert len(path) == n + 1  # the root did nothing itself, but is on it
    assert path["self_ms"].sum() == pytest.approx(n)
    assert journeys(spans)["steps"].to_list() == ["a → b ×n"]


def test_in_progress_and_negative():
    spans = frame(span("r", ms=None), span("x", "r", ms=-5), span("q", "r", ms=float("nan")))
    assert by_id(tree(spans), "self_ms")["r"] is None
    assert by_id(tree(spans), "self_ms")["x"] == 0
    assert critical_path(spans).is_empty()
    assert journeys(spans)["traces"].to_list() == [1]


@st.composite
def traces(draw, kinds=("internal",)):
    """Spans of one trace on a grid of whole ms, in any order, some outside their parents."""
    n = draw(st.integers(1, 12))
    out = [span("0", None, 5, draw(st.integers(0, 30)), op="work")]
    for i in range(1, n):
        start, ms = draw(st.integers(0, 40)), draw(st.integers(0, 25))
        out.append(
            span(str(i), str(draw(st.integers(0, i - 1))), start, ms, op="work", kind=draw(st.sampled_from(kinds)))
        )
    return draw(st.permutations(out))


def slow_self(spans):
    """Self time by counting ms in which no child ran."""
    out = {}
    for one in spans:
        mine = set(range(begin(one), begin(one) + int(one["duration_ms"])))
        for child in spans:
            if child["parent_id"] == one["span_id"]:
                mine -= set(range(begin(child), begin(child) + int(child["duration_ms"])))
        out[one["span_id"]] = float(len(mine))
    return out


def begin(one):
    return round((one["start"] - T) / timedelta(milliseconds=1))


@given(traces())
@settings(max_examples=100, deadline=None)
def test_self_time_is_what_counting_gives(spans):
    assert by_id(tree(frame(*spans)), "self_ms") == slow_self(spans)


# ---- critical path --------------------------------------------------------------------------------------------------


def slow_path(spans):
    """CRISP as one would say it: walk back from the end, always into the child that had finished last."""
    out = {}

    def walk(one, lo, hi):
        children = []
        for child in spans:
            if child["parent_id"] == one["span_id"] and child["kind"] != "consumer":
                end = begin(child) + int(child["duration_ms"])
                a, b = min(max(begin(child), lo), hi), min(end, hi)
                if b > a:
                    children.append((b, end, -a, -int(child["at"]), child, a))
        now, own = hi, hi - lo
        while True:
            ready = [c for c in children if c[0] <= now]
            if not ready:
                break
            b, _, _, _, child, a = max(ready, key=lambda c: c[:4])
            walk(child, a, b)
            own -= b - a
            now = a
        out[one["span_id"]] = float(own)

    root = next(one for one in spans if one["parent_id"] is None)
    if root["duration_ms"] > 0:
        walk(root, begin(root), begin(root) + int(root["duration_ms"]))
    return out


@given(traces(kinds=("internal", "client", "consumer")))
@settings(max_examples=150, deadline=None)
def test_critical_path_is_what_walking_gives(spans):
    numbered = [one | {"at": i} for i, one in enumerate(spans)]
    assert by_id(critical_path(frame(*spans)), "self_ms") == slow_path(numbered)


@given(st.lists(traces(kinds=("internal", "consumer")), min_size=1, max_size=5))
@settings(max_examples=100, deadline=None)
def test_self_times_add_up_to_the_root(many):
    spans = [one | {"trace_id": str(i)} for i, trace in enumerate(many) for one in trace]
    sums = (
        critical_path(frame(*spans))
        .group_by("trace_id")
        .agg(pl.col("self_ms", "share").sum(), pl.col("root_ms").first())
    )
    roots = {
        one["trace_id"]: one["duration_ms"] for one in spans if one["parent_id"] is None and one["duration_ms"] > 0
    }
    assert dict(zip(sums["trace_id"], sums["self_ms"], strict=True)) == roots
    assert sums["root_ms"].to_list() == sums["self_ms"].to_list()
    assert all(share == pytest.approx(1) for share in sums["share"])


@given(st.floats(0.001, 1e6), st.floats(0, 1), st.floats(0, 1))
@settings(deadline=None)
def test_self_times_add_up_for_any_duration(ms, first, second):
    spans = frame(
        span("r", None, 0, ms), span("x", "r", ms * first, ms * (1 - first)), span("y", "x", ms * first, ms * second)
    )
    path = critical_path(spans)
    assert path["self_ms"].sum() == pytest.approx(round(ms, 6), abs=1e-6)


def known(*rows):
    return {id: pytest.approx(ms) for id, ms in rows}


def test_paths_by_hand():
    # one after the other: everything counts
    assert by_id(
        critical_path(frame(span("r", None, 0, 10), span("x", "r", 1, 3), span("y", "r", 5, 4))), "self_ms"
    ) == known(("r", 3), ("x", 3), ("y", 4))
    # side by side: only the slower one
    assert by_id(
        critical_path(frame(span("r", None, 0, 10), span("x", "r", 1, 3), span("y", "r", 1, 8))), "self_ms"
    ) == known(("r", 2), ("y", 8))
    # the last to finish began late; what overlaps its start was not waited for, what had ended before was
    spans = frame(span("r", None, 0, 10), span("x", "r", 0, 4), span("over", "r", 3, 4), span("y", "r", 5, 5))
    assert by_id(critical_path(spans), "self_ms") == known(("r", 1), ("x", 4), ("y", 5))
    # a child that outlives its parent is cut
    assert by_id(critical_path(frame(span("r", None, 0, 10), span("x", "r", 6, 30))), "self_ms") == known(
        ("r", 6), ("x", 4)
    )
    # a clock that runs ahead puts a child before its parent
    assert by_id(critical_path(frame(span("r", None, 5, 10), span("x", "r", 0, 8))), "self_ms") == known(
        ("r", 7), ("x", 3)
    )


def test_nobody_waits_for_a_queue():
    spans = frame(
        span("r", None, 0, 10, kind="server"),
        span("s", "r", 1, 8, kind="producer"),
        span("c", "s", 2, 6, service="b", kind="consumer"),
        span("w", "c", 3, 4, service="b"),
    )
    assert by_id(critical_path(spans), "self_ms") == known(("r", 2), ("s", 8))


def test_several_roots():
    spans = frame(span("o", "gone", 0, 50), span("r2", None, 9, 99), span("r1", None, 5, 10), span("x", "r1", 6, 2))
    assert by_id(critical_path(spans), "self_ms") == known(("r1", 8), ("x", 2))
    assert by_id(critical_path(frame(span("o", "gone", 0, 50))), "self_ms") == known(("o", 50))


# ---- map ------------------------------------------------------------------------------------------------------------


def payment(trace="t", at=0, retry=1, ledger_first=False, extra=()):
    """API → payments → fraud (its table), processor × retry, ledger; a message to notifications."""
    order = [("l", "ledger"), ("f", "fraud")] if ledger_first else [("f", "fraud"), ("l", "ledger")]
    out = [
        span("g", None, at, 100, "api", "server", "POST /payments", trace, extra={"origin": "AWS::ApiGateway::Stage"}),
        span(
            "gl", "g", at + 1, 98, "api", "client", "Lambda", trace, peer_service="Lambda payments", peer_type="service"
        ),
        span("p", "gl", at + 2, 96, "payments", "server", "POST /payments", trace, extra={"tenant_id": "aurora"}),
    ]
    for i, (id, name) in enumerate(order):
        out.append(
            span(
                id + "c",
                "p",
                at + 10 + 10 * i,
                9,
                "payments",
                "client",
                "HTTP.POST",
                trace,
                peer_service=name + ".internal",
                peer_type="external",
            )
        )
        out.append(span(id, id + "c", at + 12 + 10 * i, 6, name, "server", "POST /" + name, trace))
    out.append(
        span(
            "fd",
            "f",
            at + 23 if ledger_first else at + 13,
            2,
            "fraud",
            "client",
            "DynamoDB.GetItem",
            trace,
            peer_service="DynamoDB features",
            peer_type="database",
        )
    )
    for i in range(retry):
        out.append(
            span(
                f"x{i}",
                "p",
                at + 40 + 10 * i,
                8,
                "payments",
                "client",
                "HTTP.POST",
                trace,
                peer_service="bank.example",
                peer_type="external",
                fault=i < retry - 1,
            )
        )
    out.append(
        span(
            "s",
            "p",
            at + 80,
            5,
            "payments",
            "producer",
            "SQS.SendMessage",
            trace,
            peer_service="SQS mail",
            peer_type="queue",
        )
    )
    out.append(span("n", "s", at + 500, 40, "notifications", "consumer", "notifications", trace))
    return [*out, *extra]


def pairs(found):
    return {(c, s): n for c, s, n in found.select("client", "server", "calls").rows()}


def test_the_map_of_a_payment():
    found = edges(frame(*payment(retry=2)))
    assert pairs(found) == {
        ("client", "api"): 1,
        ("api", "payments"): 1,
        ("payments", "fraud"): 1,
        ("payments", "ledger"): 1,
        ("fraud", "DynamoDB features"): 1,
        ("payments", "bank.example"): 2,
        ("payments", "SQS mail"): 1,
        ("SQS mail", "notifications"): 1,
    }
    types = dict(found.select("server", "server_type").rows())
    assert types == {
        "api": "gateway",
        "payments": "service",
        "fraud": "service",
        "ledger": "service",
        "DynamoDB features": "database",
        "bank.example": "external",
        "SQS mail": "queue",
        "notifications": "service",
    }
    row = {(r["client"], r["server"]): r for r in found.iter_rows(named=True)}
    assert row["payments", "fraud"]["p50_ms"] == 9  # as the client saw it
    assert row["payments", "bank.example"]["faults"] == 1
    assert [pair for pair, r in row.items() if r["async"]] == [("SQS mail", "notifications")]
    assert row["SQS mail", "notifications"]["p50_ms"] == 40
    assert row["client", "api"]["client_type"] == "client"
    assert row["api", "payments"]["client_type"] == "gateway"
    assert found.columns == [*EDGES.columns, "client_type", "server_type", "async"]
    check(found, EDGES)


def test_nodes_of_a_payment():
    found = nodes(frame(*payment(retry=3)))
    assert dict(found.select("service", "calls").rows()) == {
        "api": 1,
        "payments": 1,
        "fraud": 1,
        "ledger": 1,
        "notifications": 1,
        "DynamoDB features": 1,
        "SQS mail": 1,
        "bank.example": 3,
    }
    assert found.filter(pl.col("service") == "fraud")["p50_ms"].item() == 6  # as it saw itself
    assert found.columns == ["service", "type", "calls", "errors", "faults", "throttles", "p50_ms", "p95_ms", "p99_ms"]


def test_calls_without_names_and_callers_without_spans():
    spans = frame(
        span("o", "gone", service="ledger", kind="server"),
        span("x", "o", service="ledger", kind="client", op="HTTP.GET"),
        span("c", None, service="mail", kind="consumer", trace="u"),
        span("d", None, service="post", kind="consumer", trace="v", peer_service="SQS post", peer_type="queue"),
    )
    assert pairs(edges(spans)) == {
        ("unknown", "ledger"): 1,
        ("ledger", "HTTP.GET"): 1,
        ("unknown", "mail"): 1,
        ("SQS post", "post"): 1,
    }


def test_a_call_to_oneself_and_a_queue_without_a_name():
    spans = frame(
        span("r", service="a", kind="server"),
        span("c", "r", service="a", kind="client", peer_service="a.internal", peer_type="external"),
        span("s", "c", service="a", kind="server"),
        span("p", "s", service="a", kind="producer"),
        span("q", "p", service="b", kind="consumer"),
    )
    assert pairs(edges(spans)) == {("client", "a"): 1, ("a", "a"): 1, ("a", "b"): 1}
    assert edges(spans).filter(pl.col("server") == "b")["async"].item()


def test_services_that_write_no_clients_spans():
    spans = frame(span("r", None, 0, 10, "web"), span("h", "r", 1, 5, "web"), span("b", "h", 2, 3, "cart", fault=True))
    found = edges(spans)
    assert pairs(found) == {("client", "web"): 1, ("web", "cart"): 1}
    assert found.filter(pl.col("server") == "cart").select("p50_ms", "faults").row(0) == (3.0, 1)


@given(traces(kinds=("internal", "client", "server", "producer", "consumer")), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_every_entry_is_one_call(spans, chance):
    named = [one | {"service": chance.choice("abc")} for one in spans]
    found, roles = edges(frame(*named)), {one["span_id"]: one for one in named}

    def enters(one):
        up = roles.get(one["parent_id"])
        return (
            up is None
            or up["service"] != one["service"]
            or (up["kind"] in ("client", "producer") and one["kind"] in ("server", "consumer"))
        )

    assert found.filter(pl.col("server_type") == "service")["calls"].sum() == sum(map(enters, named))
    assert nodes(frame(*named)).filter(pl.col("service").is_in(["a", "b", "c"]))["calls"].sum() == sum(
        map(enters, named)
    )


# ---- journeys -------------------------------------------------------------------------------------------------------


def steps(*spans, **how):
    return sorted(journeys(frame(*spans), **how)["steps"].to_list())


def test_the_journey_of_a_payment():
    found = journeys(frame(*payment()))
    row = found.row(0, named=True)
    assert row["entry"] == "api POST /payments"
    assert row["steps"] == "payments → fraud → ledger → bank.example → notifications"
    assert row["services"] == ["payments", "fraud", "ledger", "bank.example", "notifications"]
    assert (row["traces"], row["share"], row["p50_ms"], row["tenants"], row["trace_id"]) == (
        1,
        1.0,
        100.0,
        ["aurora"],
        "t",
    )
    assert steps(*payment(), detail="dependencies") == [
        "payments → fraud (DynamoDB features) → ledger → bank.example → SQS mail (notifications)"
    ]


def test_retries_are_one_variant():
    spans = [one for i in range(2, 9) for one in payment(f"t{i}", at=1000 * i, retry=2 + i % 3)]
    assert steps(*spans) == ["payments → fraud → ledger → bank.example ×n → notifications"]


def test_order_matters_where_there_is_one():
    assert steps(*payment("1"), *payment("2", ledger_first=True)) == [
        "payments → fraud → ledger → bank.example → notifications",
        "payments → ledger → fraud → bank.example → notifications",
    ]
    both = [
        [span("r", None, 0, 20, "a", trace=t), span("x", "r", x, 9, "x", trace=t), span("y", "r", y, 9, "y", trace=t)]
        for t, x, y in (("1", 1, 2), ("2", 2, 1), ("3", 3, 3))
    ]
    assert steps(*(one for three in both for one in three)) == ["a → x → y"]  # side by side


def test_steps_below_steps():
    spans = [
        span("r", None, 0, 50, "a"),
        span("b", "r", 1, 20, "b"),
        span("i", "b", 2, 18, "b"),
        span("c", "i", 3, 5, "c"),
        span("d", "i", 9, 5, "d"),
        span("e", "r", 30, 5, "e"),
    ]
    assert steps(*spans) == ["a → b (c → d) → e"]
    assert steps(*reversed(spans)) == ["a → b (c → d) → e"]


def test_a_variant_keeps_its_id():
    first, second = (
        journeys(frame(*payment())),
        journeys(frame(*payment("u"), *payment("v", ledger_first=True), *payment("w", retry=2))),
    )
    assert first["variant"][0] in second["variant"].to_list()
    assert second["variant"].n_unique() == 3


def test_endpoints_without_ids():
    paths = [
        "/payments/8",
        "/payments/123e4567-e89b-42d3-a456-426614174000",
        "/payments/pay_8fK2mX01",
        "/payments/5f0c1d1e2a3b",
    ]
    spans = [span("r", trace=str(i), op=f"GET {path}/items/7", kind="server") for i, path in enumerate(paths)]
    assert journeys(frame(*spans))["entry"].to_list() == ["a GET /payments/{id}/items/{id}"]
    kept = [
        span("r", trace=str(i), op=f"GET {path}", kind="server")
        for i, path in enumerate(["/feedback", "/v2/payments", "/reports/daily"])
    ]
    assert set(journeys(frame(*kept))["entry"]) == {"a GET /feedback", "a GET /v2/payments", "a GET /reports/daily"}


def test_what_it_waits_for():
    spans = [
        span("r", None, 0, 100, "a", "server", "GET /x"),
        span("q", "r", 10, 60, "a", "client", "DynamoDB.Query", peer_service="DynamoDB t", peer_type="database"),
        span("r", None, 0, 10, "a", "server", "GET /x", "u"),
        span("q", "r", 1, 2, "a", "client", "DynamoDB.Query", "u", peer_service="DynamoDB t", peer_type="database"),
    ]
    row = journeys(frame(*spans)).row(0, named=True)
    assert row["slowest"] == "a GET /x"
    assert row["slowest_share"] == pytest.approx((0.4 + 0.8) / 2)
    assert row["trace_id"] == "t"
    assert journeys(frame(*spans[:2]))["slowest"][0] == "a DynamoDB.Query → DynamoDB t"


def test_rates():
    spans = [span("r", trace=str(i), fault=i < 1, error=i < 2) for i in range(4)]
    assert journeys(frame(*spans)).select("error_rate", "fault_rate", "share").row(0) == (0.5, 0.25, 1.0)


# ---- the door -------------------------------------------------------------------------------------------------------

ALL = [tree, edges, nodes, journeys, critical_path]


@pytest.mark.parametrize("function", ALL)
def test_nothing_in_nothing_out(function):
    assert function(SPANS.empty()).is_empty()
    filled, empty = function(frame(*payment())), function(SPANS.empty())
    assert filled.schema == empty.schema


@pytest.mark.parametrize("function", ALL)
def test_pandas_in_pandas_out(function):
    spans = frame(*payment())
    answer = function(spans.to_pandas())
    assert type(answer).__module__.startswith("pandas")
    assert len(answer) == len(function(spans))


@pytest.mark.parametrize("function", ALL)
def test_what_is_no_frame_of_spans(function):
    with pytest.raises(InputError, match="missing: trace_id"):
        function(frame(*payment()).drop("trace_id"))


@pytest.mark.parametrize("function", ALL)
def test_rows_in_any_order_give_the_same(function):
    spans = frame(*payment("1"), *payment("2", at=7, retry=2), *payment("3", ledger_first=True))
    keys = [
        c for c in ("trace_id", "span_id", "client", "server", "service", "variant") if c in function(spans).columns
    ]
    expected = function(spans).sort(keys)
    for seed in range(5):
        assert function(spans.sample(fraction=1, shuffle=True, seed=seed)).sort(keys).equals(expected)


# ---- real traces ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not (BENCH / "nezha").exists(), reason="benchmark data is not here")
def test_online_boutique():
    raw = pl.read_parquet(BENCH / "nezha/spans_faultfree.parquet")
    spans = raw.select(
        trace_id="TraceID",
        span_id="SpanID",
        parent_id=pl.when(pl.col("ParentID") != "root").then("ParentID"),
        service=pl.col("PodName").str.replace(r"-[0-9a-f]+-[0-9a-z]+$", ""),
        operation="OperationName",
        kind=pl.lit("internal"),
        start=pl.from_epoch(pl.col("StartTimeUnixNano") // 1000, "us").dt.replace_time_zone("UTC"),
        duration_ms=(pl.col("EndTimeUnixNano") - pl.col("StartTimeUnixNano")) / 1e6,
        status=pl.lit(None, pl.Int64),
        error=False,
        fault=False,
        throttle=False,
        attributes=pl.lit("{}"),
    )
    calls = set(pairs(edges(spans))) - {("client", "frontend")}
    # https://github.com/GoogleCloudPlatform/microservices-demo, its architecture diagram
    documented = {
        "frontend": "ad cart checkout currency productcatalog recommendation shipping",
        "checkout": "cart currency email payment productcatalog shipping",
        "recommendation": "productcatalog",
    }
    whole = {
        (c + "service" * (c != "frontend"), s + "service") for c, servers in documented.items() for s in servers.split()
    }
    assert calls <= whole
    assert len(calls) >= 10
    path = critical_path(spans)
    sums = path.group_by("trace_id").agg(pl.col("self_ms").sum(), pl.col("root_ms").first())
    assert ((sums["self_ms"] - sums["root_ms"]).abs() < 1e-6).all()
    assert len(journeys(spans)) < 50


def test_spans_that_tell_no_kind_have_a_map_and_journeys():
    rows = frame(span("a", None, 0, 10, "shop"), span("b", "a", 1, 5, "stock")).with_columns(
        kind=pl.lit(None, pl.String)
    )
    assert edges(rows).select("client", "server").drop_nulls().rows()[-1] == ("shop", "stock")
    assert len(journeys(rows)) == 1
    assert len(critical_path(rows)) == 2
