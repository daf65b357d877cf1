"""alarms.review: every mistake is found, with figures; good alarms are left alone; broken ones do not end the review."""

import random
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights.alarms.paging import pages
from lift_insights.alarms.replay import replay
from lift_insights.alarms.review import AGAIN, REVIEW, behaviour, review
from lift_insights.alarms.symptoms import cost
from lift_insights.frames import CATALOG, STATES, UTC_TIME, InputError, series_key

START, DAYS, STEP = datetime(2026, 3, 2, tzinfo=UTC), 7, 300
N = DAYS * 86_400 // STEP
TOPIC = "arn:aws:sns:us-east-1:123456789012:oncall"


def points_of(series, values, step_s=STEP):
    times = pl.Series([START + timedelta(seconds=step_s * i) for i in range(len(values))], dtype=UTC_TIME)
    frame = pl.DataFrame({"series": [series] * len(values), "timestamp": times, "value": np.asarray(values, float)})
    return frame.filter(pl.col("value").is_not_nan())


def listed(metric, dimensions=None, *, namespace="Pay", unit=None, period_s=None, stat="Average"):
    dimensions = dimensions or {}
    return {
        "series": series_key(namespace, metric, dimensions, stat), "account": "1", "region": "us-east-1", "namespace": namespace,
        "metric": metric, "dimensions": [{"name": k, "value": v} for k, v in dimensions.items()], "stat": stat, "period_s": period_s, "unit": unit,
    }  # fmt: skip


def catalog_of(*rows):
    return pl.DataFrame(list(rows), schema=CATALOG.columns)


def alarm_of(name="alarm", metric="depth", dimensions=None, **more):
    return {
        "AlarmName": name, "Namespace": "Pay", "MetricName": metric, "Dimensions": [{"Name": k, "Value": v} for k, v in (dimensions or {}).items()],
        "Statistic": "Average", "Period": STEP, "EvaluationPeriods": 3, "Threshold": 90.0, "ComparisonOperator": "GreaterThanThreshold",
        "AlarmActions": [TOPIC],
    } | more  # fmt: skip


def noise(seed=0, mean=50.0, spread=10.0):
    return np.random.default_rng(seed).normal(mean, spread, N).clip(0)


def once(values, at=N // 2, length=12, to=200.0):
    values = values.copy()
    values[at : at + length] = to
    return values


KEY = series_key("Pay", "depth", {}, "Average")
GOOD = points_of(KEY, once(noise()))
CATALOG_GOOD = catalog_of(listed("depth"))


def verdicts(*alarms, points=GOOD, catalog=CATALOG_GOOD, **more):
    found = review(list(alarms), points, catalog, **more)
    assert found.schema == pl.Schema(REVIEW.columns)
    return {name: rows["verdict"].to_list() for (name,), rows in found.group_by("alarm", maintain_order=True)}


def reason(*alarms, verdict, points=GOOD, catalog=CATALOG_GOOD, **more):
    found = review(list(alarms), points, catalog, **more).filter(verdict=verdict)
    assert len(found) == 1, found
    return found["reason"][0]


def test_a_good_alarm_is_left_alone():
    found = review([alarm_of()], GOOD, CATALOG_GOOD)
    assert found.select("verdict", "severity", "suggestion").rows() == [("ok", "ok", "")]
    assert found["reason"][0].startswith("1 page in 7 days")
    assert found["cost_usd_month"].to_list() == [0.1]
    assert found["pages_per_week"].to_list() == pytest.approx([1.0])


@pytest.mark.parametrize(
    ("values", "alarm", "expected", "says"),
    [
        (noise(), {"Threshold": 60_000.0}, "never fires", "another unit"),
        (noise(), {"Threshold": 4000.0}, "never fires", "far outside"),
        (noise(1, 0.02, 0.005), {"Threshold": 5.0}, "never fires", "percent"),
        (noise(), {"Threshold": 0.0, "ComparisonOperator": "LessThanThreshold"}, "never fires", "below 0"),
        (noise(), {"Threshold": -300.0, "ComparisonOperator": "LessThanOrEqualToThreshold"}, "never fires", "below"),
        (noise(), {"Threshold": 0.05}, "always fires", "another unit"),
        (noise(), {"Threshold": 20.0}, "always fires", "99%"),
        (noise(), {"Threshold": 55.0, "EvaluationPeriods": 1}, "flaps", "within half an hour"),
        (once(noise(), at=N // 7, length=N), {"Threshold": 90.0}, "always fires", "86%"),
    ],
)
def test_each_way_of_misbehaving(values, alarm, expected, says):
    points = points_of(KEY, values)
    assert verdicts(alarm_of(**alarm), points=points)["alarm"][0] == expected
    assert says in reason(alarm_of(**alarm), verdict=expected, points=points)


@pytest.mark.parametrize("factor", [1.2, 1.6, 2.0])
def test_a_threshold_just_beyond_what_was_seen_is_fine(factor):
    values = noise()
    threshold = np.median(values) + factor * (values.max() - np.median(values))
    assert verdicts(alarm_of(Threshold=float(threshold)), points=points_of(KEY, values)) == {"alarm": ["ok"]}


@pytest.mark.parametrize(
    ("alarm", "expected", "says"),
    [
        (alarm_of(metric="dept"), "missing metric", "there is depth"),
        (alarm_of(metric="unheard"), "missing metric", "seen: age, depth"),
        (alarm_of(Namespace="pay"), "missing metric", "there is Pay"),
        (alarm_of(dimensions={"Queue": "payout"}), "missing dimension", "Queue=payouts"),
        (alarm_of(dimensions={"Quue": "payouts"}), "missing dimension", "Queue=payouts"),
        (alarm_of(dimensions={"Queue": "payouts", "Stage": "x"}), "missing dimension", "Stage is not on it"),
        (alarm_of(metric="age"), "missing dimension", "Queue is wanting"),
    ],
)
def test_what_does_not_exist_is_named_with_what_comes_nearest(alarm, expected, says):
    catalog = catalog_of(
        listed("depth", {"Queue": "payouts"}),
        listed("depth", {"Queue": "refunds"}),
        listed("age", {"Queue": "payouts"}),
    )
    assert verdicts(alarm, catalog=catalog)["alarm"] == [expected]
    assert says in reason(alarm, verdict=expected, catalog=catalog)


def test_of_a_namespace_that_was_not_listed_nothing_is_claimed():
    assert verdicts(alarm_of(Namespace="AWS/SQS")) == {"alarm": ["insufficient data"]}
    assert verdicts(alarm_of(Namespace="AWS/SQS"), catalog=None) == {"alarm": ["not judged"]}


@pytest.mark.parametrize(
    ("unit", "asked", "wrong"),
    [
        ("Seconds", "Milliseconds", True),
        ("Seconds", "Seconds", False),
        ("Seconds", None, False),
        (None, "Seconds", False),
    ],
)
def test_a_unit_that_no_data_has(unit, asked, wrong):
    alarm = alarm_of(**({"Unit": asked} if asked else {}), ExtendedStatistic="p90")
    del alarm["Statistic"]
    catalog = catalog_of(listed("depth", unit=unit))
    points = points_of(series_key("Pay", "depth", {}, "p90"), once(noise()))
    assert ("wrong unit" in verdicts(alarm, points=points, catalog=catalog)["alarm"]) == wrong


def test_a_unit_inside_metric_math_too():
    stat = {"Metric": {"Namespace": "Pay", "MetricName": "depth"}, "Period": STEP, "Stat": "Average", "Unit": "Bytes"}
    alarm = {
        "AlarmName": "m", "EvaluationPeriods": 1, "Threshold": 90.0, "ComparisonOperator": "GreaterThanThreshold", "AlarmActions": [TOPIC],
        "Metrics": [{"Id": "a", "MetricStat": stat, "ReturnData": False}, {"Id": "e", "Expression": "a * 2", "ReturnData": True}],
    }  # fmt: skip
    assert verdicts(alarm, catalog=catalog_of(listed("depth", unit="Count")))["m"][0] == "wrong unit"


@pytest.mark.parametrize(
    ("name", "metric", "unit", "stat", "expected"),
    [
        ("depth p99", "depth", None, "Average", "mislabelled"),
        ("95th percentile", "depth", None, "Average", "mislabelled"),
        ("slow", "latency_ms", None, "Average", "hides the tail"),
        ("slow", "depth", "Milliseconds", "Average", "hides the tail"),
        ("slow", "latency_ms", None, "Maximum", "ok"),
        ("deep", "depth", None, "Average", "ok"),
    ],
)
def test_statistics_that_hide(name, metric, unit, stat, expected):
    points = points_of(series_key("Pay", metric, {}, stat), once(noise()))
    got = verdicts(alarm_of(name, metric, Statistic=stat), points=points, catalog=catalog_of(listed(metric, unit=unit)))
    assert got == {name: [expected]}


def test_actions():
    assert verdicts(alarm_of(AlarmActions=[])) == {"alarm": ["no actions"]}
    assert verdicts(alarm_of(ActionsEnabled=False)) == {"alarm": ["actions off"]}
    parent = {"AlarmName": "all", "AlarmRule": 'ALARM("alarm")', "AlarmActions": [TOPIC]}
    assert verdicts(alarm_of(AlarmActions=[]), composites=[parent])["alarm"] == ["ok"]


def test_composites_with_dead_children():
    rule = 'ALARM("alarm") AND NOT ALARM("gone")'
    asked = {
        "ActionsSuppressor": "also gone",
        "ActionsSuppressorWaitPeriod": 60,
        "ActionsSuppressorExtensionPeriod": 60,
    }
    parent = {"AlarmName": "all", "AlarmRule": rule, "AlarmActions": [TOPIC], **asked}
    found = review([alarm_of(), parent], GOOD, CATALOG_GOOD).filter(verdict="dead child")
    assert [r.split(",")[0] for r in found["reason"]] == ["it watches gone", "it watches also gone"]
    broken = {"AlarmName": "all", "AlarmRule": 'ALARM("alarm")', "AlarmActions": [TOPIC]}
    assert verdicts(alarm_of(metric="dept"), broken)["all"][0] == "dead child"


def test_composites_are_replayed():
    loud = alarm_of("loud", Threshold=20.0)
    assert verdicts(loud, {"AlarmName": "all", "AlarmRule": "ALARM(loud)", "AlarmActions": [TOPIC]})["all"] == [
        "always fires"
    ]


def test_composites_in_a_circle_do_not_end_the_review():
    two = [{"AlarmName": a, "AlarmRule": f"ALARM({b})", "AlarmActions": [TOPIC]} for a, b in (("x", "y"), ("y", "x"))]
    got = verdicts(alarm_of(), *two)
    assert got["alarm"] == ["ok"]
    assert "not judged" in got["x"]


def test_duplicates_and_alarms_that_fire_together():
    twice = points_of(KEY, once(once(noise()), at=N // 4))
    other = points_of(series_key("Pay", "age", {}, "Average"), once(once(noise(9)), at=N // 4))
    catalog = catalog_of(listed("depth"), listed("age"))
    pair = [
        alarm_of("a"),
        alarm_of("b", AlarmDescription="other words", AlarmActions=[TOPIC + "2"]),
        alarm_of("c", "age"),
    ]
    got = verdicts(*pair, points=pl.concat([twice, other]), catalog=catalog)
    assert got == {"a": ["ok"], "b": ["duplicate"], "c": ["fires together"]}
    apart = points_of(series_key("Pay", "age", {}, "Average"), once(once(noise(9)), at=N // 8))
    assert verdicts(*pair, points=pl.concat([twice, apart]), catalog=catalog)["c"] == ["ok"]


def test_a_fixed_threshold_on_a_strong_day():
    hours = np.arange(N) * STEP / 3600
    values = 100 + 95 * np.sin(hours / 24 * 2 * np.pi) + noise(2, 0, 3)
    assert verdicts(alarm_of(Threshold=250.0), points=points_of(KEY, values)) == {"alarm": ["seasonal"]}
    low = alarm_of(Threshold=1.0, ComparisonOperator="LessThanThreshold")
    assert "fall to" in reason(low, verdict="seasonal", points=points_of(KEY, values + 3))
    assert verdicts(alarm_of(Threshold=250.0), points=points_of(KEY, np.random.default_rng(0).permutation(values))) == {
        "alarm": ["ok"]
    }


def test_a_period_shorter_than_the_metrics():
    slow = catalog_of(listed("depth", period_s=300))
    assert verdicts(alarm_of(Period=60), catalog=slow) == {"alarm": ["period too short"]}
    assert "80%" in reason(alarm_of(Period=60), verdict="period too short", catalog=slow)
    assert verdicts(alarm_of(Period=60)) == {"alarm": ["ok"]}, "points read at five minutes are no fault of the alarm's"


SPARSE = np.where(np.arange(N) % 40 == 0, 1.0, np.nan)
DENSE = points_of("other", noise())


@pytest.mark.parametrize(
    ("treat", "expected"),
    [
        ("missing", "insufficient data"),
        ("breaching", "missing data breaches"),
        ("notBreaching", "ok"),
        ("ignore", "ok"),
    ],
)
def test_missing_data_of_a_metric_that_is_sent_when_something_happens(treat, expected):
    alarm = alarm_of(Threshold=5.0, TreatMissingData=treat)
    assert verdicts(alarm, points=pl.concat([points_of(KEY, SPARSE), DENSE])) == {"alarm": [expected]}


def test_no_data_in_the_window():
    other = points_of(series_key("Pay", "age", {}, "Average"), noise())
    assert verdicts(alarm_of(), points=other) == {"alarm": ["insufficient data"]}
    sums = points_of(series_key("Pay", "depth", {}, "Sum"), noise())
    assert "another statistic" in reason(alarm_of(), verdict="not judged", points=sums)
    assert verdicts(alarm_of(), points=other.head(0)) == {"alarm": ["not judged"]}


def test_a_metric_that_stopped():
    assert verdicts(alarm_of(), points=pl.concat([GOOD.head(N // 4), points_of("other", noise())]))["alarm"] == [
        "insufficient data"
    ]


def test_what_aws_would_refuse_does_not_end_the_review():
    got = verdicts(alarm_of("bad", EvaluationPeriods=0), alarm_of("good"), {"AlarmName": "rule", "AlarmRule": "ALARM("})
    assert got == {"bad": ["invalid"], "good": ["ok"], "rule": ["invalid"]}


def test_what_cannot_be_replayed_says_so():
    select = {"Id": "q", "Expression": "SELECT AVG(depth) FROM Pay", "Period": 60, "ReturnData": True}
    alarm = {"AlarmName": "s", "EvaluationPeriods": 1, "Threshold": 1.0, "ComparisonOperator": "GreaterThanThreshold", "Metrics": [select], "AlarmActions": [TOPIC]}  # fmt: skip
    assert verdicts(alarm) == {"s": ["not judged"]}


def test_metric_math_and_bands_are_replayed():
    stat = {"Metric": {"Namespace": "Pay", "MetricName": "depth"}, "Period": STEP, "Stat": "Average"}
    base = {"EvaluationPeriods": 3, "AlarmActions": [TOPIC]}
    math = base | {
        "AlarmName": "math", "Threshold": 20.0, "ComparisonOperator": "GreaterThanThreshold",
        "Metrics": [{"Id": "a", "MetricStat": stat, "ReturnData": False}, {"Id": "e", "Expression": "a * 2", "ReturnData": True}],
    }  # fmt: skip
    band = base | {
        "AlarmName": "band", "ThresholdMetricId": "b", "ComparisonOperator": "GreaterThanUpperThreshold",
        "Metrics": [{"Id": "a", "MetricStat": stat, "ReturnData": True}, {"Id": "b", "Expression": "ANOMALY_DETECTION_BAND(a, 6)", "ReturnData": True}],
    }  # fmt: skip
    found = review([math, band], GOOD, CATALOG_GOOD)
    assert found["verdict"].to_list() == ["always fires", "ok"]
    assert found["cost_usd_month"].to_list() == pytest.approx([0.1, 0.3])


def rate_alarm():
    stats = [
        {"Metric": {"Namespace": "Pay", "MetricName": name}, "Period": STEP, "Stat": "Sum"}
        for name in ("errors", "requests")
    ]
    queries = [{"Id": i, "MetricStat": stat, "ReturnData": False} for i, stat in zip(("e", "r"), stats, strict=True)]
    rate = {"Id": "rate", "Expression": "100 * FILL(e, 0) / r", "Label": "Pay|rate", "ReturnData": True}
    return {"AlarmName": "rate", "EvaluationPeriods": 1, "Threshold": 5.0, "ComparisonOperator": "GreaterThanThreshold", "AlarmActions": [TOPIC], "Metrics": [*queries, rate]}  # fmt: skip


def test_an_expression_of_which_a_part_was_not_read():
    requests, errors = (
        points_of(series_key("Pay", m, {}, "Sum"), np.full(N, v)) for m, v in (("requests", 100.0), ("errors", 20.0))
    )
    catalog = catalog_of(listed("errors"), listed("requests"))
    assert verdicts(rate_alarm(), points=requests, catalog=catalog) == {"rate": ["partly judged"]}
    assert verdicts(rate_alarm(), points=pl.concat([requests, errors]), catalog=catalog) == {"rate": ["always fires"]}
    result = points_of("Pay|rate", np.full(N, 20.0))
    assert verdicts(rate_alarm(), points=pl.concat([requests, result]), catalog=catalog) == {"rate": ["always fires"]}


def told(name, *changes):
    rows = [(name, START + timedelta(hours=h), state, "") for h, state in changes]
    return pl.DataFrame(rows, schema=STATES.columns, orient="row")


def test_the_accounts_history_goes_before_a_replay():
    loud = told("alarm", (0, "OK"), (1, "ALARM"))
    assert verdicts(alarm_of(), history=loud) == {"alarm": ["always fires"]}
    deaf = told("alarm", (0, "INSUFFICIENT_DATA"))
    assert verdicts(alarm_of(), history=deaf) == {"alarm": ["insufficient data"]}
    assert verdicts(alarm_of(), history=told("another", (0, "ALARM"))) == {"alarm": ["ok"]}
    nervous = told("alarm", *((h / 4, "ALARM" if h % 2 else "OK") for h in range(41)))
    assert "flaps" in verdicts(alarm_of(), history=nervous)["alarm"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.sampled_from(["OK", "ALARM", "INSUFFICIENT_DATA"])),
        min_size=1, max_size=25, unique_by=lambda change: change[0],
    ),
    st.booleans(),
)  # fmt: skip
def test_behaviour_against_a_slow_twin(changes, whole):
    changes = sorted(changes)
    states = pl.DataFrame(
        [("a", START + timedelta(minutes=m), s, "") for m, s in changes], schema=STATES.columns, orient="row"
    )
    minutes, total = {"OK": 0, "ALARM": 0, "INSUFFICIENT_DATA": 0}, 500
    for minute in range(0 if whole else changes[0][0], total):
        state = next((s for m, s in reversed(changes) if m <= minute), "INSUFFICIENT_DATA")
        minutes[state] += 1
    got = behaviour(states, START, START + timedelta(minutes=total), whole=whole)["a"]
    spent = sum(minutes.values())
    assert got.in_alarm == pytest.approx(minutes["ALARM"] / spent)
    assert got.unknown == pytest.approx(minutes["INSUFFICIENT_DATA"] / spent)
    assert got.days == pytest.approx(spent / 1440)
    begun, last_end, back = [], None, 0
    for i, (minute, state) in enumerate(changes):
        if state == "ALARM" and (i == 0 or changes[i - 1][1] != "ALARM"):
            begun.append(minute)
            back += last_end is not None and timedelta(minutes=minute - last_end) <= AGAIN
        if state != "ALARM" and i and changes[i - 1][1] == "ALARM":
            last_end = minute
    assert (got.pages, got.returns) == (len(begun), back)


def test_the_numbers_are_those_of_a_replay():
    draw = random.Random(5)
    for seed in range(6):
        points = points_of(KEY, np.where(np.random.default_rng(seed).random(N) < 0.1, np.nan, noise(seed)))
        alarm = alarm_of(Threshold=draw.uniform(50, 75), EvaluationPeriods=draw.randint(1, 4), DatapointsToAlarm=1)
        end = points["timestamp"].max() + timedelta(seconds=STEP)
        states = replay(alarm, points, start=points["timestamp"].min(), end=end)
        found = review([alarm], points, CATALOG_GOOD)
        days = (end - points["timestamp"].min()) / timedelta(days=1)
        assert found["pages_per_week"][0] == pytest.approx(7 * len(pages(states)) / days)


def test_the_order_is_that_of_the_alarms_the_worst_first():
    found = review([alarm_of("z", AlarmActions=[], Threshold=20.0), alarm_of("a")], GOOD, CATALOG_GOOD)
    assert found.select("alarm", "verdict").rows() == [("z", "always fires"), ("z", "no actions"), ("a", "ok")]


def test_pandas_in_pandas_out():
    found = review([alarm_of()], GOOD.to_pandas(), CATALOG_GOOD.to_pandas())
    assert found["verdict"].tolist() == ["ok"]


@pytest.mark.parametrize("alarms", [["x"], [{}], [{"AlarmName": 1}], [alarm_of(), alarm_of()]])
def test_what_is_no_list_of_alarms_is_refused(alarms):
    with pytest.raises(InputError):
        review(alarms, GOOD)


def test_nothing_is_changed():
    alarm = alarm_of(Period=60)
    before = repr(alarm)
    review([alarm], GOOD, CATALOG_GOOD)
    assert repr(alarm) == before


@pytest.mark.parametrize(
    ("alarm", "usd"),
    [
        (alarm_of(), 0.10),
        (alarm_of(Period=10), 0.30),
        ({"AlarmName": "c", "AlarmRule": "TRUE"}, 0.50),
    ],
)
def test_what_they_cost(alarm, usd):
    assert cost(alarm) == usd
