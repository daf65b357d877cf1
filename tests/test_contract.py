"""Names and signatures that users' code relies on stay from one release to the next; keyword arguments may be added."""

import ast
import importlib
import inspect

import polars as pl
import pytest

from lift_insights import frames

# As in the design; a default is compared by value. What a later release adds goes at the end.
CONTRACT = """
aws.session.connect(profile=None, region=None, *, role_arn=None, endpoint_url=None, cache=None, budget_usd=None)
aws.session.Session.client(self, service)
sandbox.local(samples="data_samples")
sources.metrics.find(session, namespace, metric=None, dimensions=None)
sources.metrics.read(session, queries, start, end, *, period_s="auto")
sources.logs.query(session, groups, query, start, end)
sources.logs.read(session, groups, start, end, *, pattern=None)
sources.traces.read(session, start, end, *, filter=None)
sources.traces.parse(documents)
sources.traces.parse_otel(records)
models.trend.describe(points)
models.forecast.forecast(points, horizon, *, level=0.95, model="auto")
models.forecast.time_to(points, threshold)
models.anomaly.score(points)
models.anomaly.detect(points, *, sensitivity=0.5)
journeys.map.edges(spans)
journeys.paths.journeys(spans)
journeys.paths.critical_path(spans)
alarms.math.evaluate(queries, points)
alarms.replay.replay(alarm, points, *, initial_state="INSUFFICIENT_DATA", start=None, end=None)
alarms.tune.tune(points, *, incidents=None, false_positive_rate=0.05)
dashboards.build.dashboard(title, key_metrics, *, alarms=(), region)
deploy.plan.plan(session, *, alarms=(), dashboards=None, environment=None)
deploy.plan.Plan.apply(self)
deploy.plan.Plan.rollback(self)
models.health.score(frame, *, since=None, objectives=None, weights=None)
models.health.signals(points, *, meaning=None)
models.patterns.mine(messages)
models.patterns.compare(before, after, *, windows=None)
models.trend.lags(points)
deploy.plan.resume(session)
deploy.templates.cloudformation(alarms=(), dashboards=None)
deploy.templates.terraform(alarms=(), dashboards=None)
deploy.definition.read(path)
deploy.definition.write(path, alarms=(), dashboards=None)
deploy.environments.plan(session, environments)
alarms.replay.explain(alarm, points, timestamp)
alarms.review.review(alarms, points)
alarms.recommend.alarms(catalog, points=None)
alarms.slo.budget(objective, points)
alarms.slo.burn(objective, points, windows=("5m", "30m", "1h", "6h", "3d"))
alarms.slo.compliance(objective, points)
alarms.slo.alarms(objective)
sources.alarms.read(session, *, prefix=None, names=None, tags=False)
checkup.rehearse(session, alarms, start, end)
checkup.examine(session, start, end)
"""

FRAMES = """
points: series, timestamp, value
catalog: series, account, region, namespace, metric, dimensions, stat, period_s, unit
events: timestamp, log_group, log_stream, level, message, request_id, trace_id, fields
spans: trace_id, span_id, parent_id, service, operation, kind, start, duration_ms, status, error, fault, throttle, attributes
edges: client, server, calls, errors, faults, throttles, p50_ms, p95_ms, p99_ms
forecasts: series, timestamp, model, level, mean, lo, hi
findings: series, start, end, kind, severity, score, observed, expected, detector
incidents: start, end, label, service
states: alarm, timestamp, state, reason
"""


def promised(line: str) -> inspect.Signature:
    """The signature that a line of the contract describes."""
    arguments = ast.parse(f"def f({line.split('(', 1)[1].rsplit(')', 1)[0]}): ...").body[0].args
    P = inspect.Parameter
    defaults = [P.empty] * (len(arguments.args) - len(arguments.defaults)) + [
        ast.literal_eval(d) for d in arguments.defaults
    ]
    found = [P(a.arg, P.POSITIONAL_OR_KEYWORD, default=d) for a, d in zip(arguments.args, defaults)]
    for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults):
        found.append(P(a.arg, P.KEYWORD_ONLY, default=P.empty if d is None else ast.literal_eval(d)))
    return inspect.Signature(found)


def broken(promise: inspect.Signature, is_now: inspect.Signature) -> list[str]:
    """How code written for the promise would fail now."""
    P = inspect.Parameter
    positional = [n for n, p in is_now.parameters.items() if p.kind is P.POSITIONAL_OR_KEYWORD]
    found = []
    for i, (name, p) in enumerate(promise.parameters.items()):
        now = is_now.parameters.get(name)
        if now is None or now.kind not in (P.POSITIONAL_OR_KEYWORD, P.KEYWORD_ONLY):
            found.append(f"{name} is gone")
        elif p.kind is P.POSITIONAL_OR_KEYWORD and positional[i : i + 1] != [name]:
            found.append(f"{name} is no longer argument {i + 1}")
        elif p.default is P.empty and now.default is not P.empty and p.kind is P.KEYWORD_ONLY:
            continue  # what was required may become optional
        elif (type(p.default), p.default) != (type(now.default), now.default):
            found.append(f"{name} was {p.default!r} by default, it is {now.default!r}")
    for name, now in is_now.parameters.items():
        if (
            name not in promise.parameters
            and now.default is P.empty
            and now.kind not in (P.VAR_KEYWORD, P.VAR_POSITIONAL)
        ):
            found.append(f"{name} is new and required")
    return found


def lookup(dotted: str):
    """What a user gets by `from lift_insights import <first>` and attribute access."""
    found = importlib.import_module("lift_insights")
    for part in dotted.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("line", CONTRACT.strip().splitlines())
def test_the_contract_is_held(line):
    function = lookup(line.split("(")[0])
    assert callable(function)
    assert broken(promised(line), inspect.signature(function)) == []


@pytest.mark.parametrize("line", FRAMES.strip().splitlines())
def test_the_frames_keep_their_columns(line):
    name, columns = line.split(": ")
    schema = getattr(frames, name.upper())
    assert schema.name == name
    assert list(schema.columns) == columns.split(", ")
    for column, kind in schema.columns.items():
        if column in ("timestamp", "start", "end"):
            assert kind == pl.Datetime("us", "UTC")


@pytest.mark.parametrize(
    ("now", "says"),
    [
        ("f(points, horizon, *, level=0.95, model='auto', season=None)", []),
        ("f(points, horizon, *, level=0.95, model='auto', **rest)", []),
        ("f(points, horizon, level=0.95, model='auto')", []),
        ("f(points, *, level=0.95, model='auto')", ["horizon is gone"]),
        ("f(horizon, points, *, level=0.95, model='auto')",
         ["points is no longer argument 1", "horizon is no longer argument 2"]),
        ("f(points, horizon, *, level=0.9, model='auto')", ["level was 0.95 by default, it is 0.9"]),
        ("f(points, horizon, *, level=0.95, model='auto', season)", ["season is new and required"]),
        ("f(points, n, horizon, *, level=0.95, model='auto')",
         ["horizon is no longer argument 2", "n is new and required"]),
        ("f(points, *horizon, level=0.95, model='auto')", ["horizon is gone"]),
    ],
)  # fmt: skip
def test_a_broken_promise_is_found(now, says):
    namespace = {}
    exec(f"def {now}: ...", namespace)
    promise = promised("f(points, horizon, *, level=0.95, model='auto')")
    assert broken(promise, inspect.signature(namespace["f"])) == says


def test_a_session_tells_where_it_leads():
    from lift_insights.aws.session import local

    session = local("http://127.0.0.1:9", region="eu-west-1")
    assert (session.region, session.endpoint_url) == ("eu-west-1", "http://127.0.0.1:9")
    assert session.client("cloudwatch").meta.service_model.service_name == "cloudwatch"
