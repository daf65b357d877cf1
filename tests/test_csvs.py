"""Folders of CSV files: every mistake is named with its file and line."""

import pytest

from lift_insights import csvs
from lift_insights.frames import InputError

GOOD = "timestamp,value\n2014-04-10 00:04:00,1.5\n"


def folder(tmp_path, **files):
    for name, text in files.items():
        (tmp_path / f"{name}.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return tmp_path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("timestamp,value\n", "no row"),
        ("time,value\n2014-04-10 00:04:00,1\n", "line 1: needs the columns timestamp,value; it has time,value"),
        (
            GOOD + "2014-04-10 00:09:00,abc\n",
            "line 3: needs a time and a number that CloudWatch takes; it is '2014-04-10 00:09:00,abc'",
        ),
        (GOOD + "2014-04-10 00:09:00,\n", "line 3"),
        (GOOD + "2014-04-10 00:09:00,nan\n", "line 3"),
        (GOOD + "2014-04-10 00:09:00,inf\n", "line 3"),
        (GOOD + "yesterday,1\n", "line 3"),
        (GOOD + "2014-04-10 00:09:00,1e300\n", "line 3"),
        (GOOD + ",1\n", "line 3"),
        (GOOD + "2014-04-10T00:09:00Z,1\n", "line 3: a time with a zone among times without"),
        (
            "timestamp,value\n2014-04-10T00:04:00Z,1\n2014-04-10 00:09:00,2\n",
            "line 3: a time without a zone among times with",
        ),
        (GOOD + "2014-04-10 00:09:00,1,2,3\n", "line 3: needs 2 fields"),
        (GOOD + "2014-04-10 00:09:00\n", "line 3: needs 2 fields"),
        (GOOD + "\n2014-04-10 00:09:00,x\n", "line 4"),
        (b"timestamp,value\n\xff\xfe,1\n", "not UTF-8"),
    ],
)
def test_bad_files_are_named(tmp_path, text, said):
    with pytest.raises(InputError) as e:
        csvs.read(folder(tmp_path, bad=text, good=GOOD))
    assert said in str(e.value)
    assert "bad.csv" in str(e.value)


def test_empty_and_missing_folder(tmp_path):
    with pytest.raises(InputError, match="holds no CSV file"):
        csvs.read(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        csvs.read(tmp_path / "nowhere")


def test_dates_blank_lines_and_odd_names(tmp_path):
    metrics = csvs.read(folder(tmp_path, **{"a[1]": "timestamp,value\n2014-04-10,1\n\n2014-04-11,2\n"})).metrics
    assert metrics["timestamp"].dt.to_string("%F %T").to_list() == ["2014-04-10 00:00:00", "2014-04-11 00:00:00"]
    (tmp_path / "gone.csv").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"gone\.csv cannot be read"):
        csvs.read(tmp_path)


def test_same_minute_keeps_every_value(tmp_path):
    text = "timestamp,value\n2014-04-10 00:04:10,3\n2014-04-10 00:04:40,1\n2014-04-10 00:04:50,3\n"
    metrics = csvs.read(folder(tmp_path, cpu=text)).metrics
    assert metrics["values"].to_list() == [[1.0, 3.0]]
    assert metrics["counts"].to_list() == [[1, 2]]


def test_period_is_the_most_eager_usual_step(tmp_path):
    slow = "timestamp,value\n" + "".join(f"2014-04-{d:02} 00:00:00,1\n" for d in range(10, 15))
    quick = "timestamp,value\n" + "".join(f"2014-04-10 00:{m:02}:00,1\n" for m in (0, 5, 10, 15, 16, 20))
    metrics = csvs.read(folder(tmp_path, slow=slow, quick=quick)).metrics
    assert csvs.period_s(metrics) == 300
