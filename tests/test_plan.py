"""deploy.plan and sources.alarms: what is shown is what is put, and the account is never left half-known."""

import json
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lift_insights import sandbox
from lift_insights.alarms.rules import STATIC_OPERATORS, TREATMENTS
from lift_insights.aws import audit
from lift_insights.aws.session import Session
from lift_insights.deploy import plan as module
from lift_insights.deploy.account import Account
from lift_insights.deploy.plan import DeployError, RateLimit, check_alarm, check_dashboard, differences, plan, resume
from lift_insights.frames import InputError
from lift_insights.sandbox import Fault
from lift_insights.sources import alarms as source
from lift_insights.sources.alarms import ARGUMENTS, normalise

ROOT = Path(__file__).resolve().parent.parent
SLOW = {
    "AlarmName": "payments-slow",
    "Namespace": "PayTheory/Lift",
    "MetricName": "operation.POST_/payments.duration",
    "Dimensions": [{"Name": "tenant_id", "Value": "aurora"}, {"Name": "method", "Value": "POST"}],
    "ExtendedStatistic": "p99",
    "Period": 300,
    "EvaluationPeriods": 3,
    "Threshold": 900,
    "ComparisonOperator": "GreaterThanThreshold",
}


def stat(id, name="m", returns=False):
    return {
        "Id": id,
        "MetricStat": {"Metric": {"Namespace": "N", "MetricName": name}, "Period": 300, "Stat": "Sum"},
        "ReturnData": returns,
    }


RATIO = {
    "AlarmName": "payments-errors",
    "Metrics": [
        stat("requests"),
        stat("errors"),
        {"Id": "rate", "Expression": "100 * errors / requests", "Label": "payments error rate", "ReturnData": True},
    ],
    "EvaluationPeriods": 5,
    "DatapointsToAlarm": 3,
    "Threshold": 2.5,
    "ComparisonOperator": "GreaterThanThreshold",
    "TreatMissingData": "notBreaching",
}
BAND = {
    "AlarmName": "payments-odd",
    "Metrics": [
        stat("m1", returns=True),
        {"Id": "band", "Expression": "ANOMALY_DETECTION_BAND(m1, 2)", "ReturnData": True},
    ],
    "EvaluationPeriods": 3,
    "ThresholdMetricId": "band",
    "ComparisonOperator": "LessThanLowerOrGreaterThanUpperThreshold",
}
BOARD = {"widgets": [{"type": "text", "x": 0, "y": 0, "width": 24, "height": 2, "properties": {"markdown": "# α | β"}}]}


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    """A state folder of its own: failures that are left alone leave their journals."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(scope="module")
def account():
    with sandbox.local(None) as session:
        yield session


@pytest.fixture
def session(account):
    """The account, empty."""
    cloudwatch = account.client("cloudwatch")
    left = [a["AlarmName"] for a in source.composites(account)]
    for name in left:
        cloudwatch.put_composite_alarm(AlarmName=name, AlarmRule="FALSE")
    for name in left:
        cloudwatch.delete_alarms(AlarmNames=[name])
    left = [a["AlarmName"] for a in source.read(account)]
    for i in range(0, len(left), 100):
        cloudwatch.delete_alarms(AlarmNames=left[i : i + 100])
    if names := list(source.dashboards(account)):
        cloudwatch.delete_dashboards(DashboardNames=names)
    return account


@pytest.fixture
def hook(session):
    """Let a function see, or spoil, what the client does, until the end of the test."""
    events, hooked = session.client("cloudwatch").meta.events, []

    def register(event, function):
        events.register(event, function)
        hooked.append((event, function))

    yield register
    for event, function in hooked:
        events.unregister(event, function)


@pytest.fixture
def calls(hook):
    """The names of the operations that are called."""
    seen = []
    hook("before-call.cloudwatch", lambda model, **_: seen.append(model.name))
    return seen


@pytest.fixture
def refuse(hook):
    """Let one operation fail once, before it is sent or after AWS has done it."""

    def once(operation, error, when="before-call", name=None):
        left = [1]

        def fail(params=None, **_):
            if left and (name is None or name in str(params["body"])):
                left.pop()
                raise error

        hook(f"{when}.cloudwatch.{operation}", fail)

    return once


# ---- reading -------------------------------------------------------------------------------------------------------


def model():
    return boto3.client(
        "cloudwatch", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    ).meta.service_model


def test_arguments_are_those_of_botocore_that_describe_alarms_answers():
    takes = model().operation_model("PutMetricAlarm").input_shape.members
    answers = model().shape_for("MetricAlarm").members
    assert set(ARGUMENTS) == set(takes) & set(answers)
    assert set(takes) - set(ARGUMENTS) == {"Tags"}


METRIC = st.fixed_dictionaries(
    {
        "Namespace": st.sampled_from(["AWS/Lambda", "A|B", "ü"]),
        "MetricName": st.text("ab \"'|{}/.", min_size=1).filter(str.strip),
        "Dimensions": st.lists(
            st.tuples(st.sampled_from("abc"), st.text("xyz", min_size=1)), unique_by=lambda d: d[0]
        ).map(lambda ds: [{"Name": n, "Value": v} for n, v in ds]),
    }
)
COMMON = {
    "EvaluationPeriods": st.integers(1, 12),
    "Threshold": st.floats(-1e9, 1e9, allow_nan=False) | st.integers(-1000, 1000),
    "ComparisonOperator": st.sampled_from(STATIC_OPERATORS),
}
OPTIONAL = {
    "AlarmDescription": st.text("ab é", max_size=20),
    "ActionsEnabled": st.booleans(),
    "TreatMissingData": st.sampled_from(TREATMENTS),
    "AlarmActions": st.lists(
        st.sampled_from([f"arn:aws:sns:us-east-1:123456789012:t{i}" for i in range(5)]), unique=True
    ),
}


@st.composite
def alarms(draw):
    alarm = draw(st.fixed_dictionaries(COMMON, optional=OPTIONAL)) | {"AlarmName": draw(st.text("abc -/", min_size=1))}
    if draw(st.booleans()):
        alarm["DatapointsToAlarm"] = draw(st.integers(1, alarm["EvaluationPeriods"]))
    if draw(st.booleans()):
        statistic = draw(st.sampled_from([{"Statistic": "Sum"}, {"ExtendedStatistic": "p99.9"}]))
        return alarm | draw(METRIC) | statistic | {"Period": draw(st.sampled_from([60, 300]))}
    found = [
        {
            "Id": f"m{i}",
            "MetricStat": {"Metric": draw(METRIC), "Period": 60, "Stat": "Sum"},
            "ReturnData": False,
        }
        for i in range(draw(st.integers(1, 4)))
    ]
    expression = {
        "Id": "e",
        "Expression": " + ".join(q["Id"] for q in found),
        "Label": draw(st.text("ab|", min_size=1)),
    }
    return alarm | {"Metrics": draw(st.permutations([*found, expression]))}


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(alarm=alarms())
def test_any_alarm_survives_the_round_trip(session, alarm):
    check_alarm(alarm)
    before = json.dumps(alarm)
    client = session.client("cloudwatch")
    made = plan(session, alarms=[alarm])
    assert made.changes["action"].to_list() == ["create"]
    made.apply()
    assert source.read(session, names=[alarm["AlarmName"]]) == [normalise(alarm)]
    assert plan(session, alarms=[alarm]).changes["action"].to_list() == ["same"]
    client.put_metric_alarm(**source.read(session, names=[alarm["AlarmName"]])[0])
    assert plan(session, alarms=[alarm]).changes["action"].to_list() == ["same"]
    made.rollback()
    assert source.read(session) == []
    assert json.dumps(alarm) == before


@given(alarm=alarms(), seed=st.randoms())
def test_order_and_defaults_mean_nothing(alarm, seed):
    other = json.loads(json.dumps(alarm))
    for things in (other.get("Dimensions", []), other.get("Metrics", [])):
        seed.shuffle(things)
    other.setdefault("ActionsEnabled", True)
    other.setdefault("TreatMissingData", "missing")
    other.setdefault("DatapointsToAlarm", other["EvaluationPeriods"])
    other["OKActions"] = []
    assert normalise(other) == normalise(alarm)
    assert not differences(normalise(other), normalise(alarm))
    changed = other | {"EvaluationPeriods": other["EvaluationPeriods"] + 1}
    assert normalise(changed) != normalise(alarm)


def test_reading_follows_the_pages(session, calls):
    many = [SLOW | {"AlarmName": f"a{i:03}"} for i in range(130)]
    for alarm in many:
        session.client("cloudwatch").put_metric_alarm(**alarm)
    calls.clear()
    assert [a["AlarmName"] for a in source.read(session)] == [a["AlarmName"] for a in many]
    assert len(source.read(session, prefix="a00")) == 10
    calls.clear()
    assert set(plan(session, alarms=many).changes["action"]) == {"same"}
    assert calls == ["DescribeAlarms"] * 2


def test_a_body_that_is_not_json_is_named(session, hook):
    client = session.client("cloudwatch")
    hook("after-call.cloudwatch.GetDashboard", lambda parsed, **_: parsed.update(DashboardBody="{"))
    client.put_dashboard(DashboardName="torn", DashboardBody=json.dumps(BOARD))
    with pytest.raises(InputError, match="'torn' has a body that is not JSON"):
        source.dashboards(session)


# ---- planning ------------------------------------------------------------------------------------------------------


def test_a_plan_only_reads(session, calls):
    shown = plan(session, alarms=[SLOW, RATIO], dashboards={"payments": BOARD})
    assert {c for c in calls if not c.startswith(("Describe", "Get", "List"))} == set()
    assert source.read(session) == []
    assert source.dashboards(session) == {}
    assert shown.changes["action"].to_list() == ["create"] * 3
    assert str(shown).startswith("3 to create, 0 to update, 0 the same")
    assert shown._repr_markdown_().count("\n") == 6


def test_only_what_differs_is_put(session, calls):
    plan(session, alarms=[SLOW, RATIO], dashboards={"payments": BOARD}).apply()
    changed = plan(session, alarms=[SLOW, RATIO | {"Threshold": 3}], dashboards={"payments": BOARD})
    assert changed.changes.filter(action="update").row(0)[1:] == ("payments-errors", "update", "Threshold: 2.5 → 3", "")
    calls.clear()
    put = changed.apply()
    assert [c for c in calls if c.startswith("Put")] == ["PutMetricAlarm"]
    assert put.rows() == [("alarm", "payments-errors", "update")]
    calls.clear()
    assert changed.apply().is_empty()
    assert not [c for c in calls if c.startswith("Put")]


def test_a_changed_dashboard_is_shown_by_widget(session):
    plan(session, dashboards={"payments": BOARD}).apply()
    widget = BOARD["widgets"][0]
    new = {"widgets": [widget | {"properties": {"markdown": "# γ"}}, widget | {"y": 2}]}
    shown = plan(session, dashboards={"payments": new})
    lines = shown.changes["difference"][0].splitlines()
    assert lines == ["widget 'γ' added: text, 24×2, x=0, y=0", "widget 'α | β' moved: x=0, y=0 → x=0, y=2"]
    assert "\\|" in shown._repr_markdown_()
    shown.apply()
    assert source.dashboards(session) == {"payments": new}
    shown.rollback()
    assert source.dashboards(session) == {"payments": BOARD}


def test_what_was_shown_is_what_is_put(session):
    mine = json.loads(json.dumps(SLOW))
    shown = plan(session, alarms=[mine])
    mine["Threshold"] = 1
    shown.apply()
    assert source.read(session)[0]["Threshold"] == 900


def test_proposals_carry_their_alarm(session):
    assert plan(session, alarms=[SimpleNamespace(alarm=SLOW)]).changes["name"].to_list() == ["payments-slow"]


def test_environments(session):
    arn = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:"
    shows = {
        "widgets": [{"type": "alarm", "properties": {"alarms": [arn + "payments-slow", arn + "other"]}}],
    }
    for environment in ("test", "prod"):
        plan(session, alarms=[SLOW], dashboards={"board": shows}, environment=environment).apply()
    assert [a["AlarmName"] for a in source.read(session)] == ["prod-payments-slow", "test-payments-slow"]
    boards = source.dashboards(session)
    assert boards["prod-board"]["widgets"][0]["properties"]["alarms"] == [arn + "prod-payments-slow", arn + "other"]
    with pytest.raises(InputError, match="environment needs letters"):
        plan(session, alarms=[SLOW], environment="pröd")
    with pytest.raises(InputError, match="1 to 255 printable"):
        plan(session, alarms=[SLOW | {"AlarmName": "a" * 253}], environment="prod")


def test_created_alarms_are_tagged_and_others_are_not(session):
    tags = [{"Key": "team", "Value": "payments"}]
    theirs, ours = SLOW | {"AlarmName": "theirs"}, RATIO | {"AlarmName": "ours"}  # moto keeps tags of deleted alarms
    session.client("cloudwatch").put_metric_alarm(**theirs)
    plan(session, alarms=[theirs | {"Threshold": 1}, ours | {"Tags": tags}]).apply()
    told = {a["AlarmName"]: a["Tags"] for a in source.read(session, tags=True)}
    assert told == {"theirs": [], "ours": [{"Key": "managed-by", "Value": "lift-insights"}, *tags]}


# ---- applying, and when it goes wrong ------------------------------------------------------------------------------


def test_no_means_no(session, calls):
    asked = []
    shown = plan(session, alarms=[SLOW])
    assert shown.apply(confirm=lambda text: asked.append(text)).is_empty()
    assert "payments-slow" in asked[0]
    assert not [c for c in calls if c.startswith("Put")]


@pytest.mark.parametrize("meanwhile", ["created", "changed", "deleted", "a dashboard"])
def test_an_account_that_moved_is_left_alone(session, calls, meanwhile):
    client = session.client("cloudwatch")
    if meanwhile != "created":
        client.put_metric_alarm(**SLOW)
    # the alarm that moves needs no change itself: it was shown as "same", and that is no longer true
    shown = plan(session, alarms=[SLOW, RATIO], dashboards={"board": BOARD})
    if meanwhile == "deleted":
        client.delete_alarms(AlarmNames=["payments-slow"])
    elif meanwhile == "a dashboard":
        client.put_dashboard(DashboardName="board", DashboardBody='{"widgets": []}')
    else:
        client.put_metric_alarm(**SLOW | {"Threshold": 5})
    calls.clear()
    with pytest.raises(DeployError, match="changed in the account since"):
        shown.apply()
    assert not [c for c in calls if c.startswith("Put")]


def denied(operation):
    return ClientError({"Error": {"Code": "AccessDenied", "Message": "not allowed"}}, operation)


@pytest.mark.parametrize(
    ("when", "error"),
    [
        ("before-call", denied("PutMetricAlarm")),
        ("before-call", EndpointConnectionError(endpoint_url="http://127.0.0.1")),
        ("after-call", ConnectionResetError("cut")),  # AWS has done it, the answer got lost
    ],
)
@pytest.mark.parametrize("then", ["rollback", "apply"])
def test_a_failure_midway_can_be_undone_or_resumed(session, refuse, when, error, then):
    session.client("cloudwatch").put_metric_alarm(**SLOW | {"Threshold": 1})
    first = source.read(session)
    shown = plan(session, alarms=[SLOW, RATIO, BAND], dashboards={"board": BOARD})
    name = "payments-errors" if when == "before-call" else None
    refuse("PutMetricAlarm", error, when, name)
    with pytest.raises(DeployError, match="could not be written") as caught:
        shown.apply()
    assert caught.value.__cause__ is error
    if then == "rollback":
        shown.rollback()
        assert source.read(session) == first
        assert source.dashboards(session) == {}
    else:
        shown.apply()
        assert set(plan(session, alarms=[SLOW, RATIO, BAND], dashboards={"board": BOARD}).changes["action"]) == {"same"}
        shown.rollback()
        assert source.read(session) == first


def test_what_reads_back_differently_is_an_error(session, hook):
    def worse(params, **_):
        params["Threshold"] = 901.0

    hook("provide-client-params.cloudwatch.PutMetricAlarm", worse)
    shown = plan(session, alarms=[SLOW])
    with pytest.raises(
        DeployError, match=r"'payments-slow' read back differently than put: Threshold: 900 → 901\. rollback"
    ):
        shown.apply()
    shown.rollback()
    assert source.read(session) == []


def test_rollback_leaves_others_work_alone(session):
    shown = plan(session, alarms=[SLOW, RATIO])
    shown.apply()
    session.client("cloudwatch").put_metric_alarm(**SLOW | {"Threshold": 7})
    with pytest.raises(DeployError, match="changed after apply"):
        shown.rollback()
    assert len(source.read(session)) == 2


def test_rollback_without_apply_does_nothing(session, calls):
    session.client("cloudwatch").put_metric_alarm(**SLOW | {"Threshold": 7})
    shown = plan(session, alarms=[SLOW])
    calls.clear()
    assert shown.rollback().is_empty()
    assert not [c for c in calls if c.startswith(("Put", "Delete"))]


def test_remarks_on_a_dashboard_are_kept_and_errors_raised(session, hook, refuse):
    remark = [{"DataPath": "/widgets/0", "Message": "Field unknown"}]
    hook("after-call.cloudwatch.PutDashboard", lambda parsed, **_: parsed.update(DashboardValidationMessages=remark))
    shown = plan(session, dashboards={"board": BOARD})
    shown.apply()
    assert shown.warnings == ("board: /widgets/0 Field unknown",)
    invalid = {"Error": {"Code": "InvalidParameterInput", "Message": "invalid"}, "dashboardValidationMessages": remark}
    refuse("PutDashboard", ClientError(invalid, "PutDashboard"))
    with pytest.raises(DeployError, match="/widgets/0 Field unknown"):
        plan(session, dashboards={"board": {"widgets": []}}).apply()


def test_aws_gets_three_calls_a_second_and_loopback_all():
    def client(url):
        core = boto3.Session(aws_access_key_id="x", aws_secret_access_key="x")._session
        return Session(core, "us-east-1", endpoint_url=url)

    assert Account(client("http://127.0.0.1:5000")).limit is None
    assert Account(client("http://localhost:4566")).limit is None
    assert Account(client(None)).limit is not None
    assert Account(client("http://127.0.0.1.example.com")).limit is not None


def test_every_call_that_writes_waits_its_turn(session, calls, monkeypatch):
    waited = []
    monkeypatch.setattr(Account, "_wait", lambda self: waited.append(len(puts(calls))))
    shown = plan(session, alarms=[SLOW, RATIO, DEPLOYING], dashboards={"board": BOARD}, stack="s")
    calls.clear()
    shown.apply()
    plan(session, alarms=[SLOW | {"Tags": [{"Key": "a", "Value": "b"}]}], stack="s", prune=True, tags=True).apply()
    assert len(puts(calls)) == 8
    assert waited == list(range(8))  # one before each


@given(st.lists(st.floats(0, 2), max_size=40))
def test_no_window_of_a_second_holds_four_calls(work):
    now, made = [0.0], []
    limit = RateLimit(3, clock=lambda: now[0], sleep=lambda s: now.__setitem__(0, now[0] + s))
    for busy in work:
        now[0] += busy
        limit.wait()
        made.append(now[0])
    assert all(later - first >= 1 - 1e-9 for first, later in zip(made, made[3:]))


# ---- composite alarms ----------------------------------------------------------------------------------------------

PAGE = {"AlarmName": "page", "AlarmRule": "ALARM(any) AND NOT ALARM(deploying)"}
ANY = {"AlarmName": "any", "AlarmRule": "ALARM(payments-slow) OR ALARM(payments-errors)"}
DEPLOYING = {"AlarmName": "deploying", "AlarmRule": "FALSE"}
QUIET = PAGE | {"ActionsSuppressor": "night", "ActionsSuppressorWaitPeriod": 60, "ActionsSuppressorExtensionPeriod": 60}
ARN = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:"
NIGHT = {"AlarmName": "night", "AlarmRule": "FALSE"}


def puts(calls):
    return [c for c in calls if c.startswith(("Put", "Delete", "Tag", "Untag"))]


def test_composite_alarms_come_after_what_they_lean_on(session, hook):
    order = []
    for operation in ("PutMetricAlarm", "PutCompositeAlarm", "DeleteAlarms"):
        hook(
            f"provide-client-params.cloudwatch.{operation}",
            lambda params, **_: order.append(params.get("AlarmName") or params["AlarmNames"][0]),
        )
    shown = plan(session, alarms=[QUIET, ANY, DEPLOYING, NIGHT, SLOW, RATIO])
    assert shown.changes["kind"].to_list() == ["composite"] * 4 + ["alarm"] * 2
    shown.apply()
    assert order[:2] == ["payments-slow", "payments-errors"]
    assert order[-1] == "page"
    put = list(order)
    assert set(plan(session, alarms=[QUIET, ANY, DEPLOYING, NIGHT, SLOW, RATIO]).changes["action"]) == {"same"}
    order.clear()
    shown.rollback()
    assert order == put[::-1]
    assert source.read(session) == source.composites(session) == []


def test_a_rule_means_the_same_however_it_is_written(session):
    plan(session, alarms=[SLOW, RATIO, ANY]).apply()
    spaced = ANY | {
        "AlarmRule": '(ALARM("payments-slow"))  OR  ALARM(arn:aws:cloudwatch:us-east-1:123456789012:alarm:payments-errors)'
    }
    shown = plan(
        session, alarms=[SLOW, RATIO, spaced | {"AlarmRule": '(ALARM("payments-slow"))  OR ALARM("payments-errors")'}]
    )
    assert set(shown.changes["action"]) == {"same"}
    other = plan(session, alarms=[ANY | {"AlarmRule": "ALARM(payments-slow) AND ALARM(payments-errors)"}])
    assert other.changes["difference"].to_list() == [
        'AlarmRule: "ALARM(\\"payments-slow\\") OR ALARM(\\"payments-errors\\")" → "ALARM(\\"payments-slow\\") AND ALARM(\\"payments-errors\\")"'
    ]


@pytest.mark.parametrize(
    ("alarms", "error", "says"),
    [
        ([ANY, SLOW], InputError, "'any' leans on the alarm 'payments-errors', which is neither"),
        ([PAGE, SLOW, RATIO, ANY], InputError, "'page' leans on the alarm 'deploying'"),
        ([QUIET | {"AlarmRule": "TRUE"}], InputError, "leans on the alarm 'night'"),
        ([SLOW, ANY | {"AlarmRule": f"ALARM({ARN}payments-slow)"}], None, None),
        (
            [SLOW, ANY | {"AlarmRule": f"ALARM({ARN.replace('east', 'west')}payments-slow)"}],
            InputError,
            "own account and region",
        ),
        (
            [SLOW, ANY | {"AlarmRule": f"ALARM({ARN.replace('1234', '4321')}payments-slow)"}],
            InputError,
            "own account and region",
        ),
        ([ANY | {"AlarmRule": "ALARM(page)"}, PAGE | {"AlarmRule": "ALARM(any)"}], InputError, "in a circle"),
        ([ANY, ANY], InputError, "stands for two alarms"),
        ([SLOW, RATIO, ANY | {"AlarmName": "payments-slow"}], InputError, "stands for two alarms"),
        ([ANY | {"AlarmRule": "ALARM(payments-slow) UND TRUE"}], InputError, "any"),
    ],
)
def test_composites_that_cannot_be_put_are_refused_at_once(session, calls, alarms, error, says):
    if error is None:
        plan(session, alarms=alarms).apply()
        return
    with pytest.raises(error, match=says):
        plan(session, alarms=alarms)
    assert puts(calls) == []


def test_an_alarm_in_the_account_is_as_good_as_one_in_the_definition(session):
    plan(session, alarms=[SLOW, RATIO]).apply()
    plan(session, alarms=[ANY]).apply()
    assert [a["AlarmName"] for a in source.composites(session)] == ["any"]


def test_a_metric_alarm_does_not_become_a_composite_one(session):
    plan(session, alarms=[SLOW, DEPLOYING]).apply()
    with pytest.raises(
        DeployError, match="'deploying' is a composite alarm in the account and a metric alarm in the definition"
    ):
        plan(session, alarms=[SLOW | {"AlarmName": "deploying"}])
    with pytest.raises(
        DeployError, match="'payments-slow' is a metric alarm in the account and a composite alarm in the definition"
    ):
        plan(session, alarms=[DEPLOYING | {"AlarmName": "payments-slow"}])


# ---- whose they are ------------------------------------------------------------------------------------------------


def tags_of(session):
    return {a["AlarmName"]: {t["Key"]: t["Value"] for t in a["Tags"]} for a in source.read(session, tags=True)}


def test_what_is_not_ours_can_be_updated_left_alone_or_adopted(session):
    theirs = SLOW | {"AlarmName": "theirs"}
    session.client("cloudwatch").put_metric_alarm(**theirs)
    mine = theirs | {"Threshold": 5}
    shown = plan(session, alarms=[mine], others="keep", stack="s")
    assert shown.changes.rows() == [("alarm", "theirs", "keep", "Threshold: 900 → 5", "not made here, left alone")]
    assert "! alarm theirs (not made here, left alone)" in str(shown)
    assert shown.apply().is_empty()
    assert source.read(session)[0]["Threshold"] == 900
    shown = plan(session, alarms=[mine], stack="s")
    assert shown.changes.rows() == [("alarm", "theirs", "update", "Threshold: 900 → 5", "not made here")]
    shown.apply()
    assert tags_of(session) == {"theirs": {}}
    adopted = plan(session, alarms=[mine], others="adopt", stack="s")
    assert adopted.changes["action"].to_list() == ["update"]
    assert 'tag lift-insights:stack: (not set) → "s"' in adopted.changes["difference"][0]
    assert adopted.apply()["name"].to_list() == ["theirs"]
    assert tags_of(session) == {"theirs": {"managed-by": "lift-insights", "lift-insights:stack": "s"}}
    assert plan(session, alarms=[mine], others="adopt", stack="s").changes["action"].to_list() == ["same"]
    adopted.rollback()
    assert tags_of(session) == {"theirs": {}}
    with pytest.raises(InputError, match="others needs one of update, keep, adopt"):
        plan(session, alarms=[mine], others="delete")


def test_tags_of_the_definition_are_brought_up_to_date(session):
    ours = SLOW | {"AlarmName": "ours-with-tags", "Tags": [{"Key": "team", "Value": "a"}]}
    plan(session, alarms=[ours]).apply()
    changed = ours | {"Tags": [{"Key": "team", "Value": "b"}]}
    assert plan(session, alarms=[changed]).changes["action"].to_list() == [
        "same"
    ]  # tags cost a call each: asked for by tags=True
    shown = plan(session, alarms=[changed], tags=True)
    assert shown.changes["difference"].to_list() == ['tag team: "a" → "b"']
    shown.apply()
    assert tags_of(session)["ours-with-tags"]["team"] == "b"
    shown.rollback()
    assert tags_of(session)["ours-with-tags"]["team"] == "a"


def test_only_what_carries_all_our_tags_is_pruned(session, calls):
    client = session.client("cloudwatch")
    plan(session, alarms=[SLOW, RATIO, ANY], dashboards={"board": BOARD}, stack="payments").apply()
    plan(session, alarms=[SLOW | {"AlarmName": "other stack"}], stack="ledger").apply()
    plan(session, alarms=[SLOW | {"AlarmName": "no stack"}]).apply()
    plan(session, alarms=[SLOW], stack="payments", environment="prod").apply()
    for name, tags in [("by hand", []), ("forged", [{"Key": "lift-insights:stack", "Value": "payments"}])]:
        client.put_metric_alarm(**SLOW | {"AlarmName": name}, Tags=tags)
    client.put_dashboard(DashboardName="by-hand", DashboardBody=json.dumps(BOARD))
    before = (source.read(session, tags=True), source.composites(session, tags=True), source.dashboards(session))
    shown = plan(session, alarms=[SLOW], stack="payments", prune=True)
    going = shown.changes.filter(action="delete")
    assert sorted(going["name"]) == ["any", "board", "payments-errors"]
    assert "1 the same, 3 to delete" in str(shown)
    calls.clear()
    assert shown.apply()["action"].to_list() == ["delete"] * 3
    assert puts(calls) == ["DeleteDashboards", "DeleteAlarms", "DeleteAlarms"]
    assert {a["AlarmName"] for a in source.read(session)} == {
        "payments-slow",
        "other stack",
        "no stack",
        "prod-payments-slow",
        "by hand",
        "forged",
    }
    assert list(source.dashboards(session)) == ["by-hand"]
    shown.rollback()
    assert (
        source.read(session, tags=True),
        source.composites(session, tags=True),
        source.dashboards(session),
    ) == before
    with pytest.raises(InputError, match="needs stack"):
        plan(session, alarms=[SLOW], prune=True)


def test_pruning_an_environment_leaves_the_others(session):
    for environment in ("test", "prod"):
        plan(session, alarms=[SLOW, RATIO], stack="payments", environment=environment).apply()
    plan(session, alarms=[SLOW], stack="payments", environment="test", prune=True).apply()
    assert [a["AlarmName"] for a in source.read(session)] == [
        "prod-payments-errors",
        "prod-payments-slow",
        "test-payments-slow",
    ]


def test_an_alarm_that_others_lean_on_is_not_pruned(session):
    plan(session, alarms=[SLOW, RATIO, ANY, BAND], stack="payments").apply()
    session.client("cloudwatch").put_composite_alarm(AlarmName="of a colleague", AlarmRule="ALARM(any)")
    shown = plan(session, stack="payments", prune=True)
    told = {name: (action, note) for _, name, action, _, note in shown.changes.iter_rows()}
    assert told["payments-odd"] == ("delete", "no longer in the definition")
    assert told["any"] == ("keep", "no longer in the definition, but the composite alarm 'of a colleague' leans on it")
    assert told["payments-slow"][0] == told["payments-errors"][0] == "keep"  # for the sake of `any`
    shown.apply()
    assert [a["AlarmName"] for a in source.read(session)] == ["payments-errors", "payments-slow"]


def test_a_composite_lets_go_before_its_alarm_is_pruned(session):
    plan(session, alarms=[SLOW, RATIO, ANY], stack="payments").apply()
    smaller = plan(session, alarms=[SLOW, ANY | {"AlarmRule": "ALARM(payments-slow)"}], stack="payments", prune=True)
    assert smaller.apply().rows() == [("composite", "any", "update"), ("alarm", "payments-errors", "delete")]
    smaller.rollback()
    assert set(plan(session, alarms=[SLOW, RATIO, ANY]).changes["action"]) == {"same"}


def test_what_was_claimed_by_another_in_the_meantime_is_not_deleted(session, calls):
    plan(session, alarms=[SLOW], stack="payments").apply()
    shown = plan(session, stack="payments", prune=True)
    arn = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:payments-slow"
    session.client("cloudwatch").untag_resource(ResourceARN=arn, TagKeys=["managed-by"])
    calls.clear()
    with pytest.raises(DeployError, match="'payments-slow' changed in the account since"):
        shown.apply()
    assert puts(calls) == []


def test_tags_that_may_not_be_read(session, refuse, hook):
    plan(session, alarms=[SLOW], stack="payments").apply()

    def fail(**_):
        raise denied("ListTagsForResource")

    hook("before-call.cloudwatch.ListTagsForResource", fail)
    shown = plan(session, alarms=[SLOW | {"Threshold": 3}], stack="payments")
    assert shown.changes.rows() == [
        ("alarm", "payments-slow", "update", "Threshold: 900 → 3", "its tags could not be read")
    ]
    with pytest.raises(DeployError, match="cloudwatch:ListTagsForResource; plan without prune"):
        plan(session, stack="payments", prune=True)


# ---- who did it, and what if they die ------------------------------------------------------------------------------


@pytest.fixture
def trail(account, tmp_path):
    account.ledger.trail = audit.Trail(tmp_path / "audit.jsonl")
    yield account.ledger.trail
    account.ledger.trail = None


def test_the_trail_says_who_what_and_why(session, trail):
    session.client("cloudwatch").put_metric_alarm(**SLOW | {"Threshold": 1})
    shown = plan(session, alarms=[SLOW, RATIO])
    shown.apply(why="tuned")
    shown.rollback(why="too many pages")
    entries = audit.read(trail.path).filter(service="deploy")
    assert len(audit.verify(trail.path)) == 0
    told = entries.filter(entries["name"].is_not_null())
    assert told.select("operation", "name", "outcome", "why").rows() == [
        ("apply.update", "payments-slow", "ok", "tuned"),
        ("apply.create", "payments-errors", "ok", "tuned"),
        ("rollback.delete", "payments-errors", "ok", "too many pages"),
        ("rollback.restore", "payments-slow", "ok", "too many pages"),
    ]
    assert set(entries["account"]) == {"123456789012"}
    assert all(who.startswith("arn:aws:") for who in entries["who"])
    assert json.loads(told["before"][0])["Threshold"] == 1
    assert json.loads(told["after"][0])["Threshold"] == 900
    assert told["before"][1] is None
    assert told["after"][2] is None
    assert entries.filter(entries["name"].is_null()).select("operation", "outcome").rows() == [
        ("apply", "begun"), ("apply", "ok"), ("rollback", "begun"), ("rollback", "ok"),
    ]  # fmt: skip


def test_a_failed_call_is_in_the_trail_too_and_a_lost_answer_is_told_later(session, trail, refuse):
    shown = plan(session, alarms=[SLOW, RATIO])
    refuse("PutMetricAlarm", ConnectionResetError("cut"), "after-call")
    with pytest.raises(DeployError):
        shown.apply()
    shown.apply()
    told = audit.read(trail.path).filter(service="deploy", name="payments-slow")
    assert told["outcome"].to_list() == ["ConnectionResetError", "ok, found later"]


def test_nothing_is_changed_without_a_trail_that_works(session, trail, calls, monkeypatch):
    shown = plan(session, alarms=[SLOW])

    def full(entry):
        if entry["service"] == "deploy":
            raise OSError(28, "no space left")

    monkeypatch.setattr(trail, "append", full)
    calls.clear()
    with pytest.raises(DeployError, match=r"audit trail cannot be written.*no space"):
        shown.apply()
    assert puts(calls) == []


def test_nothing_is_changed_without_a_journal_or_a_name(session, calls, tmp_path, account):
    (tmp_path / "file").write_text("")
    shown = plan(session, alarms=[SLOW], journal=tmp_path / "file")
    with pytest.raises(DeployError, match=r"no journal can be kept in .*nothing was written"):
        shown.apply()
    events = account.client("sts").meta.events

    def fail(**_):
        raise denied("GetCallerIdentity")

    events.register("before-call.sts.GetCallerIdentity", fail)
    try:
        with pytest.raises(DeployError, match="who is at work could not be asked"):
            plan(session, alarms=[SLOW]).apply()
    finally:
        events.unregister("before-call.sts.GetCallerIdentity", fail)
    assert puts(calls) == []
    plan(session, alarms=[SLOW], journal=False).apply()


def test_a_local_account_leaves_no_file_behind_once_all_is_done(session):
    from lift_insights.deploy.journal import folder_of

    plan(session, alarms=[SLOW]).apply()
    here = [p for p in folder_of().glob("*.jsonl") if session.endpoint_url in p.read_text()]
    assert here == []


def test_a_journal_is_the_owners_alone_and_stays_for_a_later_rollback(session, tmp_path):
    plan(session, alarms=[SLOW, ANY | {"AlarmRule": "ALARM(payments-slow)"}], journal=tmp_path).apply(why="x")
    (file,) = tmp_path.glob("*.jsonl")
    assert file.name.endswith(".done.jsonl")
    assert file.stat().st_mode & 0o777 == 0o600
    back = resume(session, journal=tmp_path)
    assert back.changes["action"].to_list() == ["create", "create"]
    assert back.apply().is_empty()
    back.rollback()
    assert source.read(session) == source.composites(session) == []
    with pytest.raises(InputError, match="has no journal"):
        resume(session, journal=tmp_path)
    back.apply()  # and forth again
    assert len(source.read(session)) == 1
    resume(session, journal=tmp_path).rollback()
    assert source.read(session) == []


def test_a_journal_of_somewhere_else_is_refused(session, tmp_path):
    from lift_insights.deploy.plan import Plan

    plan(session, alarms=[SLOW], journal=tmp_path).apply()
    (file,) = tmp_path.glob("*.jsonl")
    with pytest.raises(InputError, match="region us-east-1, and the session leads to eu-west-1"):
        Plan.load(session.at("eu-west-1"), file)
    with pytest.raises(InputError, match="has no journal"):
        resume(session.at("eu-west-1"), journal=tmp_path)
    for text in (
        "",
        "{}\n",
        "[1]\n",
        '{"version": 1, "account": "123456789012", "region": "us-east-1"}\n',
        '{"version": 99}\n',
    ):
        (tmp_path / "odd.open.jsonl").write_text(text)
        with pytest.raises(InputError, match=r"no journal of an apply|is about the endpoint"):
            Plan.load(session, tmp_path / "odd.open.jsonl")
    with pytest.raises(InputError, match="cannot be read"):
        Plan.load(session, tmp_path / "none.jsonl")


def test_an_unfinished_apply_is_told_by_the_next_plan(session, refuse, tmp_path):
    refuse("PutMetricAlarm", denied("PutMetricAlarm"), name="payments-errors")
    with pytest.raises(DeployError, match=r"lack the permission cloudwatch:PutMetricAlarm .and cloudwatch:TagResource"):
        plan(session, alarms=[SLOW, RATIO], journal=tmp_path).apply()
    told = str(plan(session, alarms=[SLOW], journal=tmp_path))
    assert "did not come to its end; resume(session) goes on" in told
    resume(session, journal=tmp_path).rollback()
    assert "did not come" not in str(plan(session, alarms=[SLOW], journal=tmp_path))


def test_an_apply_that_died_after_its_last_call_comes_to_its_end(session, tmp_path, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module.Plan, "_verify", die)
        with pytest.raises(KeyboardInterrupt):
            plan(session, alarms=[SLOW], journal=tmp_path).apply()
    later = resume(session, journal=tmp_path)
    assert later.apply().is_empty()
    assert [p.name[-10:] for p in tmp_path.glob("*.jsonl")] == ["done.jsonl"]
    later.rollback()
    assert source.read(session) == []


def test_what_read_back_differently_can_be_rolled_back_by_another_process(session, hook, tmp_path):
    hook("provide-client-params.cloudwatch.PutMetricAlarm", lambda params, **_: params.update(Threshold=901.0))
    with pytest.raises(DeployError, match="read back differently"):
        plan(session, alarms=[SLOW], journal=tmp_path).apply()
    assert resume(session, journal=tmp_path).rollback()["action"].to_list() == ["delete"]
    assert source.read(session) == []


def test_a_line_that_was_torn_by_a_crash_is_left_out_and_what_follows_is_not(session, refuse, tmp_path):
    refuse("PutMetricAlarm", denied("PutMetricAlarm"), name="payments-errors")
    with pytest.raises(DeployError):
        plan(session, alarms=[SLOW, RATIO], journal=tmp_path).apply()
    (file,) = tmp_path.glob("*.open.jsonl")
    with open(file, "ab") as torn:
        torn.write(b'{"step": "put", "kind": "alarm", "na')
    resume(session, journal=tmp_path).apply()
    resume(session, journal=tmp_path).rollback()
    assert source.read(session) == []


def test_a_change_by_somebody_else_during_rollback_is_seen(session, hook, monkeypatch):
    monkeypatch.setattr(module, "LOOK_S", 0.0)
    other = colleague(session)
    shown = plan(session, alarms=[SLOW | {"AlarmName": f"a{i}"} for i in range(3)])
    shown.apply()

    def meanwhile(params, **_):
        if '"a2"' in str(params["body"]):
            other.put_metric_alarm(**SLOW | {"AlarmName": "a0", "Threshold": 77})

    hook("before-call.cloudwatch.DeleteAlarms", meanwhile)
    with pytest.raises(DeployError, match="'a0' changed after apply; 1 of 3 were rolled back"):
        shown.rollback()
    assert {a["AlarmName"]: a["Threshold"] for a in source.read(session)} == {"a0": 77, "a1": 900}


def test_two_at_once_are_kept_apart(session, tmp_path):
    from lift_insights.deploy.journal import alone

    place = {"account": "123456789012", "region": "us-east-1", "endpoint": session.endpoint_url}
    shown = plan(session, alarms=[SLOW], journal=tmp_path)
    with alone(tmp_path, place), pytest.raises(DeployError, match="somebody else is applying"):
        shown.apply()
    shown.apply()


def colleague(session):
    """A client of somebody else's, which no hook of ours sees."""
    return boto3.client(
        "cloudwatch",
        region_name="us-east-1",
        endpoint_url=session.endpoint_url,
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )


def test_a_change_by_somebody_else_during_apply_is_seen(session, hook, monkeypatch):
    monkeypatch.setattr(module, "LOOK_S", 0.0)
    other = colleague(session)
    many = [SLOW | {"AlarmName": f"a{i}"} for i in range(4)]
    shown = plan(session, alarms=many)

    def meanwhile(params, **_):
        if '"a1"' in str(params["body"]):  # the headers hold random ids
            other.put_metric_alarm(**SLOW | {"AlarmName": "a3", "Threshold": 77})

    hook("before-call.cloudwatch.PutMetricAlarm", meanwhile)
    with pytest.raises(DeployError, match=r"'a3' changed in the account while it was applied \(2 of 4 done\)"):
        shown.apply()
    assert {a["AlarmName"]: a["Threshold"] for a in source.read(session)} == {"a0": 900, "a1": 900, "a3": 77}
    shown.rollback()
    assert [a["AlarmName"] for a in source.read(session)] == ["a3"]


def test_what_changed_while_somebody_thought_about_it_is_refused(session):
    shown = plan(session, alarms=[SLOW])

    def think(text):
        session.client("cloudwatch").put_metric_alarm(**SLOW | {"Threshold": 5})
        return True

    with pytest.raises(DeployError, match="changed in the account since"):
        shown.apply(confirm=think)
    assert source.read(session)[0]["Threshold"] == 5


# ---- faults on the line --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault("cloudwatch", "PutMetricAlarm", status=400, code="ThrottlingException", times=2, after=1), None),
        (Fault("cloudwatch", "PutMetricAlarm", cut=True, times=1, after=2), None),
        (Fault("cloudwatch", "PutCompositeAlarm", half=True, times=1), None),
        (
            Fault("cloudwatch", "PutMetricAlarm", status=403, code="AccessDenied", after=1),
            "lack the permission cloudwatch:PutMetricAlarm",
        ),
        (
            Fault("cloudwatch", "PutCompositeAlarm", status=400, code="LimitExceeded"),
            r"composite alarm 'any' could not be written \(2 of 4 done",
        ),
        (
            Fault("cloudwatch", "PutDashboard", status=500, code="InternalServiceFault", times=20),
            "dashboard 'board' could not be written",
        ),
    ],
)
def test_faults_of_the_service(fault, says, tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)  # botocore waits between attempts
    with sandbox.local(None, faults=(fault,)) as session:
        shown = plan(session, alarms=[SLOW, RATIO, ANY], dashboards={"board": BOARD}, journal=tmp_path)
        if says is None:
            shown.apply()
            assert len(source.read(session)) == 2
        else:
            with pytest.raises(DeployError, match=says):
                shown.apply()
            resume(session, journal=tmp_path).rollback()
            assert source.read(session) == source.composites(session) == []
            assert source.dashboards(session) == {}


APPLY = """
import sys
from lift_insights.aws.session import local
from lift_insights.deploy.plan import plan, resume
import json
url, folder, what = sys.argv[1:]
session = local(url)
if what == "rollback":
    resume(session, journal=folder).rollback(progress=False)
else:
    alarms, boards = json.load(sys.stdin)
    plan(session, alarms=alarms, dashboards=boards, stack="s", prune=True, journal=folder).apply(progress=False, why="killed")
"""


@contextmanager
def killed(url, folder, what, definition, after):
    """A process that is killed when its journal has so many steps of the kind that are done."""
    process = subprocess.Popen([sys.executable, "-c", APPLY, url, str(folder), what], stdin=subprocess.PIPE, cwd=ROOT)
    process.stdin.write(json.dumps(definition).encode())
    process.stdin.close()
    word, deadline = {"apply": '"done"', "rollback": '"undone"'}[what], time.monotonic() + 60
    while sum(p.read_text().count(word) for p in folder.glob("*.jsonl")) < after:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.wait()
    yield


@pytest.mark.parametrize("then", ["apply", "rollback"])
def test_a_process_that_is_killed_leaves_nothing_half_known(then, tmp_path):
    slow_line = tuple(
        Fault("cloudwatch", o, delay_s=0.05) for o in ("PutMetricAlarm", "PutCompositeAlarm", "DeleteAlarms")
    )
    many = [SLOW | {"AlarmName": f"a{i:02}"} for i in range(12)]
    page = {"AlarmName": "page", "AlarmRule": " OR ".join(f"ALARM({a['AlarmName']})" for a in many)}
    with sandbox.local(None, faults=slow_line) as session:
        old = [SLOW | {"AlarmName": name, "Threshold": 1} for name in ("a01", "a05", "gone")]
        plan(session, alarms=[*old, page | {"AlarmRule": "ALARM(gone)"}], stack="s").apply()
        first = whole(session)
        with killed(session.endpoint_url, tmp_path, "apply", [[*many, page], {"board": BOARD}], 5):
            half = whole(session)
        assert half != first
        assert len(source.read(session)) < 13
        later = resume(session, journal=tmp_path)
        assert "begun" in str(later)
        if then == "apply":
            later.apply()
            assert {a["AlarmName"]: a["Threshold"] for a in source.read(session)} == {a["AlarmName"]: 900 for a in many}
            assert set(
                plan(session, alarms=[*many, page], dashboards={"board": BOARD}, stack="s", prune=True).changes[
                    "action"
                ]
            ) == {"same"}
        with killed(session.endpoint_url, tmp_path, "rollback", None, 3):
            pass
        resume(session, journal=tmp_path).rollback()
        assert whole(session) == first


def whole(session):
    """All that an account holds, tags included."""
    return source.read(session, tags=True), source.composites(session, tags=True), source.dashboards(session)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_from_any_account_to_any_definition_and_back_with_a_failure_anywhere(account, data):
    """Whatever was there and whatever is wanted: after a failure, going on ends at the definition and going back at what was there."""
    names = ["m0", "m1", "m2", "c0", "c1", "c2"]

    def definition():
        metrics = [
            SLOW | {"AlarmName": n, "Threshold": data.draw(st.integers(1, 3))}
            for n in names[:3]
            if data.draw(st.booleans())
        ]
        known = [m["AlarmName"] for m in metrics]
        found = []
        for n in data.draw(st.permutations(names[3:])):
            if known and data.draw(st.booleans()):
                rule = " OR ".join(
                    f"ALARM({k})"
                    for k in data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=3, unique=True))
                )
                found.append({"AlarmName": n, "AlarmRule": rule})
                known.append(n)
        return data.draw(st.permutations([*metrics, *found]))

    for name in [a["AlarmName"] for a in source.composites(account)]:
        account.client("cloudwatch").put_composite_alarm(AlarmName=name, AlarmRule="FALSE")
    for alarm in [*source.composites(account), *source.read(account)]:
        account.client("cloudwatch").delete_alarms(AlarmNames=[alarm["AlarmName"]])
    plan(account, alarms=definition(), stack="s", journal=False).apply()
    first, wanted = whole(account), definition()
    shown = plan(account, alarms=wanted, stack="s", prune=True, journal=False)
    steps, fail_at = [], data.draw(st.integers(0, 8))
    lost = data.draw(st.booleans())  # did AWS do it before the line broke?

    def fail(**_):
        steps.append(1)
        if len(steps) == fail_at + 1:
            raise ConnectionResetError("cut")

    events = account.client("cloudwatch").meta.events
    hooked = [
        f"{'after' if lost else 'before'}-call.cloudwatch.{o}"
        for o in ("PutMetricAlarm", "PutCompositeAlarm", "DeleteAlarms", "TagResource")
    ]
    for event in hooked:
        events.register(event, fail)
    try:
        shown.apply()
        failed = False
    except DeployError:
        failed = True
    finally:
        for event in hooked:
            events.unregister(event, fail)
    if not failed or data.draw(st.booleans()):
        shown.apply()
        again = plan(account, alarms=wanted, stack="s", prune=True, journal=False)
        assert set(again.changes["action"]) <= {"same"}
        assert len(source.read(account)) + len(source.composites(account)) == len(wanted)
    shown.rollback()
    assert whole(account) == first


# ---- at the door ---------------------------------------------------------------------------------------------------

ELEVEN = [stat(f"m{i}") for i in range(11)]
TOTAL = {"Id": "e", "Expression": "m0 + m1"}
WRONG = [  # of each kind one: the rules themselves are tested in test_rules
    (5, "has to be a dict"),
    (SLOW | {"AlarmName": "a" * 256}, "1 to 255"),
    (SLOW | {"AlarmName": "langsäm"}, "printable ASCII"),
    (SLOW | {"Treshold": 1}, "no argument Treshold"),
    (SLOW | {"Threshold": float("nan")}, "Threshold"),
    (SLOW | {"EvaluationPeriods": 289}, "day"),
    (RATIO | {"Metrics": [*ELEVEN, TOTAL]}, "10"),
    (RATIO | {"Metrics": [stat("m0"), {"Id": "e", "Expression": "m0 +* 2"}]}, "position|at "),
    (BAND | {"Threshold": 1.0}, "Threshold"),
    ({"AlarmName": "page", "AlarmRule": "ALARM(slow"}, "payments|page"),
]


@pytest.mark.parametrize(("alarm", "says"), WRONG, ids=[says for _, says in WRONG])
def test_bad_alarms_are_refused_before_anything_is_asked(alarm, says):
    class Nobody:
        def client(self, service):
            raise AssertionError("the account was asked")

    with pytest.raises(InputError, match=says):
        plan(Nobody(), alarms=[SLOW | {"AlarmName": "good"}, alarm])


def test_names_that_come_twice_and_bad_dashboards(session):
    with pytest.raises(InputError, match="stands for two alarms"):
        plan(session, alarms=[SLOW, SLOW | {"Threshold": 1}])
    for name, body, says in [
        ("my board", BOARD, "letters, digits"),
        ("b" * 256, BOARD, "1 to 255"),
        ("b", "{}", "it is a str"),
        ("b", {"widgets": [{}] * 501}, "limit is 500"),
        ("b", {"widgets": [{"value": float("nan")}]}, "not JSON"),
        ("b", {"widgets": [{"value": {1, 2}}]}, "not JSON"),
    ]:
        with pytest.raises(InputError, match=says):
            check_dashboard(name, body)
