"""dashboards.build: bodies that CloudWatch would take, with nothing drawn that nothing emits."""

import json
import re
from types import SimpleNamespace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights import sandbox
from lift_insights.alarms.recommend import KeyMetric, key_metrics
from lift_insights.dashboards.build import dashboard
from lift_insights.deploy.plan import check_dashboard, plan
from lift_insights.frames import CATALOG, InputError, series_key
from lift_insights.sources import alarms as source

ACCOUNT, REGION = "123456789012", "us-east-1"


def row(metric, dimensions=None, unit="Count", namespace="PayTheory/Lift"):
    dimensions = dimensions or {}
    return {
        "series": series_key(namespace, metric, dimensions, "Sum"),
        "account": ACCOUNT,
        "region": REGION,
        "namespace": namespace,
        "metric": metric,
        "dimensions": [{"name": k, "value": v} for k, v in dimensions.items()],
        "stat": "Sum",
        "period_s": 60,
        "unit": unit,
    }


def lift(endpoints, tenants=("aurora", "borealis")):
    for method, path in endpoints:
        yield row(f"operation.{method}_{path}")
        yield row(f"operation.{method}_{path}.duration", unit="Milliseconds")
        for t in tenants:
            yield row("requests.errors", {"tenant_id": t, "method": method, "path": path, "error": "true"})


def catalog(rows):
    return pl.DataFrame(list(rows), schema=CATALOG.columns)


def alarm_on(key, **more):
    return {
        "AlarmName": f"on {key.label}",
        "Metrics": list(key.queries),
        "EvaluationPeriods": 3,
        "Threshold": 5,
        "ComparisonOperator": "GreaterThanThreshold",
    } | more


def faults(body):
    """What the page "Dashboard body structure and syntax" says of widgets, as far as it can be checked; [] is good."""
    top = {"widgets", "variables", "start", "end", "periodOverride"}
    yield from set(body) - top
    if len(body["widgets"]) > 500 or body["periodOverride"] not in ("auto", "inherit"):
        yield "top"
    if not re.fullmatch(r"-PT\d+[MH]|-P\d+[DWM]", body["start"]):
        yield body["start"]
    taken = set()
    for w in body["widgets"]:
        place = w["x"], w["y"], w["width"], w["height"]
        if not all(type(p) is int for p in place) or not (0 <= w["x"] <= 23 and w["y"] >= 0):
            yield f"place {place}"
        if not (1 <= w["width"] <= 24 and 1 <= w["height"] <= 1000 and w["x"] + w["width"] <= 24):
            yield f"size {place}"
        cells = {(x, y) for x in range(w["x"], w["x"] + w["width"]) for y in range(w["y"], w["y"] + w["height"])}
        if cells & taken:
            yield f"overlap {place}"
        taken |= cells
        yield from {"text": of_text, "alarm": of_alarm, "metric": of_metric}[w["type"]](w["properties"])


def of_text(p):
    if not isinstance(p["markdown"], str) or not set(p) <= {"markdown", "background"}:
        yield "text"


def of_alarm(p):
    if not 1 <= len(p["alarms"]) <= 100 or p["sortBy"] not in ("default", "stateUpdatedTimestamp", "timestamp"):
        yield "alarm"
    yield from (a for a in p["alarms"] if not re.fullmatch(r"arn:aws[a-z-]*:cloudwatch:[a-z0-9-]+:\d{12}:alarm:.+", a))


def of_metric(p):
    known = {"title", "region", "view", "stacked", "period", "metrics", "yAxis", "annotations", "stat", "legend"}
    yield from set(p) - known
    if p["period"] % 60 or not p["region"] or not 1 <= len(p["metrics"]) <= 500:
        yield "metric"
    ids = []
    for line in p["metrics"]:
        look = line[-1]
        ids.append(look["id"])
        if len(line) == 1:
            names = set(re.findall(r"\b[a-z][A-Za-z0-9_]*\b", re.sub(r'"[^"]*"', "", look["expression"])))
            yield from names - {other[-1]["id"] for other in p["metrics"]}
        elif len(line) % 2 == 0 or not all(isinstance(part, str) and part for part in line[:-1]):
            yield f"line {line}"
        if not set(look) <= {"id", "label", "visible", "stat", "period", "expression", "yAxis", "color", "region"}:
            yield f"look {look}"
        if not re.fullmatch(r"[a-z]\w*", look["id"]):
            yield f"id {look['id']}"
    if len(set(ids)) < len(ids):
        yield f"ids {ids}"
    for note in p.get("annotations", {}).get("horizontal", ()):
        if not isinstance(note["value"], int | float) or note.get("fill", "none") not in ("above", "below", "none"):
            yield f"annotation {note}"


def drawn(body):
    for w in body["widgets"]:
        for line in w["properties"].get("metrics", ()):
            if len(line) > 1:
                yield line[0], line[1], frozenset(zip(line[2:-1:2], line[3:-1:2]))


def emitted(rows):
    return {(r["namespace"], r["metric"], frozenset((d["name"], d["value"]) for d in r["dimensions"])) for r in rows}


NAME = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None)
@given(
    endpoints=st.lists(
        st.tuples(
            st.sampled_from(["GET", "POST"]),
            st.sampled_from("abc").flatmap(lambda s: NAME.map(lambda n: f"/{s}/{n}")),
        ),
        unique=True,
        max_size=12,
    ),
    tenants=st.lists(NAME, unique=True, max_size=11),
    plain=st.lists(NAME, unique=True, max_size=7),
    with_alarm=st.integers(1, 3),
)
def test_any_platform_makes_a_body_that_keeps_the_rules(endpoints, tenants, plain, with_alarm):
    rows = [*lift(endpoints, tenants), *(row(p, {"QueueName": p}, namespace="Own") for p in plain)]
    keys = key_metrics(catalog(rows))
    before = json.dumps([k.queries for k in keys])
    alarms = [alarm_on(k) for k in keys[::with_alarm]]
    body = dashboard("Platform", keys, alarms=alarms, region=REGION, account=ACCOUNT)
    check_dashboard("platform", body)
    assert list(faults(body)) == []
    assert set(drawn(body)) <= emitted(rows)
    labels = [
        line[-1]["label"] for w in body["widgets"] for line in w["properties"].get("metrics", ()) if "label" in line[-1]
    ]
    assert sorted(labels) == sorted(k.label for k in keys)
    notes = [n for w in body["widgets"] for n in w["properties"].get("annotations", {}).get("horizontal", ())]
    assert len(notes) == len(alarms)
    assert dashboard("Platform", keys, alarms=alarms, region=REGION, account=ACCOUNT) == body
    assert json.dumps([k.queries for k in keys]) == before


def test_the_rules_find_faults():
    good = dashboard("p", key_metrics(catalog(lift([("GET", "/x"), ("GET", "/x/y")]))), region=REGION)
    for break_it in (
        lambda b: b["widgets"][1].update(x=20),
        lambda b: b["widgets"][1].update(y=0),
        lambda b: b["widgets"][2]["properties"]["metrics"][0][-1].update(id="k1_m1"),
        lambda b: b["widgets"][3]["properties"]["metrics"].pop(0),
        lambda b: b["widgets"][2]["properties"]["metrics"][0].insert(2, "Environment"),
    ):
        body = json.loads(json.dumps(good))
        assert list(faults(body)) == []
        break_it(body)
        assert list(faults(body))


KEYS = key_metrics(catalog([*lift([("POST", "/payments"), ("GET", "/ledger")])]))
LATENCY = next(k for k in KEYS if k.label == "POST /payments p99 latency")
RATE = next(k for k in KEYS if k.label == "POST /payments error rate")
METRIC = LATENCY.queries[0]["MetricStat"]


def notes(alarm):
    body = dashboard("x", KEYS, alarms=[alarm], region=REGION)
    return [
        (w["properties"]["title"], n["label"])
        for w in body["widgets"]
        for n in w["properties"].get("annotations", {}).get("horizontal", ())
    ]


def plain_alarm(**more):
    rest = {k: v for k, v in alarm_on(LATENCY).items() if k != "Metrics"} | {"AlarmName": "slow"}
    metric = {"Namespace": METRIC["Metric"]["Namespace"], "MetricName": METRIC["Metric"]["MetricName"]}
    return rest | metric | {"ExtendedStatistic": "p99", "Period": 300} | more


@pytest.mark.parametrize(
    ("alarm", "expected"),
    [
        (plain_alarm(), [("POST /payments p99 latency", "slow: > 5 ms, 3 of 3")]),
        (plain_alarm(DatapointsToAlarm=2, ComparisonOperator="LessThanThreshold"),
         [("POST /payments p99 latency", "slow: < 5 ms, 2 of 3")]),
        (plain_alarm(ExtendedStatistic="p50"), []),
        (plain_alarm(Dimensions=[{"Name": "Environment", "Value": "prod"}]), []),
        (alarm_on(LATENCY), [("POST /payments p99 latency", "on POST /payments p99 latency: > 5 ms, 3 of 3")]),
        (alarm_on(RATE), [("POST /payments error rate", "on POST /payments error rate: > 5 %, 3 of 3")]),
        (alarm_on(RATE, Metrics=list(RATE.queries[::-1])),
         [("POST /payments error rate", "on POST /payments error rate: > 5 %, 3 of 3")]),
        (alarm_on(RATE, Metrics=[*RATE.queries[:-1], RATE.queries[-1] | {"Expression": "requests"}]), []),
    ],
    ids=["metric", "fewer", "statistic", "dimensions", "as metrics", "math", "math reordered", "other math"],
)  # fmt: skip
def test_a_threshold_is_drawn_where_it_belongs(alarm, expected):
    assert notes(alarm) == expected


def test_a_line_has_the_period_of_its_alarm():
    body = dashboard("x", KEYS, alarms=[plain_alarm(Period=60)], region=REGION)
    graph = next(w["properties"] for w in body["widgets"] if w["properties"].get("title") == LATENCY.label)
    assert graph["metrics"][0][-1]["period"] == 60


def test_alarm_states_need_an_account_or_arns():
    def kinds(**how):
        return [w["type"] for w in dashboard("x", [], alarms=[plain_alarm()], region=REGION, **how)["widgets"]]

    assert kinds() == ["text"]
    assert (
        kinds(account=ACCOUNT)
        == kinds(alarm_arns=[f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:x"])
        == ["text", "alarm"]
    )
    many = [plain_alarm(AlarmName=f"a{i}") for i in range(250)]
    widgets = dashboard("x", [], alarms=many, region="cn-north-1", account=ACCOUNT)["widgets"]
    assert [len(w["properties"]["alarms"]) for w in widgets[1:]] == [100, 100, 50]
    assert widgets[1]["properties"]["alarms"][0] == f"arn:aws-cn:cloudwatch:cn-north-1:{ACCOUNT}:alarm:a0"


def test_expressions_over_all_metrics_of_a_graph_get_a_graph_of_their_own():
    stat = {"Metric": {"Namespace": "N", "MetricName": "m", "Dimensions": []}, "Period": 300, "Stat": "Sum"}
    keys = [
        KeyMetric(s, s, "svc", "traffic", "Count", (
            {"Id": "m1", "MetricStat": stat, "ReturnData": False},
            {"Id": "e", "Expression": "SUM(METRICS())", "Label": s, "ReturnData": True},
        ))
        for s in ("a", "b")
    ]  # fmt: skip
    graphs = [w for w in dashboard("x", keys, region=REGION)["widgets"] if w["type"] == "metric"]
    assert [w["properties"]["title"] for w in graphs] == ["a", "b"]


def test_too_much_for_one_dashboard():
    keys = key_metrics(catalog(row(f"m{i}", namespace="Own") for i in range(499)))
    with pytest.raises(InputError, match="499 key metrics make 501 widgets"):
        dashboard("x", keys, region=REGION)
    assert len(dashboard("x", keys[:498], region=REGION)["widgets"]) == 500


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"period_s": 0}, "multiple of 60"),
        ({"period_s": 90}, "multiple of 60"),
        ({"period_s": 300.0}, "multiple of 60"),
        ({"alarms": ["slow"]}, "one is slow"),
        ({"alarms": [{"AlarmName": "slow"}]}, "PutMetricAlarm arguments"),
        ({"alarms": [SimpleNamespace(alarm=None)]}, "PutMetricAlarm arguments"),
    ],
)
def test_bad_arguments(how, says):
    with pytest.raises(InputError, match=says):
        dashboard("x", KEYS, region=REGION, **how)


def test_the_body_survives_the_account():
    with sandbox.local(None) as session:
        body = dashboard("π | “platform”", KEYS, alarms=[alarm_on(RATE)], region=REGION, account=ACCOUNT)
        plan(session, alarms=[alarm_on(RATE)], dashboards={"platform": body}).apply()
        assert source.dashboards(session) == {"platform": body}
