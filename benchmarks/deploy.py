"""How long it takes to plan, apply and take back a thousand alarms on the local AWS."""

import time

from lift_insights import sandbox
from lift_insights.deploy.plan import plan

ALARMS = 1000


def definition(n: int) -> list[dict]:
    """Alarms as a tuned service has them: of one metric, of metric math, and a composite alarm over every ten."""
    found = []
    for i in range(n * 9 // 10):
        about = {
            "AlarmName": f"alarm-{i:04}",
            "EvaluationPeriods": 3,
            "Threshold": 100 + i,
            "ComparisonOperator": "GreaterThanThreshold",
        }
        metric = {
            "Namespace": "PayTheory/Lift",
            "MetricName": f"operation.{i}.duration",
            "Dimensions": [{"Name": "path", "Value": f"/{i}"}],
        }
        if i % 3:
            found.append(
                about | metric | {"ExtendedStatistic": "p99", "Period": 300, "TreatMissingData": "notBreaching"}
            )
        else:
            stats = [
                {
                    "Id": m,
                    "MetricStat": {"Metric": metric | {"MetricName": m}, "Period": 300, "Stat": "Sum"},
                    "ReturnData": False,
                }
                for m in ("errors", "requests")
            ]
            found.append(about | {"Metrics": [*stats, {"Id": "rate", "Expression": "100 * errors / requests"}]})
    for i in range(n - len(found)):
        rule = " OR ".join(f"ALARM({a['AlarmName']})" for a in found[i * 9 : i * 9 + 9])
        found.append({"AlarmName": f"page-{i:03}", "AlarmRule": rule})
    return found


def run() -> list[dict]:
    rows, alarms = [], definition(ALARMS)
    other = [
        a if i % 2 or "Threshold" not in a else a | {"Threshold": a["Threshold"] + 1} for i, a in enumerate(alarms)
    ]

    def timed(what, work, target=None):
        began = time.perf_counter()
        done = work()
        row = {"benchmark": "deploy", "what": f"{what}, {ALARMS:,} alarms", "ours": time.perf_counter() - began}
        rows.append(row | {"unit": "s", "target": target, "better": "lower"})
        return done

    with sandbox.local(None) as session:
        session.account  # noqa: B018  (loads the local STS once)
        made = timed("plan on an empty account", lambda: plan(session, alarms=alarms, stack="bench"), 10.0)
        timed("apply", lambda: made.apply(progress=False))
        timed("plan where nothing differs", lambda: plan(session, alarms=alarms, stack="bench"), 10.0)
        timed(
            "plan where half differ, with prune", lambda: plan(session, alarms=other, stack="bench", prune=True), 10.0
        )
        gone = timed("plan where all go", lambda: plan(session, stack="bench", prune=True), 10.0)
        if set(gone.changes["action"]) != {"delete"}:
            raise AssertionError("not all of them would go")
        timed("rollback", lambda: made.rollback(progress=False))
    return rows
