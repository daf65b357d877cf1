"""Sources against the embedded local AWS over HTTP: what is read is what was put."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import polars as pl
import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights import sandbox, simulate
from lift_insights.aws import session as sessions
from lift_insights.frames import InputError, series_key
from lift_insights.sources import logs, metrics, traces, xray

NOW = datetime(2026, 3, 16, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def small():
    """One simulated day, laid into a local AWS."""
    telemetry = simulate.platform(1, 3)
    with sandbox.local(telemetry) as session:
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


def test_windows_are_half_open_and_cut_anywhere(small):
    catalog = metrics.find(small.session, "PayTheory/Lift").filter(pl.col("metric") == "requests.total")
    whole = metrics.read(small.session, catalog, NOW - DAY, NOW, period_s=60)
    cut = NOW - timedelta(hours=7, minutes=13)
    parts = [metrics.read(small.session, catalog, a, b, period_s=60) for a, b in ((NOW - DAY, cut), (cut, NOW))]
    assert pl.concat(parts).sort("series", "timestamp").equals(whole)


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
        points = metrics.read(session, catalog, NOW - timedelta(hours=1), NOW, period_s=60)
        assert points["value"].to_list() == [float(n[1:]) for n in names]
        calls = session.ledger.frame().group_by("operation").len().sort("operation").rows()
        assert ("GetMetricData", 3) in calls
        assert ("ListMetrics", 3) in calls
        assert session.ledger.cost_usd == pytest.approx((1203 + 3 + 3) * 0.01 / 1000)


@settings(max_examples=200, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([60, 300, 3600]), min_size=1, max_size=1200),
    begin=st.integers(0, 5000), minutes=st.integers(1, 60 * 24 * 60),
)  # fmt: skip
def test_plan_covers_all_once_within_the_limits(sizes, begin, minutes):
    start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=begin)
    end = start + timedelta(minutes=minutes)
    queries = [{"Id": f"q{i}", "MetricStat": {"Period": p}} for i, p in enumerate(sizes)]
    calls = metrics.plan(queries, start, end)
    covered = {}
    for asked, a, b in calls:
        assert len(asked) <= 500
        period = asked[0]["MetricStat"]["Period"]
        assert all(q["MetricStat"]["Period"] == period for q in asked)
        steps = (metrics.ceil(b, period) - metrics.floor(a, period)).total_seconds() / period
        assert len(asked) * steps <= 100_800
        for q in asked:
            covered.setdefault(q["Id"], []).append((a, b))
    for q in queries:
        spans = sorted(covered[q["Id"]])
        assert spans[0][0] == start
        assert spans[-1][1] == end
        assert all(x[1] == y[0] for x, y in zip(spans, spans[1:]))
    least = 0
    for period in set(sizes):
        steps = -((metrics.floor(start, period) - metrics.ceil(end, period)) // timedelta(seconds=period))
        n = sizes.count(period)
        least += max(-(-n // 500), -(-n * steps // 100_800))
    assert len(calls) <= least * 1.05 + 3 * len(set(sizes))


def test_partial_answers_are_never_swallowed(small, monkeypatch):
    client = small.session.client("cloudwatch")
    catalog = metrics.find(small.session, "PayTheory/Lift", "operation.POST_/payments")

    class Pages:
        def paginate(self, **_):
            yield {
                "MetricDataResults": [
                    {"Id": "q0", "Label": "a", "Timestamps": [], "Values": [], "StatusCode": "PartialData"}
                ]
            }
            message = {"Code": "x", "Value": "you may not look"}
            yield {
                "MetricDataResults": [
                    {
                        "Id": "q0",
                        "Label": "a",
                        "Timestamps": [],
                        "Values": [],
                        "StatusCode": "Forbidden",
                        "Messages": [message],
                    }
                ]
            }

    monkeypatch.setattr(client, "get_paginator", lambda _: Pages())
    with pytest.raises(RuntimeError, match="Forbidden for a: you may not look"):
        metrics.read(small.session, catalog, NOW - DAY, NOW)


def test_cache_asks_finished_days_once(small, tmp_path):
    session = sessions.local(small.session.endpoint_url, clock=NOW + timedelta(hours=6))
    session.cache = sessions.Cache(tmp_path / "cache")
    catalog = metrics.find(session, "PayTheory/Lift").filter(pl.col("metric") == "requests.total")

    def calls():
        return session.ledger.frame().filter(pl.col("operation") == "GetMetricData").height

    first = metrics.read(session, catalog, NOW - DAY, NOW, period_s=60)
    assert calls() == 1
    assert first.equals(metrics.read(session, catalog, NOW - DAY, NOW, period_s=60))
    assert calls() == 1
    part = metrics.read(session, catalog.head(3), NOW - DAY, NOW, period_s=60)  # fewer metrics: still there
    assert part.equals(first.filter(pl.col("series").is_in(catalog["series"].head(3).to_list())))
    assert calls() == 1
    wider = NOW - timedelta(hours=25), NOW + timedelta(hours=1)  # what the days leave over is asked for each time
    assert metrics.read(session, catalog, *wider, period_s=60).equals(first)
    assert calls() == 3
    plain = metrics.read(small.session, catalog, *wider, period_s=60)
    assert plain.equals(first)
    for file in session.cache.folder.iterdir():
        file.write_bytes(b"PAR1 not really")  # a damaged file is pulled again, not believed
    assert metrics.read(session, catalog, NOW - DAY, NOW, period_s=60).equals(first)
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o755
    assert session.cache.folder.stat().st_mode & 0o777 == 0o700


def test_windows_that_begin_within_a_period_keep_what_is_in_them(small):
    catalog = metrics.find(small.session, "PayTheory/Lift", "operation.POST_/payments")
    points = metrics.read(small.session, catalog, NOW - DAY + timedelta(seconds=299), NOW, period_s=300)
    assert points["timestamp"].min() == NOW - DAY + timedelta(seconds=300)


def test_two_queries_of_one_name_are_refused(small):
    stat = {"Metric": {"Namespace": "PayTheory/Lift", "MetricName": "x"}, "Stat": "Sum"}
    twice = [{"Id": f"q{i}", "Label": "same", "MetricStat": stat} for i in range(2)]
    with pytest.raises(InputError, match="same Id or Label"):
        metrics.read(small.session, twice, NOW - DAY, NOW)


def test_auto_period_follows_retention():
    assert [metrics.finest_period_s(timedelta(days=d)) for d in (1, 15, 15.1, 63, 64, 455, 1000)] == [
        60,
        60,
        300,
        300,
        3600,
        3600,
        3600,
    ]


def test_log_events_are_all_there_once_and_in_order(small):
    group = "/aws/lambda/payments-prod"
    start = NOW - timedelta(hours=3)
    events = logs.read(small.session, group, start, NOW)
    put = small.telemetry.logs.filter(
        pl.col("log_group") == group, pl.col("timestamp") >= start, pl.col("timestamp") < NOW
    )
    assert len(events) == len(put) > 5_000  # more than one page of 1 MB
    assert events["timestamp"].is_sorted()
    assert events["timestamp"].sort().equals(put["timestamp"].sort())
    assert (
        events["message"].value_counts().filter(pl.col("message") == "Request started")["count"][0]
        == put["message"].str.contains('"Request started"').sum()
    )


def test_metrics_logs_and_traces_agree(small):
    start = NOW - timedelta(hours=2)
    counted = logs.query(
        small.session,
        "/aws/lambda/payments-prod",
        'filter message = "Request started" and fields.path = "/payments" and fields.method = "POST" | stats count(*) as n',
        start,
        NOW,
    )
    catalog = metrics.find(small.session, "PayTheory/Lift", "requests.total", {"method": "POST", "path": "/payments"})
    points = metrics.read(small.session, catalog, start, NOW, period_s=60)
    assert counted["n"].item() == points["value"].sum()


def test_query_gives_types_and_an_empty_answer_is_a_frame(small):
    found = logs.query(
        small.session,
        "/aws/lambda/payments-prod",
        "filter level = 'ERROR' | stats count(*) as n, max(fields.status) as worst by bin(1h) as hour",
        NOW - timedelta(hours=6),
        NOW,
    )
    assert found.schema["hour"] == pl.Datetime("us", "UTC")
    assert found.schema["n"] == pl.Int64
    nothing = logs.query(small.session, "/aws/lambda/payments-prod", "filter level = 'NEVER'", NOW - DAY, NOW)
    assert nothing.is_empty()


def test_query_warns_where_it_was_cut(small):
    with pytest.warns(UserWarning, match="cut at 7 rows"):
        found = logs.query(small.session, "/aws/lambda/payments-prod", "fields @timestamp", NOW - DAY, NOW, limit=7)
    assert len(found) == 7


@pytest.mark.parametrize("status", ["Failed", "Cancelled", "Timeout", "Unknown"])
def test_query_that_does_not_complete_is_an_error_and_is_stopped(status):
    stopped = []
    client = SimpleNamespace(
        start_query=lambda **_: {"queryId": "1"}, get_query_results=lambda **_: {"status": status, "results": []},
        stop_query=lambda queryId: stopped.append(queryId),
    )  # fmt: skip
    with pytest.raises(RuntimeError, match=status):
        logs.query(SimpleNamespace(client=lambda _: client), "g", "fields @message", NOW - DAY, NOW)
    assert stopped == ["1"]


def test_ctrl_c_stops_the_query_at_aws_too():
    stopped = []

    def interrupted(**_):
        raise KeyboardInterrupt

    client = SimpleNamespace(
        start_query=lambda **_: {"queryId": "1"},
        get_query_results=interrupted,
        stop_query=lambda queryId: stopped.append(queryId),
    )
    with pytest.raises(KeyboardInterrupt):
        logs.query(SimpleNamespace(client=lambda _: client), "g", "fields @message", NOW - DAY, NOW)
    assert stopped == ["1"]


@pytest.mark.parametrize(
    ("text", "level", "message", "fields"),
    [
        ('{"level":"INFO","message":"hi","fields":{"a":1}}', "INFO", "hi", '{"a":1}'),
        ('{"level":"INFO","message":"hi","other":2}', "INFO", "hi", '{"other":2}'),
        ('{"level":"INFO","message":', None, '{"level":"INFO","message":', None),
        ("plain text", None, "plain text", None),
        ("REPORT RequestId: ab-1\tDuration: 12.50 ms\tBilled Duration: 13 ms\tMemory Size: 1024 MB\tMax Memory Used: 99 MB\tInit Duration: 201.3 ms\t",
         None, "REPORT", '{"duration_ms":12.5,"billed_duration_ms":13.0,"memory_size_mb":1024.0,"max_memory_used_mb":99.0,"init_duration_ms":201.3}'),
        ("START RequestId: ab-1 Version: $LATEST", None, "START", "{}"),
        ("", None, "", None),
        ("[1, 2]", None, "[1, 2]", None),
    ],
)  # fmt: skip
def test_log_lines_are_opened(text, level, message, fields):
    raw = pl.DataFrame({"timestamp": [NOW], "log_group": ["g"], "log_stream": ["s"], "text": [text]})
    row = logs.parse(raw).row(0, named=True)
    assert (row["level"], row["message"], row["fields"]) == (level, message, fields)


def test_traces_are_all_there(small):
    spans = traces.read(small.session, NOW - DAY, NOW)
    put = small.telemetry.traces
    assert set(spans["trace_id"]) == set(put["trace_id"])
    expected = xray.parse(put["document"].to_list())
    assert spans.sort("trace_id", "span_id").equals(expected.sort("trace_id", "span_id"))


def test_throttled_and_broken_calls_are_made_again():
    faults = [sandbox.Fault(status=400, rate=0.1), sandbox.Fault(status=503, code="ServiceUnavailable", rate=0.05)]
    telemetry = simulate.platform(1, 3)
    with sandbox.local(telemetry, faults=faults, seed=1) as session:
        spans = traces.read(session, NOW - timedelta(hours=6), NOW)
        assert session.ledger.frame()["retries"].sum() > 0
    start = int((NOW - timedelta(hours=6)).timestamp())
    assert set(spans["trace_id"]) == {t for t in telemetry.traces["trace_id"] if int(t.split("-")[1], 16) >= start}


def test_bad_input_is_refused_at_the_door(small):
    naive = datetime(2026, 3, 15)  # noqa: DTZ001
    for call in (
        lambda a, b: metrics.read(small.session, [], a, b),
        lambda a, b: logs.read(small.session, "g", a, b),
        lambda a, b: logs.query(small.session, "g", "fields @message", a, b),
        lambda a, b: traces.read(small.session, a, b),
    ):
        with pytest.raises(InputError, match="no time zone"):
            call(naive, NOW)
        with pytest.raises(InputError, match="start before its end"):
            call(NOW, NOW - DAY)
    with pytest.raises(ClientError, match="does not exist"):
        logs.read(small.session, "/aws/lambda/nobody", NOW - DAY, NOW)
    with pytest.raises(ClientError):
        logs.query(small.session, "/aws/lambda/payments-prod", "stats banana", NOW - DAY, NOW)
