"""Replay against every cell of the guide's published tables, a slow twin in the guide's words, and botocore's rules."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights.alarms.replay import check_alarm, replay
from lift_insights.frames import POINTS, InputError, series_key

START = datetime(2026, 3, 2, tzinfo=UTC)
P = 300


def alarm(n=3, m=3, treat="missing", **more):
    return {
        "AlarmName": "a",
        "Namespace": "N",
        "MetricName": "x",
        "Statistic": "Sum",
        "Period": P,
        "EvaluationPeriods": n,
        "DatapointsToAlarm": m,
        "Threshold": 5.0,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": treat,
    } | more


def math_alarm(expression="100*errors/total", **more):
    out = {k: v for k, v in alarm(1, 1).items() if k not in ("Namespace", "MetricName", "Statistic", "Period")}
    queries = [
        {
            "Id": name,
            "MetricStat": {"Metric": {"Namespace": "N", "MetricName": name}, "Period": P, "Stat": "Sum"},
            "ReturnData": False,
        }
        for name in ("errors", "total")
    ]
    return out | {"Metrics": [*queries, {"Id": "rate", "Expression": expression}]} | more


def frame(values, series="x", period=P, start=START):
    rows = [(series, start + timedelta(seconds=i * period), float(v)) for i, v in enumerate(values) if v is not None]
    return pl.DataFrame(rows, schema=POINTS.columns, orient="row")


def marks(row):
    return [{"0": 1.0, "X": 9.0, "-": None}[c] for c in row.split()]


def state_after(row, n, m, treat, initial, **more):
    """The state after the one evaluation at the end of the row."""
    values = marks(row)
    end = START + timedelta(seconds=P * len(values))
    got = replay(
        alarm(n, m, treat, **more), frame(values), initial_state=initial, start=end - timedelta(seconds=P), end=end
    )
    assert len(got) <= 1
    assert got["timestamp"].to_list() == [end] * len(got)
    return got["state"][0] if len(got) else initial


# "Configuring how CloudWatch alarms treat missing data": M and N, datapoints, then the state for missing, ignore,
# breaching and notBreaching. INS: INSUFFICIENT_DATA, KEEP: retain current state.
PUBLISHED = [
    (3, "0 - X - X", "OK", "OK", "OK", "OK"),
    (3, "0 - - - -", "OK", "OK", "OK", "OK"),
    (3, "- - - - -", "INS", "KEEP", "ALARM", "OK"),
    (3, "0 X X - X", "ALARM", "ALARM", "ALARM", "ALARM"),
    (3, "- - X - -", "ALARM", "KEEP", "ALARM", "OK"),
    (2, "0 - X - X", "ALARM", "ALARM", "ALARM", "ALARM"),
    (2, "0 0 X 0 X", "ALARM", "ALARM", "ALARM", "ALARM"),
    (2, "0 - X - -", "OK", "OK", "ALARM", "OK"),
    (2, "- - - - 0", "OK", "OK", "ALARM", "OK"),
    (2, "- - - X -", "ALARM", "KEEP", "ALARM", "OK"),
    # rows of the same tables in earlier editions of the guide (2018), gone from the present one
    (3, "- - - - X", "INS", "KEEP", "ALARM", "OK"),
    (3, "X - - - -", "ALARM", "KEEP", "ALARM", "OK"),
    (2, "- - - - X", "INS", "KEEP", "ALARM", "OK"),
]
TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")
CELLS = [
    (m, row, treat, state) for m, row, *states in PUBLISHED for treat, state in zip(TREATMENTS, states, strict=True)
]


@pytest.mark.parametrize("initial", ["OK", "ALARM", "INSUFFICIENT_DATA"])
@pytest.mark.parametrize(("m", "row", "treat", "state"), CELLS)
def test_published_table(m, row, treat, state, initial):
    expected = {"KEEP": initial, "INS": "INSUFFICIENT_DATA"}.get(state, state)
    assert state_after(row, 3, m, treat, initial) == expected


def test_premature_transition_as_the_guide_tells_it():
    # with - - - - X and - - - X - the alarm does not go to ALARM when M is 3; with - - X - - it does
    assert state_after("- - - - X", 3, 3, "missing", "OK") != "ALARM"
    assert state_after("- - - X -", 3, 3, "missing", "OK") != "ALARM"
    assert state_after("- - X - -", 3, 3, "missing", "OK") == "ALARM"
    # and if the next datapoint is not breaching, it is OK
    assert state_after("- - - X 0", 3, 3, "missing", "OK") == "OK"
    assert state_after("- - X - 0", 3, 3, "missing", "OK") == "OK"


def test_the_figure_of_the_guide():
    """ "Evaluating an alarm": 3 of 3 above 3 in periods 3 to 5 is ALARM, 6 is OK, a single breach at 9 stays OK."""
    values = [2, 2, 4, 4, 5, 2, 2, 2, 4, 2]
    got = replay(alarm(3, 3, Threshold=3.0), frame(values), initial_state="OK")
    assert got["state"].to_list() == ["ALARM", "OK"]
    assert got["timestamp"].to_list() == [START + timedelta(seconds=P * 5), START + timedelta(seconds=P * 6)]


def test_dynamodb_always_ignores_missing_data():
    for treat in TREATMENTS:
        assert state_after("- - - - -", 3, 3, treat, "ALARM", Namespace="AWS/DynamoDB") == "ALARM"


# The slow twin: one evaluation at a time, the guide's words in order.


def twin_state(points, n, m, treat, before):
    """points: the evaluation range, oldest first, None where missing, else whether it breaches."""
    real = [p for p in points if p is not None]
    if len(real) >= n:
        return "ALARM" if sum(real[-n:]) >= m else "OK"
    fill = n - len(real)
    if treat == "breaching":
        return "ALARM" if sum(real) + fill >= m else "OK"
    if treat == "notBreaching" or sum(real) >= m:
        return "ALARM" if sum(real) >= m else "OK"
    if not all(real):
        return "OK"
    if treat == "ignore":
        return before
    if not real:
        return "INSUFFICIENT_DATA"
    age = len(points) - next(i for i, p in enumerate(points) if p is not None)
    return "ALARM" if age >= m else "INSUFFICIENT_DATA"


def twin_replay(values, n, m, treat, initial, breaches):
    rows, state = [], initial
    for k in range(len(values)):
        window = [values[i] if i >= 0 else None for i in range(k - n - 1, k + 1)]
        new = twin_state([None if v is None else breaches(v) for v in window], n, m, treat, state)
        if new != state:
            rows.append((START + timedelta(seconds=P * (k + 1)), new))
        state = new
    return rows


COMPARE = {
    "GreaterThanThreshold": lambda v: v > 5,
    "GreaterThanOrEqualToThreshold": lambda v: v >= 5,
    "LessThanThreshold": lambda v: v < 5,
    "LessThanOrEqualToThreshold": lambda v: v <= 5,
}
histories = st.lists(st.none() | st.sampled_from([4, 5, 6]), min_size=1, max_size=40).filter(
    lambda v: v[0] is not None and v[-1] is not None
)


@settings(max_examples=150, deadline=None)
@given(
    histories,
    st.integers(1, 6).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))),
    st.sampled_from(TREATMENTS),
    st.sampled_from(["OK", "ALARM", "INSUFFICIENT_DATA"]),
    st.sampled_from(list(COMPARE)),
)
def test_slow_twin(values, nm, treat, initial, operator):
    got = replay(alarm(*nm, treat, ComparisonOperator=operator), frame(values), initial_state=initial)
    expected = twin_replay(values, *nm, treat, initial, COMPARE[operator])
    assert list(zip(got["timestamp"], got["state"], strict=True)) == expected


@settings(max_examples=60, deadline=None)
@given(histories, st.integers(0, 39), st.sampled_from(TREATMENTS))
def test_a_later_start_looks_back_to_earlier_points(values, cut, treat):
    """Evaluations after a later start are those of the whole replay, given the state it had there."""
    start = START + timedelta(seconds=P * cut)
    whole = replay(alarm(3, 2, treat), frame(values), initial_state="OK")
    before = whole.filter(pl.col("timestamp") <= start)
    initial = before["state"][-1] if len(before) else "OK"
    got = replay(alarm(3, 2, treat), frame(values), initial_state=initial, start=start)
    assert got.select("timestamp", "state").equals(
        whole.filter(pl.col("timestamp") > start).select("timestamp", "state")
    )


def test_start_and_end_bound_the_evaluations():
    values = [1, 9, 1, 9, 1]
    ends = [START + timedelta(seconds=P * (i + 1)) for i in range(5)]
    got = replay(alarm(1, 1), frame(values), initial_state="OK", start=ends[0], end=ends[3])
    assert got["timestamp"].to_list() == ends[1:4]  # after start, up to end
    beyond = replay(alarm(1, 1), frame(values), initial_state="OK", end=START + timedelta(seconds=P * 20))
    assert beyond["state"].to_list() == ["ALARM", "OK", "ALARM", "OK", "INSUFFICIENT_DATA"]
    assert beyond["timestamp"][-1] == ends[4] + timedelta(seconds=P * 3)  # the range of one evaluation is three periods
    assert replay(alarm(1, 1), frame(values), start=ends[2], end=ends[2]).is_empty()


def test_no_points_at_all():
    span = {"start": START, "end": START + timedelta(hours=1)}
    assert replay(alarm(1, 1, "breaching"), POINTS.empty(), **span)["state"].to_list() == ["ALARM"]
    assert replay(math_alarm(), POINTS.empty(), **span, initial_state="OK")["state"].to_list() == ["INSUFFICIENT_DATA"]
    filled = math_alarm("FILL(errors, 9)")
    assert replay(filled, POINTS.empty(), **span)["state"].to_list() == ["ALARM"]
    assert replay(filled, frame([1, 1], "errors"), end=span["end"])["state"].to_list() == ["OK", "ALARM"]
    with pytest.raises(InputError, match="no datapoint at all"):
        replay(alarm(), POINTS.empty())


@pytest.mark.parametrize(
    ("stat", "expected"), [("Sum", 12), ("Maximum", 6), ("Minimum", 2), ("Average", 4), ("SampleCount", 12)]
)
def test_finer_points_are_put_together(stat, expected):
    points = frame([2, 4, 6] * 4, period=100)
    above, below = (replay(alarm(1, 1, Statistic=stat, Threshold=expected + d), points) for d in (0.01, -0.01))
    assert above["state"].to_list() == ["OK"]
    assert below["state"].to_list() == ["ALARM"]


def test_a_percentile_cannot_be_put_together():
    p99 = alarm(1, 1)
    del p99["Statistic"]
    p99["ExtendedStatistic"] = "p99"
    with pytest.raises(InputError, match="finer than the period of 300 s"):
        replay(p99, frame([2, 4, 6], period=100))
    assert replay(p99, frame([2, 4, 6]))["state"].to_list() == ["OK", "ALARM"]


def test_coarser_points_are_mostly_missing():
    got = replay(alarm(1, 1, "notBreaching", Period=60), frame([9, 9, 9]), initial_state="OK")
    assert got["state"].to_list() == ["ALARM", "OK", "ALARM", "OK", "ALARM"]


def test_series_are_found_by_key_or_alone():
    key = series_key("N", "x", {}, "Sum")
    both = pl.concat([frame([1, 1]), frame([9, 9], key)])
    assert replay(alarm(1, 1), both)["state"].to_list() == ["ALARM"]
    with pytest.raises(InputError, match=r"needs the series 'N\|x\|\|Sum'"):
        replay(alarm(), pl.concat([frame([1]), frame([1], "y")]))


def test_math_alarms():
    points = pl.concat([frame([0, 5, None, 30], "errors"), frame([100, 100, 100, 0], "total")])
    assert replay(math_alarm(), points)["state"].to_list() == ["OK"]  # 30/0 is dropped
    guarded = math_alarm("IF(total > 50, 100*errors/total, 0)", Threshold=4.0)
    assert replay(guarded, points)["state"].to_list() == ["OK", "ALARM", "OK"]
    fine = pl.concat([frame([1] * 6, "errors", 100), frame([20] * 6, series_key("N", "total", {}, "Sum"), 100)])
    assert replay(math_alarm(Threshold=4.9), fine)["state"].to_list() == ["ALARM"]  # 3/60 a period of 300 s
    alone = frame([1, 9], "payments error rate")
    assert replay(math_alarm(), alone)["state"].to_list() == ["OK", "ALARM"]


def test_several_alarms_and_pandas():
    two = [alarm(1, 1), alarm(1, 1, AlarmName="b", ComparisonOperator="LessThanThreshold")]
    got = replay(two, frame([1, 9]).to_pandas())
    assert isinstance(got, pd.DataFrame)
    assert got["alarm"].tolist() == ["a", "a", "b", "b"]
    assert got["state"].tolist() == ["OK", "ALARM", "ALARM", "OK"]


def test_nothing_is_mutated_and_order_does_not_matter():
    mine, points = alarm(), frame([1, 9, 9, 9, 1])
    before = dict(mine)
    assert replay(mine, points[::-1]).equals(replay(mine, points))
    assert mine == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"AlarmName": ""}, "AlarmName"),
        ({"AlarmName": "x" * 256}, "AlarmName"),
        ({"AlarmName": "Zahlung fällig"}, "ASCII"),
        ({"AlarmName": "a\nb"}, "AlarmName"),
        ({"AlarmDescription": "x" * 1025}, "1,024"),
        ({"ComparisonOperator": "Above"}, "ComparisonOperator"),
        ({"Threshold": None}, "Threshold"),
        ({"Threshold": float("nan")}, "Threshold"),
        ({"TreatMissingData": "NotBreaching"}, "TreatMissingData"),
        ({"EvaluationPeriods": 0}, "EvaluationPeriods"),
        ({"EvaluationPeriods": 2.5}, "EvaluationPeriods"),
        ({"DatapointsToAlarm": 4}, "DatapointsToAlarm"),
        ({"DatapointsToAlarm": 0}, "DatapointsToAlarm"),
        ({"Period": 45}, "Period"),
        ({"Period": 90}, "Period"),
        ({"Period": None}, "needs Period"),
        ({"EvaluationPeriods": 289, "DatapointsToAlarm": 1}, "86,400"),
        ({"Period": 3600, "EvaluationPeriods": 169, "DatapointsToAlarm": 1}, "604,800"),
        ({"Statistic": "Mean"}, "Statistic"),
        ({"Statistic": None}, "needs Statistic"),
        ({"ExtendedStatistic": "p99"}, "either Statistic or ExtendedStatistic"),
        ({"Dimensions": {"a": "b"}}, "Dimensions"),
        ({"Dimensions": [{"Name": "a", "Value": "b"}] * 31}, "Dimensions"),
        ({"Metrics": []}, "cannot stand beside"),
    ],
)
def test_alarms_cloudwatch_would_refuse(change, message):
    with pytest.raises(InputError) as caught:
        replay(alarm() | change, frame([1]))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a["Metrics"][0].pop("ReturnData"), "exactly one query"),
        (lambda a: a["Metrics"][2].update(ReturnData=False), "exactly one query"),
        (lambda a: a["Metrics"][0]["MetricStat"].update(Period=60), "one Period"),
        (lambda a: a["Metrics"].__delitem__(slice(0, 2)), "1 to 10 metrics"),
        (lambda a: a["Metrics"].extend(a["Metrics"][0] | {"Id": f"m{i}"} for i in range(9)), "1 to 10 metrics"),
        (lambda a: a["Metrics"].extend(a["Metrics"][:1]), "distinct Id"),
        (lambda a: a.update(Namespace="N"), "cannot stand beside"),
        (lambda a: a.update(Metrics="m1"), "list of dicts"),
        (lambda a: a["Metrics"][2].update(Expression="errors /"), "position"),
        (lambda a: a["Metrics"][2].update(Expression="METRICS()"), "one time series"),
        (lambda a: a["Metrics"][2].update(Expression="SEARCH('x', 'Sum')"), "SEARCH"),
    ],
)
def test_math_alarms_cloudwatch_would_refuse(change, message):
    bad = math_alarm()
    change(bad)
    with pytest.raises(InputError) as caught:
        replay(bad, pl.concat([frame([1], "errors"), frame([1], "total")]))
    assert message in str(caught.value)


def test_other_bad_input():
    with pytest.raises(InputError, match="has to be a dict"):
        check_alarm(["a"])
    with pytest.raises(InputError, match="initial_state"):
        replay(alarm(), frame([1]), initial_state="ok")
    with pytest.raises(InputError, match="no time zone"):
        replay(alarm(), frame([1]), start=datetime(2026, 3, 2))  # noqa: DTZ001
    with pytest.raises(InputError, match="missing: value"):
        replay(alarm(), frame([1]).drop("value"))


def test_botocore_takes_what_check_alarm_takes():
    import boto3
    from botocore.validate import ParamValidator

    client = boto3.client(
        "cloudwatch",
        region_name="us-east-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",
        endpoint_url="http://127.0.0.1:1",
    )
    shape = client.meta.service_model.operation_model("PutMetricAlarm").input_shape
    for one in (alarm(), math_alarm(), alarm(Period=10)):
        assert not ParamValidator().validate(check_alarm(one), shape).has_errors()


def test_a_month_of_minutes_is_quick():
    from time import process_time

    rng = np.random.default_rng(1)
    n = 30 * 1440
    times = pl.datetime_range(START, START + timedelta(minutes=n - 1), "1m", time_unit="us", eager=True)
    points = (
        pl.DataFrame({"series": ["x"] * n, "timestamp": times, "value": rng.gamma(2, 2, n)})
        .sample(fraction=0.95, seed=2)
        .sort("timestamp")
    )
    begin = process_time()
    got = replay([alarm(5, 3, "missing", Period=60, AlarmName=f"a{i}") for i in range(20)], points)
    assert process_time() - begin < 3
    assert got["alarm"].n_unique() == 20
