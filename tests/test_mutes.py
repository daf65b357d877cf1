"""Mute rules: the guide's examples, a minute-by-minute twin, the sandbox's own reading, clocks that jump, bad input."""

from datetime import UTC, datetime, timedelta
from time import process_time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights.alarms.mutes import check_mute, quiet
from lift_insights.frames import InputError
from lift_insights.sandbox.mutes import begins, cron_fields, duration_of, in_force


def mute(expression="cron(0 2 * * *)", lasts="PT1H", zone=None, **more) -> dict:
    schedule = {"Expression": expression, "Duration": lasts} | ({"Timezone": zone} if zone else {})
    return {"Name": "m", "Rule": {"Schedule": schedule}, **more}


def hours(rule, start, end) -> list[tuple[str, str]]:
    return [tuple(f"{t:%m-%d %H:%M}" for t in row) for row in quiet(rule, start, end).select("start", "end").rows()]


# The guide, "Alarm Mute Rules", example schedules


@pytest.mark.parametrize(
    ("expression", "lasts", "expected"),
    [
        ("cron(0 2 * * SUN)", "PT4H", [("05-05 02:00", "05-05 06:00"), ("05-12 02:00", "05-12 06:00")]),
        ("cron(0 1 1 * *)", "PT6H", [("05-01 01:00", "05-01 07:00")]),
        ("cron(0 18 * * FRI)", "P2DT12H", [("05-03 18:00", "05-06 06:00"), ("05-10 18:00", "05-13 06:00")]),
        ("at(2024-05-10T14:00)", "PT4H", [("05-10 14:00", "05-10 18:00")]),
        ("at(2024-12-23T00:00)", "P7D", []),
    ],
)
def test_the_guides_schedules(expression, lasts, expected):
    assert hours(mute(expression, lasts), "2024-05-01T00:00Z", "2024-05-15T00:00Z") == expected


def test_every_night_over_midnight():
    found = hours(mute("cron(0 23 * * *)", "PT2H"), "2024-05-01T00:00Z", "2024-05-02T00:00Z")
    assert found == [("05-01 00:00", "05-01 01:00"), ("05-01 23:00", "05-02 00:00")]  # cut to the window
    whole = quiet(mute("at(2024-12-23T00:00)", "P7D"), "2024-12-01T00:00Z", "2025-01-01T00:00Z").row(0)
    assert whole == ("m", datetime(2024, 12, 23, tzinfo=UTC), datetime(2024, 12, 30, tzinfo=UTC))


# A slow twin: every minute of the window by itself

FIELDS = [("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7)]


def field(least, most):
    number = st.integers(least, most)
    span = st.tuples(number, number).map(lambda two: f"{min(two)}-{max(two)}")
    return st.just("*") | st.lists(number.map(str) | span, min_size=1, max_size=3).map(",".join)


def numbers(text, least, most):
    found = set()
    for part in text.split(","):
        low, _, high = part.partition("-")
        found |= {*range(int(low), int(high or low) + 1)} if part != "*" else {*range(least, most + 1)}
    return found


def fires(fields, local):
    minute, hour, day, month, weekday = (numbers(text, *ends[1:]) for text, ends in zip(fields, FIELDS))
    by_day = local.day in day
    by_week = local.isoweekday() in weekday or local.isoweekday() % 7 in weekday
    days = by_day or by_week if "*" not in (fields[2], fields[4]) else by_day and by_week
    return days and local.minute in minute and local.hour in hour and local.month in month


@settings(max_examples=60, deadline=None)
@given(
    fields=st.tuples(st.sampled_from(["0", "15,45", "*", "30-33"]), *(field(*ends[1:]) for ends in FIELDS[1:])),
    lasts=st.sampled_from([1, 7, 60, 1500]),
    zone=st.sampled_from(["UTC", "Asia/Kolkata", "America/New_York"]),
    day=st.integers(0, 400),
)
def test_against_a_slow_twin(fields, lasts, zone, day):
    start = datetime(2025, 6, 1, 5, 17, tzinfo=UTC) + timedelta(days=day)
    window = [start + timedelta(minutes=n) for n in range(3 * 1440)]
    local = [moment.astimezone(ZoneInfo(zone)) for moment in window]
    if (
        len({one.utcoffset() for one in local}) > 1
        or local[0].utcoffset() != (start - timedelta(days=2)).astimezone(ZoneInfo(zone)).utcoffset()
    ):
        return  # clocks that jump have tests of their own
    before = [(start - timedelta(minutes=n)).astimezone(ZoneInfo(zone)) for n in range(lasts, 0, -1)]
    fired = [fires(fields, one) for one in [*before, *local]]
    muted = {n for n in range(len(window)) if any(fired[n + 1 : n + lasts + 1])}
    found = quiet(mute(f"cron({' '.join(fields)})", f"PT{lasts}M", zone), start, window[-1] + timedelta(minutes=1))
    rows = found.select("start", "end").rows()
    seen = {
        n
        for a, b in rows
        for n in range(int((a - start) / timedelta(minutes=1)), int((b - start) / timedelta(minutes=1)))
    }
    assert seen == muted
    assert all(b < a for (_, b), (a, _) in zip(rows, rows[1:]))  # apart, in order


ENDS = st.none() | st.integers(-3, 9).map(lambda days: datetime(2026, 3, 6, 12, 30, tzinfo=UTC) + timedelta(days=days))


@settings(max_examples=80, deadline=None)
@given(
    expression=st.sampled_from(
        [
            "cron(0 2 * * SUN)",
            "cron(30 1,13 * * MON-FRI)",
            "cron(0 0 8-9 MAR *)",
            "at(2026-03-08T02:30)",
            "cron(15 2 1 * SAT)",
        ]
    ),
    lasts=st.sampled_from(["PT1M", "PT90M", "P1D", "P2DT12H", "P1W", "P15D"]),
    zone=st.sampled_from(["UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe"]),
    begin=ENDS,
    expire=ENDS,
)
def test_as_the_sandbox_reads_it(expression, lasts, zone, begin, expire):
    if begin and expire and expire <= begin:
        return
    dates = {name: value for name, value in (("StartDate", begin), ("ExpireDate", expire)) if value}
    rule = mute(expression, lasts, zone, **dates)
    theirs = rule | {name: value.timestamp() for name, value in dates.items()}
    start = datetime(2026, 3, 1, tzinfo=UTC)
    rows = quiet(rule, start, start + timedelta(days=20)).select("start", "end").rows()
    for step in range(20 * 24 * 2):
        at = start + timedelta(minutes=30 * step)
        assert any(a <= at < b for a, b in rows) == in_force(theirs, at.timestamp()), at


@given(st.text("P0123456789WDTHMS.", max_size=9))
def test_durations_as_the_sandbox_reads_them(text):
    try:
        duration_of(text)
    except (ValueError, OverflowError):
        with pytest.raises(InputError):
            check_mute(mute(lasts=text))
        return
    check_mute(mute(lasts=text))


@given(st.lists(st.text("0123456789*,-SUNMONJAN", max_size=6), min_size=4, max_size=6))
def test_cron_as_the_sandbox_reads_it(fields):
    text = " ".join(fields)
    try:
        cron_fields(text)
    except ValueError:
        if "SUN" in text:
            return  # FRI-SUN is read here, and not there
        with pytest.raises(InputError):
            check_mute(mute(f"cron({text})"))
        return
    check_mute(mute(f"cron({text})"))


# Clocks that jump


def test_clocks_that_jump():
    nights = mute("cron(30 2 * * *)", "PT1H", "America/New_York")
    spring = hours(
        nights, "2026-03-07T00:00Z", "2026-03-10T00:00Z"
    )  # 02:30 on the 8th is skipped; it comes at 03:30 there
    assert spring == [("03-07 07:30", "03-07 08:30"), ("03-08 07:30", "03-08 08:30"), ("03-09 06:30", "03-09 07:30")]
    early = mute("cron(30 1 * * *)", "PT30M", "America/New_York")
    autumn = hours(early, "2026-10-31T00:00Z", "2026-11-03T00:00Z")  # 01:30 on the 1st comes twice; the first counts
    assert autumn == [("10-31 05:30", "10-31 06:00"), ("11-01 05:30", "11-01 06:00"), ("11-02 06:30", "11-02 07:00")]
    schedule = nights["Rule"]["Schedule"]
    begin, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    assert quiet(nights, begin, end).height == len([t for t in begins(schedule, begin, end) if t < end])


def test_clocks_that_jump_over_midnight():
    nuuk = mute(
        "cron(30 23 * * *)", "PT1M", "America/Nuuk"
    )  # 23:00 on the 30th became midnight: it is half past twelve
    assert hours(nuuk, "2024-03-31T01:20Z", "2024-03-31T01:40Z") == [("03-31 01:30", "03-31 01:31")]
    johns = mute("cron(0 0 * * *)", "PT1M", "America/St_Johns")  # at 00:01 the 6th began once more, at 23:01
    assert hours(johns, "2010-11-07T02:00Z", "2010-11-07T02:40Z") == [("11-07 02:30", "11-07 02:31")]


def test_sundays_and_names():
    sundays = ["0", "7", "SUN", "sun", "SUN,7", "0-0"]
    found = [hours(mute(f"cron(0 2 * * {day})"), "2026-03-01T00:00Z", "2026-03-16T00:00Z") for day in sundays]
    assert all(one == found[0] for one in found)
    assert [a for a, _ in found[0]] == ["03-01 02:00", "03-08 02:00", "03-15 02:00"]
    ends = hours(mute("cron(0 2 * * FRI-SUN)"), "2026-03-02T00:00Z", "2026-03-09T00:00Z")
    assert [a[:5] for a, _ in ends] == ["03-06", "03-07", "03-08"]
    assert hours(mute("cron(0 2 * * MON-SUN)"), "2026-03-01T00:00Z", "2026-03-09T00:00Z") == hours(
        mute(), "2026-03-01T00:00Z", "2026-03-09T00:00Z"
    )
    either = hours(mute("cron(0 2 10 MAR MON)"), "2026-03-01T00:00Z", "2026-04-01T00:00Z")  # the 10th or a Monday
    assert [a[:5] for a, _ in either] == ["03-02", "03-09", "03-10", "03-16", "03-23", "03-30"]


def test_dates_bound_a_rule():
    bounded = mute(lasts="PT4H", StartDate="2026-03-02T03:00:00Z", ExpireDate=datetime(2026, 3, 4, 3, 30, tzinfo=UTC))
    found = hours(bounded, "2026-03-01T00:00Z", "2026-03-10T00:00Z")
    assert found == [("03-03 02:00", "03-03 06:00"), ("03-04 02:00", "03-04 03:30")]


def test_edges_of_the_window():
    assert hours(mute(), "2026-03-01T00:00Z", "2026-03-01T02:00Z") == []
    assert hours(mute(), "2026-03-01T03:00Z", "2026-03-02T02:00Z") == []
    assert hours(mute(), "2026-03-01T02:59Z", "2026-03-02T02:01Z") == [
        ("03-01 02:59", "03-01 03:00"),
        ("03-02 02:00", "03-02 02:01"),
    ]
    assert hours(mute(ExpireDate="2026-03-01T02:00Z"), "2026-03-01T00:00Z", "2026-03-02T00:00Z") == []


def test_overlapping_occurrences_are_one():
    assert hours(mute("cron(0 * * * *)", "PT1H"), "2026-03-01T00:00Z", "2026-03-03T00:00Z") == [
        ("03-01 00:00", "03-03 00:00")
    ]
    two = [mute(lasts="PT2H"), mute("cron(0 3 * * *)", "PT2H") | {"Name": "n"}]
    assert hours(two, "2026-03-01T00:00Z", "2026-03-02T00:00Z") == [
        ("03-01 02:00", "03-01 04:00"),
        ("03-01 03:00", "03-01 05:00"),
    ]
    assert quiet([], "2026-03-01T00:00Z", "2026-03-02T00:00Z").is_empty()


def test_a_month_of_minutes_is_quick():
    begin = process_time()
    assert quiet(mute("cron(* * * * *)", "PT1M"), "2026-03-01T00:00Z", "2026-04-01T00:00Z").height == 1
    assert process_time() - begin < 3


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (5, "a mute rule has to be a dict of PutAlarmMuteRule arguments; it is a int"),
        (mute() | {"Name": ""}, "the mute rule needs as its Name 1 to 255"),
        ({"Name": "m"}, "the mute rule m needs a Rule with a Schedule"),
        (mute() | {"Rule": {}}, "needs a Rule with a Schedule"),
        (mute() | {"Alarms": []}, "has no argument Alarms in PutAlarmMuteRule"),
        (mute() | {"Rule": {"Schedule": {"Expression": "cron(0 2 * * *)"}}}, "lacks Duration in its Schedule"),
        (mute("0 2 * * *"), "needs cron(Minutes Hours Day-of-month Month Day-of-week) or at(yyyy-MM-ddThh:mm)"),
        (mute("cron(0 2 * *)"), "needs 5 fields"),
        (mute("cron(0 2 * * * *)"), "it has 6"),
        (mute("cron(60 2 * * *)"), "as minute * or numbers from 0 to 59 with , and -; it has '60'"),
        (mute("cron(0 24 * * *)"), "as hour"),
        (mute("cron(0 2 0 * *)"), "as day of the month"),
        (mute("cron(0 2 * 13 *)"), "as month"),
        (mute("cron(0 2 * * 8)"), "as day of the week"),
        (mute("cron(0 2 * * MOON)"), "as day of the week"),
        (mute("cron(0 2 * * FRI-MON)"), "as day of the week"),
        (mute("cron(*/5 2 * * *)"), "it has '*/5'"),
        (mute("cron(5-1 2 * * *)"), "it has '5-1'"),
        (mute("cron(1-2-3 2 * * *)"), "it has '1-2-3'"),
        (mute("cron(1, 2 * * *)"), "it has '1,'"),
        (mute("cron(0 2 ? * *)"), "it has '?'"),
        (mute("at(2026-02-30T10:00)"), "such as at(2024-05-10T14:00); it has '2026-02-30T10:00'"),
        (mute("at(2026-02-03 10:00)"), "at expression"),
        (mute(lasts="PT30S"), "from PT1M to P15D, such as PT4H; it is 'PT30S'"),
        (mute(lasts="PT0M"), "from PT1M"),
        (mute(lasts="P15DT1M"), "P15D"),
        (mute(lasts="P1M"), "P15D"),
        (mute(lasts="P"), "P15D"),
        (mute(lasts="P1DT"), "P15D"),
        (mute(lasts="4h"), "P15D"),
        (mute(zone="Mars/Olympus"), "such as Europe/London; it is 'Mars/Olympus'"),
        (mute(zone="../../etc/passwd"), "Timezone"),
        (mute(zone="x" * 51), "needs Timezone of 1 to 50 characters; it has 51"),
        (mute("cron(" + " " * 256 + ")"), "needs Expression of 1 to 256"),
        (mute(MuteTargets={}), "a list of AlarmNames"),
        (mute(MuteTargets={"AlarmNames": [f"a{n}" for n in range(101)]}), "names 101 alarms; the limit is 100"),
        (mute(MuteTargets={"AlarmNames": [""]}), "AlarmNames of 1 to 255"),
        (mute(StartDate="2026-03-02T09:00"), "StartDate has no time zone"),
        (mute(ExpireDate="soon"), "ExpireDate needs ISO 8601"),
        (mute(StartDate="2026-03-02T09:00Z", ExpireDate="2026-03-02T09:00Z"), "not after its start"),
        (mute(Description="x" * 1025), "Description of 1025 characters"),
        (mute(Tags=[{"Key": "a"}]), "Key and Value"),
    ],
)
def test_bad_mute_rules(rule, says):
    with pytest.raises(InputError) as caught:
        check_mute(rule)
    assert says in str(caught.value)
    with pytest.raises(InputError):
        quiet([rule], "2026-03-01T00:00Z", "2026-03-02T00:00Z")
