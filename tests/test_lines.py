"""What log lines say: the fast parser against a slow one, Lambda's lines, embedded metrics, the types of text."""

import json
import re
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights.frames import EVENTS, InputError, check, series_key
from lift_insights.sources import lines, logs

NOW = datetime(2026, 3, 16, tzinfo=UTC)


def events(*texts: str) -> pl.DataFrame:
    raw = {"timestamp": [NOW] * len(texts), "log_group": ["g"] * len(texts), "log_stream": ["s"] * len(texts)}
    schema = {name: EVENTS.columns[name] for name in raw}
    return lines.parse(pl.DataFrame(raw, schema=schema).with_columns(text=pl.Series(texts, dtype=pl.String)))


def opened(text: str) -> tuple:
    row = events(text).row(0, named=True)
    inner = None if row["fields"] is None else json.loads(row["fields"])
    return row["level"], row["message"], row["request_id"], row["trace_id"], inner


REPORT = "REPORT RequestId: ab-1\tDuration: 12.50 ms\tBilled Duration: 13 ms\tMemory Size: 1024 MB\tMax Memory Used: 99 MB\tInit Duration: 201.3 ms\t"
FIGURES = {
    "duration_ms": 12.5, "billed_duration_ms": 13, "memory_size_mb": 1024, "max_memory_used_mb": 99, "init_duration_ms": 201.3,
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "level", "message", "request_id", "trace_id", "fields"),
    [
        ('{"level":"INFO","message":"hi","fields":{"a":1}}', "INFO", "hi", None, None, {"a": 1}),
        ('{"level":"INFO","message":"hi","other":2}', "INFO", "hi", None, None, {"other": 2}),
        (' \n{"message":"hi"}\n', None, "hi", None, None, {}),
        ('{"severity":"WARN","msg":"hi","requestId":"r","xray_trace_id":"t"}', "WARN", "hi", "r", "t", {}),
        ('{"level":"INFO","severity":"WARN","message":""}', "INFO", "", None, None, {"severity": "WARN"}),
        ('{"level":30,"message":{"a":[1,true,null]}}', "30", '{"a":[1,true,null]}', None, None, {}),
        (
            '{"message":"x","fields":{"a":1,"b":2},"b":3}',
            None,
            "x",
            None,
            None,
            {"fields": {"a": 1, "b": 2}, "b": 3},
        ),
        ('{"message":"x","fields":[1]}', None, "x", None, None, {"fields": [1]}),
        ('{"id":12345678901234567890123,"x":1.5}', None, None, None, None, {"id": 12345678901234567890123, "x": 1.5}),
        ('{"x":NaN}', None, '{"x":NaN}', None, None, None),
        ('{"x":"\\ud800"}', None, '{"x":"\\ud800"}', None, None, None),
        ('{"level":"INFO","message":', None, '{"level":"INFO","message":', None, None, None),
        ("plain text", None, "plain text", None, None, None),
        (REPORT, None, "REPORT", "ab-1", None, FIGURES),
        (
            REPORT
            + "\nXRAY TraceId: 1-5f84c7a1-e7d1852db8c4fd35d88bf49a\tSegmentId: 4b1c\tSampled: true\tStatus: timeout\t",
            None,
            "REPORT",
            "ab-1",
            "1-5f84c7a1-e7d1852db8c4fd35d88bf49a",
            FIGURES | {"segmentid": "4b1c", "sampled": "true", "status": "timeout"},
        ),
        ("START RequestId: ab-1 Version: $LATEST\n", None, "START", "ab-1", None, {"version": "$LATEST"}),
        ("END RequestId: ab-1", None, "END", "ab-1", None, {}),
        (
            "INIT_START Runtime Version: go:al2023.v12\tRuntime Version ARN: arn:aws:lambda:x::runtime:1",
            None,
            "INIT_START",
            None,
            None,
            {"runtime_version": "go:al2023.v12", "runtime_version_arn": "arn:aws:lambda:x::runtime:1"},
        ),
        (
            "INIT_REPORT Init Duration: 10003.84 ms\tPhase: init\tStatus: timeout",
            None,
            "INIT_REPORT",
            None,
            None,
            {"init_duration_ms": 10003.84, "phase": "init", "status": "timeout"},
        ),
        ("REPORT of the day: all is well", None, "REPORT of the day: all is well", None, None, None),
        ("END", None, "END", None, None, None),
        (
            "REPORT RequestId: r\tDuration: a lot ms",
            None,
            "REPORT",
            "r",
            None,
            {"duration_ms": "a lot ms"},
        ),
        ("", None, "", None, None, None),
        ("[1, 2]", None, "[1, 2]", None, None, None),
    ],
)
def test_lines_are_opened(text, level, message, request_id, trace_id, fields):
    assert opened(text) == (level, message, request_id, trace_id, fields)


def test_lambda_in_json_says_the_same_as_in_text():
    record = {
        "time": "2026-03-15T10:00:00Z", "type": "platform.report",
        "record": {
            "requestId": "ab-1", "status": "success",
            "metrics": {"durationMs": 12.5, "billedDurationMs": 13, "memorySizeMB": 1024, "maxMemoryUsedMB": 99, "initDurationMs": 201.3},
            "tracing": {"spanId": "1", "type": "X-Amzn-Trace-Id", "value": "Root=1-5f84c7a1-e7d1852db8c4fd35d88bf49a;Parent=1;Sampled=1"},
        },
    }  # fmt: skip
    text = REPORT + "\nXRAY TraceId: 1-5f84c7a1-e7d1852db8c4fd35d88bf49a\tStatus: success"
    one, other = logs.reports(events(json.dumps(record))), logs.reports(events(text))
    assert one.equals(other)
    assert one["init_duration_ms"].item() == 201.3
    assert one["trace_id"].item() == "1-5f84c7a1-e7d1852db8c4fd35d88bf49a"


@pytest.mark.parametrize(
    ("kind", "word"),
    [("start", "START"), ("initStart", "INIT_START"), ("runtimeDone", "platform.runtimeDone"), ("logsDropped", "platform.logsDropped")],
)  # fmt: skip
def test_other_platform_events_keep_what_they_say(kind, word):
    record = {"type": f"platform.{kind}", "record": {"requestId": "r", "droppedBytes": 7, "spans": [{"name": "x"}]}}
    assert opened(json.dumps(record)) == (None, word, "r", None, {"dropped_bytes": 7, "spans": [{"name": "x"}]})


# --- the fast parser against an obvious one

KNOWN = {
    "level": ["level", "severity"], "message": ["message", "msg"], "request_id": ["request_id", "requestId", "function_request_id"],
    "trace_id": ["trace_id", "traceId", "xray_trace_id"],
}  # fmt: skip


def slowly(text: str) -> tuple:
    """As `parse` is documented, step by step, with Python's own JSON."""
    try:
        record = json.loads(text, parse_constant=lambda name: 1 / 0)
    except (ValueError, ZeroDivisionError):
        record = None
    if not isinstance(record, dict):
        return None, text, None, None, None
    out = []
    for names in KNOWN.values():
        there = [name for name in names if record.get(name) is not None]
        record.pop(names[0], None) if not there else None
        value = record.pop(there[0]) if there else None
        record.pop(names[0], None)
        out.append(
            value
            if value is None or isinstance(value, str)
            else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        )
    inner = record.get("fields")
    if isinstance(inner, dict) and not set(inner) & set(record):
        del record["fields"]
        record |= inner
    return (*out, record)


names = st.sampled_from(
    [*(n for some in KNOWN.values() for n in some), "fields", "status", "tenant_id", "a.b", "é", ""]
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=6
)


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(names, values, max_size=6), st.booleans())
def test_records_are_opened_as_a_slow_parser_does(record, ascii_only):
    text = json.dumps(record, ensure_ascii=ascii_only)
    assert opened(text) == slowly(text)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from([REPORT, "{", '{"a":1}', "START RequestId: x", "{" * 300]), max_size=5))  # fmt: skip
def test_nothing_stops_the_rest_and_no_line_is_lost(texts):
    found = events(*texts)
    assert len(found) == len(texts)
    for text, row in zip(texts, found.iter_rows(named=True)):
        assert row["message"] == text or row["fields"] is not None


def test_a_record_nested_beyond_all_reason_stays_text():
    text = '{"a":' * 300 + "1" + "}" * 300
    assert opened(text)[1] == text


# --- fields as columns


def test_fields_become_typed_columns():
    frame = events(
        '{"message":"a","status":200,"share":0.5,"ok":true,"http":{"path":"/x"},"tags":["t"],"took":"1m2.5s","at":"2026-03-15T10:00:00.5Z","mixed":1}',
        '{"message":"b","status":201,"share":1,"ok":false,"http":{"path":"/y"},"took":"12.5ms","at":"2026-03-15T12:00:00+02:00","mixed":"one"}',
        "plain",
    )
    found = logs.fields(frame)
    assert found["status"].to_list() == [200, 201, None]
    assert found["share"].to_list() == [0.5, 1.0, None]
    assert found["ok"].to_list() == [True, False, None]
    assert found["http.path"].to_list() == ["/x", "/y", None]
    assert found["tags"].to_list() == ['["t"]', None, None]
    assert found["took_ms"].to_list() == [62_500.0, 12.5, None]
    assert found["at"].to_list() == [datetime(2026, 3, 15, 10, 0, 0, 500_000, UTC), datetime(2026, 3, 15, 10, tzinfo=UTC), None]  # fmt: skip
    assert found["mixed"].to_list() == ["1", "one", None]
    assert found.columns[: len(EVENTS.columns) - 1] == [c for c in EVENTS.columns if c != "fields"]
    some = logs.fields(frame, ["status", "nowhere"])
    assert some.columns[-2:] == ["status", "nowhere"]
    assert some["nowhere"].null_count() == 3


def test_fields_never_hide_a_column_or_each_other():
    found = logs.fields(events('{"message":"m","timestamp":"then","duration":"5ms","duration_ms":7}'))
    assert found["fields.timestamp"].to_list() == ["then"]
    assert found["duration"].to_list() == ["5ms"]
    assert found["duration_ms"].to_list() == [7]
    assert found["timestamp"].to_list() == [NOW]


def test_numbers_that_a_column_cannot_hold_stay_text():
    found = logs.fields(events('{"big":12345678901234567890123,"both":9007199254740993}', '{"big":1,"both":0.5}'))
    assert found["big"].to_list() == ["12345678901234567890123", "1"]
    assert found["both"].to_list() == ["9007199254740993", "0.5"]


# --- embedded metrics


def embedded(record: dict, metrics=("m",), dimensions=(("service",),), **more) -> str:
    directive = {"Namespace": "N", "Dimensions": [list(d) for d in dimensions], "Metrics": [{"Name": m} for m in metrics]}  # fmt: skip
    return json.dumps({"_aws": {"Timestamp": int(NOW.timestamp() * 1000), "CloudWatchMetrics": [directive]} | more} | record)  # fmt: skip


@pytest.mark.parametrize(
    ("target", "values"),
    [
        (5, [5.0]), ([1, 2.5], [1.0, 2.5]), ({"Values": [1, 2], "Counts": [2, 1]}, [1.0, 1.0, 2.0]), ({"Values": [3]}, [3.0]),
        ({"Values": [3], "Counts": [0]}, []),
    ],
)  # fmt: skip
def test_every_embedded_value_is_a_point(target, values):
    points = logs.emf(events(embedded({"service": "s", "m": target})))
    assert points["value"].to_list() == values
    assert set(points["series"]) <= {series_key("N", "m", {"service": "s"}, "Value")}
    assert set(points["timestamp"]) <= {NOW}
    assert points.equals(check(points, frames_points()))


def frames_points():
    from lift_insights.frames import POINTS

    return POINTS


def test_each_set_of_dimensions_is_a_metric():
    text = embedded(
        {"service": "s", "stage": 3, "requestId": "r", "m": 1}, dimensions=[["service"], ["service", "stage"], ["requestId"], []]
    )  # fmt: skip
    keys = [
        {"service": "s"},
        {"service": "s", "stage": "3"},
        {"requestId": "r"},
        {},
    ]
    assert set(logs.emf(events(text))["series"]) == {series_key("N", "m", d, "Value") for d in keys}


def test_statistics_by_period_are_what_plain_arithmetic_says():
    targets = [1, [2, 3], {"Values": [4, 5], "Counts": [3, 1]}, {"Sum": 10, "Count": 4, "Min": 1, "Max": 4}]
    frame = events(*(embedded({"service": "s", "m": target}) for target in targets))
    every = [1, 2, 3, 4, 4, 4, 5]
    expected = {
        "Sum": sum(every) + 10, "SampleCount": len(every) + 4, "Minimum": 1, "Maximum": 5, "Average": (sum(every) + 10) / (len(every) + 4),
    }  # fmt: skip
    for stat, value in expected.items():
        points = logs.emf(frame, stat=stat)
        assert points["value"].to_list() == [value]
        assert points["series"].item() == series_key("N", "m", {"service": "s"}, stat)
    with pytest.warns(UserWarning, match="1 values are sets of statistics"):
        assert logs.emf(frame)["value"].to_list() == every


@pytest.mark.parametrize(
    "record",
    [
        {"service": "s"}, {"service": "s", "m": "5"}, {"service": "s", "m": True}, {"m": 5}, {"service": {}, "m": 5}, {"service": "s", "m": []},
        {"service": "s", "m": {"Values": [1], "Counts": [1, 2]}}, {"service": "s", "m": {"Sum": 1}},
    ],
)  # fmt: skip
def test_broken_embedded_records_are_counted(record):
    frame = events(embedded(record), embedded({"service": "s", "m": 1}))
    with pytest.warns(UserWarning, match="1 events in the embedded metric format"):
        assert logs.emf(frame)["value"].to_list() == [1.0]


def test_embedded_metrics_without_a_time_have_the_event_s():
    record = json.loads(embedded({"service": "s", "m": 1}))
    del record["_aws"]["Timestamp"]
    frame = events(json.dumps(record)).with_columns(timestamp=pl.lit(NOW + timedelta(milliseconds=7)))
    assert logs.emf(frame)["timestamp"].to_list() == [NOW + timedelta(milliseconds=7)]


def test_emf_and_reports_of_nothing_are_frames():
    assert logs.emf(events("plain")).is_empty()
    assert logs.reports(events("plain", '{"level":"INFO","message":"REPORT"}')).is_empty()
    with pytest.raises(InputError, match="stat needs one of"):
        logs.emf(events("plain"), stat="p99")
    with pytest.raises(InputError, match="events needs the columns"):
        logs.reports(pl.DataFrame({"message": ["REPORT"]}))


def test_pandas_in_pandas_out():
    pd = pytest.importorskip("pandas")
    frame = events(REPORT).to_pandas()
    assert isinstance(logs.reports(frame), pd.DataFrame)
    assert logs.reports(frame)["billed_duration_ms"].to_list() == [13.0]


# --- types of text


def narrowest(column: list[str | None]) -> tuple:
    """The type that a column should have, one value after the other."""
    seen = [v for v in column if v is not None]
    if not seen:
        return pl.String, column
    if all(v in ("true", "false") for v in seen):
        return pl.Boolean, [None if v is None else v == "true" for v in column]
    if all(re.fullmatch(r"0|-?[1-9][0-9]*", v) for v in seen):
        if all(-(2**63) <= int(v) < 2**63 for v in seen):
            return pl.Int64, [None if v is None else int(v) for v in column]
        return pl.String, column
    if all(re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+([eE][+-]?[0-9]+)?|[eE][+-][0-9]+)?", v) for v in seen):
        exact = all(abs(int(v)) <= 2**53 for v in seen if re.fullmatch(r"-?[0-9]+", v))
        finite = all(abs(float(v)) != float("inf") for v in seen)
        if exact and finite:
            return pl.Float64, [None if v is None else float(v) for v in column]
        return pl.String, column
    for shape in ("%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%d %H:%M:%S"):
        try:
            moments = [None if v is None else datetime.strptime(v, shape).replace(tzinfo=UTC) for v in column]
        except ValueError:
            continue
        return pl.Datetime("us", "UTC"), moments
    return pl.String, column


texts = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(str),
    st.sampled_from(["007", "-0", "+5", "1e5", "1E10", "1.0E10", "1e-7", "nan", "inf", "Infinity", "", " 5", "5 ", "0x10", "1_000", "true", "false", "True", "١٢", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "9007199254740993", "1.5", "0", "1e400", "1.5e400"]),
    st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1)).map(lambda t: t.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]),  # noqa: DTZ001
    st.sampled_from(["2026-02-30 00:00:00.000", "2026-03-15", "2026-03-15 10:00:00.000 and more"]),
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.lists(st.none() | texts, max_size=4) | st.lists(st.integers(-5, 5).map(str), max_size=4))
def test_columns_get_the_type_that_all_their_values_have(column):
    found = lines.typed(pl.DataFrame({"x": pl.Series(column, dtype=pl.String)}))["x"]
    kind, values_ = narrowest(column)
    assert (found.dtype, found.to_list()) == (kind, values_)


@pytest.mark.parametrize("name", ["@message", "@logStream", "@log", "@requestId"])
def test_what_is_text_by_nature_stays_text(name):
    assert lines.typed(pl.DataFrame({name: ["12", "13"]}))[name].to_list() == ["12", "13"]


def test_rfc_3339_is_a_time_unless_it_is_finer_than_a_microsecond():
    found = lines.typed(
        pl.DataFrame({"z": ["2026-03-15T10:00:00Z", None], "o": ["2026-03-15T10:00:00.25+02:00"] * 2, "n": ["2026-03-15T10:00:00.123456789Z"] * 2})
    )  # fmt: skip
    assert found["z"].to_list() == [datetime(2026, 3, 15, 10, tzinfo=UTC), None]
    assert found["o"].to_list() == [datetime(2026, 3, 15, 8, 0, 0, 250_000, UTC)] * 2
    assert found["n"].dtype == pl.String


# --- records that are not as tidy as ours


def test_a_name_that_a_record_gives_twice_has_the_value_nearest_to_its_top():
    found = logs.fields(events('{"a":{"b":2},"a.b":1}', '{"a":{"b":3}}'))
    assert found["a.b"].to_list() == [1, 3]
    twice = events(
        '{"message":"m","timestamp":"top","fields":{"timestamp":"below","n":1}}',
        '{"fields":{"timestamp":"x"},"timestamp":"y","n":2}',
    )
    assert logs.fields(twice)["fields.timestamp"].to_list() == ["top", "y"]
    for name in ("timestamp", "fields.timestamp", ["timestamp", "fields.timestamp"]):
        assert logs.fields(twice, name).columns[-1] == "fields.timestamp"
        assert logs.fields(twice, name).width == len(EVENTS.columns)


def test_names_of_fields_are_looked_at_at_the_door():
    frame = events('{"status":200,"n":1}')
    assert logs.fields(frame, "status").columns[-1] == "status"
    assert logs.fields(frame, "status").width == len(EVENTS.columns)
    assert logs.fields(frame, ["status", "status"]).equals(logs.fields(frame, "status"))
    for names in (5, [5], [""], [None], ""):
        with pytest.raises(InputError, match="names needs the names of fields"):
            logs.fields(frame, names)
    for text in ("{oops", "[1]", "5"):
        with pytest.raises(InputError, match="needs a JSON object in each row, or null; row 0"):
            logs.fields(frame.with_columns(fields=pl.lit(text)))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "a.b", "timestamp", "fields", "message", "fields.timestamp"]), values, max_size=4), max_size=4))  # fmt: skip
def test_any_record_becomes_columns(records):
    frame = events(*map(json.dumps, records))
    found = logs.fields(frame)
    assert len(found) == len(frame)
    assert len(set(found.columns)) == found.width


def test_reports_of_users_are_not_lambda_s():
    users = (
        '{"message":"REPORT","duration_ms":5,"rows":7}',
        '{"message":"REPORT","request_id":"r","duration_ms":5,"rows":7}',
    )
    assert logs.reports(events(*users, REPORT))["request_id"].to_list() == ["ab-1"]


@pytest.mark.parametrize("counts", [[-1], [0.5], [True], ["1"]])
def test_counts_that_count_nothing_are_left_out(counts):
    text = embedded({"service": "s", "m": {"Values": [1.0], "Counts": counts}, "other": 2}, metrics=("m", "other"))
    with pytest.warns(UserWarning, match="1 events in the embedded metric format do not keep to it; of them 1 metrics"):
        assert logs.emf(events(text))["value"].to_list() == [2.0]


@pytest.mark.parametrize("time", [10**20, -1, "now", True, 253_402_300_800_000])
def test_embedded_times_that_no_frame_holds_are_left_out(time):
    broken = json.loads(embedded({"service": "s", "m": 1}))
    broken["_aws"]["Timestamp"] = time
    with pytest.warns(UserWarning, match="1 events in the embedded"):
        assert logs.emf(events(json.dumps(broken), embedded({"service": "s", "m": 7})))["value"].to_list() == [7.0]


def test_one_absent_metric_or_dimension_drops_no_other():
    text = embedded({"service": "s", "m": 1}, metrics=("absent", "m"), dimensions=(("service",), ("nowhere",)))
    with pytest.warns(UserWarning, match="of them 3 metrics"):
        assert logs.emf(events(text))["value"].to_list() == [1.0]


def test_a_metric_may_be_called_level():
    text = embedded({"service": "s", "level": 3, "message": [1, 2]}, metrics=("level", "message"))
    assert sorted(logs.emf(events(text))["value"]) == [1.0, 2.0, 3.0]


def test_counts_beyond_all_memory_are_refused():
    text = embedded({"service": "s", "m": {"Values": [2.0], "Counts": [30_000_000]}})
    with pytest.raises(InputError, match="30,000,000 single values, more than 10,000,000"):
        logs.emf(events(text))
    assert logs.emf(events(text), stat="Sum")["value"].to_list() == [60_000_000.0]
    for period_s in (0, -60, 1.5, True, "60"):
        with pytest.raises(InputError, match="period_s needs"):
            logs.emf(events(text), stat="Sum", period_s=period_s)


def narrowed(*texts):
    return logs.typed(pl.DataFrame({"x": pl.Series(texts, dtype=pl.String)}))["x"]


@pytest.mark.parametrize(
    "text", ["0.1234567890123456789", "9007199254740993.0", "1.0e-400", "1.10", "1.00", "1e+400", "2026-03-02 09:00:00", "2026-03-02 09:00:00.0001"]
)  # fmt: skip
def test_text_that_a_type_would_change_stays_text(text):
    assert narrowed(text, None).to_list() == [text, None]


@settings(max_examples=300, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_that_is_written_shortest_is_one(number):
    text = repr(number)
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e")
    assert narrowed(text).to_list() == [number]
    assert narrowed(text).dtype == pl.Float64
