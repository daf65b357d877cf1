"""Alarms and anomalies on simulated platforms with seeds that nothing was looked at for: pages, misses, delay."""

from datetime import timedelta

import numpy as np

from lift_insights import analysis, report, sandbox, simulate

SEEDS = (201, 202, 203, 204)


def run() -> list[dict]:
    pages = false = 0
    known, caught, found, events = set(), set(), set(), 0
    delays = []
    for seed in SEEDS:
        telemetry = simulate.platform(14, seed)
        with sandbox.local(telemetry) as session:
            done = analysis.read_metrics(session, "PayTheory/Lift", telemetry.start, telemetry.end, period_s=300)
            analysis.explain(done)
            analysis.tune_alarms(done, incidents=telemetry.incidents)
        for proposal in done.proposals:
            whole = proposal.evidence["whole"]
            pages += whole["pages"]
            false += whole["false_pages"] or 0
            caught |= {(seed, label) for label in proposal.evidence["caught"]}
            delays += [whole["median_delay_s"]] if whole["median_delay_s"] is not None else []
        known |= {(seed, label) for label in telemetry.incidents["label"]}
        told = [e for e in report.events(done) if e["severity"] != "low"]
        events += len(told)
        found |= {
            (seed, row["label"]) for row in telemetry.incidents.iter_rows(named=True) if any(near(e, row) for e in told)
        }
    what = f"simulated platform, seeds {', '.join(map(str, SEEDS))}, 5-minute periods"
    return [
        row(f"false pages, {what}", 100 * false / max(pages, 1), 5, "%", "lower"),
        row("… known incidents caught by an alarm", 100 * len(caught) / len(known), 90, "%", "higher"),
        row("… median delay", float(np.median(delays)) / 60, 5, "min", "lower"),
        row(
            "… known incidents among events of medium or high severity",
            100 * len(found) / len(known),
            None,
            "%",
            "higher",
        ),
        row("… events of medium or high severity a platform", events / len(SEEDS), None, "", "lower"),
    ]


def near(event: dict, incident: dict) -> bool:
    """Whether an event began within an incident, or up to 15 minutes around it."""
    grace = timedelta(minutes=15)
    return incident["start"] - grace <= event["start"] < incident["end"] + grace


def row(what, ours, target, unit, better):
    return {"benchmark": "alarms", "what": what, "ours": ours, "target": target, "unit": unit, "better": better}
