"""What is read equals what was put, against a brute-force reading: with and without faults, and after a kill.

The same at full size is measured by `python -m benchmarks sources`.
"""

from datetime import timedelta

import polars as pl
import pytest

from benchmarks import volumes
from lift_insights import sandbox
from lift_insights.sources import logs, metrics, traces, xray

END = volumes.END
BAD_NETWORK = (
    sandbox.Fault(status=400, code="ThrottlingException", rate=0.1),
    sandbox.Fault(status=503, code="ServiceUnavailable", rate=0.02),
    sandbox.Fault(cut=True, rate=0.01),
)
HALF = (*BAD_NETWORK, sandbox.Fault(half=True, rate=0.05))
NETWORKS = pytest.mark.parametrize("faults", [(), BAD_NETWORK, HALF], ids=["good", "bad", "half"])


@pytest.fixture(scope="module")
def put():
    """An hour's work in small: metrics, logs, traces."""
    frames = {
        "metrics": volumes.metrics(40, 7, 11),
        "logs": volumes.logs(30_000, 24, 12),
        "traces": volumes.traces(1500, 24, 13),
    }
    return volumes.telemetry(**frames)


@NETWORKS
def test_metrics(put, faults, tmp_path):
    truth = volumes.datapoints(put.metrics)
    with sandbox.local(put, faults=faults, seed=3, cache=tmp_path) as session:
        for _ in range(2):  # the second time from the cache
            points = volumes.reading("metrics", session)
            assert volumes.differing(volumes.as_datapoints(points), truth) == 0
            assert points.equals(points.sort("series", "timestamp"))
    assert truth["value"].sum() > 0


@NETWORKS
def test_logs(put, faults, tmp_path):
    raw = put.logs.rename({"message": "text"}).filter(pl.col("timestamp") >= END - timedelta(hours=24))
    truth = logs.parse(raw)
    with sandbox.local(put, faults=faults, seed=4, cache=tmp_path) as session:
        for _ in range(2):
            events = volumes.reading("logs", session)
            assert volumes.differing(events, truth) == 0
            assert events["timestamp"].is_sorted()
    assert len(truth) == 30_000


@NETWORKS
def test_traces(put, faults, tmp_path):
    truth = xray.parse(put.traces["document"].to_list())
    with sandbox.local(put, faults=faults, seed=5, cache=tmp_path) as session:
        for _ in range(2):
            assert volumes.differing(volumes.reading("traces", session), truth) == 0
    assert len(truth) == 1500 * 5


@pytest.mark.parametrize("kind", ["metrics", "logs", "traces"])
def test_a_killed_process_goes_on_where_it_stopped(put, kind, tmp_path):
    truth = {
        "metrics": lambda: volumes.datapoints(put.metrics),
        "logs": lambda: logs.parse(put.logs.rename({"message": "text"})),
        "traces": lambda: xray.parse(put.traces["document"].to_list()),
    }[kind]()
    slow = (*BAD_NETWORK, sandbox.Fault(delay_s=0.05))  # so that the kill comes in the middle
    with sandbox.local(put, faults=slow, seed=6) as session:
        found, kept = volumes.killed_and_resumed(kind, session.endpoint_url, tmp_path, kill_after=2)
    assert kept >= 2
    ours = volumes.as_datapoints(found) if kind == "metrics" else found
    assert volumes.differing(ours, truth) == 0


@pytest.mark.parametrize("kind", ["metrics", "logs", "traces"])
def test_a_warm_cache_makes_no_call_for_what_is_finished(put, kind, tmp_path):
    calls = {"metrics": "GetMetricData", "logs": "FilterLogEvents", "traces": "BatchGetTraces|GetTraceSummaries"}[kind]
    with sandbox.local(put, cache=tmp_path) as session:

        def made() -> int:
            return session.ledger.frame().filter(pl.col("operation").str.contains(calls)).height

        volumes.reading(kind, session)
        first = made()
        volumes.reading(kind, session)
        assert (first > 0, made() - first) == (True, 0)


def test_metrics_put_through_the_api():
    """PutMetricData on one side, GetMetricData on the other."""
    frame = volumes.metrics(12, 1, 14)
    with sandbox.local(None, clock=END + volumes.LATER) as session:
        client = session.client("cloudwatch")
        datums = [
            {
                "MetricName": row["metric"],
                "Dimensions": [{"Name": d["name"], "Value": d["value"]} for d in row["dimensions"]],
                "Timestamp": row["timestamp"],
                "Values": row["values"],
                "Unit": row["unit"],
            }
            for row in frame.iter_rows(named=True)
        ]
        for i in range(0, len(datums), 1000):
            client.put_metric_data(Namespace=volumes.NAMESPACE, MetricData=datums[i : i + 1000])
        start = END - timedelta(days=1)
        for period_s in (60, 300):
            points = metrics.read(session, volumes.catalog(session), start, END, period_s=period_s)
            assert volumes.differing(volumes.as_datapoints(points), volumes.datapoints(frame, period_s)) == 0


def test_traces_put_through_the_api():
    frame = volumes.traces(200, 3, 15)
    with sandbox.local(None, clock=END + volumes.LATER) as session:
        for i in range(0, len(frame), 5):
            session.client("xray").put_trace_segments(TraceSegmentDocuments=frame["document"][i : i + 5].to_list())
        spans = traces.read(session, END - timedelta(hours=3), END)
    assert volumes.differing(spans, xray.parse(frame["document"].to_list())) == 0
