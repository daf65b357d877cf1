"""deploy.environments and deploy.definition: one definition, several places; what a file gets wrong is named."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lift_insights import sandbox
from lift_insights.alarms.expression import children
from lift_insights.deploy import definition, environments
from lift_insights.deploy.environments import Environment, placed
from lift_insights.deploy.plan import DeployError, plan
from lift_insights.frames import InputError
from lift_insights.sources import alarms as source

SLOW = {
    "AlarmName": "slow", "Namespace": "N", "MetricName": "ms", "Dimensions": [{"Name": "FunctionName", "Value": "payments-prod"}, {"Name": "Resource", "Value": "products of nonprod"}],
    "Statistic": "Average", "Period": 60, "EvaluationPeriods": 3, "Threshold": 900, "ComparisonOperator": "GreaterThanThreshold",
    "AlarmActions": ["arn:aws:sns:us-east-1:111111111111:prod-pages"],
}  # fmt: skip
STAT = {
    "Metric": {"Namespace": "N", "MetricName": "errors", "Dimensions": [{"Name": "stage", "Value": "prod"}]},
    "Period": 300,
    "Stat": "Sum",
}
RATE = {
    "AlarmName": "rate", "EvaluationPeriods": 1, "Threshold": 1, "ComparisonOperator": "GreaterThanThreshold",
    "Metrics": [{"Id": "e", "MetricStat": STAT, "ReturnData": False, "AccountId": "111111111111"}, {"Id": "x", "Expression": "e * 100"}],
}  # fmt: skip
PAGE = {
    "AlarmName": "page", "AlarmRule": 'AT_LEAST(1, ALARM, (slow, "rate")) AND NOT ALARM(arn:aws:cloudwatch:us-east-1:111111111111:alarm:foreign)',
    "ActionsSuppressor": "arn:aws:cloudwatch:us-east-1:111111111111:alarm:slow", "ActionsSuppressorWaitPeriod": 60, "ActionsSuppressorExtensionPeriod": 60,
}  # fmt: skip
ALL = [SLOW, RATE, PAGE]
ARN = "arn:aws:cloudwatch:us-east-1:111111111111:alarm:"
BOARD = {
    "widgets": [
        {"type": "alarm", "properties": {"alarms": [ARN + "slow", ARN + "foreign"], "title": "Products of prod"}}
    ]
}


def test_words_are_replaced_where_they_stand_for_a_place_and_nowhere_else():
    dev = Environment("dev", prefix="dev-", replace={"111111111111": "222222222222", "prod": "dev"})
    (slow, rate, page), boards = placed(dev, ALL, {"board": BOARD})
    assert slow["Dimensions"] == [
        {"Name": "FunctionName", "Value": "payments-dev"},
        {"Name": "Resource", "Value": "products of nonprod"},
    ]
    assert slow["AlarmActions"] == ["arn:aws:sns:us-east-1:222222222222:dev-pages"]
    assert slow["MetricName"] == "ms"
    assert rate["Metrics"][0]["AccountId"] == "222222222222"
    assert rate["Metrics"][0]["MetricStat"]["Metric"]["Dimensions"] == [{"Name": "stage", "Value": "dev"}]
    assert page["ActionsSuppressor"] == "arn:aws:cloudwatch:us-east-1:222222222222:alarm:dev-slow"
    assert children(page["AlarmRule"]) == ["dev-slow", "dev-rate", "foreign"]
    assert "222222222222:alarm:foreign" in page["AlarmRule"]
    shows = boards["dev-board"]["widgets"][0]["properties"]
    assert shows["alarms"] == [ARN.replace("111111111111", "222222222222") + name for name in ("dev-slow", "foreign")]
    assert shows["title"] == "Products of dev"


def test_overrides_go_from_the_general_to_the_special():
    place = Environment(
        "dev",
        overrides={
            "*": {"ActionsEnabled": False},
            "r*": {"Metrics": {"e": {"MetricStat": {"Period": 60}}, "y": {"Expression": "x", "ReturnData": False}}},
            "slow": {
                "Threshold": 5,
                "AlarmActions": None,
                "Dimensions": {"Resource": None, "FunctionName": "f", "Stage": "dev"},
                "ActionsEnabled": True,
            },
        },
    )
    before = copy.deepcopy(ALL)
    (slow, rate, page), _ = placed(place, ALL, {})
    assert before == ALL
    assert (slow["Threshold"], slow["ActionsEnabled"], page["ActionsEnabled"]) == (5, True, False)
    assert "AlarmActions" not in slow
    assert slow["Dimensions"] == [{"Name": "FunctionName", "Value": "f"}, {"Name": "Stage", "Value": "dev"}]
    assert [(q["Id"], q.get("MetricStat", {}).get("Period")) for q in rate["Metrics"]] == [
        ("e", 60),
        ("x", None),
        ("y", None),
    ]
    assert rate["Metrics"][0]["MetricStat"]["Stat"] == "Sum"


@given(
    prefix=st.text("abz-_09", max_size=5),
    names=st.lists(st.text('ab "\\(),', min_size=1, max_size=6), min_size=1, max_size=4, unique=True),
)
def test_whatever_the_names_are_a_rule_follows_them(prefix, names):
    quoted = ['"' + n.replace("\\", "\\\\").replace('"', '\\"') + '"' for n in names]
    rule = {"AlarmName": "rule", "AlarmRule": " OR ".join(f"ALARM({q})" for q in [*quoted, "elsewhere"])}
    alarms, _ = placed(Environment("e", prefix=prefix), [*({"AlarmName": n} for n in names), rule], {})
    assert [a["AlarmName"] for a in alarms] == [prefix + n for n in [*names, "rule"]]
    assert children(alarms[-1]["AlarmRule"]) == [prefix + n for n in names] + ["elsewhere"]


def test_words_in_braces_stand_for_the_place():
    alarm = SLOW | {
        "AlarmDescription": "${environment} of ${account}, see ${LABEL}",
        "AlarmActions": ["arn:aws:sns:${region}:${account}:pages"],
    }
    with sandbox.local(None) as session:
        (made,), _ = placed(Environment("dev"), [alarm], {}, session)
    assert made["AlarmDescription"] == "dev of 123456789012, see ${LABEL}"
    assert made["AlarmActions"] == ["arn:aws:sns:us-east-1:123456789012:pages"]
    with pytest.raises(InputError, match="needs the environment 'dev' to have an account"):
        placed(Environment("dev", region="eu-west-1"), [alarm], {})


def test_several_environments_are_shown_and_changed_together():
    places = {
        "dev": Environment("dev", overrides={"slow": {"Threshold": 5}}),
        "prod": Environment(
            "prod", region="eu-west-1", role_arn="arn:aws:iam::222222222222:role/deploy", account="222222222222"
        ),
    }
    alarms = [SLOW, RATE, PAGE | {"AlarmRule": "ALARM(slow)", "ActionsSuppressor": "rate"}]
    with sandbox.local(None) as session:
        plans = environments.plan(session, places, alarms=alarms, stack="s")
        assert plans.changes["environment"].to_list() == ["dev"] * 3 + ["prod"] * 3
        assert "(dev, us-east-1)" in str(plans)
        assert "(prod, eu-west-1)" in plans._repr_markdown_()
        assert plans.apply(confirm=lambda text: False).is_empty()
        assert plans.apply(confirm=lambda text: True).height == 6
        there = session.at("eu-west-1", role_arn="arn:aws:iam::222222222222:role/deploy")
        assert [a["AlarmName"] for a in source.read(session)] == ["dev-rate", "dev-slow"]
        assert [a["AlarmName"] for a in source.read(there)] == ["prod-rate", "prod-slow"]
        assert set(
            environments.plan({"dev": session, "prod": session}, places, alarms=alarms, stack="s").changes["action"]
        ) == {"same"}
        plans.rollback()
        assert source.read(session) == source.read(there) == []


def test_where_one_environment_fails_those_before_it_can_be_taken_back():
    places = {name: Environment(name) for name in ("dev", "prod")}
    with sandbox.local(None) as session:
        plans = environments.plan(session, places, alarms=[SLOW])
        session.client("cloudwatch").put_metric_alarm(**SLOW | {"AlarmName": "prod-slow"})
        with pytest.raises(DeployError, match="'prod-slow' changed in the account"):
            plans.apply()
        assert len(source.read(session)) == 2
        plans.rollback()
        assert [a["AlarmName"] for a in source.read(session)] == ["prod-slow"]


def test_the_wrong_account_is_refused_before_anything_is_read():
    with sandbox.local(None) as session:
        with pytest.raises(
            InputError, match="in the account 222222222222, and the credentials lead to 123456789012; nothing was read"
        ):
            plan(session, alarms=[SLOW], environment=Environment("prod", account="222222222222"))
        assert session.ledger.frame().filter(service="cloudwatch").is_empty()


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda: Environment("pröd"), "environment needs letters, digits"),
        (lambda: Environment("prod", prefix="p "), "as its prefix; it is 'p '"),
        (lambda: Environment("prod", account="123"), "twelve digits"),
        (lambda: Environment("prod", account=123456789012), "twelve digits"),
        (lambda: Environment("prod", region="Frankfurt"), "a region such as"),
        (lambda: Environment("prod", role_arn="deploy"), "an ARN such as"),
        (lambda: Environment("prod", overrides={"slow": 5}), "needs overrides such as"),
        (lambda: Environment("prod", replace={"": "x"}), "needs replace such as"),
        (lambda: environments.parse({"prod": {"threshold": 5}}), "needs members of prefix, account.*it has threshold"),
        (lambda: environments.parse({"prod": 5}), "it is 5"),
        (lambda: environments.parse([]), "a table from name"),
        (
            lambda: placed(Environment("dev", overrides={"slwo": {}}), ALL, {}),
            "fits no alarm; there are slow, rate, page",
        ),
        (lambda: placed(Environment("dev", overrides={"slow": {"AlarmName": "x"}}), ALL, {}), "use prefix"),
        (lambda: plan(None, alarms=[SLOW], environment=Environment("d" * 60, prefix="d" * 254)), "1 to 255"),
        (lambda: plan(None, alarms=[SLOW], environment=Environment("dev", overrides={"slow": {"Period": 7}})), "slow"),
        (lambda: environments.plan(None, {}, alarms=[SLOW]), "at least one environment"),
        (
            lambda: environments.plan({"dev": None}, {"prod": Environment("prod")}),
            "'prod' has no session; there are sessions for dev",
        ),
    ],
)
def test_bad_environments_are_refused(made, says):
    with pytest.raises(InputError, match=says):
        made()


TOML = '[prod]\naccount = "222222222222"\n[prod.overrides.slow]\nThreshold = 5\n'


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("e.toml", "[prod\n", r"e\.toml is not TOML.*line 1"),
        ("e.json", '{"prod": {"account": "1" "region": ""}}', r"e\.json is not JSON.*line 1 column 26"),
        ("e.json", '{"prod": {}, "prod": {}}', "'prod' comes twice"),
        ("e.json", "[]", "needs an object"),
        ("e.json", b"\xff\xfe", "is not JSON"),
        ("none.json", None, "cannot be read: No such file"),
    ],
)
def test_bad_files_are_named(tmp_path, name, text, says):
    if text is not None:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=says):
        environments.read(tmp_path / name)


def test_a_definition_goes_to_a_file_and_back(tmp_path):
    (tmp_path / "e.toml").write_text(TOML)
    places = environments.read(tmp_path / "e.toml")
    file = definition.write(tmp_path / "d.json", ALL, {"board": BOARD}, environments=places, stack="payments")
    first = file.read_bytes()
    read = definition.read(file)
    assert (read.alarms, read.dashboards, read.environments, read.stack) == (ALL, {"board": BOARD}, places, "payments")
    definition.write(file, read.alarms, read.dashboards, environments=read.environments, stack=read.stack)
    assert file.read_bytes() == first
    assert definition.read(definition.write(tmp_path / "empty.json")) == definition.Definition()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.json", "e.toml", "empty.json"]


@pytest.mark.parametrize(
    ("held", "says"),
    [
        ({"alarm": []}, "it has alarm"),
        ({"alarms": {}}, "needs alarms as a list; they are a dict"),
        ({"alarms": [SLOW | {"Threshold": "5"}]}, "d.json: .*slow"),
        ({"alarms": [SLOW, SLOW]}, "stands for two alarms"),
        ({"alarms": [5]}, "has to be a dict"),
        ({"dashboards": []}, "a dict from name to body"),
        ({"dashboards": {"my board": BOARD}}, "letters, digits"),
        ({"dashboards": {"b": {"widgets": 5}}}, "a list of widgets"),
        ({"environments": {"prod": {"acount": "1"}}}, "d.json: .*it has acount"),
        ({"stack": "my stack"}, "a stack needs a name"),
    ],
)
def test_bad_definitions_are_refused(tmp_path, held, says):
    (tmp_path / "d.json").write_text(json.dumps(held))
    with pytest.raises(InputError, match=says):
        definition.read(tmp_path / "d.json")


def test_a_file_that_cannot_be_written_is_named_and_the_old_one_stays(tmp_path):
    file = definition.write(tmp_path / "d.json", [SLOW])
    with pytest.raises(InputError):
        definition.write(file, [SLOW | {"Period": 7}])
    assert definition.read(file).alarms == [SLOW]
    with pytest.raises(InputError, match="cannot be written"):
        definition.write(tmp_path / "no" / "d.json", [SLOW])
    with pytest.raises(InputError, match=r"needs to end in \.json"):
        definition.write(tmp_path / "d.toml", [SLOW])
