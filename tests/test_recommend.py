"""alarms.recommend: the queries it makes are accepted, distinct, and mean what their labels say."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights import simulate
from lift_insights.alarms import math as metric_math
from lift_insights.alarms.recommend import KINDS, KeyMetric, key_metrics, queries, with_prefix
from lift_insights.deploy.plan import check_alarm
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


ODD = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12)


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
