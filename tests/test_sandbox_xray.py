"""X-Ray of the local AWS, over HTTP, against loops over the documents."""

import json
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import polars as pl
import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights import sandbox
from lift_insights.sandbox.server import AwsError
from lift_insights.sandbox.xray import XRay
from lift_insights.sandbox.xray_filter import condition
from lift_insights.sandbox.xray_traces import Trace, facts

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
    assert [s["Id"] for s in found] == [t[0]["trace_id"] for t in reversed(TRACES)]  # the newest first
    for s, (root, *behind) in zip(reversed(found), TRACES, strict=True):
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
    assert [s["Id"] for s in summaries(xray, start, end)][::-1] == expected
    assert len(expected) == 240
    for wrong in ((NOW, NOW), (NOW, NOW - timedelta(hours=1)), (NOW - timedelta(hours=6, seconds=1), NOW)):
        with pytest.raises(ClientError) as error:
            xray.get_trace_summaries(StartTime=wrong[0], EndTime=wrong[1])
        assert error.value.response["Error"]["Code"] == "InvalidRequestException"
    with pytest.raises(ClientError):
        xray.get_trace_summaries(StartTime=start, EndTime=end, NextToken="zz")
    token = xray.get_trace_summaries(StartTime=NOW - timedelta(hours=6), EndTime=NOW)["NextToken"]
    with pytest.raises(ClientError, match="NextToken"):  # it belongs to another question
        xray.get_trace_summaries(StartTime=start, EndTime=end, NextToken=token)
    with pytest.raises(ClientError, match="SamplingStrategy"):
        xray.get_trace_summaries(StartTime=start, EndTime=end, Sampling=True)


def took(root):
    return root["end_time"] - root["start_time"]


FILTERS = {
    # braces: on a segment of the service, or on a call
    'service("api") { fault }': lambda r, names: "fault" in r,
    'service("svc2") { fault }': lambda r, names: False,
    "service() { throttle }": lambda r, names: bool(r.get("throttle")),
    'service("api") { root = true AND responsetime > 0.45 }': lambda r, names: took(r) > 0.45,
    'service("svc2") { root }': lambda r, names: False,
    'service(id(type: "remote")) { inferred }': lambda r, names: True,
    'service(id(name: "api", type: "AWS::Lambda::Function"))': lambda r, names: True,
    'service(id(name: "api", type: "AWS::EC2::Instance"))': lambda r, names: False,
    'edge("api", "svc2")': lambda r, names: "svc2" in names,
    'edge("svc2", "api")': lambda r, names: False,
    'edge("svc2", id(name: "Stripe", type: "remote")) { ok }': lambda r, names: "svc2" in names,
    '!edge("api", "svc2") AND !service("svc3")': lambda r, names: not {"svc2", "svc3"} & names,
    # side by side is AND, words have no case, a text alone asks whether it is there
    "ok !partial duration <3": lambda r, names: "fault" not in r and "error" not in r,
    "http.url AND responseTime > 0.45": lambda r, names: took(r) > 0.45,
    "http.useragent": lambda r, names: False,
    'user CONTAINS ""': lambda r, names: True,
    "!annotation.nothing and fault": lambda r, names: "fault" in r,
    "annotation.beta": lambda r, names: r["annotations"]["beta"],
    "fault OR error AND throttle": lambda r, names: "fault" in r or bool(r.get("throttle")),
    # root causes
    "rootcause.fault.service { last and index = 0 }": lambda r, names: "fault" in r,
    'rootcause.error.entity { first and name = "api" }': lambda r, names: "error" in r,
    "rootcause.fault.exception": lambda r, names: False,
    "rootcause.responsetime.entity { coverage = 1 }": lambda r, names: took(r) > 0,
    'rootcause.json = #[{"Services": [{"Name": "api", "EntityPath": [{"Name": "api", "Exceptions": []}]}]}]': lambda r, names: (
        "fault" in r or "error" in r
    ),
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
    assert found[::-1] == [
        root["trace_id"] for root, *rest in TRACES if FILTERS[expression](root, {d["name"] for d in rest})
    ]


@pytest.mark.parametrize(
    "expression",
    [
        'edge("a")',
        "edge()",
        'service("a") { annotation.x = 1 }',
        'service("a") { service("b") }',
        'service("a") { coverage > 1 }',
        'service("a") { fault',
        'edge("a", "b") { root }',
        "service(a)",
        'service(id(color: "red"))',
        "service(id())",
        "root",
        "coverage > 0.5",
        "index = 1",
        "rootcause.fault.banana { first }",
        "rootcause.responsetime.exception { first }",
        "rootcause.json = 5",
        "rootcause.json = #[}",
        'group.name = "nobody"',
        "responsetime",
        "responsetime >",
        "responsetime > fast",
        'http.status = "503"',
        'http.url > "a"',
        "http.url CONTAINS 5",
        "fault AND",
        "fault error )",
        "(fault",
        "fault)",
        "rootcause.fault",
        "annotation. = 1",
        '"x"',
        "fault = maybe",
    ],
)
def test_refused_expressions(xray, expression):
    with pytest.raises(ClientError, match=r"Invalid filter expression|there is no group") as error:
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
        with pytest.raises(ClientError, match="Exceeding maximum segment count: 50"):
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


ATOMS = {
    "fault": lambda r: "fault" in r,
    "error": lambda r: "error" in r,
    "responsetime > 0.35": lambda r: took(r) > 0.35,
    'annotation.tenant = "t1"': lambda r: r["annotations"]["tenant"] == "t1",
    'http.method = "GET"': lambda r: r["http"]["request"]["method"] == "GET",
    'service("api") { throttle }': lambda r: bool(r.get("throttle")),
}


def known(trace):
    kept = Trace(trace[0]["trace_id"])
    for d in trace:
        kept.add(json.dumps(d), d, T)
    return facts(kept, "123456789012")


KNOWN = [(known(t), t[0]) for t in TRACES[:40]]
trees = st.recursive(
    st.sampled_from(list(ATOMS)),
    lambda inner: (
        st.tuples(st.sampled_from(["AND", "OR", "", "and"]), inner, inner)
        | st.tuples(st.sampled_from(["!", "NOT "]), inner)
    ),
    max_leaves=8,
)


def written(tree):
    if isinstance(tree, str):
        return tree
    return (
        f"{tree[0]}({written(tree[1])})" if len(tree) == 2 else f"({written(tree[1])}) {tree[0]} ({written(tree[2])})"
    )


def meant(tree, root):
    if isinstance(tree, str):
        return ATOMS[tree](root)
    if len(tree) == 2:
        return not meant(tree[1], root)
    both = meant(tree[1], root), meant(tree[2], root)
    return any(both) if tree[0] == "OR" else all(both)


@settings(max_examples=150, deadline=None)
@given(tree=trees)
def test_conditions_combine_as_in_logic(tree):
    test = condition(written(tree))
    assert [bool(test(one)) for one, _ in KNOWN] == [meant(tree, root) for _, root in KNOWN]


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet='abfault service(){}"=<>!&.,:#[]01 ANDOR', max_size=40))
def test_an_expression_is_understood_or_refused(text):
    try:
        test = condition(text)
    except AwsError as error:
        assert error.code == "InvalidRequestException"  # noqa: PT017
    else:
        assert test(KNOWN[0][0]) in (True, False)


def test_traces_are_forgotten_where_aws_would():
    aws = SimpleNamespace(retention=True)
    service = XRay(lambda: NOW, "us-east-1", aws=aws)
    old = [d | {"start_time": d["start_time"] - 40 * 86400, "end_time": d["end_time"] - 40 * 86400} for d in TRACES[0]]
    service.lay_in(pl.DataFrame({"document": [json.dumps(d) for d in old]}))
    window = (T - 40 * 86400 - 6 * 3600, T - 40 * 86400)
    assert service.get_trace_summaries(*window)["TraceSummaries"] == []
    aws.retention = False
    assert len(service.get_trace_summaries(*window)["TraceSummaries"]) == 1


GUIDE = [  # every example of the guide's page on filter expressions
    "responsetime > 5", "duration >= 5 AND duration <= 8", "ok", "!ok", "ok = false", 'rootcause.fault.entity { last and name = "deserialize" }',
    'rootcause.responsetime.entity { remote and coverage > 0.7 and name = "traces" }',
    'rootcause.fault.service { inferred and name = "traces" and type = "AWS::DynamoDB" }', 'service("data-plane") {root = true and fault = true}',
    "http.status != 200", "ok !partial duration <3", "rootcause.fault.service { index > 5 }", "rootcause.responsetime.entity { last and coverage > 0.8 }",
    'http.url CONTAINS "/api/game/"', 'user CONTAINS ""', 'rootcause.fault.service { name = "Auth" }',
    'rootcause.responsetime.service { last and type = "AWS::DynamoDB" }',
    'rootcause.fault.exception { last and message = "Access Denied for account_id: 1234567890" }', 'service("api.example.com") { fault }', "service() { fault }",
    'edge("api.example.com", "backend.example.com") { error }',
    'http.url BEGINSWITH "http://api.example.com/" AND http.url CONTAINS "/v2/" AND !service("api.example.com")', "http.url AND responseTime > 2",
    'annotation.gameid = "817DL6VO"', "annotation.age", "!annotation.age", "annotation.age > 29",
    'rootcause.json = #[{ "Services": [ { "Name": "GetWeatherData", "EntityPath": [{ "Name": "GetWeatherData" }, { "Name": "get_temperature" } ] }, { "Name": "GetTemperature", "EntityPath": [ { "Name": "GetTemperature" } ] } ] }]',
    'service("random-name") { error }', 'service(id(name: "random-name", type: "AWS::Lambda::Function")) { error }',
    'service(id(type: "AWS::Lambda::Function")) { error }', 'service("api.example.com") { fault = true OR responsetime > 2.5 } AND annotation.account = "12345"',
]  # fmt: skip


@pytest.mark.parametrize("expression", GUIDE)
def test_the_guides_examples_are_understood(expression):
    assert callable(condition(expression))


def test_groups():
    with sandbox.local(None, clock=NOW) as session:
        client = session.client("xray")
        put(client, [d for t in TRACES[:20] for d in t])
        made = client.create_group(GroupName="bad", FilterExpression="fault")["Group"]
        window = {"StartTime": NOW - timedelta(hours=6), "EndTime": NOW}
        by_name = summaries(client, *window.values(), FilterExpression='group.name = "bad" AND responsetime > 0')
        by_arn = summaries(client, *window.values(), FilterExpression=f'group.arn = "{made["GroupARN"]}"')
        assert (
            [s["Id"] for s in by_name]
            == [s["Id"] for s in by_arn]
            == [t[0]["trace_id"] for t in TRACES[19::-1] if t[0].get("fault")]
        )
        graph = client.get_service_graph(**window, GroupName="bad")["Services"]
        assert next(s for s in graph if s["Name"] == "api" and s.get("Root"))["SummaryStatistics"]["TotalCount"] == len(
            by_name
        )
        assert client.get_groups()["Groups"] == [made]
        with pytest.raises(ClientError, match="already exists"):
            client.create_group(GroupName="bad")
        with pytest.raises(ClientError, match="Invalid filter"):
            client.create_group(GroupName="other", FilterExpression="banana")
        client.delete_group(GroupName="bad")
        assert client.get_groups()["Groups"] == []


def put(client, documents):
    texts = [json.dumps(d) for d in documents]
    bad = []
    for i in range(0, len(texts), 50):
        bad += client.put_trace_segments(TraceSegmentDocuments=texts[i : i + 50])["UnprocessedTraceSegments"]
    return bad


def test_an_empty_page_is_not_the_end():
    service = XRay(lambda: NOW, "us-east-1")
    documents = [json.dumps(next(segments(i)) | {"fault": i == 0}) for i in range(1400)]
    more = [json.dumps(next(segments(i)) | {"trace_id": f"1-00000000-{i + 5000:024x}"}) for i in range(1400)]
    service.lay_in(pl.DataFrame({"document": documents + more}))
    pages, token = [], {}
    while True:
        page = service.get_trace_summaries(T - 6 * 3600, T, FilterExpression="fault AND http.status = 200", **token)
        pages.append(page)
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    assert [len(p["TraceSummaries"]) for p in pages] == [0, 1]
    assert sum(p["TracesProcessedCount"] for p in pages) == 2800


def test_sampling_and_kinds_of_time(xray):
    start, end = NOW - timedelta(hours=6), NOW
    every = {s["Id"] for s in summaries(xray, start, end)}
    half = {
        s["Id"]
        for s in summaries(xray, start, end, SamplingStrategy={"Name": "FixedRate", "Value": 0.5}, Sampling=True)
    }
    assert half < every
    assert 500 < len(half) < 700
    newest = summaries(xray, start, end, SamplingStrategy={"Name": "PartialScan", "Value": 0.25})
    assert [s["Id"] for s in newest] == [t[0]["trace_id"] for t in TRACES[:-301:-1]]
    ended = summaries(xray, NOW - timedelta(hours=1), NOW - timedelta(minutes=50), TimeRangeType="Service")
    wanted = [t for t in TRACES if any(T - 3600 <= d["end_time"] <= T - 3000 for d in t)]
    assert {s["Id"] for s in ended} == {t[0]["trace_id"] for t in wanted}
    assert len(summaries(xray, NOW, NOW + timedelta(minutes=1), TimeRangeType="Event")) == 1200  # all were put "now"
    with pytest.raises(ClientError):
        summaries(xray, start, end, SamplingStrategy={"Name": "FixedRate", "Value": 2})


def test_service_graph_counts_what_a_loop_counts(xray):
    found = []
    for page in xray.get_paginator("get_service_graph").paginate(StartTime=NOW - timedelta(hours=6), EndTime=NOW):
        found += page["Services"]
    assert len({s["ReferenceId"] for s in found}) == len(found)
    names = {s["ReferenceId"]: (s["Name"], s.get("Type")) for s in found}
    calls = {
        (names[s["ReferenceId"]], names[e["ReferenceId"]]): e["SummaryStatistics"]["TotalCount"]
        for s in found
        for e in s["Edges"]
    }
    expected = {}
    for root, *behind in TRACES:
        pairs = [(("api", "client"), ("api", root["origin"]))]
        for d in behind:
            pairs += [(("api", root["origin"]), (d["name"], None)), ((d["name"], None), ("Stripe", "remote"))]
        for pair in pairs:
            expected[pair] = expected.get(pair, 0) + 1
    assert calls == expected
    api = next(s for s in found if s["Name"] == "api" and s.get("Root"))["SummaryStatistics"]
    roots = [t[0] for t in TRACES]
    assert api["FaultStatistics"]["TotalCount"] == sum("fault" in r for r in roots)
    assert api["ErrorStatistics"]["TotalCount"] == sum("error" in r for r in roots)
    assert api["ErrorStatistics"]["ThrottleCount"] == sum(bool(r.get("throttle")) for r in roots)
    assert api["TotalResponseTime"] == pytest.approx(sum(took(r) for r in roots))
    with pytest.raises(ClientError, match="6 hours"):
        xray.get_service_graph(StartTime=NOW - timedelta(hours=7), EndTime=NOW)


def test_trace_graph_and_numbers_over_time(xray):
    graph = xray.get_trace_graph(TraceIds=[TRACES[0][0]["trace_id"]])["Services"]
    assert sorted(s["Name"] for s in graph) == sorted(
        ["api", "api", "Stripe", TRACES[0][1]["name"], TRACES[0][2]["name"]]
    )
    with pytest.raises(ClientError, match="1 to 5"):
        xray.get_trace_graph(TraceIds=[t[0]["trace_id"] for t in TRACES[:6]])
    start, end = NOW - timedelta(hours=2), NOW - timedelta(hours=1)
    asked = {"StartTime": start, "EndTime": end, "Period": 300}
    pages = xray.get_paginator("get_time_series_service_statistics").paginate(
        **asked, EntitySelectorExpression='service("api")'
    )
    found = {
        p["Timestamp"].timestamp(): p["ServiceSummaryStatistics"]
        for page in pages
        for p in page["TimeSeriesServiceStatistics"]
    }
    expected = {}
    for root, *_ in TRACES:
        if start.timestamp() <= root["start_time"] < end.timestamp():
            at = root["start_time"] // 300 * 300
            counts = expected.setdefault(at, [0, 0])
            counts[0] += 1
            counts[1] += "fault" in root
    assert {at: [s["TotalCount"], s["FaultStatistics"]["TotalCount"]] for at, s in found.items()} == expected
    for wrong in ({"Period": 7}, {"EntitySelectorExpression": "fault"}, {"ForecastStatistics": True}):
        with pytest.raises(ClientError):
            xray.get_time_series_service_statistics(**(asked | wrong))


def test_pieces_of_a_trace_come_together():
    root = TRACES[0][0]
    kid = {
        "type": "subsegment",
        "name": "late",
        "id": "f" * 16,
        "parent_id": root["id"],
        "trace_id": root["trace_id"],
        "start_time": root["start_time"],
    }
    grandchild = kid | {"name": "later", "id": "e" * 16, "parent_id": kid["id"], "end_time": root["start_time"] + 0.01}
    with sandbox.local(None, clock=NOW) as session:
        xray = session.client("xray")
        assert put(xray, [grandchild, kid | {"in_progress": True}]) == []  # their segment is still to come
        assert put(xray, [{k: v for k, v in root.items() if k != "end_time"} | {"in_progress": True}]) == []
        assert summaries(xray, NOW - timedelta(hours=6), NOW)[0]["IsPartial"]
        assert put(xray, [root, kid | {"end_time": root["start_time"] + 0.02}]) == []
        assert (
            put(xray, [{k: v for k, v in root.items() if k != "end_time"} | {"in_progress": True}]) == []
        )  # too late to matter
        (trace,) = xray.batch_get_traces(TraceIds=[root["trace_id"]])["Traces"]
        (segment,) = trace["Segments"]
        whole = json.loads(segment["Document"])
        assert whole["end_time"] == root["end_time"]
        (late,) = whole["subsegments"]
        assert (late["name"], late["end_time"], [s["name"] for s in late["subsegments"]]) == (
            "late",
            root["start_time"] + 0.02,
            ["later"],
        )
        assert (
            put(xray, [kid | {"parent_id": None, "id": "d" * 16, "in_progress": True}])[0]["ErrorCode"]
            == "InvalidSegment"
        )


def test_a_document_may_be_a_list_and_a_trace_has_a_size():
    root = TRACES[0][0]
    with sandbox.local(None, clock=NOW) as session:
        xray = session.client("xray")
        put(xray, [TRACES[0]])
        (trace,) = xray.batch_get_traces(TraceIds=[root["trace_id"]])["Traces"]
        assert (len(trace["Segments"]), trace["LimitExceeded"]) == (3, False)
        big = [
            root | {"id": f"{900 + i:016x}", "parent_id": root["id"], "metadata": {"x": "y" * 60_000}}
            for i in range(10)
        ]
        bad = put(xray, big)
        assert {b["ErrorCode"] for b in bad} == {"LimitExceeded"}
        assert len(bad) == 2
        (trace,) = xray.batch_get_traces(TraceIds=[root["trace_id"]])["Traces"]
        assert trace["LimitExceeded"]


def test_large_traces_come_in_pages():
    with sandbox.local(None, clock=NOW) as session:
        xray = session.client("xray")
        roots = [t[0] for t in TRACES[:5]]
        for root in roots:
            put(xray, [root | {"id": f"{900 + i:016x}", "metadata": {"x": "y" * 60_000}} for i in range(8)])
        ids = [r["trace_id"] for r in roots]
        pages = list(xray.get_paginator("batch_get_traces").paginate(TraceIds=ids))
        assert [t["Id"] for p in pages for t in p["Traces"]] == ids
        assert len(pages) == 3


def test_transaction_search():
    with sandbox.local(None, clock=NOW) as session:
        xray, logs = session.client("xray"), session.client("logs")
        put(xray, TRACES[0])
        assert xray.get_trace_segment_destination() | {"ResponseMetadata": 0} == {
            "Destination": "XRay",
            "Status": "ACTIVE",
            "ResponseMetadata": 0,
        }
        with pytest.raises(ClientError, match="not enabled"):
            xray.start_trace_retrieval(TraceIds=["x"], StartTime=NOW - timedelta(hours=6), EndTime=NOW)
        xray.update_trace_segment_destination(Destination="CloudWatchLogs")
        assert xray.get_indexing_rules()["IndexingRules"][0]["Rule"]["Probabilistic"]["DesiredSamplingPercentage"] == 1
        after = [d for t in TRACES[1:] for d in t]
        assert put(xray, after) == []
        indexed = summaries(xray, NOW - timedelta(hours=6), NOW)
        assert 2 <= len(indexed) <= 30  # the one from before, and about 1 % of the others
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName="aws/spans")
        spans = [json.loads(e["message"]) for page in pages for e in page["events"]]
        assert len(spans) == sum(1 + len(d.get("subsegments", ())) for d in after)
        assert {s["traceId"] for s in spans} == {t[0]["trace_id"][2:].replace("-", "") for t in TRACES[1:]}


def test_retrieval_pages_and_is_cancelled():
    with sandbox.local(None, clock=NOW) as session:
        xray = session.client("xray")
        xray.update_trace_segment_destination(Destination="CloudWatchLogs")
        put(xray, [d for t in TRACES[:12] for d in t])
        long = TRACES[20][0] | {
            "subsegments": [
                {"name": "step", "id": f"{7000 + i:016x}", "start_time": T - 1, "end_time": T} for i in range(250)
            ]
        }
        put(xray, [long])
        window = {"StartTime": NOW - timedelta(hours=6), "EndTime": NOW}
        ids = [t[0]["trace_id"] for t in TRACES[:12]] + [long["trace_id"], "1-00000000-" + "0" * 24]
        for form, spans in (("XRAY", 12 * 3 + 1), ("OTEL", 12 * 5 + 251)):
            token = xray.start_trace_retrieval(TraceIds=ids, **window)["RetrievalToken"]
            statuses = [xray.list_retrieved_traces(RetrievalToken=token)["RetrievalStatus"] for _ in range(2)]
            assert statuses == ["SCHEDULED", "RUNNING"]
            pages, more = [], {}
            while not pages or "NextToken" in pages[-1]:
                more = {"NextToken": pages[-1]["NextToken"]} if pages else {}
                pages.append(xray.list_retrieved_traces(RetrievalToken=token, TraceFormat=form, **more))
            assert all(len(p["Traces"]) <= 5 and all(len(t["Spans"]) <= 100 for t in p["Traces"]) for p in pages)
            assert {t["Id"] for p in pages for t in p["Traces"]} == set(ids[:-1])
            assert sum(len(t["Spans"]) for p in pages for t in p["Traces"]) == spans
        graph = xray.get_retrieved_traces_graph(RetrievalToken=token)
        assert {s["Service"]["Name"] for s in graph["Services"]} >= {"api", "Stripe"}
        token = xray.start_trace_retrieval(TraceIds=ids, **window)["RetrievalToken"]
        xray.cancel_trace_retrieval(RetrievalToken=token)
        assert xray.list_retrieved_traces(RetrievalToken=token)["RetrievalStatus"] == "CANCELLED"
        with pytest.raises(ClientError, match="no retrieval"):
            xray.list_retrieved_traces(RetrievalToken="nobody")
        with pytest.raises(ClientError):
            xray.start_trace_retrieval(TraceIds=["x"] * 101, **window)


def test_half_an_answer_leaves_traces_unprocessed():
    with sandbox.local(
        None, clock=NOW, faults=[sandbox.Fault(operation="BatchGetTraces", half=True, times=1)]
    ) as session:
        xray = session.client("xray")
        put(xray, [d for t in TRACES[:5] for d in t])
        ids = [t[0]["trace_id"] for t in TRACES[:5]]
        answer = xray.batch_get_traces(TraceIds=ids)
        assert [t["Id"] for t in answer["Traces"]] + answer["UnprocessedTraceIds"] == ids
        assert len(answer["UnprocessedTraceIds"]) == 3
        assert len(xray.batch_get_traces(TraceIds=ids)["Traces"]) == 5
