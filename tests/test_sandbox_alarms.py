"""Alarms of the local AWS, over HTTP with boto3: what AWS would refuse, states from the data, history, paging, mute rules, detectors."""

import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from botocore import xform_name
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights import sandbox
from lift_insights.frames import STATES, InputError
from lift_insights.sandbox.composite_rules import read_rule
from lift_insights.sandbox.mutes import begins, cron_fields, duration_of
from lift_insights.sandbox.server import AwsError, LocalAWS
from lift_insights.sources import alarms as source

NOW = datetime(2026, 3, 15, tzinfo=UTC)
ALL = ["MetricAlarm", "CompositeAlarm"]
ACCOUNT = "arn:aws:cloudwatch:us-east-1:123456789012"


@pytest.fixture(scope="module")
def session():
    with sandbox.local(None, clock=NOW) as session:
        yield session


@pytest.fixture
def cloudwatch(session):
    return session.client("cloudwatch")


@pytest.fixture
def clean():
    """A client of an empty account."""
    with sandbox.local(None, clock=NOW) as session:
        yield session.client("cloudwatch")


class Clock:
    """A clock that only goes when told to, and the service behind the API."""

    def __init__(self, now=NOW):
        self.now = now
        self.service = LocalAWS(lambda: self.now).service("monitoring", "us-east-1")

    def forward(self, **span):
        self.now += timedelta(**span)

    def put(self, *values, metric="latency", ago=0):
        """Values a minute apart; the last one begins `ago` + 1 minutes before now."""
        first = self.now - timedelta(minutes=len(values) + ago)
        data = [
            {"MetricName": metric, "Timestamp": (first + timedelta(minutes=i)).timestamp(), "Value": float(value)}
            for i, value in enumerate(values)
            if value is not None
        ]
        self.service.put_metric_data("shop", data)

    def state(self, name="a"):
        found = self.service.describe_alarms(AlarmNames=[name], AlarmTypes=ALL)
        return (found["MetricAlarms"] + found["CompositeAlarms"])[0]["StateValue"]

    def history(self, name="a", kind="StateUpdate"):
        found = self.service.describe_alarm_history(name, ALL, kind, ScanBy="TimestampAscending")["AlarmHistoryItems"]
        return [(item["HistorySummary"], item["Timestamp"]) for item in found]


ALARM = {
    "AlarmName": "a",
    "EvaluationPeriods": 5,
    "ComparisonOperator": "GreaterThanOrEqualToThreshold",
    "Namespace": "shop",
    "MetricName": "latency",
    "Period": 60,
    "Threshold": 0.0,
    "Statistic": "Average",
}
TOPIC = "arn:aws:sns:us-east-1:123456789012:pager"
METRICS = [
    {"Id": "e", "Expression": "bad / total", "Label": "rate", "ReturnData": True},
    {
        "Id": "bad",
        "MetricStat": {
            "Metric": {"Namespace": "s", "MetricName": "b", "Dimensions": [{"Name": "x", "Value": "y"}]},
            "Period": 60,
            "Stat": "Sum",
            "Unit": "Count",
        },
        "ReturnData": False,
    },
    {
        "Id": "total",
        "MetricStat": {"Metric": {"Namespace": "s", "MetricName": "t"}, "Period": 60, "Stat": "p99.9"},
        "ReturnData": False,
    },
]
MATH = {
    "AlarmName": "m",
    "EvaluationPeriods": 3,
    "ComparisonOperator": "LessThanThreshold",
    "Threshold": 1.5,
    "Metrics": METRICS,
}
BAND = {
    "AlarmName": "band",
    "EvaluationPeriods": 2,
    "ComparisonOperator": "LessThanLowerOrGreaterThanUpperThreshold",
    "ThresholdMetricId": "ad",
    "Metrics": [
        METRICS[1] | {"ReturnData": True},
        {"Id": "ad", "Expression": "ANOMALY_DETECTION_BAND(bad, 2)", "ReturnData": True},
    ],
}


@pytest.mark.parametrize(
    "alarm",
    [
        ALARM,
        ALARM
        | {
            "AlarmDescription": "why — and what to do",
            "ActionsEnabled": False,
            "OKActions": [TOPIC],
            "AlarmActions": [TOPIC, TOPIC + "2"],
            "InsufficientDataActions": [TOPIC],
            "Dimensions": [{"Name": "b", "Value": "2"}, {"Name": "a", "Value": "1"}],
            "Unit": "Milliseconds",
            "DatapointsToAlarm": 3,
            "TreatMissingData": "notBreaching",
            "Threshold": 1e-9,
        },
        {k: v for k, v in ALARM.items() if k != "Statistic"}
        | {"ExtendedStatistic": "p99.9", "EvaluateLowSampleCountPercentile": "ignore"},
        MATH | {"DatapointsToAlarm": 2, "TreatMissingData": "breaching", "AlarmDescription": "d"},
        BAND,
        ALARM | {"Period": 3600, "EvaluationPeriods": 168},
        ALARM | {"Period": 60, "EvaluationPeriods": 1440},
        ALARM
        | {
            "EvaluationWindow": {"WallClockWindow": {"Timezone": "Europe/Berlin"}},
            "WarmUpConfiguration": {"WarmUpPeriodDurationInMinutes": 30},
            "ActionConfiguration": {"AlarmTagsPropagation": {"Enabled": True, "IncludedTagKeys": ["team"]}},
        },
    ],
)
def test_an_alarm_comes_back_as_it_was_put(cloudwatch, alarm):
    cloudwatch.put_metric_alarm(**alarm, Tags=[{"Key": "made-by", "Value": "tests"}])
    back = cloudwatch.describe_alarms(AlarmNames=[alarm["AlarmName"]])["MetricAlarms"][0]
    assert {name: back.get(name) for name in alarm} == alarm
    added = back.keys() - alarm.keys()
    assert added <= {
        "ActionsEnabled",
        "OKActions",
        "AlarmActions",
        "InsufficientDataActions",
        "Dimensions",
        "AlarmArn",
        "StateValue",
        "StateReason",
        "StateUpdatedTimestamp",
        "StateTransitionedTimestamp",
        "AlarmConfigurationUpdatedTimestamp",
        "StateReasonData",
    }
    assert cloudwatch.list_tags_for_resource(ResourceARN=back["AlarmArn"])["Tags"] == [
        {"Key": "made-by", "Value": "tests"}
    ]
    again = {name: value for name, value in back.items() if name in alarm}
    cloudwatch.put_metric_alarm(**again)
    assert cloudwatch.describe_alarms(AlarmNames=[alarm["AlarmName"]])["MetricAlarms"][0] == back
    cloudwatch.delete_alarms(AlarmNames=[alarm["AlarmName"]])
    assert cloudwatch.describe_alarms(AlarmNames=[alarm["AlarmName"]])["MetricAlarms"] == []


def without(alarm, *names):
    return {name: value for name, value in alarm.items() if name not in names}


@pytest.mark.parametrize(
    ("alarm", "says"),
    [
        (ALARM | {"EvaluationPeriods": 1441}, "more than 1 day"),
        (ALARM | {"Period": 3600, "EvaluationPeriods": 169}, "more than 7 day"),
        (ALARM | {"Period": 90}, "multiple of 60"),
        (ALARM | {"Period": 5}, "multiple of 60"),
        (without(ALARM, "Threshold"), "Threshold is required"),
        (without(ALARM, "Statistic"), "Exactly one of Statistic"),
        (ALARM | {"ExtendedStatistic": "p99"}, "Exactly one of Statistic"),
        (without(ALARM, "Statistic") | {"ExtendedStatistic": "p99x"}, "not supported"),
        (without(ALARM, "Namespace"), "Namespace is required"),
        (without(ALARM, "MetricName"), "MetricName is required"),
        (without(ALARM, "ComparisonOperator"), "ComparisonOperator is required"),
        (without(ALARM, "EvaluationPeriods"), "EvaluationPeriods is required"),
        (ALARM | {"DatapointsToAlarm": 6}, "DatapointsToAlarm"),
        (ALARM | {"TreatMissingData": "zero"}, "TreatMissingData"),
        (ALARM | {"EvaluateLowSampleCountPercentile": "ignore"}, "percentile"),
        (ALARM | {"AlarmName": "a" * 256}, "less than or equal to 255"),
        (ALARM | {"ComparisonOperator": "LessThanLowerThreshold"}, "ThresholdMetricId"),
        (ALARM | {"AlarmActions": ["pager"]}, "Invalid arn"),
        (ALARM | {"AlarmActions": [TOPIC] * 6}, "less than or equal to 5"),
        (MATH | {"Period": 60}, "cannot be specified with Period"),
        (MATH | {"Metrics": [METRICS[0] | {"ReturnData": False}, *METRICS[1:]]}, "Exactly one element"),
        (MATH | {"Metrics": [METRICS[0], METRICS[1] | {"ReturnData": True}, METRICS[2]]}, "Exactly one element"),
        (MATH | {"Metrics": [METRICS[0] | {"Expression": "SEARCH('x', 'Sum')"}, *METRICS[1:]]}, "SEARCH"),
        (MATH | {"Metrics": [METRICS[0] | {"Expression": "bad / nobody"}, *METRICS[1:]]}, "nobody"),
        (MATH | {"Metrics": [METRICS[0], *(METRICS[1] | {"Id": f"m{i}"} for i in range(11))]}, "at most 10"),
        (BAND | {"Threshold": 1.0}, "mutually exclusive"),
        (without(BAND, "ThresholdMetricId"), "needs ThresholdMetricId"),
        (BAND | {"ThresholdMetricId": "bad"}, "ANOMALY_DETECTION_BAND"),
        (ALARM | {"EvaluationInterval": 60}, "does not understand EvaluationInterval"),
        (ALARM | {"EvaluationCriteria": {"PromQLCriteria": {"Query": "up"}}}, "does not understand EvaluationCriteria"),
        (ALARM | {"AlarmName": "a\tb"}, "control"),
        (ALARM | {"Tags": [{"Key": "k", "Value": "1"}, {"Key": "k", "Value": "2"}]}, "unique"),
        (ALARM | {"Tags": [{"Key": "aws:x", "Value": "1"}]}, "reserved"),
        (ALARM | {"Tags": [{"Key": f"k{i}", "Value": ""} for i in range(51)]}, "50 tags"),
        (ALARM | {"EvaluationWindow": {"WallClockWindow": {"Timezone": "Mars/Olympus"}}}, "Mars/Olympus"),
        (ALARM | {"EvaluationWindow": {"WallClockWindow": {"Timezone": "+05:33"}}}, "multiple of 5"),
        (ALARM | {"WarmUpConfiguration": {"WarmUpPeriodDurationInMinutes": 2881}}, "less than or equal to 2880"),
        (
            ALARM
            | {
                "ActionConfiguration": {
                    "AlarmTagsPropagation": {"Enabled": True, "IncludedTagKeys": ["a"], "ExcludedTagKeys": ["b"]}
                }
            },
            "can't specify both",
        ),
        (BAND | {"AlarmActions": ["arn:aws:autoscaling:us-east-1:123456789012:scalingPolicy:x"]}, "Auto Scaling"),
        (BAND | {"Metrics": [METRICS[1], BAND["Metrics"][1]]}, "Exactly two elements"),
        (
            BAND | {"Metrics": [BAND["Metrics"][0], {"Id": "ad", "Expression": "ANOMALY_DETECTION_BAND(ad)"}]},
            "another element",
        ),
        (
            BAND | {"Metrics": [BAND["Metrics"][0], {"Id": "ad", "Expression": "ANOMALY_DETECTION_BAND(bad, 0)"}]},
            "greater than 0",
        ),
        (
            MATH | {"Metrics": [*METRICS[:2], METRICS[2] | {"MetricStat": METRICS[2]["MetricStat"] | {"Period": 300}}]},
            "same Period",
        ),
    ],
)
def test_refused_alarms(cloudwatch, alarm, says):
    with pytest.raises(ClientError, match=says) as error:
        cloudwatch.put_metric_alarm(**alarm)
    assert error.value.response["Error"]["Code"] == "ValidationError"


def code_of(error):
    return error.value.response["Error"]["Code"]


def test_finding_switching_and_setting_alarms():
    with sandbox.local(None, clock=NOW) as session:
        cloudwatch = session.client("cloudwatch")
        for i in range(120):
            cloudwatch.put_metric_alarm(**ALARM | {"AlarmName": f"a{i:03d}", "AlarmActions": [f"{TOPIC}{i % 2}"]})
        pages = [len(p["MetricAlarms"]) for p in cloudwatch.get_paginator("describe_alarms").paginate()]
        assert pages == [50, 50, 20]
        assert len(cloudwatch.describe_alarms(AlarmNamePrefix="a11", MaxRecords=100)["MetricAlarms"]) == 10
        assert len(cloudwatch.describe_alarms(ActionPrefix=TOPIC + "1", MaxRecords=100)["MetricAlarms"]) == 60
        cloudwatch.set_alarm_state(AlarmName="a007", StateValue="ALARM", StateReason="tried")
        found = cloudwatch.describe_alarms(StateValue="ALARM")["MetricAlarms"]
        assert [(a["AlarmName"], a["StateReason"]) for a in found] == [("a007", "tried")]
        history = cloudwatch.describe_alarm_history(AlarmName="a007", HistoryItemType="StateUpdate")[
            "AlarmHistoryItems"
        ]
        assert [h["HistorySummary"] for h in history] == ["Alarm updated from INSUFFICIENT_DATA to ALARM"]
        cloudwatch.put_metric_alarm(**ALARM | {"AlarmName": "a007"})
        assert (
            cloudwatch.describe_alarms(AlarmNames=["a007"])["MetricAlarms"][0]["StateValue"] == "ALARM"
        )  # an update keeps the state
        cloudwatch.disable_alarm_actions(AlarmNames=["a007"])
        assert cloudwatch.describe_alarms(AlarmNames=["a007"])["MetricAlarms"][0]["ActionsEnabled"] is False
        assert len(cloudwatch.describe_alarms_for_metric(Namespace="shop", MetricName="latency")["MetricAlarms"]) == 120
        with pytest.raises(ClientError) as error:
            cloudwatch.set_alarm_state(AlarmName="nobody", StateValue="OK", StateReason="x")
        assert error.value.response["Error"]["Code"] == "ResourceNotFound"


# --- states from the data


def test_states_come_from_the_stored_data(clean):
    minutes = [NOW - timedelta(minutes=m) for m in range(1, 6)]
    data = [{"MetricName": "latency", "Timestamp": t, "Value": 5.0} for t in minutes]
    clean.put_metric_alarm(**ALARM | {"Threshold": 5.0, "AlarmActions": [TOPIC]})
    clean.put_metric_alarm(**ALARM | {"AlarmName": "b", "Threshold": 6.0})
    clean.put_composite_alarm(AlarmName="either", AlarmRule="ALARM(a) OR ALARM(b)")
    clean.put_composite_alarm(AlarmName="both", AlarmRule="ALARM(a) AND ALARM(b)")

    def states():
        found = clean.describe_alarms(AlarmTypes=ALL)
        return {a["AlarmName"]: a["StateValue"] for a in found["MetricAlarms"] + found["CompositeAlarms"]}

    assert states() == {"a": "INSUFFICIENT_DATA", "b": "INSUFFICIENT_DATA", "either": "OK", "both": "OK"}
    clean.put_metric_data(Namespace="shop", MetricData=data)
    assert states() == {"a": "ALARM", "b": "OK", "either": "ALARM", "both": "OK"}
    told = clean.describe_alarms(AlarmTypes=ALL)
    a, either = told["MetricAlarms"][0], told["CompositeAlarms"][1]
    assert either["StateReason"] == f"{ACCOUNT}:alarm:a transitioned to ALARM at Sunday 15 March, 2026 00:00:00 UTC"
    trigger = json.loads(either["StateReasonData"])["triggeringAlarms"][0]
    assert trigger == {"arn": a["AlarmArn"], "state": {"value": "ALARM", "timestamp": "2026-03-15T00:00:00.000+0000"}}
    assert json.loads(a["StateReasonData"])["recentDatapoints"] == [5.0] * 5
    assert a["StateTransitionedTimestamp"] == a["StateUpdatedTimestamp"] == NOW


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=5, max_size=9), st.integers(1, 5), st.sampled_from(["Maximum", "Sum"]))
def test_m_of_n_is_what_counting_says(values, m, stat):
    clock = Clock()
    clock.put(*values)
    clock.service.put_metric_alarm(**ALARM | {"Statistic": stat, "Threshold": 2.0, "DatapointsToAlarm": m})
    assert clock.state() == ("ALARM" if sum(v >= 2 for v in values[-5:]) >= m else "OK")


def test_every_period_that_ended_is_looked_at_once():
    clock = Clock()
    clock.service.put_metric_alarm(**ALARM | {"EvaluationPeriods": 1, "Threshold": 1.0})
    clock.forward(minutes=6)
    clock.put(0, 2, 2, 0, 2, 2)
    assert clock.state() == "ALARM"
    start = NOW.timestamp()
    assert clock.history() == [
        ("Alarm updated from INSUFFICIENT_DATA to OK", start + 60),
        ("Alarm updated from OK to ALARM", start + 120),
        ("Alarm updated from ALARM to OK", start + 240),
        ("Alarm updated from OK to ALARM", start + 300),
    ]
    clock.forward(seconds=59)  # and not again before the next one ends
    assert (clock.state(), len(clock.history())) == ("ALARM", 4)
    clock.put(0, ago=1, metric="another")
    assert len(clock.history()) == 4


def test_late_data_and_a_new_threshold_are_seen_at_the_same_time():
    clock = Clock()
    clock.put(1, 1, 1)
    clock.service.put_metric_alarm(**ALARM | {"EvaluationPeriods": 3, "Threshold": 2.0})
    assert clock.state() == "OK"
    clock.put(5, 5, 5)
    assert clock.state() == "ALARM"
    clock.service.put_metric_alarm(**ALARM | {"EvaluationPeriods": 3, "Threshold": 10.0})
    assert clock.state() == "OK"


def test_samples_that_are_laid_in_are_seen():
    clock = Clock()
    clock.service.put_metric_alarm(**ALARM | {"EvaluationPeriods": 1, "Threshold": 5.0})
    assert clock.state() == "INSUFFICIENT_DATA"
    row = {"namespace": "shop", "metric": "latency", "dimensions": [], "unit": "None", "counts": [1.0]}
    for value, state in ((9.0, "ALARM"), (-9.0, "OK")):  # the average of both is 0
        clock.service.lay_in(pl.DataFrame([row | {"timestamp": NOW - timedelta(minutes=1), "values": [value]}]))
        assert clock.state() == state


def test_a_state_set_by_hand_holds_until_the_next_look():
    clock = Clock()
    clock.put(1, 1, 1)
    clock.service.put_metric_alarm(**ALARM | {"Threshold": 5.0, "EvaluationPeriods": 1})
    clock.service.put_composite_alarm(AlarmName="c", AlarmRule="ALARM(a)")
    clock.service.set_alarm_state("a", "ALARM", "tried", '{"version": "1.0"}')
    assert (clock.state(), clock.state("c")) == ("ALARM", "ALARM")
    clock.service.put_metric_alarm(**ALARM | {"Threshold": 5.0, "EvaluationPeriods": 1, "AlarmDescription": "new"})
    assert clock.state() == "ALARM"  # an update that changes nothing it depends on keeps it
    clock.forward(minutes=1)
    clock.put(1)
    assert (clock.state(), clock.state("c")) == ("OK", "OK")
    clock.service.set_alarm_state("c", "ALARM", "tried")
    clock.forward(minutes=1)
    clock.put(1)
    assert (clock.state(), clock.state("c")) == ("OK", "ALARM")  # no child changed


def test_missing_data():
    clock = Clock()
    for treat in ("missing", "ignore", "breaching", "notBreaching"):
        clock.service.put_metric_alarm(**ALARM | {"AlarmName": treat, "TreatMissingData": treat, "Threshold": 5.0})
    states = {treat: clock.state(treat) for treat in ("missing", "ignore", "breaching", "notBreaching")}
    assert states == {
        "missing": "INSUFFICIENT_DATA",
        "ignore": "INSUFFICIENT_DATA",
        "breaching": "ALARM",
        "notBreaching": "OK",
    }


def test_math_units_and_seconds():
    clock = Clock()
    clock.put(1, 1, 1, metric="bad")
    clock.put(4, 4, 2, metric="total")
    queries = [{"Id": "r", "Expression": "bad / total"}]
    queries += [
        {
            "Id": name,
            "MetricStat": {"Metric": {"Namespace": "shop", "MetricName": name}, "Period": 60, "Stat": "Sum"},
            "ReturnData": False,
        }
        for name in ("bad", "total")
    ]
    rate = {
        "AlarmName": "rate",
        "Metrics": queries,
        "EvaluationPeriods": 1,
        "Threshold": 0.4,
        "ComparisonOperator": "GreaterThanThreshold",
    }
    clock.service.put_metric_alarm(**rate)
    clock.service.put_metric_alarm(**rate | {"AlarmName": "two", "EvaluationPeriods": 2})
    assert (clock.state("rate"), clock.state("two")) == ("ALARM", "OK")
    clock.service.put_metric_alarm(
        **ALARM | {"MetricName": "bad", "Unit": "Seconds", "TreatMissingData": "notBreaching"}
    )
    clock.service.put_metric_alarm(
        **ALARM | {"AlarmName": "fine", "MetricName": "bad", "Period": 10, "TreatMissingData": "notBreaching"}
    )
    clock.service.put_metric_alarm(**ALARM | {"AlarmName": "any", "MetricName": "bad", "EvaluationPeriods": 3})
    assert [clock.state(name) for name in ("a", "fine", "any")] == [
        "OK",
        "OK",
        "ALARM",
    ]  # 0 or more, where there is data


def test_warm_up_delays():
    clock = Clock()
    clock.put(9, 9)
    alarm = ALARM | {"EvaluationPeriods": 3, "DatapointsToAlarm": 1, "Threshold": 5.0}
    wait = {"WarmUpPeriodDurationInMinutes": 10, "OnlyStartEvaluatingAfterWarmUpPeriodEnds": True}
    clock.service.put_metric_alarm(**alarm)
    clock.service.put_metric_alarm(
        **alarm | {"AlarmName": "early", "WarmUpConfiguration": {"WarmUpPeriodDurationInMinutes": 10}}
    )
    clock.service.put_metric_alarm(**alarm | {"AlarmName": "late", "WarmUpConfiguration": wait})
    seen = [[clock.state(name) for name in ("a", "early", "late")]]
    clock.forward(minutes=1)
    clock.put(9)
    seen.append([clock.state(name) for name in ("a", "early", "late")])
    clock.forward(minutes=9)
    clock.put(9)
    seen.append([clock.state(name) for name in ("a", "early", "late")])
    none = "INSUFFICIENT_DATA"
    assert seen == [["ALARM", none, none], ["ALARM", "ALARM", none], ["ALARM"] * 3]


def test_an_anomaly_band_comes_from_the_two_weeks_before():
    clock = Clock()
    for odd in (False, True):
        levels = [100 + i % 5 for i in range(600)] + [400 * odd + 100 + i % 5 for i in range(3)]
        name = "odd" if odd else "usual"
        clock.put(*levels, metric=name)
        metric = {"Metric": {"Namespace": "shop", "MetricName": name}, "Period": 60, "Stat": "Sum"}
        queries = [{"Id": "m", "MetricStat": metric}, {"Id": "band", "Expression": "ANOMALY_DETECTION_BAND(m, 3)"}]
        band = {"ThresholdMetricId": "band", "ComparisonOperator": "GreaterThanUpperThreshold", "Metrics": queries}
        clock.service.put_metric_alarm(name, EvaluationPeriods=3, **band)
    assert (clock.state("usual"), clock.state("odd")) == ("OK", "ALARM")


def test_percentiles_of_few_samples():
    clock = Clock()
    for name, count in (("few", 5), ("many", 1500)):
        point = {"MetricName": name, "Timestamp": clock.now.timestamp() - 60, "Values": [9.0], "Counts": [count]}
        clock.service.put_metric_data("shop", [point])
        alarm = without(ALARM, "Statistic") | {"MetricName": name, "ExtendedStatistic": "p99", "EvaluationPeriods": 1}
        clock.service.put_metric_alarm(**alarm | {"AlarmName": name, "EvaluateLowSampleCountPercentile": "ignore"})
        clock.service.put_metric_alarm(**alarm | {"AlarmName": f"{name}, all the same"})
    states = [clock.state(name) for name in ("few", "few, all the same", "many", "many, all the same")]
    assert states == ["INSUFFICIENT_DATA", "ALARM", "ALARM", "ALARM"]


def test_a_wall_clock_day_ends_at_midnight_where_it_is_said():
    clock = Clock(datetime(2026, 3, 15, 22, 58, tzinfo=UTC))  # two minutes to midnight in Berlin
    clock.put(1, 1, 1)
    day = ALARM | {"Period": 86400, "EvaluationPeriods": 1, "Statistic": "SampleCount", "Threshold": 5.0}
    wall = {"EvaluationWindow": {"WallClockWindow": {"Timezone": "Europe/Berlin"}}}
    clock.service.put_metric_alarm(**day | wall | {"TreatMissingData": "notBreaching"})
    assert clock.state() == "OK"  # yesterday had nothing
    clock.forward(minutes=1)
    clock.put(1, 1, 1, 1)
    assert clock.state() == "OK"
    clock.forward(minutes=1)
    assert clock.state() == "ALARM"
    assert clock.history()[-1][1] == datetime(2026, 3, 15, 23, tzinfo=UTC).timestamp()


def test_a_monitoring_account_watches_the_same_metric_of_two_accounts():
    aws = LocalAWS(lambda: NOW)
    aws.links["123456789012"] = {"222222222222"}
    own, other = aws.service("monitoring", "us-east-1"), aws.service("monitoring", "us-east-1", "222222222222")
    queries = [{"Id": "apart", "Expression": "theirs - ours"}]
    for name, account_id in (("ours", "123456789012"), ("theirs", "222222222222")):
        metric = {"Metric": {"Namespace": "shop", "MetricName": "m"}, "Period": 60, "Stat": "Sum"}
        queries.append({"Id": name, "AccountId": account_id, "MetricStat": metric, "ReturnData": False})
    rule = {"EvaluationPeriods": 1, "Threshold": 5.0, "ComparisonOperator": "GreaterThanThreshold"}
    own.put_metric_alarm("apart", Metrics=queries, **rule)
    for service, value in ((own, 1.0), (other, 9.0)):
        service.put_metric_data("shop", [{"MetricName": "m", "Timestamp": NOW.timestamp() - 60, "Value": value}])
    assert own.describe_alarms()["MetricAlarms"][0]["StateValue"] == "ALARM"
    other.put_metric_data("shop", [{"MetricName": "m", "Timestamp": NOW.timestamp() - 60, "Value": -8.0}])
    assert own.describe_alarms()["MetricAlarms"][0]["StateValue"] == "OK"


def test_a_thousand_alarms_are_looked_at_once(monkeypatch):
    from lift_insights.alarms import replay as module

    asked, real = [], module.replay
    monkeypatch.setattr(module, "replay", lambda alarms, *a, **k: asked.append(len(alarms)) or real(alarms, *a, **k))
    clock = Clock()
    for i in range(1000):
        clock.service.put_metric_alarm(
            **ALARM | {"AlarmName": f"a{i:04}", "MetricName": f"m{i % 10}", "EvaluationPeriods": 1 + i % 5}
        )
    pages = [clock.service.describe_alarms(MaxRecords=100) for _ in range(3)]
    assert not asked  # nothing comes of nothing
    for i in range(10):
        clock.put(1, 2, 3, 4, 5, 6, metric=f"m{i}")
    pages += [clock.service.describe_alarms(MaxRecords=100) for _ in range(3)]
    assert asked == [1000]
    assert {alarm["StateValue"] for alarm in pages[-1]["MetricAlarms"]} == {"ALARM"}


def test_an_alarm_that_cannot_be_worked_out_says_so_and_leaves_the_others(monkeypatch):
    from lift_insights.alarms import replay as module

    real = module.replay

    def fails(alarms, *a, **k):
        if any(alarm["AlarmName"] == "bad" for alarm in alarms):
            raise InputError("cannot")
        return real(alarms, *a, **k)

    monkeypatch.setattr(module, "replay", fails)
    clock = Clock()
    clock.put(1, 1, 1, 1, 1)
    for name in ("a", "bad", "c"):
        clock.service.put_metric_alarm(**ALARM | {"AlarmName": name})
    told = {
        a["AlarmName"]: (a["StateValue"], a.get("EvaluationState"))
        for a in clock.service.describe_alarms()["MetricAlarms"]
    }
    assert told == {"a": ("ALARM", None), "bad": ("INSUFFICIENT_DATA", "EVALUATION_FAILURE"), "c": ("ALARM", None)}
    monkeypatch.undo()
    clock.put(1, 1, 1, 1, 1)
    assert clock.state("bad") == "ALARM"
    assert "EvaluationState" not in clock.service.describe_alarms(AlarmNames=["bad"])["MetricAlarms"][0]


# --- composite alarms


def put_children(cloudwatch, *names):
    for name in names:
        cloudwatch.put_metric_alarm(**ALARM | {"AlarmName": name})


def test_a_composite_alarm_comes_back_as_it_was_put(clean):
    put_children(clean, "a", "odd, (name)", "quiet")
    alarm = {
        "AlarmName": "c",
        "AlarmRule": f'ALARM("{ACCOUNT}:alarm:a") AND NOT OK("odd, (name)")',
        "AlarmDescription": "why",
        "ActionsEnabled": False,
        "AlarmActions": [TOPIC],
        "OKActions": [],
        "InsufficientDataActions": [TOPIC + "2"],
        "ActionsSuppressor": "quiet",
        "ActionsSuppressorWaitPeriod": 60,
        "ActionsSuppressorExtensionPeriod": 0,
    }
    clean.put_composite_alarm(**alarm, Tags=[{"Key": "k", "Value": "v"}])
    assert clean.describe_alarms()["CompositeAlarms"] == []  # only metric alarms unless asked
    back = clean.describe_alarms(AlarmTypes=["CompositeAlarm"])["CompositeAlarms"][0]
    assert {name: back[name] for name in alarm} == alarm
    assert back["StateReason"] == f"{ACCOUNT}:alarm:c was created and its alarm rule evaluates to OK"
    clean.put_composite_alarm(**alarm | {"AlarmDescription": "new"}, Tags=[{"Key": "other", "Value": "v"}])
    assert clean.list_tags_for_resource(ResourceARN=back["AlarmArn"])["Tags"] == [{"Key": "k", "Value": "v"}]
    again = clean.describe_alarms(AlarmNames=["c"], AlarmTypes=ALL)["CompositeAlarms"][0]
    assert (again["AlarmDescription"], again["StateValue"]) == ("new", "OK")
    children = clean.describe_alarms(ChildrenOfAlarmName="c")
    assert [sorted(a) for a in children["MetricAlarms"]] == [
        ["AlarmArn", "AlarmName", "StateUpdatedTimestamp", "StateValue"]
    ] * 2
    parents = clean.describe_alarms(ParentsOfAlarmName="odd, (name)")["CompositeAlarms"]
    assert parents == [{"AlarmName": "c", "AlarmArn": f"{ACCOUNT}:alarm:c"}]


SUPPRESSED = {"ActionsSuppressor": "a", "ActionsSuppressorWaitPeriod": 1, "ActionsSuppressorExtensionPeriod": 1}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            {"AlarmRule": "ALARM(a) OR ALARM(no) OR OK(none)"},
            r"Could not save the composite alarm as alarms \[no, none\] in the alarm rule do not exist",
        ),
        ({"AlarmRule": " ALARM(a)"}, "leading or trailing whitespace"),
        ({"AlarmRule": "()"}, r"Error in AlarmRule \[Unsupported token '\)' at char 1"),
        ({"AlarmRule": "ALARM(a) AND"}, "at char 12"),
        ({"AlarmRule": "ALARM(a) ALARM(a)"}, "at char 9"),
        ({"AlarmRule": "ALARM(a"}, "at char 7"),
        ({"AlarmRule": "ALARM()"}, "at char 6"),
        ({"AlarmRule": "alarm(a)"}, "'alarm' at char 0"),
        ({"AlarmRule": "ALARM(a b)"}, "'b' at char 8"),
        ({"AlarmRule": 'ALARM("a)'}, "at char 6"),
        ({"AlarmRule": "a"}, "'a' at char 0"),
        ({"AlarmRule": "AT_LEAST(2, ALARM, (a))"}, "asks for 2 of 1"),
        ({"AlarmRule": "AT_LEAST(0, ALARM, (a))"}, "at char 9"),
        ({"AlarmRule": "AT_LEAST(101%, ALARM, (a))"}, "101%"),
        ({"AlarmRule": "AT_LEAST(1, MISSING, (a))"}, "'MISSING' at char 12"),
        ({"AlarmRule": "AT_LEAST(1, ALARM, a)"}, "'a' at char 19"),
        ({"AlarmRule": f'ALARM("{ACCOUNT.replace("us-east-1", "eu-west-1")}:alarm:a")'}, "do not exist"),
        ({"AlarmRule": f'ALARM("{ACCOUNT.replace("123456789012", "210987654321")}:alarm:a")'}, "do not exist"),
        ({"AlarmRule": " OR ".join(["TRUE"] * 501)}, "500 elements"),
        ({"AlarmRule": "(" * 250 + "TRUE" + ")" * 250}, "500 elements"),
        ({"AlarmRule": "T" * 10241}, "less than or equal to 10240"),
        ({"AlarmName": "a"}, "already exists as a MetricAlarm"),
        ({"AlarmName": "a\nb"}, "control character"),
        ({"AlarmActions": ["arn:aws:automate:us-east-1:ec2:stop"]}, "cannot take the action"),
        ({"AlarmActions": ["pager"]}, "Invalid arn"),
        ({"AlarmActions": [TOPIC] * 6}, "less than or equal to 5"),
        (SUPPRESSED | {"ActionsSuppressor": "nobody"}, "nobody does not exist"),
        (SUPPRESSED | {"ActionsSuppressor": "arn:aws:sns:us-east-1:123456789012:a"}, "valid CloudWatch Alarm ARN"),
        (SUPPRESSED | {"ActionsSuppressorWaitPeriod": -1}, "greater than or equal to 0"),
        (
            {"ActionsSuppressor": "a", "ActionsSuppressorWaitPeriod": 1},
            "ActionsSuppressorExtensionPeriod must not be null",
        ),
        ({"ActionsSuppressorWaitPeriod": 1}, "requires an ActionSuppressor"),
    ],
)
def test_refused_composites(cloudwatch, arguments, says):
    put_children(cloudwatch, "a")
    with pytest.raises(ClientError, match=says) as error:
        cloudwatch.put_composite_alarm(**{"AlarmName": "c", "AlarmRule": "ALARM(a)"} | arguments)
    assert code_of(error) == "ValidationError"


def test_as_many_children_as_aws_takes():
    clock = Clock()
    for i in range(101):
        clock.service.put_metric_alarm(**ALARM | {"AlarmName": f"m{i}"})
    rule = " OR ".join(f"ALARM(m{i})" for i in range(100))
    clock.service.put_composite_alarm("c", rule)
    with pytest.raises(AwsError, match="as many as 100 children alarms; it has 101"):
        clock.service.put_composite_alarm("c", rule + " OR ALARM(m100)")
    for i in range(149):
        clock.service.put_composite_alarm(f"c{i}", "ALARM(m0)")
    clock.service.put_composite_alarm("c", "OK(m0)")  # an update is no further parent
    with pytest.raises(AwsError) as error:
        clock.service.put_composite_alarm("one more", "ALARM(m0)")
    assert error.value.code == "LimitExceeded"
    clock.service.put_composite_alarm("c", "OK(m1)")
    clock.service.put_composite_alarm("one more", "ALARM(m0)")


LEAVES = st.sampled_from([(kind, name) for kind in ("ALARM", "OK", "INSUFFICIENT_DATA") for name in "abc"])


def joined(inner):
    pairs = st.tuples(st.sampled_from(["AND", "OR"]), st.lists(inner, min_size=2, max_size=3))
    counts = st.tuples(st.just("AT_LEAST"), st.integers(1, 3), st.booleans(), st.sampled_from(["ALARM", "OK"]))
    return pairs | st.tuples(st.just("NOT"), inner) | st.tuples(st.just("("), inner) | counts


RULES = st.recursive(LEAVES | st.sampled_from([("TRUE",), ("FALSE",)]), joined, max_leaves=12)


def in_aws(rule):
    kind, *rest = rule
    if kind in ("AND", "OR"):  # what binds less tightly goes into brackets
        return f" {kind} ".join(f"({in_aws(r)})" if r[0] == "OR" and kind == "AND" else in_aws(r) for r in rest[0])
    if kind in ("NOT", "("):
        return f"NOT ({in_aws(rest[0])})" if kind == "NOT" else f"({in_aws(rest[0])})"
    if kind == "AT_LEAST":
        return f"AT_LEAST({rest[0]}, {'NOT ' * rest[1]}{rest[2]}, (a, b, c))"
    return f"{kind}({rest[0]})" if rest else kind


def in_python(rule):
    """The same rule as Python's own grammar and logic have it."""
    kind, *rest = rule
    if kind in ("AND", "OR"):
        return f" {kind.lower()} ".join(
            f"({in_python(r)})" if r[0] == "OR" and kind == "AND" else in_python(r) for r in rest[0]
        )
    if kind in ("NOT", "("):
        return f"(not ({in_python(rest[0])}))" if kind == "NOT" else f"({in_python(rest[0])})"
    if kind == "AT_LEAST":
        return f"(sum((s[n] == {rest[2]!r}) != {rest[1]} for n in 'abc') >= {rest[0]})"
    return f"s[{rest[0]!r}] == {kind!r}" if rest else kind.title()


@settings(max_examples=300, deadline=None)
@given(RULES, st.tuples(*[st.sampled_from(["ALARM", "OK", "INSUFFICIENT_DATA"])] * 3))
def test_rules_hold_as_python_says(rule, states):
    s = dict(zip("abc", states))
    assert read_rule(in_aws(rule)).holds(s) == eval(in_python(rule), {"s": s})


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from('ALRM(), "\\aTRUEANDORNOT_LEAST12%'), max_size=40))
def test_any_text_is_a_rule_or_refused(text):
    try:
        code = "" if read_rule(text).holds({}) in (True, False) else "no answer"
    except AwsError as error:
        code = error.code
    assert code in ("", "ValidationError")


def test_names_with_quotes_and_backslashes():
    assert read_rule(r'ALARM("say \"hi\" \\ (now), all") OR OK(plain)').alarms() == [r'say "hi" \ (now), all', "plain"]
    assert read_rule("AT_LEAST(50%, OK, (a, b, c))").need == 2


def test_composites_of_composites_move_together_and_only_once():
    clock = Clock()
    put = clock.service.put_composite_alarm
    for name in "ab":
        clock.service.put_metric_alarm(**ALARM | {"AlarmName": name})
    put("left", "ALARM(a)")
    put("right", "ALARM(a)")
    put("top", "ALARM(left) AND NOT ALARM(right)")  # would flicker, were it looked at between the two
    put("all", "ALARM(left) AND ALARM(right)")
    clock.service.set_alarm_state("a", "ALARM", "tried")
    assert [clock.state(name) for name in ("left", "right", "top", "all")] == ["ALARM", "ALARM", "OK", "ALARM"]
    assert [summary for summary, _ in clock.history("top")] == ["Alarm updated from INSUFFICIENT_DATA to OK"]
    for _ in range(40):  # a ladder, in which there are 2 to the 40 ways down
        n = len(clock.service.rules)
        put(
            f"l{n}",
            "OK(left) OR OK(right)" if n < 5 else f"ALARM(l{n - 1}) OR ALARM(l{n - 2})" if n > 6 else "ALARM(all)",
        )
    assert clock.state(f"l{n}") == "ALARM"
    clock.service.set_alarm_state("a", "OK", "tried")
    assert (clock.state("all"), clock.state(f"l{n}")) == ("OK", "OK")


def test_a_circle_is_taken_and_then_neither_evaluated_nor_deleted(clean):
    put_children(clean, "a")
    clean.put_composite_alarm(AlarmName="one", AlarmRule="ALARM(a)")
    clean.put_composite_alarm(AlarmName="two", AlarmRule="ALARM(one)")
    with pytest.raises(ClientError, match="cannot have a child relation with itself"):
        clean.put_composite_alarm(AlarmName="one", AlarmRule="ALARM(one) OR ALARM(a)")
    clean.put_composite_alarm(AlarmName="one", AlarmRule="ALARM(two) OR ALARM(a)")
    clean.set_alarm_state(AlarmName="a", StateValue="ALARM", StateReason="tried")
    states = {
        a["AlarmName"]: a["StateValue"] for a in clean.describe_alarms(AlarmTypes=["CompositeAlarm"])["CompositeAlarms"]
    }
    assert states == {"one": "OK", "two": "OK"}
    with pytest.raises(ClientError, match="Cannot delete one as there are composite alarm"):
        clean.delete_alarms(AlarmNames=["one"])
    clean.put_composite_alarm(AlarmName="one", AlarmRule="FALSE")
    for name in ("two", "one", "a"):
        clean.delete_alarms(AlarmNames=[name])
    assert clean.describe_alarms(AlarmTypes=ALL)["CompositeAlarms"] == []


def test_what_deleting_refuses(clean):
    put_children(clean, "a", "b", "quiet")
    clean.put_composite_alarm(
        AlarmName="c", AlarmRule="ALARM(a) AND ALARM(b)", **SUPPRESSED | {"ActionsSuppressor": "quiet"}
    )
    clean.put_composite_alarm(AlarmName="d", AlarmRule="TRUE")
    for names, says in (
        (["a"], "Cannot delete a as there are composite alarm(s) depending on it."),
        (["a", "b", "nobody"], "Cannot delete a,b as there are composite alarm(s) depending on them."),
        (["quiet"], "Cannot delete quiet as"),
        (["c", "d"], "at most one composite alarm"),
    ):
        with pytest.raises(ClientError) as error:
            clean.delete_alarms(AlarmNames=names)
        assert code_of(error) == "ValidationError"
        assert says in str(error.value)
    assert len(clean.describe_alarms()["MetricAlarms"]) == 3
    clean.delete_alarms(AlarmNames=["a", "b", "c", "quiet", "nobody"])  # one composite alarm, with what it stands on
    left = clean.describe_alarms(AlarmTypes=ALL)
    assert [a["AlarmName"] for a in left["MetricAlarms"] + left["CompositeAlarms"]] == ["d"]
    history = clean.describe_alarm_history(AlarmName="a", HistoryItemType="ConfigurationUpdate")["AlarmHistoryItems"]
    assert [json.loads(item["HistoryData"])["type"] for item in history] == ["Delete", "Create"]
    with pytest.raises(ClientError) as error:
        clean.list_tags_for_resource(ResourceARN=f"{ACCOUNT}:alarm:a")
    assert code_of(error) == "ResourceNotFoundException"


def test_suppression():
    clock = Clock()
    for name in ("a", "quiet"):
        clock.service.put_metric_alarm(**ALARM | {"AlarmName": name, "TreatMissingData": "ignore"})
    periods = {"ActionsSuppressorWaitPeriod": 60, "ActionsSuppressorExtensionPeriod": 120}
    clock.service.put_composite_alarm("c", "ALARM(a)", ActionsSuppressor=f"{ACCOUNT}:alarm:quiet", **periods)

    def by():
        return clock.service.describe_alarms(AlarmTypes=ALL)["CompositeAlarms"][0].get("ActionsSuppressedBy")

    seen = [by()]
    clock.service.set_alarm_state("a", "ALARM", "x")
    seen.append(by())
    clock.forward(seconds=59)
    seen.append(by())
    clock.forward(seconds=1)
    seen.append(by())
    clock.service.set_alarm_state("quiet", "ALARM", "x")
    seen.append(by())
    clock.service.set_alarm_state("quiet", "OK", "x")
    clock.forward(seconds=119)
    seen.append(by())
    clock.forward(seconds=1)
    seen.append(by())
    assert seen == [None, "WaitPeriod", "WaitPeriod", None, "Alarm", "ExtensionPeriod", None]


# --- describing, history, tags


def test_pages_go_over_both_kinds(clean):
    for i in range(60):
        clean.put_metric_alarm(**ALARM | {"AlarmName": f"m{i:02}"})
        clean.put_composite_alarm(AlarmName=f"c{i:02}", AlarmRule=f"ALARM(m{i:02})")
    pages = list(clean.get_paginator("describe_alarms").paginate(AlarmTypes=ALL, PaginationConfig={"PageSize": 50}))
    assert [len(p["MetricAlarms"]) + len(p["CompositeAlarms"]) for p in pages] == [50, 50, 20]
    names = [a["AlarmName"] for p in pages for a in p["MetricAlarms"] + p["CompositeAlarms"]]
    assert sorted(names) == sorted({f"{kind}{i:02}" for kind in "mc" for i in range(60)})
    assert clean.describe_alarms(AlarmTypes=["LogAlarm"])["MetricAlarms"] == []
    some = clean.describe_alarms(AlarmTypes=ALL, AlarmNamePrefix="c1", StateValue="OK")["CompositeAlarms"]
    assert len(some) == 10


@pytest.mark.parametrize(
    "arguments",
    [
        {"AlarmNames": ["a"], "AlarmNamePrefix": "a"},
        {"ChildrenOfAlarmName": "a", "ParentsOfAlarmName": "a"},
        {"ChildrenOfAlarmName": "a", "StateValue": "OK"},
        {"ParentsOfAlarmName": "a", "AlarmTypes": ["MetricAlarm"]},
        {"MaxRecords": 101},
        {"StateValue": "FINE"},
    ],
)
def test_refused_questions(cloudwatch, arguments):
    with pytest.raises(ClientError) as error:
        cloudwatch.describe_alarms(**arguments)
    assert code_of(error) == "ValidationError"


def test_wrong_tokens(cloudwatch):
    for call in (cloudwatch.describe_alarms, cloudwatch.describe_alarm_history, cloudwatch.list_alarm_mute_rules):
        with pytest.raises(ClientError) as error:
            call(NextToken="no token")
        assert code_of(error) == "InvalidNextToken"


def test_history():
    clock = Clock()
    clock.put(9, 9, 9, 9, 9)
    quiet = {"TreatMissingData": "ignore", "AlarmActions": [TOPIC, TOPIC + "2"], "OKActions": [TOPIC]}
    clock.service.put_metric_alarm(**ALARM | quiet)
    clock.service.put_composite_alarm("c", "ALARM(a)", AlarmActions=[TOPIC])
    assert clock.state() == "ALARM"
    clock.forward(hours=1)
    clock.service.set_alarm_state("a", "OK", "tried", '{"why": 1}')
    clock.service.disable_alarm_actions(["a"])
    clock.service.set_alarm_state("a", "ALARM", "tried")
    describe = clock.service.describe_alarm_history
    items = describe("a", ScanBy="TimestampAscending")["AlarmHistoryItems"]
    assert [item["HistoryItemType"] for item in items] == [
        "ConfigurationUpdate",
        "StateUpdate",
        "Action",
        "Action",
        "StateUpdate",
        "Action",
        "StateUpdate",
    ]
    assert [item["HistorySummary"] for item in items][:3] == [
        'Alarm "a" created',
        "Alarm updated from INSUFFICIENT_DATA to ALARM",
        f"Successfully executed action {TOPIC}",
    ]
    data = json.loads(items[4]["HistoryData"])
    assert (data["version"], data["oldState"]["stateValue"]) == ("1.0", "ALARM")
    assert data["newState"] == {"stateValue": "OK", "stateReason": "tried", "stateReasonData": {"why": 1}}
    assert json.loads(items[0]["HistoryData"])["createdAlarm"]["metricName"] == "latency"
    assert {item["AlarmType"] for item in describe()["AlarmHistoryItems"]} == {"MetricAlarm"}
    assert {item["AlarmName"] for item in describe(AlarmTypes=["CompositeAlarm"])["AlarmHistoryItems"]} == {"c"}
    assert [i["Timestamp"] for i in describe("a")["AlarmHistoryItems"]] == [i["Timestamp"] for i in reversed(items)]
    first = NOW.timestamp()
    assert len(describe("a", StartDate=first, EndDate=first)["AlarmHistoryItems"]) == 4
    page = describe("a", MaxRecords=5)
    rest = describe("a", MaxRecords=5, NextToken=page["NextToken"])
    assert (len(page["AlarmHistoryItems"]), len(rest["AlarmHistoryItems"]), "NextToken" in rest) == (5, 2, False)
    with pytest.raises(AwsError, match="StartDate must be less"):
        describe(StartDate=2.0, EndDate=1.0)
    with pytest.raises(AwsError, match="not valid JSON") as error:
        clock.service.set_alarm_state("a", "OK", "x", "{")
    assert error.value.code == "InvalidFormat"
    clock.service.delete_alarms(["c", "a"])
    clock.forward(days=29)
    assert len(describe("a")["AlarmHistoryItems"]) == 8
    clock.forward(days=2)
    assert describe("a", AlarmTypes=ALL)["AlarmHistoryItems"] == []  # AWS keeps 30 days


def test_tags(clean):
    put_children(clean, "a")
    arn = f"{ACCOUNT}:alarm:a"
    clean.tag_resource(ResourceARN=arn, Tags=[{"Key": "team", "Value": "x"}, {"Key": "old", "Value": ""}])
    clean.put_metric_alarm(**ALARM | {"Threshold": 2.0}, Tags=[{"Key": "ignored", "Value": "x"}])
    clean.untag_resource(ResourceARN=arn, TagKeys=["old", "never"])
    assert clean.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "team", "Value": "x"}]
    for tags in ([{"Key": f"k{i}", "Value": ""} for i in range(50)], [{"Key": "aws:x", "Value": ""}]):
        with pytest.raises(ClientError) as error:
            clean.tag_resource(ResourceARN=arn, Tags=tags)
        assert code_of(error) == "InvalidParameterValue"
    with pytest.raises(ClientError) as error:
        clean.tag_resource(ResourceARN=arn + "b", Tags=[{"Key": "a", "Value": "b"}])
    assert code_of(error) == "ResourceNotFoundException"


# --- mute rules


def mute(expression="cron(0 2 * * SUN)", duration="PT4H", **more):
    return {"Schedule": {"Expression": expression, "Duration": duration} | more}


def test_mute_rules(clean):
    put_children(clean, "a", "b")
    clean.put_alarm_mute_rule(
        Name="weekly", Rule=mute(), MuteTargets={"AlarmNames": ["a"]}, Tags=[{"Key": "k", "Value": "v"}]
    )
    clean.put_alarm_mute_rule(
        Name="now", Rule=mute("at(2026-03-14T23:30)", "PT1H"), Description="move", ExpireDate=NOW + timedelta(days=1)
    )
    clean.put_alarm_mute_rule(Name="past", Rule=mute("at(2026-03-13T23:30)", "PT1H"))
    got = clean.get_alarm_mute_rule(AlarmMuteRuleName="weekly")
    assert (got["Rule"], got["MuteTargets"], got["Status"], got["MuteType"]) == (
        mute(),
        {"AlarmNames": ["a"]},
        "SCHEDULED",
        "RECURRING",
    )
    assert clean.list_tags_for_resource(ResourceARN=got["AlarmMuteRuleArn"])["Tags"] == [{"Key": "k", "Value": "v"}]

    def listed(**where):
        return {
            s["AlarmMuteRuleArn"].split(":")[-1]: s["Status"]
            for s in clean.list_alarm_mute_rules(**where)["AlarmMuteRuleSummaries"]
        }

    assert listed() == {"weekly": "SCHEDULED", "now": "ACTIVE", "past": "EXPIRED"}
    assert (listed(AlarmName="a"), listed(AlarmName="b")) == ({"weekly": "SCHEDULED"}, {})
    assert set(listed(Statuses=["ACTIVE", "EXPIRED"])) == {"now", "past"}
    clean.put_alarm_mute_rule(Name="weekly", Rule=mute("cron(0 0 15 3 *)"))
    assert listed()["weekly"] == "ACTIVE"
    for _ in range(2):
        clean.delete_alarm_mute_rule(AlarmMuteRuleName="weekly")  # twice is no error
    with pytest.raises(ClientError) as error:
        clean.get_alarm_mute_rule(AlarmMuteRuleName="weekly")
    assert code_of(error) == "ResourceNotFoundException"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"Rule": mute("cron(0 2 * *)")}, "5 fields"),
        ({"Rule": mute("cron(60 2 * * *)")}, "minute takes 0 to 59"),
        ({"Rule": mute("cron(0 2 0 * *)")}, "day of month"),
        ({"Rule": mute("cron(*/5 2 * * *)")}, "minute"),
        ({"Rule": mute("cron(0 5-2 * * *)")}, "hour"),
        ({"Rule": mute("cron(0 2 * FOO *)")}, "month"),
        ({"Rule": mute("rate(1 day)")}, "cron"),
        ({"Rule": mute("at(2026-03-15)")}, "at"),
        ({"Rule": mute("at(2026-02-30T10:00)")}, "day"),
        ({"Rule": mute(duration="PT30S")}, "PT1M to P15D"),
        ({"Rule": mute(duration="P15DT1M")}, "PT1M to P15D"),
        ({"Rule": mute(duration="PT")}, "PT1M to P15D"),
        ({"Rule": mute(duration="4h")}, "PT1M to P15D"),
        ({"Rule": mute(Timezone="Mars/Olympus")}, "tz database"),
        ({"MuteTargets": {"AlarmNames": ["nobody"]}}, "nobody"),
        ({"StartDate": NOW, "ExpireDate": NOW}, "ExpireDate"),
        ({"Rule": mute(duration="P" + "1" * 50)}, "less than or equal to 50"),
    ],
)
def test_refused_mute_rules(cloudwatch, arguments, says):
    with pytest.raises(ClientError, match=says) as error:
        cloudwatch.put_alarm_mute_rule(**{"Name": "m", "Rule": mute()} | arguments)
    assert code_of(error) == "ValidationError"


def test_muted_alarms_change_their_state_and_do_nothing():
    clock = Clock()
    for name in "ab":
        clock.service.put_metric_alarm(**ALARM | {"AlarmName": name, "AlarmActions": [TOPIC]})
    clock.service.put_alarm_mute_rule("m", mute("cron(0 0 * * *)", "PT1H"), MuteTargets={"AlarmNames": ["a"]})
    for name in "ab":
        clock.service.set_alarm_state(name, "ALARM", "x")
    assert (len(clock.history("a", "Action")), len(clock.history("b", "Action"))) == (0, 1)
    clock.forward(hours=1)
    for state in ("OK", "ALARM"):
        clock.service.set_alarm_state("a", state, "x")
    assert len(clock.history("a", "Action")) == 1


FIELD = {
    "minute": (0, 59),
    "hour": (0, 23),
    "day": (1, 28),
    "month": (1, 12),
    "weekday": (0, 7),
}


def cron_field(low, high):
    number = st.integers(low, high)
    span = st.tuples(number, number).map(sorted)
    parts = st.lists(number.map(str) | span.map(lambda s: f"{s[0]}-{s[1]}"), min_size=1, max_size=3)
    return st.just("*") | parts.map(",".join)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*(cron_field(*ends) for ends in FIELD.values())),
    st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata"]),
)
def test_cron_is_what_looking_at_every_minute_says(fields, zone):
    """The twin goes through two days in whole minutes; no clock is changed in them."""
    start = datetime(2026, 3, 14, 0, 0, tzinfo=UTC)

    def takes(text, value):
        spans = [tuple(map(int, (part.split("-") * 2)[:2])) for part in text.split(",")] if text != "*" else [(0, 99)]
        return any(low <= value <= high for low, high in spans)

    def fits(time):
        minute, hour, day, month, weekday = fields
        sunday = (time.weekday() + 1) % 7
        days = takes(day, time.day), takes(weekday, sunday) or (sunday == 0 and takes(weekday, 7))
        right_day = any(days) if day != "*" and weekday != "*" else all(days)
        return takes(minute, time.minute) and takes(hour, time.hour) and takes(month, time.month) and right_day

    minutes = [start + timedelta(minutes=m) for m in range(2 * 1440)]
    wanted = [time for time in minutes if fits(time.astimezone(ZoneInfo(zone)))]
    schedule = {"Expression": f"cron({' '.join(fields)})", "Duration": "PT1H", "Timezone": zone}
    assert begins(schedule, minutes[0], minutes[-1]) == wanted


def test_names_and_durations():
    assert cron_fields("0 0 1 JAN-mar SUN,FRI")[3:] == [{1, 2, 3}, {0, 5}]
    assert cron_fields("0 0 1 1 7")[4] == {0, 7}
    assert [duration_of(text).total_seconds() for text in ("PT1M", "PT90M", "P1DT2H", "P15D", "P2W")] == [
        60,
        5400,
        93600,
        1296000,
        1209600,
    ]


# --- anomaly detectors


def test_anomaly_detectors(clean):
    single = {
        "Namespace": "shop",
        "MetricName": "latency",
        "Dimensions": [{"Name": "path", "Value": "/"}],
        "Stat": "p90",
    }
    math = {
        "MetricDataQueries": [
            {"Id": "r", "Expression": "bad / 2", "ReturnData": True},
            {
                "Id": "bad",
                "MetricStat": {"Metric": {"Namespace": "s", "MetricName": "b"}, "Period": 60, "Stat": "Sum"},
                "ReturnData": False,
            },
        ]
    }
    name = clean.put_anomaly_detector(**single)["AnomalyDetectorId"]
    zone = {"MetricTimezone": "UTC", "ExcludedTimeRanges": [{"StartTime": NOW, "EndTime": NOW + timedelta(hours=1)}]}
    assert (
        clean.put_anomaly_detector(SingleMetricAnomalyDetector=single, Configuration=zone)["AnomalyDetectorId"] == name
    )
    other = clean.put_anomaly_detector(MetricMathAnomalyDetector=math)["AnomalyDetectorId"]
    told = clean.describe_anomaly_detectors()["AnomalyDetectors"]
    assert [(d["MetricName"], d["Stat"], d["Configuration"]) for d in told] == [("latency", "p90", zone)]
    assert clean.describe_anomaly_detectors(Namespace="other")["AnomalyDetectors"] == []
    both = clean.describe_anomaly_detectors(AnomalyDetectorTypes=["SINGLE_METRIC", "METRIC_MATH"], MaxResults=1)
    rest = clean.describe_anomaly_detectors(
        AnomalyDetectorTypes=["SINGLE_METRIC", "METRIC_MATH"], MaxResults=1, NextToken=both["NextToken"]
    )
    assert {d["AnomalyDetectorId"] for page in (both, rest) for d in page["AnomalyDetectors"]} == {name, other}
    assert (
        clean.describe_anomaly_detectors(AnomalyDetectorIds=[other])["AnomalyDetectors"][0]["MetricMathAnomalyDetector"]
        == math
    )
    clean.delete_anomaly_detector(MetricMathAnomalyDetector=math)
    clean.delete_anomaly_detector(AnomalyDetectorId=name)
    with pytest.raises(ClientError) as error:
        clean.delete_anomaly_detector(**single)
    assert code_of(error) == "ResourceNotFoundException"
    for arguments, code in (
        ({"Namespace": "shop", "MetricName": "m"}, "MissingParameter"),
        (single | {"SingleMetricAnomalyDetector": single}, "InvalidParameterCombination"),
        (
            {
                "MetricMathAnomalyDetector": {
                    "MetricDataQueries": [q | {"ReturnData": True} for q in math["MetricDataQueries"]]
                }
            },
            "InvalidParameterValue",
        ),
        ({"MetricMathAnomalyDetector": {}}, "MissingParameter"),
        (
            single | {"Configuration": {"ExcludedTimeRanges": [{"StartTime": NOW, "EndTime": NOW}]}},
            "InvalidParameterValue",
        ),
    ):
        with pytest.raises(ClientError) as error:
            clean.put_anomaly_detector(**arguments)
        assert code_of(error) == code


# --- faults, and the source over all of it


@pytest.mark.parametrize("operation", ["PutCompositeAlarm", "DescribeAlarmHistory", "PutAlarmMuteRule", "DeleteAlarms"])
def test_faults_strike_these_operations_too(operation):
    fault = sandbox.Fault("cloudwatch", operation, 400, "Throttling", times=1)
    calls = {
        "PutCompositeAlarm": {"AlarmName": "c", "AlarmRule": "TRUE"},
        "DescribeAlarmHistory": {},
        "PutAlarmMuteRule": {"Name": "m", "Rule": mute()},
        "DeleteAlarms": {"AlarmNames": ["c"]},
    }
    with sandbox.local(None, clock=NOW, faults=(fault,)) as session:
        client = session.client("cloudwatch")
        seen = []
        client.meta.events.register(
            "response-received", lambda response_dict, **_: seen.append(response_dict["status_code"])
        )
        getattr(client, xform_name(operation))(**calls[operation])  # boto3 tries again
    assert seen == [400, 200]


def account(clock=NOW, **more):
    return sandbox.local(None, clock=clock, **more)


def test_the_source_reads_both_kinds_back_as_they_were_put():
    composite = {
        "AlarmName": "c",
        "AlarmDescription": "d",
        "AlarmActions": [TOPIC],
        "AlarmRule": "ALARM(a) OR ALARM(b)",
        **SUPPRESSED,
    }
    with account() as session:
        client = session.client("cloudwatch")
        put_children(client, "a", "b")
        client.put_composite_alarm(**composite, Tags=[{"Key": "k", "Value": "v"}])
        client.put_composite_alarm(AlarmName="d", AlarmRule="TRUE")
        assert source.composites(session) == [composite, {"AlarmName": "d", "AlarmRule": "TRUE"}]
        assert source.composites(session, prefix="c", tags=True) == [composite | {"Tags": [{"Key": "k", "Value": "v"}]}]
        assert source.composites(session, names="d") == [{"AlarmName": "d", "AlarmRule": "TRUE"}]
        assert [a["AlarmName"] for a in source.read(session)] == ["a", "b"]
        for again in source.composites(session):
            client.put_composite_alarm(**again)
        assert source.composites(session)[0] == composite
        told = client.describe_alarms(AlarmTypes=["CompositeAlarm"])["CompositeAlarms"][0]
        assert source.normalise(told) == source.normalise(composite) == composite
        with pytest.raises(InputError, match="one of the two"):
            source.composites(session, prefix="c", names=["c"])


def test_the_source_reads_states_and_history():
    with account(NOW + timedelta(hours=1)) as session:
        client = session.client("cloudwatch")
        for i in range(60):
            client.put_metric_alarm(**ALARM | {"AlarmName": f"m{i:02}"})
        client.put_composite_alarm(AlarmName="c", AlarmRule="ALARM(m00)")
        for state in ("ALARM", "OK", "ALARM"):
            for i in range(60):
                client.set_alarm_state(AlarmName=f"m{i:02}", StateValue=state, StateReason=f"set to {state}")
        now = source.states(session)
        assert (now.columns, len(now)) == (["alarm", "state", "since"], 61)
        assert set(now["state"]) == {"ALARM"}
        past = source.history(session, NOW, NOW + timedelta(hours=2))
        assert (dict(past.schema), len(past)) == (STATES.columns, 180 + 4)  # two pages of 100
        mine = source.history(session, NOW, NOW + timedelta(hours=2), ["c", "m07"])
        assert mine.filter(alarm="m07").select("state", "reason").rows() == [
            ("ALARM", "set to ALARM"),
            ("OK", "set to OK"),
            ("ALARM", "set to ALARM"),
        ]
        assert mine.filter(alarm="c")["state"].to_list() == ["OK", "ALARM", "OK", "ALARM"]
        assert source.history(session, NOW, NOW + timedelta(hours=1)).is_empty()
        assert source.history(session, NOW, NOW + timedelta(hours=2), []).is_empty()
        with pytest.raises((InputError, ValueError)):
            source.history(session, NOW, NOW - timedelta(hours=2))


def test_the_source_of_an_empty_account_and_of_one_that_refuses():
    with account() as session:
        assert source.composites(session) == source.mutes(session) == []
        assert source.states(session).is_empty()
        assert source.history(session, NOW - timedelta(days=1), NOW).is_empty()
    fault = sandbox.Fault("cloudwatch", "*", 403, "AccessDenied")
    with account(faults=(fault,)) as session:
        for call in (
            source.composites,
            source.mutes,
            source.states,
            lambda s: source.history(s, NOW - timedelta(days=1), NOW),
        ):
            with pytest.raises(ClientError, match="AccessDenied"):
                call(session)


def test_tags_are_read_several_at_once_and_a_failure_is_not_hidden():
    with account() as session:
        client = session.client("cloudwatch")
        for i in range(120):
            client.put_metric_alarm(**ALARM | {"AlarmName": f"m{i:03}"}, Tags=[{"Key": "n", "Value": str(i)}])
        told = source.read(session, tags=True)
        assert [(a["AlarmName"], a["Tags"][0]["Value"]) for a in told] == [(f"m{i:03}", str(i)) for i in range(120)]
    fault = sandbox.Fault("cloudwatch", "ListTagsForResource", 403, "AccessDenied", after=0)
    with account(faults=(fault,)) as session:
        put_children(session.client("cloudwatch"), "a")
        with pytest.raises(ClientError, match="AccessDenied"):
            source.read(session, tags=True)
        assert len(source.read(session)) == 1


def test_mute_rules_come_back_as_they_were_put():
    full = {
        "Name": "m",
        "Description": "d",
        "Rule": mute(Timezone="Europe/Berlin"),
        "MuteTargets": {"AlarmNames": ["a"]},
        "StartDate": NOW,
        "ExpireDate": NOW + timedelta(days=90),
    }
    with account() as session:
        put_children(session.client("cloudwatch"), "a")
        session.client("cloudwatch").put_alarm_mute_rule(**full)
        for i in range(120):
            session.client("cloudwatch").put_alarm_mute_rule(Name=f"n{i:03}", Rule=mute())
        found = source.mutes(session)
        assert (len(found), found[:2]) == (121, [full, {"Name": "n000", "Rule": mute()}])
