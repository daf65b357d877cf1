"""deploy.templates: cfn-lint and Terraform read what is written, moto and Terraform fill the blanks, and what comes out is what went in."""

import json
import random
import shutil
import subprocess
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from botocore.session import get_session
from botocore.validate import ParamValidator
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights.alarms.burns import alarms as burn_alarms
from lift_insights.alarms.expression import parse_rule
from lift_insights.alarms.objectives import Objective
from lift_insights.deploy.blanks import blanks, identifier, mark, pieces, things
from lift_insights.deploy.cloudformation import logical_id
from lift_insights.deploy.templates import cloudformation, terraform, text, write
from lift_insights.deploy.terraform import address
from lift_insights.frames import InputError, series_key
from lift_insights.sources.alarms import normalise

TOPIC = "arn:aws:sns:us-east-1:123456789012:pages"
SUM = {
    "AlarmName": "orders errors", "Namespace": "Shop", "MetricName": "requests.errors", "Dimensions": [{"Name": "service", "Value": "orders"}],
    "Statistic": "Sum", "Period": 60, "EvaluationPeriods": 5, "DatapointsToAlarm": 3, "Threshold": 12.5, "ComparisonOperator": "GreaterThanThreshold",
    "TreatMissingData": "notBreaching",
}  # fmt: skip
P99 = {
    "AlarmName": "orders p99", "Namespace": "Shop", "MetricName": "ms", "ExtendedStatistic": "p99", "Period": 300, "EvaluationPeriods": 3, "Unit": "Milliseconds",
    "Threshold": 900, "ComparisonOperator": "GreaterThanOrEqualToThreshold", "EvaluateLowSampleCountPercentile": "ignore", "ActionsEnabled": False,
    "AlarmActions": [TOPIC], "OKActions": [TOPIC], "InsufficientDataActions": [TOPIC], "Tags": [{"Key": "tier", "Value": "1"}, {"Key": "team", "Value": "own"}],
}  # fmt: skip


def stat(metric, **more):
    return {"Metric": {"Namespace": "Shop", "MetricName": metric, **more}, "Period": 300, "Stat": "Sum"}


MATH = {
    "AlarmName": "orders rate", "EvaluationPeriods": 2, "Threshold": 1, "ComparisonOperator": "GreaterThanThreshold",
    "Metrics": [
        {"Id": "e", "MetricStat": {**stat("errors", Dimensions=[{"Name": "b", "Value": "2"}, {"Name": "a", "Value": "1"}]), "Unit": "Count"}, "ReturnData": False, "AccountId": "123456789012"},
        {"Id": "t", "MetricStat": stat("requests"), "ReturnData": False},
        {"Id": "r", "Expression": "IF(t > 100, e / t * 100, 0)", "Label": "errors in ${PROP('MetricName')} %", "ReturnData": True},
    ],
}  # fmt: skip
BAND = {
    "AlarmName": "orders band", "EvaluationPeriods": 3, "ThresholdMetricId": "b", "ComparisonOperator": "LessThanLowerOrGreaterThanUpperThreshold",
    "Metrics": [{"Id": "m", "MetricStat": stat("requests")}, {"Id": "b", "Expression": "ANOMALY_DETECTION_BAND(m, 3)"}],
}  # fmt: skip
SUMS = BAND | {
    "AlarmName": "sum band",
    "Metrics": [
        {"Id": "m1", "MetricStat": stat("a"), "ReturnData": False},
        {"Id": "m2", "MetricStat": stat("b"), "ReturnData": False},
        {"Id": "s", "Expression": "m1 + m2"},
        {"Id": "b", "Expression": "ANOMALY_DETECTION_BAND(s, 2)"},
    ],
}
PAGE = {
    "AlarmName": "orders", "AlarmDescription": "see ${RUNBOOK} and %{x}", "AlarmRule": 'ALARM("orders errors") OR AT_LEAST(1, ALARM, ("orders rate", "orders band", "sum band", "orders p99"))',
    "ActionsSuppressor": "quiet", "ActionsSuppressorWaitPeriod": 60, "ActionsSuppressorExtensionPeriod": 120,
}  # fmt: skip
OVER = {"AlarmName": "shop", "AlarmRule": 'ALARM(orders) AND NOT ALARM("foreign one")'}
QUIET = SUM | {"AlarmName": "quiet", "EvaluationWindow": {"WallClockWindow": {"Timezone": "Europe/London"}}}
WARM = SUM | {
    "AlarmName": "warm", "WarmUpConfiguration": {"WarmUpPeriodDurationInMinutes": 30}, "ActionConfiguration": {"AlarmTagsPropagation": {"Enabled": True}},
}  # fmt: skip
PROMQL = {
    "AlarmName": "promql", "EvaluationInterval": 60,
    "EvaluationCriteria": {"PromQLCriteria": {"Query": 'avg(up{job="a"}) < 0.5', "PendingPeriod": 120, "RecoveryPeriod": 60}},
}  # fmt: skip
PLAIN = [OVER, PAGE, SUM, P99, MATH, BAND, SUMS, PROMQL, SUM | {"AlarmName": "quiet"}]  # what both tools can put
ALL = [*PLAIN[:-1], QUIET, WARM]
MUTE = {
    "Name": "night", "Description": "backups", "MuteTargets": {"AlarmNames": ["orders", "foreign"]}, "StartDate": datetime(2026, 7, 1, 7, 30, tzinfo=UTC),
    "Rule": {"Schedule": {"Expression": "cron(0 2 * * *)", "Duration": "PT1H", "Timezone": "America/New_York"}}, "ExpireDate": "2026-12-31T23:00:00+01:00",
}  # fmt: skip
BOARD = {
    "widgets": [
        {"type": "alarm", "x": 0, "y": 0, "width": 6, "height": 3, "properties": {"title": "Was", "alarms": ["arn:aws:cloudwatch:${region}:${account}:alarm:orders"]}},
        {"type": "text", "x": 0, "y": 3, "width": 6, "height": 3, "properties": {"markdown": '# ${LABEL} "$" %{if} é\n\\n'}},
    ]
}  # fmt: skip


# -- CloudFormation, as others read it


def lint(template):
    api = pytest.importorskip("cfnlint.api", reason="cfn-lint is not installed")
    return [
        f"{found.rule.id} {found.message} {found.path}"
        for found in api.lint(text(template), config=api.ManualArgs(regions=["us-east-1", "eu-west-1"]))
    ]


class _Map(dict):
    """What moto's reader of CloudFormation functions looks names up in."""

    def __init__(self, template, given):
        super().__init__({"AWS::AccountId": "123456789012", "AWS::Region": "us-east-1", "AWS::NoValue": None})
        for name, parameter in template.get("Parameters", {}).items():
            value = given.get(name, parameter.get("Default"))
            self[name] = value.split(",") if parameter["Type"] == "CommaDelimitedList" else value
        self.lazy_condition_map = {"Notify": any(self.get("NotificationArns", ()))}


def deployed(template, **given):
    """Type and properties of what a stack would hold, by logical id, as moto fills it in."""
    from moto.cloudformation.parsing import clean_json

    known = _Map(template, given)
    return {
        name: (resource["Type"].removeprefix("AWS::CloudWatch::"), clean_json(resource["Properties"], known))
        for name, resource in template["Resources"].items()
    }


def alarms_of(found):
    return {one["AlarmName"]: one for kind, one in found.values() if kind in ("Alarm", "CompositeAlarm")}


def plain(alarm):
    """An alarm's arguments in one form, its rule as a tree."""
    tags = {tag["Key"]: tag["Value"] for tag in alarm.get("Tags", ())}
    rule = {"AlarmRule": parse_rule(alarm["AlarmRule"])} if "AlarmRule" in alarm else {}
    return normalise(alarm) | rule | {"Tags": tags}


def renamed(alarm, prefix):
    """What a prefix makes of one of the alarms above, written by hand."""
    new = json.loads(json.dumps(alarm).replace("${region}", "us-east-1").replace("${account}", "123456789012"))
    new["AlarmName"] = prefix + new["AlarmName"]
    for name in ("orders errors", "orders rate", "orders band", "sum band", "orders p99"):
        if "AlarmRule" in new:
            new["AlarmRule"] = new["AlarmRule"].replace(f'"{name}"', f'"{prefix}{name}"')
    if "AlarmRule" in new:
        new["AlarmRule"] = new["AlarmRule"].replace("ALARM(orders)", f'ALARM("{prefix}orders")')
    if "ActionsSuppressor" in new:
        new["ActionsSuppressor"] = prefix + new["ActionsSuppressor"]
    return new


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"prefix": "dev-"},
        {"prefix": "", "detectors": True, "tags": {"team": "x"}},
        {"notify": False, "description": "é"},
    ],
)
def test_cfn_lint_finds_nothing(more):
    assert lint(cloudformation(ALL, {"shop": BOARD}, mutes=[MUTE], **more)) == []


def test_cfn_lint_would_find_something():
    template = cloudformation([SUM])
    next(iter(template["Resources"].values()))["Properties"]["Treshold"] = 1
    assert [line[:5] for line in lint(template)] == ["E3002"]


@pytest.mark.parametrize("prefix", [None, "", "dev-"])
def test_a_stack_holds_what_was_defined(prefix):
    template = cloudformation(ALL, {"shop": BOARD}, mutes=[MUTE], prefix=prefix)
    found = deployed(template)
    wanted = {new["AlarmName"]: plain(new) for new in (renamed(alarm, prefix or "") for alarm in ALL)}
    assert {name: plain(alarm) for name, alarm in alarms_of(found).items()} == wanted
    (board,) = [one for kind, one in found.values() if kind == "Dashboard"]
    assert board["DashboardName"] == (prefix or "") + "shop"
    expected = (
        json.dumps(BOARD)
        .replace("${region}", "us-east-1")
        .replace("${account}", "123456789012")
        .replace("alarm:orders", f"alarm:{prefix or ''}orders")
    )
    assert json.loads(board["DashboardBody"]) == json.loads(expected)
    (mute,) = [one for kind, one in found.values() if kind == "AlarmMuteRule"]
    assert mute["Name"] == (prefix or "") + "night"
    assert mute["MuteTargets"]["AlarmNames"] == [
        (prefix or "") + "orders",
        "foreign",
    ]
    assert (mute["StartDate"], mute["ExpireDate"]) == (
        "2026-07-01T03:30",
        "2026-12-31T17:00",
    )  # New York, in summer and in winter


def test_a_prefix_given_to_the_stack_is_the_one_used():
    template = cloudformation(ALL, {"shop": BOARD}, prefix="dev-")
    names = {
        name
        for kind, one in deployed(template, Prefix="prod-").values()
        for name in (one.get("AlarmName") or one["DashboardName"],)
    }
    assert names == {f"prod-{name}" for name in (*(alarm["AlarmName"] for alarm in ALL), "shop")}
    assert "Prefix" not in cloudformation(ALL)["Parameters"]
    assert template["Parameters"]["Prefix"]["MaxLength"] == 255 - max(len(alarm["AlarmName"]) for alarm in ALL)


def test_botocore_takes_the_properties_as_arguments():
    model = get_session().get_service_model("cloudwatch")
    shapes = {
        kind: model.operation_model(f"Put{call}").input_shape
        for kind, call in (("Alarm", "MetricAlarm"), ("CompositeAlarm", "CompositeAlarm"))
    }
    for kind, properties in deployed(cloudformation(ALL, prefix="dev-")).values():
        report = ParamValidator().validate(properties, shapes[kind])
        assert not report.has_errors(), report.generate_report()
        assert set(properties) <= set(shapes[kind].members)


def test_children_come_before_and_are_waited_for():
    resources = cloudformation(ALL, {"shop": BOARD}, mutes=[MUTE])["Resources"]
    order = list(resources)
    needs = {name: resource.get("DependsOn", []) for name, resource in resources.items()}
    assert all(order.index(other) < order.index(name) for name, others in needs.items() for other in others)
    assert needs[logical_id("composite", "orders")] == sorted(
        logical_id("alarm", n)
        for n in ("orders errors", "orders rate", "orders band", "sum band", "orders p99", "quiet")
    )
    assert needs[logical_id("composite", "shop")] == [logical_id("composite", "orders")]
    assert needs[logical_id("mute", "night")] == [logical_id("composite", "orders")]
    assert not any(needs[logical_id("alarm", alarm["AlarmName"])] for alarm in ALL if "AlarmRule" not in alarm)


def test_who_is_notified():
    template = cloudformation(
        [SUM, MATH | {"AlarmName": "alone"}, P99, {"AlarmName": "any", "AlarmRule": 'ALARM("orders errors")'}]
    )
    silent = {name: alarm.get("AlarmActions") for name, alarm in alarms_of(deployed(template)).items()}
    assert silent == {"orders errors": None, "alone": None, "orders p99": [TOPIC], "any": None}
    told = {
        name: alarm.get("AlarmActions")
        for name, alarm in alarms_of(deployed(template, NotificationArns="arn:a:b:c:1:d,arn:a:b:c:1:e")).items()
    }
    assert told == {
        "orders errors": None,
        "alone": ["arn:a:b:c:1:d", "arn:a:b:c:1:e"],
        "orders p99": [TOPIC],
        "any": ["arn:a:b:c:1:d", "arn:a:b:c:1:e"],
    }
    assert "Parameters" not in cloudformation([SUM], notify=False)
    assert "Parameters" not in cloudformation([P99])


def test_detectors():
    found = deployed(cloudformation([BAND, BAND | {"AlarmName": "again"}, SUMS, MATH], detectors=True))
    detectors = [properties for kind, properties in found.values() if kind == "AnomalyDetector"]
    single, of_math = detectors
    assert single == {"SingleMetricAnomalyDetector": {"Namespace": "Shop", "MetricName": "requests", "Stat": "Sum"}}
    queries = of_math["MetricMathAnomalyDetector"]["MetricDataQueries"]
    assert [(query["Id"], query["ReturnData"]) for query in queries] == [("m1", False), ("m2", False), ("s", True)]
    assert not any(kind == "AnomalyDetector" for kind, _ in deployed(cloudformation([BAND])).values())


def test_tags_are_added_and_an_own_one_stays():
    template = cloudformation([SUM, P99], {"b": BOARD}, mutes=[MUTE], tags={"team": "all", "a": "1"})
    tags = {
        name: {tag["Key"]: tag["Value"] for tag in resource["Properties"]["Tags"]}
        for name, resource in template["Resources"].items()
    }
    assert tags[logical_id("alarm", "orders p99")] == {"team": "own", "tier": "1", "a": "1"}
    assert all(
        tags[logical_id(*key)] == {"team": "all", "a": "1"}
        for key in (("alarm", "orders errors"), ("dashboard", "b"), ("mute", "night"))
    )


def test_objects_that_carry_an_alarm():
    assert cloudformation([SimpleNamespace(alarm=SUM)]) == cloudformation([SUM])
    assert terraform([SimpleNamespace(alarm=SUM)]) == terraform([SUM])


def test_alarms_of_an_objective_fit_both():
    total, bad = (series_key("Shop", name, {}, "Sum") for name in ("requests.total", "requests.errors"))
    objective = Objective("orders", "availability", 0.999, total=total, bad=bad)
    made = burn_alarms(objective, actions=(TOPIC,))
    assert lint(cloudformation(made, prefix="dev-")) == []
    assert (
        len(terraform(made)["resource"]["aws_cloudwatch_composite_alarm"])
        == sum("AlarmRule" in alarm for alarm in made)
        > 0
    )


# -- limits


def test_a_hundred_alarms_pass_cfn_lint_in_one_template():
    template = cloudformation([SUM | {"AlarmName": f"orders {n} errors"} for n in range(100)], prefix="")
    assert len(template["Resources"]) == 100
    assert lint(template) == []


def test_splitting_keeps_every_limit_and_every_thing():
    alarms = [SUM | {"AlarmName": f"a {n}", "AlarmDescription": "é" * 900} for n in range(700)]
    over = [{"AlarmName": f"c {n}", "AlarmRule": f'ALARM("a {n}") OR ALARM("a {n + 1}")'} for n in range(250)]
    bands = [BAND | {"AlarmName": f"b {n}"} for n in range(3)]
    parts = cloudformation(
        [*over, *alarms, *bands], {"shop": BOARD}, mutes=[MUTE], split=True, detectors=True, limit_bytes=400_000
    )
    assert len(parts) > 3
    assert all(
        len(text(part).encode()) <= 400_000 and len(part["Resources"]) <= 500 and len(part.get("Outputs", ())) <= 200
        for part in parts
    )
    names = [name for part in parts for name in part["Resources"]]
    assert len(names) == len(set(names)) == 700 + 250 + 3 + 1 + 1 + 1
    for part in parts:
        assert all(
            other in part["Resources"]
            for resource in part["Resources"].values()
            for other in resource.get("DependsOn", ())
        )
    place = {name: number for number, part in enumerate(parts) for name in part["Resources"]}
    assert all(place[logical_id("alarm", f"a {n + 1}")] <= place[logical_id("composite", f"c {n}")] for n in range(250))
    assert lint(parts[-1]) == []
    assert "part 1 of" in parts[0]["Description"]


def test_what_fits_inline_is_split_for_it():
    parts = cloudformation([SUM | {"AlarmName": f"a {n}"} for n in range(200)], split=True, limit_bytes=51_200)
    assert all(len(text(part).encode()) <= 51_200 for part in parts)
    assert sum(len(part["Resources"]) for part in parts) == 200
    assert min(len(text(part).encode()) for part in parts[:-1]) > 40_000  # they are filled


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: cloudformation([SUM | {"AlarmName": f"a {n}"} for n in range(501)]), "need 2 templates of up to 500 resources"),
        (lambda: cloudformation([SUM], {"big": {"widgets": [{"type": "text", "properties": {"markdown": "x" * 60_000}}]}}, limit_bytes=51_200), "the dashboard 'big' takes about"),
        (lambda: cloudformation([SUM], description="é" * 600), "up to 900 bytes, since CloudFormation takes 1,024 with the number of the part; it has 1,200"),
        (lambda: cloudformation([SUM], description=3), "description needs text"),
        (lambda: cloudformation([SUM], limit_bytes=2_000_000), "limit_bytes needs"),
        (lambda: cloudformation([SUM], limit_bytes=0), "limit_bytes needs"),
        (lambda: cloudformation([SUM | {"Tags": [{"Key": "k", "Value": ""}]}]), "'k' of the alarm 'orders errors' has none"),
        (lambda: cloudformation([SUM | {"AlarmDescription": "{{resolve:secretsmanager:x}}"}]), "which CloudFormation would replace"),
        (lambda: cloudformation([]), "at least one"),
        (lambda: terraform(), "at least one"),
        (lambda: cloudformation([SUM, SUM]), "stands for two alarms"),
        (lambda: cloudformation([SUM], mutes=[MUTE, MUTE]), "stands for two mute rules"),
        (lambda: cloudformation([SUM | {"Period": 7}]), "needs a Period"),
        (lambda: cloudformation(["x"]), "has to be a dict"),
        (lambda: cloudformation([SUM], {"a b": BOARD}), "a dashboard's name needs"),
        (lambda: cloudformation([SUM], mutes=[{"Name": "n"}]), "needs a Rule"),
        (lambda: cloudformation([SUM], mutes=["n"]), "has to be a dict"),
        (lambda: cloudformation([SUM], prefix="dev "), "prefix needs letters"),
        (lambda: cloudformation([SUM], prefix=3), "prefix needs letters"),
        (lambda: cloudformation([SUM], tags={"aws:x": "y"}), "does not begin with aws:"),
        (lambda: cloudformation([SUM], tags=["x"]), "tags need a dict"),
        (lambda: cloudformation([SUM | {"AlarmName": "x" * 250}], prefix="longer-"), "1 to 255 printable"),
        (lambda: cloudformation([SUM], mutes=[MUTE | {"Name": "x" * 250}], prefix="longer-"), "1 to 255 printable"),
        (lambda: cloudformation([{"AlarmName": n, "AlarmRule": f"ALARM({m})"} for n, m in ("ab", "ba")]), "in a circle"),
        (lambda: terraform([QUIET]), "no argument for EvaluationWindow of the alarm 'quiet'"),
        (lambda: terraform([WARM]), "no argument for WarmUpConfiguration, ActionConfiguration"),
    ],
)  # fmt: skip
def test_bad_input(call, says):
    with pytest.raises(InputError) as caught:
        call()
    assert says in str(caught.value)


# -- names


NAMES = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=255)


@given(st.lists(NAMES, min_size=2, max_size=30, unique=True))
def test_identifiers_are_unique_and_those_that_the_tools_take(names):
    keys = [(kind, name) for kind in ("alarm", "composite", "dashboard", "mute") for name in names]
    ids = [logical_id(*key) for key in keys]
    assert len(set(ids)) == len(ids)
    assert all(one.isascii() and one.isalnum() and len(one) <= 255 for one in ids)
    addresses = [address(*key) for key in keys]
    assert len(set(addresses)) == len(addresses)
    assert all(name.isascii() and name.isidentifier() for _, name in addresses)
    assert len({identifier(*key) for key in keys}) == len(keys)


def test_punctuation_alone_tells_names_apart():
    ids = {logical_id("alarm", name) for name in ("a b", "a-b", "a.b", "A b", "a  b", "", "-", "--")}
    assert len(ids) == 8


def test_the_same_definition_gives_the_same_bytes_whatever_its_order_inside():
    def shuffled(value, seed):
        if isinstance(value, dict):
            pairs = list(value.items())
            random.Random(seed).shuffle(pairs)
            return {name: shuffled(inner, seed) for name, inner in pairs}
        return [shuffled(inner, seed) for inner in value] if isinstance(value, list) else value

    for make, alarms in ((cloudformation, ALL), (terraform, PLAIN)):
        first = text(make(alarms, {"b": {"widgets": []}}, mutes=[MUTE], prefix=""))
        assert all(
            text(make(shuffled(alarms, seed), {"b": {"widgets": []}}, mutes=[MUTE], prefix="")) == first
            for seed in range(5)
        )


def test_what_comes_and_goes_changes_no_other_identifier():
    assert set(cloudformation([SUM, MATH])["Resources"]) < set(cloudformation([P99, MATH, BAND, SUM])["Resources"])


def test_nothing_handed_in_is_changed():
    before = json.dumps([ALL, BOARD, MUTE], default=str)
    cloudformation(ALL, {"b": BOARD}, mutes=[MUTE], prefix="x-", tags={"a": "b"}, detectors=True)
    terraform(PLAIN, {"b": BOARD}, mutes=[MUTE], prefix="x-", tags={"a": "b"})
    assert json.dumps([ALL, BOARD, MUTE], default=str) == before


@given(st.lists(NAMES, min_size=1, max_size=6, unique=True), st.sampled_from([None, "", "dev-"]))
@settings(max_examples=25, deadline=None)
def test_any_names_survive_cloudformation(names, prefix):
    alarms = [SUM | {"AlarmName": name} for name in names if not name.isspace()]
    if not alarms:
        return
    quoted = ['"' + alarm["AlarmName"].replace("\\", "\\\\").replace('"', '\\"') + '"' for alarm in alarms]
    over = {"AlarmName": "over " * 40, "AlarmRule": " OR ".join(f"ALARM({name})" for name in quoted)}
    try:
        template = cloudformation([*alarms, over], prefix=prefix)
    except InputError as error:  # a name or a rule became too long, or holds what CloudFormation replaces
        assert any(why in str(error) for why in ("1 to 255", "10,240", "{{resolve:", "empty", "needs")), error  # noqa: PT017
        return
    found = alarms_of(deployed(template))
    expected = {(prefix or "") + alarm["AlarmName"] for alarm in [*alarms, over]}
    filled = {
        name.replace("${environment}", "").replace("${account}", "123456789012").replace("${region}", "us-east-1")
        for name in expected
    }
    assert set(found) == filled


# -- blanks


TEXTS = st.lists(
    st.sampled_from(
        [
            "$",
            "{",
            "}",
            "%",
            "!",
            "${",
            "%{",
            "$${",
            "${!",
            "a",
            "é",
            '"',
            "\\",
            "\n",
            "${LABEL}",
            "${account}",
            "${region}",
            " ",
        ]
    ),
    max_size=12,
).map("".join)


@given(TEXTS)
def test_a_text_is_cut_at_its_blanks_and_nowhere_else(value):
    marked = value.replace("${account}", mark("account"))
    assert "".join(mark(piece) if place % 2 else piece for place, piece in enumerate(pieces(marked))) == marked
    assert ("account" in blanks(marked)) == ("${account}" in value)


def in_place(value):
    return value.replace("${account}", "123456789012").replace("${region}", "us-east-1")


@given(TEXTS, TEXTS, st.sampled_from([None, "dev-"]))
@settings(deadline=None)
def test_any_text_survives_cloudformation(told, shown, prefix):
    board = {"widgets": [{"type": "text", "properties": {"markdown": shown}}]}
    found = deployed(cloudformation([SUM | {"AlarmDescription": told}], {"b": board}, prefix=prefix))
    (alarm,), (body,) = ([one for kind, one in found.values() if kind == wanted] for wanted in ("Alarm", "Dashboard"))
    assert alarm.get("AlarmDescription", "") == in_place(told)
    assert json.loads(body["DashboardBody"]) == {
        "widgets": [{"type": "text", "properties": {"markdown": in_place(shown)}}]
    }


def test_the_environment_is_a_parameter_without_a_default():
    alarm = SUM | {"AlarmDescription": "slow in ${environment}"}
    template = cloudformation([alarm])
    assert "Default" not in template["Parameters"]["Environment"]
    assert lint(template) == []
    assert alarms_of(deployed(template, Environment="prod"))["orders errors"]["AlarmDescription"] == "slow in prod"
    assert "default" not in terraform([alarm])["variable"]["environment"]


def test_arns_with_blanks_are_those_of_our_alarms():
    over = {"AlarmName": "over", "AlarmRule": 'ALARM("arn:aws:cloudwatch:${region}:${account}:alarm:orders errors")'}
    found = alarms_of(deployed(cloudformation([SUM, over], prefix="dev-")))
    assert (
        found["dev-over"]["AlarmRule"] == 'ALARM("arn:aws:cloudwatch:us-east-1:123456789012:alarm:dev-orders errors")'
    )
    assert things([SUM, over])[1].after == (("alarm", "orders errors"),)


# -- Terraform

# Arguments of the provider's schemas: hashicorp/terraform-provider-aws, internal/service/cloudwatch/metric_alarm.go,
# composite_alarm.go, dashboard.go, alarm_mute_rule.go; evaluation_criteria and evaluation_interval from the provider's 6.62 schema.
METRIC = {"dimensions": dict, "metric_name": str, "namespace": str, "period": int, "stat": str, "unit": str}
QUERY = {
    "account_id": str,
    "expression": str,
    "id": str,
    "label": str,
    "metric": [METRIC],
    "period": int,
    "return_data": bool,
}
CRITERIA = {"promql_criteria": [{"query": str, "pending_period": int, "recovery_period": int}]}
COMMON = {
    "actions_enabled": bool, "alarm_actions": list, "alarm_description": str, "alarm_name": str, "insufficient_data_actions": list,
    "ok_actions": list, "tags": dict,
}  # fmt: skip
SCHEMA = {
    "aws_cloudwatch_metric_alarm": COMMON | {
        "comparison_operator": str, "datapoints_to_alarm": int, "dimensions": dict, "evaluate_low_sample_count_percentiles": str,
        "evaluation_periods": int, "extended_statistic": str, "metric_name": str, "metric_query": [QUERY], "namespace": str, "period": int,
        "statistic": str, "threshold": float, "threshold_metric_id": str, "treat_missing_data": str, "unit": str,
        "evaluation_criteria": [CRITERIA], "evaluation_interval": int,
    },
    "aws_cloudwatch_composite_alarm": COMMON | {"alarm_rule": str, "actions_suppressor": [{"alarm": str, "extension_period": int, "wait_period": int}]},
    "aws_cloudwatch_dashboard": {"dashboard_body": str, "dashboard_name": str},
    "aws_cloudwatch_alarm_mute_rule": {
        "name": str, "description": str, "start_date": str, "expire_date": str, "tags": dict,
        "rule": [{"schedule": [{"duration": str, "expression": str, "timezone": str}]}], "mute_targets": [{"alarm_names": list}],
    },
}  # fmt: skip
REQUIRED = {
    "aws_cloudwatch_metric_alarm": {"alarm_name"}, "aws_cloudwatch_composite_alarm": {"alarm_name", "alarm_rule"},
    "aws_cloudwatch_dashboard": {"dashboard_name", "dashboard_body"}, "aws_cloudwatch_alarm_mute_rule": {"name", "rule"},
}  # fmt: skip
CONFLICTS = {
    "metric_query": {"dimensions", "extended_statistic", "metric_name", "namespace", "period", "statistic"},
    "threshold": {"threshold_metric_id"},
    "statistic": {"extended_statistic"},
}


def fits(given, schema, where=""):
    """What of a resource the provider's schema does not know."""
    for name, value in given.items():
        kind = schema.get(name)
        if kind is None:
            yield f"{where}{name} is unknown"
        elif isinstance(kind, list):
            for block in value:
                yield from fits(block, kind[0], f"{where}{name}.")
        elif not isinstance(value, (int, float) if kind is float else kind) and not (
            kind is list and str(value).startswith("${var.")
        ):
            yield f"{where}{name} is a {type(value).__name__}"


def test_the_provider_knows_every_argument():
    configuration = terraform(PLAIN, {"shop": BOARD}, mutes=[MUTE], prefix="dev-", tags={"team": "x"})
    assert set(configuration["resource"]) == set(SCHEMA)
    for kind, resources in configuration["resource"].items():
        for one in resources.values():
            told = {name: value for name, value in one.items() if name != "depends_on"}
            assert list(fits(told, SCHEMA[kind])) == []
            assert set(told) >= REQUIRED[kind]
            assert not any(name in told and other in told for name, others in CONFLICTS.items() for other in others)
    known = {f"{kind}.{name}" for kind, resources in configuration["resource"].items() for name in resources}
    assert all(
        other in known
        for resources in configuration["resource"].values()
        for one in resources.values()
        for other in one.get("depends_on", ())
    )


@pytest.fixture
def evaluated(tmp_path):
    """What Terraform makes of the resources of a configuration: they are written as outputs, so that no provider is needed."""
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not installed")
    (tmp_path / "rc").write_text("")
    environment = {
        "TF_CLI_CONFIG_FILE": str(tmp_path / "rc"),
        "CHECKPOINT_DISABLE": "1",
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "TF_IN_AUTOMATION": "1",
    }
    where = {"data.aws_region.current.id": "us-east-1", "data.aws_caller_identity.current.account_id": "123456789012"}

    def run(configuration, **given):
        told = json.dumps(configuration["resource"])
        for name, value in where.items():
            told = told.replace(f"${{{name}}}", f'${{\\"{value}\\"}}')
        resources = {
            k: {n: {a: v for a, v in one.items() if a != "depends_on"} for n, one in some.items()}
            for k, some in json.loads(told).items()
        }
        (tmp_path / "main.tf.json").write_text(
            json.dumps({"variable": configuration.get("variable", {}), "output": {"all": {"value": resources}}})
        )
        given = [
            f"-var={name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in given.items()
        ]
        command = [shutil.which("terraform"), f"-chdir={tmp_path}"]
        done = subprocess.run(
            [*command, "apply", "-auto-approve", "-no-color", "-input=false", *given],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        shown = subprocess.run(
            [*command, "output", "-json"], env=environment, capture_output=True, text=True, timeout=60
        )
        return json.loads(shown.stdout)["all"]["value"]

    return run


BACK = {
    "alarm_name": "AlarmName", "alarm_description": "AlarmDescription", "actions_enabled": "ActionsEnabled", "ok_actions": "OKActions", "alarm_actions": "AlarmActions",
    "insufficient_data_actions": "InsufficientDataActions", "metric_name": "MetricName", "namespace": "Namespace", "statistic": "Statistic",
    "extended_statistic": "ExtendedStatistic", "period": "Period", "unit": "Unit", "evaluation_periods": "EvaluationPeriods", "datapoints_to_alarm": "DatapointsToAlarm",
    "threshold": "Threshold", "comparison_operator": "ComparisonOperator", "treat_missing_data": "TreatMissingData", "threshold_metric_id": "ThresholdMetricId",
    "evaluate_low_sample_count_percentiles": "EvaluateLowSampleCountPercentile", "evaluation_interval": "EvaluationInterval", "alarm_rule": "AlarmRule",
}  # fmt: skip


def dimensions(given):
    return {"Dimensions": [{"Name": name, "Value": value} for name, value in given.items()]} if given else {}


def query_back(query):
    """A metric_query as the provider's expandMetricAlarmMetrics makes it."""
    named = {
        "id": "Id",
        "expression": "Expression",
        "label": "Label",
        "return_data": "ReturnData",
        "period": "Period",
        "account_id": "AccountId",
    }
    new = {named[name]: value for name, value in query.items() if name != "metric"}
    for one in query.get("metric", ()):
        metric = {"Namespace": one["namespace"], "MetricName": one["metric_name"], **dimensions(one.get("dimensions"))}
        new["MetricStat"] = {"Metric": metric, "Period": one["period"], "Stat": one["stat"]} | (
            {"Unit": one["unit"]} if "unit" in one else {}
        )
    return new


def back(one):
    """PutMetricAlarm's or PutCompositeAlarm's arguments, as the provider makes them."""
    new = {BACK[name]: value for name, value in one.items() if name in BACK} | dimensions(one.get("dimensions"))
    new |= {"Tags": [{"Key": key, "Value": value} for key, value in one.get("tags", {}).items()]}
    if "metric_query" in one:
        new["Metrics"] = [query_back(query) for query in one["metric_query"]]
    for block in one.get("evaluation_criteria", ()):
        (inner,) = block["promql_criteria"]
        new["EvaluationCriteria"] = {
            "PromQLCriteria": {
                "Query": inner["query"],
                "PendingPeriod": inner["pending_period"],
                "RecoveryPeriod": inner["recovery_period"],
            }
        }
    for block in one.get("actions_suppressor", ()):
        new |= {
            "ActionsSuppressor": block["alarm"],
            "ActionsSuppressorWaitPeriod": block["wait_period"],
            "ActionsSuppressorExtensionPeriod": block["extension_period"],
        }
    return new


def alarms_back(found):
    return {
        one["alarm_name"]: back(one)
        for kind in ("aws_cloudwatch_metric_alarm", "aws_cloudwatch_composite_alarm")
        for one in found.get(kind, {}).values()
    }


@pytest.mark.parametrize("prefix", [None, "", "dev-"])
def test_terraform_holds_what_was_defined(evaluated, prefix):
    found = evaluated(terraform(PLAIN, {"shop": BOARD}, mutes=[MUTE], prefix=prefix))
    wanted = {new["AlarmName"]: plain(new) for new in (renamed(alarm, prefix or "") for alarm in PLAIN)}
    assert {name: plain(alarm) for name, alarm in alarms_back(found).items()} == wanted
    (board,) = found["aws_cloudwatch_dashboard"].values()
    expected = (
        json.dumps(BOARD)
        .replace("${region}", "us-east-1")
        .replace("${account}", "123456789012")
        .replace("alarm:orders", f"alarm:{prefix or ''}orders")
    )
    assert board["dashboard_name"] == (prefix or "") + "shop"
    assert json.loads(board["dashboard_body"]) == json.loads(expected)
    (mute,) = found["aws_cloudwatch_alarm_mute_rule"].values()
    assert (mute["start_date"], mute["expire_date"]) == ("2026-07-01T07:30:00Z", "2026-12-31T22:00:00Z")
    assert mute["mute_targets"] == [{"alarm_names": [(prefix or "") + "orders", "foreign"]}]
    assert mute["rule"] == [
        {"schedule": [{"expression": "cron(0 2 * * *)", "duration": "PT1H", "timezone": "America/New_York"}]}
    ]


def test_terraform_variables(evaluated):
    told = terraform([SUM, P99], prefix="dev-")
    found = alarms_back(evaluated(told, prefix="prod-", notification_arns=[TOPIC]))
    assert {name: alarm["AlarmActions"] for name, alarm in found.items()} == {
        "prod-orders errors": [TOPIC],
        "prod-orders p99": [TOPIC],
    }
    assert alarms_back(evaluated(terraform([SUM])))["orders errors"]["AlarmActions"] == []
    with pytest.raises(AssertionError, match="A prefix needs letters"):
        evaluated(told, prefix="not this")


def test_any_text_survives_terraform(evaluated):
    draw = random.Random(5)
    parts = [
        "$",
        "{",
        "}",
        "%",
        "!",
        "${",
        "%{",
        "$${",
        "%%{",
        "a",
        "é",
        '"',
        "\\",
        "\n",
        "~",
        "${account}",
        "${environment}",
        "${region}",
        " ",
    ]
    texts = ["".join(draw.choices(parts, k=draw.randint(1, 12))) for _ in range(400)]
    keys = [f"{n}{''.join(draw.choices('$%{}~', k=4))}" for n in range(400)]
    alarms = [
        SUM
        | {
            "AlarmName": f"n{n} {keys[n]}",
            "AlarmDescription": told,
            "Dimensions": [{"Name": keys[n], "Value": keys[n]}],
        }
        for n, told in enumerate(texts)
    ]
    found = alarms_back(evaluated(terraform(alarms, prefix="dev-"), environment="prod"))
    wanted = {
        f"dev-n{n} {keys[n]}": (in_place(told).replace("${environment}", "prod"), keys[n])
        for n, told in enumerate(texts)
    }
    assert {
        name: (alarm["AlarmDescription"], alarm["Dimensions"][0]["Name"]) for name, alarm in found.items()
    } == wanted


def test_versions_of_the_provider():
    def version(*alarms, mutes=()):
        return terraform(alarms, mutes=mutes)["terraform"]["required_providers"]["aws"]["version"]

    assert version(SUM, PAGE | {"AlarmRule": "FALSE"}) == ">= 5.23"
    assert version(PROMQL) == version(SUM, mutes=[MUTE]) == ">= 6.43"


def test_outputs_name_every_alarm():
    told = terraform([SUM | {"AlarmName": "a ${b}"}, OVER])["output"]["alarm_arns"]["value"]
    assert told == {
        "a $${b}": "${" + ".".join(address("alarm", "a ${b}")) + ".arn}",
        "shop": "${" + ".".join(address("composite", "shop")) + ".arn}",
    }
    composite = logical_id("composite", "shop")
    assert cloudformation([SUM, OVER])["Outputs"][f"{composite}Arn"]["Value"] == {"Fn::GetAtt": [composite, "Arn"]}


# -- files


def test_written_files(tmp_path):
    template = cloudformation(ALL, {"b": BOARD}, prefix="")
    path = write(tmp_path / "alarms.json", template)
    assert path.read_text(encoding="utf-8") == text(template)
    assert json.loads(path.read_text(encoding="utf-8")) == template
    assert write(tmp_path / "alarms.template", template).exists()
    told = terraform([SUM])
    assert json.loads(write(str(tmp_path / "alarms.tf.json"), told).read_text()) == told
    for name, wrong in (("alarms.json", told), ("alarms.tf.json", template), ("alarms.yaml", template)):
        with pytest.raises(InputError, match="ending in"):
            write(tmp_path / name, wrong)
    with pytest.raises(InputError, match="cannot be written"):
        write(tmp_path / "nowhere" / "alarms.json", template)
    with pytest.raises(InputError, match="one template at a time"):
        write(tmp_path / "alarms.json", [template])
