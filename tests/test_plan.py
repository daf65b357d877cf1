"""deploy.plan and sources.alarms: what is shown is what is put, and the account is never left half-known."""

import json
from types import SimpleNamespace

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ParamValidationError
from botocore.validate import validate_parameters
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lift_insights import sandbox
from lift_insights.deploy import plan as module
from lift_insights.deploy.plan import DeployError, RateLimit, check_alarm, check_dashboard, differences, plan
from lift_insights.frames import InputError
from lift_insights.sources import alarms as source
from lift_insights.sources.alarms import ARGUMENTS, normalise

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


@pytest.fixture(scope="module")
def account():
    with sandbox.local(None) as session:
        yield session


@pytest.fixture
def session(account):
    """The account, empty."""
    cloudwatch = account.client("cloudwatch")
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
            if left and (name is None or name in str(params)):
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
    "ComparisonOperator": st.sampled_from(module._STATIC),
}
OPTIONAL = {
    "AlarmDescription": st.text("ab é", max_size=20),
    "ActionsEnabled": st.booleans(),
    "TreatMissingData": st.sampled_from(module._MISSING),
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
    assert shown._repr_markdown_().count("\n") == 4


def test_only_what_differs_is_put(session, calls):
    plan(session, alarms=[SLOW, RATIO], dashboards={"payments": BOARD}).apply()
    changed = plan(session, alarms=[SLOW, RATIO | {"Threshold": 3}], dashboards={"payments": BOARD})
    assert changed.changes.filter(action="update").row(0)[1:] == ("payments-errors", "update", "Threshold: 2.5 → 3")
    calls.clear()
    put = changed.apply()
    assert [c for c in calls if c.startswith("Put")] == ["PutMetricAlarm"]
    assert put.rows() == [("alarm", "payments-errors", "update")]
    calls.clear()
    assert changed.apply().is_empty()
    assert not [c for c in calls if c.startswith("Put")]


def test_a_changed_dashboard_is_shown_by_field(session):
    plan(session, dashboards={"payments": BOARD}).apply()
    widget = BOARD["widgets"][0]
    new = {"widgets": [widget | {"properties": {"markdown": "# γ"}}, widget | {"y": 2}]}
    shown = plan(session, dashboards={"payments": new})
    lines = shown.changes["difference"][0].splitlines()
    assert lines[0] == 'widgets[0].properties.markdown: "# α | β" → "# γ"'
    assert "widgets[1].y: (not set) → 2" in lines
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
    with pytest.raises(DeployError, match=r"'payments-slow' read back differently than put: Threshold: 900 → 901\.0"):
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
        return SimpleNamespace(client=lambda _: SimpleNamespace(meta=SimpleNamespace(endpoint_url=url)))

    assert module._Writer(client("http://127.0.0.1:5000")).limit is None
    assert module._Writer(client("http://localhost:4566")).limit is None
    assert module._Writer(client("https://monitoring.us-east-1.amazonaws.com")).limit is not None
    assert module._Writer(client("http://127.0.0.1.example.com")).limit is not None


@given(st.lists(st.floats(0, 2), max_size=40))
def test_no_window_of_a_second_holds_four_calls(work):
    now, made = [0.0], []
    limit = RateLimit(3, clock=lambda: now[0], sleep=lambda s: now.__setitem__(0, now[0] + s))
    for busy in work:
        now[0] += busy
        limit.wait()
        made.append(now[0])
    assert all(later - first >= 1 - 1e-9 for first, later in zip(made, made[3:]))


# ---- at the door ---------------------------------------------------------------------------------------------------

ELEVEN = [stat(f"m{i}") for i in range(11)]
TOTAL = {"Id": "e", "Expression": "m0 + m1"}
WRONG = [
    (5, "has to be a dict"),
    (SLOW | {"AlarmName": ""}, "1 to 255"),
    (SLOW | {"AlarmName": "a" * 256}, "1 to 255"),
    (SLOW | {"AlarmName": "slow\n"}, "printable ASCII"),
    (SLOW | {"AlarmName": "langsäm"}, "printable ASCII"),
    (SLOW | {"Treshold": 1}, "no argument Treshold"),
    ({k: v for k, v in SLOW.items() if k != "Namespace"}, "lacks Namespace"),
    ({k: v for k, v in SLOW.items() if k != "Threshold"}, "finite Threshold"),
    (SLOW | {"Threshold": float("nan")}, "finite Threshold"),
    (SLOW | {"Threshold": True}, "finite Threshold"),
    (SLOW | {"Statistic": "Sum"}, "either Statistic or ExtendedStatistic"),
    ({k: v for k, v in SLOW.items() if k != "ExtendedStatistic"} | {"Statistic": "p99"}, "percentiles go into"),
    (SLOW | {"ComparisonOperator": ">"}, "ComparisonOperator of"),
    (SLOW | {"ComparisonOperator": "GreaterThanUpperThreshold"}, "ComparisonOperator of"),
    (SLOW | {"EvaluationPeriods": 0}, "at least 1"),
    (SLOW | {"EvaluationPeriods": 3.0}, "at least 1"),
    (SLOW | {"DatapointsToAlarm": 4}, "from 1 to EvaluationPeriods=3"),
    (SLOW | {"Period": 90}, "multiple of 60"),
    (SLOW | {"EvaluationPeriods": 289}, "limit for this period is 1 day"),
    (SLOW | {"Period": 3600, "EvaluationPeriods": 169}, "limit for this period is 7 days"),
    (SLOW | {"TreatMissingData": "notbreaching"}, "TreatMissingData"),
    (SLOW | {"AlarmDescription": "x" * 1025}, "1025 characters"),
    (SLOW | {"AlarmActions": ["a"] * 6}, "more than 5 AlarmActions"),
    (RATIO | {"Period": 300}, "also Period"),
    (RATIO | {"Metrics": []}, "either MetricStat or Expression"),
    (RATIO | {"Metrics": [*ELEVEN, TOTAL]}, "11 metrics and 1 expressions; the limit is 10"),
    (RATIO | {"Metrics": [stat("m0"), stat("m1")]}, "exactly one metric with ReturnData=True; it has 0"),
    (RATIO | {"Metrics": [stat("m0", returns=True), stat("m1", returns=True)]}, "it has 2"),
    (RATIO | {"Metrics": [stat("m1"), stat("m1"), TOTAL]}, "distinct Id"),
    (RATIO | {"Metrics": [stat("M1"), TOTAL]}, "small letter"),
    (RATIO | {"Metrics": [{"Id": "e", "Expression": "SUM(SEARCH('{N}', 'Sum'))"}]}, "SEARCH"),
    (RATIO | {"Metrics": [{"Id": "a", "MetricStat": {"Stat": "Sum"}}]}, "without Metric, Period or Stat"),
    (BAND | {"Threshold": 1.0}, "both Threshold and ThresholdMetricId"),
    (BAND | {"ThresholdMetricId": "gone"}, "the band 'gone'"),
]


@pytest.mark.parametrize(("alarm", "says"), WRONG, ids=[says for _, says in WRONG])
def test_bad_alarms_are_refused_before_anything_is_asked(alarm, says):
    class Nobody:
        def client(self, service):
            raise AssertionError("the account was asked")

    with pytest.raises(InputError, match=says.replace("(", r"\(")):
        plan(Nobody(), alarms=[SLOW | {"AlarmName": "good"}, alarm])


def test_good_alarms_at_the_limits():
    for good in (
        SLOW | {"EvaluationPeriods": 288},
        SLOW | {"Period": 3600, "EvaluationPeriods": 168},
        SLOW | {"Period": 10},
        SLOW | {"AlarmName": "a" * 255},
        RATIO | {"Metrics": [*ELEVEN[:10], TOTAL]},
        BAND,
    ):
        check_alarm(good)


INPUT = model().operation_model("PutMetricAlarm").input_shape


@settings(max_examples=150)
@given(
    alarm=alarms(),
    name=st.sampled_from(ARGUMENTS),
    junk=st.none() | st.text(max_size=3) | st.integers(-2, 2) | st.just(["a"]),
)
def test_what_botocore_refuses_is_refused(alarm, name, junk):
    """botocore's own validator is the judge: whatever passes our door passes there."""
    broken = alarm | {name: junk}
    try:
        check_alarm(broken)
    except InputError:
        return
    if name not in (
        "WarmUpConfiguration",
        "EvaluationInterval",
        "EvaluationCriteria",
        "EvaluationWindow",
    ):  # left to AWS
        try:
            validate_parameters(broken, INPUT)
        except ParamValidationError as error:
            pytest.fail(str(error))


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
