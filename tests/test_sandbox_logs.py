"""CloudWatch Logs of the local AWS, over HTTP, against loops over what was put."""

import json
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from botocore.exceptions import ClientError, ParamValidationError
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights import sandbox
from lift_insights.aws import session as sessions
from lift_insights.sandbox import Fault
from lift_insights.sandbox.logs import Logs
from lift_insights.sandbox.server import AwsError, LocalAWS, serving

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)
MS = int(NOW.timestamp() * 1000)


def documents(n):
    for i in range(n):
        yield {
            "level": ("INFO", "INFO", "WARN", "ERROR")[i % 4],
            "message": f"Request {'failed' if i % 4 == 3 else 'completed'}",
            "fields": {
                "status": (200, 201, 404, 503)[i % 4],
                "ms": (i * 37) % 101 + 0.5,
                "path": f"/p{i % 3}",
                "cached": i % 2 == 0,
            },
            "tenant_id": f"t{i % 5}",
            "cause": None if i % 4 == 3 else "none",
        }


EVENTS = [(MS - 3_600_000 + i * 1000, f"s{i % 3}", json.dumps(d)) for i, d in enumerate(documents(2000))]


@pytest.fixture(scope="module")
def logs():
    frame = (
        pl.DataFrame(
            {
                "log_group": ["/shop"] * len(EVENTS),
                "log_stream": [e[1] for e in EVENTS],
                "timestamp": [datetime.fromtimestamp(e[0] / 1000, UTC) for e in EVENTS],
                "message": [e[2] for e in EVENTS],
            }
        )
        .with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC")))
        .sample(fraction=1, shuffle=True, seed=1)
    )
    metrics = pl.DataFrame(
        schema={
            "namespace": pl.String,
            "metric": pl.String,
            "unit": pl.String,
            "timestamp": pl.Datetime("us", "UTC"),
            "values": pl.List(pl.Float64),
            "counts": pl.List(pl.Int64),
            "dimensions": pl.List(pl.Struct({"name": pl.String, "value": pl.String})),
        }
    )
    traces = pl.DataFrame(schema={"trace_id": pl.String, "document": pl.String})
    with sandbox.local(SimpleNamespace(metrics=metrics, logs=frame, traces=traces, end=NOW)) as session:
        yield session.client("logs")


@contextmanager
def empty(*faults, seed=0, clock=lambda: NOW):
    """An empty local AWS with one group and one stream: the client, and the service behind it."""
    aws = LocalAWS(clock, faults, seed)
    with serving(aws) as url:
        logs = sessions.local(url, region="us-east-1", clock=clock()).client("logs")
        logs.create_log_group(logGroupName="g")
        logs.create_log_stream(logGroupName="g", logStreamName="s")
        yield logs, aws.service("logs", "us-east-1")


def put(logs, *events, stream="s"):
    lines = [{"timestamp": t, "message": m} for t, m in events]
    return logs.put_log_events(logGroupName="g", logStreamName=stream, logEvents=lines)


def everything(call, key="events", **arguments):
    pages, token = [], {}
    while True:
        got = call(**arguments, **token)
        pages.append(got[key])
        if "nextToken" not in got:
            return pages
        token = {"nextToken": got["nextToken"]}


def test_all_events_come_back_in_order(logs):
    found = [e for page in everything(logs.filter_log_events, logGroupName="/shop", limit=300) for e in page]
    assert [(e["timestamp"], e["logStreamName"], e["message"]) for e in found] == EVENTS
    assert len({e["eventId"] for e in found}) == len(EVENTS)
    back = [
        e
        for page in everything(
            logs.filter_log_events, logGroupName="/shop", startFromHead=False, startTime=MS - 7_200_000
        )
        for e in page
    ]
    assert back == found[::-1]


def test_windows_streams_and_prefixes(logs):
    start, end = EVENTS[100][0], EVENTS[500][0]

    def count(**more):
        return sum(map(len, everything(logs.filter_log_events, logGroupName="/shop", **more)))

    assert count(startTime=start, endTime=end) == 401  # both ends belong to it
    assert count(logStreamNames=["s0", "s2"]) == sum(e[1] != "s1" for e in EVENTS)
    assert count(logStreamNamePrefix="s1") == sum(e[1] == "s1" for e in EVENTS)
    assert count(startTime=MS) == 0
    stream = logs.get_log_events(
        logGroupName="/shop", logStreamName="s0", startTime=start, endTime=end, startFromHead=True
    )["events"]
    assert [e["message"] for e in stream] == [m for t, s, m in EVENTS if s == "s0" and start <= t < end]


PATTERNS = {
    "": lambda m, d: True,
    "failed": lambda m, d: "failed" in m,
    "Request -failed": lambda m, d: "failed" not in m,
    "?WARN ?ERROR": lambda m, d: d["level"] in ("WARN", "ERROR"),
    '"Request failed"': lambda m, d: "Request failed" in m,
    '-"Request failed" WARN': lambda m, d: d["level"] == "WARN",
    "%st.tus.. [45]%": lambda m, d: d["fields"]["status"] >= 400,
    '{ $.level = "ERROR" && $.fields.status >= 500 }': lambda m, d: d["level"] == "ERROR",
    "{ $.fields.status = 404 || $.tenant_id = t1 }": lambda m, d: (
        d["fields"]["status"] == 404 or d["tenant_id"] == "t1"
    ),
    "{ ($.fields.ms > 50.5 && $.fields.ms <= 80) || $.level != INFO }": lambda m, d: (
        50.5 < d["fields"]["ms"] <= 80 or d["level"] != "INFO"
    ),
    '{ $.message = "*fail*" }': lambda m, d: "fail" in d["message"],
    "{ $.fields.path = /p* && $.fields.path != /p1 }": lambda m, d: d["fields"]["path"] != "/p1",
    "{ $.cause IS NULL }": lambda m, d: d["cause"] is None,
    "{ $.fields.cached IS TRUE }": lambda m, d: d["fields"]["cached"],
    "{ $.fields.cached IS FALSE && $.nothing NOT EXISTS }": lambda m, d: not d["fields"]["cached"],
    "{ $.nothing = 1 || $.nothing != 1 }": lambda m, d: False,
    "{ $.level = 200 }": lambda m, d: False,
    "{ $.fields.status < 300 && $.fields.status != 200 }": lambda m, d: d["fields"]["status"] == 201,
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns(logs, pattern):
    found = [
        e["message"]
        for page in everything(logs.filter_log_events, logGroupName="/shop", filterPattern=pattern)
        for e in page
    ]
    expected = [m for _, _, m in EVENTS if PATTERNS[pattern](m, json.loads(m))]
    assert found == expected


def test_a_page_holds_a_mebibyte_and_empty_pages_go_on():
    with sandbox.local(None, clock=NOW) as session:
        logs = session.client("logs")
        logs.create_log_group(logGroupName="g")
        logs.create_log_stream(logGroupName="g", logStreamName="s")
        for k in range(3):
            batch = [{"timestamp": MS - 60_000 + i, "message": f"{k} {i} ".ljust(1000, "é")[:600]} for i in range(800)]
            logs.put_log_events(logGroupName="g", logStreamName="s", logEvents=batch)
        pages = everything(logs.filter_log_events, logGroupName="g")
        sizes = [sum(len(e["message"].encode()) + 26 for e in page) for page in pages]
        assert sum(map(len, pages)) == 2400
        assert len(pages) == 3
        assert max(sizes) <= 1 << 20
        for _ in range(3):
            batch = [{"timestamp": MS - 50_000 + i, "message": "x"} for i in range(9000)]
            logs.put_log_events(logGroupName="g", logStreamName="s", logEvents=batch)
        logs.put_log_events(logGroupName="g", logStreamName="s", logEvents=[{"timestamp": MS, "message": "needle"}])
        pages = everything(logs.filter_log_events, logGroupName="g", filterPattern="needle")
        assert [len(p) for p in pages] == [0, 1]


def test_get_log_events_walks_both_ways(logs):
    mine = [m for _, s, m in EVENTS if s == "s1"]
    for head in (True, False):
        token, seen = {}, []
        key = "nextForwardToken" if head else "nextBackwardToken"
        while True:
            got = logs.get_log_events(logGroupName="/shop", logStreamName="s1", startFromHead=head, limit=200, **token)
            if token.get("nextToken") == got[key]:
                break
            page = [e["message"] for e in got["events"]]
            seen = seen + page if head else page + seen
            token = {"nextToken": got[key]}
        assert seen == mine


def test_groups_and_streams():
    with sandbox.local(None, clock=NOW) as session:
        logs = session.client("logs")
        for i in range(60):
            logs.create_log_group(logGroupName=f"/g/{i:02d}", tags={"n": str(i)})
        groups = [g for page in everything(logs.describe_log_groups, "logGroups") for g in page]
        assert [g["logGroupName"] for g in groups] == [f"/g/{i:02d}" for i in range(60)]
        assert len(logs.describe_log_groups(logGroupNamePrefix="/g/1")["logGroups"]) == 10
        logs.put_retention_policy(logGroupName="/g/00", retentionInDays=30)
        assert logs.describe_log_groups(limit=1)["logGroups"][0]["retentionInDays"] == 30
        with pytest.raises(ClientError, match="retentionInDays"):
            logs.put_retention_policy(logGroupName="/g/00", retentionInDays=31)
        arn = groups[7]["logGroupArn"]
        logs.tag_resource(resourceArn=arn, tags={"b": "2"})
        logs.untag_resource(resourceArn=arn, tagKeys=["n"])
        assert logs.list_tags_for_resource(resourceArn=arn)["tags"] == {"b": "2"}
        for name in ("b", "a"):
            logs.create_log_stream(logGroupName="/g/00", logStreamName=name)
        logs.put_log_events(
            logGroupName="/g/00",
            logStreamName="a",
            logEvents=[{"timestamp": MS - 5, "message": "m"}, {"timestamp": MS, "message": "m"}],
        )
        streams = logs.describe_log_streams(logGroupName="/g/00", orderBy="LastEventTime", descending=True)[
            "logStreams"
        ]
        assert [s["logStreamName"] for s in streams] == ["a", "b"]
        assert (streams[0]["firstEventTimestamp"], streams[0]["lastEventTimestamp"]) == (MS - 5, MS)
        for call, wrong in (
            (logs.create_log_group, {"logGroupName": "/g/00"}),
            (logs.create_log_stream, {"logGroupName": "/g/00", "logStreamName": "a"}),
            (logs.create_log_stream, {"logGroupName": "/none", "logStreamName": "a"}),
            (logs.create_log_group, {"logGroupName": "a b"}),
            (logs.filter_log_events, {"logGroupName": "/none"}),
            (logs.filter_log_events, {"logGroupName": "/g/00", "logStreamNames": ["zz"]}),
            (logs.filter_log_events, {"logGroupName": "/g/00", "nextToken": "zz"}),
            (logs.get_log_events, {"logGroupName": "/g/00", "logStreamName": "zz"}),
            (
                logs.describe_log_streams,
                {"logGroupName": "/g/00", "orderBy": "LastEventTime", "logStreamNamePrefix": "a"},
            ),
            (logs.filter_log_events, {"logGroupName": "/g/00", "logStreamNames": ["a"], "logStreamNamePrefix": "a"}),
        ):
            with pytest.raises(ClientError):
                call(**wrong)
        logs.delete_log_stream(logGroupName="/g/00", logStreamName="a")
        assert logs.filter_log_events(logGroupName="/g/00")["events"] == []
        logs.delete_log_group(logGroupName="/g/00")
        with pytest.raises(logs.exceptions.ResourceNotFoundException):
            logs.delete_log_group(logGroupName="/g/00")


def test_limits_of_put_log_events():
    with sandbox.local(None, clock=NOW) as session:
        logs = session.client("logs")
        logs.create_log_group(logGroupName="g")
        logs.create_log_stream(logGroupName="g", logStreamName="s")

        def put(*events):
            return logs.put_log_events(
                logGroupName="g", logStreamName="s", logEvents=[{"timestamp": t, "message": m} for t, m in events]
            )

        for wrong in (
            [(MS, "a"), (MS - 1, "b")],
            [(MS - 86_400_001, "a"), (MS, "b")],
            [(MS, "x")] * 10_001,
            [(MS, "x" * 1000)] * 1023,
            [(MS, "é" * 524_276)],
            [(MS, "")],
        ):
            with pytest.raises((ClientError, ParamValidationError)):
                put(*wrong)
        assert logs.filter_log_events(logGroupName="g")["events"] == []
        assert "rejectedLogEventsInfo" not in put(*[(MS, "x" * (1022 - 26 + 2))] * 1024)
        old, new = MS - 14 * 86_400_000, MS + 2 * 3_600_000
        assert put((old - 2, "a"), (old - 1, "b"), (old, "c"))["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 2}
        assert put((new, "a"), (new + 1, "b"))["rejectedLogEventsInfo"] == {"tooNewLogEventStartIndex": 1}
        kept = [
            e["message"]
            for page in everything(logs.filter_log_events, logGroupName="g")
            for e in page
            if len(e["message"]) == 1
        ]
        assert kept == ["c", "a"]


def finished(logs, query_id):
    while (got := logs.get_query_results(queryId=query_id))["status"] in ("Scheduled", "Running"):
        time.sleep(0.002)
    return got


def ask(logs, query, **more):
    window = {"startTime": int(NOW.timestamp()) - 7200, "endTime": int(NOW.timestamp()), "logGroupName": "/shop"}
    got = finished(logs, logs.start_query(queryString=query, **window | more)["queryId"])
    assert got["status"] == "Complete"
    return [{f["field"]: f["value"] for f in row if f["field"] != "@ptr"} for row in got["results"]]


DOCS = [(t, s, json.loads(m)) for t, s, m in EVENTS]


def test_insights_fields_filter_sort(logs):
    found = ask(
        logs,
        "fields @logStream, level as how, fields.status | filter fields.status >= 400 and level in ['WARN', 'ERROR'] "
        "| sort @timestamp asc | limit 7",
    )
    expected = [(s, d["level"], str(d["fields"]["status"])) for _, s, d in DOCS if d["fields"]["status"] >= 400][:7]
    assert [tuple(row.values()) for row in found] == expected
    newest = ask(logs, "fields @message | filter level like /^ERR/ | limit 3")
    assert [r["@message"] for r in newest] == [m for _, _, m in EVENTS if '"ERROR"' in m][::-1][:3]
    default = ask(logs, "filter @message not like 'failed' and not (level = \"WARN\" or fields.cached = true)")
    assert len(default) == sum(d["level"] == "INFO" and not d["fields"]["cached"] for *_, d in DOCS)
    assert list(default[0]) == ["@timestamp", "@message"]
    assert len(ask(logs, "filter ispresent(cause)")) == sum(d["cause"] is not None for *_, d in DOCS)


def test_insights_stats(logs):
    found = ask(
        logs,
        "stats count(*), count(cause) as c, sum(fields.ms), avg(fields.ms) as a, min(fields.ms), max(fields.ms), "
        "pct(fields.ms, 90) as p, count_distinct(tenant_id) by level, bin(10m)",
    )
    groups = {}
    for t, _, d in DOCS:
        groups.setdefault(
            (d["level"], datetime.fromtimestamp(t // 600_000 * 600, UTC).strftime("%Y-%m-%d %H:%M:%S.000")), []
        ).append(d)
    assert {(r["level"], r["bin(10m)"]) for r in found} == groups.keys()
    for row in found:
        mine = groups[row["level"], row["bin(10m)"]]
        ms = [d["fields"]["ms"] for d in mine]
        assert int(row["count(*)"]) == len(mine)
        assert int(row["c"]) == sum(d["cause"] is not None for d in mine)
        got = [float(row[n]) for n in ("sum(fields.ms)", "a", "min(fields.ms)", "max(fields.ms)", "p")]
        assert got == pytest.approx([sum(ms), np.mean(ms), min(ms), max(ms), np.percentile(ms, 90)])
        assert int(row["count_distinct(tenant_id)"]) == len({d["tenant_id"] for d in mine})


def test_insights_parse_dedup_display(logs):
    found = ask(logs, "parse message 'Request *' as what | stats count(*) as n by what | sort n desc, what")
    assert found == [{"what": "completed", "n": "1500"}, {"what": "failed", "n": "500"}]
    found = ask(logs, r"parse fields.path /^\/p(?<page>\d)$/ | sort @timestamp asc | display page, level | dedup page")
    assert found == [{"page": "0", "level": "INFO"}, {"page": "1", "level": "INFO"}, {"page": "2", "level": "WARN"}]
    assert ask(logs, "fields toupper(tenant_id) as t, strlen(level) as l | sort @timestamp | limit 1") == [
        {"t": "T0", "l": "4"}
    ]


def test_insights_window_limits_and_pages(logs):
    first, last = EVENTS[0][0] // 1000, EVENTS[-1][0] // 1000
    assert len(ask(logs, "fields level", startTime=first + 10, endTime=first + 20)) == 11  # both ends belong to it
    assert len(ask(logs, "fields level", limit=50)) == 50
    query = logs.start_query(logGroupName="/shop", startTime=first, endTime=last, queryString="fields level")["queryId"]
    finished(logs, query)
    pages = everything(logs.get_query_results, "results", queryId=query, maxItems=700)
    assert [len(p) for p in pages] == [700, 700, 600]
    pointer = pages[0][0][-1]
    assert pointer["field"] == "@ptr"
    assert logs.get_log_record(logRecordPointer=pointer["value"])["logRecord"]["@message"] == EVENTS[-1][2]
    assert query in [q["queryId"] for q in logs.describe_queries(logGroupName="/shop")["queries"]]
    with pytest.raises(ClientError, match="cannot be stopped"):
        logs.stop_query(queryId=query)


@pytest.mark.parametrize("query", ["fields level |", "anomaly", "filter level == 1", "SOURCE logGroups()"])
def test_malformed_queries(logs, query):
    with pytest.raises(ClientError) as error:
        logs.start_query(logGroupName="/shop", startTime=0, endTime=1, queryString=query)
    assert error.value.response["Error"]["Code"] == "MalformedQueryException"
    assert error.value.response["queryCompileError"]["message"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"startTime": 5, "endTime": 4},
        {"logGroupName": None, "logGroupNames": ["/shop"] * 51},
        {"logGroupName": None, "logGroupIdentifiers": ["arn:aws:logs:us-east-1:210987654321:log-group:/shop"]},
        {"logGroupName": None},
        {"logGroupNames": ["/shop"]},
        {"queryLanguage": "SQL"},
        {"limit": 100_001},
        {"queryString": "fields level".ljust(10_001)},
        {"logGroupName": "/none"},
    ],
)
def test_refused_query_calls(logs, wrong):
    arguments = {
        "logGroupName": "/shop",
        "startTime": MS // 1000 - 9,
        "endTime": MS // 1000,
        "queryString": "fields level",
    }
    arguments |= wrong
    with pytest.raises(ClientError):
        logs.start_query(**{k: v for k, v in arguments.items() if v is not None})


def test_a_query_runs_beside_everything_else():
    """Two queries are worked at together; the others wait, can be stopped, and hold up nothing."""
    with empty() as (logs, service):
        put(logs, (MS, "x"))
        window = {"logGroupName": "g", "startTime": MS // 1000 - 60, "endTime": MS // 1000}
        service.turns.acquire()
        service.turns.acquire()
        names = [logs.start_query(queryString="fields @message", **window)["queryId"] for _ in range(100)]
        with (
            service.lock,
            pytest.raises(AwsError, match="concurrency limit") as error,
        ):  # the client would try again and again
            service.start_query(queryString="fields @message", **window)
        assert error.value.code == "LimitExceededException"
        waiting = logs.get_query_results(queryId=names[0])
        assert (waiting["status"], waiting["results"], waiting["statistics"]["recordsScanned"]) == ("Scheduled", [], 0)
        assert len(read_all(logs.filter_log_events, logGroupName="g")) == 1
        assert logs.stop_query(queryId=names[0])["success"] is True
        assert logs.get_query_results(queryId=names[0])["status"] == "Cancelled"
        assert len(logs.describe_queries(status="Scheduled")["queries"]) == 99
        names.append(logs.start_query(queryString="fields @message", **window)["queryId"])
        service.turns.release()
        service.turns.release()
        assert {finished(logs, name)["status"] for name in names} == {"Complete", "Cancelled"}
        assert finished(logs, names[0])["status"] == "Cancelled"
        assert [r[0]["value"] for r in finished(logs, names[-1])["results"]] == ["x"]
        with pytest.raises(ClientError, match="cannot be stopped"):
            logs.stop_query(queryId=names[1])


def test_a_running_query_can_be_stopped():
    with empty() as (logs, service):
        service.pace_s = 30
        query = logs.start_query(logGroupName="g", startTime=MS // 1000, endTime=MS // 1000, queryString="fields a")[
            "queryId"
        ]
        time.sleep(0.05)
        assert logs.get_query_results(queryId=query)["status"] == "Running"
        logs.stop_query(queryId=query)
        assert logs.get_query_results(queryId=query)["status"] == "Cancelled"
        waited = [t for t in threading.enumerate() if t.name == f"query {query}"]
        for thread in waited:
            thread.join(5)
            assert not thread.is_alive()


def test_the_first_look_never_finds_a_query_finished(logs):
    window = {"logGroupName": "/shop", "startTime": MS // 1000 - 60, "endTime": MS // 1000}
    query = logs.start_query(queryString="fields a", **window)["queryId"]
    while logs.describe_queries(logGroupName="/shop")["queries"][0]["status"] != "Complete":
        time.sleep(0.002)
    assert logs.get_query_results(queryId=query)["status"] == "Running"
    assert logs.get_query_results(queryId=query)["status"] == "Complete"


def test_a_query_reads_what_was_there_when_it_started():
    with empty() as (logs, service):
        put(logs, (MS, "before"))
        service.turns.acquire()
        service.turns.acquire()
        query = logs.start_query(
            logGroupName="g", startTime=MS // 1000 - 9, endTime=MS // 1000, queryString="fields @message"
        )
        put(logs, (MS, "after"))
        logs.delete_log_group(logGroupName="g")
        service.turns.release()
        service.turns.release()
        assert [r[0]["value"] for r in finished(logs, query["queryId"])["results"]] == ["before"]


def test_a_fault_of_a_query_is_not_hidden(monkeypatch):
    with empty() as (logs, _):
        monkeypatch.setattr("lift_insights.sandbox.logs.run", lambda *_: 1 / 0)
        query = logs.start_query(logGroupName="g", startTime=MS // 1000 - 9, endTime=MS // 1000, queryString="fields a")
        with pytest.raises(ClientError, match="ZeroDivisionError"):
            finished(logs, query["queryId"])


def test_statistics_tell_what_was_read(logs):
    first = EVENTS[0][0] // 1000
    query = logs.start_query(
        logGroupName="/shop", startTime=first, endTime=first + 999, queryString="filter level = 'ERROR' | limit 3"
    )
    found = finished(logs, query["queryId"])["statistics"]
    read = [e for e in EVENTS if e[0] <= (first + 999) * 1000]
    assert found["recordsScanned"] == len(read) == 1000
    assert found["recordsMatched"] == 250
    assert found["bytesScanned"] == sum(len(m.encode()) + 26 for *_, m in read)
    assert (found["logGroupsScanned"], found["resultCount"], found["estimatedRecordsSkipped"]) == (1, 3, 0)


def test_a_window_before_the_group_is_refused(logs):
    first = EVENTS[0][0] // 1000
    window = {"logGroupName": "/shop", "startTime": 0, "queryString": "fields a"}
    assert finished(logs, logs.start_query(endTime=first, **window)["queryId"])["statistics"]["recordsScanned"] == 1
    with pytest.raises(logs.exceptions.MalformedQueryException, match="creation time"):
        logs.start_query(endTime=first - 1, **window)


def test_filter_index_skips_groups_without_one():
    with empty() as (logs, _):
        logs.create_log_group(logGroupName="h")
        logs.create_log_stream(logGroupName="h", logStreamName="s")
        for group, tenant in (("g", "a"), ("h", "a"), ("h", "b")):
            event = {"timestamp": MS, "message": json.dumps({"tenant": tenant, "group": group})}
            logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=[event])
        window = {"logGroupNames": ["g", "h"], "startTime": MS // 1000 - 9, "endTime": MS // 1000}

        def found():
            text = "filterIndex tenant = 'a' | display group"
            got = finished(logs, logs.start_query(queryString=text, **window)["queryId"])
            counts = [got["statistics"][n] for n in ("recordsScanned", "estimatedRecordsSkipped", "logGroupsScanned")]
            return [row[0]["value"] for row in got["results"]], counts

        assert found() == ([], [0, 3, 0])
        logs.put_index_policy(logGroupIdentifier="h", policyDocument='{"Fields": ["tenant"]}')
        assert found() == (["h"], [2, 1, 1])
        kept = logs.describe_index_policies(logGroupIdentifiers=["h"])["indexPolicies"]
        assert [p["policyDocument"] for p in kept] == ['{"Fields": ["tenant"]}']
        logs.delete_index_policy(logGroupIdentifier="h")
        assert found()[0] == []
        for wrong in (
            "{}",
            "no",
            '{"Fields": []}',
            '{"Fields": ["@message"]}',
            json.dumps({"Fields": list(map(str, range(21)))}),
        ):
            with pytest.raises(logs.exceptions.InvalidParameterException):
                logs.put_index_policy(logGroupIdentifier="g", policyDocument=wrong)


def read_all(call, **arguments):
    return [e for page in everything(call, **arguments) for e in page]


@pytest.mark.parametrize("rate", [0.4, 0.9])
@pytest.mark.parametrize("forward", [True, False])
def test_short_pages_lose_nothing(rate, forward):
    with empty(Fault("logs", "FilterLogEvents", rate=rate, half=True), seed=3) as (logs, _):
        put(logs, *((MS - 1000 + i // 3, f"{i} {'ab'[i % 2]}") for i in range(900)))
        arguments = {
            "logGroupName": "g",
            "startFromHead": forward,
            "startTime": MS - 5000,
            "filterPattern": "a",
            "limit": 50,
        }
        pages = everything(logs.filter_log_events, **arguments)
        seen = [e["message"] for page in pages for e in page]
        expected = [f"{i} a" for i in range(0, 900, 2)]
        assert seen == (expected if forward else expected[::-1])
        assert len(pages) > 9
        assert any(len(page) < 50 for page in pages[:-1])


def test_half_an_answer_of_a_query_is_a_bad_end():
    ends = set()
    for seed in range(1, 30):
        service = Logs(lambda: NOW, "us-east-1", aws=SimpleNamespace(seed=seed))
        service.create_log_group("g")
        query = service.start_query(MS // 1000 - 9, MS // 1000, "fields a", logGroupName="g")
        answer = service.halved("GetQueryResults", query, service.get_query_results(**query))
        ends.add(answer["status"])
        assert service.get_query_results(**query)["status"] == answer["status"]
        assert service.halved("GetQueryResults", query, service.get_query_results(**query)) is None
        assert service.halved("StartQuery", {}, query) is None
    assert ends == {"Timeout", "Failed", "Unknown"}
    with empty(Fault("logs", "GetQueryResults", times=1, half=True)) as (logs, _):
        query = logs.start_query(logGroupName="g", startTime=MS // 1000 - 9, endTime=MS // 1000, queryString="fields a")
        assert logs.get_query_results(queryId=query["queryId"])["status"] in ends


def test_tokens_go_on_though_events_came_between():
    """A page goes on where the last one ended; a token of another question, or of nobody, is refused."""
    with empty() as (logs, _):
        put(logs, *((MS - 1000 + i, str(i)) for i in range(100)))
        arguments = {"logGroupName": "g", "limit": 30, "startTime": MS - 1000}
        for forward in (True, False):
            page = logs.filter_log_events(**arguments, startFromHead=forward)
            seen = [e["message"] for e in page["events"]]
            put(logs, (MS - 1000, "early"), (MS, "late"))
            while token := page.get("nextToken"):
                page = logs.filter_log_events(**arguments, nextToken=token)  # the token knows the direction
                seen += [e["message"] for e in page["events"]]
            numbers = [int(m) for m in seen if m.isdigit()]
            assert numbers == (list(range(100)) if forward else list(range(99, -1, -1)))
        token = logs.filter_log_events(**arguments)["nextToken"]
        for other in (
            {"filterPattern": "x"},
            {"startTime": 5},
            {"endTime": MS},
            {"logStreamNames": ["s"]},
            {"nextToken": token[:-2]},
        ):
            with pytest.raises(logs.exceptions.InvalidParameterException, match="nextToken"):
                logs.filter_log_events(**arguments | {"nextToken": token} | other)
        with pytest.raises(logs.exceptions.InvalidParameterException, match="2024"):
            logs.filter_log_events(logGroupName="g", startFromHead=False)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from("abc"), st.sampled_from(["x", "y", "xy"])), max_size=30),
    st.integers(1, 5),
    st.sampled_from(["", "x", "x -y", "?x ?y"]),
    st.lists(st.sampled_from("abc"), unique=True, max_size=2),
    st.booleans(),
    st.tuples(st.integers(0, 9), st.integers(0, 9)),
)
def test_filtering_against_a_loop(events, limit, pattern, streams, forward, window):
    service = Logs(lambda: NOW, "us-east-1")
    service.create_log_group("g")
    for stream in "abc":
        service.create_log_stream("g", stream)
    for t, stream, message in events:
        service.put_log_events("g", stream, [{"timestamp": MS - 100 + t, "message": message}])
    arguments = {
        "startTime": MS - 100 + window[0],
        "endTime": MS - 100 + window[1],
        "filterPattern": pattern,
        "limit": limit,
    }
    arguments |= {"logStreamNames": streams} if streams else {}
    pages = everything(service.filter_log_events, logGroupName="g", startFromHead=forward, **arguments)
    wanted = {"": lambda m: True, "x": lambda m: "x" in m, "x -y": lambda m: m == "x", "?x ?y": lambda m: True}[pattern]
    expected = [
        (MS - 100 + t, s, m)
        for t, s, m in sorted(events, key=lambda e: e[0])
        if window[0] <= t <= window[1] and s in (streams or "abc") and wanted(m)
    ]
    found = [(e["timestamp"], e["logStreamName"], e["message"]) for page in pages for e in page]
    assert found == (expected if forward else expected[::-1])
    assert all(len(page) <= limit for page in pages)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from("ab")), max_size=25),
    st.integers(1, 4),
    st.booleans(),
    st.lists(st.integers(0, 9), max_size=3),
)
def test_one_stream_against_a_loop(events, limit, head, late):
    """Forwards or backwards, each event once; the end is a token that comes back; what comes late behind it is found by it."""
    service = Logs(lambda: NOW, "us-east-1")
    service.create_log_group("g")
    for stream in "ab":
        service.create_log_stream("g", stream)
    for i, (t, stream) in enumerate(events):
        service.put_log_events("g", stream, [{"timestamp": MS - 100 + t, "message": str(i)}])
    arguments = {"logGroupName": "g", "logStreamName": "a", "limit": limit, "startFromHead": head}
    key, token, pages = "nextForwardToken" if head else "nextBackwardToken", None, []
    while True:
        got = service.get_log_events(nextToken=token, **arguments)
        if got[key] == token:
            break
        token = got[key]
        pages.append([e["message"] for e in got["events"]])
    expected = [str(i) for i, (t, s) in sorted(enumerate(events), key=lambda e: e[1][0]) if s == "a"]
    assert [m for page in (pages if head else pages[::-1]) for m in page] == expected
    assert not got["events"]
    if head:
        for t in late:
            service.put_log_events("g", "a", [{"timestamp": MS + t, "message": "late"}])
        found = service.get_log_events(nextToken=token, **arguments | {"limit": 100})["events"]
        assert [e["timestamp"] for e in found] == sorted(MS + t for t in late)
        if pages[0]:
            with pytest.raises(AwsError, match="startFromHead"):
                service.get_log_events(nextToken=token, logGroupName="g", logStreamName="a")


def test_retention_takes_events_away():
    moment = [NOW]
    with empty(clock=lambda: moment[0]) as (logs, _):
        day = 86_400_000
        put(logs, (MS - 13 * day, "13"))
        put(logs, (MS - 2 * day, "2"))
        put(logs, (MS, "0"))

        def kept():
            return [e["message"] for e in read_all(logs.filter_log_events, logGroupName="g")]

        assert kept() == ["13", "2", "0"]
        assert logs.describe_log_groups()["logGroups"][0]["storedBytes"] == 4 + 3 * 26
        logs.put_retention_policy(logGroupName="g", retentionInDays=3)
        assert kept() == ["2", "0"]
        assert logs.describe_log_groups()["logGroups"][0]["storedBytes"] == 2 + 2 * 26
        assert logs.describe_log_streams(logGroupName="g")["logStreams"][0]["firstEventTimestamp"] == MS - 2 * day
        assert [e["message"] for e in logs.get_log_events(logGroupName="g", logStreamName="s")["events"]] == ["2", "0"]
        assert put(logs, (MS - 4 * day, "x"))["rejectedLogEventsInfo"] == {"expiredLogEventEndIndex": 1}
        moment[0] = NOW + timedelta(days=2)
        assert kept() == ["0"]
        window = {"startTime": MS // 1000 - 20 * 86_400, "endTime": MS // 1000}
        assert len(ask(logs, "fields @message", logGroupName="g", **window)) == 1
        logs.delete_retention_policy(logGroupName="g")
        assert len(kept()) == 3


def test_what_came_in_each_minute():
    with empty() as (logs, service):
        put(logs, (MS - 90_000, "é"), (MS, "abc"))
        old = pl.DataFrame(
            {
                "log_group": ["aws/spans"] * 3,
                "log_stream": ["default"] * 3,
                "timestamp": [NOW - timedelta(days=40, seconds=s) for s in (0, 1, 61)],
                "message": ["a", "bb", "ccc"],
            }
        ).with_columns(pl.col("timestamp").dt.cast_time_unit("us"))
        service.lay_in(old)
        found = service.incoming()
        assert found.schema == {
            "log_group": pl.String,
            "timestamp": pl.Datetime("us", "UTC"),
            "bytes": pl.Int64,
            "events": pl.Int64,
        }
        assert found.rows() == [
            ("aws/spans", NOW - timedelta(days=40, minutes=2), 29, 1),
            ("aws/spans", NOW - timedelta(days=40, minutes=1), 28, 1),
            ("aws/spans", NOW - timedelta(days=40), 27, 1),
            ("g", NOW, 5 + 52, 2),  # when they arrived, not when they happened
        ]
        assert service.incoming("g")["events"].to_list() == [2]
        assert service.incoming("nothing").is_empty()
        assert service.incoming("nothing").schema == found.schema
        assert [e["message"] for e in read_all(logs.filter_log_events, logGroupName="aws/spans")] == ["ccc", "bb", "a"]
        service.lay_in(old.with_columns(pl.lit("more").alias("log_stream")))
        assert len(read_all(logs.filter_log_events, logGroupName="aws/spans", logStreamNames=["more"])) == 3


def test_accounts_and_regions_are_apart():
    here, there = Logs(lambda: NOW, "eu-west-1", "210987654321"), Logs(lambda: NOW, "us-east-1")
    here.create_log_group("g")
    arn = here.describe_log_groups()["logGroups"][0]["logGroupArn"]
    assert arn == "arn:aws:logs:eu-west-1:210987654321:log-group:g"
    assert here.group(None, arn) is here.group("g")
    assert here.group(None, arn + ":*") is here.group("g")
    there.create_log_group("g")
    with pytest.raises(AwsError, match="does not exist"):
        there.group(None, arn)
    here.create_log_stream("g", "s")
    here.put_log_events("g", "s", [{"timestamp": MS, "message": "x"}])
    query = here.start_query(MS // 1000 - 9, MS // 1000, "fields @log, @aws.region", logGroupName="g")
    while here.get_query_results(**query)["status"] != "Complete":
        time.sleep(0.002)
    row = here.get_query_results(**query)["results"][0]
    assert [cell["value"] for cell in row[:2]] == ["210987654321:g", "eu-west-1"]


def test_several_groups_are_read_in_order_of_time():
    with empty() as (logs, _):
        logs.create_log_group(logGroupName="h")
        logs.create_log_stream(logGroupName="h", logStreamName="s")
        for i in range(20):
            event = {"timestamp": MS - 100 + i, "message": str(i)}
            logs.put_log_events(logGroupName="gh"[i % 3 == 0], logStreamName="s", logEvents=[event])
        window = {"logGroupName": None, "startTime": MS // 1000 - 9, "endTime": MS // 1000}
        query = logs.start_query(
            logGroupNames=["g", "h"], queryString="fields @message, @log", **{k: v for k, v in window.items() if v}
        )
        rows = finished(logs, query["queryId"])["results"]
        assert [row[0]["value"] for row in rows] == [str(i) for i in range(19, -1, -1)]
        assert [row[1]["value"][-1] for row in rows] == ["gh"[i % 3 == 0] for i in range(19, -1, -1)]
        for row in rows:
            record = logs.get_log_record(logRecordPointer=row[2]["value"])["logRecord"]
            assert (record["@message"], record["@log"]) == (row[0]["value"], row[1]["value"])


def test_a_record_is_flat():
    with empty() as (logs, _):
        put(logs, (MS, '{"a": {"b": [1, {"c": true}]}, "d.e": "x", "n": null}'))
        query = logs.start_query(logGroupName="g", startTime=MS // 1000 - 9, endTime=MS // 1000, queryString="fields a")
        pointer = finished(logs, query["queryId"])["results"][0][-1]["value"]
        record = logs.get_log_record(logRecordPointer=pointer)["logRecord"]
        assert {k: v for k, v in record.items() if not k.startswith("@")} == {"a.b.0": "1", "a.b.1.c": "1", "d.e": "x"}
        assert record["@logStream"] == "s"
        with pytest.raises(logs.exceptions.InvalidParameterException):
            logs.get_log_record(logRecordPointer="zz")


def test_a_hundred_thousand_rows_in_ten_pages():
    service = Logs(lambda: NOW, "us-east-1")
    size = 120_000
    times = [NOW - timedelta(milliseconds=size - i) for i in range(size)]
    frame = pl.DataFrame(
        {
            "log_group": ["g"] * size,
            "log_stream": ["s"] * size,
            "timestamp": times,
            "message": list(map(str, range(size))),
        }
    )
    service.lay_in(frame.with_columns(pl.col("timestamp").dt.cast_time_unit("us")))
    query = service.start_query(MS // 1000 - 900, MS // 1000, "fields @message", logGroupName="g", limit=100_000)
    while service.get_query_results(**query)["status"] != "Complete":
        time.sleep(0.01)
    pages = everything(service.get_query_results, "results", **query)
    assert [len(page) for page in pages] == [10_000] * 10
    assert [row[0]["value"] for page in pages for row in page] == [str(i) for i in range(size - 1, size - 100_001, -1)]
    assert service.get_query_results(**query)["statistics"]["recordsMatched"] == size


def test_seconds_far_ahead_are_no_milliseconds():
    """Only where both ends can be nothing else are they taken as milliseconds; what is beyond the year 9999 is refused in either."""
    with sandbox.local(None, clock=NOW) as session:
        logs = session.client("logs")
        logs.create_log_group(logGroupName="g")
        logs.create_log_stream(logGroupName="g", logStreamName="s")
        logs.put_log_events(
            logGroupName="g",
            logStreamName="s",
            logEvents=[{"timestamp": int(NOW.timestamp() * 1000) - 1000, "message": "m"}],
        )
        now = int(NOW.timestamp())
        for start, end in ((now - 60, now), (now - 60, 253_402_300_799), ((now - 60) * 1000, now * 1000)):
            asked = {"logGroupName": "g", "startTime": start, "endTime": end, "queryString": "stats count(*) as n"}
            assert finished(logs, logs.start_query(**asked)["queryId"])["results"][0][0]["value"] == "1"
        for start, end in ((now - 60, 253_402_300_800), (now - 60, 10**15)):
            with pytest.raises(ClientError, match="before the year 10000"):
                logs.start_query(logGroupName="g", startTime=start, endTime=end, queryString="stats count(*) as n")
