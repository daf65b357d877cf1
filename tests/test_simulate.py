"""The samples: reproducible to the byte, three agreeing views of the same requests, and incidents that can be seen."""

import itertools
import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights import platform as inside
from lift_insights import simulate
from lift_insights.frames import DIMENSIONS, INCIDENTS, UTC_TIME, InputError

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "data_samples"
NAMES = ["README.md", "incidents.csv", "logs.parquet", "manifest.json", "metrics.parquet", "traces.parquet"]


@pytest.fixture(scope="module")
def sample():
    return simulate.load(SAMPLES)


@pytest.fixture(scope="module")
def day():
    return simulate.platform(1, 3)


# ---- the bytes


def test_the_samples_are_what_simulate_makes(tmp_path):
    manifest = json.loads((SAMPLES / "manifest.json").read_text())
    simulate.write(simulate.platform(manifest["days"], manifest["seed"]), tmp_path)
    assert sorted(p.name for p in SAMPLES.iterdir()) == sorted(p.name for p in tmp_path.iterdir()) == NAMES
    different = [name for name in NAMES if (SAMPLES / name).read_bytes() != (tmp_path / name).read_bytes()]
    assert not different, f"{different} of data_samples are not what simulate makes; run `make samples`"
    assert sum((SAMPLES / name).stat().st_size for name in NAMES) <= 10_000_000


def test_another_process_with_other_threads_and_hashes_gives_the_same_bytes(tmp_path, day):
    code = "import sys; from lift_insights.simulate import platform, write; write(platform(1, 3), sys.argv[1])"
    env = os.environ | {
        "POLARS_MAX_THREADS": "1",
        "PYTHONHASHSEED": "12345",
        "TZ": "Asia/Tokyo",
        "PYTHONPATH": str(ROOT),
    }
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "theirs")], check=True, env=env)
    simulate.write(day, tmp_path / "ours")
    for name in NAMES:
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes(), name


def test_another_seed_gives_other_requests(day):
    other = simulate.platform(1, 4)
    assert not other.metrics.equals(day.metrics)
    assert not set(other.traces["trace_id"]) & set(day.traces["trace_id"])


def test_what_is_written_is_read_back(tmp_path, day):
    simulate.write(day, tmp_path)
    back = simulate.load(str(tmp_path))
    for name in ("metrics", "logs", "traces", "incidents"):
        assert getattr(back, name).equals(getattr(day, name)), name
        assert getattr(back, name).schema == getattr(day, name).schema, name
    assert (back.start, back.end, back.seed, back.log_windows) == (day.start, day.end, day.seed, day.log_windows)


# ---- the frames


def test_frames_have_their_columns_order_and_window(sample):
    m = sample.metrics
    assert dict(m.schema) == {
        "namespace": pl.String, "metric": pl.String, "dimensions": DIMENSIONS, "unit": pl.String,
        "timestamp": UTC_TIME, "values": pl.List(pl.Float64), "counts": pl.List(pl.Int64),
    }  # fmt: skip
    assert dict(sample.incidents.schema) == INCIDENTS.columns
    assert (m["timestamp"].dt.truncate("1m") == m["timestamp"]).all()
    for frame in (m, sample.logs):
        assert frame["timestamp"].is_between(sample.start, sample.end, closed="left").all()
    key = m["dimensions"].list.eval(pl.format("{}={}", pl.element().struct[0], pl.element().struct[1])).list.join(",")
    rank = m.select("metric", key.alias("key"), "timestamp")
    assert rank.is_unique().all()
    ordered = rank.sort("metric", "key", "timestamp")
    assert rank.equals(ordered)
    assert (m["values"].list.len() == m["counts"].list.len()).all()
    assert (m["values"].list.n_unique() == m["values"].list.len()).all()
    assert m["values"].list.len().max() <= 150  # PutMetricData takes no more values a datum
    assert m["counts"].explode().min() >= 1


def test_metrics_are_those_of_lift(sample):
    seen = sample.metrics.select(
        "metric", "unit", names=pl.col("dimensions").list.eval(pl.element().struct[0]).list.join(",")
    )
    seen = set(seen.unique().rows())
    request, ok, bad = "method,path,tenant_id", "method,path,status,tenant_id", "error,method,path,tenant_id"
    operations = {one for one in seen if one[0].startswith("operation.")}
    assert seen - operations == {
        ("requests.total", "Count", request), ("requests.errors", "Count", bad),
        ("requests.duration", "Milliseconds", ok), ("requests.duration", "Milliseconds", bad),
        ("response.size", "None", ok), ("retry.attempts", "Count", "function_name"),
        ("lambda_memory_used_mb", "Megabytes", "function_name"),
        ("lambda_cold_start_duration", "Milliseconds", "function_name"),
    }  # fmt: skip
    assert ("operation.POST_/payments", "Count", "") in operations
    assert ("operation.POST_/payments.duration", "Milliseconds", "") in operations
    assert len(operations) == 2 * 11
    assert {names for _, _, names in operations} == {""}


def test_traffic_is_about_thirty_a_minute_and_sleeps_at_night(sample):
    routes = [one.path for one in inside.ENDPOINTS if one.per_minute]
    total = sample.metrics.filter(pl.col("metric") == "requests.total").select(
        "timestamp",
        path=pl.col("dimensions").list.get(1).struct.field("value"),
        method=pl.col("dimensions").list.get(0).struct.field("value"),
        n=pl.col("counts").list.sum(),
    )
    outside = total.filter(pl.col("path").is_in(routes))
    assert abs(outside["n"].sum() / (14 * 1440) - 30) < 1.5
    hour = outside.group_by(pl.col("timestamp").dt.hour()).agg(pl.col("n").sum()).sort("timestamp")["n"]
    assert hour.max() > 4 * hour.min()
    assert 11 <= hour.arg_max() <= 16
    assert hour.arg_min() in (1, 2, 3, 4)
    daily = outside.group_by(pl.col("timestamp").dt.weekday()).agg(pl.col("n").sum()).sort("timestamp")["n"]
    assert max(daily[5:]) < 0.8 * min(daily[:5])


# ---- metrics against a slow twin


def test_metrics_equal_a_plain_count():
    done = inside.run(1, 11)
    slow: dict = defaultdict(Counter)
    r = {k: v.tolist() for k, v in done.requests.items()}
    for i in range(len(r["row"])):
        one, tenant = inside.ENDPOINTS[r["endpoint"][i]], inside.TENANTS[r["tenant"][i]].name
        began, answered, ms = r["start"][i] // 600_000, (r["start"][i] + r["took"][i]) // 600_000, r["took"][i] // 10
        who = [("method", one.method), ("path", one.path), ("tenant_id", tenant)]
        function = (("function_name", f"{one.service}-prod"),)
        slow["requests.total", tuple(who), began][1] += 1
        end = [("error", "true")] if r["status"][i] != 200 else [("status", "200")]
        slow["requests.duration", tuple(sorted(who + end)), answered][ms] += 1
        if r["status"][i] == 200:
            slow["response.size", tuple(sorted(who + end)), answered][r["size"][i]] += 1
        else:
            slow["requests.errors", tuple(sorted(who + end)), answered][1] += 1
        slow[f"operation.{one.method}_{one.path}", (), answered][1] += 1
        slow[f"operation.{one.method}_{one.path}.duration", (), answered][ms] += 1
        slow["lambda_memory_used_mb", function, answered][r["memory"][i]] += 1
        if r["init"][i]:
            slow["lambda_cold_start_duration", function, began][r["init"][i] // 10] += 1
        if r["retries"][i]:
            slow["retry.attempts", function, answered][1] += r["retries"][i]
    slow = {key: dict(sorted(seen.items())) for key, seen in slow.items() if key[2] < 1440}
    quick = {}
    for row in simulate.metrics(done).iter_rows(named=True):
        minute = (row["timestamp"] - done.when.start) // timedelta(minutes=1)
        dims = tuple((one["name"], one["value"]) for one in row["dimensions"])
        quick[row["metric"], dims, minute] = dict(zip(map(int, row["values"]), row["counts"], strict=True))
    assert quick == slow


# ---- metrics and logs


UNITS = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1, "µs": 0.001}


def milliseconds(text):
    """A Go duration, read the slow way."""
    return sum(round(float(n) * UNITS[unit], 4) for n, unit in re.findall(r"([\d.]+)(h|ms|m|s|µs)", text))


@pytest.mark.parametrize(
    ("ticks", "text"),  # as in Go's own table for Duration.String, where 0.1 ms can say it
    [
        (0, "0s"), (1, "100µs"), (22, "2.2ms"), (33000, "3.3s"), (2_450_010, "4m5.001s"), (183_670_010, "5h6m7.001s"),
        (10, "1ms"), (10_000, "1s"), (600_000, "1m0s"), (36_000_000, "1h0m0s"), (9999, "999.9ms"), (12034, "1.2034s"),
    ],
)  # fmt: skip
def test_durations_are_written_as_go_writes_them(ticks, text):
    assert simulate.go_duration(ticks) == text


@given(st.integers(0, 10**9))
def test_durations_lose_nothing(ticks):
    assert milliseconds(simulate.go_duration(ticks)) == pytest.approx(ticks / 10, abs=1e-3)


@pytest.fixture(scope="module")
def entries(sample):
    """Lift's own log lines, parsed."""
    lines = sample.logs.filter(pl.col("message").str.starts_with("{"))
    return [(g, t, json.loads(m)) for g, t, m in lines.select("log_group", "timestamp", "message").iter_rows()]


def minute(t: datetime) -> datetime:
    return t.replace(second=0, microsecond=0)


@pytest.fixture(scope="module")
def logged(sample):
    """The metrics of the minutes with complete logs, as {(metric, dimensions, minute): {value: count}}."""
    inside_windows = pl.any_horizontal(
        *(pl.col("timestamp").is_between(a, b, closed="left") for a, b in sample.log_windows)
    )
    found: dict = defaultdict(dict)
    for row in sample.metrics.filter(inside_windows).iter_rows(named=True):
        dims = tuple((one["name"], one["value"]) for one in row["dimensions"])
        found[row["metric"]][dims, row["timestamp"]] = dict(zip(map(int, row["values"]), row["counts"], strict=True))
    return found


def test_requests_total_is_the_number_of_requests_started(entries, logged):
    began = Counter(
        ((("method", e["fields"]["method"]), ("path", e["fields"]["path"]), ("tenant_id", e["tenant_id"])), minute(t))
        for _, t, e in entries
        if e["message"] == "Request started"
    )
    assert began == {key: seen[1] for key, seen in logged["requests.total"].items()}


def test_durations_and_errors_are_those_of_the_logs(entries, logged, sample):
    first = {e["request_id"]: e["fields"] for _, _, e in entries if e["message"] == "Request started"}
    durations, errors, outside = defaultdict(Counter), Counter(), Counter()
    for _, t, e in entries:
        if e["message"] in ("Request completed", "Request failed"):
            failed = e["message"] == "Request failed"
            assert failed == (e["level"] == "ERROR") == (e["fields"]["status"] != 200) == ("error" in e["fields"])
            if e["request_id"] not in first:  # began just before the window
                outside[minute(t)] += 1
                continue
            what = first[e["request_id"]]
            end = ("error", "true") if failed else ("status", "200")
            key = tuple(
                sorted([("method", what["method"]), ("path", what["path"]), ("tenant_id", e["tenant_id"]), end])
            )
            durations[key, minute(t)][int(milliseconds(e["fields"]["duration"]) + 1e-6)] += 1
            errors[key, minute(t)] += failed
    edge = {a for a, _ in sample.log_windows}
    assert set(outside) <= edge
    assert sum(outside.values()) < 10
    assert len(durations) > 5000
    for key, seen in logged["requests.duration"].items():
        if key[1] not in edge:
            assert durations[key] == seen, key
    for key, seen in logged["requests.errors"].items():
        if key[1] not in edge:
            assert errors[key] == seen[1], key


def test_report_lines_say_what_the_function_metrics_say(sample, logged):
    pattern = (
        r"^REPORT RequestId: [0-9a-f-]{36}\tDuration: ([\d.]+) ms\tBilled Duration: (\d+) ms\tMemory Size: 1024 MB"
        r"\tMax Memory Used: (\d+) MB(?:\tInit Duration: ([\d.]+) ms)?$"
    )
    memory, cold = Counter(), Counter()
    reports = sample.logs.filter(pl.col("message").str.starts_with("REPORT"))
    for group, text in reports.select("log_group", "message").iter_rows():
        spent, billed, used, init = re.match(pattern, text).groups()
        assert int(billed) - 1 < float(spent) <= int(billed)
        memory[group.removeprefix("/aws/lambda/"), int(used)] += 1
        if init:
            cold[group.removeprefix("/aws/lambda/"), int(float(init))] += 1
    said = {name: Counter() for name in ("lambda_memory_used_mb", "lambda_cold_start_duration")}
    for name, seen in said.items():
        for (dims, _), values in logged[name].items():
            for value, n in values.items():
                seen[dims[0][1], value] += n
    close = said["lambda_memory_used_mb"]
    assert sum(abs(memory[k] - close[k]) for k in memory | close) < 10  # a request or two lies across an edge
    near = said["lambda_cold_start_duration"]
    assert sum(cold.values()) > 20
    assert sum(abs(cold[k] - near[k]) for k in cold | near) <= 2


def test_warnings_count_the_retries(entries, logged):
    warned = Counter(g.removeprefix("/aws/lambda/") for g, _, e in entries if e["level"] == "WARN")
    said = Counter()
    for (dims, _), values in logged["retry.attempts"].items():
        said[dims[0][1]] += values[1]
    assert set(warned) == {"payments-prod", "payouts-prod", "notifications-prod"}
    assert sum(abs(warned[k] - said[k]) for k in warned | said) <= 2
    assert {e["message"] for _, _, e in entries if e["level"] == "WARN"} >= {"Retrying card processor", "Retrying bank"}


def test_log_entries_have_the_form_of_lift(entries):
    keys = {"timestamp", "level", "message", "fields", "request_id", "tenant_id", "user_id", "trace_id", "span_id"}
    address = re.compile(r"(203\.0\.113|198\.51\.100)\.([1-9]\d{0,2})")
    for _, t, e in entries:
        assert set(e) == keys
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", e["timestamp"])
        assert datetime.fromisoformat(e["timestamp"]) == t
        if e["message"] == "Request started":
            assert address.fullmatch(e["fields"]["source_ip"])


def test_a_stream_is_a_container(sample):
    """One request at a time, its lines together and in order, and a cold start only as a stream's first request."""
    assert set(sample.logs["log_group"]) == {f"/aws/lambda/{name}-prod" for name in inside.SERVICES}
    ordered = sample.logs.sort("log_group", "log_stream", "timestamp", maintain_order=True)
    assert ordered.equals(sample.logs)
    whole = 0
    for (_, stream), lines in sample.logs.group_by("log_group", "log_stream", maintain_order=True):
        assert re.fullmatch(r"2026/03/\d\d/\[\$LATEST\][0-9a-f]{32}", stream)
        ids = [re.search(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text).group() for text in lines["message"]]
        runs = [i for i, one in enumerate(ids) if i == 0 or one != ids[i - 1]]
        assert len(runs) == len(set(ids))
        for start, end in zip(runs, [*runs[1:], len(ids)], strict=True):
            kinds = [text.split()[0] if text[0] != "{" else "{" for text in lines["message"][start:end]]
            if kinds[0] == "START" and kinds[-1] == "REPORT":
                whole += 1
                assert kinds[:2] == ["START", "{"]
                assert kinds[-3:] == ["{", "END", "REPORT"]
            assert start == 0 or "Init Duration" not in lines["message"][end - 1]
    assert whole > 30_000


# ---- traces


@pytest.fixture(scope="module")
def documents(sample):
    return [json.loads(text) for text in sample.traces["document"]]


def pieces(document):
    """The segment and all its subsegments, with the piece that each lies in."""
    stack = [(document, None)]
    while stack:
        one, outer = stack.pop()
        yield one, outer
        stack += [(sub, one) for sub in one.get("subsegments", ())]


def test_documents_are_valid_segments(sample, documents):
    """The rules of the X-Ray developer guide, "AWS X-Ray segment documents"."""
    assert [d["trace_id"] for d in documents] == sample.traces["trace_id"].to_list()
    ids = Counter()
    for document, text in zip(documents, sample.traces["document"], strict=True):
        assert len(text.encode()) <= 64 * 1024
        assert re.fullmatch(r"1-[0-9a-f]{8}-[0-9a-f]{24}", document["trace_id"])
        assert document["origin"] in ("AWS::ApiGateway::Stage", "AWS::Lambda::Function")
        assert len(document.get("annotations", ())) <= 50
        for one, outer in pieces(document):
            ids[one["id"]] += 1
            assert re.fullmatch(r"[0-9a-f]{16}", one["id"])
            assert re.fullmatch(r"[\w\s.:/%&#=+\-@]{1,200}", one["name"])
            assert one["end_time"] >= one["start_time"] > 1.7e9
            assert all(re.fullmatch(r"\w+", key) for key in one.get("annotations", ()))
            assert one.get("namespace", "aws") in ("aws", "remote")
            assert not (one.get("error") and one.get("fault"))
            assert not one.get("throttle") or one["error"]
            for exception in one.get("cause", {}).get("exceptions", ()):
                assert re.fullmatch(r"[0-9a-f]{16}", exception["id"])
                assert exception["message"]
            if outer is not None:
                assert outer["start_time"] <= one["start_time"] <= one["end_time"] <= outer["end_time"]
    assert set(ids.values()) == {1}


def test_a_trace_is_one_tree_with_parents_first(documents):
    seen, roots = {}, Counter()
    for document in documents:
        roots[document["trace_id"]] += "parent_id" not in document
        if "parent_id" in document:
            parent, trace = seen[document["parent_id"]]
            assert trace == document["trace_id"]
            later = parent["end_time"] if parent["name"].startswith("SQS.") else parent["start_time"]
            assert document["start_time"] >= later
            if not parent["name"].startswith("SQS."):
                assert document["end_time"] <= parent["end_time"]
        else:
            assert document["origin"] == "AWS::ApiGateway::Stage"
            assert (
                int(document["trace_id"][2:10], 16) - 1
                <= document["start_time"]
                < int(document["trace_id"][2:10], 16) + 2
            )
        seen |= {one["id"]: (one, document["trace_id"]) for one, _ in pieces(document)}
    assert set(roots.values()) == {1}
    assert 3500 <= len(roots) <= 5000


def test_flags_and_causes_follow_the_status(documents):
    for document in documents:
        for one, outer in pieces(document):
            status = one.get("http", {}).get("response", {}).get("status")
            if status is None:
                assert not {"error", "fault"} & set(one)
                continue
            assert one.get("fault", False) == (status >= 500)
            assert one.get("error", False) == (400 <= status < 500)
            if outer is None and document["origin"] == "AWS::Lambda::Function":
                assert one.get("throttle", False) == (status == 429)
                assert ("cause" in one) == (status != 200) == (one["annotations"]["error"] == "true")
                assert one["annotations"]["http_status_code"] == status
    assert any(one.get("throttle") for d in documents for one, _ in pieces(d))


def test_the_calls_in_the_traces_are_the_topology(documents):
    services = {d["id"]: d["annotations"]["service_name"] for d in documents if "annotations" in d}
    holder = {one["id"]: services.get(d["id"], "payments-api/prod") for d in documents for one, _ in pieces(d)}
    edges = {(holder[d["parent_id"]], d["name"]) for d in documents if "parent_id" in d}
    wanted = {("payments-api/prod", one.service) for one in inside.ENDPOINTS if one.per_minute}
    for one in inside.ENDPOINTS:
        for step in one.steps:
            route = step.target if step.kind == "service" else step.then if step.kind == "queue" else None
            if route:
                wanted.add((one.service, inside.ENDPOINTS[inside.INDEX[route]].service))
    assert edges == wanted


def test_traces_and_logs_name_the_same_requests(sample, documents, entries):
    done = {e["request_id"]: e for _, _, e in entries if e["message"] in ("Request completed", "Request failed")}
    both = 0
    for d in documents:
        if d["origin"] != "AWS::Lambda::Function":
            continue
        end = datetime.fromtimestamp(d["end_time"], sample.start.tzinfo)
        entry = done.get(d["annotations"]["request_id"])
        # within a millisecond of a window's edge either may be right
        logged_ = any(
            a + timedelta(milliseconds=1) <= end < b - timedelta(milliseconds=1) for a, b in sample.log_windows
        )
        assert entry is not None or not logged_
        if entry is not None:
            both += 1
            took = milliseconds(entry["fields"]["duration"])
            assert d["end_time"] - d["start_time"] == pytest.approx(took / 1000, abs=2e-6)
            assert d["metadata"]["timing"]["duration_ms"] == int(took + 1e-6)
            assert (d["trace_id"], d["id"]) == (entry["trace_id"], entry["span_id"])
            assert d["annotations"]["tenant_id"] == entry["tenant_id"]
            assert d["annotations"]["user_id"] == entry["user_id"]
            assert d["http"]["response"]["status"] == entry["fields"]["status"]
    assert both > 1000


# ---- incidents


def test_incidents_are_apart_and_leave_time_to_learn(sample):
    known = sample.incidents.sort("start")
    assert set(known["label"]) == {
        "slow_dependency",
        "error_burst",
        "traffic_drop",
        "level_shift",
        "slow_leak",
        "tenant_flood",
    }
    assert (known["end"] > known["start"]).all()
    assert (known["start"][1:] >= known["end"][:-1]).all()
    assert known["start"][0] >= sample.start + 0.35 * (sample.end - sample.start)
    assert set(known["service"]) <= set(inside.SERVICES)


@pytest.mark.parametrize("days", [1, 2, 3, 7, 14, 30, 60])
def test_incidents_fit_any_window(days):
    when = inside.calendar(days)
    spans = sorted(when.incidents.values())
    assert all(0 <= a < b <= days * 1440 * inside.MINUTE for a, b in spans)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans))
    assert all(a % inside.MINUTE == b % inside.MINUTE == 0 for a, b in [*spans, *when.logged])
    for one in inside.PLANNED:
        if one.short:
            first, end = when.incidents[one.label]
            assert any(a <= first and end <= b for a, b in when.logged)


def five_minutes(sample, metric, stat, **wanted):
    """A metric's 5-minute values as {moment: value}; the dimensions that are not named are added up."""
    some = sample.metrics.filter(pl.col("metric") == metric)
    for name, value in wanted.items():
        of = pl.col("dimensions").list.eval(pl.element().filter(pl.element().struct[0] == name).struct[1]).list.first()
        some = some.filter(of == value)
    some = some.select(pl.col("timestamp").dt.truncate("5m"), "values", "counts").explode("values", "counts")
    if stat == "p50":
        some = some.select("timestamp", v=pl.col("values").repeat_by("counts")).explode("v", empty_as_null=True)
        return dict(some.group_by("timestamp").agg(pl.col("v").median()).rows())
    return dict(
        some.group_by("timestamp")
        .agg(pl.col("values").dot("counts") if stat == "sum" else pl.col("values").max())
        .rows()
    )


LOOK = {  # metric, statistic, dimensions, and how it compares with the days before
    "slow_dependency": ("operation.POST_/payments.duration", "p50", {}, lambda now, then: now > 2 * then),
    "error_burst": ("requests.errors", "sum", {"path": "/fraud/score"}, lambda now, then: now > then + 5),
    "traffic_drop": ("requests.total", "sum", {}, lambda now, then: now < 0.35 * then),
    "level_shift": ("operation.GET_/balance.duration", "p50", {}, lambda now, then: now > 1.3 * then),
    "tenant_flood": (
        "requests.total",
        "sum",
        {"tenant_id": "cobalt", "path": "/payments"},
        lambda now, then: now > 2.5 * then,
    ),
}


@pytest.mark.parametrize("label", LOOK)
def test_incidents_show_in_five_minute_metrics(sample, label):
    """Nearly every step inside is unlike the middle of the same time on the days before; nearly none outside is."""
    metric, stat, wanted, unlike = LOOK[label]
    start, end = sample.incidents.filter(pl.col("label") == label).select("start", "end").row(0)
    values = five_minutes(sample, metric, stat, **wanted)
    step = timedelta(minutes=5)

    def strange(a, b):
        hits = []
        while a + step <= b:
            same = sorted(
                values.get(a - timedelta(days=d) + k * step, 0) for d in range(3, 6) for k in (-2, -1, 0, 1, 2)
            )
            hits.append(unlike(values.get(a, 0), same[len(same) // 2]))
            a += step
        return sum(hits) / len(hits)

    assert strange(start, end) > 0.85
    assert strange(start - timedelta(hours=4), start) < 0.15


def test_the_leak_climbs_slows_and_ends_with_a_deployment(sample, documents):
    start, end = sample.incidents.filter(pl.col("label") == "slow_leak").select("start", "end").row(0)
    used = five_minutes(sample, "lambda_memory_used_mb", "max", function_name="reports-prod")
    took = five_minutes(sample, "operation.GET_/reports/daily.duration", "p50")
    day = timedelta(days=1)

    def mean(values, a, b):
        some = [v for t, v in values.items() if a <= t < b]
        return sum(some) / len(some)

    first, second, after = (mean(used, start + i * day, start + (i + 1) * day) for i in range(3))
    assert first < 500 < 600 < second < 1024
    assert after < 260
    assert mean(took, end - day, end) > 1.4 * mean(took, start - day, start)
    versions = {d["annotations"]["service_version"] for d in documents if d["name"] == "reports"}
    assert versions == {"2.0.4", "2.1.0", "2.1.1"}


def test_the_shifting_deployment_is_rolled_back(sample, documents):
    start, end = sample.incidents.filter(pl.col("label") == "level_shift").select("start", "end").row(0)
    for d in documents:
        if d["name"] == "ledger":
            during = start.timestamp() <= d["start_time"] < end.timestamp()
            assert d["annotations"]["service_version"] == ("2.5.0" if during else "2.4.1")
    cold = five_minutes(sample, "lambda_cold_start_duration", "max", function_name="ledger-prod")
    assert start in cold
    assert end in cold


def test_background_errors_are_few(sample):
    quiet = pl.col("timestamp") < sample.incidents["start"].min()
    seen = sample.metrics.filter(quiet).with_columns(n=pl.col("counts").list.sum())
    total, errors = (seen.filter(pl.col("metric") == f"requests.{name}")["n"].sum() for name in ("total", "errors"))
    assert 0.003 < errors / total < 0.006


# ---- any seed


@settings(max_examples=4, deadline=None)
@given(days=st.integers(1, 2), seed=st.integers(0, 2**63 - 1))
def test_any_run_is_consistent(days, seed):
    done = inside.run(days, seed)
    r = done.requests
    assert (r["took"] > 0).all()
    assert (r["init"] >= 0).all()
    assert ((r["status"] == 200) == (r["error"] < 0)).all()
    assert (r["memory"] < 1024).all()
    called = r["parent"] >= 0
    assert (r["root"][called] == r["root"][r["parent"][called]]).all()
    assert (r["root"][~called] == r["row"][~called]).all()
    assert (r["tenant"] == r["tenant"][r["root"]]).all()
    assert (r["keep"] == r["keep"][r["root"]]).all()
    assert r["keep"][done.sampled].all()


# ---- bad input


@pytest.mark.parametrize("days", [0, -1, 61, 1.5, "14", None, True])
def test_days_are_refused(days):
    with pytest.raises(InputError, match="days needs an integer from 1 to 60"):
        simulate.platform(days=days)


@pytest.mark.parametrize("seed", [-1, 0.5, "7", None, False])
def test_seeds_are_refused(seed):
    with pytest.raises(InputError, match="seed needs an integer"):
        simulate.platform(days=1, seed=seed)


def test_a_missing_or_empty_folder_is_named(tmp_path):
    with pytest.raises(InputError, match=r"there is no folder .*nowhere"):
        simulate.load(tmp_path / "nowhere")
    with pytest.raises(
        InputError, match=r"manifest\.json is missing; make the folder anew with lift-insights simulate"
    ):
        simulate.load(tmp_path)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "README.md"])
def test_a_missing_or_damaged_file_is_named(tmp_path, day, name):
    simulate.write(day, tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(b"\x00" + whole[: len(whole) // 2])
    with pytest.raises(InputError, match=re.escape(name)):
        simulate.load(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=f"{re.escape(name)} is missing"):
        simulate.load(tmp_path)


def test_files_of_somebody_else_are_refused(tmp_path, day):
    simulate.write(day, tmp_path)
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "logs.parquet")
    with pytest.raises(InputError, match=r"logs\.parquet needs the columns log_group, .*; seen: a"):
        simulate.load(tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(InputError, match="not a manifest"):
        simulate.load(tmp_path)


def test_nothing_half_written_is_left(tmp_path, day, monkeypatch):
    simulate.write(day, tmp_path / "out")
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}

    def full(self, to, **_):
        Path(to).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    with pytest.raises(InputError, match="No space left on device"):
        simulate.write(day, tmp_path / "out")
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before


def test_a_folder_that_is_a_file_is_refused(tmp_path, day):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="cannot be written"):
        simulate.write(day, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"
