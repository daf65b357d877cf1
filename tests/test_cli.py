"""The command line: one clear line and exit code 2 for what cannot be used, and nothing half-written."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lift_insights.cli import main

ROOT = Path(__file__).resolve().parent.parent
REPORT = ["report", "--namespace", "PayTheory/Lift", "--region", "us-east-1"]
CODE = "import sys; from lift_insights.cli import main; sys.exit(main())"


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.chdir(tmp_path)


def refused(capsys, *argv) -> str:
    assert main([str(a) for a in argv]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("lift-insights: ")
    assert len([line for line in said if line.startswith("lift-insights: ")]) == 1
    assert "Traceback" not in "\n".join(said)
    return said[-1]


def test_no_credentials(capsys):
    assert "no AWS credentials" in refused(capsys, *REPORT)


def test_unknown_profile(capsys):
    assert "no AWS profile 'prod'" in refused(capsys, *REPORT, "--profile", "prod")


def test_unknown_region(capsys):
    assert "no region 'us-esat-1'" in refused(capsys, "report", "--namespace", "n", "--region", "us-esat-1")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--start", "2026-03-02T00:00:00"], "--start has no time zone"),
        (["--end", "2026-03-02T00:00:00"], "--end has no time zone"),
        (["--end", "tomorrow"], "ISO 8601"),
        (["--last", "a fortnight"], "such as 14d"),
        (["--last", "0d"], "longer than zero"),
        (["--last", "14d", "--start", "2026-03-02T00:00:00Z"], "not both"),
        (["--last", "9999999d"], "455 days"),
        (["--start", "0001-01-01T00:00:00+05:00"], "outside the years"),
        (["--period", "0"], "multiple of 60"),
        (["--period", "90"], "multiple of 60"),
        (["--environment", "a b"], "letters, digits"),
        (["--budget-usd", "nan"], "budget_usd needs"),
        (["--endpoint-url", "foo"], "endpoint_url needs"),
        (["--max-traces", "0"], "at least 1"),
        (["--notify", "me"], "wrong is 'me'"),
        (["--incidents", "nowhere.csv"], "nowhere.csv cannot be read"),
        (["--out", "/dev/null/out"], "cannot be written"),
    ],
)
def test_bad_arguments(capsys, more, said):
    assert said in refused(capsys, *REPORT, *more)


def test_incidents_name_file_and_line(capsys, tmp_path):
    (tmp_path / "known.csv").write_text(
        "start,end,label,service\n2026-03-02T00:00:00Z,2026-03-02T01:00:00Z,a,b\n2026-03-02T02:00:00Z,,a,b\n"
    )
    assert "known.csv, line 3" in refused(capsys, *REPORT, "--incidents", tmp_path / "known.csv")


def test_demo_on_bad_folders(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "is not a folder" in refused(capsys, "demo", "--metrics", tmp_path / "nowhere")
    assert "holds no CSV file" in refused(capsys, "demo", "--metrics", tmp_path / "empty")
    assert "empty" in refused(capsys, "demo", "--samples", tmp_path / "empty")
    (tmp_path / "empty" / "cpu.csv").write_text("timestamp,value\n2014-04-10 00:04:00,1\n2014-04-10 00:09:00,x\n")
    assert "cpu.csv, line 3" in refused(capsys, "demo", "--metrics", tmp_path / "empty", "--out", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_simulate_arguments(capsys, tmp_path):
    assert "days" in refused(capsys, "simulate", "--out", tmp_path / "s", "--days", "0")
    assert "seed" in refused(capsys, "simulate", "--out", tmp_path / "s", "--days", "1", "--seed", "-1")
    assert not (tmp_path / "s").exists()


def test_usage_error_is_exit_code_2():
    with pytest.raises(SystemExit) as e:
        main(["report"])
    assert e.value.code == 2


@pytest.fixture(scope="module")
def account():
    from lift_insights import sandbox

    with sandbox.local(str(ROOT / "data_samples")) as session:
        yield session


def on(account, *more):
    return [*REPORT, "--endpoint-url", account.endpoint_url, *more]


@pytest.fixture
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


@pytest.mark.filterwarnings("ignore:.*nothing is kept from before")  # of 2020, in periods of five minutes
def test_window_without_data(capsys, account, credentials):
    said = refused(capsys, *on(account, "--start", "2020-01-01T00:00:00Z", "--end", "2020-01-02T00:00:00Z"))
    assert "has data from" in said
    assert not any(Path("out").glob("*"))


def test_unknown_namespace_names_those_there(capsys, account, credentials):
    argv = [a if a != "PayTheory/Lift" else "PayTheory/Left" for a in on(account, "--end", "2026-03-16T00:00:00Z")]
    assert "Seen there: AWS/Logs, PayTheory/Lift" in refused(capsys, *argv)


def test_report_writes_nothing_to_the_account_unless_asked(capsys, account, credentials, tmp_path):
    argv = on(
        account, "--end", "2026-03-16T00:00:00Z", "--last", "2d", "--max-traces", "50", "--out", str(tmp_path / "o")
    )
    assert main(argv) == 0
    assert account.client("cloudwatch").describe_alarms()["MetricAlarms"] == []
    assert "nothing was written to the account" in capsys.readouterr().out
    assert {p.name for p in (tmp_path / "o").iterdir()} == {
        "report.html",
        "alarms.json",
        "dashboard.json",
        "summary.json",
    }
    assert all(p.stat().st_mode & 0o077 == 0 for p in (tmp_path / "o").iterdir())
    # asked to apply, but with nobody to confirm: it shows the plan, changes nothing and says what to do
    assert main([*argv, "--apply"]) == 2
    said = capsys.readouterr()
    assert "add --yes" in said.err
    assert "create" in said.out
    assert account.client("cloudwatch").describe_alarms()["MetricAlarms"] == []
    assert main([*argv, "--apply", "--yes"]) == 0
    assert len(account.client("cloudwatch").describe_alarms()["MetricAlarms"]) > 10
    assert "verified" in capsys.readouterr().out


def test_budget_stops_before_the_call(capsys, account, credentials, tmp_path):
    said = refused(
        capsys, *on(account, "--end", "2026-03-16T00:00:00Z", "--budget-usd", "0.0001", "--out", str(tmp_path / "o"))
    )
    assert "over the budget" in said


def test_wrong_credentials_never_show(capsys, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing-id-73")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing-secret-73")
    said = refused(capsys, *REPORT, "--endpoint-url", "http://127.0.0.1:9")
    assert "73" not in said


def test_ctrl_c_stops_at_once_and_leaves_nothing(tmp_path):
    demo = subprocess.Popen(
        [sys.executable, "-c", CODE, "demo", "--samples", str(ROOT / "data_samples"), "--out", str(tmp_path / "o")],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    while "starting the embedded local AWS" not in (line := demo.stderr.readline()):
        assert line, "the demo ended before it began"
    time.sleep(3)
    os.killpg(demo.pid, signal.SIGINT)
    began = time.monotonic()
    _, err = demo.communicate(timeout=20)
    assert demo.returncode == 130, err
    assert time.monotonic() - began < 10
    assert "Traceback" not in err
    assert not re.search(r"\.html", " ".join(p.name for p in (tmp_path / "o").iterdir()))
    with pytest.raises(ProcessLookupError):  # no server is left in its group
        os.killpg(demo.pid, 0)


def test_cache_and_audit(capsys, tmp_path, monkeypatch):
    """A report on a local AWS leaves both; they are shown, checked and cleared."""
    from lift_insights import sandbox
    from lift_insights.aws.session import connect

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with sandbox.local(None) as here:
        session = connect(region="us-east-1", endpoint_url=here.endpoint_url, cache=True)
        session.client("cloudwatch").list_metrics()
    assert session.cache.folder == tmp_path / "cache" / "lift_insights"
    assert main(["cache", "clear"]) == 0
    assert "files removed" in capsys.readouterr().out
    assert main(["audit"]) == 0
    said = capsys.readouterr().out
    assert "cloudwatch:ListMetrics  us-east-1  $0.00001  ok" in said
    assert "1 calls" in said
    assert "the record is whole" in said
    trail = tmp_path / "state" / "lift_insights" / "audit.jsonl"
    trail.write_bytes(trail.read_bytes().replace(b"ListMetrics", b"GetMetrics"))
    assert main(["audit"]) == 2
    assert "is not what was written" in capsys.readouterr().err
    assert "no audit trail" in refused(capsys, "audit", "--audit", "nowhere.jsonl")
