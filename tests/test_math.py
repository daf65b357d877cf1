"""Metric math against the guide's tables and examples, Python's own arithmetic, pandas, and a slow twin over dicts."""

import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights.alarms.math import evaluate, parse, results
from lift_insights.frames import POINTS, InputError, series_key

START = datetime(2026, 3, 2, 23, 57, tzinfo=UTC)  # a Monday, three minutes before midnight


def query(name, period=60, returned=False, stat="Sum"):
    metric = {"Namespace": "N", "MetricName": name}
    return {"Id": name, "MetricStat": {"Metric": metric, "Period": period, "Stat": stat}, "ReturnData": returned}


def frame(series, period=60):
    rows = [
        (name, START + timedelta(seconds=i * period), float(v))
        for name, values in series.items()
        for i, v in enumerate(values)
        if v is not None
    ]
    return pl.DataFrame(rows, schema=POINTS.columns, orient="row")


def run(expression, series, period=60, steps=None):
    """Values of the expression, one a step, None for a hole."""
    steps = steps or max(map(len, series.values()))
    queries = [*(query(name, period) for name in series), {"Id": "out", "Expression": expression}]
    end = START + timedelta(seconds=steps * period)
    found = evaluate(queries, frame(series, period), start=START, end=end)
    by_time = dict(zip(found["timestamp"], found["value"], strict=True))
    assert set(found["series"]) <= {"out"}
    return [by_time.get(START + timedelta(seconds=i * period)) for i in range(steps)]


GUIDE = {"metric1": [30, 20, 0, 0], "metric2": [20, None, 20, None]}
IF_GUIDE = {"metric1": [1, 1, 0, 0, None], "metric2": [30, None, 0, 0, 30], "metric3": [0, 0, 20, None, 20]}


@pytest.mark.parametrize(
    ("expression", "series", "published"),
    [
        ("(metric1 < metric2)", GUIDE, [0, 0, 1, 0]),
        ("(metric1 >= 30)", GUIDE, [1, 0, 0, 0]),
        ("(metric1 > 15 AND metric2 > 15)", GUIDE, [1, 0, 0, 0]),
        ("IF(metric1, metric2, metric3)", IF_GUIDE, [30, 0, 20, None, None]),
        ("IF(metric1, 5, metric3)", IF_GUIDE, [5, 5, 20, None, None]),
        ("IF(metric1, metric2, 5)", IF_GUIDE, [30, 0, 5, 5, None]),
    ],
)
def test_published_tables_of_the_user_guide(expression, series, published):
    assert run(expression, series) == published


M = {"m1": [4, None, 9, -2], "m2": [1, 3, None, 0], "m3": [None, None, None, None]}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("m1 + m2", [5, 3, 9, -2]),
        ("m1 - m2", [3, -3, 9, -2]),
        ("m1 / m2", [4, 0, None, None]),  # division by zero drops the datapoint
        ("m1 / 0", [None] * 4),
        ("m1 + m3", [4, None, 9, -2]),
        ("-m1 ^ 2", [-16, None, -81, -4]),
        ("m1 || m2", [1, 1, 1, 1]),
        ("m1 && m2", [1, 0, 0, 0]),
        ("IF(m1 > 0, 1)", [1, None, 1, None]),
        ("IF(1, m1)", [4, None, 9, -2]),
        ("IF(0, m1)", [None] * 4),
        ("IF(0, m1, m2)", [1, 3, None, 0]),
        ("IF(SUM(m3) > 0, m1, m2)", [None] * 4),  # a scalar of no datapoint is neither true nor false
        ("FILL(m1, 7)", [4, 7, 9, -2]),
        ("FILL(m1, REPEAT)", [4, 4, 9, -2]),
        ("FILL(m1, LINEAR)", [4, 6.5, 9, -2]),
        ("FILL(m1, m2)", [4, 3, 9, -2]),
        ("FILL(m1, MIN(m1))", [4, -2, 9, -2]),
        ("FILL(m3, 0)", [0, 0, 0, 0]),
        ("FILL(m3, REPEAT)", [None] * 4),
        ("DIFF(m1)", [None, None, 5, -11]),
        ("DIFF_TIME(m1)", [None, None, 120, 60]),
        ("RATE(m1)", [None, None, 5 / 120, -11 / 60]),
        ("RUNNING_SUM(m1)", [4, None, 13, 11]),
        ("ABS(m1)", [4, None, 9, 2]),
        ("CEIL(m1 / 4)", [1, None, 3, 0]),
        ("FLOOR(m1 / 4)", [1, None, 2, -1]),
        ("LOG10(m2)", [0, math.log10(3), None, None]),
        ("LOG(m2)", [0, math.log(3), None, None]),
        ("TIME_SERIES(3)", [3, 3, 3, 3]),
        ("TIME_SERIES(SUM(m1) / DATAPOINT_COUNT(m1))", [11 / 3] * 4),
        ("TIME_SERIES(AVG(m1))", [11 / 4] * 4),  # AVG treats missing as 0
        ("m1 - MAX(m1)", [-5, None, 0, -11]),
        ("SUM([m1, m2])", [5, 3, 9, -2]),
        ("AVG([m1, m2])", [2.5, 1.5, 4.5, -1]),
        ("MAX(METRICS())", [4, 3, 9, 0]),
        ("MIN([m1, m2])", [1, 3, 9, -2]),
        ("STDDEV([m1, m2])", [1.5, 0, 0, 1]),
        ("DATAPOINT_COUNT([m1, m2, m3])", [2, 1, 1, 2]),
        ('SUM(METRICS("2"))', [1, 3, None, 0]),
        ("SUM(100 * [m1, m2])", [500, 300, 900, -200]),
        ("m1 / PERIOD(m1)", [4 / 60, None, 9 / 60, -2 / 60]),
        ("m1 / METRIC_COUNT(METRICS())", [4 / 3, None, 3, -2 / 3]),
        ("m1 / METRIC_COUNT(REMOVE_EMPTY(METRICS()))", [2, None, 4.5, -1]),
        ("FIRST(SORT([m1, m2], SUM, ASC))", [1, 3, None, 0]),
        ("LAST(SORT([m1, m2], SUM, ASC))", [4, None, 9, -2]),
        ("FIRST(SORT([m2, m1], MAX, DESC, 1))", [4, None, 9, -2]),
        ("SLICE(SORT([m1, m2], AVG, DESC), 0, 1)", [4, None, 9, -2]),
        ("SLICE([m1, m2], 1)", [1, 3, None, 0]),
        ("MINUTE(m1)", [57, 58, 59, 0]),
        ("HOUR(m1)", [23, 23, 23, 0]),
        ("DAY(m1)", [1, 1, 1, 2]),
        ("DATE(m1)", [2, 2, 2, 3]),
        ("MONTH(m1)", [3, 3, 3, 3]),
        ("YEAR(m3)", [2026] * 4),
        ("EPOCH(m1) - EPOCH(m2)", [0, 0, 0, 0]),
        ("IF(DAY(m1) == 2, m1)", [None, None, None, -2]),
    ],
)
def test_functions_and_operators(expression, expected):
    found = run(expression, M)
    assert [f is None for f in found] == [e is None for e in expected]
    assert [f for f in found if f is not None] == pytest.approx([e for e in expected if e is not None])


def test_arrays_give_one_series_for_each_metric():
    queries = [query("m1"), query("m2"), {"Id": "e", "Expression": "METRICS() * 2"}]
    found = evaluate(queries, frame({"m1": [1, 2], "m2": [3]}))
    assert found.group_by("series").agg("value").sort("series").to_dicts() == [
        {"series": "e m1", "value": [2.0, 4.0]},
        {"series": "e m2", "value": [6.0]},
    ]


def test_metrics_are_found_by_key_and_expressions_see_each_other_in_any_order():
    key = series_key("N", "m1", {"a": "1", "b": "2"}, "p99")
    m1 = query("m1", returned=True, stat="p99")
    m1["MetricStat"]["Metric"]["Dimensions"] = [{"Name": "b", "Value": "2"}, {"Name": "a", "Value": "1"}]
    queries = [
        {"Id": "b", "Expression": "a * 2"},
        {"Id": "a", "Expression": "m1 + 1", "ReturnData": False},
        m1,
        query("gone"),
    ]
    found = evaluate(queries, frame({key: [5], "other": [9]}))
    assert dict(zip(found["series"], found["value"], strict=True)) == {"b": 12.0, "m1": 5.0}
    assert evaluate([query("gone", returned=True)], frame({"other": [9]})).is_empty()


def test_series_off_the_full_minute_keep_their_grid():
    late = frame({"m1": [1, None, 3]}).with_columns(pl.col("timestamp") + timedelta(seconds=17))
    found = evaluate([query("m1"), {"Id": "e", "Expression": "FILL(m1, 0)"}], late)
    assert found["value"].to_list() == [1.0, 0.0, 3.0]
    assert found["timestamp"].dt.second().unique().to_list() == [17]


def test_pandas_in_pandas_out_and_nothing_is_mutated():
    queries, points = [query("m1"), {"Id": "e", "Expression": "m1*2"}], frame({"m1": [1, None, 3]})
    found = evaluate(queries, points.to_pandas())
    assert isinstance(found, pd.DataFrame)
    assert found["value"].tolist() == [2.0, 6.0]
    assert queries == [query("m1"), {"Id": "e", "Expression": "m1*2"}]


def test_nulls_nans_duplicates_and_disorder_are_survived():
    points = frame({"m1": [1, 2, 3, 4]}).with_columns(value=pl.Series([1.0, None, float("nan"), 4.0]))
    shuffled = pl.concat([points[::-1], frame({"m1": [8]})])
    found = evaluate([query("m1", returned=True)], shuffled)
    assert found["value"].to_list() == [8.0, 4.0]
    assert evaluate([query("m1", returned=True)], POINTS.empty()).is_empty()


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "needs text"),
        ("m1 +", "the expression ends at position 5"),
        ("m1 m2", "'m2' at position 4"),
        ("(m1", "needs ')'; the expression ends at position 4"),
        ("[m1, m2", "position 8"),
        ("m1 = 2", "'=' at position 4"),
        ("m1 & m2", "'&' at position 4"),
        ('"text"', "stands where a number"),
        ('METRICS("x', "position 9"),
        ("m9 + 1", "no query with the Id m9; the request has m1, m2, out; at position 1"),
        ("AVG + 1", "functions need parentheses"),
        ("sum(m1)", "in capitals: SUM at position 1"),
        ("MEDIAN(m1)", "no function MEDIAN at position 1"),
        ("m1 + FILL(m1)", "FILL needs 2 arguments; it has 1 at position 6"),
        ("IF(m1)", "IF needs 2 to 3 arguments"),
        ("IF(METRICS(), 1, 0)", "IF needs single time series"),
        ("FILL(m1, METRICS())", "this is an array"),
        ("[m1] + [m2]", "two arrays"),
        ("METRICS() > 1", "> does not take an array"),
        ("ABS(3) + m1", "ABS needs a time series"),
        ("SUM(3)", "SUM needs a time series"),
        ("SUM([])", "empty array"),
        ("SUM([1])", "this is a scalar"),
        ("m1 + PERIOD(m1 + m2)", "PERIOD needs a metric"),
        ("TIME_SERIES(m1)", "a scalar is needed"),
        ("SORT(METRICS(), MEDIAN, ASC)", "one of AVG, MIN, MAX, SUM"),
        ("SLICE(METRICS(), 0.5)", "a whole number"),
        ("METRICS(m1)", "text in quotes"),
        ("FIRST(SLICE(METRICS(), 5))", "empty array"),
        ("HOUR([m1, m2])", "this is an array"),
        ("3 * 4", "gives a scalar"),
        ("AVG(m1)", "TIME_SERIES"),
        ("out + 1", "out -> out"),
        ("SEARCH('{N} x', 'Sum', 60)", "SEARCH needs"),
        ("ANOMALY_DETECTION_BAND(m1)", "needs a band"),
        ("INSIGHT_RULE_METRIC('a', 'b')", "needs a Contributor"),
        ("SERVICE_QUOTA(m1)", "SERVICE_QUOTA needs"),
        ("SELECT AVG(x) FROM y", "Metrics Insights"),
        ("(" * 500 + "m1", "nested deeper"),
        ("-" * 500 + "m1", "nested deeper"),
        ("m1+" * 700 + "m1", "2048 characters"),
    ],
)
def test_bad_expressions_are_refused_with_their_place(expression, message):
    with pytest.raises(InputError) as caught:
        run(expression, {"m1": [1, 2], "m2": [3, 4]})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ([{"Expression": "1"}], "needs an Id"),
        ([{"Id": "Upper", "Expression": "1"}], "'Upper'"),
        ([query("m1"), query("m1")], "used by two"),
        ([{"Id": "m1"}], "either a MetricStat or an Expression"),
        ([query("m1") | {"Expression": "1"}], "either a MetricStat or an Expression"),
        ([{"Id": "m1", "MetricStat": {"Metric": {"Namespace": "N"}, "Period": 60, "Stat": "Sum"}}], "MetricName"),
        ([{"Id": "m1", "MetricStat": {"Metric": {"Namespace": "N", "MetricName": "x"}, "Stat": "Sum"}}], "Period"),
        ([query("m1", period=0)], "Period"),
        (["m1"], "needs an Id"),
        ([{"Id": f"e{i}", "Expression": f"e{i + 1}"} for i in range(300)], "shorten the chain"),
    ],
)
def test_bad_queries_are_refused(queries, message):
    with pytest.raises(InputError) as caught:
        evaluate(queries, frame({"m1": [1]}))
    assert message in str(caught.value)


def test_a_long_sum_is_no_trouble():
    assert run("+".join(["m1"] * 600), {"m1": [1, 2]}) == [600, 1200]


# Python is the oracle for precedence: the same text, with ^ as **.

numbers = st.integers(0, 9).map(str)
texts = st.recursive(
    numbers,
    lambda inner: (
        st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(" ".join)
        | inner.map(lambda x: f"({x})")
        | st.tuples(inner.map(lambda x: f"({x})"), st.sampled_from("23")).map("^".join)
        | inner.map(lambda x: f"-({x})")
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(texts)
def test_arithmetic_binds_as_in_python(text):
    expected = eval(text.replace("^", "**"))  # made of digits, operators and parentheses only
    if abs(expected) < 1e15:
        assert run(f"TIME_SERIES({text})", {"m1": [0]}) == [expected]


def test_operators_rank_as_everywhere():
    def show(node):
        return node.value if not node.args else (node.kind, *map(show, node.args))

    assert show(parse("2 ^ 3 ^ 2")) == ("^", 2.0, ("^", 3.0, 2.0))
    assert show(parse("a - b - c")) == ("-", ("-", "a", "b"), "c")
    assert show(parse("a OR b AND c > 1 + 2")) == ("OR", "a", ("AND", "b", (">", "c", ("+", 1.0, 2.0))))
    assert show(parse("-2 ^ 2")) == ("negate", ("^", 2.0, 2.0))
    assert show(parse("2 ^ -1")) == ("^", 2.0, ("negate", 1.0))


# Every example of the guide's function table and text, on two small metrics. Where the guide gives numbers they are above.

E = {"m1": [4, None, 10, -2], "m2": [1, 3, None, 0]}


@pytest.mark.parametrize(
    ("example", "expected"),
    [
        ("PERIOD(m1)/60*m1", [4, None, 10, -2]),
        ("5 * m1", [20, None, 50, -10]),
        ("m1 - m2", [3, -3, 10, -2]),
        ("SUM(100/[m1, m2])", [125, 100 / 3, 10, -50]),
        ("AVG([m1,m2]/m2)", [2.5, 0.5, None, None]),
        ("SUM(METRICS()*100)", [500, 300, 1000, -200]),
        ("-5*m1", [-20, None, -50, 10]),
        ("-m1", [-4, None, -10, 2]),
        ("SUM(-[m1, m2])", [-5, -3, -10, 2]),
        ("ABS(m1-m2)", [3, 3, 10, 2]),
        ("MIN(ABS([m1, m2]))", [1, 3, 10, 0]),
        ("SUM([m1,m2])/AVG(m2)", [5, 3, 10, -2]),  # the mean of 1, 3, missing as 0, and 0 is 1
        ("AVG(METRICS())", [2.5, 1.5, 5, -1]),
        ("CEIL(m1/4)", [1, None, 3, 0]),
        ("SUM(CEIL(METRICS()/4))", [2, 1, 3, 0]),
        ("m1 * SUM(m1) / DATAPOINT_COUNT(m1)", [16, None, 40, -8]),
        ("DATAPOINT_COUNT(METRICS())", [2, 1, 1, 2]),
        ("DIFF(m1)", [None, None, 6, -12]),
        ("MAX(DIFF_TIME(METRICS()))", [None, 60, 120, 120]),
        ("FILL(m1,10)", [4, 10, 10, -2]),
        ("SUM(FILL(METRICS(), 0))", [5, 3, 10, -2]),
        ("SUM(FILL(METRICS(), m1))", [5, 3, 20, -2]),
        ("FILL(m1, MIN(m1))", [4, -2, 10, -2]),
        ("FILL(m1, REPEAT)", [4, 4, 10, -2]),
        ("SUM(FILL(METRICS(), LINEAR))", [5, 10, 11.5, -2]),
        ("IF(FIRST(SORT(METRICS(), AVG, DESC))>3, 1, 0)", [1, None, 1, 0]),
        ("FLOOR(m1/4)", [1, None, 2, -1]),
        ("MAX(LOG(METRICS()))", [math.log(4), math.log(3), math.log(10), None]),
        ("LOG10(m1)", [math.log10(4), None, 1, None]),
        ("MAX(m1)/m1", [2.5, None, 1, -5]),
        ("MAX(METRICS())", [4, 3, 10, 0]),
        ("m1/METRIC_COUNT(METRICS())", [2, None, 5, -1]),
        ('SUM(METRICS("1"))', [4, None, 10, -2]),
        ('SUM([METRICS("1"), METRICS("2")])', [5, 3, 10, -2]),
        ("m1-MIN(m1)", [6, None, 12, 0]),
        ("MIN(METRICS())", [1, 3, 10, -2]),
        ("MINUTE(m1)", [57, 58, 59, 0]),
        ("IF(DAY(m1)<6,m1)", [4, 0, 10, -2]),  # DAY has no holes, and where it is true a missing m1 counts as 0
        ("IF(MONTH(m1) == 4,m1)", [None] * 4),
        ("m1/PERIOD(m1)", [4 / 60, None, 10 / 60, -2 / 60]),
        ("RATE(m1)", [None, None, 6 / 120, -12 / 60]),
        ("SUM(RATE(METRICS()))", [None, 2 / 60, 6 / 120, -12 / 60 - 3 / 120]),
        ("SUM(REMOVE_EMPTY(METRICS()))", [5, 3, 10, -2]),
        ("SUM(RUNNING_SUM([m1,m2]))", [5, 4, 14, 16]),
        ("SUM(SLICE(SORT(METRICS(), SUM, DESC), 0, 10))", [5, 3, 10, -2]),
        ("SUM(SLICE(SORT(METRICS(), AVG, ASC), 1))", [4, None, 10, -2]),
        ("LAST(SORT(METRICS(), AVG, DESC, 10))", [1, 3, None, 0]),
        ("FIRST(SORT(METRICS(), MAX, ASC))", [1, 3, None, 0]),
        ("m1/STDDEV(m2)", [4 / math.sqrt(14 / 9), None, 10 / math.sqrt(14 / 9), -2 / math.sqrt(14 / 9)]),
        ("STDDEV(METRICS())", [1.5, 0, 0, 1]),
        ("SUM(METRICS())/SUM(m1)", [5 / 12, 3 / 12, 10 / 12, -2 / 12]),
        ('SUM(METRICS("1"))/SUM(METRICS("2"))*100', [400, 0, None, None]),
        ("TIME_SERIES(MAX(m1))", [10] * 4),
        ("TIME_SERIES(5*AVG(m1))", [15] * 4),
        ("TIME_SERIES(10)", [10] * 4),
        ("IF(m1<5, m1)", [4, None, None, -2]),
        ("IF(m1<5, 10, 2)", [10, None, 2, 10]),
        ("IF(m1>m2, 1, 0)", [1, 0, 1, 0]),
        # AWS's blog on the functions of June 2021: working hours, Monday to Friday
        ("IF((DAY(m1)<6 AND (HOUR(m1)>=9 AND HOUR(m1)<17)),m1)", [None] * 4),
    ],
)
def test_examples_of_the_guide(example, expected):
    found = run(example, E)
    assert [f is None for f in found] == [e is None for e in expected]
    assert [f for f in found if f is not None] == pytest.approx([e for e in expected if e is not None])


GUIDE_FUNCTIONS = [
    "ABS",
    "ANOMALY_DETECTION_BAND",
    "AVG",
    "CEIL",
    "DATAPOINT_COUNT",
    "DB_PERF_INSIGHTS",
    "DIFF",
    "DIFF_TIME",
    "FILL",
    "FIRST",
    "LAST",
    "FLOOR",
    "IF",
    "INSIGHT_RULE_METRIC",
    "LAMBDA",
    "LOG",
    "LOG10",
    "MAX",
    "METRIC_COUNT",
    "METRICS",
    "MIN",
    "MINUTE",
    "HOUR",
    "DAY",
    "DATE",
    "MONTH",
    "YEAR",
    "EPOCH",
    "PERIOD",
    "RATE",
    "REMOVE_EMPTY",
    "RUNNING_SUM",
    "SEARCH",
    "SERVICE_QUOTA",
    "SLICE",
    "SORT",
    "STDDEV",
    "SUM",
    "TIME_SERIES",
]


@pytest.mark.parametrize("function", GUIDE_FUNCTIONS)
def test_every_function_of_the_guide_is_known(function):
    arguments = ", ".join(["m1"] * 9)
    with pytest.raises(InputError) as caught:
        run(f"{function}({arguments})", E)
    known = ["INSIGHT_RULE_METRIC", "LAMBDA", "DB_PERF_INSIGHTS", "SERVICE_QUOTA"]
    assert (f"{function} needs" if function in known else "it has 9") in str(caught.value)


FORMS = {"S": "2", "TS": "m1", "TS[]": "[m1, m2]"}


@pytest.mark.parametrize("operator", ["+", "-", "*", "/", "^", "<", "==", ">=", "AND", "||"])
@pytest.mark.parametrize("left", FORMS)
@pytest.mark.parametrize("right", FORMS)
def test_operators_take_the_forms_of_the_guide(operator, left, right):
    """Arithmetic: S, S; S, TS; TS, TS; S, TS[]; TS, TS[]. Comparison and logic: no arrays."""
    arrays = (left, right).count("TS[]")
    text = f"{FORMS[left]} {operator} {FORMS[right]}"
    if left == right == "S":
        run(f"TIME_SERIES({text})", E)
    elif arrays == 0 or (arrays == 1 and operator in "+-*/^"):
        queries = [*map(query, E), {"Id": "out", "Expression": text}]
        assert len(results(queries, frame(E))) == 1 + arrays
    else:
        with pytest.raises(InputError, match="does not take"):
            run(text, E)


@pytest.mark.parametrize("condition", FORMS)
@pytest.mark.parametrize("then", FORMS)
@pytest.mark.parametrize("other", [*FORMS, None])
def test_if_takes_the_forms_of_the_guide(condition, then, other):
    valid = {("TS", "TS", "TS"), ("TS", "TS", None), ("TS", "S", "TS"), ("TS", "S", None), ("TS", "TS", "S")}
    valid |= {("TS", "S", "S"), ("S", "TS", "TS"), ("S", "TS", None)}
    text = f"IF({', '.join(FORMS[one] for one in (condition, then, other) if one)})"
    if (condition, then, other) in valid:
        run(text, E)
    else:
        with pytest.raises(InputError, match="IF needs"):
            run(text, E)


@pytest.mark.parametrize(
    "text", ["METRIC_COUNT(m1) * m1", "SORT(m1, AVG, ASC)", "SLICE(m1, 0)", "FIRST(m1)", "LAST(m1)", "REMOVE_EMPTY(m1)"]
)
def test_functions_of_arrays_take_no_single_series(text):
    with pytest.raises(InputError, match="an array of time series is needed; this is a single one"):
        run(text, E)


def test_metrics_of_different_periods_share_one_axis():
    minute = frame({"m1": [1, 2, 3, 4, None, 6]})
    two = frame({"m2": [10, None, 30]}, period=120)
    queries = [query("m1"), query("m2", 120)]

    def values(expression, **more):
        asked = [*queries, {"Id": "out", "Expression": expression, **more}]
        found = evaluate(asked, pl.concat([minute, two]), start=START, end=START + timedelta(minutes=6))
        return by_step(found)

    # the grid of the long period begins where its first datapoint lies
    assert values("m1 + m2") == {0: 11, 1: 2, 2: 3, 3: 4, 4: 30, 5: 6}
    assert values("FILL(m2, 0)") == {0: 10, 2: 0, 4: 30}
    assert values("FILL(m2 / m2 + m1, 0)") == {0: 2, 1: 2, 2: 3, 3: 4, 4: 1, 5: 6}
    assert (
        len(values("FILL(IF(m2 + m1 > 100, 1), 0)")) == len(values("FILL(IF(m1 + m2 > 100, 1), 0)")) == 6
    )  # the shorter period
    assert values("FILL(m1, m2)") == {0: 1, 1: 2, 2: 3, 3: 4, 4: 30, 5: 6}
    assert values("m2 / PERIOD(m2)") == {0: 10 / 120, 4: 30 / 120}
    assert values("TIME_SERIES(AVG(m2))") == dict.fromkeys(range(6), 40 / 3)
    assert values("TIME_SERIES(1)", Period=120) == {0: 1, 2: 1, 4: 1}


def test_a_request_without_metrics_takes_its_period_from_the_query():
    window = {"start": START, "end": START + timedelta(minutes=10)}
    found = evaluate([{"Id": "e", "Expression": "TIME_SERIES(3)", "Period": 300}], POINTS.empty(), **window)
    assert found["value"].to_list() == [3, 3]
    with pytest.raises(InputError, match="query e needs a Period"):
        evaluate([{"Id": "e", "Expression": "TIME_SERIES(3)"}], POINTS.empty(), **window)


def test_period_takes_metrics_only():
    queries = [query("m1"), {"Id": "copy", "Expression": "m1"}, {"Id": "e", "Expression": "m1 / PERIOD(copy)"}]
    with pytest.raises(InputError, match="PERIOD needs a metric"):
        evaluate(queries, frame({"m1": [1]}))


# Results: one for each series, named and labelled.


def test_results_keep_order_labels_and_empty_series():
    labelled = query("m1", returned=True) | {"Label": "Errors"}
    queries = [
        labelled,
        query("m2"),
        query("gone", returned=True),
        {"Id": "filled", "Label": "Filled With 0:", "Expression": "FILL(METRICS(), 0)"},  # the guide's example
        {"Id": "plain", "Label": "", "Expression": "SORT(METRICS(), MAX, DESC)"},
        {"Id": "twice", "Expression": "[m1, 2*m1, m1 + m2]"},
        {"Id": "one", "Expression": "[m2]"},
        {"Id": "none", "Expression": "SLICE([m1], 1)"},
        {"Id": "less", "Expression": "m1 - [m1, m2]"},
        {"Id": "last", "Expression": "SORT([gone, m2, m1], SUM, ASC)"},
    ]
    found = results(queries, frame({"m1": [1, 2], "m2": [5]}))
    assert [(one.id, one.label, one.series) for one in found] == [
        ("m1", "Errors", "m1"),
        ("gone", "gone", "gone"),
        ("filled", "Filled With 0: Errors", "filled m1"),
        ("filled", "Filled With 0: m2", "filled m2"),
        ("filled", "Filled With 0: gone", "filled gone"),
        ("plain", "m2", "plain m2"),
        ("plain", "Errors", "plain m1"),
        ("plain", "gone", "plain gone"),
        ("twice", "twice Errors", "twice m1"),
        ("twice", "twice Errors", "twice m1 (2)"),
        ("twice", "twice Errors", "twice m1 (3)"),
        ("one", "one m2", "one"),
        ("less", "less Errors", "less m1"),
        ("less", "less m2", "less m2"),
        ("last", "last Errors", "last m1"),
        ("last", "last m2", "last m2"),
        ("last", "last gone", "last gone"),
    ]
    assert all(one.points.schema == pl.Schema(POINTS.columns) for one in found)
    assert all(one.points["series"].unique().to_list() in ([], [one.series]) for one in found)
    assert found[1].points.is_empty()
    assert found[9].points["value"].to_list() == [2, 4]
    assert not evaluate(queries, frame({"m1": [1, 2], "m2": [5]})).select("series", "timestamp").is_duplicated().any()


# Bands, handed in.

BAND = pl.DataFrame(
    {"timestamp": [START + timedelta(minutes=m) for m in range(-2, 9)], "lo": [1.0] * 11, "hi": [5.0] * 11}
)


def outside(bands, expression="ANOMALY_DETECTION_BAND(m1, 2)", more=(), series=E, **window):
    queries = [*map(query, series), *more, {"Id": "band", "Expression": expression}]
    return results(queries, frame(series), bands=bands, **window)


@pytest.mark.parametrize(
    "bands",
    [
        {"m1": BAND},
        {series_key("N", "m1", {}, "Sum"): BAND},
        {"m1": BAND.to_pandas()},
        BAND.with_columns(series=pl.lit("m1")),
        BAND.with_columns(series=pl.lit("m1"), model=pl.lit("x"), level=0.95, mean=3.0),  # a frame of forecasts
        lambda name, points, width: BAND,
    ],
)
def test_a_band_is_two_series_upper_first(bands):
    upper, lower = outside(bands)
    assert (upper.label, upper.series) == ("band m1 upper", "band m1 upper")
    assert (lower.label, lower.series) == ("band m1 lower", "band m1 lower")
    assert by_step(upper.points) == dict.fromkeys(
        range(4), 5.0
    )  # also where the metric has a hole; nothing outside the request
    assert by_step(lower.points) == dict.fromkeys(range(4), 1.0)
    assert by_step(outside(bands, "LAST(ANOMALY_DETECTION_BAND(m1))")[0].points) == dict.fromkeys(range(4), 1.0)
    longer = outside(bands, end=START + timedelta(minutes=6))
    assert len(longer[0].points) == 6
    judged = "IF(m1 > FIRST(ANOMALY_DETECTION_BAND(m1, 2)), m1)"
    assert by_step(outside(bands, judged)[0].points) == {2: 10}


def test_a_function_of_the_width_gets_metric_points_and_width():
    asked = []

    def bands(name, points, width):
        asked.append((name, width))
        return points.select("timestamp", lo=pl.col("value") - width, hi=pl.col("value") + width)

    upper, _ = outside(bands, "ANOMALY_DETECTION_BAND(m1, 4)")
    assert by_step(upper.points) == {0: 8, 2: 14, 3: 2}
    outside(bands, "ANOMALY_DETECTION_BAND(m1)")  # the guide: "the default of 2 is used"
    rate = {"Id": "rate", "Expression": "m1 + m2"}
    found = outside(bands, "ANOMALY_DETECTION_BAND(rate)", [rate])
    assert [one.series for one in found] == ["rate", "band m1 upper", "band m1 lower"]
    assert by_step(found[2].points) == {0: 3, 1: 1, 2: 8, 3: -4}
    assert asked == [("m1", 4.0), ("m1", 2.0), ("rate", 2.0)]


RATE = {"Id": "rate", "Expression": "m1 + m2"}


@pytest.mark.parametrize(
    ("bands", "expression", "more", "message"),
    [
        (None, "ANOMALY_DETECTION_BAND(m1)", [], "needs a band; hand it in as bands=… at position 1"),
        ({"m2": BAND}, "ANOMALY_DETECTION_BAND(m1)", [], "bands hold none for m1"),
        (BAND, "ANOMALY_DETECTION_BAND(m1)", [], "bands needs the columns series"),
        ({"m1": BAND.drop("hi")}, "ANOMALY_DETECTION_BAND(m1)", [], "missing: hi"),
        ({"m1": pl.concat([BAND, BAND])}, "ANOMALY_DETECTION_BAND(m1)", [], "several rows for one time"),
        ({"m1": BAND.with_columns(lo=6.0)}, "ANOMALY_DETECTION_BAND(m1)", [], "a lo above its hi"),
        (
            {"m1": BAND.with_columns(pl.col("timestamp") + timedelta(seconds=1))},
            "ANOMALY_DETECTION_BAND(m1)",
            [],
            "no time of the band",
        ),
        (
            {"m1": BAND},
            "m1 + ANOMALY_DETECTION_BAND(m1, 0)",
            [],
            "a width above 0 standard deviations; it is 0 at position 33",
        ),
        ({"m1": BAND}, "ANOMALY_DETECTION_BAND(m1, m2)", [], "a scalar is needed"),
        ({"m1": BAND}, "ANOMALY_DETECTION_BAND(m1 + m2)", [], "needs the Id of a metric or of an expression"),
        ({"m1": BAND}, "ANOMALY_DETECTION_BAND(all)", [{"Id": "all", "Expression": "METRICS()"}], "this is an array"),
        (
            {"m1": BAND},
            "[ANOMALY_DETECTION_BAND(m1, 2), ANOMALY_DETECTION_BAND(m1, 3)]",
            [],
            "both 2 and 3 standard deviations",
        ),
        ({"m1": BAND}, "ANOMALY_DETECTION_BAND(m1) > m1", [], "> does not take an array"),
        # the guide's list of what a band of metric math does not support
        (
            {"rate": BAND},
            "[ANOMALY_DETECTION_BAND(rate), ANOMALY_DETECTION_BAND(rate)]",
            [RATE],
            "only one band in an expression",
        ),
        (
            {"s": BAND},
            "ANOMALY_DETECTION_BAND(s)",
            [{"Id": "s", "Expression": "SUM(METRICS())"}],
            "there is METRICS or SEARCH",
        ),
        (
            {"s": BAND},
            "ANOMALY_DETECTION_BAND(s)",
            [query("m3", 300), {"Id": "s", "Expression": "m1 + m3"}],
            "metrics of one period",
        ),
        (
            {"s": BAND},
            "ANOMALY_DETECTION_BAND(s)",
            [query("m3", 10), {"Id": "s", "Expression": "2 * m3"}],
            "at least 60 s",
        ),
        (
            {"e9": BAND},
            "ANOMALY_DETECTION_BAND(e9)",
            [
                {"Id": "e0", "Expression": "m1 * 1"},
                *({"Id": f"e{i}", "Expression": f"e{i - 1} * 1"} for i in range(1, 10)),
            ],
            "at most 10 metrics and expressions, and there are 11",
        ),
    ],
)
def test_bad_bands_are_refused(bands, expression, more, message):
    with pytest.raises(InputError) as caught:
        outside(bands, expression, more)
    assert message in str(caught.value)


# Searches and Metrics Insights queries, answered by the caller.


def finder(asked, found):
    def find(*question):
        asked.append(question)
        return [(label, frame({"x": values}).drop("series")) for label, values in found.items()]

    return find


def test_a_search_is_an_array_and_is_asked_once():
    asked = []
    search = finder(asked, {"acme": [1, None, 3], "globex": [None, None, 5, 7]})
    text = "SEARCH(' {AWS/Lambda, FunctionName} MetricName=\"Errors\" ', 'Sum', 60)"
    queries = [
        {"Id": "e1", "Expression": text},
        {"Id": "all", "Expression": "SUM(e1)"},
        {"Id": "same", "Expression": f"SUM(FILL({text}, 0)) / METRIC_COUNT({text})"},
        {"Id": "top", "Expression": f"FIRST(SORT({text}, SUM, DESC))"},
    ]
    found = {one.series: by_step(one.points) for one in results(queries, POINTS.empty(), search=search)}
    assert found == {
        "e1 acme": {0: 1, 2: 3},
        "e1 globex": {2: 5, 3: 7},
        "all": {0: 1, 2: 8, 3: 7},
        "same": {0: 0.5, 1: 0, 2: 4, 3: 3.5},
        "top": {2: 5, 3: 7},
    }
    assert asked == [(' {AWS/Lambda, FunctionName} MetricName="Errors" ', "Sum", 60)]


def test_a_search_takes_its_period_where_it_names_none_and_keeps_to_the_request():
    asked = []
    search = finder(asked, {"x": [1, 2, 3, 4]})
    queries = [
        query("m1", 120),
        {"Id": "e", "Expression": "SEARCH('words', 'p99')"},
        {"Id": "f", "Expression": "SEARCH('words', 'p99')", "Period": 60},
    ]
    window = {"start": START + timedelta(minutes=1), "end": START + timedelta(minutes=3)}
    found = results(queries, frame({"m1": [9]}, 120), search=search, **window)
    assert asked == [("words", "p99", 120), ("words", "p99", 60)]
    assert [one.points["value"].to_list() for one in found] == [[2, 3], [2, 3]]
    found = [
        {"Id": "e", "Expression": "SEARCH('no', 'Sum', 60)"},
        {"Id": "s", "Expression": "SUM(e)"},
        {"Id": "f", "Expression": "FIRST(e)"},
    ]
    assert [(one.series, len(one.points)) for one in results(found, POINTS.empty(), search=lambda *_: [])] == [
        ("s", 0),
        ("f", 0),
    ]
    counted = [query("m1"), {"Id": "e", "Expression": "METRICS()"}, {"Id": "s", "Expression": "SEARCH('x', 'Sum', 60)"}]
    assert [one.series for one in results(counted, frame({"m1": [9]}), search=search)] == [
        "e",
        "s",
    ]  # METRICS() has no search in it


def test_metrics_insights_queries_are_one_series_or_with_group_by_an_array():
    asked = []
    sql = 'SELECT SUM(Errors) FROM SCHEMA("AWS/Lambda", FunctionName)'
    queries = [
        query("m1", 60),
        {"Id": "q1", "Expression": sql, "Period": 60, "ReturnData": False},
        {"Id": "q2", "Expression": f"{sql} GROUP BY FunctionName ORDER BY SUM() DESC LIMIT 5", "ReturnData": False},
        {"Id": "rate", "Expression": "100 * q1 / m1"},
        {"Id": "both", "Expression": "SUM(q2)"},
    ]

    def select(text, period_s):
        one = finder(asked, {"a": [1, 2], "b": [3]} if "GROUP" in text else {"Errors": [4, 6]})
        return one(text, period_s)

    found = {one.series: by_step(one.points) for one in results(queries, frame({"m1": [8, 8]}), select=select)}
    assert found == {"rate": {0: 50, 1: 75}, "both": {0: 4, 1: 2}}
    assert asked == [(sql, 60), (queries[2]["Expression"], 60)]
    nothing = results(queries, frame({"m1": [8, 8]}), select=lambda *_: [])[0]
    assert by_step(nothing.points) == {0: 0, 1: 0}
    with pytest.raises(InputError, match="q1: a query without GROUP BY gives one time series; select= gave 2"):
        results(queries, frame({"m1": [8]}), select=finder([], {"a": [1], "b": [2]}))


@pytest.mark.parametrize(
    ("expression", "search", "message"),
    [
        ("SEARCH('x', 'Sum', 60)", None, "SEARCH needs CloudWatch's list of metrics"),
        ("m1 + SEARCH('x')", finder([], {}), "SEARCH needs 2 to 3 arguments; it has 1 at position 6"),
        ("SEARCH(m1, 'Sum', 60)", finder([], {}), "SEARCH needs the search in quotes at position 8"),
        ("SEARCH('x', Sum, 60)", finder([], {}), "SEARCH needs the statistic in quotes at position 13"),
        ("SEARCH('', 'Sum', 60)", finder([], {}), "1 to 1024 characters; here there are 0"),
        (f"SEARCH('{'x' * 1025}', 'Sum', 60)", finder([], {}), "here there are 1025"),
        ("SEARCH('x', 'Sum', 0.5)", finder([], {}), "whole number of seconds at position 20"),
        ("SEARCH('x', 'Sum', 60)", lambda *_: [frame({})], "pairs of a label and points"),
        ("SEARCH('x', 'Sum', 60)", lambda *_: [("a", frame({}).drop("value"))], "missing: value"),
        ("SEARCH('x', 'Sum', 60) > 1", finder([], {"a": [1]}), "> does not take an array"),
        ("FIRST(SLICE(METRICS(), 1))", None, "FIRST has an empty array at position 1"),
        ("SUM(METRICS('2'))", None, "SUM has an empty array at position 1"),
        ("METRICS(“4xx”)", None, "straight quotes at position 9"),
    ],
)
def test_bad_searches_are_refused(expression, search, message):
    with pytest.raises(InputError) as caught:
        evaluate([query("m1"), {"Id": "e", "Expression": expression}], frame({"m1": [1]}), search=search)
    assert message in str(caught.value)


# The slow twin: a series is a dict from step to value, an array a list of them, a scalar a float; one datapoint at a
# time, in the guide's words.

STEPS = 7
BINARY = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b if b else None,
    "<": lambda a, b: float(a < b),
    "<=": lambda a, b: float(a <= b),
    ">": lambda a, b: float(a > b),
    ">=": lambda a, b: float(a >= b),
    "==": lambda a, b: float(a == b),
    "!=": lambda a, b: float(a != b),
    "AND": lambda a, b: float(bool(a) and bool(b)),
    "OR": lambda a, b: float(bool(a) or bool(b)),
}
MAPPED = {"ABS": abs, "CEIL": math.ceil, "FLOOR": math.floor, "-": lambda v: -v}
BACK = {
    "DIFF": lambda now, before, seconds: now - before,
    "DIFF_TIME": lambda now, before, seconds: seconds,
    "RATE": lambda now, before, seconds: (now - before) / seconds,
}
REDUCED = ["SUM", "AVG", "MIN", "MAX", "STDDEV", "DATAPOINT_COUNT"]
CALENDAR = {
    "MINUTE": lambda t: t.minute,
    "HOUR": lambda t: t.hour,
    "DAY": lambda t: t.isoweekday(),
    "DATE": lambda t: t.day,
    "MONTH": lambda t: t.month,
    "YEAR": lambda t: t.year,
    "EPOCH": lambda t: t.timestamp(),
}


class Refused(Exception):
    pass


def kept(pairs):
    return {k: float(v) for k, v in pairs if v is not None and math.isfinite(v)}


def each(value, f):
    return [f(one) for one in value] if isinstance(value, list) else f(value)


def twin_binary(op, a, b):
    f = BINARY[op]
    if isinstance(a, list):
        return [twin_binary(op, one, b) for one in a]
    if isinstance(b, list):
        return [twin_binary(op, a, one) for one in b]
    if any(isinstance(x, float) and math.isnan(x) for x in (a, b)):
        return math.nan if isinstance(a, float) and isinstance(b, float) else {}
    if isinstance(a, float) and isinstance(b, float):
        return f(a, b)
    if isinstance(a, float):
        return kept((k, f(a, v)) for k, v in b.items())
    if isinstance(b, float):
        return kept((k, f(v, b)) for k, v in a.items())
    return kept((k, f(a.get(k, 0.0), b.get(k, 0.0))) for k in {*a, *b})


def twin_if(condition, then, other):
    if isinstance(condition, float):
        return {} if math.isnan(condition) else then if condition else other if other is not None else {}
    out = []
    for k, c in condition.items():
        if c != 0:
            out.append((k, then.get(k, 0.0) if isinstance(then, dict) else then))
        elif isinstance(other, dict):
            out.append((k, other.get(k)))
        else:
            out.append((k, other))
    return kept(out)


def twin_fill(series, how):
    out = dict(series)
    for k in range(STEPS):
        if k in series:
            continue
        before, after = [i for i in series if i < k], [i for i in series if i > k]
        if isinstance(how, float):
            out[k] = how
        elif isinstance(how, dict):
            out[k] = how.get(k)
        elif how == "REPEAT" and before:
            out[k] = series[max(before)]
        elif how == "LINEAR" and before and after:
            a, b = max(before), min(after)
            out[k] = (series[b] - series[a]) / (b - a) * (k - a) + series[a]
    return kept(out.items())


def twin_back(series, f):
    keys = sorted(series)
    return {k: f(series[k], series[p], 60.0 * (k - p)) for p, k in pairwise(keys)}


def twin_running(series):
    out, total = {}, 0.0
    for k in sorted(series):
        total += series[k]
        out[k] = total
    return out


def twin_aggregate(how, there, slots):
    mean = sum(there) / len(there)
    if how == "STDDEV":
        return math.sqrt(sum((v - mean) ** 2 for v in there) / len(there))
    return {
        "SUM": sum(there),
        "AVG": sum(there) / slots,
        "MIN": min(there),
        "MAX": max(there),
        "DATAPOINT_COUNT": float(len(there)),
    }[how]


def twin_reduce(how, value):
    if isinstance(value, dict):
        if not value:
            return 0.0 if how == "DATAPOINT_COUNT" else math.nan
        return twin_aggregate(how, list(value.values()), STEPS)
    times = {k for one in value for k in one}
    return {k: twin_aggregate(how, [one[k] for one in value if k in one], len(value)) for k in times}


def emptied(node):
    """No datapoints where the data emptied the array; refused where the expression did."""
    if "REMOVE_EMPTY" not in str(node):
        raise Refused
    return {}


def twin_sort(array, how, order, limit):
    def rank(one):
        value = twin_reduce(how, one)
        return (True, 0.0) if math.isnan(value) else (False, value if order == "ASC" else -value)

    return sorted(array, key=rank)[:limit]


def twin(node, series):
    kind, *args = node
    if kind == "m":
        return series[args[0]]
    if kind == "n":
        return args[0]
    if kind == "METRICS":
        return list(series.values())
    if kind == "PERIOD":
        return 60.0
    if kind == "SORT":
        return twin_sort(twin(args[0], series), *args[1:])
    if kind == "SLICE":
        return twin(args[0], series)[slice(args[1], args[2])]
    parts = [twin(arg, series) if isinstance(arg, tuple) else arg for arg in args]
    if kind == "[]":
        return parts
    if kind in BINARY and len(parts) == 2:
        return twin_binary(kind, *parts)
    if kind == "IF":
        return twin_if(parts[0], parts[1], parts[2] if len(parts) == 3 else None)
    if kind == "FILL":
        return each(parts[0], lambda one: twin_fill(one, parts[1]))
    if kind in REDUCED:
        return emptied(node) if parts[0] == [] else twin_reduce(kind, parts[0])
    if kind in MAPPED:
        return each(parts[0], lambda one: kept((k, MAPPED[kind](v)) for k, v in one.items()))
    if kind in BACK:
        return each(parts[0], lambda one: twin_back(one, BACK[kind]))
    if kind == "RUNNING_SUM":
        return each(parts[0], twin_running)
    if kind in CALENDAR:
        return {k: float(CALENDAR[kind](START + timedelta(minutes=k))) for k in range(STEPS)}
    if kind == "TIME_SERIES":
        return kept((k, parts[0]) for k in range(STEPS))
    if kind == "METRIC_COUNT":
        return float(len(parts[0]))
    if kind == "REMOVE_EMPTY":
        return [one for one in parts[0] if one]
    return emptied(node) if not parts[0] else parts[0][0 if kind == "FIRST" else -1]


def render(node):
    if not isinstance(node, tuple):
        return node if isinstance(node, str) else f"{node:g}"
    kind, *args = node
    if kind in ("m", "n"):
        return render(args[0])
    texts = [render(arg) for arg in args if arg is not None]
    if kind in BINARY and len(texts) == 2:
        return f"({texts[0]} {kind} {texts[1]})"
    if kind == "-":
        return f"-({texts[0]})"
    return f"[{', '.join(texts)}]" if kind == "[]" else f"{kind}({', '.join(texts)})"


numbers_ = st.integers(0, 6).map(lambda v: ("n", float(v)))
metrics = st.sampled_from([("m", "m1"), ("m", "m2"), ("m", "m3")])
plain_arrays = st.just(("METRICS",)) | st.tuples(st.just("[]"), metrics, metrics)
whole_arrays = plain_arrays | st.tuples(
    st.just("FILL"), plain_arrays, numbers_
)  # sums of integers: no ties by rounding
sorts = st.tuples(
    st.just("SORT"),
    whole_arrays,
    st.sampled_from(["AVG", "MIN", "MAX", "SUM"]),
    st.sampled_from(["ASC", "DESC"]),
    st.none() | st.integers(1, 3),
)
arithmetic, operators = st.sampled_from("+-*/"), st.sampled_from(list(BINARY))
alike = st.sampled_from([*MAPPED, *BACK, "RUNNING_SUM"])
fillers = st.sampled_from(["REPEAT", "LINEAR"]) | numbers_


def made(kind, *parts):
    return st.tuples(st.just(kind) if isinstance(kind, str) else kind, *parts)


def scalars_of(series, arrays):
    leaf = numbers_ | made("PERIOD", metrics)
    found = leaf | made(st.sampled_from(REDUCED), series) | made("METRIC_COUNT", arrays)
    return found | made(st.sampled_from("+-*"), found, found)


def arrays_of(series):
    base = (
        plain_arrays
        | sorts
        | made("[]", series, series)
        | made("SLICE", sorts, st.integers(0, 2), st.none() | st.integers(0, 3))
    )
    return (
        base
        | made(alike, base)
        | made(arithmetic, base, numbers_)
        | made(arithmetic, numbers_, base)
        | made(arithmetic, base, series)
        | made(arithmetic, series, base)
        | made("FILL", base, fillers | series)
        | made("REMOVE_EMPTY", base)
    )


def grow(series):
    arrays = arrays_of(series)
    scalars = scalars_of(series, arrays)
    either = series | scalars
    return (
        made(operators, series, either)
        | made(operators, scalars, series)
        | made(alike, series)
        | made("IF", series, either)
        | made("IF", series, either, either)
        | made("IF", scalars, series)
        | made("IF", scalars, series, series)
        | made("FILL", series, fillers | either)
        | made(st.sampled_from(REDUCED), arrays)
        | made(st.sampled_from(["FIRST", "LAST"]), arrays)
        | made("TIME_SERIES", scalars)
        | made(st.sampled_from(list(CALENDAR)), series)
    )


trees = st.recursive(metrics, grow, max_leaves=6)
holes = st.lists(st.none() | st.integers(-4, 4), min_size=STEPS, max_size=STEPS)
WINDOW = {"start": START, "end": START + timedelta(minutes=STEPS)}


def by_step(points):
    seconds = (points["timestamp"] - START).dt.total_seconds() // 60
    return dict(zip(seconds, points["value"], strict=True))


@settings(max_examples=600, deadline=None)
@given(trees | arrays_of(trees), holes, holes, holes)
def test_slow_twin(tree, a, b, c):
    series = {"m1": a, "m2": b, "m3": c}
    dicts = {name: {i: float(v) for i, v in enumerate(values) if v is not None} for name, values in series.items()}
    queries = [*map(query, series), {"Id": "out", "Expression": render(tree)}]
    try:
        expected = twin(tree, dicts)
    except Refused:
        with pytest.raises(InputError, match="empty array"):
            results(queries, frame(series), **WINDOW)
        return
    found = [by_step(one.points) for one in results(queries, frame(series), **WINDOW)]
    expected = expected if isinstance(expected, list) else [expected]
    assert [set(one) for one in found] == [set(one) for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other)


# pandas is a second oracle, for what it knows about holes.


@settings(max_examples=100, deadline=None)
@given(holes, holes, holes)
def test_pandas_says_the_same(a, b, c):
    series = {"m1": a, "m2": b, "m3": c}
    table = pd.DataFrame({name: pd.Series(values, dtype=float) for name, values in series.items()})
    there = table["m1"].dropna()
    for expression, expected in {
        "RUNNING_SUM(m1)": there.cumsum(),
        "DIFF(m1)": there.diff(),
        "RATE(m1)": there.diff() / pd.Series(there.index * 60.0, index=there.index).diff(),
        "FILL(m1, REPEAT)": table["m1"].ffill(),
        "FILL(m1, LINEAR)": table["m1"].interpolate(limit_area="inside"),
        "FILL(m1, m2)": table["m1"].fillna(table["m2"]),
        "SUM(METRICS())": table.sum(axis=1, min_count=1),
        "AVG(FILL(METRICS(), 0))": table.fillna(0).mean(axis=1),
        "MAX(METRICS())": table.max(axis=1),
        "STDDEV(METRICS())": table.std(axis=1, ddof=0),
        "m1 - MIN(m1)": there - there.min(),
        "m1 / STDDEV(m1)": there / there.std(ddof=0),
        "m1 / (m2 + 1)": (table["m1"].fillna(0) / (table["m2"] + 1).fillna(0))[table[["m1", "m2"]].notna().any(axis=1)],
        "TIME_SERIES(SUM(m1) / DATAPOINT_COUNT(m1))": pd.Series(there.mean(), index=range(STEPS)),
    }.items():
        expected = expected[np.isfinite(expected)].to_dict()
        found = {i: v for i, v in enumerate(run(expression, series)) if v is not None}
        assert found == pytest.approx(expected), expression


def test_a_wide_request_is_quick():
    n, rng = 10_080, np.random.default_rng(7)
    times = pl.datetime_range(START, START + timedelta(minutes=n - 1), "1m", time_unit="us", eager=True)
    holes = [rng.random(n) > 0.1 for _ in range(300)]
    points = pl.concat(
        pl.DataFrame({"series": [f"m{i}"] * n, "timestamp": times, "value": np.arange(n) + float(i)}).filter(
            pl.Series(there)
        )
        for i, there in enumerate(holes)
    )
    queries = [*(query(f"m{i}") for i in range(300)), {"Id": "e", "Expression": "SUM(FILL(METRICS(), 0))"}]
    found = evaluate(queries, points)
    assert found["value"].to_list() == pytest.approx(
        sum((np.arange(n) + float(i)) * there for i, there in enumerate(holes)).tolist()
    )
