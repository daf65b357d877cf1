"""Traces against the embedded local AWS over HTTP: what is read is what was put, once, whatever goes wrong on the way."""

import json
import os
import signal
import subprocess
import sys
import threading
import warnings
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import polars as pl
import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights import sandbox, simulate
from lift_insights.aws import session as sessions
from lift_insights.aws.cache import Cache
from lift_insights.aws.calls import IncompleteError
from lift_insights.aws.ledger import BudgetError, Ledger
from lift_insights.frames import InputError
from lift_insights.sandbox.server import LocalAWS, serving
from lift_insights.sources import traces, xray

NOW = datetime(2026, 3, 16, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
T = NOW.timestamp()
WILD = [
    sandbox.Fault(status=400, rate=0.10),
    sandbox.Fault(status=503, code="ServiceUnavailable", rate=0.02),
    sandbox.Fault(cut=True, rate=0.01),
    sandbox.Fault(half=True, rate=0.02),
]


def document(i, start, **more):
    trace = f"1-{int(start):08x}-{i:024x}"
    sub = {
        "name": "DynamoDB",
        "id": f"{i * 10 + 2:016x}",
        "namespace": "aws",
        "start_time": start + 0.01,
        "end_time": start + 0.02,
    }
    root = {
        "name": f"svc{i % 3}",
        "id": f"{i * 10 + 1:016x}",
        "trace_id": trace,
        "start_time": start,
        "end_time": start + 0.1,
    }
    return root | {"subsegments": [sub]} | more


def many(n, end=T - 7200, step=7.003):
    """Documents of n traces that lie before a time, two services a trace."""
    out = []
    for i in range(n):
        one = document(i + 1, round(end - (n - i) * step, 3))
        out += [
            one,
            one
            | {
                "id": f"{i * 10 + 15:016x}",
                "parent_id": one["subsegments"][0]["id"],
                "name": "behind",
                "subsegments": [],
            },
        ]
    return out


def telemetry(documents):
    """A thing like simulate's, with these traces only."""
    empty = simulate.platform(1, 3)
    frame = pl.DataFrame(
        {"trace_id": [d["trace_id"] for d in documents], "document": [json.dumps(d) for d in documents]}
    )
    return SimpleNamespace(metrics=empty.metrics.head(0), logs=empty.logs.head(0), traces=frame, end=NOW)


def brute(documents, start, end):
    """The spans of the traces that begin in the window, the obvious way."""
    began = {}
    for d in documents:
        began[d["trace_id"]] = min(began.get(d["trace_id"], 9e9), d["start_time"])
    return xray.parse([d for d in documents if start.timestamp() <= began[d["trace_id"]] < end.timestamp()])


def opened(spans):
    """Rows in an order of their own, attributes without the order of their keys."""
    attributes = [json.dumps(json.loads(text), sort_keys=True) for text in spans["attributes"]]
    return spans.with_columns(pl.Series("attributes", attributes, dtype=pl.String)).sort("trace_id", "span_id")


def same(found, expected):
    assert found.select("trace_id", "span_id").is_unique().all()
    found, expected = opened(found), opened(expected)
    different = [c for c in expected.columns if not found[c].equals(expected[c], null_equal=True)]
    assert found.equals(expected), (found.select("span_id", *different), expected.select("span_id", *different))


def put(session, documents):
    texts = [json.dumps(d) for d in documents]
    for i in range(0, len(texts), 50):
        answer = session.client("xray").put_trace_segments(TraceSegmentDocuments=texts[i : i + 50])
        assert answer["UnprocessedTraceSegments"] == []


def calls(session):
    return dict(session.ledger.frame().group_by("operation").len().rows())


@pytest.fixture(scope="module")
def small():
    """One simulated day, laid into a local AWS."""
    told = simulate.platform(1, 3)
    with sandbox.local(told) as session:
        yield SimpleNamespace(session=session, telemetry=told)


def test_traces_are_all_there_and_in_order(small):
    spans = traces.read(small.session, NOW - DAY, NOW)
    documents = small.telemetry.traces["document"].to_list()
    same(spans, xray.parse(documents))
    began = {}
    for d in map(json.loads, documents):
        began[d["trace_id"]] = min(began.get(d["trace_id"], 9e9), d["start_time"])
    order = spans["trace_id"].unique(maintain_order=True).to_list()
    assert order == sorted(began, key=lambda name: (began[name], name))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (timedelta(hours=7, minutes=13, microseconds=250_001), timedelta()),
        (HOUR, timedelta(seconds=0.5)),
        (timedelta(seconds=90), timedelta(seconds=1)),
    ],
)
def test_windows_are_half_open_and_may_be_cut_anywhere(small, before, after):
    documents = [json.loads(d) for d in small.telemetry.traces["document"].to_list()]
    cut = NOW - before
    same(traces.read(small.session, cut, NOW - after), brute(documents, cut, NOW - after))


def test_windows_at_the_very_starts_of_traces():
    documents = many(40)
    with sandbox.local(telemetry(documents)) as session:
        start = datetime.fromtimestamp(documents[20]["start_time"], UTC)
        end = datetime.fromtimestamp(documents[60]["start_time"], UTC)
        spans = traces.read(session, start, end)
        assert sorted(spans["trace_id"].unique()) == sorted({d["trace_id"] for d in documents[20:60]})


@settings(max_examples=200, deadline=None)
@given(begin=st.integers(0, 10**12), length=st.integers(1, 10**12))
def test_pieces_cover_the_window_and_fit_into_a_call(begin, length):
    start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=begin)
    end = start + timedelta(microseconds=length)
    pieces = traces._cut(start, end)
    assert pieces[0][0] == start
    assert pieces[-1][1] == end
    assert all(a[1] == b[0] for a, b in zip(pieces, pieces[1:]))
    for a, b in pieces:
        assert a < b
        assert traces.ceil(b, 1) - traces.floor(a, 1) <= 6 * HOUR
    assert len(pieces) <= -(-(end - start + timedelta(seconds=2)) // (6 * HOUR))


@pytest.mark.parametrize("by", ["id", "start"])
def test_each_trace_is_in_one_of_two_windows_however_aws_counts(by):
    cut = NOW - 3 * HOUR
    starts = [cut + timedelta(seconds=s) for s in (-90.5, -1.0, -0.7, 0.001, 0.2, 5.5, 61.0)]
    listed = [
        (f"1-{int((s - timedelta(seconds=late)).timestamp()):08x}-{i:024x}", s)
        for i, (s, late) in enumerate(zip(starts, (0, 1, 0, 1, 1, 30, 0)))
    ]

    def get_trace_summaries(StartTime, EndTime, **_):
        key = {"id": lambda t: traces._id_time(t[0]), "start": lambda t: t[1]}[by]
        found = [{"Id": t[0], "StartTime": t[1], "Duration": 0.1} for t in listed if StartTime <= key(t) <= EndTime]
        return {"TraceSummaries": found, "TracesProcessedCount": len(found)}

    events = SimpleNamespace(register=lambda *_, **__: None)
    client = SimpleNamespace(get_trace_summaries=get_trace_summaries, meta=SimpleNamespace(events=events))
    session = SimpleNamespace(client=lambda _: client, cache=None, ledger=Ledger(), now=lambda: NOW)
    found = [
        name
        for window in ((NOW - 5 * HOUR, cut), (cut, NOW))
        for name in traces.summaries(session, *window)["trace_id"]
    ]
    assert sorted(found) == sorted(name for name, _ in listed)


def test_calls_are_as_few_as_can_be():
    documents = many(1003)
    with sandbox.local(telemetry(documents)) as session:
        spans = traces.read(session, NOW - 5 * HOUR, NOW)
        assert spans["trace_id"].n_unique() == 1003
        made = calls(session)
        assert made.pop("GetTraceSegmentDestination") == 1
        assert made == {"GetTraceSummaries": 3, "BatchGetTraces": 201}
        assert session.ledger.cost_usd == pytest.approx(2 * 1003 * 0.5e-6)


def test_what_is_read_is_what_was_put_with_faults():
    documents = many(1500)
    with sandbox.local(telemetry(documents), faults=WILD, seed=5) as session:
        same(traces.read(session, NOW - 6 * HOUR, NOW), brute(documents, NOW - 6 * HOUR, NOW))
        assert session.ledger.frame()["retries"].sum() > 0


def test_a_warm_cache_makes_no_call_for_what_is_finished(tmp_path):
    documents = many(600) + many(30, T, 100.0)
    documents = [d | {"trace_id": d["trace_id"][:-1] + "f"} if d["start_time"] > T - 3000.5 else d for d in documents]
    with sandbox.local(telemetry(documents), cache=tmp_path) as session:
        first = traces.read(session, NOW - 6 * HOUR, NOW)
        same(first, brute(documents, NOW - 6 * HOUR, NOW))
        made = calls(session)
        assert traces.read(session, NOW - 6 * HOUR, NOW - HOUR).equals(
            first.filter(
                pl.col("trace_id").is_in(traces.read(session, NOW - 6 * HOUR, NOW - HOUR)["trace_id"].implode())
            )
        )
        assert calls(session) == made  # all of it ended an hour ago
        again = traces.read(session, NOW - 6 * HOUR, NOW)
        assert again.equals(first)
        tail = brute(documents, NOW - HOUR, NOW)["trace_id"].n_unique()
        more = {name: n - made.get(name, 0) for name, n in calls(session).items() if n > made.get(name, 0)}
        assert more == {"GetTraceSegmentDestination": 1, "GetTraceSummaries": 1, "BatchGetTraces": -(-tail // 5)}
        found = traces.read(
            session, NOW - 6 * HOUR, NOW, filter='service("svc1")'
        )  # another question, not answered by the first
        assert found["trace_id"].n_unique() == len({d["trace_id"] for d in documents if d["name"] == "svc1"})


def test_a_choice_of_traces_is_kept_too(tmp_path):
    documents = many(300)
    with sandbox.local(telemetry(documents), cache=tmp_path) as session:
        window = NOW - 6 * HOUR, NOW - HOUR
        some = traces.read(session, *window, max_traces=20)
        assert some["trace_id"].n_unique() == 20
        made = calls(session)
        assert traces.read(session, *window, max_traces=20).equals(some)
        assert calls(session) == made
        whole = traces.read(session, *window)
        assert calls(session)["GetTraceSummaries"] == made["GetTraceSummaries"]  # the listing was kept
        assert some.equals(
            whole.filter(pl.col("trace_id").is_in(traces.thin_out(whole["trace_id"].unique().sort(), 20)))
        )


def test_open_traces_are_asked_for_again(tmp_path):
    documents = many(100)
    open_one = documents[50]
    begun = {k: v for k, v in open_one.items() if k != "end_time"} | {"in_progress": True}
    others = [d for d in documents if d["id"] != open_one["id"]]
    with sandbox.local(telemetry([*others, begun]), cache=tmp_path) as session:
        window = NOW - 6 * HOUR, NOW - HOUR
        first = traces.read(session, *window)
        assert first["duration_ms"].null_count() == 1
        put(session, [open_one])
        made = calls(session)
        again = traces.read(session, *window)
        same(again, brute(documents, *window))
        assert calls(session)["BatchGetTraces"] == made["BatchGetTraces"] + 1
        made = calls(session)
        same(traces.read(session, *window), brute(documents, *window))
        assert calls(session) == made


KILLED = """
import os, signal, sys
from datetime import datetime, timedelta
from lift_insights.aws import session as sessions
from lift_insights.sources import traces
keep, n = traces._keep, []
def kept(*args):
    keep(*args)
    n.append(1)
    if len(n) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
traces._keep = kept
now = datetime.fromisoformat(sys.argv[3])
session = sessions.local(sys.argv[1], clock=now, cache=sys.argv[2])
traces.read(session, now - timedelta(hours=8), now - timedelta(hours=1))
"""


def test_killed_midway_and_run_again(tmp_path):
    documents = many(2500)
    aws = LocalAWS(lambda: NOW, WILD, 1)
    aws.service("xray", "us-east-1").lay_in(telemetry(documents).traces)
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with serving(aws) as url:
        arguments = [sys.executable, "-c", KILLED, url, str(tmp_path), NOW.isoformat()]
        done = subprocess.run(arguments, env=env, capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
        session = sessions.local(url, clock=NOW, cache=tmp_path)
        same(traces.read(session, NOW - 8 * HOUR, NOW - HOUR), brute(documents, NOW - 8 * HOUR, NOW - HOUR))
        made = calls(session)
        assert "GetTraceSummaries" not in made  # the listing was done before the end
        assert made["BatchGetTraces"] <= 1.1 * (2500 - 3 * traces.CHUNK) / 5
        traces.read(session, NOW - 8 * HOUR, NOW - HOUR)
        assert calls(session) == made


def test_what_x_ray_leaves_unprocessed_is_missing_and_named(monkeypatch, tmp_path):
    documents = many(60)
    monkeypatch.setattr(traces, "PAUSES_S", (0.0, 0.01))
    with sandbox.local(
        telemetry(documents), cache=tmp_path, faults=[sandbox.Fault(operation="BatchGetTraces", half=True, times=14)]
    ) as session:
        with pytest.raises(IncompleteError, match="pieces are missing") as error:
            traces.read(session, NOW - 6 * HOUR, NOW - HOUR)
        lost = error.value.missing
        assert lost.columns == ["start", "end", "what", "trace_id", "reason"]
        assert 0 < len(lost) < 60
        partial = error.value.partial
        assert set(partial["trace_id"]) | set(lost["trace_id"]) == {d["trace_id"] for d in documents}
        assert not set(partial["trace_id"]) & set(lost["trace_id"])
        made = calls(session)
        same(traces.read(session, NOW - 6 * HOUR, NOW - HOUR), brute(documents, NOW - 6 * HOUR, NOW - HOUR))
        assert calls(session)["BatchGetTraces"] - made["BatchGetTraces"] <= len(lost)
        assert calls(session)["GetTraceSummaries"] == made["GetTraceSummaries"]


def test_a_window_that_cannot_be_listed_is_missing_and_not_kept(tmp_path):
    documents = many(40, T - 20 * 3600) + many(40)
    documents = [
        d | {"trace_id": d["trace_id"][:-1] + "e"} if d["start_time"] < T - 12 * 3600 else d for d in documents
    ]
    faults = [sandbox.Fault(operation="GetTraceSummaries", status=400, code="InvalidRequestException", times=1)]
    with sandbox.local(telemetry(documents), cache=tmp_path, faults=faults) as session:
        with pytest.raises(IncompleteError) as error:
            traces.read(session, NOW - DAY, NOW - HOUR)
        (hole,) = error.value.missing.rows(named=True)
        assert hole["what"] == "trace summaries"
        assert "InvalidRequestException" in hole["reason"]
        assert error.value.partial.filter(pl.col("start") >= hole["start"], pl.col("start") < hole["end"]).is_empty()
        same(traces.read(session, NOW - DAY, NOW - HOUR), brute(documents, NOW - DAY, NOW - HOUR))


def test_credentials_that_end_midway():
    documents = many(1200)
    faults = [sandbox.Fault(operation="BatchGetTraces", status=403, code="ExpiredTokenException", after=40)]
    with sandbox.local(telemetry(documents), faults=faults) as session:
        with pytest.raises(IncompleteError, match="ExpiredToken") as error:
            traces.read(session, NOW - 6 * HOUR, NOW)
        read, lost = error.value.partial["trace_id"].n_unique(), error.value.missing["trace_id"].n_unique()
        assert read + lost == 1200
        assert read == 200
        assert calls(session)["BatchGetTraces"] < 80  # nobody went on asking


def test_an_error_that_leaves_nothing_is_raised_as_it_is(small):
    with pytest.raises(ClientError, match="Invalid filter expression"):
        traces.read(small.session, NOW - HOUR, NOW, filter="banana")
    with pytest.raises(ClientError, match="Invalid filter expression"):
        traces.summaries(small.session, NOW - HOUR, NOW, filter="banana")


def test_budget_stops_before_the_call_that_would_break_it():
    with sandbox.local(telemetry(many(1000)), budget_usd=0.0008) as session:
        with pytest.raises(BudgetError, match="fetching 1000 traces"):
            traces.read(session, NOW - 6 * HOUR, NOW)
        assert "BatchGetTraces" not in calls(session)
        assert session.ledger.cost_usd <= 0.0008
    with sandbox.local(telemetry(many(1000)), budget_usd=0.00001) as session:
        with pytest.raises(BudgetError, match="listing about 1000 traces"):
            traces.read(session, NOW - 6 * HOUR, NOW)
        assert "GetTraceSummaries" not in calls(session)


def test_dry_run_says_what_a_read_will_take(tmp_path):
    documents = many(1003)
    with sandbox.local(telemetry(documents), cache=tmp_path) as session:
        window = NOW - 6 * HOUR, NOW - HOUR
        promised = {row["operation"]: row for row in traces.read(session, *window, dry_run=True).rows(named=True)}
        assert not {"GetTraceSummaries", "BatchGetTraces"} & calls(session).keys()
        assert session.ledger.cost_usd == 0
        before = calls(session)
        traces.read(session, *window)
        made = {name: n - before.get(name, 0) for name, n in calls(session).items()}
        assert promised["BatchGetTraces"]["calls"] == made["BatchGetTraces"] == 201
        assert promised["GetTraceSummaries"]["calls"] <= made["GetTraceSummaries"]
        assert sum(row["cost_usd"] for row in promised.values()) == pytest.approx(session.ledger.cost_usd)
        assert traces.read(session, *window, dry_run=True)["calls"].sum() == 0  # all of it is in the cache
        some = traces.read(session, NOW - 7 * HOUR, NOW - HOUR, max_traces=50, filter="ok", dry_run=True)
        assert some.filter(pl.col("operation") == "BatchGetTraces").row(0, named=True)["certainty"] == "at most"


def test_dry_run_where_transaction_search_is_on():
    documents = many(30)
    with sandbox.local(telemetry(documents[:20])) as session:
        transaction_search(session, documents[20:])
        promised = traces.read(session, NOW - 6 * HOUR, NOW, dry_run=True)
        assert {"GetTraceSegmentDestination", "StartQuery"} <= set(promised["operation"]) or "GetQueryResults" in set(
            promised["operation"]
        )
        assert promised["cost_usd"].min() >= 0
        assert not {"StartQuery", "GetTraceSummaries", "BatchGetTraces"} & calls(session).keys()
        found = traces.read(session, NOW - 6 * HOUR, NOW, dry_run=True, source="retrieval")
        assert found["operation"].to_list() == ["GetTraceSummaries", "StartTraceRetrieval", "ListRetrievedTraces"]


def test_broken_documents_are_counted_and_do_not_stop_the_rest(tmp_path):
    documents = many(10)
    broken = documents[3] | {
        "subsegments": [
            {"name": "no id", "start_time": 1, "end_time": 2},
            {"name": "ok", "id": "a" * 16, "start_time": 1, "end_time": 2},
        ]
    }
    whole = [d for d in documents if d is not documents[3]]
    with sandbox.local(telemetry([*whole, broken]), cache=tmp_path) as session:
        window = NOW - 6 * HOUR, NOW - HOUR
        spans, problems = traces.read_report(session, *window)
        assert problems["trace_id"].to_list() == [broken["trace_id"]]
        assert len(spans) == len(xray.parse(whole)) + 2
        for _ in range(2):  # the second time from the cache
            with pytest.warns(UserWarning, match=f"1 documents or traces.*{broken['trace_id']}"):
                assert traces.read(session, *window).equals(spans)


def test_a_trace_that_x_ray_cut_is_reported():
    big = [document(1, T - 7200, id=f"{900 + i:016x}", metadata={"x": "y" * 60_000}) for i in range(10)]
    with sandbox.local(None, clock=NOW) as session:
        session.client("xray").put_trace_segments(TraceSegmentDocuments=[json.dumps(d) for d in big])
        with pytest.warns(UserWarning, match="cut this trace at its size limit"):
            spans = traces.read(session, NOW - 6 * HOUR, NOW)
        assert len(spans) > 0


def transaction_search(session, documents):
    session.client("xray").update_trace_segment_destination(Destination="CloudWatchLogs")
    put(session, documents)


def shape(spans):
    return spans.select("trace_id", "span_id", "parent_id", "service", "start", "duration_ms").sort(
        "trace_id", "span_id"
    )


@pytest.mark.parametrize("source", ["auto", "spans"])
def test_spans_of_transaction_search(source, tmp_path):
    documents = many(120)
    with sandbox.local(None, clock=NOW, cache=tmp_path) as session:
        transaction_search(session, documents)
        window = NOW - 6 * HOUR, NOW - HOUR
        spans = traces.read(session, *window, source=source)
        assert shape(spans).equals(shape(brute(documents, *window)))
        made = calls(session)
        assert traces.read(session, *window, source=source).equals(spans)
        assert calls(session) == made
        some = traces.read(session, *window, source=source, max_traces=7)
        assert sorted(some["trace_id"].unique()) == traces.thin_out(spans["trace_id"].unique().sort(), 7)


def test_auto_reads_both_sides_of_the_switch_to_transaction_search():
    documents = many(60)
    with sandbox.local(telemetry(documents[:50])) as session:
        transaction_search(session, documents[50:])
        window = NOW - 6 * HOUR, NOW
        assert shape(traces.read(session, *window)).equals(shape(brute(documents, *window)))
        with pytest.warns(UserWarning, match="indexed share"):
            found = traces.read(session, *window, filter="ok")  # X-Ray lists the 25 of before, and what it indexed
        assert found["trace_id"].n_unique() >= 25
        old = found.filter(pl.col("trace_id").is_in([d["trace_id"] for d in documents[:50]]))
        assert shape(old).equals(shape(brute(documents[:50], *window)))


def test_retrieval_brings_whole_traces(tmp_path):
    documents = many(230)
    with sandbox.local(None, clock=NOW, cache=tmp_path, faults=WILD, seed=3) as session:
        session.client("xray").update_indexing_rule(
            Name="Default", Rule={"Probabilistic": {"DesiredSamplingPercentage": 100}}
        )
        transaction_search(session, documents)
        window = NOW - 6 * HOUR, NOW - HOUR
        spans = traces.read(session, *window, source="retrieval")
        assert shape(spans).equals(shape(brute(documents, *window)))
        made = calls(session)
        assert made["StartTraceRetrieval"] == 3
        assert "BatchGetTraces" not in made
        assert traces.read(session, *window, source="retrieval").equals(spans)
        assert calls(session) == made


def test_a_retrieval_that_is_interrupted_is_cancelled():
    stopped = []

    def interrupted(**_):
        raise KeyboardInterrupt

    client = SimpleNamespace(
        start_trace_retrieval=lambda **_: {"RetrievalToken": "t"},
        list_retrieved_traces=interrupted,
        cancel_trace_retrieval=lambda **a: stopped.append(a),
    )
    session = SimpleNamespace(client=lambda _: client)
    with pytest.raises(KeyboardInterrupt):
        traces._retrieval(session, ["1-0-0"], NOW - HOUR, NOW)
    assert stopped == [{"RetrievalToken": "t"}]
    for status in ("FAILED", "TIMEOUT", "CANCELLED"):
        client.list_retrieved_traces = lambda status=status, **_: {"RetrievalStatus": status, "Traces": []}
        with pytest.raises(RuntimeError, match=status):
            traces._retrieval(session, ["1-0-0"], NOW - HOUR, NOW)


def test_where_spans_are_cannot_be_asked():
    faults = [sandbox.Fault(operation="GetTraceSegmentDestination", status=403, code="AccessDeniedException")]
    documents = many(10)
    with sandbox.local(telemetry(documents), faults=faults) as session:
        with pytest.warns(UserWarning, match="AccessDenied"):
            spans = traces.read(session, NOW - 6 * HOUR, NOW)
        same(spans, brute(documents, NOW - 6 * HOUR, NOW))


def test_several_regions_in_one_read():
    here, there = many(6), many(4)
    with sandbox.local(telemetry(here)) as session:
        other = session.at("eu-west-1")
        put(other, there)
        spans = traces.read([session, other], NOW - 6 * HOUR, NOW)
        counts = spans.group_by("account", "region").agg(pl.col("trace_id").n_unique()).sort("region")
        assert counts.rows() == [("123456789012", "eu-west-1", 4), ("123456789012", "us-east-1", 6)]
        assert len(traces.read([session, other], NOW - 6 * HOUR, NOW, dry_run=True)) == 3
        with pytest.raises(InputError, match="same account and region"):
            traces.read([session, session], NOW - 6 * HOUR, NOW)


def test_a_window_older_than_x_ray_keeps_traces_is_said():
    with sandbox.local(telemetry(many(3))) as session:
        with pytest.warns(UserWarning, match="30 days"):
            traces.read(session, NOW - 31 * DAY, NOW)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            traces.read(session, NOW - 30 * DAY, NOW)


def test_spans_that_came_twice_are_kept_finished():
    one = document(1, T - 7200)
    begun = {k: v for k, v in one.items() if k not in ("end_time", "subsegments")} | {"in_progress": True}
    spans = xray.parse([begun, one, begun]).with_columns(trace_start=pl.lit(NOW))
    found = traces._once(spans)
    assert found["span_id"].to_list() == [one["id"], one["subsegments"][0]["id"]]
    assert found["duration_ms"].null_count() == 0


def test_bad_input_is_refused_at_the_door(small):
    naive = datetime(2026, 3, 15)  # noqa: DTZ001
    with pytest.raises(InputError, match="no time zone"):
        traces.read(small.session, naive, NOW)
    with pytest.raises(InputError, match="start before its end"):
        traces.read(small.session, NOW, NOW - DAY)
    with pytest.raises(InputError, match="at least 1"):
        traces.read(small.session, NOW - DAY, NOW, max_traces=0)
    with pytest.raises(InputError, match="source needs one of"):
        traces.read(small.session, NOW - DAY, NOW, source="tempo")
    with pytest.raises(InputError, match="source='retrieval'"):
        traces.read(small.session, NOW - DAY, NOW, filter="fault", source="spans")
    with pytest.raises(InputError, match="form 1-8hex"):
        traces.fetch(small.session, ["what"])
    for wrong in ("5", 2.5, True, float("nan")):
        with pytest.raises(InputError, match="whole number"):
            traces.read(small.session, NOW - DAY, NOW, max_traces=wrong)
    with pytest.raises(InputError, match="filter expression"):
        traces.read(small.session, NOW - DAY, NOW, filter=5)
    with pytest.raises(InputError, match="filter expression"):
        traces.summaries(small.session, NOW - DAY, NOW, filter=["fault"])
    for wrong in (None, "prod", [small.session, None]):
        with pytest.raises(InputError, match="session needs"):
            traces.read(wrong, NOW - DAY, NOW)
    with pytest.raises(InputError, match="one session"):
        traces.summaries([small.session], NOW - DAY, NOW)
    for wrong in ("1-58406520-" + "a" * 24, 5, None):
        with pytest.raises(InputError, match="list of ids"):
            traces.fetch(small.session, wrong)
    for wrong in (5, "1-58406520-zz", "1-58406520-" + "a" * 25):
        with pytest.raises(InputError, match="form 1-8hex"):
            traces.fetch(small.session, [wrong])


def test_a_cache_that_is_cleared_meanwhile_loses_nothing(tmp_path, monkeypatch):
    documents = many(60)
    window = NOW - 6 * HOUR, NOW - HOUR
    with sandbox.local(telemetry(documents), cache=tmp_path) as session:
        expected = brute(documents, *window)
        same(traces.read(session, *window), expected)
        for name in ("take", "missing"):
            whole = getattr(Cache, name)

            def then_cleared(self, *args, whole=whole, **more):
                found = whole(self, *args, **more)
                Cache(tmp_path).clear()
                return found

            monkeypatch.setattr(Cache, name, then_cleared)
        for _ in range(3):
            same(traces.read(session, *window), expected)


def test_a_cache_that_others_clear_all_the_time(tmp_path):
    documents = many(40)
    window, over = (NOW - 6 * HOUR, NOW - HOUR), threading.Event()
    with sandbox.local(telemetry(documents), cache=tmp_path) as session:

        def clear():
            while not over.wait(0.003):
                Cache(tmp_path).clear()

        other = threading.Thread(target=clear)
        other.start()
        try:
            found = [traces.read(session, *window) for _ in range(25)]
        finally:
            over.set()
            other.join()
        for spans in found:
            same(spans, brute(documents, *window))


@pytest.mark.parametrize("code", ["ThrottledException", "InternalFailure"])
def test_where_spans_are_is_not_guessed_when_aws_is_busy(code, tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda s: None)
    documents, window = many(30), (NOW - 6 * HOUR, NOW - HOUR)
    faults = [sandbox.Fault(operation="GetTraceSegmentDestination", status=400, code=code, times=8)]
    with sandbox.local(None, clock=NOW, cache=tmp_path, faults=faults) as session:
        transaction_search(session, documents)
        while True:
            try:
                spans = traces.read(session, *window)
                break
            except ClientError:
                assert session.ledger.frame()["outcome"][-1] == code
        assert shape(spans).equals(shape(brute(documents, *window)))


def test_a_guess_where_spans_are_is_not_kept_as_the_whole(tmp_path):
    documents, window = many(30), (NOW - 6 * HOUR, NOW - HOUR)
    faults = [sandbox.Fault(operation="GetTraceSegmentDestination", status=403, code="AccessDeniedException", times=2)]
    with sandbox.local(None, clock=NOW, cache=tmp_path, faults=faults) as session:
        transaction_search(session, documents)
        with pytest.warns(UserWarning, match="AccessDenied"):
            first = traces.read(session, *window)
        assert first["trace_id"].n_unique() < 30  # the indexed share
        made = calls(session)
        with pytest.warns(UserWarning, match="AccessDenied"):
            assert traces.read(session, *window).equals(first)
        assert calls(session) == made | {"GetTraceSegmentDestination": 2}
        assert shape(traces.read(session, *window)).equals(shape(brute(documents, *window)))


def over_days(n):
    """Documents of n traces, one an hour."""
    return many(n, T - 7200, 3600.0)


@pytest.mark.parametrize("code", ["ExpiredTokenException", "AccessDeniedException"])
def test_credentials_that_end_while_the_log_group_is_read(code, tmp_path):
    documents, window = over_days(24 * 12), (NOW - 12 * DAY, NOW - HOUR)
    faults = [sandbox.Fault(operation="StartQuery", status=403, code=code, after=3, times=8)]
    with sandbox.local(None, clock=NOW, cache=tmp_path, faults=faults) as session:
        transaction_search(session, documents)
        with pytest.raises(IncompleteError, match=code) as error:
            traces.read(session, *window, source="spans")
        assert calls(session)["StartQuery"] <= 3 + 5  # nobody went on asking
        partial, lost = error.value.partial, error.value.missing
        assert shape(partial).equals(shape(brute(documents, NOW - 12 * DAY, NOW - 9 * DAY)))
        assert lost.select("start", "end").rows()[0] == (NOW - 9 * DAY, NOW - 8 * DAY)
        assert lost["end"].max() == NOW - HOUR
        while True:
            try:
                spans = traces.read(session, *window, source="spans")
                break
            except (IncompleteError, ClientError):
                continue
        assert shape(spans).equals(shape(brute(documents, *window)))


def test_permission_that_ends_midway(tmp_path):
    documents = many(1200)
    for cache, advice in ((None, "a session that has a cache"), (tmp_path, "the rest is in the cache")):
        faults = [sandbox.Fault(operation="BatchGetTraces", status=403, code="AccessDeniedException", after=40)]
        with sandbox.local(telemetry(documents), cache=cache, faults=faults) as session:
            with pytest.raises(IncompleteError, match=advice) as error:
                traces.read(session, NOW - 6 * HOUR, NOW)
            assert calls(session)["BatchGetTraces"] <= 40 + traces.FEW + 40  # of 240: those under way
            assert error.value.partial["trace_id"].n_unique() == 200
            assert error.value.missing["trace_id"].n_unique() == 1000


def test_the_future_is_not_asked_for():
    documents = many(20, T)
    with sandbox.local(telemetry(documents)) as session:
        for end in (NOW + 365 * DAY, datetime.max.replace(tzinfo=UTC)):
            made = calls(session)
            with pytest.warns(UserWarning, match="future") as said:
                plan = traces.read(session, NOW - HOUR, end, dry_run=True)
            assert len(said) == 1
            assert said[0].filename == __file__
            assert plan.filter(pl.col("operation") == "GetTraceSummaries")["calls"].item() == 1
            assert calls(session)["GetServiceGraph"] - made.get("GetServiceGraph", 0) == 1
            with pytest.warns(UserWarning, match="future") as said:
                same(traces.read(session, NOW - HOUR, end), brute(documents, NOW - HOUR, NOW))
            assert len(said) == 1
            assert calls(session)["GetTraceSummaries"] - made.get("GetTraceSummaries", 0) == 1
        with pytest.warns(UserWarning, match="future"):
            assert traces.read(session, NOW + DAY, NOW + 2 * DAY).is_empty()
        with pytest.warns(UserWarning, match="future"):
            assert len(traces.summaries(session, NOW - HOUR, NOW + DAY)) == 20
        assert len(traces.read(session, NOW - HOUR, NOW + timedelta(minutes=10)))  # clocks differ a little


@pytest.mark.parametrize("start", [datetime(1970, 1, 1, tzinfo=UTC), datetime.min.replace(tzinfo=UTC)])
def test_what_x_ray_no_longer_keeps_is_not_asked_for(start):
    documents = many(20)
    with sandbox.local(telemetry(documents)) as session:
        with pytest.warns(UserWarning, match="30 days"):
            plan = traces.read(session, start, NOW, dry_run=True)
        assert plan.filter(pl.col("operation") == "GetTraceSummaries")["calls"].item() <= 121
        with pytest.warns(UserWarning, match="30 days"):
            same(traces.read(session, start, NOW), brute(documents, NOW - DAY, NOW))
        assert calls(session)["GetTraceSummaries"] <= 121
        assert calls(session)["GetServiceGraph"] <= 121


def test_a_log_group_is_read_as_far_back_as_it_goes():
    documents = over_days(24 * 3)
    with sandbox.local(None, clock=NOW) as session:
        transaction_search(session, documents)
        with pytest.warns(UserWarning, match="aws/spans goes back only so far"):
            spans = traces.read(session, datetime(1970, 1, 1, tzinfo=UTC), NOW, source="spans")
        assert shape(spans).equals(shape(brute(documents, NOW - 5 * DAY, NOW)))
        assert calls(session)["StartQuery"] <= 5
        session.client("logs").put_retention_policy(logGroupName="aws/spans", retentionInDays=1)
        with pytest.warns(UserWarning, match="aws/spans goes back only so far"):
            traces.read(session, NOW - 2 * DAY, NOW, source="spans")
        with pytest.warns(UserWarning, match="there may have been more traces"):
            traces.read(session, NOW - 2 * DAY, NOW)


def test_what_the_cache_keeps_outlives_x_ray(tmp_path):
    documents, window = many(40), (NOW - 6 * HOUR, NOW - HOUR)
    aws = LocalAWS(lambda: NOW)
    aws.service("xray", "us-east-1").lay_in(telemetry(documents).traces)
    with serving(aws) as url:
        traces.read(sessions.local(url, clock=NOW, cache=tmp_path), *window)
        later = sessions.local(url, clock=NOW + 90 * DAY, cache=tmp_path)
        same(traces.read(later, *window), brute(documents, *window))
        assert "GetTraceSummaries" not in calls(later)
        with pytest.warns(UserWarning, match="30 days"):
            same(traces.read(later, NOW - DAY, NOW - HOUR), brute(documents, *window))
        assert "GetTraceSummaries" not in calls(later)


def test_a_page_that_would_break_the_budget_is_not_asked_for(monkeypatch):
    documents = many(1500)
    with sandbox.local(telemetry(documents), budget_usd=0.00006) as session:
        with pytest.raises(BudgetError, match="listing about 1500 traces"):
            traces.summaries(session, NOW - 6 * HOUR, NOW)
        assert session.ledger.cost_usd == 0
    denied = [sandbox.Fault(operation="GetServiceGraph", status=403, code="AccessDeniedException")]
    with sandbox.local(telemetry(documents), budget_usd=0.0009, faults=denied) as session:
        with pytest.raises(BudgetError, match="listing traces"):
            traces.summaries(session, NOW - 6 * HOUR, NOW)
        assert session.ledger.cost_usd == 0
        with pytest.warns(UserWarning, match="xray:GetServiceGraph"):
            traces.summaries(session, NOW - 6 * HOUR, NOW, dry_run=True)
    monkeypatch.setattr(traces, "_requests", lambda *_: 100)  # a graph that knows less than there is
    for usd in (0.00026, 0.0004, 0.0006, 0.0007):
        with sandbox.local(telemetry(documents), budget_usd=usd) as session:
            with pytest.raises(BudgetError, match="listing traces"):
                traces.summaries(session, NOW - 6 * HOUR, NOW)
            assert 0 < session.ledger.cost_usd <= usd


def test_a_budget_that_suffices_is_enough():
    documents = many(1000)
    with sandbox.local(telemetry(documents), budget_usd=2 * 1000 * 0.5e-6) as session:
        same(traces.read(session, NOW - 6 * HOUR, NOW), brute(documents, NOW - 6 * HOUR, NOW))
        assert session.ledger.cost_usd == pytest.approx(0.001)


def test_a_budget_is_not_held_back_for_what_is_not_there():
    documents = many(400, T - 3 * 3600, 60.0)  # two pieces of eight
    with sandbox.local(telemetry(documents), budget_usd=0.00065) as session:
        assert traces.read(session, NOW - 2 * DAY, NOW)["trace_id"].n_unique() == 400


def test_dry_run_wherever_something_is_read(tmp_path):
    documents, window = many(23), (NOW - 13 * HOUR, NOW - 2 * HOUR)
    with sandbox.local(telemetry(documents), cache=tmp_path) as session:
        listing = traces.summaries(session, *window, dry_run=True)
        assert listing.select("operation", "calls", "quantity").rows() == [("GetTraceSummaries", 2, 23)]
        names = sorted({d["trace_id"] for d in documents})
        fetching = traces.fetch(session, names, dry_run=True)
        assert fetching.select("operation", "calls", "quantity").rows() == [("BatchGetTraces", 5, 23)]
        whole = traces.read_report(session, *window, dry_run=True)
        assert whole.equals(traces.read(session, *window, dry_run=True))
        assert session.ledger.cost_usd == 0
        traces.summaries(session, *window)
        assert session.ledger.cost_usd == pytest.approx(listing["cost_usd"].sum())
        rest = traces.read(session, *window, dry_run=True)  # the listing is in the cache
        asked = rest.filter(pl.col("calls") > 0)["operation"].to_list()
        assert asked == ["GetTraceSegmentDestination", "BatchGetTraces"]
        traces.fetch(session, names)
        assert session.ledger.cost_usd == pytest.approx(listing["cost_usd"].sum() + fetching["cost_usd"].sum())


def test_summaries_read_by_botocore_are_the_same(small, monkeypatch):
    quick = traces.summaries(small.session, NOW - DAY, NOW)
    assert len(quick) > 500
    cost = small.session.ledger.cost_usd
    monkeypatch.setattr(traces, "_page", lambda client, asked: client.get_trace_summaries(**asked))
    slow = traces.summaries(small.session, NOW - DAY, NOW)
    assert quick.equals(slow)
    assert small.session.ledger.cost_usd - cost == pytest.approx(len(slow) * 0.5e-6)
    page = small.session.client("xray").get_trace_summaries(StartTime=NOW - HOUR, EndTime=NOW)
    assert {"Id", "Duration", "Http", "Annotations"} <= page["TraceSummaries"][0].keys()  # others see it whole


def test_a_piece_that_cannot_be_put_away_is_not_lost(monkeypatch):
    documents = many(40)
    spans_of, broken = traces._spans_of, [RuntimeError("once")]

    def once_broken(*args):
        if broken:
            raise broken.pop()
        return spans_of(*args)

    monkeypatch.setattr(traces, "_spans_of", once_broken)
    with sandbox.local(telemetry(documents)) as session:
        with pytest.raises(IncompleteError, match="once") as error:
            traces.read(session, NOW - 6 * HOUR, NOW)
        got = {*error.value.partial["trace_id"], *error.value.missing["trace_id"]}
        assert got == {d["trace_id"] for d in documents}


def test_one_place_that_fails_does_not_lose_the_other():
    documents = many(6)
    with sandbox.local(telemetry(documents)) as session:
        other = session.at("eu-west-1")
        put(other, documents)

        def refused(**_):
            raise ClientError({"Error": {"Code": "ThrottledException", "Message": "slow down"}}, "x")

        other.client("xray").get_trace_segment_destination = refused
        with pytest.raises(IncompleteError, match="slow down") as error:
            traces.read([session, other], NOW - 6 * HOUR, NOW)
        assert error.value.missing.select("region", "start", "end").rows() == [("eu-west-1", NOW - 6 * HOUR, NOW)]
        same(error.value.partial.drop("account", "region"), brute(documents, NOW - 6 * HOUR, NOW))
