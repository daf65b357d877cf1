"""Which alarms AWS would take: AWS's own model, the sandbox's separate rules, grids with positions, properties."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights.alarms import rules
from lift_insights.alarms.expression import (
    STATE_NAMES,
    Rule,
    children,
    leaves,
    name_of,
    parse_rule,
    rename,
    render_rule,
)
from lift_insights.alarms.queries import STATISTICS, UNITS
from lift_insights.alarms.rules import check, check_alarm, check_composite, check_mute, metrics_of, period_of, series_of
from lift_insights.frames import InputError
from lift_insights.sandbox.alarm_rules import alarm_problem
from lift_insights.sandbox.composite_rules import composite_problem, read_rule
from lift_insights.sandbox.server import AwsError

TOPIC = "arn:aws:sns:us-east-1:123456789012:pages"
SLOW = {
    "AlarmName": "payments slow",
    "Namespace": "PayTheory/Lift",
    "MetricName": "requests.duration",
    "Dimensions": [{"Name": "tenant_id", "Value": "acme"}],
    "ExtendedStatistic": "p99",
    "Period": 300,
    "EvaluationPeriods": 3,
    "DatapointsToAlarm": 2,
    "Threshold": 900.0,
    "ComparisonOperator": "GreaterThanThreshold",
}
EVALUATED = {"EvaluationPeriods": 5, "Threshold": 5.0, "ComparisonOperator": "GreaterThanThreshold"}


def stat(name: str, returns: bool = False, period: int = 60, **more) -> dict:
    metric = {"Namespace": "N", "MetricName": f"metric {name}"}
    return {"Id": name, "ReturnData": returns, "MetricStat": {"Metric": metric, "Period": period, "Stat": "Sum"} | more}


def math(expression: str, *queries: dict, **more) -> dict:
    queries = queries or (stat("m1"), stat("m2"))
    return {"AlarmName": "rate", "Metrics": [*queries, {"Id": "e", "Expression": expression}], **EVALUATED, **more}


BAND = {
    "AlarmName": "band",
    "EvaluationPeriods": 3,
    "ComparisonOperator": "GreaterThanUpperThreshold",
    "ThresholdMetricId": "b",
    "Metrics": [stat("m1", returns=True), {"Id": "b", "Expression": "ANOMALY_DETECTION_BAND(m1, 2)"}],
}
PROMQL = {
    "AlarmName": "prom",
    "EvaluationCriteria": {"PromQLCriteria": {"Query": "up == 0", "PendingPeriod": 60}},
    "EvaluationInterval": 60,
}
DOWN = {
    "AlarmName": "down",
    "AlarmRule": "ALARM(slow) AND NOT OK(errors)",
    "AlarmActions": [TOPIC],
    "ActionsSuppressor": "deploying",
    "ActionsSuppressorWaitPeriod": 60,
    "ActionsSuppressorExtensionPeriod": 0,
}
MUTE = {"Name": "night", "Rule": {"Schedule": {"Expression": "cron(0 2 * * *)", "Duration": "PT4H"}}}


def without(alarm: dict, *names: str) -> dict:
    return {name: value for name, value in alarm.items() if name not in names}


# AWS's own model


@pytest.fixture(scope="module")
def model():
    import botocore.session

    return botocore.session.get_session().get_service_model("cloudwatch")


def test_the_arguments_are_those_of_the_api(model):
    named = {
        "string": "text", "boolean": "True or False", "integer": "a whole number", "double": "a finite number",
        "structure": "a dict", "timestamp": "a time",
    }  # fmt: skip
    for call, known in (("PutMetricAlarm", rules.METRIC_ARGUMENTS), ("PutCompositeAlarm", rules.COMPOSITE_ARGUMENTS)):
        members = model.operation_model(call).input_shape.members
        expected = {}
        for name, shape in members.items():
            of = f"a list of {'dicts' if shape.type_name == 'list' and shape.member.type_name == 'structure' else 'text'}"
            expected[name] = named.get(shape.type_name, of)
        assert known == expected, call
    shape = model.operation_model("PutMetricAlarm").input_shape.members
    assert {*rules.STATIC_OPERATORS, *rules.BAND_OPERATORS} == {*shape["ComparisonOperator"].enum}
    assert {*STATISTICS} == {*shape["Statistic"].enum}
    assert {*UNITS} == {*shape["Unit"].enum}


GOOD = {
    "one metric": SLOW,
    "a day": SLOW | {"EvaluationPeriods": 288},
    "a week": SLOW | {"Period": 3600, "EvaluationPeriods": 168},
    "ten seconds": SLOW | {"Period": 10},
    "255 characters": SLOW | {"AlarmName": "~" * 255},
    "trimmed mean": SLOW | {"ExtendedStatistic": "TM(10%:90%)"},
    "open range": SLOW | {"ExtendedStatistic": "PR(:300)"},
    "a percentile with few samples": SLOW | {"EvaluateLowSampleCountPercentile": "ignore"},
    "metric math": math("100 * m1 / m2"),
    "ten metrics": math("+".join(f"m{n}" for n in range(10)), *(stat(f"m{n}") for n in range(10))),
    "one of several": math("SUM(METRICS())"),
    "a constant beside": math("IF(m1 > 5, m2, 0)"),
    "a metric itself": {"AlarmName": "m", "Metrics": [stat("m1", returns=True)], **EVALUATED},
    "Metrics Insights": {
        "AlarmName": "insights",
        "Metrics": [{"Id": "q", "Expression": "SELECT MAX(Errors) FROM SCHEMA(\"AWS/Lambda\", FunctionName)", "Period": 60}],
        **EVALUATED,
    },
    "a quota": math("m1 / SERVICE_QUOTA(m1) * 100", stat("m1")),
    "a contributor": {
        "AlarmName": "c",
        "Metrics": [{"Id": "c", "Expression": "INSIGHT_RULE_METRIC('r', UniqueContributors)", "Period": 60}],
        **EVALUATED,
    },
    "a band": BAND,
    "a band of an expression": BAND
    | {
        "Metrics": [
            stat("m1"), stat("m2"), {"Id": "e", "Expression": "m1 / m2"},
            {"Id": "b", "Expression": "ANOMALY_DETECTION_BAND(e, 2)"},
        ],
    },
    "PromQL": PROMQL,
    "a clock": SLOW | {"EvaluationWindow": {"WallClockWindow": {"Timezone": "America/New_York"}}},
    "an offset": SLOW | {"EvaluationWindow": {"WallClockWindow": {"Timezone": "UTC+05:30"}}},
    "sliding": SLOW | {"EvaluationWindow": {"SlidingWindow": {}}},
    "warm-up": SLOW | {"WarmUpConfiguration": {"WarmUpPeriodDurationInMinutes": 2880}},
    "propagation": SLOW
    | {"ActionConfiguration": {"AlarmTagsPropagation": {"Enabled": True, "IncludedTagKeys": ["team"]}}},
    "tags": SLOW | {"Tags": [{"Key": f"k{n}", "Value": ""} for n in range(50)]},
    "five actions": SLOW | {"AlarmActions": [TOPIC] * 5, "OKActions": (TOPIC,)},
    "composite": DOWN,
    "composite without suppressor": without(DOWN, *(name for name in DOWN if name.startswith("ActionsS"))),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_good_alarms(name, model):
    from botocore.validate import ParamValidator

    alarm = GOOD[name]
    before = copy.deepcopy(alarm)
    assert check(alarm) is alarm
    assert alarm == before
    call = "PutCompositeAlarm" if "AlarmRule" in alarm else "PutMetricAlarm"
    assert not ParamValidator().validate(alarm, model.operation_model(call).input_shape).has_errors()


def test_a_band_of_an_expression_has_to_return_it():
    queries = GOOD["a band of an expression"]["Metrics"]
    hidden = [queries[0], queries[1], queries[2] | {"ReturnData": False}, queries[3]]
    with pytest.raises(InputError, match="ReturnData=True for the band 'b' and the metric it is for"):
        check_alarm(BAND | {"Metrics": hidden})


BAD = [
    (5, "an alarm has to be a dict of PutMetricAlarm arguments; it is a int"),
    (SLOW | {"AlarmName": ""}, "the alarm needs as its AlarmName 1 to 255 printable ASCII"),
    (SLOW | {"AlarmName": "a" * 256}, "1 to 255"),
    (SLOW | {"AlarmName": "slow\n"}, "printable ASCII"),
    (SLOW | {"AlarmName": "langsäm"}, "printable ASCII"),
    (without(SLOW, "AlarmName"), "it is None"),
    (SLOW | {"Treshold": 1}, "the alarm payments slow has no argument Treshold in PutMetricAlarm"),
    (SLOW | {"AlarmArn": "arn", "StateValue": "OK"}, "normalise leaves what can be put"),
    (SLOW | {"Unit": None}, "needs Unit as text; it is None; leave it out"),
    (SLOW | {"AlarmActions": TOPIC}, "needs AlarmActions as a list of text"),
    (SLOW | {"ActionsEnabled": "yes"}, "needs ActionsEnabled as True or False"),
    (without(SLOW, "Namespace"), "lacks Namespace (or Metrics)"),
    (without(SLOW, "Period"), "lacks Period"),
    (SLOW | {"Namespace": ":AWS"}, "does not begin with a colon"),
    (SLOW | {"Namespace": ""}, "needs a Namespace of 1 to 255"),
    (SLOW | {"MetricName": " "}, "needs a MetricName"),
    (SLOW | {"Unit": "ms"}, "needs a Unit out of Seconds"),
    (SLOW | {"Dimensions": [{"Name": "a"}]}, "dicts with Name and Value; there is {'Name': 'a'}"),
    (SLOW | {"Dimensions": {"a": "b"}}, "needs Dimensions as a list of dicts"),
    (SLOW | {"Dimensions": [{"Name": "a", "Value": "b"}] * 31}, "has 31 Dimensions"),
    (SLOW | {"Dimensions": [{"Name": ":a", "Value": "b"}]}, "does not begin with a colon"),
    (SLOW | {"Dimensions": [{"Name": "a", "Value": "ü"}]}, "printable ASCII"),
    (without(SLOW, "Threshold"), "needs a finite Threshold"),
    (SLOW | {"Threshold": float("nan")}, "needs Threshold as a finite number; it is nan"),
    (SLOW | {"Threshold": float("inf")}, "finite number"),
    (SLOW | {"Threshold": 10**400}, "finite number"),
    (SLOW | {"Threshold": True}, "finite number"),
    (SLOW | {"Statistic": "Sum"}, "either Statistic or ExtendedStatistic; it has both"),
    (without(SLOW, "ExtendedStatistic"), "it has neither"),
    (without(SLOW, "ExtendedStatistic") | {"Statistic": "p99"}, "percentiles go into ExtendedStatistic"),
    (SLOW | {"ExtendedStatistic": "p999"}, "such as p99 or tm90; it is 'p999'"),
    (SLOW | {"ExtendedStatistic": "Sum"}, "such as p99"),
    (SLOW | {"ComparisonOperator": ">"}, "needs a ComparisonOperator of GreaterThanOrEqualToThreshold"),
    (without(SLOW, "ComparisonOperator"), "it is None"),
    (SLOW | {"ComparisonOperator": "GreaterThanUpperThreshold"}, "without ThresholdMetricId there is no band"),
    (SLOW | {"EvaluationPeriods": 0}, "EvaluationPeriods of at least 1; it is 0"),
    (SLOW | {"EvaluationPeriods": 3.0}, "EvaluationPeriods as a whole number"),
    (SLOW | {"EvaluationPeriods": True}, "EvaluationPeriods as a whole number"),
    (without(SLOW, "EvaluationPeriods"), "at least 1; it is None"),
    (SLOW | {"DatapointsToAlarm": 4}, "DatapointsToAlarm from 1 to EvaluationPeriods=3; it is 4"),
    (SLOW | {"DatapointsToAlarm": 0}, "it is 0"),
    (SLOW | {"Period": 90}, "10, 20, 30 or a multiple of 60 seconds; it is 90"),
    (SLOW | {"Period": 0}, "it is 0"),
    (SLOW | {"Period": -60}, "it is -60"),
    (SLOW | {"EvaluationPeriods": 289}, "looks back 289 × 300 s; the limit for this period is 1 day (86,400 s)"),
    (SLOW | {"Period": 3600, "EvaluationPeriods": 169}, "the limit for this period is 7 days (604,800 s)"),
    (SLOW | {"Period": 3540, "EvaluationPeriods": 25}, "1 day"),
    (SLOW | {"TreatMissingData": "notbreaching"}, "TreatMissingData out of missing, notBreaching"),
    (SLOW | {"EvaluateLowSampleCountPercentile": "skip"}, "as evaluate or ignore"),
    (SLOW | {"ExtendedStatistic": "tm90", "EvaluateLowSampleCountPercentile": "ignore"}, "needs a percentile"),
    (SLOW | {"AlarmDescription": "x" * 1025}, "1025 characters; the limit is 1,024"),
    (SLOW | {"AlarmActions": [TOPIC] * 6}, "more than 5 AlarmActions: 6"),
    (SLOW | {"OKActions": ["pages"]}, "needs ARNs as OKActions"),
    (SLOW | {"EvaluationWindow": {}}, "one of SlidingWindow and WallClockWindow; it has neither"),
    (SLOW | {"EvaluationWindow": {"SlidingWindow": {}, "WallClockWindow": {}}}, "it has SlidingWindow, WallClockWindow"),
    (SLOW | {"EvaluationWindow": {"SlidingWindow": {"Timezone": "UTC"}}}, "no argument Timezone in SlidingWindow"),
    (SLOW | {"EvaluationWindow": {"WallClockWindow": {"Timezone": "Mars"}}}, "it is 'Mars'"),
    (SLOW | {"EvaluationWindow": {"WallClockWindow": {"Timezone": "+05:31"}}}, "steps of 5 minutes"),
    (SLOW | {"EvaluationWindow": {"WallClockWindow": {"Timezone": "../etc/passwd"}}}, "needs a Timezone"),
    (SLOW | {"WarmUpConfiguration": {}}, "from 1 to 2,880; it is 0"),
    (SLOW | {"WarmUpConfiguration": {"WarmUpPeriodDurationInMinutes": 2881}}, "it is 2881"),
    (SLOW | {"WarmUpConfiguration": {"Minutes": 5}}, "no argument Minutes in WarmUpConfiguration"),
    (SLOW | {"EvaluationInterval": 60}, "goes with EvaluationCriteria only"),
    (SLOW | {"ActionConfiguration": {"AlarmTagsPropagation": {}}}, "needs Enabled in AlarmTagsPropagation"),
    (
        SLOW
        | {"ActionConfiguration": {"AlarmTagsPropagation": {"Enabled": True, "IncludedTagKeys": ["a"], "ExcludedTagKeys": ["b"]}}},
        "one of the two",
    ),
    (SLOW | {"Tags": [{"Key": "aws:a", "Value": "b"}]}, "does not begin with aws:"),
    (SLOW | {"Tags": [{"Key": "a", "Value": "b"}] * 2}, "has 2 tags with 1 keys"),
    (SLOW | {"Tags": [{"Key": f"k{n}", "Value": "b"} for n in range(51)]}, "at most 50"),
    (SLOW | {"Tags": [{"Key": "a"}]}, "Key and Value"),
    (math("m1", Period=300), "has Metrics and also Period; one cannot stand beside the other"),
    (math("m1") | {"Metrics": []}, "exactly one query with ReturnData=True (the default) in Metrics; it has 0"),
    (math("m1") | {"Metrics": "m1"}, "needs Metrics as a list of dicts"),
    (math("m0 + m1", *(stat(f"m{n}") for n in range(11))), "it has 11 metrics and 1 expressions; the limit is 10 of each"),
    (math("m1") | {"Metrics": [stat("m1"), stat("m2")]}, "it has 0"),
    (math("m1") | {"Metrics": [stat("m1", True), stat("m2", True)]}, "it has 2: m1, m2"),
    (math("m1", stat("m1"), stat("m1")), "a distinct Id for each of its Metrics; they are m1, m1, e"),
    (math("m1", stat("M1")), "begins with a small letter; it is 'M1'"),
    (math("m1", stat("m1"), {"Id": "x"}), "a query 'x' that needs either MetricStat or Expression"),
    (math("m1", stat("m1"), stat("m2", period=300)), "one Period for all its metrics; they have 60, 300"),
    (math("m1", stat("m1", Stat="Mean")), "needs a Stat such as Sum, p99 or tm90; it is 'Mean'"),
    (math("m1", stat("m1") | {"Exp": 1}), "has no argument Exp in a query of Metrics"),
    (math("m1", {"Id": "m1", "ReturnData": False, "MetricStat": {"Stat": "Sum"}}), "lacks Metric, Period in its MetricStat"),
    (math("m1", stat("m1", Metric={"Namespace": "N"})), "a query 'm1' that needs a MetricName"),
    (math("5", {"Id": "c", "Expression": "3", "ReturnData": False}), "needs 1 to 10 metrics with a MetricStat"),
    (BAND | {"Threshold": 1.0}, "both Threshold and ThresholdMetricId"),
    (BAND | {"ThresholdMetricId": "gone"}, "the band 'gone' is none"),
    (BAND | {"ThresholdMetricId": "m1"}, "the band 'm1' is none"),
    (BAND | {"ComparisonOperator": "GreaterThanThreshold"}, "needs a ComparisonOperator of LessThanLowerOrGreater"),
    (BAND | {"AlarmActions": ["arn:aws:autoscaling:us-east-1:1:scalingPolicy:x"]}, "cannot have Auto Scaling actions"),
    (BAND | {"Metrics": [stat("m1"), BAND["Metrics"][1]]}, "ReturnData=True for the band 'b' and the metric it is for"),
    (BAND | {"Metrics": [stat("m1"), stat("m2", True), BAND["Metrics"][1]]}, "ReturnData=True for m1"),
    (SLOW | {"ThresholdMetricId": "b", "ComparisonOperator": "LessThanLowerThreshold"}, "both Threshold and"),
    (without(SLOW, "Threshold") | {"ThresholdMetricId": "b", "ComparisonOperator": "LessThanLowerThreshold"}, "needs Metrics"),
    (PROMQL | {"Threshold": 5.0}, "has EvaluationCriteria and also Threshold"),
    (PROMQL | {"EvaluationCriteria": {}}, "a PromQLCriteria with a Query"),
    (without(PROMQL, "EvaluationInterval"), "needs an EvaluationInterval"),
    (PROMQL | {"EvaluationInterval": 45}, "it is 45"),
    (PROMQL | {"EvaluationCriteria": {"PromQLCriteria": {"Query": "up", "PendingPeriod": 86_401}}}, "PendingPeriod from 0"),
    (PROMQL | {"EvaluationCriteria": {"PromQLCriteria": {"Query": ""}}}, "a Query of 1 to 10,000"),
    (without(DOWN, "AlarmRule") | {"AlarmRule": None}, "needs AlarmRule as text"),
    (DOWN | {"AlarmRule": ""}, "the alarm down has a rule that cannot be read: an AlarmRule needs text"),
    (DOWN | {"Threshold": 5.0}, "has no argument Threshold in PutCompositeAlarm"),
    (without(DOWN, "ActionsSuppressorWaitPeriod"), "needs ActionsSuppressorWaitPeriod in seconds"),
    (without(DOWN, "ActionsSuppressor"), "has ActionsSuppressorWaitPeriod, which needs an ActionsSuppressor"),
    (DOWN | {"ActionsSuppressorWaitPeriod": -1}, "of 0 seconds or more; it is -1"),
    (DOWN | {"ActionsSuppressor": "arn:aws:sns:x"}, "the name or the ARN of an alarm"),
    (DOWN | {"OKActions": ["arn:aws:autoscaling:us-east-1:1:scalingPolicy:x"]}, "whose actions are of sns"),
]  # fmt: skip


@pytest.mark.parametrize(("alarm", "says"), BAD, ids=[f"{n} {says[:40]}" for n, (_, says) in enumerate(BAD)])
def test_bad_alarms(alarm, says):
    with pytest.raises(InputError) as caught:
        check(alarm)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("m1 /", "the expression ends at position 5 of 'm1 /'"),
        ("m1 / (m2", "the expression ends at position 9"),
        ("m1 ? m2", "does not know '?' at position 4"),
        ("m1 / m3", "no query with the Id m3; the request has e, m1, m2; at position 6"),
        ("FILLL(m1, 0)", "no function FILLL at position 1"),
        ("fill(m1, 0)", "functions are written in capitals: FILL at position 1"),
        ("FILL(m1)", "FILL needs 2 arguments; it has 1 at position 1"),
        ("AVG(m1)", "this gives a scalar"),
        ("5", "this gives a scalar"),
        ("METRICS()", "one time series from each of its Metrics that returns data; e gives 2"),
        ("[m1, m2]", "e gives 2"),
        ("SUM(SEARCH('{N}', 'Sum'))", "SEARCH in e at position 5; an alarm does not take SEARCH"),
        ("e + 1", "refer to each other in a circle"),
        ("x" * 2049, "up to 2048 characters"),
        ("", "needs text"),
        ("ANOMALY_DETECTION_BAND(m1, 2)", "e gives 2"),
    ],
)
def test_expressions_are_refused_with_their_place(expression, says):
    with pytest.raises(InputError) as caught:
        check_alarm(math(expression))
    assert str(caught.value).startswith("the alarm rate ")
    assert says in str(caught.value)


def test_a_band_of_an_expression_needs_minutes():
    slow = BAND | {"Metrics": GOOD["a band of an expression"]["Metrics"]}
    quick = BAND | {"Metrics": [stat("m1", period=10), stat("m2", period=10), *slow["Metrics"][2:]]}
    assert check_alarm(slow) is slow
    with pytest.raises(InputError, match=r"periods of at least 60 s"):
        check_alarm(quick)


def test_a_band_that_cannot_be_read():
    with pytest.raises(InputError, match=r"a band b that cannot be read: .* position 24"):
        check_alarm(BAND | {"Metrics": [stat("m1", True), {"Id": "b", "Expression": "ANOMALY_DETECTION_BAND("}]})
    with pytest.raises(InputError, match="width above 0"):
        check_alarm(BAND | {"Metrics": [stat("m1", True), {"Id": "b", "Expression": "ANOMALY_DETECTION_BAND(m1, 0)"}]})


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 400) | st.floats() | st.text(max_size=4) | st.sampled_from([TOPIC, "Sum", "UTC"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.sampled_from(["Name", "Value", "Id", "Key"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def harmed(good, junk):
    """A good one in which one thing, at any depth, became junk."""

    def places(value, path=()):
        yield path
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, one in inner:
            yield from places(one, (*path, key))

    def put(value, path):
        if not path:
            return junk
        new = copy.copy(value)
        new[path[0]] = put(value[path[0]], path[1:])
        return new

    return [put(good, path) for path in places(good) if path]


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from([*GOOD]), junk=JUNK)
def test_junk_gives_input_errors_only_and_what_passes_passes_botocore(name, junk, model):
    from botocore.validate import ParamValidator

    call = "PutCompositeAlarm" if "AlarmRule" in GOOD[name] else "PutMetricAlarm"
    shape = model.operation_model(call).input_shape
    for alarm in harmed(GOOD[name], junk):
        try:
            check(alarm)
        except InputError:
            continue
        if "AlarmRule" in alarm or call == "PutMetricAlarm":
            assert not ParamValidator().validate(alarm, shape).has_errors(), alarm


# The sandbox has the same rules, written by someone else from the same pages

PERIODS = st.sampled_from([10, 30, 45, 60, 90, 300, 3600, 86_400])
STATS = st.sampled_from([*STATISTICS, "p99", "p99.9", "tm90", "IQM", "TM(10%:90%)", "PR(:300)", "p101", "x"])
EXPRESSIONS = st.sampled_from(["m1/m2", "m1/m3", "m1 /", "AVG(m1)", "FILL(m1,0)", "IF(m1>m2, m1)", "m1+m2+m1"])


@st.composite
def metric_alarms(draw):
    alarm = {
        "AlarmName": "a",
        "EvaluationPeriods": draw(st.sampled_from([1, 2, 24, 25, 168, 169, 288, 289, 1440, 1441])),
    }
    if draw(st.booleans()):
        alarm["DatapointsToAlarm"] = draw(st.integers(1, 3))
    kind = draw(st.sampled_from(["one", "math", "band"]))
    alarm["ComparisonOperator"] = draw(st.sampled_from([*rules.STATIC_OPERATORS, *rules.BAND_OPERATORS]))
    if draw(st.booleans()) or kind == "one":
        alarm["Threshold"] = 5.0
    if kind == "one":
        alarm |= {"Namespace": "N", "MetricName": "m", "Period": draw(PERIODS)}
        alarm[draw(st.sampled_from(["Statistic", "ExtendedStatistic"]))] = draw(STATS)
    elif kind == "math":
        period = draw(PERIODS)
        periods = (period, draw(st.sampled_from([period, 60])))
        queries = [stat(f"m{n}", draw(st.booleans()), p) for n, p in enumerate(periods, 1)]
        alarm["Metrics"] = [*queries, {"Id": "e", "Expression": draw(EXPRESSIONS), "ReturnData": draw(st.booleans())}]
    else:
        band = draw(st.sampled_from(["ANOMALY_DETECTION_BAND(m1, 2)", "ANOMALY_DETECTION_BAND(m2)", "m1 * 2"]))
        alarm["Metrics"] = [
            stat("m1", draw(st.booleans())),
            {"Id": "b", "Expression": band, "ReturnData": draw(st.booleans())},
        ]
        alarm["ThresholdMetricId"] = draw(st.sampled_from(["b", "m1", "x"]))
    return alarm


@settings(max_examples=400, deadline=None)
@given(alarm=metric_alarms())
def test_metric_alarms_as_the_sandbox_sees_them(alarm, model):
    from botocore.validate import ParamValidator

    shape = model.operation_model("PutMetricAlarm").input_shape
    try:
        problem = alarm_problem(alarm) or ParamValidator().validate(alarm, shape).generate_report() or None
        if not problem and alarm.get("Statistic", "Sum") not in STATISTICS:
            problem = "not of the enumeration"  # the sandbox's server looks at those
    except (AwsError, InputError) as error:
        problem = str(error)
    try:
        ours = check_alarm(alarm) and None
    except InputError as error:
        ours = str(error)
    assert (ours is None) == (problem is None), (ours, problem)


# The rule of a composite alarm

ODD = [
    "a",
    "slow (p99), tenant",
    'say "hi"',
    "back\\slash",
    "AND",
    "TRUE",
    "arn:aws:cloudwatch:us-east-1:123456789012:alarm:x y",
]


def trees(names=tuple(ODD)):
    leaf = st.builds(Rule, st.sampled_from(STATE_NAMES), st.sampled_from(names))

    def at_least(state, chosen, negated, share, seed):
        args = tuple(Rule("NOT", None, (Rule(state, one),)) if negated else Rule(state, one) for one in chosen)
        return Rule("AT_LEAST", f"{1 + seed}%" if share else 1 + seed % len(args), args)

    some = st.lists(st.sampled_from(names), min_size=1, max_size=4)
    few = st.builds(at_least, st.sampled_from(STATE_NAMES), some, st.booleans(), st.booleans(), st.integers(0, 99))

    def more(inner):
        rows = st.builds(
            Rule, st.sampled_from(["AND", "OR"]), st.none(), st.lists(inner, min_size=2, max_size=4).map(tuple)
        )
        return rows | st.builds(Rule, st.just("NOT"), st.none(), inner.map(lambda one: (one,)))

    return st.recursive(leaf | few | st.sampled_from([Rule("TRUE"), Rule("FALSE")]), more, max_leaves=12)


@settings(max_examples=200)
@given(tree=trees())
def test_a_rendered_rule_is_read_back(tree):
    text = render_rule(tree)
    assert parse_rule(text) == tree
    assert render_rule(parse_rule(text)) == text
    assert [text[leaf.at :].startswith((leaf.kind, '"')) for leaf in leaves(parse_rule(text))].count(False) == 0


@settings(max_examples=300)
@given(tree=trees(("a", "b", "c", 'd "d"')), data=st.data())
def test_rules_as_the_sandbox_reads_them(tree, data):
    text = render_rule(tree)
    theirs = read_rule(text)
    assert theirs.alarms() == children(text) == children(tree)
    now = {name: data.draw(st.sampled_from(STATE_NAMES)) for name in children(tree)}

    def holds(rule):
        if rule.kind in STATE_NAMES:
            return now[rule.value] == rule.kind
        held = [holds(arg) for arg in rule.args]
        answers = {"TRUE": True, "FALSE": False, "NOT": not all(held), "AND": all(held), "OR": any(held)}
        return sum(held) >= rule.least if rule.kind == "AT_LEAST" else answers[rule.kind]

    assert holds(tree) == theirs.holds(now)


TOKENS = [
    "ALARM",
    "OK",
    "(",
    ")",
    ",",
    "AND",
    "OR",
    "NOT",
    "a",
    '"b c"',
    "TRUE",
    "false",
    "AT_LEAST",
    "2",
    "50%",
    "0",
    '"',
    "and",
]


@settings(max_examples=500)
@given(st.lists(st.sampled_from(TOKENS), max_size=14))
def test_what_is_read_is_what_the_sandbox_reads(tokens):
    text = " ".join(tokens)
    try:
        theirs = read_rule(text)
    except AwsError:
        theirs = None
    if theirs is None:
        with pytest.raises(InputError, match=r"position|needs text"):
            parse_rule(text)
    else:
        assert children(text) == theirs.alarms()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ALARM(a", "needs ); the rule ends at position 8"),
        ("ALARM a", "needs (; there is 'a' at position 7"),
        ("ALARM()", "needs the name or the ARN of an alarm"),
        ("ALARM(too slow)", "there is 'slow' at position 11"),
        ('ALARM("slow)', "there is '\"' at position 7"),
        ('ALARM("")', "needs the name"),
        ("ALARM(a) OK(b)", "needs AND, OR or its end; there is 'OK' at position 10"),
        ("ALARM(a) and OK(b)", "there is 'and' at position 10"),
        ("alarm(a)", "needs ALARM(…)"),
        ("AND OK(a)", "there is 'AND' at position 1"),
        ("OK(a) AND", "the rule ends at position 10"),
        ("(OK(a)", "needs ); the rule ends at position 7"),
        ("OK(a))", "there is ')' at position 6"),
        ("NOT", "the rule ends at position 4"),
        ("AT_LEAST(3, ALARM, (a, b))", "cannot hold with 3 of 2 alarms; there is '3' at position 10"),
        ("AT_LEAST(0, ALARM, (a, b))", "there is '0' at position 10"),
        ("AT_LEAST(0%, ALARM, (a))", "there is '0%'"),
        ("AT_LEAST(101%, ALARM, (a))", "there is '101%'"),
        ("AT_LEAST(1.5, ALARM, (a))", "there is '1.5'"),
        ("AT_LEAST(1, BAD, (a))", "needs ALARM or OK or INSUFFICIENT_DATA; there is 'BAD' at position 13"),
        ("AT_LEAST(1, ALARM, a)", "needs (; there is 'a' at position 20"),
        ("AT_LEAST(1, ALARM, ())", "needs the name"),
        ("AT_LEAST(1, ALARM, (a,))", "needs the name"),
        ("AT_LEAST(1, ALARM, (ALARM(a)))", "needs , or ); there is '(' at position 26"),
        (" OK(a)", "no space or line break before or after it"),
        ("OK(a)\n", "no space or line break"),
        (None, "needs text"),
        ("   ", "needs text"),
        ("OK(" + "a" * 10_240 + ")", "takes up to 10,240 characters; it has 10,244"),
        (" OR ".join(f"ALARM(a{n})" for n in range(101)), "takes up to 100 alarms; it names 101"),
        (" OR ".join(["TRUE"] * 501), "takes up to 500 elements"),
        ("(" * 300 + "TRUE" + ")" * 300, "levels deep"),
        ("NOT " * 500 + "TRUE", "levels deep"),
    ],
)  # fmt: skip
def test_bad_rules_and_their_places(text, says):
    with pytest.raises(InputError) as caught:
        parse_rule(text)
    assert says in str(caught.value)


def test_rules_at_the_limits():
    assert len(children(" OR ".join(f"ALARM(a{n})" for n in range(100)))) == 100
    assert len(parse_rule(" OR ".join(["TRUE"] * 500)).args) == 500
    assert parse_rule(" OR ".join(["(TRUE)"] * 250)).kind == "OR"  # a pair of parentheses is one element
    assert parse_rule("(" * 100 + "TRUE" + ")" * 100) == Rule("TRUE")
    assert parse_rule("OK(" + "a" * 10_236 + ")").value == "a" * 10_236
    assert parse_rule("NOT NOT ALARM (a)\nOR\tFALSE").args[1] == Rule("FALSE")


def test_children_and_new_names():
    arn = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:slow"
    rule = parse_rule(f"OK({arn}) OR AT_LEAST(50%, NOT ALARM, (b, slow)) AND NOT ALARM(c)")
    assert children(rule) == ["slow", "b", "c"]
    assert name_of(arn) == "slow"
    renamed = rename(rule, lambda name: f"prod-{name}")
    assert children(renamed) == ["prod-slow", "prod-b", "prod-c"]
    assert render_rule(renamed) == (
        f'OK("{arn[:-4]}prod-slow") OR AT_LEAST(50%, NOT ALARM, ("prod-b", "prod-slow")) AND NOT ALARM("prod-c")'
    )
    assert [Rule("AT_LEAST", "34%", (Rule("OK", "a"),) * n).least for n in (1, 2, 3, 100)] == [1, 1, 2, 34]


@given(suppressed=st.booleans(), wait=st.none() | st.integers(-1, 1), extension=st.none() | st.integers(-1, 1))
def test_composites_as_the_sandbox_sees_them(suppressed, wait, extension):
    alarm = {"AlarmName": "c", "AlarmRule": "OK(a)"} | ({"ActionsSuppressor": "s"} if suppressed else {})
    alarm |= {} if wait is None else {"ActionsSuppressorWaitPeriod": wait}
    alarm |= {} if extension is None else {"ActionsSuppressorExtensionPeriod": extension}
    try:
        ours = check_composite(alarm) and None
    except InputError as error:
        ours = str(error)
    assert (ours is None) == (composite_problem(alarm) is None)


# What an alarm looks at


def test_what_an_alarm_looks_at():
    key = "PayTheory/Lift|requests.duration|tenant_id=acme|p99"
    assert series_of(SLOW) == [key]
    assert metrics_of(SLOW) == [
        {
            "Namespace": "PayTheory/Lift",
            "MetricName": "requests.duration",
            "Dimensions": [{"Name": "tenant_id", "Value": "acme"}],
            "Period": 300,
            "Stat": "p99",
        }
    ]
    assert series_of(math("m1/m2")) == ["N|metric m1||Sum", "N|metric m2||Sum"]
    twice = math("m1/m2", stat("m1"), {**stat("m2"), "MetricStat": stat("m1")["MetricStat"]})
    assert series_of(twice) == ["N|metric m1||Sum"]
    assert len(metrics_of(twice)) == 2
    for name in ("PromQL", "Metrics Insights", "composite"):
        assert metrics_of(GOOD[name]) == series_of(GOOD[name]) == []
    assert [period_of(GOOD[n]) for n in ("one metric", "metric math", "Metrics Insights", "PromQL")] == [
        300,
        60,
        60,
        60,
    ]
    with pytest.raises(InputError, match="the alarm down has no Period"):
        period_of(DOWN)


def test_mute_rules_are_checked_here_too():
    assert check_mute(MUTE) is MUTE


@pytest.mark.parametrize("period", [10, 30, 120, 900, 7200])
def test_a_wall_clock_window_takes_five_periods_only(period):
    walled = SLOW | {"EvaluationWindow": {"WallClockWindow": {}}}
    assert check_alarm(walled)
    with pytest.raises(InputError, match="takes a Period of 60, 300, 3600, 86400, 604800 s"):
        check_alarm(walled | {"Period": period})


@pytest.mark.parametrize(
    "stat", ["PR(:300)", "PR(100:)", "TC(0.005:0.030)", "TM(10%:90%)", "TS(80%:)", "WM(:95%)", "tm99", "IQM", "p99.9"]
)
def test_statistics_between_two_bounds(stat):
    assert check_alarm(SLOW | {"ExtendedStatistic": stat})


@pytest.mark.parametrize(
    "stat",
    ["PR(...:)", "PR(1.2.3:)", "PR(:)", "PR(300:100)", "TM(90%:10%)", "TM(:150%)", "TC(5:90%)", "PR(10%:)", "p101", ""],
)
def test_statistics_that_are_none(stat):
    with pytest.raises(InputError, match="ExtendedStatistic such as"):
        check_alarm(SLOW | {"ExtendedStatistic": stat})
