"""Alarms and anomalies on simulated platforms with seeds that nothing was looked at for: pages, misses, delay."""

from datetime import datetime, timedelta
from time import process_time

import numpy as np

from lift_insights import analysis, report, sandbox, simulate

SEEDS = (201, 202, 203, 204)


def run() -> list[dict]:
    pages = false = unseen = unseen_false = repeats = alarms = 0
    known, caught, found, events = set(), set(), set(), 0
    delays, first, seconds = [], {}, 0.0
    for seed in SEEDS:
        telemetry = simulate.platform(14, seed)
        with sandbox.local(telemetry) as session:
            done = analysis.read_metrics(session, "PayTheory/Lift", telemetry.start, telemetry.end, period_s=300)
            analysis.explain(done)
            began = process_time()
            analysis.tune_alarms(done, incidents=telemetry.incidents)
            seconds += process_time() - began
        starts = dict(telemetry.incidents.select("label", "start").iter_rows())
        alarms += len(done.proposals)
        for proposal in done.proposals:
            whole, held = proposal.evidence["whole"], proposal.evidence["held_out"]
            pages, false, repeats = pages + whole["pages"], false + whole["false_pages"], repeats + whole["repeats"]
            unseen, unseen_false = unseen + held["pages"], unseen_false + held["false_pages"]
            for page in proposal.evidence["pages"]:
                if label := page["incident"]:
                    delay = (datetime.fromisoformat(page["start"]) - starts[label]).total_seconds()
                    first[seed, label] = min(first.get((seed, label), delay), delay)
            caught |= {(seed, label) for label in proposal.evidence["caught"]}
            delays += [whole["median_delay_s"]] if whole["median_delay_s"] is not None else []
        known |= {(seed, label) for label in telemetry.incidents["label"]}
        told = [e for e in report.events(done) if e["severity"] != "low"]
        events += len(told)
        found |= {
            (seed, row["label"]) for row in telemetry.incidents.iter_rows(named=True) if any(near(e, row) for e in told)
        }
    what = f"simulated platform, seeds {', '.join(map(str, SEEDS))}, periods of 1 and 5 minutes"
    return [
        row(f"false pages, {what}", 100 * false / max(pages, 1), 5, "%", "lower"),
        row("… known incidents caught by an alarm", 100 * len(caught) / len(known), 90, "%", "higher"),
        row("… median delay of an alarm", float(np.median(delays)) / 60, 5, "min", "lower"),
        row(
            "… median delay of an incident's first page", float(np.median(list(first.values()))) / 60, 5, "min", "lower"
        ),
        row("… false pages in the time not tuned on", 100 * unseen_false / max(unseen, 1), 5, "%", "lower"),
        row("… further pages for the same alarm and incident, a page", repeats / max(pages, 1), None, "", "lower"),
        row("… time to tune an alarm", seconds / max(alarms, 1), None, "s", "lower"),
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
