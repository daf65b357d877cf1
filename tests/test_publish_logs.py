"""Log groups and streams to write into: made once, kept as long as was said, refused where AWS would."""

from datetime import UTC, datetime

import pytest

from lift_insights import publish, sandbox
from lift_insights.frames import InputError
from lift_insights.publish import logs as places
from lift_insights.sandbox import logs as local_logs
from lift_insights.sources import logs

NOW = datetime(2026, 3, 16, tzinfo=UTC)


@pytest.fixture
def session():
    with sandbox.local(None, clock=NOW) as session:
        yield session


def test_everything_can_be_said_twice(session):
    for made in (True, False):
        assert places.create_group(session, "/app", retention_days=7, tags={"team": "a"}) is made
        assert places.create_stream(session, "/app", "one") is made
    assert logs.groups(session)["retention_days"].to_list() == [7]
    assert logs.streams(session, "/app")["log_stream"].to_list() == ["one"]


def test_a_group_that_is_there_gets_the_retention_and_keeps_it(session):
    places.create_group(session, "/app")
    assert logs.groups(session)["retention_days"].to_list() == [None]
    places.create_group(session, "/app", retention_days=30)
    places.create_group(session, "/app")
    assert logs.groups(session)["retention_days"].to_list() == [30]
    for days in (90, None, None):
        places.set_retention(session, "/app", days)
        assert logs.groups(session)["retention_days"].to_list() == [days]


def test_the_days_are_those_that_aws_takes(session):
    """The local AWS has the list from AWS's own description of the call."""
    assert places.RETENTION_DAYS == local_logs.RETENTION
    places.create_group(session, "/app")
    for days in places.RETENTION_DAYS:
        places.set_retention(session, "/app", days)
    for days in (0, -1, 2, 31, 3654, 7.5, "7"):
        with pytest.raises(InputError, match="The nearest is"):
            places.set_retention(session, "/app", days)
        with pytest.raises(InputError, match="The nearest is"):
            places.create_group(session, "/other", retention_days=days)
    assert logs.groups(session)["log_group"].to_list() == ["/app"]  # nothing was made on the way to a refusal


@pytest.mark.parametrize("name", ["", "a b", "é", "a:b", "x" * 513])
def test_names_that_aws_refuses(session, name):
    with pytest.raises(InputError, match="a log group needs a name"):
        places.create_group(session, name)


@pytest.mark.parametrize("name", ["", "a:b", "a*", "x" * 513])
def test_stream_names_that_aws_refuses(session, name):
    places.create_group(session, "/app")
    with pytest.raises(InputError, match="a log stream needs a name"):
        places.create_stream(session, "/app", name)


def test_unknown_groups(session):
    for call in (lambda: places.create_stream(session, "/none", "s"), lambda: places.set_retention(session, "/none", 7), lambda: places.set_retention(session, "/none", None)):  # fmt: skip
        with pytest.raises(InputError, match="/none does not exist in us-east-1"):
            call()


def test_the_package_knows_its_module():
    assert publish.logs is places
