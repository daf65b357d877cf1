"""`lift-insights alarms …`: from a namespace to alarms in an account, judged, exported and taken back."""

import csv
import json
import os
from pathlib import Path

import polars as pl
import pytest

from lift_insights.cli import main
from lift_insights.deploy import definition
from lift_insights.frames import InputError

ROOT = Path(__file__).resolve().parent.parent
END = ["--end", "2026-03-16T00:00:00Z"]
SLOW = {
    "AlarmName": "payments-slow", "Namespace": "PayTheory/Lift", "MetricName": "operation.POST_/payments.duration", "ExtendedStatistic": "p99",
    "Period": 300, "EvaluationPeriods": 3, "DatapointsToAlarm": 2, "Threshold": 900.0, "ComparisonOperator": "GreaterThanThreshold",
}  # fmt: skip
BOTH = {"AlarmName": "payments", "AlarmRule": "ALARM(payments-slow) OR ALARM(payments-dead)"}
DEAD = SLOW | {"AlarmName": "payments-dead", "Dimensions": [{"Name": "Environment", "Value": "prod"}]}


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    for name, value in {
        "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state"), "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def account():
    from lift_insights import sandbox

    with sandbox.local(str(ROOT / "data_samples")) as session:
        yield session


@pytest.fixture
def empty(account):
    yield account
    names = [a["AlarmName"] for kind in ("CompositeAlarm", "MetricAlarm") for a in described(account, kind)]
    for name in names:
        account.client("cloudwatch").delete_alarms(AlarmNames=[name])


def described(account, kind="MetricAlarm"):
    return account.client("cloudwatch").describe_alarms(AlarmTypes=[kind])[f"{kind}s"]


def typed(account, *words) -> int:
    where = ["--region", "us-east-1", "--endpoint-url", account.endpoint_url] if account else ["--region", "us-east-1"]
    return main(["alarms", *map(str, words), *where])


def refused(capsys, account, *words) -> str:
    assert typed(account, *words) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("lift-insights: ")
    assert "Traceback" not in "\n".join(said)
    return said[-1]


def test_tune_writes_a_definition_that_plan_and_apply_take(capsys, empty, tmp_path):
    words = [
        "tune", "--namespace", "PayTheory/Lift", "--last", "4d", *END, "--out", tmp_path / "a.json", "--evidence", tmp_path / "e.json",
    ]  # fmt: skip
    assert typed(empty, *words) == 0
    assert "nothing was written to the account" in capsys.readouterr().out
    assert described(empty) == []
    held = definition.read(tmp_path / "a.json")
    assert len(held.alarms) > 5
    evidence = json.loads((tmp_path / "e.json").read_text())
    assert [one["alarm"]["AlarmName"] for one in evidence] == [a["AlarmName"] for a in held.alarms]
    assert typed(empty, "apply", tmp_path / "a.json", "--yes", "--environment", "dev") == 0
    assert {a["AlarmName"] for a in described(empty)} == {f"dev-{a['AlarmName']}" for a in held.alarms}
    assert typed(empty, "plan", tmp_path / "a.json", "--environment", "dev") == 0
    assert "0 to create, 0 to update" in capsys.readouterr().out.splitlines()[-1]


def test_apply_asks_and_rollback_takes_back(capsys, empty, tmp_path):
    file = definition.write(tmp_path / "a.json", [SLOW, DEAD, BOTH])
    assert "add --yes" in refused(capsys, empty, "apply", file)  # nobody is there to answer
    assert described(empty) == []
    assert typed(empty, "apply", file, "--yes", "--why", "they were slow") == 0
    assert len(described(empty)) == 2
    assert len(described(empty, "CompositeAlarm")) == 1
    definition.write(file, [SLOW | {"Threshold": 700.0}, DEAD, BOTH])
    capsys.readouterr()
    assert typed(empty, "apply", file, "--yes") == 0
    assert "Threshold: 900" in capsys.readouterr().out
    assert typed(empty, "rollback", "--yes") == 0
    assert {a["AlarmName"]: a["Threshold"] for a in described(empty)} == {
        "payments-slow": 900.0,
        "payments-dead": 900.0,
    }
    assert typed(empty, "rollback", "--yes") == 0
    assert described(empty) == described(empty, "CompositeAlarm") == []
    assert "no journal" in refused(capsys, empty, "rollback", "--yes")
    trail = (tmp_path / "state" / "lift_insights" / "audit.jsonl").read_text()
    assert "they were slow" in trail


def test_replay_and_check_of_a_definition_and_of_the_account(capsys, empty, tmp_path):
    file = definition.write(tmp_path / "a.json", [SLOW, DEAD, BOTH])
    (tmp_path / "known.csv").write_text(
        "start,end,label,service\n2026-03-09T15:00:00Z,2026-03-09T15:50:00Z,slow,payments\n"
    )
    assert typed(empty, "replay", file, *END, "--incidents", tmp_path / "known.csv", "--out", tmp_path / "s.csv") == 0
    said = capsys.readouterr().out
    assert "payments-slow: 1.5 a week" in said
    assert "1 of 1 incidents, median delay 10 min" in said
    with open(tmp_path / "s.csv", encoding="utf-8") as states:
        assert {row["alarm"] for row in csv.DictReader(states)} == {
            "payments-slow",
            "payments",
        }  # the other never left INSUFFICIENT_DATA
    assert typed(empty, "check", file, *END) == 0
    assert "payments-dead: missing dimension" in capsys.readouterr().out
    assert typed(empty, "check", file, *END, "--fail-on", "error") == 1
    assert "there is no alarm in" in refused(capsys, empty, "check", *END)
    assert typed(empty, "apply", file, "--yes") == 0
    assert typed(empty, "check", *END, "--name-prefix", "payments-s", "--fail-on", "error") == 0
    assert typed(empty, "replay", *END, "--last", "2d") == 0


def test_export_from_a_file_needs_no_account(capsys, tmp_path):
    file = definition.write(
        tmp_path / "a.json", [SLOW, BOTH | {"AlarmRule": "ALARM(payments-slow)"}], {"board": {"widgets": []}}
    )
    assert typed(None, "export", file, "--format", "terraform") == 0
    assert set(json.loads(capsys.readouterr().out)["resource"]) >= {
        "aws_cloudwatch_metric_alarm",
        "aws_cloudwatch_composite_alarm",
    }
    assert typed(None, "export", file, "--out", tmp_path / "t.json") == 0
    kinds = {one["Type"] for one in json.loads((tmp_path / "t.json").read_text())["Resources"].values()}
    assert kinds >= {"AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm", "AWS::CloudWatch::Dashboard"}


def test_export_of_an_account_is_a_definition_of_it(empty, tmp_path):
    assert typed(empty, "apply", definition.write(tmp_path / "a.json", [SLOW, DEAD, BOTH]), "--yes") == 0
    assert typed(empty, "export", "--format", "definition", "--out", tmp_path / "b.json") == 0
    assert {a["AlarmName"] for a in definition.read(tmp_path / "b.json").alarms} == {
        "payments-slow",
        "payments-dead",
        "payments",
    }
    assert typed(empty, "plan", tmp_path / "b.json") == 0


def test_environments_of_the_definition(capsys, empty, tmp_path):
    from lift_insights.deploy.environments import Environment

    places = {
        "prod": Environment("prod"),
        "dev": Environment("dev", overrides={"payments-slow": {"Threshold": 2000.0}}),
    }
    file = definition.write(tmp_path / "a.json", [SLOW], environments=places)
    assert typed(empty, "apply", file, "--environment", "prod", "--environment", "dev", "--yes") == 0
    assert {a["AlarmName"]: a["Threshold"] for a in described(empty)} == {
        "prod-payments-slow": 900.0,
        "dev-payments-slow": 2000.0,
    }
    assert "no environment 'test'; it has prod, dev" in refused(capsys, empty, "plan", file, "--environment", "test")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plan", "nowhere.json"], "nowhere.json"),
        (["tune", "--namespace", "n", "--period", "7"], "multiple of 60"),
        (["tune", "--namespace", "n", "--notify", "me"], "wrong is 'me'"),
        (["replay", "--last", "1d", "--start", "2026-03-02T00:00:00Z"], "not both"),
        (["export"], "no AWS credentials"),
    ],
)
def test_bad_words(capsys, words, said, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert said in refused(capsys, None, *words)


def test_a_malformed_alarm_is_named_with_its_position(capsys, empty, tmp_path):
    math = {k: v for k, v in SLOW.items() if k in ("AlarmName", "EvaluationPeriods", "Threshold", "ComparisonOperator")}
    stat = {"Metric": {"Namespace": "n", "MetricName": "m"}, "Period": 60, "Stat": "Sum"}
    math["Metrics"] = [{"Id": "m1", "MetricStat": stat, "ReturnData": False}, {"Id": "e1", "Expression": "m1 +* 2"}]
    (tmp_path / "a.json").write_text(json.dumps({"alarms": [math]}))
    assert "position 5" in refused(capsys, empty, "plan", tmp_path / "a.json")
    with pytest.raises(InputError, match="position 5"):
        definition.read(tmp_path / "a.json")


def test_a_place_that_cannot_be_written_to_is_found_before_anything_is_read(capsys, account):
    tune = ["tune", "--namespace", "PayTheory/Lift", *END]
    assert "cannot be written" in refused(capsys, account, *tune, "--out", "nowhere/a.json")
    assert "ending in .json" in refused(capsys, account, *tune, "--out", "a.toml")
    assert "from 0 to below 1" in refused(capsys, account, *tune, "--false-positive-rate", "2")
    assert not list(account.ledger.frame().filter(pl.col("operation") == "GetMetricData")["operation"])
