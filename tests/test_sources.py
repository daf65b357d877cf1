"""Sources against the embedded local AWS over HTTP: what is read is what was put."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import polars as pl
import pytest
from botocore.exceptions import ClientError

from lift_insights import sandbox, simulate
from lift_insights.frames import InputError
from lift_insights.sources import logs, metrics

NOW = datetime(2026, 3, 16, tzinfo=UTC)
DAY = timedelta(days=1)


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


def test_bad_input_is_refused_at_the_door(small):
    naive = datetime(2026, 3, 15)  # noqa: DTZ001
    for call in (
        lambda a, b: metrics.read(small.session, [], a, b),
        lambda a, b: logs.read(small.session, "g", a, b),
        lambda a, b: logs.query(small.session, "g", "fields @message", a, b),
    ):
        with pytest.raises(InputError, match="no time zone"):
            call(naive, NOW)
        with pytest.raises(InputError, match="start before its end"):
            call(NOW, NOW - DAY)
    with pytest.raises(ClientError, match="does not exist"):
        logs.read(small.session, "/aws/lambda/nobody", NOW - DAY, NOW)
    with pytest.raises(ClientError):
        logs.query(small.session, "/aws/lambda/payments-prod", "stats banana", NOW - DAY, NOW)
