"""CloudWatch of the local AWS, over HTTP, against what brute force makes of what was put."""

import json
import math
import re
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from botocore.exceptions import ClientError, ParamValidationError
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights import sandbox
from lift_insights.sandbox.cloudwatch import CloudWatch, dashboard_problems
from lift_insights.sandbox.server import AwsError, LocalAWS
from lift_insights.sandbox.statistics import aggregate, chunk_of, chunks_of, joined, part

NOW = datetime(2026, 3, 15, tzinfo=UTC)


@pytest.fixture(scope="module")
def session():
    with sandbox.local(None, clock=NOW) as session:
        yield session


@pytest.fixture
def cloudwatch(session):
    return session.client("cloudwatch")


def mean(values):
    return sum(values) / len(values) if values else None


def cut(values, low, high):
    """Without the lowest `low` percent and what is above `high` percent of the values, counted in whole values."""
    n = len(values)
    return sorted(values)[n * low // 100 : n - n * (100 - high) // 100]


def inside(values, low, high):
    return [v for v in values if low < v <= high]


def winsorized(values, low, high):
    kept = cut(values, low, high)
    return mean([min(max(v, kept[0]), kept[-1]) for v in values])


ANY = math.inf
TWINS = {
    "Sum": sum,
    "SampleCount": len,
    "Average": mean,
    "Minimum": min,
    "Maximum": max,
    **{f"p{q:g}": lambda v, q=q: float(np.percentile(v, q)) for q in (0, 50, 90.5, 99, 100)},
    "tm90": lambda v: mean(cut(v, 0, 90)),
    "TM(:75%)": lambda v: mean(cut(v, 0, 75)),
    "TM(10%:)": lambda v: mean(cut(v, 10, 100)),
    "TM(10%:90%)": lambda v: mean(cut(v, 10, 90)),
    "IQM": lambda v: mean(cut(v, 25, 75)),
    "tc90": lambda v: len(cut(v, 0, 90)),
    "TC(10%:55%)": lambda v: len(cut(v, 10, 55)),
    "ts99": lambda v: sum(cut(v, 0, 99)),
    "TS(80%:)": lambda v: sum(cut(v, 80, 100)),
    "wm80": lambda v: winsorized(v, 0, 80),
    "WM(10%:90%)": lambda v: winsorized(v, 10, 90),
    "TM(10:30)": lambda v: mean(inside(v, 10, 30)),
    "TM(10.5:)": lambda v: mean(inside(v, 10.5, ANY)),
    "TC(10:30)": lambda v: len(inside(v, 10, 30)),
    "TC(:0.5)": lambda v: len(inside(v, -ANY, 0.5)),
    "TS(:30)": lambda v: sum(inside(v, -ANY, 30)),
    "WM(10:30)": lambda v: mean([min(max(x, 10), 30) for x in v]),
    "PR(:30)": lambda v: 100 * len(inside(v, -ANY, 30)) / len(v),
    "PR(10:30)": lambda v: 100 * len(inside(v, 10, 30)) / len(v),
    "PR(10:)": lambda v: 100 * len(inside(v, 10, ANY)) / len(v),
}
STATS = tuple(TWINS)


def brute(data, stat, period, start, end):
    """{start of period: statistic} from [(seconds, value, count)], one loop at a time."""
    buckets = {}
    for t, value, count in data:
        if math.floor(start / period) * period <= t < end:
            buckets.setdefault(int(t // period * period), []).extend([value] * int(count))
    made = {t: TWINS[stat](values) for t, values in buckets.items()}
    return {t: value for t, value in made.items() if value is not None}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3000), st.lists(st.tuples(st.integers(0, 50), st.integers(1, 4)), min_size=1, max_size=5)
        ),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from([60, 300, 900]),
    st.integers(0, 1500),
    st.integers(1, 2000),
    st.integers(1, 30),
)
def test_aggregates_are_what_brute_force_says(data, period, start, length, cut):
    def chunk(rows):
        rows = sorted(rows, key=lambda row: row[0])
        values = [pair for _, pairs in rows for pair in pairs]
        columns = (np.array([v for v, _ in values], float), np.array([n for _, n in values], float))
        return chunk_of(np.array([float(t) for t, _ in rows]), np.array([len(p) for _, p in rows]), *columns)

    whole = joined([chunk(rows) for rows in (data[:cut], data[cut:]) if rows])
    flat = [(t, v, n) for t, pairs in data for v, n in pairs]
    for stat in STATS:
        times, values = aggregate(whole, stat, period, start, start + length)
        expected = brute(flat, stat, period, start, start + length)
        assert times.tolist() == sorted(expected)
        assert values.tolist() == pytest.approx([expected[t] for t in sorted(expected)])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60))
def test_ranges_by_percent_are_scipys(values):
    from scipy.stats import mstats, trim_mean

    data = np.array(values)
    chunk = chunk_of(np.zeros(len(data)), np.ones(len(data), int), data, np.ones(len(data)))
    for share in (0.125, 0.25):  # halves of halves: no rounding in the share itself
        ends = f"({100 * share}%:{100 - 100 * share}%)"
        assert aggregate(chunk, f"TM{ends}", 60, 0, 60)[1] == pytest.approx([trim_mean(data, share)])
        expected = float(np.mean(mstats.winsorize(data, limits=(share, share))))
        assert aggregate(chunk, f"WM{ends}", 60, 0, 60)[1] == pytest.approx([expected])
        product = aggregate(chunk, f"TM{ends}", 60, 0, 60)[1] * aggregate(chunk, f"TC{ends}", 60, 0, 60)[1]
        assert aggregate(chunk, f"TS{ends}", 60, 0, 60)[1] == pytest.approx(product)  # as the guide says


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.sampled_from(["p", "q"]), st.integers(0, 9)),
        min_size=1,
        max_size=30,
    )
)
def test_a_frame_of_samples_is_cut_by_metric(rows):
    frame = pl.DataFrame(
        {
            "namespace": [r[0] for r in rows],
            "metric": [r[1] for r in rows],
            "unit": ["Count"] * len(rows),
            "dimensions": [[{"name": "d", "value": r[2]}] for r in rows],
            "timestamp": [NOW + timedelta(minutes=r[3]) for r in rows],
            "values": [[float(i), 1.0] for i in range(len(rows))],
            "counts": [[1, 2]] * len(rows),
        }
    )
    found = {key: chunk for key, _, chunk in chunks_of(frame)}
    assert found.keys() == {(n, m, (("d", d),)) for n, m, d, _ in rows}
    for (namespace, metric, ((_, d),)), chunk in found.items():
        mine = sorted((t, i) for i, (n, m, p, t) in enumerate(rows) if (n, m, p) == (namespace, metric, d))
        assert chunk.time.tolist() == [(NOW + timedelta(minutes=t)).timestamp() for t, _ in mine]
        assert chunk.total.tolist() == [i + 2.0 for _, i in mine]
        assert part(chunk, 0, 1).value.tolist() == [float(mine[0][1]), 1.0]


def put(cloudwatch, name, data, namespace="t", dimensions=()):
    rows = [
        {"MetricName": name, "Dimensions": list(dimensions), "Timestamp": t, "Values": v, "Counts": n}
        for t, v, n in data
    ]
    for i in range(0, len(rows), 1000):
        cloudwatch.put_metric_data(Namespace=namespace, MetricData=rows[i : i + 1000])


def query(name, stat, period, namespace="t", dimensions=(), **more):
    metric = {"Namespace": namespace, "MetricName": name, "Dimensions": list(dimensions)}
    return {
        "Id": "q" + re.sub(r"\W", "_", stat.lower()),
        "MetricStat": {"Metric": metric, "Period": period, "Stat": stat},
    } | more


def test_get_metric_data_over_http(cloudwatch):
    rng = np.random.default_rng(3)
    data = [
        (NOW - timedelta(minutes=int(m)), rng.integers(0, 100, 3).astype(float).tolist(), [1, 2, 3])
        for m in rng.integers(1, 400, 300)
    ]
    put(cloudwatch, "latency", data, dimensions=[{"Name": "b", "Value": "2"}, {"Name": "a", "Value": "1"}])
    start, end = NOW - timedelta(hours=5), NOW - timedelta(hours=1)
    flat = [(t.timestamp(), v, n) for t, vs, ns in data for v, n in zip(vs, ns, strict=True)]
    dimensions = [{"Name": "a", "Value": "1"}, {"Name": "b", "Value": "2"}]
    for scan in ("TimestampAscending", "TimestampDescending"):
        queries = [query("latency", stat, 300, dimensions=dimensions) for stat in STATS]
        got = cloudwatch.get_metric_data(MetricDataQueries=queries, StartTime=start, EndTime=end, ScanBy=scan)[
            "MetricDataResults"
        ]
        assert [r["Id"] for r in got] == [q["Id"] for q in queries]
        for result, stat in zip(got, STATS, strict=True):
            expected = brute(flat, stat, 300, start.timestamp(), end.timestamp())
            times = sorted(expected, reverse=scan == "TimestampDescending")
            assert [t.timestamp() for t in result["Timestamps"]] == times
            assert result["Values"] == pytest.approx([expected[t] for t in times])
            assert (result["StatusCode"], result["Label"]) == ("Complete", "latency")


def test_a_metric_is_found_by_exactly_its_dimensions(cloudwatch):
    d = {"Name": "a", "Value": "1"}
    put(cloudwatch, "exact", [(NOW, [1.0], [1])], dimensions=[d])
    put(cloudwatch, "exact", [(NOW, [10.0], [1])], dimensions=[d, {"Name": "b", "Value": "2"}])
    put(cloudwatch, "exact", [(NOW, [100.0], [1])], namespace="other", dimensions=[d])

    def total(**where):
        q = query("exact", "Sum", 60, **where)
        return cloudwatch.get_metric_data(MetricDataQueries=[q], StartTime=NOW, EndTime=NOW + timedelta(minutes=1))[
            "MetricDataResults"
        ][0]["Values"]

    assert total(dimensions=[d]) == [1.0]
    assert total(dimensions=[d, {"Name": "b", "Value": "2"}]) == [10.0]
    assert total(namespace="other", dimensions=[d]) == [100.0]
    assert total() == total(dimensions=[{"Name": "b", "Value": "2"}]) == []


def test_the_window_takes_its_start_and_leaves_its_end(cloudwatch):
    put(cloudwatch, "edge", [(NOW - timedelta(minutes=m), [float(m)], [1]) for m in (3, 2, 1)])
    q = query("edge", "Sum", 60)
    got = cloudwatch.get_metric_data(
        MetricDataQueries=[q], StartTime=NOW - timedelta(minutes=3), EndTime=NOW - timedelta(minutes=1)
    )
    assert got["MetricDataResults"][0]["Values"] == [2.0, 3.0]


def test_pages(cloudwatch):
    put(cloudwatch, "long", [(NOW - timedelta(minutes=m), [float(m)], [1]) for m in range(1, 701)])
    ask = {"StartTime": NOW - timedelta(days=1), "EndTime": NOW, "MaxDatapoints": 1000}
    queries = [query("long", s, 60) for s in ("Sum", "Maximum", "SampleCount")] + [query("nothing", "Average", 60)]
    values, statuses, token, pages = {}, {}, {}, 0
    while True:
        got = cloudwatch.get_metric_data(MetricDataQueries=queries, **ask, **token)
        pages += 1
        assert sum(len(r["Values"]) for r in got["MetricDataResults"]) <= 1000
        for r in got["MetricDataResults"]:
            values.setdefault(r["Id"], []).extend(zip(r["Timestamps"], r["Values"], strict=True))
            statuses.setdefault(r["Id"], []).append(r["StatusCode"])
        if "NextToken" not in got:
            break
        token = {"NextToken": got["NextToken"]}
    assert pages == 3
    assert [v for _, v in values["qsum"]] == [float(m) for m in range(1, 701)]
    assert {name: len(v) for name, v in values.items()} == {
        "qsum": 700,
        "qmaximum": 700,
        "qsamplecount": 700,
        "qaverage": 0,
    }
    assert statuses["qmaximum"] == ["PartialData", "Complete"]
    assert all(s[-1] == "Complete" for s in statuses.values())


def test_a_hundred_thousand_datapoints_fit_on_a_page_and_one_more_does_not():
    rows = 4100
    service = CloudWatch(lambda: NOW, "us-east-1")
    names = [f"m{i}" for i in range(25)]
    times = pl.DataFrame(
        {"timestamp": pl.datetime_range(NOW - timedelta(minutes=5 * rows), NOW, "5m", closed="left", eager=True)}
    )
    empty = pl.lit([], dtype=pl.List(pl.Struct({"name": pl.String, "value": pl.String})))
    frame = times.join(pl.DataFrame({"metric": names}), how="cross").with_columns(
        namespace=pl.lit("n"), unit=pl.lit("None"), dimensions=empty, values=pl.lit([1.0]), counts=pl.lit([1])
    )
    service.lay_in(frame)
    queries = [query(name, "Sum", 300, namespace="n", Id=name) for name in names]
    got = service.get_metric_data(queries, NOW.timestamp() - rows * 300, NOW.timestamp())
    assert sum(len(r["Values"]) for r in got["MetricDataResults"]) == 100_800
    rest = service.get_metric_data(queries, NOW.timestamp() - rows * 300, NOW.timestamp(), NextToken=got["NextToken"])
    assert sum(len(r["Values"]) for r in rest["MetricDataResults"]) == 25 * rows - 100_800
    assert "NextToken" not in rest


def test_math(cloudwatch):
    put(cloudwatch, "total", [(NOW - timedelta(minutes=m), [10.0], [1]) for m in (3, 2, 1)])
    put(cloudwatch, "bad", [(NOW - timedelta(minutes=m), [float(m)], [1]) for m in (3, 2, 1)])
    queries = [
        {"Id": "rate", "Expression": "100 * bad / total", "Label": "error rate"},
        {"Id": "twice", "Expression": "rate * 2"},
        query("total", "Sum", 60, Id="total", ReturnData=False),
        query("bad", "Sum", 60, Id="bad"),
    ]
    got = cloudwatch.get_metric_data(
        MetricDataQueries=queries, StartTime=NOW - timedelta(hours=1), EndTime=NOW, ScanBy="TimestampAscending"
    )
    assert {r["Id"]: (r["Label"], r["Values"]) for r in got["MetricDataResults"]} == {
        "rate": ("error rate", [30.0, 20.0, 10.0]),
        "twice": ("twice", [60.0, 40.0, 20.0]),
        "bad": ("bad", [3.0, 2.0, 1.0]),
    }


@pytest.mark.parametrize(
    ("queries", "says"),
    [
        ([{"Id": "a", "Expression": "SEARCH('{AWS/Lambda', 'Sum', 60)"}], "Error in SEARCH"),
        ([{"Id": "a", "Expression": "SEARCH('x', 'Sum', 45)"}], "multiple of 60"),
        ([{"Id": "a", "Expression": "SEARCH('x', 'p101', 60)"}], "not a statistic"),
        ([{"Id": "a", "Expression": f"SEARCH('{'x' * 1025}', 'Sum', 60)"}], "1024"),
        ([{"Id": "a", "Expression": 'SELECT AVG(x) FROM "y"'}], "needs a Period"),
        ([{"Id": "a", "Expression": 'SELECT P90(x) FROM "y"', "Period": 60}], "Error in Metrics Insights query"),
        ([{"Id": i, "Expression": 'SELECT AVG(x) FROM "y"', "Period": 60} for i in "ab"], "one Metrics Insights query"),
        ([{"Id": "a", "Expression": 'MAX(SELECT AVG(x) FROM "y")', "Period": 60}], "Error in expression"),
        ([{"Id": "a", "Expression": "INSIGHT_RULE_METRIC('x', 'Sum')", "Period": 60}], "INSIGHT_RULE_METRIC"),
        ([{"Id": "a", "Expression": "nosuch + 1"}], "nosuch"),
        ([{"Id": "a", "Expression": "1 +"}], "Error in expression"),
        ([{"Id": "a"}], "exactly one of MetricStat and Expression"),
        ([query("x", "Sum", 60, Expression="1")], "exactly one of MetricStat and Expression"),
        ([query("x", "Sum", 60)] * 2, "not unique"),
        ([query("x", "Sum", 60, Id="Big")], "pattern"),
        ([query("x", "Sum", 45)], "multiple of 60"),
        ([query("x", "TM(95%:5%)", 60, Id="a")], "not a statistic"),
        ([query("x", "p101", 60)], "not a statistic"),
        ([query("x", "sum", 60)], "not a statistic"),
        ([query("x", "Sum", 60, Label="${MEDIAN}")], r"\$\{MEDIAN\}"),
        ([query("x", "Sum", 60, Id=f"q{i}") for i in range(501)], "1 to 500"),
    ],
)
def test_refused_queries(cloudwatch, queries, says):
    with pytest.raises(ClientError, match=says) as error:
        cloudwatch.get_metric_data(MetricDataQueries=queries, StartTime=NOW - timedelta(hours=1), EndTime=NOW)
    assert error.value.response["Error"]["Code"] == "ValidationError"


def test_refused_windows_and_tokens(cloudwatch):
    ask = {"MetricDataQueries": [query("x", "Sum", 60)], "StartTime": NOW - timedelta(hours=1), "EndTime": NOW}
    for wrong in ({"StartTime": NOW}, {"MaxDatapoints": 100_801}, {"NextToken": "!"}, {"NextToken": "OTk5"}):
        with pytest.raises(ClientError):
            cloudwatch.get_metric_data(**ask | wrong)


@pytest.mark.parametrize(
    ("datum", "says"),
    [
        ({"Value": math.nan}, "invalid|constraint"),
        ({"Value": math.inf}, "invalid|constraint"),
        ({"Value": 2.0**361}, "is invalid"),
        ({"Values": [1.0, math.nan]}, "invalid|constraint"),
        ({"Values": [1.0] * 151}, "1 to 150"),
        ({"Values": [1.0], "Counts": [1, 2]}, "same size"),
        ({"Values": [1.0], "Counts": [0]}, "greater than 0"),
        ({"Value": 1.0, "Values": [1.0]}, "exactly one"),
        ({}, "exactly one"),
        ({"Value": 1.0, "Timestamp": NOW - timedelta(days=14, seconds=1)}, "two weeks"),
        ({"Value": 1.0, "Timestamp": NOW + timedelta(hours=2, seconds=1)}, "two hours"),
        ({"Value": 1.0, "Unit": "Parsec"}, "enum value set"),
        ({"Value": 1.0, "StorageResolution": 30}, "StorageResolution"),
        (
            {"Value": 1.0, "Dimensions": [{"Name": f"d{i}", "Value": "v"} for i in range(31)]},
            "less than or equal to 30",
        ),
        ({"Value": 1.0, "Dimensions": [{"Name": "d", "Value": "v"}, {"Name": "d", "Value": "w"}]}, "twice"),
        ({"StatisticValues": {"SampleCount": 0, "Sum": 0, "Minimum": 0, "Maximum": 0}}, "SampleCount above 0"),
        ({"StatisticValues": {"SampleCount": 2, "Sum": 3, "Minimum": 2, "Maximum": 1}}, "Minimum not above"),
    ],
)
def test_refused_data(cloudwatch, datum, says):
    with pytest.raises(ClientError, match=says):
        cloudwatch.put_metric_data(
            Namespace="bad", MetricData=[{"MetricName": "ok", "Value": 1.0}, {"MetricName": "x"} | datum]
        )
    assert cloudwatch.list_metrics(Namespace="bad")["Metrics"] == []  # nothing of the call was kept


def test_refused_calls(cloudwatch):
    with pytest.raises(ClientError, match="1000"):
        cloudwatch.put_metric_data(Namespace="bad", MetricData=[{"MetricName": "x", "Value": 1}] * 1001)
    with pytest.raises(ClientError, match="AWS's own"):
        cloudwatch.put_metric_data(Namespace="AWS/Lambda", MetricData=[{"MetricName": "x", "Value": 1}])
    big = [{"MetricName": "x", "Values": list(np.random.default_rng(0).random(150))} for _ in range(500)]
    with pytest.raises(ClientError, match="1 MB"):
        cloudwatch.put_metric_data(Namespace="bad", MetricData=big)
    with pytest.raises((ClientError, ParamValidationError)):
        cloudwatch.put_metric_data(Namespace="", MetricData=[{"MetricName": "x", "Value": 1}])


def test_edges_of_the_clock_are_taken(cloudwatch):
    for t in (NOW - timedelta(days=14), NOW + timedelta(hours=2)):
        cloudwatch.put_metric_data(Namespace="clock", MetricData=[{"MetricName": "x", "Timestamp": t, "Value": 1}])


def test_statistic_sets_lose_percentiles(cloudwatch):
    stats = {"SampleCount": 4, "Sum": 10, "Minimum": 1, "Maximum": 4}
    cloudwatch.put_metric_data(
        Namespace="sets",
        MetricData=[
            {"MetricName": "m", "Timestamp": NOW - timedelta(minutes=2), "StatisticValues": stats},
            {"MetricName": "m", "Timestamp": NOW - timedelta(minutes=1), "Values": [1.0, 9.0]},
            {
                "MetricName": "m",
                "Timestamp": NOW,
                "StatisticValues": {"SampleCount": 3, "Sum": 6, "Minimum": 2, "Maximum": 2},
            },
            {"MetricName": "m", "Timestamp": NOW + timedelta(minutes=1), "Values": [-1.0, 9.0]},
        ],
    )
    queries = [query("m", s, 60, namespace="sets") for s in ("p50", "Average", "Maximum")]
    ask = {
        "StartTime": NOW - timedelta(minutes=5),
        "EndTime": NOW + timedelta(minutes=5),
        "ScanBy": "TimestampAscending",
    }
    got = {
        r["Id"]: r["Values"] for r in cloudwatch.get_metric_data(MetricDataQueries=queries, **ask)["MetricDataResults"]
    }
    assert got == {"qp50": [5.0, 2.0], "qaverage": [2.5, 5.0, 2.0, 4.0], "qmaximum": [4.0, 9.0, 2.0, 9.0]}


def test_get_metric_statistics(cloudwatch):
    put(cloudwatch, "old", [(NOW - timedelta(minutes=m), [float(m), 2.0], [1, 1]) for m in range(1, 11)])
    ask = {"Namespace": "t", "MetricName": "old", "StartTime": NOW - timedelta(minutes=10), "EndTime": NOW}
    got = cloudwatch.get_metric_statistics(**ask, Period=300, Statistics=["Sum"], ExtendedStatistics=["p50"])
    points = sorted(got["Datapoints"], key=lambda p: p["Timestamp"])
    assert [(p["Sum"], p["ExtendedStatistics"]["p50"]) for p in points] == [(50.0, 4.0), (25.0, 2.0)]
    wide = ask | {"StartTime": NOW - timedelta(minutes=1441)}
    with pytest.raises(ClientError, match="1,440"):
        cloudwatch.get_metric_statistics(**wide, Period=60, Statistics=["Sum"])
    with pytest.raises(ClientError, match="Must specify either"):
        cloudwatch.get_metric_statistics(**ask, Period=60)


def test_units_are_a_filter(cloudwatch):
    for unit, value in (("Milliseconds", 5.0), ("Seconds", 1.0)):
        cloudwatch.put_metric_data(
            Namespace="units", MetricData=[{"MetricName": "m", "Timestamp": NOW, "Value": value, "Unit": unit}]
        )
    q = query("m", "Sum", 60, namespace="units")
    for unit, expected in ((None, [6.0]), ("Seconds", [1.0]), ("Bytes", [])):
        one = json.loads(json.dumps(q))
        one["MetricStat"] |= {"Unit": unit} if unit else {}
        got = cloudwatch.get_metric_data(MetricDataQueries=[one], StartTime=NOW, EndTime=NOW + timedelta(hours=1))
        assert got["MetricDataResults"][0]["Values"] == expected


def test_list_metrics():
    with sandbox.local(None, clock=NOW) as session:
        cloudwatch = session.client("cloudwatch")
        for i in range(1203):
            when = NOW - timedelta(hours=1 if i % 2 else 5)
            dimensions = [{"Name": "path", "Value": f"/{i}"}, {"Name": "kind", "Value": str(i % 3)}]
            put_one = {"MetricName": f"m{i % 2}", "Dimensions": dimensions, "Timestamp": when, "Value": 1}
            if i % 400 == 0:
                batch = []
            batch.append(put_one)
            if i % 400 == 399 or i == 1202:
                cloudwatch.put_metric_data(Namespace="shop", MetricData=batch)
        pages = [p["Metrics"] for p in cloudwatch.get_paginator("list_metrics").paginate(Namespace="shop")]
        assert [len(p) for p in pages] == [500, 500, 203]
        assert len({json.dumps(m, sort_keys=True) for p in pages for m in p}) == 1203

        def count(**where):
            return sum(len(p["Metrics"]) for p in cloudwatch.get_paginator("list_metrics").paginate(**where))

        assert count(MetricName="m0") == 602
        assert count(Namespace="nobody") == 0
        assert count(Dimensions=[{"Name": "kind", "Value": "1"}]) == 401
        assert count(Dimensions=[{"Name": "path"}, {"Name": "kind"}]) == 1203
        assert count(Dimensions=[{"Name": "other"}]) == 0
        assert count(RecentlyActive="PT3H") == 601


TOPIC = "arn:aws:sns:us-east-1:123456789012:pager"


def widget(**more):
    properties = {
        "region": "us-east-1",
        "metrics": [["shop", "errors", "path", "/orders", {"stat": "Sum"}], [".", "total", ".", "."]],
    }
    return {"type": "metric", "x": 0, "y": 0, "width": 12, "height": 6, "properties": properties} | more


def metric_widget(**properties):
    return widget(properties=widget()["properties"] | properties)


def test_dashboards(cloudwatch):
    body = json.dumps({"start": "-P7D", "widgets": [widget(), {"type": "text", "properties": {"markdown": "# é"}}]})
    assert cloudwatch.put_dashboard(DashboardName="shop", DashboardBody=body)["DashboardValidationMessages"] == []
    assert cloudwatch.get_dashboard(DashboardName="shop")["DashboardBody"] == body
    remarks = cloudwatch.put_dashboard(DashboardName="shop-2", DashboardBody=json.dumps({"widgets": [], "colour": 1}))
    assert [m["DataPath"] for m in remarks["DashboardValidationMessages"]] == ["/colour"]
    entries = cloudwatch.list_dashboards(DashboardNamePrefix="shop")["DashboardEntries"]
    assert (entries[0]["DashboardName"], entries[0]["Size"]) == ("shop", len(body.encode()))
    with pytest.raises(ClientError, match="nobody"):
        cloudwatch.delete_dashboards(DashboardNames=["shop", "nobody"])
    cloudwatch.delete_dashboards(DashboardNames=["shop", "shop-2"])
    with pytest.raises(ClientError):
        cloudwatch.get_dashboard(DashboardName="shop")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ("{", "/"),
        ("[]", "/widgets"),
        ({"widgets": {}}, "/widgets"),
        ({"widgets": [widget()] * 501}, "/widgets"),
        ({"widgets": [widget(type="graph")]}, "/widgets/0/type"),
        ({"widgets": [widget(), widget(x=13)]}, "/widgets/1/width"),
        ({"widgets": [widget(width=25)]}, "/widgets/0/width"),
        ({"widgets": [widget(width=0)]}, "/widgets/0/width"),
        ({"widgets": [widget(y=1.5)]}, "/widgets/0/y"),
        ({"widgets": [widget(properties=None)]}, "/widgets/0/properties"),
        ({"widgets": [{"type": "text", "properties": {}}]}, "/widgets/0/properties/markdown"),
        ({"widgets": [{"type": "log", "properties": {"region": "x"}}]}, "/widgets/0/properties/query"),
        ({"widgets": [metric_widget(region="")]}, "/widgets/0/properties/region"),
        ({"widgets": [metric_widget(metrics=[])]}, "/widgets/0/properties/metrics"),
        ({"widgets": [metric_widget(view="graph")]}, "/widgets/0/properties/view"),
        ({"widgets": [metric_widget(period=45)]}, "/widgets/0/properties/period"),
        ({"widgets": [metric_widget(metrics=[["a", "b", "c"]])]}, "/widgets/0/properties/metrics/0"),
        ({"widgets": [metric_widget(metrics=[[".", "b"]])]}, "/widgets/0/properties/metrics/0"),
        ({"widgets": [metric_widget(metrics=[["a", "b"], [{"label": "x"}]])]}, "/widgets/0/properties/metrics/1"),
        ({"widgets": [metric_widget(metrics=["a", "b"])]}, "/widgets/0/properties/metrics/0"),
    ],
)
def test_refused_dashboards(cloudwatch, body, path):
    text = body if isinstance(body, str) else json.dumps(body)
    with pytest.raises(ClientError, match="invalid") as error:
        cloudwatch.put_dashboard(DashboardName="bad", DashboardBody=text)
    assert error.value.response["Error"]["Code"] == "InvalidParameterInput"
    assert path in [m["DataPath"] for m in error.value.response["dashboardValidationMessages"]]
    assert path in [m["DataPath"] for m in dashboard_problems(text)[0]]


def test_accepted_widgets():
    rows = [["a", "b"], ["...", {"stat": "p99"}], [".", "c", "d", "e"], [{"expression": "m1 * 2", "id": "e1"}]]
    body = {
        "widgets": [metric_widget(metrics=rows), widget(width=24), {"type": "alarm", "properties": {"alarms": [TOPIC]}}]
    }
    assert dashboard_problems(json.dumps(body)) == ([], [])


# ---- pages, half-answers, ages, logs ----


def local_aws(now=NOW, **options):
    aws = LocalAWS(lambda: now, **options)
    return aws, aws.service("monitoring", "us-east-1")


def minutes(count, name="m", start=NOW, **more):
    return [
        {"MetricName": name, "Timestamp": start.timestamp() - 60 * (i + 1), "Value": float(i)} | more
        for i in range(count)
    ]


DAY = (NOW - timedelta(days=1)).timestamp(), NOW.timestamp()


def test_what_is_put_between_two_pages_moves_nothing():
    _, service = local_aws()
    service.put_metric_data("t", minutes(700))
    queries = [query("m", "Sum", 60, Id="a"), query("m", "Maximum", 60, Id="b")]
    first = service.get_metric_data(queries, *DAY, MaxDatapoints=500)
    service.put_metric_data("t", minutes(700, start=NOW - timedelta(seconds=60 * 700)))
    second = service.get_metric_data(queries, *DAY, MaxDatapoints=500, NextToken=first["NextToken"])
    again = service.get_metric_data(queries, *DAY, MaxDatapoints=500, NextToken=first["NextToken"])  # a retry
    third = service.get_metric_data(queries, *DAY, MaxDatapoints=500, NextToken=second["NextToken"])
    assert [[len(r["Values"]) for r in p["MetricDataResults"]] for p in (first, second, again, third)] == [
        [500],
        [200, 300],
        [200, 300],
        [400],
    ]
    assert "NextToken" not in third
    assert sum(len(r["Values"]) for r in service.get_metric_data(queries, *DAY)["MetricDataResults"]) == 2800


def test_a_token_belongs_to_its_request():
    _, service = local_aws()
    service.put_metric_data("t", minutes(700))
    token = service.get_metric_data([query("m", "Sum", 60)], *DAY, MaxDatapoints=500)["NextToken"]
    for asked, window in (([query("m", "Maximum", 60)], DAY), ([query("m", "Sum", 60)], (DAY[0] + 60, DAY[1]))):
        with pytest.raises(AwsError) as error:
            service.get_metric_data(asked, *window, MaxDatapoints=500, NextToken=token)
        assert error.value.code == "InvalidNextToken"


def test_a_request_let_go_is_worked_out_again(monkeypatch):
    monkeypatch.setattr("lift_insights.sandbox.cloudwatch.HELD", 1000)
    _, service = local_aws()
    service.put_metric_data("t", minutes(700))
    tokens = {
        name: service.get_metric_data([query("m", name, 60)], *DAY, MaxDatapoints=600)["NextToken"]
        for name in ("Sum", "Maximum", "p50")
    }
    assert len(service._pages) == 1
    for name, token in tokens.items():
        rest = service.get_metric_data([query("m", name, 60)], *DAY, MaxDatapoints=600, NextToken=token)
        assert rest["MetricDataResults"][0]["Values"].tolist() == [float(i) for i in range(600, 700)]


def test_math_has_no_further_page():
    _, service = local_aws()
    service.put_metric_data("t", minutes(700))
    queries = [query("m", "Sum", 60, Id="a"), {"Id": "b", "Expression": "a * 2"}, {"Id": "c", "Expression": "a * 3"}]
    answer = service.get_metric_data(queries, *DAY, MaxDatapoints=1000)
    assert "NextToken" not in answer
    assert [(r["Id"], len(r["Values"]), r["StatusCode"]) for r in answer["MetricDataResults"]] == [
        ("a", 700, "Complete"),
        ("b", 300, "PartialData"),
        ("c", 0, "PartialData"),
    ]


def test_half_answers_are_partial_or_an_error_and_differ():
    def answers():
        _, service = local_aws()
        service.put_metric_data("t", minutes(100))
        whole = service.get_metric_data(
            [query("m", stat, 60) for stat in ("Sum", "Maximum", "Minimum", "SampleCount")], *DAY
        )
        return whole, [service.halved("GetMetricData", {}, whole) for _ in range(20)]

    whole, halves = answers()
    seen = set()
    for half in halves:
        hit = [r for r in half["MetricDataResults"] if r["StatusCode"] != "Complete"]
        assert 1 <= len(hit) <= 2
        for full, got in zip(whole["MetricDataResults"], half["MetricDataResults"], strict=True):
            assert got["Values"].tolist() == full["Values"][: len(got["Values"])].tolist()
            assert (
                len(got["Values"])
                == len(got["Timestamps"])
                == {"Complete": 100, "PartialData": 50, "InternalError": 0}[got["StatusCode"]]
            )
            assert (got["StatusCode"] == "InternalError") == bool(got.get("Messages"))
        seen.add(tuple(r["StatusCode"] for r in half["MetricDataResults"]))
    assert len(seen) > 4
    assert "NextToken" not in halves[0]
    assert [[r["StatusCode"] for r in h["MetricDataResults"]] for h in answers()[1]] == [
        [r["StatusCode"] for r in h["MetricDataResults"]] for h in halves
    ]
    _, service = local_aws()
    assert service.halved("ListMetrics", {}, {"Metrics": []}) is None


def test_half_answers_over_http_and_then_a_whole_one():
    fault = sandbox.Fault("cloudwatch", "GetMetricData", half=True, times=1)
    with sandbox.local(None, clock=NOW, faults=(fault,)) as session:
        cloudwatch = session.client("cloudwatch")
        cloudwatch.put_metric_data(Namespace="t", MetricData=minutes(100))
        got = [
            cloudwatch.get_metric_data(MetricDataQueries=[query("m", "Sum", 60)], StartTime=DAY[0], EndTime=DAY[1])[
                "MetricDataResults"
            ][0]["StatusCode"]
            for _ in range(2)
        ]
    assert got[0] in ("PartialData", "InternalError")
    assert got[1] == "Complete"


def test_ages_and_periods():
    ages = (1, 2, 24, 14 * 24, 16 * 24, 62 * 24, 64 * 24, 454 * 24, 456 * 24)  # hours
    empty = pl.lit([], dtype=pl.List(pl.Struct({"name": pl.String, "value": pl.String})))
    frame = pl.DataFrame({"timestamp": [NOW - timedelta(hours=h) for h in ages]}).with_columns(
        namespace=pl.lit("t"),
        metric=pl.lit("m"),
        unit=pl.lit("None"),
        dimensions=empty,
        values=pl.lit([1.0]),
        counts=pl.lit([1]),
    )
    left = {60: 4, 120: 4, 300: 6, 900: 6, 3600: 8}
    for retention in (True, False):
        _, service = local_aws(retention=retention)
        service.lay_in(frame)
        for period, count in left.items():
            got = service.get_metric_data(
                [query("m", "Sum", period)], (NOW - timedelta(days=500)).timestamp(), NOW.timestamp()
            )
            assert len(got["MetricDataResults"][0]["Values"]) == (count if retention else len(ages)), period
        window = (NOW - timedelta(days=17)).timestamp(), NOW.timestamp() - 15 * 86400
        old = service.get_metric_statistics("t", "m", *window, Period=3600, Statistics=["Sum"])
        assert len(old["Datapoints"]) == 1
        window = (NOW - timedelta(days=16, seconds=60)).timestamp(), (NOW - timedelta(days=15, hours=23)).timestamp()
        assert len(service.get_metric_statistics("t", "m", *window, Period=60, Statistics=["Sum"])["Datapoints"]) == (
            0 if retention else 1
        )
        searched = {"Id": "s", "Expression": "SEARCH('{t} m', 'Sum', 60)"}
        got = service.get_metric_data([searched], (NOW - timedelta(days=500)).timestamp(), NOW.timestamp())
        assert len(got["MetricDataResults"][0]["Values"]) == (4 if retention else len(ages))


def test_periods_under_a_minute_need_data_stored_by_the_second():
    for retention in (True, False):
        _, service = local_aws(retention=retention)
        fine = [
            {"MetricName": "fine", "Timestamp": NOW.timestamp() - s, "Value": 1.0, "StorageResolution": 1}
            for s in range(1, 31)
        ]
        old = [{"MetricName": "fine", "Timestamp": NOW.timestamp() - 4 * 3600, "Value": 1.0, "StorageResolution": 1}]
        coarse = [{"MetricName": "coarse", "Timestamp": NOW.timestamp() - s, "Value": 1.0} for s in range(1, 31)]
        service.put_metric_data("t", [*fine, *old, *coarse])

        def read(name, period, service=service):
            return service.get_metric_data([query(name, "Sum", period)], *DAY, ScanBy="TimestampAscending")[
                "MetricDataResults"
            ][0]["Values"].tolist()

        before = [] if retention else [1.0]
        assert read("fine", 1) == before + [1.0] * 30
        assert read("fine", 10) == before + [10.0] * 3
        assert read("fine", 30) == before + [30.0]
        assert read("fine", 60) == [1.0, 30.0]
        assert read("coarse", 10) == []
        assert read("coarse", 60) == [30.0]


def test_metrics_older_than_two_weeks_are_not_listed():
    for retention in (True, False):
        aws, service = local_aws(retention=retention)
        service.put_metric_data(
            "t", [{"MetricName": "old", "Timestamp": NOW.timestamp() - 13 * 86400, "Value": 1.0}, *minutes(1, "new")]
        )
        assert [m["MetricName"] for m in service.list_metrics(Namespace="t")["Metrics"]] == ["old", "new"]
        aws.now = service.now = lambda: NOW + timedelta(days=2)
        assert [m["MetricName"] for m in service.list_metrics(Namespace="t")["Metrics"]] == (
            ["new"] if retention else ["old", "new"]
        )
        searched = service.get_metric_data(
            [{"Id": "s", "Expression": "SEARCH('Namespace=\"t\"', 'Sum', 3600)"}],
            NOW.timestamp() - 30 * 86400,
            NOW.timestamp(),
        )
        assert len(searched["MetricDataResults"]) == (1 if retention else 2)


def test_metrics_of_the_logs():
    with sandbox.local(None, clock=NOW) as session:
        logs, cloudwatch = session.client("logs"), session.client("cloudwatch")
        messages = {"/a": ["one", "twö"], "/b": ["three"]}
        for group, texts in messages.items():
            logs.create_log_group(logGroupName=group)
            logs.create_log_stream(logGroupName=group, logStreamName="s")
            events = [{"timestamp": int(NOW.timestamp() * 1000) - 3_600_000, "message": text} for text in texts]
            logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=events)
        logs.create_log_group(logGroupName="/empty")
        listed = cloudwatch.list_metrics(Namespace="AWS/Logs")["Metrics"]
        assert sorted((m["MetricName"], *[d["Value"] for d in m["Dimensions"]]) for m in listed) == sorted(
            (name, *of) for name in ("IncomingBytes", "IncomingLogEvents") for of in ((), ("/a",), ("/b",))
        )

        def read(name, *groups, unit=None):
            q = query(
                name, "Sum", 60, namespace="AWS/Logs", dimensions=[{"Name": "LogGroupName", "Value": g} for g in groups]
            )
            q["MetricStat"] |= {"Unit": unit} if unit else {}
            answer = cloudwatch.get_metric_data(
                MetricDataQueries=[q], StartTime=NOW - timedelta(hours=2), EndTime=NOW + timedelta(minutes=1)
            )
            return [
                (t.timestamp() - NOW.timestamp(), v)
                for t, v in zip(
                    answer["MetricDataResults"][0]["Timestamps"], answer["MetricDataResults"][0]["Values"], strict=True
                )
            ]

        size = {group: sum(len(text.encode()) + 26 for text in texts) for group, texts in messages.items()}
        assert read("IncomingLogEvents", "/a") == [(0, 2)]  # at the time they came in
        assert read("IncomingLogEvents") == [(0, 3)]
        assert read("IncomingBytes", "/a", unit="Bytes") == [(0, size["/a"])]
        assert read("IncomingBytes") == [(0, sum(size.values()))]
        assert read("IncomingBytes", "/a", unit="Count") == read("IncomingBytes", "/nobody") == []
        found = cloudwatch.get_metric_statistics(
            Namespace="AWS/Logs",
            MetricName="IncomingBytes",
            StartTime=NOW - timedelta(hours=1),
            EndTime=NOW + timedelta(minutes=1),
            Period=60,
            Statistics=["Sum"],
        )
        assert [(p["Sum"], p["Unit"]) for p in found["Datapoints"]] == [(sum(size.values()), "Bytes")]


def test_a_thousand_datums_are_put_as_one_by_one():
    rng = np.random.default_rng(5)
    rows = [
        {
            "MetricName": f"m{i % 7}",
            "Timestamp": NOW.timestamp() - int(rng.integers(1, 5000)),
            "Values": rng.random(3).tolist(),
            "Counts": [1.0, 2.0, 3.0],
        }
        for i in range(1000)
    ]
    (_, together), (_, apart) = local_aws(), local_aws()
    together.put_metric_data("t", rows)
    for row in rows:
        apart.put_metric_data("t", [row])
        apart.read(("t", row["MetricName"], ()))  # settled after each
    for name in {row["MetricName"] for row in rows}:
        one, other = (service.read(("t", name, ())) for service in (together, apart))
        for column in ("time", "count", "total", "least", "most", "first", "value", "weight"):
            assert getattr(one, column).tolist() == pytest.approx(getattr(other, column).tolist())
