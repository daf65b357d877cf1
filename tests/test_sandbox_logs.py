"""CloudWatch Logs of the local AWS, over HTTP, against loops over what was put."""

import itertools
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from botocore.exceptions import ClientError, ParamValidationError
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights import sandbox
from lift_insights.sandbox.insights import Row, Stamp, run, understood
from lift_insights.sandbox.logs import matcher

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
    back = [e for page in everything(logs.filter_log_events, logGroupName="/shop", startFromHead=False) for e in page]
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
    '%st.tus": [45]%': lambda m, d: d["fields"]["status"] >= 400,
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


@pytest.mark.parametrize(
    "pattern",
    [
        "{ $.a = }",
        "{ $.a = 1",
        "{ a = 1 }",
        "{ $.a = 1 && }",
        "{ $.a = 1 $.b = 2 }",
        "{ ($.a = 1 }",
        "{ }",
        "{ $.a > b }",
        "{ $.a IS 3 }",
        "{ $.a NOT NULL }",
        '"open',
        "a.b",
        "[ip, user]",
        "%(%",
        "{ $.a = 'x' }",
    ],
)
def test_malformed_patterns(logs, pattern):
    with pytest.raises(ClientError) as error:
        logs.filter_log_events(logGroupName="/shop", filterPattern=pattern)
    assert error.value.response["Error"]["Code"] == "InvalidParameterException"


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["", "-"]), st.sampled_from("abc")), min_size=1, max_size=4),
    st.text("abc ", max_size=6),
)
def test_terms_are_substrings(terms, message):
    test = matcher(" ".join(sign + word for sign, word in terms))
    assert test(message) == all((word in message) == (sign == "") for sign, word in terms)


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


def ask(logs, query, **more):
    window = {"startTime": int(NOW.timestamp()) - 7200, "endTime": int(NOW.timestamp()), "logGroupName": "/shop"}
    got = logs.get_query_results(queryId=logs.start_query(queryString=query, **window | more)["queryId"])
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
    found = ask(logs, r"parse fields.path /^\/p(?<page>\d)$/ | sort @timestamp asc | dedup page | display page, level")
    assert found == [{"page": "0", "level": "INFO"}, {"page": "1", "level": "INFO"}, {"page": "2", "level": "WARN"}]
    assert ask(logs, "fields toupper(tenant_id) as t, strlen(level) as l | sort @timestamp | limit 1") == [
        {"t": "T0", "l": "4"}
    ]


def test_insights_window_limits_and_pages(logs):
    first, last = EVENTS[0][0] // 1000, EVENTS[-1][0] // 1000
    assert len(ask(logs, "fields level", startTime=first + 10, endTime=first + 20)) == 11  # both ends belong to it
    assert len(ask(logs, "fields level", limit=50)) == 50
    query = logs.start_query(logGroupName="/shop", startTime=first, endTime=last, queryString="fields level")["queryId"]
    pages = everything(logs.get_query_results, "results", queryId=query, maxItems=700)
    assert [len(p) for p in pages] == [700, 700, 600]
    pointer = pages[0][0][-1]
    assert pointer["field"] == "@ptr"
    assert logs.get_log_record(logRecordPointer=pointer["value"])["logRecord"]["@message"] == EVENTS[-1][2]
    assert query in [q["queryId"] for q in logs.describe_queries(logGroupName="/shop")["queries"]]
    with pytest.raises(ClientError, match="cannot be stopped"):
        logs.stop_query(queryId=query)


@pytest.mark.parametrize(
    "query",
    [
        "fields",
        "fields level |",
        "| fields level",
        "pattern @message",
        "SOURCE logGroups()",
        "stats median(x)",
        "stats count(*) by bin(5)",
        "filter level == 'a'",
        "filter level = 'a",
        "filter level like level",
        "filter (level = 'a'",
        "sort",
        "limit 0",
        "limit 100001",
        "limit x",
        "fields @nonsense",
        "fields nosuch(level)",
        "parse message 'a * b *' as one",
        "parse message 'a *'",
        "filter level in []",
        "stats pct(x, 101)",
        "fields level as",
        "filter x like /(/",
        "fields a + b",
        "stats avg(*)",
        "unmask level",
    ],
)
def test_malformed_queries(logs, query):
    with pytest.raises(ClientError) as error:
        logs.start_query(logGroupName="/shop", startTime=0, endTime=1, queryString=query)
    assert error.value.response["Error"]["Code"] == "MalformedQueryException"
    assert error.value.response["queryCompileError"]["message"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"startTime": 5, "endTime": 4},
        {"logGroupName": None},
        {"logGroupNames": ["/shop"]},
        {"queryLanguage": "SQL"},
        {"limit": 100_001},
        {"queryString": "fields level".ljust(10_001)},
        {"logGroupName": "/none"},
    ],
)
def test_refused_query_calls(logs, wrong):
    arguments = {"logGroupName": "/shop", "startTime": 0, "endTime": 1, "queryString": "fields level"} | wrong
    with pytest.raises(ClientError):
        logs.start_query(**{k: v for k, v in arguments.items() if v is not None})


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(-5, 5)), max_size=20),
    st.sampled_from(["<", "<=", ">", ">=", "=", "!="]),
    st.integers(-5, 5),
)
def test_filter_and_group_against_loops(values, sign, bound):
    rows = [Row({"@timestamp": Stamp(i), "@message": json.dumps({"k": k, "v": v})}) for i, (k, v) in enumerate(values)]
    holds = {"<": int.__lt__, "<=": int.__le__, ">": int.__gt__, ">=": int.__ge__, "=": int.__eq__, "!=": int.__ne__}[
        sign
    ]
    got = run(understood(f"filter v {sign} {bound} | stats sum(v) as s, count(*) as n by k | sort k"), rows)
    kept = sorted((k, v) for k, v in values if holds(v, bound))
    expected = [(k, [v for _, v in pairs]) for k, pairs in itertools.groupby(kept, lambda pair: pair[0])]
    assert [[f["value"] for f in row] for row in got] == [[k, str(sum(v)), str(len(v))] for k, v in expected]


def test_times_are_written_as_insights_does():
    when = NOW + timedelta(milliseconds=7)
    row = Row({"@timestamp": Stamp(int(when.timestamp() * 1000)), "@message": "x"})
    assert run(understood("fields @timestamp"), [row])[0][0]["value"] == "2026-03-15 12:00:00.007"
