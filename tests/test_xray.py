"""Segment documents and OpenTelemetry records into spans: every field, every way of being broken."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from lift_insights import simulate
from lift_insights.frames import SPANS, InputError
from lift_insights.sources import moulds, xray
from lift_insights.sources.xray import parse, parse_otel, parse_report, trace_id

ROOT = Path(__file__).resolve().parent.parent

TRACE = "1-69a55c40-a1b2c3d4e5f60718293a4b5c"
T = 1772445600.0


def seg(**more):
    return {"trace_id": TRACE, "id": "a" * 16, "name": "payments", "start_time": T, "end_time": T + 0.25} | more


def sub(**more):
    return {"id": "b" * 16, "name": "work", "start_time": T, "end_time": T + 0.1} | more


def one(document, at=0):
    spans, problems = parse_report([document])
    assert problems.is_empty(), problems
    row = spans.row(at, named=True)
    return row | {"attributes": json.loads(row["attributes"])}


def called(**more):
    row = one(seg(subsegments=[sub(**more)]), 1)
    return row["kind"], row["operation"], row["attributes"].get("peer.service"), row["attributes"].get("peer.type")


def test_the_frame():
    spans = parse([seg()])
    assert spans.schema == SPANS.columns
    row = spans.row(0, named=True)
    assert (row["trace_id"], row["span_id"], row["parent_id"]) == (TRACE, "a" * 16, None)
    assert (row["service"], row["operation"], row["kind"], row["duration_ms"]) == (
        "payments",
        "payments",
        "server",
        250.0,
    )
    assert row["start"].isoformat() == "2026-03-02T10:00:00+00:00"
    assert (row["status"], row["error"], row["fault"], row["throttle"]) == (None, False, False, False)
    assert parse([]).schema == SPANS.columns


@pytest.mark.parametrize("form", [orjson.dumps, json.dumps, dict], ids=["bytes", "str", "dict"])
def test_every_form_of_a_document(form):
    assert parse([form(seg())]).equals(parse([seg()]))
    assert parse(pl.Series([json.dumps(seg())])).equals(parse([seg()]))


def test_what_is_handed_in_stays_as_it_was():
    document = seg(annotations={"tenant_id": "aurora"}, subsegments=[sub()])
    before = json.dumps(document)
    parse([document])
    assert json.dumps(document) == before


@pytest.mark.parametrize("dot", [".", "_"])
def test_annotations_under_either_name(dot):
    notes = {
        f"http{dot}method": "POST",
        f"http{dot}url": "https://x.example/payments?id=1",
        f"http{dot}status_code": "503",
    }
    row = one(seg(annotations=notes | {"tenant_id": "aurora", "user_id": "u", "request_id": "r"}))
    assert (row["operation"], row["status"], row["fault"]) == ("POST /payments", 503, True)
    assert {k: row["attributes"][k] for k in ("tenant_id", "user_id", "request_id")} == {
        "tenant_id": "aurora",
        "user_id": "u",
        "request_id": "r",
    }


def test_the_request_comes_before_annotations():
    http = {"request": {"method": "GET", "url": "https://x.example"}, "response": {"status": 200}}
    row = one(seg(http=http, annotations={"http_method": "POST", "http_url": "/other", "http_status_code": 500}))
    assert (row["operation"], row["status"], row["fault"]) == ("GET /", 200, False)


@pytest.mark.parametrize(
    ("status", "flags"),
    [(200, (0, 0, 0)), (302, (0, 0, 0)), (404, (1, 0, 0)), (429, (1, 0, 1)), (500, (0, 1, 0)), (599, (0, 1, 0))],
)
def test_flags_follow_the_status_where_the_document_has_none(status, flags):
    row = one(seg(http={"response": {"status": status}}))
    assert (row["error"], row["fault"], row["throttle"]) == tuple(map(bool, flags))


def test_flags_of_the_document_win():
    row = one(seg(fault=True, http={"response": {"status": 429}}))
    assert (row["error"], row["fault"], row["throttle"]) == (False, True, False)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, ("internal", "work", None, None)),
        (
            {"name": "DynamoDB.GetItem", "namespace": "aws", "aws": {"table_name": "payments"}},
            ("client", "DynamoDB.GetItem", "DynamoDB payments", "database"),
        ),
        (
            {"name": "DynamoDB", "namespace": "aws", "aws": {"table_name": "t", "operation": "Query"}},
            ("client", "DynamoDB.Query", "DynamoDB t", "database"),
        ),
        (
            {
                "name": "DynamoDB.GetItem",
                "annotations": {"aws.service": "DynamoDB", "aws.table_name": "t", "aws.operation": "GetItem"},
            },
            ("client", "DynamoDB.GetItem", "DynamoDB t", "database"),
        ),
        (
            {
                "name": "SQS",
                "namespace": "aws",
                "aws": {"operation": "SendMessage", "queue_url": "https://sqs.eu-west-1.amazonaws.com/1/mail"},
            },
            ("producer", "SQS.SendMessage", "SQS mail", "queue"),
        ),
        (
            {
                "name": "SQS",
                "namespace": "aws",
                "aws": {"operation": "DeleteMessage", "queue_url": "https://sqs/1/mail"},
            },
            ("client", "SQS.DeleteMessage", "SQS mail", "queue"),
        ),
        (
            {
                "name": "SNS",
                "namespace": "aws",
                "aws": {"operation": "Publish", "topic_arn": "arn:aws:sns:eu-west-1:1:paid"},
            },
            ("producer", "SNS.Publish", "SNS paid", "queue"),
        ),
        (
            {"name": "Lambda", "namespace": "aws", "aws": {"operation": "Invoke", "function_name": "ledger"}},
            ("client", "Lambda.Invoke", "Lambda ledger", "service"),
        ),
        (
            {"name": "S3", "namespace": "aws", "aws": {"operation": "GetObject", "bucket_name": "b"}},
            ("client", "S3.GetObject", "S3 b", "database"),
        ),
        (
            {
                "name": "HTTP.POST",
                "namespace": "remote",
                "http": {"request": {"method": "POST", "url": "https://api.bank.example:443/v1?x=1"}},
            },
            ("client", "HTTP.POST", "api.bank.example", "external"),
        ),
        (
            {"name": "HTTP.GET", "annotations": {"http.method": "GET", "http.url": "https://ledger.example/x"}},
            ("client", "HTTP.GET", "ledger.example", "external"),
        ),
        (
            {
                "name": "db@host",
                "namespace": "remote",
                "sql": {"url": "postgresql://h/db?ssl=1", "database_type": "PostgreSQL"},
            },
            ("client", "db@host", "postgresql://h/db", "database"),
        ),
        ({"name": "api.example", "namespace": "remote"}, ("client", "api.example", "api.example", "external")),
    ],
)
def test_what_a_subsegment_calls(more, expected):
    assert called(**more) == expected


def test_consumers():
    send = sub(
        name="SQS", id="c" * 16, namespace="aws", aws={"operation": "SendMessage", "queue_url": "https://q/1/mail"}
    )
    woken = seg(id="d" * 16, name="notifications", parent_id="c" * 16)
    assert parse([woken, seg(subsegments=[send])])["kind"].to_list() == ["consumer", "server", "producer"]
    assert one(seg(metadata={"default": {"lift": {"trigger_type": "sqs"}}}))["kind"] == "consumer"
    named = one(seg(aws={"queue_url": "https://sqs/1/mail"}))
    assert (named["kind"], named["attributes"]["peer.service"]) == ("consumer", "SQS mail")


def test_attributes():
    cause = {"exceptions": [{"type": "Timeout", "message": "too slow"}, {"type": "other"}]}
    links = [{"trace_id": TRACE, "id": "e" * 16}]
    kept = {
        "origin": "AWS::Lambda::Function",
        "cause": cause,
        "links": links,
        "inferred": True,
        "user": "u-1",
        "service": {"version": "1.2"},
        "http": {"request": {"client_ip": "10.0.0.1"}},
        "aws": {"region": "eu-west-1"},
        "sql": {"sanitized_query": "SELECT ?"},
        "metadata": {"lift": {"cold_start": True, "tenant_id": "b"}, "other": [1, {"x": None}]},
        "a_later_idea": {"of": "somebody"},
    }
    assert one(seg(**kept))["attributes"] == kept | {
        "tenant_id": "b",
        "cold_start": True,
        "exception.type": "Timeout",
        "exception.message": "too slow",
    }
    assert one(seg(cause="4f6ac10a3f1e7a1b"))["attributes"] == {"cause": "4f6ac10a3f1e7a1b"}
    assert one(seg(aws={"request_id": "r-9"}))["attributes"]["request_id"] == "r-9"
    assert one(seg(annotations={"cold_start": "false"}))["attributes"]["cold_start"] is False


def test_a_cause_that_is_the_id_of_an_exception_told_elsewhere():
    told = {
        "exceptions": [
            {"id": "9" * 16, "type": "E", "message": "m", "remote": True, "stack": [{"path": "a", "line": 1}]}
        ]
    }
    document = seg(cause="9" * 16, subsegments=[sub(cause="9" * 16, subsegments=[sub(id="c" * 16, cause=told)])])
    spans = parse([document])
    said = [json.loads(one) for one in spans["attributes"]]
    assert [one["exception.type"] for one in said] == ["E", "E", "E"]
    assert [one["cause"] for one in said] == ["9" * 16, "9" * 16, told]


def test_in_progress_and_negative_times():
    assert one(seg(in_progress=True, end_time=None))["duration_ms"] is None
    assert one({k: v for k, v in seg().items() if k != "end_time"})["duration_ms"] is None
    assert one(seg(end_time=T - 1))["duration_ms"] == -1000.0


@settings(deadline=None)
@given(st.integers(1_500_000_000, 1_999_999_999), st.integers(0, 999_999), st.integers(0, 10_000_000))
def test_times_are_exact_to_the_microsecond(second, micro, length):
    row = one(seg(start_time=(second * 10**6 + micro) / 1e6, end_time=(second * 10**6 + micro + length) / 1e6))
    assert int(row["start"].timestamp()) == second
    assert row["start"].microsecond == micro
    assert row["duration_ms"] == length / 1000


def test_deep_and_wide_documents():
    deep = sub(id="0" * 16)
    for i in range(1, 5000):
        deep = sub(id=f"{i:016x}", subsegments=[deep])
    spans = parse([seg(subsegments=[deep])])
    assert len(spans) == 5001
    assert spans["parent_id"][-1] == f"{1:016x}"
    wide = parse([seg(subsegments=[sub(id=f"{i:016x}") for i in range(3000)])])
    assert wide["span_id"].to_list()[1:] == [f"{i:016x}" for i in range(3000)]
    assert set(wide["service"]) == {"payments"}


def test_text_nested_beyond_the_reader_is_reported():
    text = '{"a":' * 1200 + "1" + "}" * 1200
    spans, problems = parse_report([text, seg()])
    assert problems["index"].to_list() == [0]
    assert len(spans) == 1


def test_a_subsegment_sent_alone():
    row = one(seg(type="subsegment", parent_id="f" * 16, namespace="remote", name="api.example"))
    assert (row["parent_id"], row["kind"]) == ("f" * 16, "client")


BROKEN = [
    b"",
    "{",
    '{"trace_id": "1-',
    "[]",
    "null",
    "12",
    '"text"',
    b"\xff\xfe",
    None,
    12,
    [],
    {},
    {k: v for k, v in seg().items() if k != "trace_id"},
    {k: v for k, v in seg().items() if k != "id"},
    {k: v for k, v in seg().items() if k != "name"},
    {k: v for k, v in seg().items() if k != "start_time"},
    seg(id=12),
    seg(name=""),
    seg(trace_id=None),
    seg(start_time="now"),
    seg(start_time=T * 1000),
    seg(start_time=-1),
    seg(start_time=True),
    seg(start_time=float("nan")),
    seg(end_time="later"),
    seg(annotations=[1]),
    seg(http="GET"),
    seg(metadata=["x"]),
    seg(cause={"exceptions": [1]}),
    seg(annotations={"n": 10**30}),
    seg(annotations={"s": "\ud800"}),
    seg(http={"request": {"method": "GET", "url": "http://[bad"}}),
    {"traceId": "x"},
]


@pytest.mark.parametrize("broken", BROKEN, ids=[str(i) for i in range(len(BROKEN))])
def test_broken_documents_are_named_and_stop_nothing(broken):
    spans, problems = parse_report([seg(id="1" * 16), broken, seg(id="2" * 16)])
    assert spans["span_id"].to_list() == ["1" * 16, "2" * 16]
    assert problems["index"].to_list() == [1]
    assert problems["problem"].str.len_chars().min() > 3
    with pytest.warns(UserWarning, match="1 of the documents") as caught:
        assert len(parse([seg(), broken])) == 1
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_a_broken_subsegment_takes_nothing_with_it():
    bad = sub(id=None, subsegments=[sub(id="e" * 16)])
    spans, problems = parse_report([seg(subsegments=[sub(), bad, "text", sub(id="f" * 16)])])
    assert spans["span_id"].to_list() == ["a" * 16, "b" * 16, "e" * 16, "f" * 16]
    assert spans["parent_id"].to_list() == [None, "a" * 16, "a" * 16, "a" * 16]
    assert len(problems) == 2


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda x: (
            st.lists(x, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "trace_id",
                        "id",
                        "name",
                        "start_time",
                        "end_time",
                        "subsegments",
                        "http",
                        "request",
                        "url",
                        "aws",
                        "annotations",
                        "traceId",
                        "spanId",
                        "attributes",
                        "cause",
                        "exceptions",
                        "metadata",
                        "lift",
                    ]
                ),
                x,
                max_size=6,
            )
        ),
        max_leaves=20,
    )
)
def test_no_document_can_stop_the_others(anything):
    spans, problems = parse_report([anything, seg()])
    assert len(spans) >= 1
    assert len(spans) > 1 or problems["index"].to_list() == [0]


@pytest.mark.parametrize("alone", ["{}", b"{}", {}, pl.DataFrame({"document": ["{}"]})])
def test_a_single_document_is_a_mistake(alone):
    with pytest.raises(InputError, match="list of documents"):
        parse(alone)


@pytest.mark.parametrize(
    ("given_id", "expected"),
    [
        ("69A55C40a1b2c3d4e5f60718293a4b5c", TRACE),
        (TRACE, TRACE),
        ("", ""),
        ("x" * 32, "x" * 32),
        ("69a5", "69a5"),
    ],
)
def test_trace_ids(given_id, expected):
    assert trace_id(given_id) == expected


def otel(**more):
    return {
        "traceId": "69a55c40a1b2c3d4e5f60718293a4b5c",
        "spanId": "a" * 16,
        "parentSpanId": "",
        "name": "work",
        "kind": "SERVER",
        "startTimeUnixNano": 1772445600000000000,
        "endTimeUnixNano": 1772445600250000000,
        "status": {"code": "OK"},
        "attributes": {},
        "resource": {"attributes": {"service.name": "payments"}},
    } | more


def test_otel_is_the_same_frame():
    spans = parse_otel([orjson.dumps(otel())])
    same = [
        "trace_id",
        "span_id",
        "parent_id",
        "service",
        "kind",
        "start",
        "duration_ms",
        "status",
        "error",
        "fault",
        "throttle",
    ]
    assert spans.schema == SPANS.columns
    assert spans.select(same).equals(parse([seg()]).select(same))


def test_otlp_spelling():
    attributes = [
        {"key": "http.request.method", "value": {"stringValue": "GET"}},
        {"key": "http.route", "value": {"stringValue": "/payments/{id}"}},
        {"key": "http.response.status_code", "value": {"intValue": "404"}},
    ]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "ledger"}}]}
    row = one(
        otel(attributes=attributes, resource=resource, kind="SPAN_KIND_SERVER", startTimeUnixNano="1772445600000000000")
    )
    assert (row["service"], row["operation"], row["status"], row["error"], row["fault"]) == (
        "ledger",
        "GET /payments/{id}",
        404,
        True,
        False,
    )
    assert [one(otel(kind=k))["kind"] for k in (1, 2, 3, 4, 5, 0, None)] == [
        "internal",
        "server",
        "client",
        "producer",
        "consumer",
        "internal",
        "internal",
    ]


def test_otlp_values_of_every_type():
    tables = {"arrayValue": {"values": [{"stringValue": "t"}, {"stringValue": "u"}]}}
    pairs = {"kvlistValue": {"values": [{"key": "n", "value": {"intValue": "7"}}]}}
    attributes = [
        {"key": "db.system", "value": {"stringValue": "dynamodb"}},
        {"key": "aws.dynamodb.table_names", "value": tables},
        {"key": "more", "value": pairs},
        {"key": "none", "value": {}},
    ]
    found = one(otel(attributes=attributes, kind=3))["attributes"]
    assert (found["peer.service"], found["peer.type"]) == ("DynamoDB t", "database")
    assert found["annotations"]["more"] == {"n": 7}
    assert found["annotations"]["aws.dynamodb.table_names"] == ["t", "u"]


@pytest.mark.parametrize(
    ("status", "attributes", "flags"),
    [
        ({"code": "ERROR"}, {}, (False, True, False)),
        ({"code": "STATUS_CODE_ERROR"}, {}, (False, True, False)),
        ({"code": 2}, {}, (False, True, False)),
        ({"code": "UNSET"}, {}, (False, False, False)),
        (None, {}, (False, False, False)),
        ({"code": "ERROR"}, {"http.status_code": 429}, (True, False, True)),
        ({}, {"http.response.status_code": 502}, (False, True, False)),
    ],
)
def test_otel_flags(status, attributes, flags):
    row = one(otel(status=status, attributes=attributes))
    assert (row["error"], row["fault"], row["throttle"]) == flags


@pytest.mark.parametrize(
    ("kind", "attributes", "peer"),
    [
        ("CLIENT", {"db.system": "dynamodb", "aws.dynamodb.table_names": ["t"]}, ("DynamoDB t", "database")),
        ("CLIENT", {"db.system.name": "postgresql", "db.name": "main"}, ("postgresql main", "database")),
        ("CLIENT", {"rpc.system": "aws-api", "rpc.service": "S3"}, ("S3", "database")),
        (
            "CLIENT",
            {"rpc.system": "aws-api", "rpc.service": "DynamoDB", "aws.dynamodb.table_names": ["t"]},
            ("DynamoDB t", "database"),
        ),
        ("PRODUCER", {"messaging.system": "aws_sqs", "messaging.destination.name": "mail"}, ("SQS mail", "queue")),
        ("CONSUMER", {"messaging.system": "aws_sqs", "messaging.destination.name": "mail"}, ("SQS mail", "queue")),
        ("CLIENT", {"peer.service": "ledger", "server.address": "10.0.0.1"}, ("ledger", "service")),
        ("CLIENT", {"url.full": "https://api.bank.example/x"}, ("api.bank.example", "external")),
        ("SERVER", {"server.address": "payments.example"}, (None, None)),
        ("CLIENT", {}, (None, None)),
    ],
)
def test_otel_peers(kind, attributes, peer):
    found = one(otel(kind=kind, attributes=attributes))["attributes"]
    assert (found.get("peer.service"), found.get("peer.type")) == peer


def test_otel_in_progress_exceptions_and_links():
    event = {"name": "exception", "attributes": {"exception.type": "E", "exception.message": "m"}}
    row = one(
        otel(
            endTimeUnixNano=None,
            events=[event],
            links=[{"traceId": "x", "spanId": "y"}],
            attributes={"faas.coldstart": True},
        )
    )
    assert row["duration_ms"] is None
    assert row["attributes"]["exception.type"] == "E"
    assert row["attributes"]["cold_start"] is True
    assert row["attributes"]["in_progress"] is True
    assert row["attributes"]["links"]
    assert row["attributes"]["events"] == [event]
    assert row["attributes"]["resource"] == {"service.name": "payments"}


def test_otel_keeps_what_has_no_column():
    more = {"scope": {"name": "lib"}, "traceState": "a=b", "status": {"code": "ERROR", "message": "no"}, "flags": 1}
    attributes = one(otel(**more))["attributes"]
    assert {key: attributes[key] for key in more} == more
    assert attributes["name"] == "work"


def test_both_kinds_in_one_list_make_one_trace():
    spans = parse([seg(), otel(spanId="c" * 16, parentSpanId="a" * 16)])
    assert spans["trace_id"].n_unique() == 1
    assert spans["parent_id"].to_list() == [None, "a" * 16]


# Both ways: what moulds read at once has to be what the loop reads one by one.


def slowly(documents):
    spans, problems = xray._slowly(list(documents), range(len(documents)))
    return xray._consumers(spans.drop("document")), problems


def same_both_ways(documents):
    spans, problems = parse_report(documents)
    wanted, complaints = slowly(documents)
    assert_frame_equal(spans.drop("attributes"), wanted.drop("attributes"))
    assert [json.loads(one) for one in spans["attributes"]] == [json.loads(one) for one in wanted["attributes"]]
    assert problems.rows() == complaints


@pytest.fixture
def eager(monkeypatch):
    """Moulds are made of everything, however rare."""
    monkeypatch.setattr(moulds, "FEW", 1)
    monkeypatch.setattr(moulds, "MANY", 1)
    monkeypatch.setattr(xray, "_SINGLE", 1)


def read_at_once(documents):
    known = xray.Known()
    return xray._at_once(known, moulds.begin(known.moulds, documents))["document"].unique().to_list()


def samples():
    return simulate.load(ROOT / "data_samples").traces["document"].to_list()


def test_samples_both_ways():
    documents = samples()
    same_both_ways(documents)
    assert len(read_at_once(documents)) > 0.98 * len(documents)


def test_samples_in_small_lots(monkeypatch):
    documents = samples()[:3000]
    whole = parse(documents)
    monkeypatch.setattr(xray, "_LOT", 150_000)
    monkeypatch.setattr(moulds, "_BLOCK", 1000)
    assert parse(iter(documents)).equals(whole)


def test_broken_and_foreign_documents_between_samples_both_ways():
    documents = samples()[:4000]
    for i, text in enumerate(documents):
        if i % 7 == 0:
            documents[i] = text[: i % len(text)]
        elif i % 11 == 0:
            documents[i] = json.dumps(json.loads(text), indent=i % 3 or None)
        elif i % 13 == 0:
            documents[i] = orjson.dumps(otel(spanId=f"{i:016x}"))
        elif i % 17 == 0:
            documents[i] = json.loads(text)
        elif i % 19 == 0:
            documents[i] = text.replace("payments", r"pay\"m{e}nt[s\u00e9 é")
        elif i % 23 == 0:
            documents[i] = text.replace(":", ":\t").replace("payments", "p\x01")
    documents[5:5] = BROKEN
    same_both_ways(documents)


def mostly(plain, odd, one_in=40):
    """Mostly the first, now and then the second."""
    return st.integers(1, one_in).flatmap(lambda i: odd if i == one_in else plain)


WORDS = mostly(
    st.sampled_from(["GET", "POST", "SQS", "sqs", "DynamoDB", "true", "503", "x y", "a/b:c", "PublishBatch"]),
    st.sampled_from(["", "é€😀", 'q"\\', "a{b}[", "\n", "x" * 300, "\x7f", "\u2028"]),
)
URLS = mostly(
    st.sampled_from(
        ["https://a.example/x/1?y=1", "http://b.example", "/p/x?y", "https://a.example:80/x#y", "https://c.example?q"]
    ),
    st.sampled_from(
        ["http://A.example:80", "/p/é?x#y", "//h/p", "x", "", "https://u:p@h/", "https://[::1]/", "http://[bad", " /a"]
    ),
    8,
)
NUMBERS = mostly(
    st.sampled_from([0, 1, 200, 404, 429, 500, 1.5, 1e3]),
    st.sampled_from([-1, 1e300, 10**15, 2**64, 10**22, 1e-7, -0.0, 1e16]),
)
TIMES = mostly(
    st.sampled_from([T, T + 0.25, 1772445600, 1772445600.0000005, 1.7724456e9]),
    st.sampled_from([T * 1000, -1, 0, 1e11, None, "now", True, 1e300]),
)
ANY = st.recursive(
    st.none() | st.booleans() | WORDS | NUMBERS,
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.sampled_from(["a", "lift", "id", "é"]), x, max_size=3),
    max_leaves=5,
)
NOTES = [
    "http.method",
    "http_method",
    "http.url",
    "http_url",
    "http_status_code",
    "aws.service",
    "aws_table_name",
    "aws.operation",
    "own",
]


def some(required=None, **optional):
    """An object with any of the members, each now and then something else altogether."""
    return st.fixed_dictionaries(required or {}, optional={k: mostly(v, ANY) for k, v in optional.items()})


LIFT = dict.fromkeys(("tenant_id", "user_id", "request_id", "trigger_type"), WORDS) | {
    "cold_start": st.booleans() | WORDS
}
NODE = {
    "name": mostly(st.sampled_from(["payments", "SQS", "DynamoDB.PutItem", ".x", "HTTP.GET"]), ANY),
    "id": mostly(st.sampled_from(["a" * 16, "b" * 16, "c" * 16]), ANY),
    "start_time": TIMES,
}
MORE = {
    "end_time": TIMES,
    "namespace": st.sampled_from(["aws", "remote"]),
    "http": some(request=some(method=WORDS, url=URLS), response=some(status=NUMBERS | WORDS)),
    "aws": some(
        **dict.fromkeys(("operation", "request_id", "table_name", "queue_url", "message_id", "topic_arn"), WORDS)
    ),
    "sql": some(url=URLS, database_type=WORDS),
    "annotations": some(**{k: URLS if "url" in k else WORDS | NUMBERS for k in NOTES}, **LIFT),
    "metadata": some(lift=some(**LIFT), default=some(lift=some(**LIFT), x=ANY), own=ANY),
    "cause": mostly(
        some(exceptions=st.lists(some(id=st.just("9" * 16), type=WORDS, message=WORDS), max_size=2)),
        st.just("9" * 16),
        6,
    ),
    "origin": st.sampled_from(["AWS::SQS::Queue", "AWS::Lambda"]),
    "error": st.booleans(),
    "fault": st.booleans(),
    "in_progress": st.booleans(),
    "type": st.sampled_from(["subsegment", "segment"]),
    "links": st.lists(some(id=WORDS), max_size=2),
    "other": ANY,
}
OWN = mostly(st.just({}), st.sampled_from(["tenant_id", "http.url", "peer.type"]).map(lambda key: {key: "mine"}), 15)
NODES = st.recursive(
    st.tuples(some(NODE, **MORE), OWN).map(lambda x: x[0] | x[1]),
    lambda below: st.tuples(some(NODE, **MORE), st.one_of(*[st.lists(below, max_size=3)] * 20, ANY)).map(
        lambda x: x[0] | {"subsegments": x[1]}
    ),
    max_leaves=4,
)
DOCUMENTS = st.tuples(
    NODES, mostly(st.just({"trace_id": TRACE}), st.sampled_from([{}, {"trace_id": "0" * 32}, {"traceId": "x"}]), 12)
).map(lambda x: x[1] | x[0])


def varied(node, chance):
    """The same shape with other values here and there."""
    if isinstance(node, dict):
        return {key: varied(value, chance) for key, value in node.items()}
    if isinstance(node, list):
        return [varied(value, chance) for value in node]
    if isinstance(node, bool) or chance.random() > 0.15:
        return node
    if isinstance(node, str):
        return chance.choice(
            ["other", "GET", node[:-1] + "z", node[:-1] + "z", "https://z.example/y"] * 3
            + ["", "x" * 300 + node, "{y}", "[y]", "{y}"]
        )
    return node + chance.choice([1, 0.5, 100]) if isinstance(node, (float, int)) else node


EDITS = [
    (":1772445600", ":01772445600"), (":1772445600", ":1772445600."), (":1772445600", ":+1772445600"), (":1772445600", ":1e400"),
    (":1772445600", ":17724456001234567890"), (":1772445600", ":1.7724456E9"), (":200", ":200.0"), (":200", ":2E2"), (":1.5", ":1.50"),
    ('"name"', '"nome"'), ('"id"', '"ID"'), ('"start_time"', '"start-time"'), ('"http"', '"htpp"'), ('"url"', '"uri"'), (":", ": "),
    (",", "\n,"), (",", ";"), ("}", "]"), ("]", "}"), ("{", "["), ("}]}", "}]}]}"), ("}]", "}"), ("},{", "}{"), ("}}", "},}"), ('"}', "}"),
    ("e", "\\u0065"), ("a", "\\"), ("a", '\\"'), ("a", "\x01"), ("a", "é"), ("}", ',"id":"z"}'), ("}", ',"name":"z"}'), ("true", "trUe"),
    ("true", "null"), ("}]}", "}"), ("]}", ""), ("}]}", "}]},"), ("[1", "[01"), (":1,", ":1234567890123456789012,"),
]  # fmt: skip


def edited(text, chance):
    """A text with one mistake, or at least one that is written in another way."""
    old, new = chance.choice(
        [edit for edit in [*EDITS, ("{y}", '"y"'), ("{y}", ",y}"), ("{y}", "[y}")] if edit[0] in text]
    )
    at = chance.choice([i for i in range(len(text)) if text.startswith(old, i)])
    return chance.choice([text[:at] + new + text[at + len(old) :]] * 9 + [text[:at]])


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(DOCUMENTS, st.sampled_from([orjson.dumps, orjson.dumps, json.dumps]), st.randoms(use_true_random=False))
def test_any_documents_both_ways(eager, document, form, chance):
    texts = []
    for one in [document] + [varied(document, chance) for _ in range(4)]:
        try:
            text = form(one)
        except TypeError:  # numbers too big for orjson
            text = json.dumps(one, separators=(",", ":"))
        texts.append(text.decode() if isinstance(text, bytes) else text)
    texts += [edited(chance.choice(texts), chance) for _ in range(8)]
    same_both_ways(texts)
    event(f"read at once: {len(read_at_once(texts))} of {len(texts)}")


def test_escapes_and_brackets_in_texts_both_ways(eager):
    texts = ['a "quoted" [word]', "back\\slash\\\\", "tab\t{", "\u2028 é 😀", "}]},", '":{"', "\\u0041"]
    documents = [json.dumps(seg(metadata={"x": text}, annotations={"tenant_id": text}, name=text)) for text in texts]
    same_both_ways(documents + [orjson.dumps(json.loads(one)).decode() for one in documents])


@pytest.mark.parametrize("depth", [10, 399, 401, 600])
def test_depth_both_ways(eager, depth):
    text = json.dumps(seg()).replace(" ", "")[:-1] + ',"subsegments":[' + nested(depth) + "]}"
    same_both_ways([text] * 3)
    assert len(parse([text] * 3)) == 3 * (depth + 1) if depth < 500 else True


def nested(depth):
    head = '{"id":"b","name":"n","start_time":1.5'
    return (head + ',"subsegments":[') * (depth - 1) + head + "}" + "]}" * (depth - 1)


def test_texts_with_escapes_are_read_at_once_too():
    documents = [
        json.dumps(seg(id=f"{i:016x}", metadata={"said": f'"{i}" {{}} \\'}), separators=(",", ":")) for i in range(100)
    ]
    same_both_ways(documents)
    assert read_at_once(documents) == list(range(100))


def test_long_names_that_differ_at_the_end(eager):
    same_both_ways([orjson.dumps(seg(name="n" * 300 + end)).decode() for end in "abab"])


def test_numbers_that_only_some_parsers_can_hold(eager):
    same_both_ways([json.dumps(seg(metadata={"a": [1, 10**22], "b": 10**22 + i})) for i in range(3)])


def test_a_chance_equality_of_sums_does_no_harm():
    one, other = moulds._weights(2).tolist()
    rows = np.array([[5, 7], [5 + other, (7 - one) % 2**64]], np.uint64)
    first, group = moulds._groups(rows)
    assert (len(first), group.tolist()) == (1, [0, -1])


def test_numbers_as_the_service_writes_them():
    documents = [
        f'{{"id":"{i:016x}","name":"n","start_time":1.499473411{i}E9,"end_time":1.4994735E9,"trace_id":"{TRACE}"}}'
        for i in range(100, 200)
    ]
    same_both_ways(documents)
    assert read_at_once(documents) == list(range(100))


def test_threads_that_share_moulds_agree():
    documents = samples()
    known = xray.Known()

    def read(i):
        lot = documents[i : i + 700]
        return xray._finish(known, lot, xray._begin(known, lot))[0]

    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(read, range(0, len(documents), 700)))
    assert_frame_equal(xray._consumers(pl.concat(parts)).drop("attributes"), parse(documents).drop("attributes"))
