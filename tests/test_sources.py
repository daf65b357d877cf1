"""Sources against the embedded local AWS over HTTP: what is read is what was put."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import polars as pl
import pytest

from lift_insights import sandbox, simulate
from lift_insights.sources import logs, metrics

NOW = datetime(2026, 3, 16, tzinfo=UTC)


@pytest.fixture(scope="module")
def small():
    """One simulated day, laid into a local AWS."""
    telemetry = simulate.platform(1, 3)
    with sandbox.local(telemetry) as session:
        yield SimpleNamespace(session=session, telemetry=telemetry)


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
