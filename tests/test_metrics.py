"""Metrics against the embedded local AWS over HTTP: every datapoint once, in few calls, and nothing lost in silence."""

import itertools
import time
import warnings
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from botocore.exceptions import ClientError
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from benchmarks import volumes
from lift_insights import sandbox, simulate
from lift_insights.aws import calls
from lift_insights.aws import session as sessions
from lift_insights.aws.calls import IncompleteError
from lift_insights.aws.ledger import BudgetError, Ledger
from lift_insights.frames import InputError, parse_series, series_key
from lift_insights.sandbox.server import LocalAWS, serving
from lift_insights.sources import metrics, queries, tiling

NOW = datetime(2026, 3, 16, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
OTHER = "210987654321"


@pytest.fixture(scope="module")
def small():
    """One simulated day, laid into a local AWS."""
    telemetry = simulate.platform(1, 3)
    with sandbox.local(telemetry) as session:
        assert session.account  # asked of STS once, by whichever test needs it first
        yield SimpleNamespace(session=session, telemetry=telemetry)


def brute(telemetry, metric, period_s, stat):
    """The datapoints of a metric without dimensions, the obvious way."""
    rows = telemetry.metrics.filter(pl.col("metric") == metric, pl.col("dimensions").list.len() == 0)
    bins = {}
    for row in rows.iter_rows(named=True):
        at = int(row["timestamp"].timestamp()) // period_s * period_s
        values = bins.setdefault(at, [])
        for value, count in zip(row["values"], row["counts"]):
            values += [value] * count
    take = {"Sum": sum, "Maximum": max, "SampleCount": len, "Average": lambda v: sum(v) / len(v)}[stat]
    return {datetime.fromtimestamp(at, UTC): float(take(values)) for at, values in sorted(bins.items())}


def laid(names, since, minutes, step=1):
    """Samples of metrics without dimensions, 1.0 every `step` minutes of as many as are asked for."""
    at = [since + i * step * MINUTE for i in range(minutes // step)]
    frames = [
        pl.DataFrame({"timestamp": at}).select(
            namespace=pl.lit("N"),
            metric=pl.lit(name),
            dimensions=pl.lit(None, dtype=pl.List(pl.Struct({"name": pl.String, "value": pl.String}))),
            unit=pl.lit("Count"),
            timestamp=pl.col("timestamp").cast(pl.Datetime("us", "UTC")),
            values=pl.concat_list(pl.lit(1.0)),
            counts=pl.concat_list(pl.lit(1)),
        )
        for name in names
    ]
    return pl.concat(frames)


def held(put):
    """Telemetry that ends now: these metrics, and nothing else."""
    nothing = {name: pl.DataFrame(schema=volumes.NOTHING[name]) for name in ("logs", "traces")}
    return SimpleNamespace(metrics=put, end=NOW, **nothing)


def metric(name, period=None, stat="Sum", **more):
    about = {"Metric": {"Namespace": "N", "MetricName": name}, "Stat": stat} | ({"Period": period} if period else {})
    return {"Id": name, "MetricStat": about} | more


def made(session, operation="GetMetricData"):
    return session.ledger.frame().filter(pl.col("operation") == operation).height


# --- tiles


@settings(max_examples=400, deadline=None)
@given(
    items=st.integers(1, 60), steps=st.integers(1, 80), widest=st.integers(1, 25), largest=st.integers(1, 90)
)  # fmt: skip
def test_tiles_cover_each_cell_once_within_the_limits(items, steps, widest, largest):
    tiles = tiling.tile(items, steps, widest=widest, largest=largest)
    cells = [(i, t) for i, j, a, b in tiles for i in range(i, j) for t in range(a, b)]
    assert len(cells) == len(set(cells)) == items * steps
    assert all(0 < j - i <= widest and 0 < (j - i) * (b - a) <= largest for i, j, a, b in tiles)


@settings(max_examples=1500, deadline=None)
@given(items=st.integers(1, 20_000), steps=st.integers(1, 600_000))
def test_tiles_are_at_most_five_percent_above_the_least(items, steps):
    assume(items * steps <= 10**9)
    tiles = tiling.tile(items, steps)
    least = tiling.least_calls(items, steps)
    assert least <= len(tiles) <= max(least + 1, 1.05 * least)
    assert sum((j - i) * (b - a) for i, j, a, b in tiles) == items * steps
    assert all(j - i <= 500 and (j - i) * (b - a) <= 100_800 for i, j, a, b in tiles)


@pytest.mark.parametrize(
    ("items", "steps", "calls"),
    [(1, 1, 1), (500, 201, 1), (501, 201, 2), (300, 10_080, 30), (1, 100_801, 2), (1203, 60, 3), (10, 10_080, 1), (5, 60_480, 3)],
)  # fmt: skip
def test_tiles_of_shapes_whose_least_is_known(items, steps, calls):
    assert len(tiling.tile(items, steps)) == calls


def fewest(items, steps, widest, largest):
    """The fewest tiles, by trying all: the first free cell is the corner of some tile."""

    @lru_cache(None)
    def rest(free):
        if not free:
            return 0
        i, t = min(free)
        best = items * steps
        for j, b in itertools.product(range(i + 1, items + 1), range(t + 1, steps + 1)):
            cells = {(x, y) for x in range(i, j) for y in range(t, b)}
            if j - i <= widest and len(cells) <= largest and cells <= free:
                best = min(best, 1 + rest(free - cells))
        return best

    return rest(frozenset(itertools.product(range(items), range(steps))))


@pytest.mark.parametrize("items", [1, 2, 3, 4])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_tiles_against_trying_all(items, steps):
    for widest, largest in itertools.product((1, 2, 3), (1, 2, 3, 4, 6)):
        ours = len(tiling.tile(items, steps, widest=widest, largest=largest))
        assert ours <= fewest(items, steps, widest, largest) + 1


def test_no_cheaper_plan_is_passed_over_for_fewer_calls():
    """A week and a minute of 300 metrics: 31 calls would pay for 600 metrics, one call more for fewer."""
    tiles = tiling.tile(300, 10_081)
    assert len(tiles) <= 32
    assert sum(j - i for i, j, _, _ in tiles) <= 510


# --- queries


@pytest.mark.parametrize(
    "stat",
    ["Sum", "Average", "Minimum", "Maximum", "SampleCount", "IQM", "p0", "p100", "p99.99", "p99.1234567890", "tm90", "tc0", "ts100", "wm99.9",
     "TM(2%:98%)", "TM(150:1000)", "PR(:300)", "PR(100:2000)", "PR(10:)", "TC(0.005:0.030)", "TS(80%:)", "WM(10%:90%)", "TM(:95%)", "TC(:0.5)"],
)  # fmt: skip
def test_statistics_of_cloudwatch_pass(stat):
    assert queries.check_stat(stat) == stat


@pytest.mark.parametrize(
    "stat",
    ["", "sum", "avg", "p", "p101", "p-1", "p99.12345678901", "tm101", "pr90", "TM(:)", "TM(90%:10%)", "TM(10:10)", "TM(10%:100)", "PR(1%:2%)",
     "WM(101%:)", "TM(:100.1%)", "TM(-1:2)", "tm(10%:90%)", "IQM90", "P99", None, 99],
)  # fmt: skip
def test_other_statistics_do_not(stat):
    with pytest.raises(InputError, match="a statistic needs"):
        queries.check_stat(stat)


@settings(max_examples=300, deadline=None)
@given(
    back_s=st.integers(1, 500 * 86_400), length_s=st.integers(1, 500 * 86_400), now_s=st.integers(0, 86_400)
)  # fmt: skip
def test_stretches_meet_and_are_the_finest_that_is_kept(back_s, length_s, now_s):
    now = NOW + timedelta(seconds=now_s)
    start = now - timedelta(seconds=back_s)
    end = start + timedelta(seconds=length_s)
    parts = queries.stretches(start, end, now)
    assert parts[0][1] == start
    assert parts[-1][2] == end
    for (coarse, _, upto), (fine, begin, _) in itertools.pairwise(parts):
        assert upto == begin
        assert coarse > fine
        assert begin.timestamp() % coarse == 0
    for period_s, a, b in parts:
        kept = {p: k for k, p in queries.RETENTION}
        if period_s < 3600:
            assert a >= now - kept[period_s]
        finer = {3600: 300, 300: 60}.get(period_s)
        if finer:  # all of it is too old for the finer one, but for the margin and the grid
            assert b <= now - kept[finer] + queries.MARGIN + timedelta(seconds=period_s)


@settings(max_examples=200, deadline=None)
@given(
    links=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=14), count=st.integers(1, 12)
)  # fmt: skip
def test_groups_are_the_connected_parts(links, count):
    links = [(a % count, b % count) for a, b in links]
    wants = [metric(f"m{i}", 60) for i in range(count)]
    for i in range(count):
        others = [f"m{b}" for a, b in links if a == i and b != i]
        if others:
            wants[i] = {"Id": f"m{i}", "Expression": " + ".join(others)}
    reach = {i: {i} for i in range(count)}
    for _ in range(count):  # the slow way: join whatever touches
        for a, b in links:
            both = reach[a] | reach[b]
            for i in both:
                reach[i] = both
    found = {frozenset(q["Id"] for q in group) for group in queries.connected(wants)}
    assert found == {frozenset(f"m{j}" for j in part) for part in reach.values()}


def test_many_queries_are_grouped_quickly():
    count = 10_000  # comparing each with all would take half a minute
    wants = [one for i in range(count) for one in (metric(f"a{i}", 60), {"Id": f"e{i}", "Expression": f"a{i} * 2"})]
    began = time.perf_counter()
    queries.check_references(wants)
    assert [len(group) for group in queries.connected(wants)] == [2] * count
    assert time.perf_counter() - began < 5


def test_units_are_botocores():
    import botocore.session

    model = botocore.session.Session().get_service_model("cloudwatch")
    assert set(model.shape_for("StandardUnit").enum) == queries.UNITS


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint16, int])
def test_whole_numbers_of_any_kind_are_periods(small, kind):
    plain = metrics.read(small.session, [metric("a", 300)], NOW - HOUR, NOW)
    assert metrics.read(small.session, [metric("a", kind(300))], NOW - HOUR, NOW).equals(plain)
    assert type(queries.check_period(kind(60))) is int
    catalog = metrics.find(small.session, "PayTheory/Lift", "requests.total").head(1)
    assert len(metrics.read(small.session, catalog, NOW - HOUR, NOW, period_s=kind(60))) > 0


def test_words_in_quotes_are_not_ids():
    wants = [metric("errors", 60), metric("calls", 60), {"Id": "s", "Expression": "SEARCH('errors calls', 'Sum', 60)"}]
    assert [len(g) for g in queries.connected(wants)] == [1, 1, 1]
    wants[2] = {"Id": "s", "Expression": "SELECT SUM(errors) FROM calls"}
    assert [len(g) for g in queries.connected(wants)] == [1, 1, 1]
    wants[2] = {"Id": "s", "Expression": 'SUM(METRICS("err"))'}
    assert [[q["Id"] for q in g] for g in queries.connected(wants)] == [["errors", "s"], ["calls"]]


# --- plans


@settings(max_examples=150, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([60, 300, 900, 3600]), min_size=1, max_size=900),
    pairs=st.lists(st.tuples(st.sampled_from([60, 300]), st.sampled_from([60, 3600]), st.booleans()), max_size=30),
    begin=st.integers(0, 5000), minutes=st.integers(1, 60 * 24 * 60),
)  # fmt: skip
def test_plan_covers_all_once_within_the_limits(sizes, pairs, begin, minutes):
    start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=begin)
    end = start + minutes * MINUTE
    wants = [metric(f"q{i}", p) for i, p in enumerate(sizes)]
    for i, (p, q, hidden) in enumerate(pairs):
        wants += [
            metric(f"a{i}", p, ReturnData=not hidden),
            metric(f"b{i}", q),
            {"Id": f"e{i}", "Expression": f"a{i}/b{i}"},
        ]
    covered, together = {}, {}
    items = [metrics._of_group(0, group, "") for group in queries.connected(wants)]
    calls = metrics._calls([want for item in items for want in metrics._spread(item, start, end, end, None)])
    assert [(call.queries, call.start, call.end) for call in calls] == metrics.plan(wants, start, end)
    for n, call in enumerate(calls):
        a, b = call.start, call.end
        assert len(call.queries) <= 500
        assert len({query["Id"] for query in call.queries}) == len(call.queries)
        points = 0
        for want, query in [(one, query) for one in call.wants for query in one.queries]:
            assert a <= want.start < want.end <= b
            together.setdefault(query["Id"], set()).add(n)
            if "MetricStat" not in query:
                points += (b - a).total_seconds() / max(pairs[int(query["Id"][1:])][:2])
                continue
            p = query["MetricStat"]["Period"]
            assert {t.timestamp() % p for t in (a, b, want.start, want.end)} == {0}
            points += (b - a).total_seconds() / p * query.get("ReturnData", True)
            stamps = range(int(want.start.timestamp()), int(want.end.timestamp()), p)
            covered.setdefault(query["Id"], []).extend(t for t in stamps if start.timestamp() <= t < end.timestamp())
        assert points <= 100_800
    for query in wants:
        if "MetricStat" in query:
            p = query["MetricStat"]["Period"]
            first = -(-int(start.timestamp()) // p) * p
            assert sorted(covered.get(query["Id"], [])) == list(range(first, int(end.timestamp()), p))
    for i in range(len(pairs)):
        assert together.get(f"a{i}") == together.get(f"b{i}") == together.get(f"e{i}")


@pytest.mark.parametrize(
    "shape", [(300, 10_080), (1000, 43_200), (300, 10_081), (7, 250_000), (5000, 180), (999, 1440)]
)
def test_plans_need_few_calls(shape):
    series, minutes = shape
    planned = metrics.plan([metric(f"q{i}", 60) for i in range(series)], NOW - minutes * MINUTE, NOW)
    assert len(planned) <= 1.05 * tiling.least_calls(series, minutes)


def test_different_shapes_share_a_call():
    mixed = [metric(f"q{i}", 60) for i in range(200)] + [metric(f"r{i}", 300) for i in range(200)]
    mixed += [metric("x", 60, ReturnData=False), {"Id": "e", "Expression": "x * 2"}]
    assert len(metrics.plan(mixed, NOW - HOUR, NOW)) == 1


# --- reading


@pytest.mark.parametrize("period_s", [60, 300, 3600])
@pytest.mark.parametrize("stat", ["Sum", "Average", "Maximum", "SampleCount"])
def test_metrics_equal_a_brute_force_reading(small, period_s, stat):
    name = "operation.POST_/payments.duration"
    catalog = metrics.find(small.session, "PayTheory/Lift", name, stat=stat)
    points = metrics.read(small.session, catalog, NOW - DAY, NOW, period_s=period_s)
    assert points["series"].unique().to_list() == [series_key("PayTheory/Lift", name, {}, stat)]
    expected = brute(small.telemetry, name, period_s, stat)
    assert points["timestamp"].to_list() == list(expected)
    assert points["value"].to_list() == pytest.approx(list(expected.values()))


@pytest.mark.parametrize(
    "fault",
    [
        sandbox.Fault(status=400, code="ThrottlingException", rate=0.2),
        sandbox.Fault(status=503, code="ServiceUnavailable", rate=0.2),
        sandbox.Fault(cut=True, rate=0.2),
        sandbox.Fault(operation="GetMetricData", half=True, rate=0.6),
    ],
    ids=["throttled", "5xx", "cut", "half"],
)
def test_a_bad_network_changes_nothing(small, fault, monkeypatch):
    monkeypatch.setattr(metrics, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(metrics, "TRIES", 30)
    monkeypatch.setattr(metrics, "LARGEST", 3_000)  # so that there are many calls
    monkeypatch.setattr(tiling.tile, "__kwdefaults__", {"widest": 500, "largest": 3_000})
    with sandbox.local(small.telemetry, faults=[fault], seed=5) as session:
        catalog = metrics.find(session, "PayTheory/Lift")
        points = metrics.read(session, catalog, NOW - DAY, NOW, period_s=300)
        assert made(session) > 20
    monkeypatch.undo()
    assert points.equals(metrics.read(small.session, catalog, NOW - DAY, NOW, period_s=300))
    for name in catalog.filter(pl.col("dimensions").list.len() == 0, pl.col("stat") == "Sum")["metric"]:
        ours = points.filter(pl.col("series") == series_key("PayTheory/Lift", name, {}, "Sum"))
        assert dict(zip(ours["timestamp"], ours["value"])) == pytest.approx(brute(small.telemetry, name, 300, "Sum"))


def test_windows_are_half_open_and_cut_anywhere(small):
    catalog = metrics.find(small.session, "PayTheory/Lift").filter(pl.col("metric") == "requests.total")
    whole = metrics.read(small.session, catalog, NOW - DAY, NOW, period_s=300)
    cut = NOW - timedelta(hours=7, minutes=13, seconds=2)
    parts = [metrics.read(small.session, catalog, a, b, period_s=300) for a, b in ((NOW - DAY, cut), (cut, NOW))]
    assert pl.concat(parts).sort("series", "timestamp").equals(whole)


def test_windows_that_begin_within_a_period_keep_what_is_in_them(small):
    catalog = metrics.find(small.session, "PayTheory/Lift", "operation.POST_/payments")
    points = metrics.read(small.session, catalog, NOW - DAY + timedelta(seconds=299), NOW, period_s=300)
    assert points["timestamp"].min() == NOW - DAY + timedelta(seconds=300)
    assert metrics.read(small.session, catalog, NOW - DAY + MINUTE, NOW - DAY + 2 * MINUTE, period_s=300).is_empty()


def test_many_metrics_come_in_pages():
    with sandbox.local(None, clock=NOW) as session:
        client = session.client("cloudwatch")
        names = [f"m{i:04}" for i in range(1203)]
        for i in range(0, len(names), 500):
            data = [
                {"MetricName": n, "Timestamp": NOW - timedelta(minutes=5), "Value": float(n[1:])}
                for n in names[i : i + 500]
            ]
            client.put_metric_data(Namespace="Many", MetricData=data)
        catalog = metrics.find(session, "Many", stat="Sum")
        assert catalog["metric"].to_list() == names
        points = metrics.read(session, catalog, NOW - HOUR, NOW, period_s=60)
        assert points["value"].to_list() == [float(n[1:]) for n in names]
        calls = session.ledger.frame().group_by("operation").len().sort("operation").rows()
        assert ("GetMetricData", 3) in calls
        assert ("ListMetrics", 3) in calls
        assert session.ledger.cost_usd == pytest.approx((1203 + 3 + 3) * 0.01 / 1000)


def test_what_others_get_from_the_client_is_botocores_own(small):
    catalog = metrics.find(small.session, "PayTheory/Lift", "operation.POST_/payments")
    ours = metrics.read(small.session, catalog, NOW - HOUR, NOW, period_s=300)
    query = {"Namespace": "PayTheory/Lift", "MetricName": "operation.POST_/payments"}
    asked = [{"Id": "m", "MetricStat": {"Metric": query, "Period": 300, "Stat": "Sum"}}]
    plain = small.session.client("cloudwatch").get_metric_data(
        MetricDataQueries=asked, StartTime=NOW - HOUR, EndTime=NOW, ScanBy="TimestampAscending"
    )
    result = plain["MetricDataResults"][0]
    assert result["Timestamps"] == ours["timestamp"].to_list()
    assert result["Values"] == ours["value"].to_list()


def test_metric_math_and_searches_come_by_label():
    put = laid(["hits", "misses"], NOW - 3 * HOUR, 180)
    with sandbox.local(held(put)) as session:
        asked = [
            metric("hits", ReturnData=False),
            metric("misses", Label="misses a minute"),
            {"Id": "share", "Expression": "100 * hits / (hits + misses)"},
            {"Id": "found", "Expression": "SEARCH('Namespace=\"N\"', 'Sum')"},
        ]
        points = metrics.read(session, asked, NOW - 2 * HOUR, NOW)
        assert points.group_by("series").len().sort("series").rows() == [
            ("hits", 120), ("misses", 120), ("misses a minute", 120), ("share", 120),
        ]  # fmt: skip
        assert set(points.filter(pl.col("series") == "share")["value"]) == {50.0}
        insights = [{"Id": "i", "Expression": 'SELECT SUM(hits) FROM SCHEMA("N")', "Label": "all hits"}]
        with pytest.raises(InputError, match="looks back two weeks"):
            metrics.read(session, insights, NOW - 20 * DAY, NOW)


def test_a_search_that_overflows_comes_in_halves():
    put = laid([f"m{i:03}" for i in range(300)], NOW - 20 * HOUR, 20 * 60)
    with sandbox.local(held(put)) as session:
        asked = [{"Id": "s", "Expression": "SEARCH('Namespace=\"N\"', 'Sum')"}]
        points = metrics.read(session, asked, NOW - 20 * HOUR, NOW)
        assert len(points) == 300 * 1200
        assert points.select("series", "timestamp").is_duplicated().sum() == 0
        assert made(session) > 4


def test_a_search_that_finds_too_much_says_so():
    put = laid([f"m{i:03}" for i in range(600)], NOW - HOUR, 60)
    with sandbox.local(held(put)) as session:
        asked = [{"Id": "s", "Expression": "SEARCH('Namespace=\"N\"', 'Sum')"}]
        with pytest.raises(IncompleteError, match="Maximum number of allowed metrics") as caught:
            metrics.read(session, asked, NOW - HOUR, NOW)
        assert caught.value.partial["series"].n_unique() == 500


# --- retention


def test_auto_takes_the_finest_period_that_is_kept():
    put = laid(["m"], NOW - 100 * DAY, 100 * 1440)
    telemetry = held(put)
    with sandbox.local(telemetry, retention=True) as session:
        with pytest.warns(
            UserWarning, match="m: sums and counts are for each period, here of 60 s and 300 s and 3600 s"
        ):
            points = metrics.read(session, [metric("m")], NOW - 100 * DAY, NOW)
        metrics.read(session, [metric("m"), metric("none")], NOW - 100 * DAY, NOW, period_s=3600)  # one scale
        asked = [metric("m", ReturnData=False), {"Id": "e", "Expression": "m / PERIOD(m)"}, metric("a", stat="p99")]
        assert not metrics.read(session, asked, NOW - 100 * DAY, NOW).is_empty()  # a ratio, no warning
    assert points["value"].sum() == 100 * 1440  # each minute is in exactly one datapoint
    assert points["timestamp"].is_unique().all()
    sizes = points.with_columns(days=(NOW - pl.col("timestamp")).dt.total_days())
    assert set(sizes.filter(pl.col("days") < 14)["value"]) == {1.0}
    assert set(sizes.filter(pl.col("days").is_between(16, 61))["value"]) == {5.0}
    assert set(sizes.filter(pl.col("days") > 64)["value"]) == {60.0}


def test_a_period_that_is_no_longer_kept_is_not_a_silent_gap():
    put = laid(["m"], NOW - 20 * DAY, 20 * 1440, step=5)
    telemetry = held(put)
    with sandbox.local(telemetry, retention=True) as session:
        with pytest.warns(UserWarning, match="nothing is kept from before 2026-03-01"):
            points = metrics.read(session, [metric("m")], NOW - 20 * DAY, NOW, period_s=60)
        assert points["timestamp"].min() >= NOW - 15 * DAY
    with sandbox.local(telemetry) as session:  # this one forgets nothing
        assert len(metrics.read(session, [metric("m")], NOW - 20 * DAY, NOW, period_s=60)) == 20 * 288
        assert len(metrics.read(session, [metric("m"), metric("none")], NOW - 20 * DAY, NOW, period_s=60)) == 20 * 288
    with sandbox.local(telemetry, clock=NOW + 500 * DAY) as session:  # nor here, though AWS would have
        assert len(metrics.read(session, [metric("m")], NOW - 20 * DAY, NOW, period_s=300)) == 20 * 288
    aws = SimpleNamespace(region="us-east-1", account="1", endpoint_url=None, now=lambda: NOW, cache=None)
    for asked, period_s in (([metric("m")], 60), ([metric("m", 60)], "auto"), ([metric("m")], 30)):
        with pytest.raises(InputError, match="CloudWatch keeps values of"):
            metrics.read(aws, asked, NOW - 20 * DAY, NOW, period_s=period_s)


def test_math_of_a_period_that_is_gone_and_one_that_is_kept_is_refused():
    put = laid(["a", "b"], NOW - 20 * DAY, 20 * 1440)
    asked = [metric("a", 60), metric("b", 300), {"Id": "e", "Expression": "a + b"}]
    real = SimpleNamespace(region="us-east-1", account="1", endpoint_url=None, now=lambda: NOW, cache=None)
    with sandbox.local(held(put), retention=True) as session:
        for one in (session, real):
            with pytest.raises(
                InputError, match="a, b, e puts together different periods, and that of 60 s is kept from 2026-03-01"
            ):
                metrics.read(one, asked, NOW - 20 * DAY, NOW)
        assert made(session) == 0
        points = metrics.read(session, asked, NOW - 14 * DAY, NOW)
        assert points.filter(pl.col("series") == "e")["value"].max() == 6.0
        one_period = metrics.read(session, asked, NOW - 20 * DAY, NOW, period_s=300)
        assert set(one_period.filter(pl.col("series") == "e")["value"]) == {10.0}
        with pytest.warns(UserWarning, match="^a: nothing is kept from before 2026-03-01"):  # whatever b has
            points = metrics.read(session, asked[:2], NOW - 20 * DAY, NOW)
        assert points.group_by("series").agg(pl.col("timestamp").min()).sort("series")["timestamp"].to_list() == [
            NOW - 15 * DAY,
            NOW - 20 * DAY,
        ]
    with pytest.raises(InputError, match="CloudWatch keeps values of 60 s"):
        metrics.read(real, asked[:2], NOW - 20 * DAY, NOW)


def test_windows_that_failed_are_not_said_to_be_no_longer_kept():
    session, _ = scripted(refused("ValidationError"))
    points, missing = metrics.read(
        session, [metric("a")], NOW - 20 * DAY, NOW, period_s=60, errors="report"
    )  # warnings are errors here
    assert (len(points), len(missing)) == (0, 1)


@pytest.mark.parametrize(
    ("start", "end", "calls"),
    [(NOW - HOUR, NOW + 300 * DAY, 1), (datetime(1970, 1, 1, tzinfo=UTC), NOW, 59), (NOW - HOUR, datetime.max.replace(tzinfo=UTC), 1)],
)  # fmt: skip
def test_windows_are_clipped_to_where_datapoints_can_be(small, start, end, calls):
    asked = [metric(f"a{i}") for i in range(100)]
    with pytest.warns(UserWarning, match=r"keeps datapoints for 455 days .*: only .* is read") as said:
        plan = metrics.read(small.session, asked, start, end, dry_run=True)
    assert len(said) == 1
    assert plan["calls"].sum() <= calls


def test_windows_without_a_datapoint_are_empty(small):
    with pytest.warns(UserWarning, match="none from the future"):
        assert metrics.read(small.session, [metric("a")], NOW + 3 * DAY, NOW + 4 * DAY).is_empty()
    assert metrics.read(small.session, [metric("a")], NOW + 3 * HOUR, NOW + 4 * HOUR).is_empty()
    real = SimpleNamespace(region="us-east-1", account="1", endpoint_url=None, now=lambda: NOW, cache=None)
    with pytest.warns(UserWarning, match="nothing can be read"):
        assert metrics.read(real, [metric("a")], NOW - 500 * DAY, NOW - 490 * DAY).is_empty()


def test_a_label_that_tells_values_is_read_in_one_piece():
    put = laid(["m", "n"], NOW - 20 * DAY, 20 * 1440)
    asked = [
        {
            "Id": "s",
            "Expression": "SEARCH('Namespace=\"N\"', 'Average')",
            "Label": "${PROP('MetricName')} ${DATAPOINT_COUNT}",
        }
    ]
    with sandbox.local(held(put), retention=True) as session:
        points = metrics.read(session, asked, NOW - 20 * DAY, NOW)
        assert points["series"].value_counts().sort("series").rows() == [
            (f"{name} {20 * 288}", 20 * 288) for name in "mn"
        ]
        asked[0]["Label"] = "the ${PROP('MetricName')}"  # this one says the same at any time
        points = metrics.read(session, asked, NOW - 20 * DAY, NOW)
        assert points["series"].unique().sort().to_list() == ["the m", "the n"]
        assert len(points) > 2 * 14 * 1440


def test_arrays_come_by_cloudwatchs_labels_numbered_where_they_tie():
    with sandbox.local(held(laid(["hits", "misses"], NOW - HOUR, 60))) as session:
        hidden = [metric("hits", ReturnData=False), metric("misses", ReturnData=False)]
        points = metrics.read(
            session, [*hidden, {"Id": "e", "Expression": "[hits, misses] * 2", "Label": "twice"}], NOW - HOUR, NOW
        )
        assert points["series"].value_counts().sort("series").rows() == [("twice hits", 60), ("twice misses", 60)]
        points = metrics.read(session, [hidden[0], {"Id": "e", "Expression": "[hits, 3 * hits]"}], NOW - HOUR, NOW)
        assert points.group_by("series").agg(pl.col("value").unique().first()).sort("series").rows() == [
            ("hits", 1.0),
            ("hits (2)", 3.0),
        ]
        both = [*hidden, {"Id": "e", "Expression": "[hits, misses]"}, {"Id": "f", "Expression": "[hits, misses] * 5"}]
        points = metrics.read(session, both, NOW - HOUR, NOW)
        assert points.group_by("series").agg(pl.col("value").unique().first(), pl.len()).sort("series").rows() == [
            ("hits (e)", 1.0, 60), ("hits (f)", 5.0, 60), ("misses (e)", 1.0, 60), ("misses (f)", 5.0, 60),
        ]  # fmt: skip


def test_auto_period_follows_retention():
    ages = (1, 15, 15.1, 63, 64, 455, 1000)
    assert [metrics.finest_period_s(timedelta(days=d)) for d in ages] == [60, 60, 300, 300, 3600, 3600, 3600]
    assert [queries.kept_for(p) for p in (1, 30, 60, 180, 300, 900, 3600, 86_400)] == [
        3 * HOUR, 3 * HOUR, 15 * DAY, 15 * DAY, 63 * DAY, 63 * DAY, 455 * DAY, 455 * DAY,
    ]  # fmt: skip


# --- answers in part


class Scripted:
    """A client whose GetMetricData answers are given: by call, a dict of Id to (status, how many of two points), or an exception."""

    def __init__(self, *answers, messages=()):
        self.answers, self.asked, self.messages = list(answers), [], messages
        self.meta = SimpleNamespace(events=SimpleNamespace(register=lambda *_, **__: None))

    def get_paginator(self, _):
        return self

    def paginate(self, *, MetricDataQueries, StartTime, **_):
        answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append([q["Id"] for q in MetricDataQueries])
        if isinstance(answer, Exception):
            raise answer
        results = []
        for query in MetricDataQueries:
            status, count = answer.get(query["Id"], ("Complete", 2))
            results.append({
                "Id": query["Id"], "Label": query["Id"], "StatusCode": status, "Values": [1.0] * count,
                "Timestamps": [StartTime + i * MINUTE for i in range(count)],
                "Messages": [] if status == "Complete" else [{"Code": status, "Value": "as it was told"}],
            })  # fmt: skip
        yield {"MetricDataResults": results, "Messages": list(self.messages)}


def scripted(*answers, cache=None, **more):
    client = Scripted(*answers, **more)
    scope = {"account": "1", "region": "us-east-1", "endpoint": "http://127.0.0.1"}
    session = SimpleNamespace(
        client=lambda _: client, cache=cache, region="us-east-1", account="1", endpoint_url="http://127.0.0.1", now=lambda: NOW,
        ledger=Ledger(), scope=scope,
    )  # fmt: skip
    return session, client


WINDOW = NOW - DAY, NOW - DAY + 2 * MINUTE


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(metrics, "FIRST_PAUSE_S", 0.0)


@pytest.mark.parametrize("status", ["PartialData", "InternalError"])
def test_what_came_in_part_is_asked_for_again(status):
    session, client = scripted({"b": (status, 1)}, {"b": (status, 0)}, {})
    points = metrics.read(session, [metric("a"), metric("b")], *WINDOW)
    assert points["series"].to_list() == ["a", "a", "b", "b"]
    assert client.asked == [["a", "b"], ["b"], ["b"]]


def test_a_group_is_asked_for_again_as_a_whole():
    session, client = scripted({"e": ("InternalError", 0)}, {})
    asked = [metric("a"), metric("b"), {"Id": "e", "Expression": "a + b"}, metric("z")]
    points = metrics.read(session, asked, *WINDOW)
    assert points["series"].value_counts().sort("series").rows() == [("a", 2), ("b", 2), ("e", 2), ("z", 2)]
    assert client.asked == [["z", "a", "b", "e"], ["a", "b", "e"]] or client.asked == [
        ["a", "b", "e", "z"],
        ["a", "b", "e"],
    ]


def test_forbidden_is_not_asked_again_and_said_by_series():
    session, client = scripted({"b": ("Forbidden", 0)})
    with pytest.raises(IncompleteError, match=r"first b .*Forbidden: Forbidden: as it was told") as caught:
        metrics.read(session, [metric("a"), metric("b")], *WINDOW)
    assert len(client.asked) == 1
    assert caught.value.partial["series"].to_list() == ["a", "a"]
    assert caught.value.missing.rows() == [("b", *WINDOW, "Forbidden: Forbidden: as it was told")]


def test_what_stays_partial_is_reported():
    session, client = scripted({"b": ("PartialData", 1)})
    points, missing = metrics.read(session, [metric("a"), metric("b")], *WINDOW, errors="report")
    assert len(client.asked) == metrics.TRIES
    assert points["series"].to_list() == ["a", "a", "b"]
    assert missing["series"].to_list() == ["b"]
    assert missing["reason"][0].startswith("PartialData")


def test_a_result_that_is_left_out_is_missed():
    session, client = scripted({})
    client.paginate = lambda **_: iter([{"MetricDataResults": []}])
    with pytest.raises(IncompleteError, match="leaves it out"):
        metrics.read(session, [metric("a")], *WINDOW)


def leaving_out(client, name):
    whole = client.paginate

    def paginate(**asked):
        for page in whole(**asked):
            yield page | {"MetricDataResults": [one for one in page["MetricDataResults"] if one["Id"] != name]}

    client.paginate = paginate


def test_an_expression_that_is_left_out_is_missed():
    session, client = scripted({})
    leaving_out(client, "e")
    asked = [metric("a"), {"Id": "e", "Expression": "a * 2"}]
    points, missing = metrics.read(session, asked, *WINDOW, errors="report")
    assert points["series"].unique().to_list() == ["a"]
    assert missing.select("series", "reason").rows() == [("e", "InternalError: the answer leaves it out")]
    maybe = [metric("a"), metric("b"), {"Id": "e", "Expression": "REMOVE_EMPTY([a, b])"}]  # may well bring nothing
    assert metrics.read(session, maybe, *WINDOW)["series"].unique().sort().to_list() == ["a", "b"]


def test_an_error_on_asking_again_leaves_what_was_read_and_keeps_what_is_whole(tmp_path):
    session, client = scripted({"b": ("PartialData", 1)}, refused("ExpiredToken"), {}, cache=sessions.Cache(tmp_path))
    with pytest.raises(IncompleteError, match=r"b from .*ExpiredToken.*; reading again asks only for that") as caught:
        metrics.read(session, [metric("a"), metric("b")], *WINDOW)
    assert caught.value.partial["series"].to_list() == ["a", "a", "b"]
    assert caught.value.missing["series"].to_list() == ["b"]
    assert metrics.read(session, [metric("a"), metric("b")], *WINDOW)["series"].to_list() == ["a", "a", "b", "b"]
    assert client.asked == [["a", "b"], ["b"], ["b"]]
    session, _ = scripted({"b": ("InternalError", 0)}, refused("ExpiredToken"))
    with pytest.raises(ClientError, match="ExpiredToken"):  # where nothing was read
        metrics.read(session, [metric("b")], *WINDOW)


def test_an_error_in_the_middle_of_the_pages_leaves_those_before(monkeypatch):
    monkeypatch.setattr(metrics, "TRIES", 2)
    session, client = scripted({})
    whole = client.paginate

    def broken(**asked):
        [page] = whole(**asked)
        yield page | {"MetricDataResults": [one for one in page["MetricDataResults"] if one["Id"] == "a"]}
        raise refused("ExpiredToken")

    client.paginate = broken
    with pytest.raises(IncompleteError, match=r"b from .*ExpiredToken") as caught:
        metrics.read(session, [metric("a"), metric("b")], *WINDOW)
    assert caught.value.partial["series"].to_list() == ["a", "a"]
    assert client.asked == [["a", "b"], ["b"]]


def test_messages_about_the_call_are_said():
    session, _ = scripted({}, messages=[{"Code": "Odd", "Value": "something else"}])
    with pytest.warns(UserWarning, match="Odd: something else"):
        assert len(metrics.read(session, [metric("a")], *WINDOW)) == 2


def test_messages_about_a_limit_mean_that_something_is_missing():
    session, _ = scripted({}, messages=[{"Code": "MaxMetricsExceeded", "Value": "some left out"}])
    points, missing = metrics.read(session, [metric("a")], *WINDOW, errors="report")
    assert len(points) == 2
    assert missing.rows() == [("a", *WINDOW, "Limited: MaxMetricsExceeded: some left out")]


def test_partial_and_missing_come_as_the_catalog_came(small):
    catalog = (
        metrics.find(small.session, "PayTheory/Lift", "requests.total").head(2).with_columns(account=None, region=None)
    )
    names = catalog["series"].to_list()
    session, _ = scripted({"q1": ("Forbidden", 0)})
    with pytest.raises(
        IncompleteError, match=r"is in \.partial, what is missing in \.missing$"
    ) as caught:  # no cache, no promise
        metrics.read(session, catalog.to_pandas(), *WINDOW)
    assert type(caught.value.partial).__module__.startswith("pandas")
    assert caught.value.partial["series"].to_list() == [names[0]] * 2
    assert caught.value.missing["series"].to_list() == [names[1]]
    with pytest.raises(IncompleteError) as caught:
        metrics.read(session, catalog, *WINDOW)
    assert isinstance(caught.value.partial, pl.DataFrame)


def refused(code="AccessDenied"):
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "GetMetricData")


def test_where_nothing_came_the_error_itself_is_raised():
    session, _ = scripted(refused("ValidationError"))
    with pytest.raises(ClientError, match="ValidationError"):
        metrics.read(session, [metric("a")], *WINDOW)
    points, missing = metrics.read(session, [metric("a")], *WINDOW, errors="report")
    assert points.is_empty()
    assert missing["series"].to_list() == ["a"]


def test_credentials_that_end_midway_leave_what_was_read(monkeypatch):
    monkeypatch.setattr(metrics, "gather", lambda f, items, **more: calls.gather(f, items, **more | {"workers": 1}))
    monkeypatch.setattr(metrics, "WIDEST", 1)
    session, client = scripted({}, refused("ExpiredToken"))
    with pytest.raises(IncompleteError, match="ExpiredToken") as caught:
        metrics.read(session, [metric("a"), metric("b")], *WINDOW)
    assert len(client.asked) == 2
    assert caught.value.partial["series"].n_unique() == 1
    assert caught.value.missing["series"].n_unique() == 1
    assert isinstance(caught.value.__cause__, ClientError)


# --- cache


def test_cache_asks_finished_windows_once(small, tmp_path):
    session = sessions.local(small.session.endpoint_url, clock=NOW + 6 * HOUR, cache=tmp_path / "cache")
    catalog = metrics.find(session, "PayTheory/Lift").filter(pl.col("metric") == "requests.total")
    first = metrics.read(session, catalog, NOW - DAY, NOW, period_s=60)
    assert made(session) == 1
    assert first.equals(metrics.read(session, catalog, NOW - DAY, NOW, period_s=60))
    assert made(session) == 1
    part = metrics.read(session, catalog.head(3), NOW - DAY, NOW, period_s=60)  # fewer metrics: still there
    assert part.equals(first.filter(pl.col("series").is_in(catalog["series"].head(3).to_list())))
    assert made(session) == 1
    wider = NOW - 25 * HOUR, NOW + 5 * HOUR  # what it leaves over is asked for; the last two hours each time
    assert metrics.read(session, catalog, *wider, period_s=60).equals(first)
    assert made(session) == 3
    assert metrics.read(session, catalog, *wider, period_s=60).equals(first)
    assert made(session) == 4
    plain = metrics.read(small.session, catalog, *wider, period_s=60)
    assert plain.equals(first)
    for file in session.cache.folder.rglob("*.parquet"):
        file.write_bytes(b"PAR1 not really")  # a damaged file is pulled again, not believed
    assert metrics.read(session, catalog, NOW - DAY, NOW, period_s=60).equals(first)
    assert made(session) > 4
    assert session.cache.folder.stat().st_mode & 0o777 == 0o700


def test_reading_through_a_cache_in_any_order_changes_nothing(small, tmp_path_factory):
    catalog = metrics.find(small.session, "PayTheory/Lift").filter(pl.col("stat") == "Sum").head(9)
    folder = tmp_path_factory.mktemp("kept")
    session = sessions.local(small.session.endpoint_url, clock=NOW - 5 * HOUR, cache=folder)

    @settings(max_examples=40, deadline=None)
    @given(
        start=st.integers(0, 1250), length=st.integers(1, 900), chosen=st.sets(st.integers(0, 8), min_size=1),
        period_s=st.sampled_from([60, 300, "auto"]),
    )  # fmt: skip
    def same(start, length, chosen, period_s):
        some = catalog[sorted(chosen)]
        span = NOW - DAY + start * MINUTE, min(NOW - DAY + (start + length) * MINUTE, NOW - 3 * HOUR)
        ours = metrics.read(session, some, *span, period_s=period_s)
        assert ours.equals(metrics.read(small.session, some, *span, period_s=period_s))

    same()


def test_one_file_a_call_and_one_look_for_all_series(small, tmp_path, monkeypatch):
    session = sessions.local(small.session.endpoint_url, clock=NOW + 6 * HOUR, cache=tmp_path / "cache")
    catalog = metrics.find(session, "PayTheory/Lift")
    monkeypatch.setattr(
        sessions.Cache, "missing", lambda *_, **__: pytest.fail("what is covered and the rows come in one look")
    )
    looks, take = [], sessions.Cache.take
    monkeypatch.setattr(sessions.Cache, "take", lambda *given, **more: looks.append(1) or take(*given, **more))
    first = metrics.read(session, catalog, NOW - DAY, NOW, period_s=300)
    assert len(list(session.cache.folder.rglob("*.parquet"))) == made(session)
    assert len(catalog) > 50
    before, calls = len(looks), made(session)
    assert metrics.read(session, catalog, NOW - DAY, NOW, period_s=300).equals(first)
    assert (len(looks) - before, made(session)) == (1, calls)


def test_a_plan_looks_at_the_cache_without_reading_rows(small, tmp_path, monkeypatch):
    session = sessions.local(small.session.endpoint_url, clock=NOW + 6 * HOUR, cache=tmp_path / "cache")
    catalog = metrics.find(session, "PayTheory/Lift")
    metrics.read(session, catalog.head(9), NOW - DAY, NOW, period_s=300)
    monkeypatch.setattr(sessions.Cache, "take", lambda *_, **__: pytest.fail("a plan needs no rows"))
    plan = metrics.read(session, catalog.head(10), NOW - DAY, NOW, period_s=300, dry_run=True)
    assert plan.select("calls", "quantity").rows() == [(1, 288)]


MATH = [
    metric("a", ReturnData=False), metric("b", 300), {"Id": "e", "Expression": "100 * a / (a + b)", "Label": "share"},
    {"Id": "f", "Expression": "e * 2"}, metric("z", Label="alone"),
]  # fmt: skip


def test_math_is_kept_and_searches_are_asked_again(tmp_path):
    with sandbox.local(held(laid(["a", "b", "z"], NOW - DAY, 1440)), cache=tmp_path) as session:
        window = NOW - 20 * HOUR, NOW - 5 * HOUR
        first = metrics.read(session, MATH, *window)
        assert first["series"].unique().sort().to_list() == ["alone", "b", "f", "share"]
        assert made(session) == 1
        assert metrics.read(session, MATH, *window).equals(first)
        assert made(session) == 1
        assert metrics.read(session, MATH, *window, dry_run=True)["calls"].sum() == 0
        changed = [*MATH[:2], MATH[2] | {"Expression": "10 * a / (a + b)"}, *MATH[3:]]  # another question
        assert (
            metrics.read(session, changed, *window).filter(pl.col("series") == "share")["value"].max()
            < first["value"].max()
        )
        assert made(session) == 2
        for text in ("SEARCH('Namespace=\"N\"', 'Sum', 60)", "RUNNING_SUM(a)", "[a, b] * 2"):
            asked = [
                metric("a", 60, ReturnData=False),
                metric("b", 60, ReturnData=False),
                {"Id": "s", "Expression": text},
            ]
            asked = asked if "a" in queries.named(text) else asked[2:]
            before = made(session)
            some = [one for one in asked if one["Id"] in ("a", "s") or "b" in queries.named(text)]
            once, twice = (metrics.read(session, some, *window) for _ in range(2))
            assert once.equals(twice)
            assert made(session) == before + 2


def test_math_through_a_cache_in_any_order_changes_nothing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    put = laid(["a", "z"], NOW - DAY, 1440, step=7)
    put = pl.concat([put, laid(["b"], NOW - DAY, 1440, step=3)])
    with sandbox.local(held(put), cache=folder) as session:
        plain = sessions.local(session.endpoint_url, clock=NOW)

        @settings(max_examples=40, deadline=None)
        @given(
            start=st.integers(0, 1300),
            length=st.integers(1, 700),
            hidden=st.sets(st.sampled_from("abe")),
            count=st.sampled_from([3, 4, 5]),
        )
        def same(start, length, hidden, count):
            asked = [one | ({"ReturnData": False} if one["Id"] in hidden and count > 3 else {}) for one in MATH[:count]]
            span = NOW - DAY + start * MINUTE, min(NOW - DAY + (start + length) * MINUTE, NOW)
            assert metrics.read(session, asked, *span).equals(metrics.read(plain, asked, *span))

        same()


def test_caches_that_end_at_different_times_share_a_call(tmp_path):
    names = [f"m{i:02}" for i in range(50)]
    with sandbox.local(held(laid(names, NOW - DAY, 1440)), cache=tmp_path) as session:
        for i, name in enumerate(names):
            metrics.read(session, [metric(name)], NOW - DAY, NOW - 10 * HOUR + i * MINUTE)
        before, asked = made(session), [metric(name) for name in names]
        points = metrics.read(session, asked, NOW - DAY, NOW - 8 * HOUR)
        assert made(session) == before + 1
        assert points["series"].value_counts().sort("series").rows() == [(name, 16 * 60) for name in names]
        assert points.select("series", "timestamp").is_duplicated().sum() == 0
        assert metrics.read(session, asked, NOW - DAY, NOW - 8 * HOUR).equals(points)
        assert made(session) == before + 1


def test_periods_over_an_odd_window_share_a_call():
    span = NOW - 20 * HOUR + 7 * MINUTE, NOW - 5 * HOUR + 11 * MINUTE
    asked = [metric("a", 60), metric("b", 300), metric("c", 3600)]
    with sandbox.local(held(laid("abc", NOW - DAY, 1440))) as session:
        points = metrics.read(session, asked, *span)
        assert made(session) == 1
        assert points.equals(pl.concat([metrics.read(session, [one], *span) for one in asked]))
        for one, period_s in zip("abc", (60, 300, 3600)):
            first = -(-span[0].timestamp() // period_s) * period_s
            seen = points.filter(pl.col("series") == one)["timestamp"]
            assert [t.timestamp() for t in seen] == list(range(int(first), int(span[1].timestamp()), period_s))


def test_what_is_read_together_is_what_is_read_apart(tmp_path_factory):
    """Calls joined over windows that differ, through a cache that ends anywhere, against each query alone without one."""
    periods = {"a": 60, "b": 300, "c": 3600, "d": 420, "e": 60}
    put = pl.concat([laid([name], NOW - 2 * DAY, 2 * 1440, step=1 + i) for i, name in enumerate(periods)])
    with sandbox.local(held(put), cache=tmp_path_factory.mktemp("kept")) as session:
        plain = sessions.local(session.endpoint_url, clock=NOW)

        @settings(max_examples=40, deadline=None)
        @given(
            start=st.integers(0, 2800),
            length=st.integers(1, 2000),
            chosen=st.sets(st.sampled_from("abcde"), min_size=1),
        )
        def same(start, length, chosen):
            span = NOW - 2 * DAY + start * MINUTE, min(NOW - 2 * DAY + (start + length) * MINUTE, NOW)
            asked = [metric(name, periods[name]) for name in sorted(chosen)]
            apart = pl.concat([metrics.read(plain, [one], *span) for one in asked])
            before = made(session)
            assert metrics.read(session, asked, *span).equals(apart)
            assert made(session) - before <= 2 * len(asked)

        same()


def test_a_call_does_not_bring_what_the_cache_has_in_the_middle(tmp_path):
    with sandbox.local(held(laid("ab", NOW - 3 * DAY, 3 * 1440)), cache=tmp_path) as session:
        metrics.read(session, [metric("a"), metric("b")], NOW - 3 * DAY + HOUR, NOW - 5 * HOUR)
        plan = metrics.read(session, [metric("a"), metric("b")], NOW - 3 * DAY, NOW - 4 * HOUR, dry_run=True)
        assert plan.select("calls", "quantity").rows() == [(2, 2 * 120)]


def test_incomplete_windows_are_not_kept(tmp_path):
    session, client = scripted({"b": ("Forbidden", 0)}, {}, cache=sessions.Cache(tmp_path))
    with pytest.raises(IncompleteError):
        metrics.read(session, [metric("a"), metric("b")], *WINDOW)
    assert metrics.read(session, [metric("a"), metric("b")], *WINDOW)["series"].to_list() == ["a", "a", "b", "b"]
    assert client.asked == [["a", "b"], ["b"]]
    assert len(metrics.read(session, [metric("a"), metric("b")], *WINDOW)) == 4
    assert len(client.asked) == 2


def test_rules_of_different_accounts_and_statistics_are_kept_apart(tmp_path):
    session, client = scripted({}, cache=sessions.Cache(tmp_path))
    for asked in (metric("a"), metric("a", stat="p99"), metric("a", 300), metric("a", AccountId="2")):
        before = len(client.asked)
        metrics.read(session, [asked], NOW - DAY, NOW - DAY + 10 * MINUTE)
        assert len(client.asked) == before + 1


# --- price


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 60), hours=st.integers(1, 24), period_s=st.sampled_from([60, 300, 3600]))
def test_the_plan_is_what_is_done(small, count, hours, period_s):
    session = sessions.local(small.session.endpoint_url, clock=NOW)
    catalog = metrics.find(session, "PayTheory/Lift").head(count)
    before, cost = made(session), session.ledger.cost_usd
    plan = metrics.read(session, catalog, NOW - hours * HOUR, NOW, period_s=period_s, dry_run=True)
    assert (made(session), session.ledger.cost_usd) == (before, cost)
    points = metrics.read(session, catalog, NOW - hours * HOUR, NOW, period_s=period_s)
    row = plan.row(0, named=True)
    assert (row["operation"], row["unit"], row["certainty"]) == ("GetMetricData", "datapoint", "exact")
    assert row["calls"] == made(session) - before
    assert row["cost_usd"] == pytest.approx(session.ledger.cost_usd - cost)
    assert row["quantity"] == len(catalog) * hours * 3600 // period_s >= len(points)


def test_searches_have_a_price_that_is_a_bound(small):
    asked = [{"Id": "s", "Expression": "SEARCH('{PayTheory/Lift} requests.total', 'Sum')"}]
    plan = metrics.read(small.session, asked, NOW - HOUR, NOW, dry_run=True)
    bound = plan.filter(pl.col("certainty") == "at most")
    before = small.session.ledger.cost_usd
    points = metrics.read(small.session, asked, NOW - HOUR, NOW)
    assert bound["cost_usd"].item() >= small.session.ledger.cost_usd - before
    assert bound["quantity"].item() >= len(points)


def test_a_budget_that_does_not_suffice_stops_before_the_first_call(small):
    session = sessions.local(small.session.endpoint_url, clock=NOW, budget_usd=0.00015)
    catalog = metrics.find(session, "PayTheory/Lift")
    assert len(catalog) > 15
    with pytest.raises(BudgetError, match="metrics and expressions would bring the cost"):
        metrics.read(session, catalog, NOW - HOUR, NOW)
    assert made(session) == 0
    assert len(metrics.read(session, catalog.head(10), NOW - HOUR, NOW, period_s=60)) > 0


# --- several places


@pytest.fixture
def places():
    """Two accounts, linked, and two regions."""
    aws = LocalAWS(lambda: NOW)
    aws.links["123456789012"] = {OTHER}
    for account, region, name in (
        ("123456789012", "us-east-1", "m"),
        ("123456789012", "eu-west-1", "m"),
        (OTHER, "us-east-1", "m"),
    ):
        aws.service("monitoring", region, account).lay_in(laid([name], NOW - HOUR, 60))
    with serving(aws) as url:
        yield sessions.local(url, clock=NOW)


def test_regions_are_read_side_by_side(places):
    both = [places, places.at(region="eu-west-1")]
    catalog = metrics.find(both, "N", stat="Sum")
    assert catalog["series"].to_list() == [f"N|m||Sum|123456789012/{r}" for r in ("eu-west-1", "us-east-1")]
    assert {parse_series(s)[:2] for s in catalog["series"]} == {("N", "m")}
    points = metrics.read(both, catalog, NOW - HOUR, NOW, period_s=60)
    assert points["series"].value_counts().sort("series").rows() == [(s, 60) for s in catalog["series"]]
    assert points.equals(metrics.read(both[::-1], catalog, NOW - HOUR, NOW, period_s=60))
    asked = metrics.read(both, [metric("m")], NOW - HOUR, NOW)
    assert asked["series"].unique().sort().to_list() == ["m|123456789012/eu-west-1", "m|123456789012/us-east-1"]
    with pytest.raises(InputError, match="is in eu-west-1, and no session leads there"):
        metrics.read(places, catalog, NOW - HOUR, NOW)


def test_linked_accounts_are_read_through_the_monitoring_account(places):
    catalog = metrics.find(places, "N", stat="Sum", linked_accounts=True)
    assert catalog["account"].to_list() == ["123456789012", OTHER]
    points = metrics.read(places, catalog, NOW - HOUR, NOW, period_s=60)
    assert points["series"].value_counts().sort("series").rows() == [(s, 60) for s in catalog["series"]]
    stranger = catalog.with_columns(account=pl.lit("999999999999")).head(1)
    with pytest.raises(IncompleteError, match="not linked") as caught:
        metrics.read(places, stranger, NOW - HOUR, NOW)
    assert caught.value.partial.is_empty()


# --- the door


def test_two_queries_of_one_name_are_refused(small):
    stat = {"Metric": {"Namespace": "PayTheory/Lift", "MetricName": "x"}, "Stat": "Sum"}
    twice = [{"Id": f"q{i}", "Label": "same", "MetricStat": stat} for i in range(2)]
    with pytest.raises(InputError, match="same Id or Label"):
        metrics.read(small.session, twice, NOW - DAY, NOW)
    with pytest.raises(InputError, match="same Id or Label"):
        metrics.read(small.session, [{"Id": "q", "MetricStat": stat}] * 2, NOW - DAY, NOW)


BAD = [
    ([{"Id": "A", "Expression": "1"}], "small letter first"),
    ([{"Expression": "1"}], "needs an Id"),
    ([{"Id": "a"}], "either MetricStat or Expression"),
    (["a"], "needs an Id"),
    ([metric("a", 45)], "multiple of 60"),
    ([metric("a", stat="p101")], "a statistic needs"),
    ([metric("a", Statistic="Sum")], "the query of a needs Id"),
    ([{"Id": "a", "MetricStat": {"Metric": {"Name": "x"}, "Stat": "Sum"}}], "the Metric of a needs MetricName, Namespace"),
    ([{"Id": "a", "MetricStat": {"Metric": {"Namespace": "N", "MetricName": "m", "Dimensions": [{"name": "a", "value": "b"}]}, "Stat": "Sum"}}],
     "the dimension of a needs Name, Value"),
    ([{"Id": "a", "MetricStat": {"Metric": {"Namespace": "N", "MetricName": "m", "Dimensions": {"a": "b"}}, "Stat": "Sum"}}], "the dimensions of a need a list"),
    ([{"Id": "a", "Expression": ""}], "1 to 2,048 characters"),
    ([metric("a", ReturnData=False)], "returns data"),
    ([*(metric(f"m{i}", ReturnData=False) for i in range(500)), {"Id": "e", "Expression": "SUM(METRICS())"}], "one call takes 500"),
    (pl.DataFrame({"series": ["a"]}), "catalog needs the columns"),
    ([{"Id": "a", "Expression": 1}], "1 to 2,048 characters; it is 1"),
    ([metric("a", Label=12)], "the Label of a needs text; it is 12"),
    ([metric("a", Label=None)], "the Label of a needs text"),
    ([metric("a", AccountId=12)], "the AccountId of a needs"),
    ([metric("a", ReturnData="no")], "ReturnData of a needs True or False"),
    ([{"Id": "a", "MetricStat": {"Metric": {"Namespace": None, "MetricName": "m"}, "Stat": "Sum"}}], "the Namespace of a needs 1 to 255 characters; it is None"),
    ([{"Id": "a", "MetricStat": {"Metric": {"Namespace": "N", "MetricName": ""}, "Stat": "Sum"}}], "the MetricName of a needs 1 to 255 characters; it has 0"),
    ([{"Id": "a", "MetricStat": {"Metric": {"Namespace": "N", "MetricName": "m", "Dimensions": [{"Name": "s", "Value": None}]}, "Stat": "Sum"}}],
     "the Value of the dimension s of a"),
    ([{"Id": "a", "MetricStat": {"Metric": {"Namespace": "N", "MetricName": "m", "Dimensions": [{"Name": "s", "Value": "v" * 1025}]}, "Stat": "Sum"}}],
     "1 to 1,024 characters; it has 1,025"),
    ([{"Id": "a", "MetricStat": {"Metric": {"Namespace": "N", "MetricName": "m"}, "Stat": "Sum", "Unit": "Foo"}}], "the Unit of a needs one of"),
    ([metric("a"), {"Id": "e", "Expression": "zz * a"}], "e speaks of zz, and no query has that Id"),
    ([metric("a"), {"Id": "e", "Expression": "f * a"}, {"Id": "f", "Expression": "2 * e"}], "e, f need each other or themselves"),
    ([{"Id": "e", "Expression": "e + 1"}], "in a circle"),
    ([{"Id": "s", "Expression": "SEARCH('{N} m', 'Foo', 60)"}], "a statistic needs"),
    ([{"Id": "s", "Expression": "SEARCH('{N} m', 'Sum', 61)"}], "multiple of 60"),
    ([metric("a", 456 * 86400)], "multiple of 60 seconds, up to the 455 days"),
    (pl.DataFrame({"series": ["a"], "account": None, "region": None, "namespace": "N", "metric": None, "dimensions": [[]], "stat": "Sum", "period_s": None, "unit": None}),
     "the MetricName of q0 needs"),
    (pl.DataFrame({"series": ["a"], "account": None, "region": None, "namespace": "N", "metric": "m", "dimensions": [[]], "stat": "Sum", "period_s": None, "unit": "Foo"}),
     "the Unit of q0 needs one of"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "said"), BAD, ids=[said for _, said in BAD])
def test_malformed_queries_are_refused_at_the_door(small, asked, said):
    before = len(small.session.ledger.frame())
    with pytest.raises(InputError, match=said):
        metrics.read(small.session, asked, NOW - DAY, NOW)
    assert len(small.session.ledger.frame()) == before


@pytest.mark.parametrize("period_s", [0, -60, 45, 61, 15, 60.0, "60", None, True])
def test_periods_that_cloudwatch_refuses(small, period_s):
    with pytest.raises(InputError, match="multiple of 60"):
        metrics.read(small.session, [metric("a")], NOW - DAY, NOW, period_s=period_s)


def test_other_bad_arguments(small):
    naive = datetime(2026, 3, 15)  # noqa: DTZ001
    read, find, session = metrics.read, metrics.find, small.session
    for call, said in (
        (lambda: read(session, [], naive, NOW), "no time zone"),
        (lambda: read(session, [], NOW, NOW), "start before its end"),
        (lambda: read(session, [metric("a")], NOW - DAY, NOW, errors="ignore"), "errors needs"),
        (lambda: read([], [metric("a")], NOW - DAY, NOW), "at least one session"),
        (lambda: find(session, "N", stat="median"), "a statistic needs"),
        (lambda: find(session, "N", dimensions=["a"]), "dimensions needs"),
        (lambda: find(session, "N", dimensions={"a": 1}), "dimensions needs"),
        (lambda: find(session, 5), "namespace, where it is not None, needs 1 to 255 characters; it is 5"),
        (lambda: find(session, ""), "namespace, where it is not None, needs"),
        (lambda: find(session, "N", b"m"), "metric, where it is not None, needs"),
        (lambda: find(session, "N", dimensions={str(i): None for i in range(11)}), "up to 10"),
    ):
        with pytest.raises(InputError, match=said):
            call()
    assert read(session, [], NOW - DAY, NOW).is_empty()


def test_find_with_a_plan_calls_nothing(small):
    before = len(small.session.ledger.frame())
    assert metrics.find(small.session, "PayTheory/Lift", dry_run=True)["certainty"].to_list() == ["at least"]
    assert len(small.session.ledger.frame()) == before


def test_what_looks_at_its_whole_window_is_not_cut(small):
    whole = {"Id": "e", "Expression": "RUNNING_SUM(m)"}
    calls = metrics.plan(
        [metric("m", 60, ReturnData=False), whole, *(metric(f"q{i}", 60) for i in range(99))], NOW - 7 * DAY, NOW
    )
    assert [(a, b) for asked, a, b in calls if whole["Id"] in {q["Id"] for q in asked}] == [(NOW - 7 * DAY, NOW)]
    with pytest.raises(InputError, match="depends on its whole window"):
        metrics.read(small.session, [metric("m", 60), whole], NOW - 60 * DAY, NOW)


def test_no_warning_in_ordinary_use(small):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.read(small.session, [metric("nobody_wrote_this")], NOW - 400 * DAY, NOW)


def test_pandas_in_pandas_out(small):
    catalog = metrics.find(small.session, "PayTheory/Lift").filter(pl.col("metric") == "requests.total")
    plain = metrics.read(small.session, catalog, NOW - HOUR, NOW)
    points, missing = metrics.read(small.session, catalog.to_pandas(), NOW - HOUR, NOW, errors="report")
    assert type(points).__module__.startswith("pandas")
    assert pl.from_pandas(points).with_columns(pl.col("timestamp").cast(plain.schema["timestamp"])).equals(plain)
    assert len(missing) == 0
