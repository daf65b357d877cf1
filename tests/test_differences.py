"""deploy.differences and deploy.texts: nothing that differs is left out, and nothing is said where nothing differs."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lift_insights.deploy.differences import differences
from lift_insights.deploy.texts import summary

SCALAR = (
    st.integers(-3, 3)
    | st.sampled_from(["a", "b", "→", "x" * 120, "x" * 120 + "y"])
    | st.booleans()
    | st.sampled_from([0.5, 2.0])
)
VALUE = st.recursive(
    SCALAR,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "Id", "Name", "Value"]), inner, max_size=3)
    ),
    max_leaves=8,
)
OBJECT = st.dictionaries(st.sampled_from(["Threshold", "Metrics", "Dimensions", "AlarmActions"]), VALUE, max_size=4)
WIDGET = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "metric"])},
    optional={
        "x": st.integers(0, 2),
        "y": st.integers(0, 2),
        "width": st.sampled_from([6, 12]),
        "properties": st.fixed_dictionaries(
            {},
            optional={
                "title": st.sampled_from("ab"),
                "markdown": st.sampled_from(["# a", "b"]),
                "metrics": st.lists(
                    st.lists(st.sampled_from(["N", "m", ".", {"id": "e"}]), min_size=1, max_size=3), max_size=3
                ),
                "period": st.sampled_from([60, 300]),
            },
        ),
    },
)
BOARD = st.fixed_dictionaries(
    {"widgets": st.lists(WIDGET, max_size=5)}, optional={"start": st.sampled_from(["-PT1H", "-P1D"])}
)


def plain(value):
    """The slow twin of equality: as JSON, whole floats as whole numbers."""
    return json.dumps(
        json.loads(
            json.dumps(value), parse_float=lambda text: int(float(text)) if float(text).is_integer() else float(text)
        ),
        sort_keys=True,
    )


@given(a=OBJECT, b=OBJECT)
def test_alarms_differ_exactly_where_something_is_said(a, b):
    assert bool(differences(a, b)) == (plain(a) != plain(b))


@given(a=BOARD, b=BOARD)
def test_dashboards_differ_exactly_where_something_is_said(a, b):
    assert bool(differences(a, b)) == (plain(a) != plain(b))


@given(board=BOARD, data=st.data())
def test_a_widget_put_in_front_is_one_line_and_says_nothing_of_the_others(board, data):
    new = {"type": "log", "properties": {"title": "new"}}
    at = data.draw(st.integers(0, len(board["widgets"])))
    changed = board | {"widgets": board["widgets"][:at] + [new] + board["widgets"][at:]}
    assert differences(board, changed) == ["widget 'new' added: log, 6×6, where there is room"]
    assert differences(changed, board) == ["widget 'new' removed"]


@given(board=BOARD, order=st.randoms())
def test_widgets_in_another_order_are_not_taken_for_others(board, order):
    mixed = list(board["widgets"])
    order.shuffle(mixed)
    assert differences(board, board | {"widgets": mixed}) in ([], ["the widgets are listed in another order"])


STAT = {
    "Id": "m",
    "MetricStat": {
        "Metric": {"Namespace": "N", "MetricName": "e", "Dimensions": [{"Name": "path", "Value": "/"}]},
        "Period": 60,
        "Stat": "Sum",
    },
}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ({"Threshold": 300.0}, {"Threshold": 250}, ["Threshold: 300 → 250"]),
        ({"Threshold": 1}, {"Threshold": True}, ["Threshold: 1 → true"]),
        ({"Threshold": 0.1 + 0.2}, {"Threshold": 0.3}, []),
        ({}, {"Metrics": [STAT]}, ["Metrics[m] added: Sum of N/e (path=/) every 60 s"]),
        ({"Metrics": [STAT, {"Id": "e", "Expression": "m"}]}, {"Metrics": [{"Id": "e", "Expression": "m * 2"}]},
         ['Metrics[e].Expression: "m" → "m * 2"', "Metrics[m] removed: Sum of N/e (path=/) every 60 s"]),
        ({"Dimensions": [{"Name": "a", "Value": "1"}]}, {"Dimensions": [{"Name": "a", "Value": "2"}, {"Name": "b", "Value": "3"}]},
         ['Dimensions[a].Value: "1" → "2"', 'Dimensions[b] added: "3"']),
        ({"AlarmActions": ["arn:x", "arn:y"]}, {"AlarmActions": ["arn:y", "arn:z"]}, ["AlarmActions added: arn:z", "AlarmActions removed: arn:x"]),
        ({"widgets": []}, {"widgets": [], "start": "-P1D"}, ['start: (not set) → "-P1D"']),
        ({"widgets": [{"type": "alarm"}, {"type": "log"}]}, {"widgets": [{"type": "log"}, {"type": "alarm"}]}, ["the widgets are listed in another order"]),
        ({"widgets": [{"type": "alarm", "x": 1, "y": 2}]}, {"widgets": [{"type": "alarm", "x": 1, "y": 2, "width": 24}]},
         ["widget 'alarm at x=1, y=2' resized: 6×6 → 24×6"]),
    ],
)  # fmt: skip
def test_differences_as_people_say_them(old, new, says):
    assert differences(old, new) == says


@given(
    front=st.text("ab", min_size=120, max_size=200),
    old=st.text("cd", min_size=1, max_size=9),
    new=st.text("ef", min_size=1, max_size=9),
)
def test_of_long_texts_the_part_that_differs_is_shown_whole(front, old, new):
    (line,) = differences({"AlarmRule": front + old + front}, {"AlarmRule": front + new + front})
    assert f"{old}{front[:20]}" in line
    assert f"{new}{front[:20]}" in line
    assert len(line) < 150


def test_something_new_is_shown_with_all_it_holds():
    alarm = {
        "AlarmName": "odd", "Metrics": [STAT, {"Id": "b", "Expression": "ANOMALY_DETECTION_BAND(m, 2)"}], "EvaluationPeriods": 3, "ThresholdMetricId": "b",
        "ComparisonOperator": "LessThanLowerThreshold", "OKActions": ["arn:x"], "TreatMissingData": "ignore", "AlarmDescription": "why", "EvaluationWindow": {"a": "b"},
    }  # fmt: skip
    text = summary(alarm, {"team": "payments"})
    shown = set(re.findall(r"[A-Za-z]+", text))
    assert text.splitlines()[0] == "m below its band, 3 of 3 periods"
    assert {"ignore", "arn", "why", "payments", "Sum", "BAND", "EvaluationWindow"} <= {
        w for word in shown for w in (word, word.rpartition("_")[2])
    }
    assert summary({"widgets": [{"type": "text"}]}).splitlines() == [
        "1 widget",
        "widget 'text at x=None, y=None': text, 6×6, where there is room",
    ]
