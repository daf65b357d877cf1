"""The local AWS as a server: isolation, refusals, faults, and that nothing leaves the machine."""

import contextlib
import http.client
import socket
import threading
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import polars as pl
import pytest
from botocore.exceptions import ClientError

from lift_insights import sandbox
from lift_insights.frames import InputError
from lift_insights.sandbox.server import service_model, violations

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def port_of(session):
    return int(session.endpoint_url.rsplit(":", 1)[1])


@pytest.fixture
def stay(monkeypatch):
    """Every connection that is opened anywhere in the process; those that would leave the machine fail."""
    seen, real = [], socket.socket.connect

    def connect(self, address):
        seen.append(address[0])
        assert address[0] in ("127.0.0.1", "::1"), f"a connection to {address}"
        return real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    return seen


def test_nothing_leaves_the_machine(stay):
    with sandbox.local(None) as session:
        assert session.client("sts").get_caller_identity()["Account"] == "123456789012"
        assert session.account == "123456789012"
        session.client("cloudwatch").list_metrics()
        session.client("logs").describe_log_groups()
        for service, call in (("sns", "list_topics"), ("s3", "list_buckets"), ("lambda", "list_functions")):
            with pytest.raises(ClientError):
                getattr(session.client(service), call)()
    assert set(stay) == {"127.0.0.1"}


def test_one_after_another_share_nothing():
    with sandbox.local(None) as session:
        session.client("cloudwatch").put_metric_data(Namespace="a", MetricData=[{"MetricName": "x", "Value": 1}])
        session.client("logs").create_log_group(logGroupName="g")
        session.client("iam").create_user(UserName="somebody")
    with sandbox.local(None) as session:
        assert session.client("cloudwatch").list_metrics()["Metrics"] == []
        assert session.client("logs").describe_log_groups()["logGroups"] == []
        assert session.client("iam").list_users()["Users"] == []


def test_two_at_once_share_nothing():
    with sandbox.local(None) as one, sandbox.local(None) as two:
        one.client("logs").create_log_group(logGroupName="g")
        assert two.client("logs").describe_log_groups()["logGroups"] == []


def test_a_region_is_its_own():
    from lift_insights.aws.session import local

    with sandbox.local(None) as session:
        session.client("logs").create_log_group(logGroupName="g")
        there = local(session.endpoint_url, region="eu-west-1")
        assert there.client("logs").describe_log_groups()["logGroups"] == []


@pytest.mark.parametrize("how", [None, KeyboardInterrupt, RuntimeError])
def test_no_server_is_left(how):
    with contextlib.suppress(KeyboardInterrupt, RuntimeError), sandbox.local(None) as session:
        port = port_of(session)
        session.client("cloudwatch").list_metrics()
        if how:
            raise how
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)
    assert not [t for t in threading.enumerate() if t.name == "local AWS"]


def test_it_listens_on_loopback_only_and_says_nothing(capfd):
    with sandbox.local(None) as session:
        session.client("cloudwatch").list_metrics()
        wire = http.client.HTTPConnection("127.0.0.1", port_of(session))
        wire.request("POST", "/", body="{}")
        answer = wire.getresponse()
        assert answer.status == 403
        assert b"MissingAuthenticationToken" in answer.read()
        wire.close()
    assert capfd.readouterr() == ("", "")


def test_moto_is_not_changed():
    from moto.cloudwatch.models import CloudWatchBackend
    from moto.logs.models import LogsBackend

    before = dict(vars(CloudWatchBackend)), dict(vars(LogsBackend))
    with sandbox.local(None) as session:
        session.client("cloudwatch").list_metrics()
        assert (dict(vars(CloudWatchBackend)), dict(vars(LogsBackend))) == before


@pytest.mark.parametrize(
    ("service", "call", "arguments", "says"),
    [
        ("xray", "get_sampling_rules", {}, "does not answer GetSamplingRules"),
        (
            "cloudwatch",
            "put_insight_rule",
            {"RuleName": "r", "RuleDefinition": "{}"},
            "does not answer PutInsightRule",
        ),
        (
            "cloudwatch",
            "put_metric_data",
            {"Namespace": "n", "StrictEntityValidation": True},
            "does not understand StrictEntityValidation",
        ),
        ("sqs", "list_queues", {}, "no service sqs"),
    ],
)
def test_what_is_not_understood_is_refused(service, call, arguments, says):
    with sandbox.local(None) as session, pytest.raises(ClientError, match=says) as error:
        getattr(session.client(service), call)(**arguments)
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_constraints_of_the_service_model():
    put = service_model("cloudwatch").operation_model("PutMetricAlarm").input_shape
    fine = {"AlarmName": "a", "EvaluationPeriods": 1, "ComparisonOperator": "GreaterThanThreshold"}
    assert list(violations(put, fine)) == []
    cases = {
        "AlarmName": ["", "a" * 256, 7],
        "ComparisonOperator": ["Bigger"],
        "EvaluationPeriods": [0, True, "3"],
        "Dimensions": [
            [{"Name": "a", "Value": "b"}] * 31,
            [{"Name": "a"}],
            [{"Name": "a", "Value": "b", "C": "d"}],
            {},
        ],
        "AlarmActions": [["arn:x"] * 6],
        "Nonsense": [1],
    }
    for name, wrong in cases.items():
        for value in wrong:
            assert len(list(violations(put, fine | {name: value}))) == 1, (name, value)
    assert len(list(violations(put, {}))) == len(put.required_members)


def test_faults():
    faults = (
        sandbox.Fault("cloudwatch", "ListMetrics", status=400, code="ThrottlingException", times=2),
        sandbox.Fault("logs", "DescribeLogGroups", status=503, code="ServiceUnavailableException", times=1),
        sandbox.Fault("logs", "CreateLogGroup", cut=True, times=1),
        sandbox.Fault("xray", delay_s=0.3, times=1),
    )
    with sandbox.local(None, faults=faults) as session:
        retries = session.client("cloudwatch").list_metrics()["ResponseMetadata"]["RetryAttempts"]
        assert retries == 2
        assert session.client("logs").describe_log_groups()["ResponseMetadata"]["RetryAttempts"] == 1
        session.client("logs").create_log_group(logGroupName="g")  # the cut call was tried again
        assert len(session.client("logs").describe_log_groups()["logGroups"]) == 1
        began = time.monotonic()
        session.client("xray").get_trace_summaries(StartTime=NOON, EndTime=NOON.timestamp() + 60)
        assert time.monotonic() - began >= 0.3


def test_a_fault_without_end_reaches_the_caller():
    fault = sandbox.Fault("cloudwatch", "GetDashboard", status=403, code="AccessDenied")
    with sandbox.local(None, faults=(fault,)) as session, pytest.raises(ClientError, match="AccessDenied"):
        session.client("cloudwatch").get_dashboard(DashboardName="x")


def test_the_share_of_a_fault_is_seeded():
    def struck(seed):
        faults = sandbox.server._Faults([sandbox.Fault(rate=0.3)], seed)
        return [faults.strike("logs", "X") is not None for _ in range(1000)]

    assert struck(1) == struck(1) != struck(2)
    assert 250 < sum(struck(1)) < 350


def test_samples_and_clock():
    metrics = pl.DataFrame(
        {
            "namespace": ["n"],
            "metric": ["m"],
            "dimensions": [[{"name": "a", "value": "b"}]],
            "unit": ["Count"],
            "timestamp": [datetime(2020, 1, 1, tzinfo=UTC)],
            "values": [[1.0, 2.0]],
            "counts": [[3, 1]],
        }
    )
    logs = pl.DataFrame(
        schema={
            "log_group": pl.String,
            "log_stream": pl.String,
            "timestamp": pl.Datetime("us", "UTC"),
            "message": pl.String,
        }
    )
    traces = pl.DataFrame(schema={"trace_id": pl.String, "document": pl.String})
    end = datetime(2020, 1, 2, tzinfo=UTC)
    samples = SimpleNamespace(metrics=metrics, logs=logs, traces=traces, end=end)
    with sandbox.local(samples) as session:
        assert session.now() == end
        assert session.client("cloudwatch").list_metrics()["Metrics"][0]["Dimensions"] == [{"Name": "a", "Value": "b"}]
        got = session.client("cloudwatch").get_metric_statistics(
            Namespace="n",
            MetricName="m",
            Dimensions=[{"Name": "a", "Value": "b"}],
            StartTime=datetime(2020, 1, 1, tzinfo=UTC),
            EndTime=end,
            Period=86400,
            Statistics=["Sum", "SampleCount"],
        )
        assert [(p["Sum"], p["SampleCount"], p["Unit"]) for p in got["Datapoints"]] == [(5.0, 4.0, "Count")]
    with sandbox.local(samples, clock=NOON) as session:
        assert session.now() == NOON


def test_bad_openings():
    with pytest.raises(InputError, match="no samples in"), sandbox.local("no/such/folder"):
        pass
    with pytest.raises(InputError, match="no time zone"), sandbox.local(None, clock=datetime(2026, 1, 1)):  # noqa: DTZ001
        pass
