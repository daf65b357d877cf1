"""The report page: complete, offline, escaped, and honest about what is missing."""

import base64
import hashlib
import itertools
import json
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import polars as pl
import pytest

from lift_insights import page
from lift_insights.frames import InputError
from lift_insights.plots import alarms, maps, series, theme

EVIL = "</script><script>alert(1)</script>\u2028<img src=x onerror=alert(2)>&amp;"
START = datetime(2026, 3, 2, tzinfo=UTC)
END = START + timedelta(days=14)


def complete(name="payments"):
    """A report with every section: the shape that `page.render` takes. Any name in it may be hostile."""
    at = [START + timedelta(hours=h) for h in range(48)]
    points = pl.DataFrame({"series": name, "timestamp": at, "value": [float(h % 24) for h in range(48)]})
    states = pl.DataFrame(
        {"alarm": [name] * 2, "timestamp": [at[0], at[20]], "state": ["OK", "ALARM"], "reason": [name] * 2}
    )
    found = {"series": name, "start": at[20], "end": at[23], "kind": "spike", "severity": "high", "score": 0.9}
    findings = pl.DataFrame([found | {"observed": 23.0, "expected": 4.0, "detector": "tail:value"}])
    incidents = pl.DataFrame({"start": [at[19]], "end": [at[24]], "label": [name], "service": [name]})
    call = {
        "client": name,
        "server": "ledger",
        "calls": 10,
        "errors": 1,
        "faults": 0,
        "throttles": 0,
        "p50_ms": 1.0,
        "p95_ms": 2.0,
        "p99_ms": 3.0,
    }
    way = {
        "entry": name,
        "steps": f"{name} → ledger",
        "traces": 9,
        "share": 0.9,
        "p50_ms": 10.0,
        "p95_ms": 30.0,
        "p99_ms": 1500.0,
    }
    way |= {"error_rate": 0.1, "slowest": name, "slowest_share": 0.62, "trace_id": "1-2"}
    span = {
        "trace_id": "t",
        "span_id": "1",
        "parent_id": None,
        "service": name,
        "operation": name,
        "kind": "server",
        "start": START,
    }
    span |= {"duration_ms": 9.0, "status": 500, "error": False, "fault": True, "throttle": False, "attributes": "{}"}
    alarm = {
        "AlarmName": name,
        "Threshold": 20.0,
        "ComparisonOperator": "GreaterThanThreshold",
        "EvaluationPeriods": 1,
        "Period": 3600,
    }
    draw = series.series(points, findings=findings, incidents=incidents, threshold=20, unit="ms")
    return {
        "title": f"{name} in production",
        "subtitle": ["account 123456789012", "us-east-1", name],  # or one text
        "window": {"start": START, "end": END},  # aware datetimes or ISO 8601 with a zone, here and everywhere
        "generated": "2026-03-16T06:00:00Z",
        "headline": f"{name} was slow on Monday morning.",
        "tiles": [
            {"label": "Events", "value": 1, "note": name, "tone": "bad"},
            {"label": "Requests", "value": "1.48M"},
        ],  # good, warn, bad or none
        "health": [
            {
                "service": name,
                "calls": 10,
                "error_rate": 0.012,
                "p99_ms": 1234.0,
                "tone": "warn",
                "note": "slow at times",
            }
        ],  # rate 0 to 1
        "events": [
            {
                "start": at[20],
                "end": at[23],
                "title": f"p99 latency of {name} tripled",
                "severity": "high",  # critical, high, medium, low
                "what": "It reached 23 ms where 4 ms were expected.",
                "where": [name],  # or one text
                "sure": 0.9,  # 0 to 1, or words
                "series_count": 3,
                "incident": name,  # None where no known incident matches
            }
        ],
        "timeline": series.timeline(findings, incidents=incidents, states=states, window=(START, END)),
        "services": [
            {
                "name": name,
                "note": "Three endpoints.",
                "metrics": [
                    {
                        "title": "p99 latency",
                        "figure": draw,
                        "note": name,
                        "trend": "Flat.",
                        "forecast_note": "Tomorrow 4 to 24 ms.",
                    },
                    {"title": "Traffic", "figure": draw.to_dict()},
                ],
            }
        ],
        "map": {"figure": maps.service_map(pl.DataFrame([call])), "note": "Two parts."},
        "journeys": {"figure": maps.journeys(pl.DataFrame([way])), "rows": [way], "note": "One way."},
        "slow_trace": {"figure": maps.waterfall(pl.DataFrame([span])), "note": "Trace t."},
        "logs": {
            "rows": [{"pattern": f"{name} <*>", "count": 12, "level": "ERROR", "group": name, "example": f"{name} 7"}],
            "note": "One pattern.",
        },
        "alarms": [
            {
                "name": name,
                "verdict": "catches 1 of 1",
                "tone": "good",
                "summary": "Would have paged once in 14 days.",
                "threshold": "> 20 ms, 1 of 1 periods of 1 h",
                "evidence": [{"label": "Would have paged", "value": 1}, ("False pages", 0)],  # dicts or pairs
                "figure": alarms.replay(points, states, alarm, incidents, unit="ms"),
                "change": "new",  # new, changed, same
            }
        ],
        "dashboard": {  # widgets: those of the dashboard body, or how many
            "name": name,
            "note": "One row a service.",
            "widgets": [{"type": "metric", "x": 0, "y": 0, "width": 12, "height": 6, "properties": {"title": name}}],
        },
        "changes": [{"action": "create", "kind": "alarm", "name": name}],
        "applied": True,  # False: proposals only; a text says it in other words
        "reading": {
            "metrics": 3,
            "datapoints": 1_209_600,
            "events": 12,
            "spans": 1,
            "calls": 20,
            "cost_usd": 0.004,
            "seconds": 2.5,
            "problems": [f"{name} could not be read"],
        },
        "notes": [f"Percentiles of {name} are of sampled traces."],
    }


class Reader(HTMLParser):
    """What a browser would see: elements with their attributes, headings, and the text of scripts."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.scripts, self.ids, self.text, self._in = [], [], [], [], None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        self.ids += [attrs["id"]] if "id" in attrs else []
        if tag in ("script", "style"):
            self._in = tag
            if tag == "script":
                self.scripts.append([attrs, ""])

    def handle_endtag(self, tag):
        self._in = None if tag == self._in else self._in

    def handle_data(self, data):
        if self._in == "script":
            self.scripts[-1][1] += data
        elif not self._in:
            self.text.append(data)


@pytest.fixture(scope="module")
def whole():
    return complete()


@pytest.fixture(scope="module")
def html(whole):
    return page.render(whole)


@pytest.fixture(scope="module")
def seen(html):
    return Reader(html)


WORDS = [
    "payments in production",
    "Mon 2 Mar 2026 00:00 – Mon 16 Mar 2026 00:00 UTC (14 days)",
    "written Mon 16 Mar 2026 06:00 UTC",
    "p99 latency of payments tripled",
    "Mon 2 Mar 20:00 – 23:00 UTC",
    "(3 h)",
    "90 %",
    "3 series",
    "known incident: payments",
    "slow at times",
    "1.2 %",
    "1.23 s",
    "Tomorrow 4 to 24 ms.",
    "payments → ledger",
    "62 %",
    "payments <*>",
    "> 20 ms, 1 of 1 periods of 1 h",
    "Would have paged",
    "+ new",
    "they were read back",
    "1.21M",
    "under $0.01",
    "2.5 s",
    "payments could not be read",
]


def test_every_section_is_there(seen):
    text = " ".join(" ".join(seen.text).split())
    for words in WORDS:
        assert words in text, words
    assert "None" not in text
    assert "Undefined" not in text


def test_nothing_is_loaded_from_elsewhere(html, seen):
    for tag, attrs in seen.tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert attrs.get(name, "#").startswith(("#", "data:")), (tag, attrs)
    css = re.search(r"<style>(.*?)</style>", html, re.S)[1]
    assert "url(" not in css
    assert "@import" not in css


def test_policy_names_exactly_our_scripts(seen):
    policy = next(a["content"] for t, a in seen.tags if a.get("http-equiv") == "Content-Security-Policy")
    code = [text for attrs, text in seen.scripts if attrs.get("type") != "application/json"]
    assert len(code) == 2
    hashes = {"'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'" for text in code}
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert set(rules["script-src"].split()) == hashes
    assert not any(name.startswith("on") for _, attrs in seen.tags for name in attrs)


def test_hostile_names_stay_text(whole):
    html = page.render(complete(EVIL))
    seen, calm = Reader(html), Reader(page.render(whole))
    assert [t for t, _ in seen.tags] == [t for t, _ in calm.tags]  # not one element more
    assert "\u2028" not in "".join(text for attrs, text in seen.scripts if attrs.get("type"))
    assert "alert(1)" in "".join(seen.text)
    for attrs, text in seen.scripts:
        if attrs.get("type") == "application/json":
            json.loads(text)
            assert not set("<>&") & set(text)


def test_hostile_severity_tone_and_widget_do_not_break_out():
    report = {
        "title": "x",
        "tiles": [{"label": "a", "value": 1, "tone": '"><script>alert(1)</script>'}],
        "events": [{"title": "e", "severity": '"><script>alert(1)</script>'}],
        "dashboard": {"name": "d", "widgets": [{"type": '"><b>', "width": 99, "height": 5000, "x": 3, "y": 1}]},
    }
    seen = Reader(page.render(report))
    assert sum(t == "script" for t, _ in seen.tags) == 4
    style = next(a["style"] for t, a in seen.tags if a.get("class") == "widget")
    assert style == "grid-column:4 / span 24;grid-row:2 / span 60"


def test_figures_share_one_look_and_can_be_turned_dark(seen):
    data = {a["id"]: json.loads(t) for a, t in seen.scripts if a.get("type") == "application/json"}
    figures = {k: v for k, v in data.items() if k.startswith("figure-")}
    assert len(figures) == 7
    assert all("template" not in f["layout"] for f in figures.values())
    assert data["look"]["layout"]["paper_bgcolor"] == theme.LIGHT["paper"]
    assert data["colours"] == {theme.LIGHT[r]: theme.DARK[r] for r in theme.LIGHT}
    plots = [a["id"] for t, a in seen.tags if a.get("class") == "plot"]
    assert [f"{p}-data" for p in plots] == list(figures)


def test_reachable_and_in_order(seen):
    levels = [int(t[1]) for t, _ in seen.tags if re.fullmatch("h[1-6]", t)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    assert len(seen.ids) == len(set(seen.ids))
    links = [a["href"][1:] for t, a in seen.tags if t == "a"]
    assert links
    assert set(links) <= set(seen.ids)
    figures = [a for t, a in seen.tags if t == "figure"]
    assert figures
    assert all(a["aria-label"].strip() and a["tabindex"] == "0" for a in figures)
    assert sum(t == "table" for t, _ in seen.tags) == sum(t == "caption" for t, _ in seen.tags)
    assert dict(seen.tags)["html"] == {"lang": "en"}


def luminance(colour):  # WCAG 2.1
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("palette", [theme.LIGHT | page.MORE_LIGHT, theme.DARK | page.MORE_DARK], ids=["light", "dark"])
def test_text_contrast(palette):
    for paper in ("paper", "page", "bad-fill", "warn-fill", "card"):
        for ink in ("ink", "muted", "bad-text", "warn-text", "incident-text"):
            light, dark = sorted((luminance(palette[paper]), luminance(palette[ink])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, paper)


@pytest.mark.parametrize("section", [s for s in page.SECTIONS if s != "title"])
def test_any_section_may_be_missing_or_none(section, whole, monkeypatch):
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "0")  # 5 MB less to go through
    assert page._checked({k: v for k, v in whole.items() if k != section}) == page._checked(whole | {section: None})
    page.render(whole | {section: None})
    empty = {list: [], tuple: [], dict: {}, str: ""}
    wanted = page.SECTIONS[section]
    page.render(whole | {section: empty.get(wanted[0] if isinstance(wanted, tuple) else wanted)})


def test_an_empty_report_says_why():
    text = " ".join(Reader(page.render({"title": "Quiet"})).text)
    for words in (
        "Nothing unusual",
        "No metrics",
        "no map",
        "no journeys",
        "No log events",
        "No alarm was proposed",
        "No dashboard",
    ):
        assert words in text
    told = page.render(
        {"title": "Quiet", "logs": {"note": "Reading logs was forbidden."}, "map": {"note": "No traces kept."}}
    )
    assert "Reading logs was forbidden." in told
    assert "No traces kept." in told


def test_many_events_services_and_alarms_are_folded(whole, monkeypatch):
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "0")
    many = whole | {
        "events": whole["events"] * 40,
        "services": whole["services"] * 12,
        "alarms": whole["alarms"] * 10,
        "changes": whole["changes"] * 9,
    }
    seen = Reader(page.render(many))
    assert "28 more" in " ".join(seen.text)
    assert (
        sum(t == "details" for t, _ in seen.tags) == 1 + 4 + 4 + 2
    )  # events, services, alarms; journeys' table and changes
    assert len(seen.ids) == len(set(seen.ids))


@pytest.mark.parametrize(
    ("report", "says"),
    [
        ([], "has to be a dict"),
        ({}, "needs a title"),
        ({"title": "x", "alarm": []}, "did you mean 'alarms'"),
        ({"title": "x", "zzz": 1}, "it knows title"),
        ({"title": "x", "events": {"a": 1}}, "events cannot be a dict"),
        ({"title": "x", "timeline": "a picture"}, "plotly Figure"),
        ({"title": "x", "window": {"start": "2026-03-02T00:00:00", "end": "2026-03-03T00:00:00"}}, "no time zone"),
    ],
)
def test_bad_reports(report, says):
    with pytest.raises(InputError, match=re.escape(says)):
        page.render(report)


def test_small_enough(whole):
    times = pl.datetime_range(START, END, "5m", time_unit="us", eager=True, closed="left").dt.convert_time_zone("UTC")
    points = pl.DataFrame(
        {"series": "a", "timestamp": times, "value": pl.Series(range(len(times)), dtype=pl.Float64).sin()}
    )
    scores = points.with_columns(lo=pl.lit(-1.0), hi=pl.lit(1.0))
    panel = {"title": "p99", "figure": series.series(points, scores=scores)}
    html = page.render(whole | {"services": [{"name": f"s{i}", "metrics": [panel] * 3} for i in range(12)]})
    assert len(html.encode()) < 8_000_000


@pytest.mark.parametrize(
    ("minutes", "words"),
    [(0.2, "under a minute"), (5, "5 min"), (60, "1 h"), (1440, "1 day"), (1441, "1 day 1 min"), (3000, "2 days 2 h")],
)
def test_lasting(minutes, words):
    assert page._lasting({"start": START, "end": START + timedelta(minutes=minutes)}) == words
