"""Metric math against the guide's published tables, Python's own arithmetic, and a slow twin over dicts."""

import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights.alarms.math import evaluate, parse
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


# The slow twin: a series is a dict from step to value, one datapoint at a time, in the guide's words.

STEPS = 7
BINARY = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b if b else None,
    "<": lambda a, b: float(a < b),
    ">=": lambda a, b: float(a >= b),
    "==": lambda a, b: float(a == b),
    "AND": lambda a, b: float(bool(a) and bool(b)),
    "OR": lambda a, b: float(bool(a) or bool(b)),
}


def kept(pairs):
    return {k: v for k, v in pairs if v is not None and math.isfinite(v)}


def twin_binary(op, a, b):
    f = BINARY[op]
    if not isinstance(a, dict):
        return kept((k, f(a, v)) for k, v in b.items())
    if not isinstance(b, dict):
        return kept((k, f(v, b)) for k, v in a.items())
    return kept((k, f(a.get(k, 0.0), b.get(k, 0.0))) for k in {*a, *b})


def twin_if(condition, then, other):
    out = {}
    for k, c in condition.items():
        if c != 0:
            out[k] = then.get(k, 0.0) if isinstance(then, dict) else then
        elif isinstance(other, dict) and k in other:
            out[k] = other[k]
        elif isinstance(other, float):
            out[k] = other
    return out


def twin_fill(series, how):
    out = dict(series)
    for k in range(STEPS):
        if k in series:
            continue
        before, after = [i for i in series if i < k], [i for i in series if i > k]
        if isinstance(how, float):
            out[k] = how
        elif how == "REPEAT" and before:
            out[k] = series[max(before)]
        elif how == "LINEAR" and before and after:
            a, b = max(before), min(after)
            out[k] = series[a] + (series[b] - series[a]) * (k - a) / (b - a)
    return out


def twin_back(series, f):
    keys = sorted(series)
    return {k: f(series[k], series[p], 60.0 * (k - p)) for p, k in pairwise(keys)}


def twin_running(series):
    out, total = {}, 0.0
    for k in sorted(series):
        total += series[k]
        out[k] = total
    return out


def twin_reduce(how, many):
    out = {}
    for k in {k for one in many for k in one}:
        there = [one[k] for one in many if k in one]
        mean = sum(there) / len(there)
        deviation = math.sqrt(sum((v - mean) ** 2 for v in there) / len(there))
        out[k] = {
            "SUM": sum(there),
            "AVG": sum(there) / len(many),
            "MIN": min(there),
            "MAX": max(there),
            "STDDEV": deviation,
        }[how]
    return out


def twin(node, series):
    kind, *args = node
    if kind == "m":
        return series[args[0]]
    if kind == "n":
        return args[0]
    if kind in BINARY:
        return twin_binary(kind, *(twin(arg, series) for arg in args))
    if kind == "IF":
        parts = [twin(arg, series) for arg in args]
        return twin_if(parts[0], parts[1], parts[2] if len(parts) == 3 else None)
    if kind == "FILL":
        return twin_fill(twin(args[0], series), args[1])
    if kind == "ARRAY":
        return twin_reduce(args[0], [twin(arg, series) for arg in args[1:]])
    one = twin(args[0], series)
    if kind in ("ABS", "CEIL", "FLOOR"):
        f = {"ABS": abs, "CEIL": math.ceil, "FLOOR": math.floor}[kind]
        return {k: float(f(v)) for k, v in one.items()}
    if kind == "DIFF":
        return twin_back(one, lambda now, before, seconds: now - before)
    if kind == "RATE":
        return twin_back(one, lambda now, before, seconds: (now - before) / seconds)
    return twin_running(one)


def render(node):
    kind, *args = node
    if kind == "m":
        return args[0]
    if kind == "n":
        return f"{args[0]:g}"
    if kind in BINARY:
        return f"({render(args[0])} {kind} {render(args[1])})"
    if kind == "FILL":
        return f"FILL({render(args[0])}, {args[1] if isinstance(args[1], str) else format(args[1], 'g')})"
    if kind == "ARRAY":
        return f"{args[0]}([{', '.join(map(render, args[1:]))}])"
    return f"{kind}({', '.join(map(render, args))})"


scalars = st.tuples(st.just("n"), st.integers(0, 6).map(float))
leaves = st.tuples(st.just("m"), st.sampled_from(["m1", "m2", "m3"]))


def grow(inner):
    pair = st.tuples(st.sampled_from(list(BINARY)), inner, inner)
    either = inner | scalars
    return (
        pair
        | st.tuples(st.sampled_from(list(BINARY)), inner, scalars)
        | st.tuples(st.sampled_from(list(BINARY)), scalars, inner)
        | st.tuples(st.just("IF"), inner, either)
        | st.tuples(st.just("IF"), inner, either, either)
        | st.tuples(st.just("FILL"), inner, st.sampled_from(["REPEAT", "LINEAR"]) | st.integers(0, 5).map(float))
        | st.tuples(st.sampled_from(["ABS", "CEIL", "FLOOR", "DIFF", "RATE", "RUNNING_SUM"]), inner)
        | st.tuples(st.just("ARRAY"), st.sampled_from(["SUM", "AVG", "MIN", "MAX", "STDDEV"]), inner, inner)
    )


trees = st.recursive(leaves, grow, max_leaves=6)
holes = st.lists(st.none() | st.integers(-4, 4), min_size=STEPS, max_size=STEPS)


@settings(max_examples=300, deadline=None)
@given(trees, holes, holes, holes)
def test_slow_twin(tree, a, b, c):
    series = {"m1": a, "m2": b, "m3": c}
    dicts = {name: {i: float(v) for i, v in enumerate(values) if v is not None} for name, values in series.items()}
    expected = twin(tree, dicts)
    found = run(render(tree), series)
    assert {i for i, v in enumerate(found) if v is not None} == set(expected)
    assert [found[i] for i in sorted(expected)] == pytest.approx([expected[i] for i in sorted(expected)])


def test_a_wide_request_is_quick():
    values = np.arange(4032.0)
    times = pl.datetime_range(
        START, periods_end := START + timedelta(minutes=5 * 4031), "5m", time_unit="us", eager=True
    )
    assert periods_end == times[-1]
    points = pl.concat(
        pl.DataFrame({"series": [f"m{i}"] * 4032, "timestamp": times, "value": values + i}) for i in range(50)
    )
    queries = [*(query(f"m{i}", 300) for i in range(50)), {"Id": "e", "Expression": "SUM(FILL(METRICS(), 0)) / 50"}]
    found = evaluate(queries, points)
    assert found["value"].to_list() == pytest.approx((values + 24.5).tolist())
