"""pandas in, pandas out, with the same answers; nothing mutates what it was handed."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from lift_insights import simulate
from lift_insights.alarms import replay, tune
from lift_insights.frames import InputError
from lift_insights.journeys import map as maps
from lift_insights.journeys import paths
from lift_insights.models import anomaly, forecast, trend
from lift_insights.sources import xray
from lift_insights.times import utc

N = 1200
ALARM = {"AlarmName": "a", "Namespace": "N", "MetricName": "m", "Statistic": "Sum", "Period": 300, "EvaluationPeriods": 2, "Threshold": 60.0, "ComparisonOperator": "GreaterThanThreshold"}  # fmt: skip


def points():
    values = 50 + 3 * np.random.default_rng(1).normal(size=N)
    values[700:720] += 40
    when = [datetime(2026, 3, 2, tzinfo=UTC) + timedelta(minutes=5 * i) for i in range(N)]
    return pl.DataFrame(
        {"series": "N|m||Sum", "timestamp": when, "value": values},
        schema_overrides={"timestamp": pl.Datetime("us", "UTC")},
    )


def spans():
    return xray.parse(simulate.platform(1, 2).traces["document"].head(300).to_list())


CASES = {
    "detect": (points, anomaly.detect),
    "score": (points, anomaly.score),
    "forecast": (points, lambda p: forecast.forecast(p, 12)),
    "describe": (points, trend.describe),
    "replay": (points, lambda p: replay.replay(ALARM, p)),
    "tune": (points, lambda p: tune.tune(p)[0].points),
    "edges": (spans, maps.edges),
    "journeys": (spans, paths.journeys),
    "critical_path": (spans, paths.critical_path),
}


@pytest.mark.parametrize("name", CASES)
def test_pandas_gives_what_polars_gives(name):
    make, function = CASES[name]
    polars = make()
    pandas = polars.to_pandas()
    before = pandas.copy(deep=True)
    expected, got = function(polars), function(pandas)
    if name != "tune":  # a proposal's own frames are polars
        assert type(got).__module__.startswith("pandas")
        got = pl.from_pandas(got)
    assert len(expected)
    assert_frame_equal(got.cast(expected.schema, strict=False), expected, check_exact=False)
    assert pandas.equals(before)
    assert_frame_equal(polars, make())


def test_no_time_at_all_is_refused():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(InputError, match="NaT"):
        utc(pandas.NaT)
