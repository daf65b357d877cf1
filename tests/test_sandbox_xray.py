"""X-Ray of the local AWS, over HTTP, against loops over the documents."""

import json
import time
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from botocore.exceptions import ClientError

from lift_insights import sandbox
from lift_insights.sandbox.xray import XRay

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)
T = NOW.timestamp()


def segments(i, n=3):
    start = T - 6 * 3600 + i * 15.0 + 0.25
    trace = f"1-{int(start):08x}-{i:024x}"
    flags = {"fault": True} if i % 10 == 3 else {"error": True, "throttle": i % 20 == 7} if i % 10 == 7 else {}
    root = {
        "name": "api",
        "id": f"{i * 100:016x}",
        "trace_id": trace,
        "start_time": start,
        "end_time": start + 0.1 + i % 7 / 10,
        "origin": "AWS::Lambda::Function",
        "user": f"u{i % 3}",
        "annotations": {"tenant": f"t{i % 4}", "attempt": i % 3, "beta": i % 2 == 0},
        "http": {
            "request": {"method": "POST" if i % 2 else "GET", "url": f"https://x/p{i % 5}"},
            "response": {"status": 503 if i % 10 == 3 else 200},
        },
    } | flags
    yield root
    for k in range(1, n):
        yield {
            "name": f"svc{i % 4 + k}",
            "id": f"{i * 100 + k:016x}",
            "parent_id": root["id"],
            "trace_id": trace,
            "start_time": start + 0.01,
            "end_time": start + 0.05,
            "subsegments": [
                {"name": "Stripe", "id": f"{k:016x}", "namespace": "remote", "start_time": start, "end_time": start}
            ],
        }


TRACES = [list(segments(i)) for i in range(1200)]


@pytest.fixture(scope="module")
def xray():
    with sandbox.local(None, clock=NOW) as session:
        client = session.client("xray")
        texts = [json.dumps(d) for trace in TRACES for d in trace]
        for i in range(0, len(texts), 50):
            assert client.put_trace_segments(TraceSegmentDocuments=texts[i : i + 50])["UnprocessedTraceSegments"] == []
        yield client


def summaries(xray, start, end, **more):
    return [
        s
        for page in xray.get_paginator("get_trace_summaries").paginate(StartTime=start, EndTime=end, **more)
        for s in page["TraceSummaries"]
    ]


def test_summaries_say_what_the_documents_say(xray):
    found = summaries(xray, NOW - timedelta(hours=6), NOW)
    assert [s["Id"] for s in found] == [t[0]["trace_id"] for t in TRACES]
    for s, (root, *behind) in zip(found, TRACES, strict=True):
        assert s["StartTime"].timestamp() == pytest.approx(root["start_time"])
        assert s["ResponseTime"] == pytest.approx(root["end_time"] - root["start_time"])
        assert s["Duration"] == pytest.approx(max(d["end_time"] for d in [root, *behind]) - root["start_time"])
        assert (s["HasFault"], s["HasError"], s["HasThrottle"]) == tuple(
            bool(root.get(f)) for f in ("fault", "error", "throttle")
        )
        http = root["http"]
        assert s["Http"] == {
            "HttpURL": http["request"]["url"],
            "HttpMethod": http["request"]["method"],
            "HttpStatus": http["response"]["status"],
        }
        assert {k: next(iter(v[0]["AnnotationValue"].values())) for k, v in s["Annotations"].items()} == root[
            "annotations"
        ]
        assert [u["UserName"] for u in s["Users"]] == [root["user"]]
        assert {i["Name"] for i in s["ServiceIds"]} == {"api", "Stripe", *(d["name"] for d in behind)}
        assert s["EntryPoint"]["Name"] == "api"
        assert s["IsPartial"] is False


def test_windows(xray):
    start, end = NOW - timedelta(hours=4), NOW - timedelta(hours=3)
    expected = [t[0]["trace_id"] for t in TRACES if start.timestamp() <= t[0]["start_time"] <= end.timestamp()]
    assert [s["Id"] for s in summaries(xray, start, end)] == expected
    assert len(expected) == 240
    for wrong in ((NOW, NOW), (NOW, NOW - timedelta(hours=1)), (NOW - timedelta(hours=6, seconds=1), NOW)):
        with pytest.raises(ClientError) as error:
            xray.get_trace_summaries(StartTime=wrong[0], EndTime=wrong[1])
        assert error.value.response["Error"]["Code"] == "InvalidRequestException"
    with pytest.raises(ClientError):
        xray.get_trace_summaries(StartTime=start, EndTime=end, NextToken="zz")
    with pytest.raises(ClientError, match="Sampling"):
        xray.get_trace_summaries(StartTime=start, EndTime=end, Sampling=True)


def took(root):
    return root["end_time"] - root["start_time"]


FILTERS = {
    'service("svc2")': lambda r, names: "svc2" in names,
    'service("svc2") AND service("svc3")': lambda r, names: {"svc2", "svc3"} <= names,
    "responsetime > 0.45": lambda r, names: took(r) > 0.45,
    "duration >= 0.3 AND responsetime < 0.5": lambda r, names: 0.3 <= took(r) < 0.5,
    "fault": lambda r, names: "fault" in r,
    "error AND !throttle": lambda r, names: "error" in r and not r["throttle"],
    "throttle = true": lambda r, names: bool(r.get("throttle")),
    "ok": lambda r, names: "fault" not in r and "error" not in r,
    "ok = false": lambda r, names: "fault" in r or "error" in r,
    "http.status = 503": lambda r, names: r["http"]["response"]["status"] == 503,
    "http.status != 503": lambda r, names: r["http"]["response"]["status"] != 503,
    'http.url CONTAINS "/p3"': lambda r, names: r["http"]["request"]["url"].endswith("p3"),
    'http.url ENDSWITH "p3" OR http.method = "GET"': lambda r, names: (
        r["http"]["request"]["url"].endswith("p3") or r["http"]["request"]["method"] == "GET"
    ),
    'annotation.tenant = "t1"': lambda r, names: r["annotations"]["tenant"] == "t1",
    'annotation[tenant] BEGINSWITH "t" AND annotation["attempt"] >= 2': lambda r, names: (
        r["annotations"]["attempt"] == 2
    ),
    "annotation.beta = true": lambda r, names: r["annotations"]["beta"],
    "annotation.attempt = 1 AND annotation.tenant = 1": lambda r, names: False,
    "annotation.nothing": lambda r, names: False,
    'user = "u2"': lambda r, names: r["user"] == "u2",
    '(fault OR error) AND !(service("svc4") OR annotation.tenant = "t0")': lambda r, names: (
        ("fault" in r or "error" in r) and not ("svc4" in names or r["annotations"]["tenant"] == "t0")
    ),
}


@pytest.mark.parametrize("expression", FILTERS)
def test_filter_expressions(xray, expression):
    found = [s["Id"] for s in summaries(xray, NOW - timedelta(hours=6), NOW, FilterExpression=expression)]
    assert found == [root["trace_id"] for root, *rest in TRACES if FILTERS[expression](root, {d["name"] for d in rest})]


@pytest.mark.parametrize(
    "expression",
    [
        'edge("a", "b")',
        'service("a") { fault }',
        "service(a)",
        "service()",
        "responsetime",
        "responsetime >",
        "responsetime > fast",
        'http.status = "503"',
        'http.url > "a"',
        "http.url CONTAINS 5",
        "fault AND",
        "fault error",
        "(fault",
        "fault)",
        "rootcause.fault",
        "annotation. = 1",
        '"x"',
        "fault = maybe",
    ],
)
def test_refused_expressions(xray, expression):
    with pytest.raises(ClientError, match="Invalid filter expression") as error:
        xray.get_trace_summaries(StartTime=NOW - timedelta(hours=1), EndTime=NOW, FilterExpression=expression)
    assert error.value.response["Error"]["Code"] == "InvalidRequestException"


def test_documents_come_back_as_they_were_put(xray):
    ids = [t[0]["trace_id"] for t in TRACES[:4]]
    got = xray.batch_get_traces(TraceIds=[*ids, "1-00000000-" + "0" * 24])
    assert got["UnprocessedTraceIds"] == ["1-00000000-" + "0" * 24]
    assert [[json.loads(s["Document"]) for s in t["Segments"]] for t in got["Traces"]] == TRACES[:4]
    for wrong in ([], [t[0]["trace_id"] for t in TRACES[:6]]):
        with pytest.raises(ClientError, match="1 to 5"):
            xray.batch_get_traces(TraceIds=wrong)


def test_refused_documents():
    good = TRACES[0][0]

    def changed(**more):
        return json.dumps({k: v for k, v in (good | more).items() if v is not None})

    wrong = [
        "{",
        "[]",
        changed(id="xyz"),
        changed(id=None),
        changed(name=""),
        changed(name=None),
        changed(trace_id="1-2-3"),
        changed(start_time="now"),
        changed(end_time=None),
        changed(end_time=0),
        changed(in_progress=True),
        changed(metadata={"x": "y" * 65_536}),
    ]
    with sandbox.local(None, clock=NOW) as session:
        xray = session.client("xray")
        for text in wrong:
            bad = xray.put_trace_segments(TraceSegmentDocuments=[text])["UnprocessedTraceSegments"]
            assert len(bad) == 1, text[:80]
            assert bad[0]["Message"]
        assert summaries(xray, NOW - timedelta(hours=6), NOW) == []
        with pytest.raises(ClientError, match="50"):
            xray.put_trace_segments(TraceSegmentDocuments=[changed()] * 51)
        xray.put_trace_segments(TraceSegmentDocuments=[changed(end_time=None, in_progress=True)])
        assert [(s["IsPartial"], "ResponseTime" in s) for s in summaries(xray, NOW - timedelta(hours=6), NOW)] == [
            (True, False)
        ]
        xray.put_trace_segments(
            TraceSegmentDocuments=[changed()]
        )  # the finished segment takes the place of the one in progress
        assert [(s["IsPartial"], "ResponseTime" in s) for s in summaries(xray, NOW - timedelta(hours=6), NOW)] == [
            (False, True)
        ]


def test_a_window_is_quick_among_many_traces():
    service = XRay(lambda: NOW, "us-east-1")
    documents = [
        d | {"start_time": d["start_time"] - (i % 50) * 86400, "end_time": d["end_time"] - (i % 50) * 86400}
        for i in range(5000)
        for d in segments(i, 2)
    ]
    service.lay_in(
        pl.DataFrame({"trace_id": [d["trace_id"] for d in documents], "document": [json.dumps(d) for d in documents]})
    )
    service.get_trace_summaries(T - 6 * 3600, T)
    began = time.process_time()
    service.get_trace_summaries(T - 6 * 3600, T)
    assert time.process_time() - began < 0.5
