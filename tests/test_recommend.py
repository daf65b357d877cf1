"""alarms.recommend: the queries it makes are accepted, distinct, and mean what their labels say."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights import simulate
from lift_insights.alarms import math as metric_math
from lift_insights.alarms.levels import kept_up, level
from lift_insights.alarms.practices import PRACTICES, matches, table
from lift_insights.alarms.recommend import KINDS, KeyMetric, alarms, key_metrics, queries, with_prefix
from lift_insights.alarms.replay import pages, replay
from lift_insights.alarms.rules import check_alarm, metrics_of, series_of
from lift_insights.frames import CATALOG, InputError, parse_series, series_key

SAMPLES = Path(__file__).resolve().parent.parent / "data_samples"
START = datetime(2026, 3, 2, tzinfo=UTC)


def row(metric, dimensions=None, *, namespace="PayTheory/Lift", stat="Sum", unit="Count"):
    dimensions = dimensions or {}
    return {
        "series": series_key(namespace, metric, dimensions, stat),
        "account": "123456789012",
        "region": "us-east-1",
        "namespace": namespace,
        "metric": metric,
        "dimensions": [{"name": k, "value": v} for k, v in dimensions.items()],
        "stat": stat,
        "period_s": 60,
        "unit": unit,
    }


def catalog(*rows):
    return pl.DataFrame(list(rows), schema=CATALOG.columns)


def endpoint(method, path, tenants, **more):
    yield row(f"operation.{method}_{path}")
    yield row(f"operation.{method}_{path}.duration", unit="Milliseconds", stat="p99")
    for tenant in tenants:
        yield row("requests.errors", {"tenant_id": tenant, "method": method, "path": path, "error": "true"} | more)


def alarm_of(key: KeyMetric) -> dict:
    return {
        "AlarmName": "key",
        "Metrics": list(key.queries),
        "EvaluationPeriods": 3,
        "Threshold": 1.0,
        "ComparisonOperator": "GreaterThanThreshold",
    }


ODD = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=":"), min_size=1, max_size=12)


@settings(max_examples=60)
@given(
    rows=st.lists(
        st.builds(
            row,
            st.sampled_from(["requests.errors", "operation.GET_/a", "operation.GET_/a.duration", "Errors", "Count"])
            | ODD,
            st.dictionaries(st.sampled_from(["FunctionName", "method", "path"]) | ODD, ODD, max_size=3),
            namespace=st.sampled_from(["A", "AWS/Lambda", "AWS/ApiGateway"]) | ODD,
            unit=st.sampled_from(["Count", "None", None]),
        ),
        max_size=12,
    )
)
def test_whatever_is_in_the_catalog_an_alarm_takes_it(rows):
    found = key_metrics(catalog(*rows))
    known = {(r["namespace"], r["metric"], frozenset((d["name"], d["value"]) for d in r["dimensions"])) for r in rows}
    assert len({k.series for k in found}) == len(found)
    for key in found:
        check_alarm(alarm_of(key))
        assert len(key.queries) <= 10
        assert key.kind in KINDS
        assert [q["Label"] for q in key.queries if q["ReturnData"]] == [key.series]
        for query in key.queries:
            if "MetricStat" in query:
                metric = query["MetricStat"]["Metric"]
                dimensions = frozenset((d["Name"], d["Value"]) for d in metric["Dimensions"])
                assert (metric["Namespace"], metric["MetricName"], dimensions) in known
    ids = [q["Id"] for q in queries(found)]
    assert len(set(ids)) == len(ids)
    assert (
        key_metrics(catalog(*reversed(rows))) == found or any(r["unit"] is None for r in rows) or len(known) < len(rows)
    )


def test_the_order_of_the_catalog_means_nothing():
    rows = [*endpoint("POST", "/payments", ["a", "b", "c"]), *endpoint("GET", "/ledger", ["a"])]
    expected = key_metrics(catalog(*rows))
    random.Random(1).shuffle(rows)
    assert key_metrics(catalog(*rows)) == expected


def test_pandas_is_welcome():
    frame = catalog(*endpoint("POST", "/payments", ["a"]))
    assert key_metrics(frame.to_pandas()) == key_metrics(frame)


def slow_rate(requests, errors, least):
    """The error rate the obvious way: dicts of minute to count."""
    for at in sorted(requests):
        total = requests[at]
        yield at, 100 * sum(e.get(at, 0) for e in errors) / max(total, least)


@settings(max_examples=40, deadline=None)
@given(seed=st.randoms(use_true_random=False), tenants=st.integers(1, 8), least=st.integers(1, 30))
def test_the_error_rate_is_what_it_says(seed, tenants, least):
    names = [f"t{i}" for i in range(tenants)]
    rate = next(
        k
        for k in key_metrics(catalog(*endpoint("GET", "/x", names)), min_requests=least, period_s=60)
        if k.kind == "error_rate"
    )
    when = [START + timedelta(minutes=i) for i in range(20)]
    requests = {at: seed.randint(1, 60) for at in when}
    errors = [{at: seed.randint(1, 5) for at in when if seed.random() < 0.3} for _ in names]
    errors[0][when[0]] = 1
    counts = [("requests", requests), *((f"errors{i + 1}", e) for i, e in enumerate(errors))]
    rows = [(name, at, float(v)) for name, counted in counts for at, v in counted.items()]
    points = pl.DataFrame(
        rows, schema={"series": pl.String, "timestamp": pl.Datetime("us", "UTC"), "value": pl.Float64}, orient="row"
    )
    got = metric_math.evaluate(list(rate.queries), points)
    expected = list(slow_rate(requests, errors, least))
    assert got["timestamp"].to_list() == [at for at, _ in expected]
    assert got["value"].to_list() == pytest.approx([v for _, v in expected])


def test_errors_under_two_sets_of_dimensions_are_counted_once():
    both = [*endpoint("GET", "/x", ["a", "b"]), row("requests.errors", {"method": "GET", "path": "/x"})]
    rate = next(k for k in key_metrics(catalog(*both)) if k.kind == "error_rate")
    assert rate.queries[-1]["Expression"] == "100 * (FILL(errors1, 0)) / IF(requests > 20, requests, 20)"
    assert rate.queries[1]["MetricStat"]["Metric"]["Dimensions"] == [
        {"Name": "method", "Value": "GET"},
        {"Name": "path", "Value": "/x"},
    ]


def test_another_endpoints_errors_do_not_count():
    found = key_metrics(
        catalog(*endpoint("GET", "/x", []), *endpoint("POST", "/x", ["a"]), *endpoint("GET", "/y", ["a"]))
    )
    assert [k.label for k in found if k.kind == "error_rate"] == ["POST /x error rate", "GET /y error rate"]


@pytest.mark.parametrize(
    ("path", "service"),
    [("/payments/{id}", "payments"), ("/v1/payments", "payments"), ("/api/v2/ledger/x", "ledger"), ("/", "/")],
)
def test_services_are_named_after_the_path(path, service):
    assert {k.service for k in key_metrics(catalog(*endpoint("GET", path, ["a"])))} == {service}


@pytest.mark.parametrize(
    ("function", "service"),
    [("pay", "pay"), ("pay-prod", "pay"), ("pay-outs-prod", "pay-outs"), ("payroll-prod", "payroll-prod"), ("x", "x")],
)
def test_a_functions_memory_belongs_to_its_service(function, service):
    memory = row("lambda_memory_used_mb", {"function_name": function}, unit="Megabytes")
    found = key_metrics(catalog(*endpoint("GET", "/pay", []), *endpoint("GET", "/pay-outs", []), memory))
    assert [(k.service, k.label) for k in found if k.kind == "saturation"] == [(service, f"{function} memory used")]


def test_lambda_takes_the_function_not_its_aliases():
    rows = [
        row(metric, {"FunctionName": "fraud"} | alias, namespace="AWS/Lambda")
        for metric in ("Invocations", "Errors", "Duration", "Throttles")
        for alias in ({}, {"Resource": "fraud:live"})
    ]
    found = key_metrics(catalog(*rows))
    assert [k.label for k in found] == ["fraud requests", "fraud error rate", "fraud p99 latency"]
    assert all(len(q["MetricStat"]["Metric"]["Dimensions"]) == 1 for k in found for q in k.queries if "MetricStat" in q)


def test_api_gateway_of_both_kinds():
    rest = [row(m, {"ApiName": "shop"}, namespace="AWS/ApiGateway") for m in ("Count", "5XXError", "Latency")]
    http = [row(m, {"ApiId": "a1b2"}, namespace="AWS/ApiGateway") for m in ("Count", "5xx", "Latency")]
    assert [(k.service, k.kind) for k in key_metrics(catalog(*rest, *http))] == [
        (who, kind) for who in ("a1b2", "shop") for kind in ("traffic", "error_rate", "latency")
    ]


@pytest.mark.parametrize(
    ("unit", "stat", "expected"),
    [("Count", "Average", "Sum"), ("Percent", "Sum", "Average"), (None, "p99", "p99"), (None, None, "Average")],
)
def test_the_statistic_of_a_plain_metric(unit, stat, expected):
    one = catalog(row("x", namespace="Own", unit=unit)).with_columns(pl.lit(stat, pl.String).alias("stat"))
    (key,) = key_metrics(one)
    assert key.queries[0]["MetricStat"]["Stat"] == expected
    assert parse_series(key.series) == ("Own", "x", {}, expected)


@pytest.mark.parametrize("period", [0, 45, 61, -60, 300.0, True, None, "300"])
def test_periods_cloudwatch_does_not_have(period):
    with pytest.raises(InputError, match="multiple of 60"):
        key_metrics(CATALOG.empty(), period_s=period)


def test_what_is_no_catalog_is_refused():
    with pytest.raises(InputError, match="catalog needs the columns"):
        key_metrics(pl.DataFrame({"metric": ["x"]}))


def test_prefixes_leave_quotes_and_longer_names_alone():
    asked = [
        {"Id": "m1"},
        {"Id": "m10"},
        {"Id": "e", "Expression": "SUM([m1, m10]) + SUM(METRICS(\"m1\")) + 'm1' + xm1"},
    ]
    assert [q["Id"] for q in with_prefix(asked, "a_")] == ["a_m1", "a_m10", "a_e"]
    assert with_prefix(asked, "a_")[2]["Expression"] == "SUM([a_m1, a_m10]) + SUM(METRICS(\"m1\")) + 'm1' + xm1"
    assert asked[0] == {"Id": "m1"}


@pytest.mark.skipif(not (SAMPLES / "metrics.parquet").exists(), reason="data_samples/ is not there")
def test_the_samples_have_every_signal_for_every_endpoint():
    metrics = simulate.load(SAMPLES).metrics.select("namespace", "metric", "dimensions", "unit").unique()
    rows = [
        row(r["metric"], {d["name"]: d["value"] for d in r["dimensions"]}, namespace=r["namespace"], unit=r["unit"])
        for r in metrics.filter(namespace="PayTheory/Lift").iter_rows(named=True)
    ]
    found = key_metrics(catalog(*rows))
    endpoints = {r["metric"] for r in rows if r["metric"].startswith("operation.") and "duration" not in r["metric"]}
    assert len(endpoints) >= 6
    for kind in ("traffic", "error_rate", "latency"):
        assert len([k for k in found if k.kind == kind]) == len(endpoints)
    assert not [k.note for k in found if "takes no more" in k.note]


# What the page "Recommended alarms" of the CloudWatch user guide says, copied by hand.
PUBLISHED = [
    ("AWS/Lambda", "Throttles", "FunctionName", "Sum", ">= history", 5, 5, 60, "missing"),
    ("AWS/Lambda", "Duration", "FunctionName", "p90", "> history", 15, 15, 60, "missing"),
    ("AWS/Lambda", "ClaimedAccountConcurrency", "", "Maximum", "> 90% limit", 10, 10, 60, "notBreaching"),
    ("AWS/ApiGateway", "5XXError", "ApiName,Stage", "Average", "> 0.05", 3, 3, 60, "missing"),
    ("AWS/ApiGateway", "4xx", "ApiId,Stage", "Average", "> 0.05", 5, 5, 60, "missing"),
    ("AWS/ApiGateway", "Count", "ApiName,Stage", "SampleCount", "< history", 10, 10, 60, "breaching"),
    ("AWS/DynamoDB", "AccountProvisionedReadCapacityUtilization", "", "Maximum", "> 80", 2, 2, 300, "missing"),
    ("AWS/DynamoDB", "SystemErrors", "TableName", "Sum", "> history", 15, 15, 60, "notBreaching"),
    ("AWS/SQS", "NumberOfMessagesSent", "QueueName", "Sum", "<= 0", 15, 15, 60, "missing"),
    (
        "AWS/Kinesis",
        "GetRecords.IteratorAgeMilliseconds",
        "StreamName",
        "Maximum",
        "> history",
        15,
        15,
        60,
        "breaching",
    ),
    ("AWS/RDS", "ReplicaLag", "DBInstanceIdentifier", "Maximum", "> 60", 10, 10, 60, "breaching"),
    ("AWS/RDS", "EBSIOBalance%", "DBInstanceIdentifier", "Average", "< 10", 3, 3, 60, "missing"),
    ("AWS/RDS", "EngineUptime", "DBClusterIdentifier,Role", "Average", "<= 0", 2, 2, 60, "breaching"),
    ("AWS/ElastiCache", "EngineCPUUtilization", "CacheClusterId", "Average", "> 90", 5, 5, 60, "missing"),
    ("AWS/CertificateManager", "DaysToExpiry", "CertificateArn", "Minimum", "<= 44", 1, 1, 86400, "breaching"),
    ("AWS/S3", "5xxErrors", "BucketName,FilterId", "Average", "> 0.05", 15, 15, 60, "missing"),
    ("AWS/SNS", "NumberOfNotificationsRedrivenToDlq", "TopicName", "Sum", "> 0", 5, 5, 60, "notBreaching"),
    ("AWS/Scheduler", "InvocationDroppedCount", "", "Sum", "> 0", 1, 1, 60, "notBreaching"),
]
SIGNS = {
    ">": "GreaterThanThreshold",
    ">=": "GreaterThanOrEqualToThreshold",
    "<": "LessThanThreshold",
    "<=": "LessThanOrEqualToThreshold",
}


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda row: f"{row[0]} {row[1]}")
def test_the_table_says_what_aws_published(published):
    space, metric, names, stat, condition, m, n, period, missing = published
    (one,) = [
        p
        for p in PRACTICES
        if (p.namespace, p.metric) == (space, metric) and ",".join(k for k, _ in p.dimensions) == names and not p.named
    ]
    sign, number, *_ = condition.split()
    assert (one.stat, one.m, one.n, one.period_s, one.missing) == (stat, m, n, period, missing)
    assert one.operator == SIGNS[sign]
    assert one.number == (None if number == "history" else 0.9 if number == "90%" else float(number))
    assert one.source.startswith("https://docs.aws.amazon.com/AmazonCloudWatch/")


def emitted_by(practice, suffix=""):
    """Catalog rows that the practice is about."""
    space = "PayTheory/Lift" if practice.namespace == "lift" else practice.namespace
    dims = {name: value or f"my-dlq{suffix}" for name, value in practice.dimensions}
    yield row(practice.metric, dims, namespace=space)
    if practice.of:
        yield row(practice.of, dims, namespace=space)


def test_every_practice_becomes_an_alarm_that_aws_takes():
    for practice in PRACTICES:
        if practice.namespace == "AWS/SQS" and not practice.named:
            continue
        found = alarms(catalog(*emitted_by(practice)))
        mine = [r for r in found if r.why == practice.why]
        assert len(mine) == 1, practice
        check_alarm(mine[0].alarm | {"Threshold": 1.0})
        assert mine[0].deployable == (practice.basis in ("fixed", "start"))
        assert practice.source in mine[0].alarm["AlarmDescription"]
        assert mine[0].alarm["TreatMissingData"] == practice.missing


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(PRACTICES), max_size=8), st.integers(0, 3))
def test_only_what_is_emitted_is_recommended(chosen, resources):
    rows = [r for p in chosen for i in range(resources) for r in emitted_by(p, str(i))]
    known = {(r["namespace"], r["metric"], frozenset((d["name"], d["value"]) for d in r["dimensions"])) for r in rows}
    found = alarms(catalog(*rows))
    for one in found:
        for metric in metrics_of(one.alarm):
            pairs = frozenset((d["Name"], d["Value"]) for d in metric["Dimensions"])
            assert (metric["Namespace"], metric["MetricName"], pairs) in known
    assert len({r.alarm["AlarmName"] for r in found}) == len(found)
    assert len({r.series for r in found}) == len({(r.series) for r in found})


def test_other_dimensions_than_the_practices_get_nothing():
    extra = row("Errors", {"FunctionName": "pay", "Resource": "pay:live"}, namespace="AWS/Lambda")
    assert alarms(catalog(extra)) == []
    assert (
        alarms(
            catalog(row("AuroraBinlogReplicaLag", {"DBClusterIdentifier": "c", "Role": "READER"}, namespace="AWS/RDS"))
        )
        == []
    )


def test_without_a_number_nothing_can_be_deployed():
    (one, *_) = alarms(catalog(row("Errors", {"FunctionName": "pay"}, namespace="AWS/Lambda")))
    assert (one.alarm["Threshold"], one.basis, one.deployable) == (None, "none", False)
    assert "history" in one.note
    with pytest.raises(InputError, match="Threshold"):
        check_alarm(one.alarm)


def test_limits_are_the_owners_to_tell():
    disks = catalog(*(row("FreeStorageSpace", {"DBInstanceIdentifier": db}, namespace="AWS/RDS") for db in ("a", "b")))
    told = alarms(disks, limits={"rds_storage_bytes": {"a": 2e11}})
    assert [(r.alarm["Threshold"], r.basis) for r in told] == [(2e10, "limit"), (None, "none")]
    assert "rds_storage_bytes" in told[1].note
    assert [r.alarm["Threshold"] for r in alarms(disks, limits={"rds_storage_bytes": 1e10})] == [1e9, 1e9]


def series_of_values(key, values, step_s=60):
    times = [START + timedelta(seconds=step_s * i) for i in range(len(values))]
    return pl.DataFrame(
        {"series": [key] * len(values), "timestamp": times, "value": [float(v) for v in values]},
        schema_overrides={"timestamp": pl.Datetime("us", "UTC")},
    ).filter(pl.col("value").is_not_nan())


ERRORS = row("Errors", {"FunctionName": "pay"}, namespace="AWS/Lambda")


def test_an_outage_in_the_history_does_not_set_the_threshold():
    rng = np.random.default_rng(3)
    usual = rng.poisson(2, 10 * 1440).astype(float)
    bad = usual.copy()
    bad[5 * 1440 : 5 * 1440 + 180] += 500
    (calm,), (hit,) = (alarms(catalog(ERRORS), series_of_values(ERRORS["series"], v)) for v in (usual, bad))
    assert hit.alarm["Threshold"] == pytest.approx(calm.alarm["Threshold"], rel=0.35)
    assert (calm.level.pages, hit.level.pages) == (0, 1)
    assert hit.basis == "history"


def test_a_fixed_number_that_does_not_fit_says_so():
    lag = row("ReplicaLag", {"DBInstanceIdentifier": "a"}, namespace="AWS/RDS")
    lag["series"] = series_key("AWS/RDS", "ReplicaLag", {"DBInstanceIdentifier": "a"}, "Maximum")
    (one,) = alarms(catalog(lag), series_of_values(lag["series"], [300.0] * 2000))
    assert one.alarm["Threshold"] == 60
    assert "100%" in one.note


def test_traffic_that_falls_to_nothing_gets_no_lower_threshold():
    key = series_key("AWS/SNS", "NumberOfMessagesPublished", {"TopicName": "t"}, "Sum")
    values = np.clip(np.sin(np.arange(7 * 1440) / 1440 * 2 * np.pi), 0, None) * 100
    published = row("NumberOfMessagesPublished", {"TopicName": "t"}, namespace="AWS/SNS")
    (night,) = alarms(catalog(published), series_of_values(key, values))
    (day,) = alarms(catalog(published), series_of_values(key, values + 50))
    assert not night.deployable
    assert "quiet hour" in night.note
    assert 0 < day.alarm["Threshold"] < 50


def test_coarse_history_makes_a_coarse_alarm():
    (one,) = alarms(catalog(ERRORS), series_of_values(ERRORS["series"], [1.0, 2.0] * 500, step_s=300))
    assert (one.alarm["Period"], one.alarm["EvaluationPeriods"], one.alarm["DatapointsToAlarm"]) == (300, 1, 1)
    assert one.queries[0]["MetricStat"]["Period"] == 300


def test_shares_are_what_they_say():
    dims = {"DeliveryStreamName": "s"}
    have = catalog(
        row("IncomingBytes", dims, namespace="AWS/Firehose"), row("BytesPerSecondLimit", dims, namespace="AWS/Firehose")
    )
    (one,) = alarms(have)
    used, allowed = (
        series_of_values(series_key("AWS/Firehose", name, dims, stat), values, step_s=300)
        for name, stat, values in (
            ("IncomingBytes", "Sum", [3e8, 1.2e9]),
            ("BytesPerSecondLimit", "Minimum", [5e6, 5e6]),
        )
    )
    got = metric_math.evaluate(one.alarm["Metrics"], pl.concat([used, allowed]))
    assert got["value"].to_list() == pytest.approx([20.0, 80.0])
    assert one.alarm["Threshold"] == 80
    assert alarms(have.head(1)) == []


def test_an_alarm_that_is_there_already_is_named():
    nightly = catalog(row("FailedInvocations", {"RuleName": "nightly"}, namespace="AWS/Events"))
    (one,) = alarms(nightly)
    (again,) = alarms(nightly, existing=[one.alarm | {"AlarmName": "mine"}, {"AlarmName": "c", "AlarmRule": "TRUE"}])
    (other,) = alarms(nightly, existing=[one.alarm | {"ComparisonOperator": "LessThanThreshold"}])
    assert (again.covered_by, other.covered_by) == ("mine", "")


def test_names_are_ascii_and_distinct_whatever_the_resources_are_called():
    rows = [
        row("Errors", {"FunctionName": name}, namespace="AWS/Lambda")
        for name in ("pay", "x" * 300, "x" * 299, "x" * 298)
    ]
    names = [r.alarm["AlarmName"] for r in alarms(catalog(*rows), prefix="Größe")]
    assert len(set(names)) == 4
    assert all(n.isascii() and n.isprintable() and len(n) <= 255 and n.startswith("Groe ") for n in names)


def test_what_cloudwatch_could_not_hold_gets_no_alarm():
    odd = row("Errors", {"FunctionName": "größe"}, namespace="AWS/Lambda")
    assert [r.series for r in alarms(catalog(odd, ERRORS))] == [ERRORS["series"]]


def test_what_they_need_can_be_read_in_one_go():
    found = alarms(catalog(ERRORS, row("Throttles", {"FunctionName": "pay"}, namespace="AWS/Lambda")))
    asked = queries(found)
    assert [q["Label"] for q in asked if q["ReturnData"]] == [r.series for r in found]
    assert [r.series for r in found] == [series_of(r.alarm)[0] for r in found]


def test_recommendations_take_pandas():
    frame = catalog(ERRORS)
    points = series_of_values(ERRORS["series"], [1.0] * 3000)
    assert [r.alarm for r in alarms(frame.to_pandas(), points.to_pandas())] == [r.alarm for r in alarms(frame, points)]


def slow_kept_up(values, m, n, high):
    """For each time: the highest threshold at which m of the last n values still breach, found by trying all."""
    for t in range(len(values)):
        window = [v for v in values[max(0, t - n + 1) : t + 1] if v == v]
        fits = [v for v in window if sum((w >= v) if high else (w <= v) for w in window) >= m]
        yield (max(fits) if high else min(fits)) if fits else (-np.inf if high else np.inf)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0, 7.0, float("nan")]), min_size=1, max_size=40),
    st.integers(1, 5),
    st.integers(0, 4),
    st.booleans(),
)
def test_the_kept_up_level_against_a_slow_twin(values, m, more, high):
    got = kept_up(np.array(values), m, m + more, high=high)
    assert got.tolist() == list(slow_kept_up(values, m, m + more, high))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0, 7.0]), min_size=8, max_size=60),
    st.integers(1, 3),
    st.integers(0, 2),
    st.sampled_from(sorted(SIGNS)),
    st.sampled_from([0.0, 1.0, 2.5]),
)
def test_a_level_counts_the_pages_of_a_replay(values, m, more, sign, threshold):
    part = series_of_values("s", values)
    alarm = {
        "AlarmName": "a", "Namespace": "N", "MetricName": "M", "Statistic": "Sum", "Period": 60, "EvaluationPeriods": m + more,
        "DatapointsToAlarm": m, "Threshold": threshold, "ComparisonOperator": SIGNS[sign], "TreatMissingData": "notBreaching",
    }  # fmt: skip
    got = level(
        part, stat="Sum", period_s=60, m=m, n=m + more, high=sign[0] == ">", threshold=threshold, inclusive="=" in sign
    )
    assert got.pages == len(pages(replay(alarm, part)))


def test_a_level_of_two_series_is_refused():
    both = pl.concat([series_of_values("a", [1.0]), series_of_values("b", [1.0])])
    with pytest.raises(InputError, match="one series"):
        level(both, stat="Sum", period_s=60, m=1, n=1)
    assert level(both.head(0), stat="Sum", period_s=60, m=1, n=1) is None


def test_the_table_is_a_frame_and_practices_have_a_reason_and_a_source():
    frame = table()
    assert len(frame) == len(PRACTICES)
    assert frame["source"].str.starts_with("https://").all()
    assert set(frame["missing"]) <= {"missing", "notBreaching", "breaching", "ignore"}
    for one in PRACTICES:
        assert matches(one, []) == []
        assert one.m <= one.n
