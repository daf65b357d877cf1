"""Secrets go, everything else stays: published numbers, generated ones, and whatever only looks like one."""

import string
import uuid

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lift_insights.frames import InputError
from lift_insights.redact import _SUSPECT, column, text

# Test numbers that the card schemes and payment providers publish.
PUBLISHED_CARDS = [
    "4111111111111111",
    "4012888888881881",
    "4222222222222",
    "5555555555554444",
    "5105105105105100",
    "2223003122003222",
    "378282246310005",
    "371449635398431",
    "6011111111111117",
    "30569309025904",
    "38520000023237",
    "3530111333300000",
    "3566002020360505",
    "6200000000000005",
    "6759649826438453",
]
# Examples of the IBAN registry (SWIFT).
PUBLISHED_IBANS = [
    "DE89370400440532013000",
    "GB29NWBK60161331926819",
    "FR1420041010050500013M02606",
    "NO9386011117947",
    "MT84MALT011000012345MTLCAST001S",
    "CH9300762011623852957",
    "NL91ABNA0417164300",
    "ES9121000418450200051332",
]


def luhn_digit(payload: str) -> str:
    """The check digit that a payload needs, as the standard's text says it: double every second from the right."""
    total = 0
    for place, digit in enumerate(reversed(payload)):
        n = int(digit) * (2 if place % 2 == 0 else 1)
        total += n - 9 if n > 9 else n
    return str(-total % 10)


@st.composite
def cards(draw):
    prefix, size = draw(
        st.sampled_from(
            [
                ("4", 16),
                ("4", 13),
                ("4", 19),
                ("51", 16),
                ("55", 16),
                ("2221", 16),
                ("2720", 16),
                ("34", 15),
                ("37", 15),
            ]
            + [("6011", 16), ("65", 16), ("36", 14), ("305", 14), ("3528", 16), ("62", 16), ("62", 19), ("2200", 16)]
        )
    )
    body = prefix + "".join(
        draw(st.lists(st.sampled_from(string.digits), min_size=size - len(prefix) - 1, max_size=size - len(prefix) - 1))
    )
    return body + luhn_digit(body)


def grouped(card: str, gap: str) -> str:
    sizes = {15: (4, 6, 5), 14: (4, 6, 4), 13: (4, 3, 3, 3)}.get(len(card), (4, 4, 4, 4, 3))
    parts, at = [], 0
    for size in sizes:
        parts.append(card[at : at + size])
        at += size
    return gap.join(part for part in parts if part)


@pytest.mark.parametrize("card", PUBLISHED_CARDS)
@pytest.mark.parametrize("gap", ["", " ", "-"])
def test_published_cards(card, gap):
    assert text(f"card {grouped(card, gap)} declined") == "card [card] declined"
    assert text(f'{{"pan":"{grouped(card, gap)}","amount":12}}') == '{"pan":"[card]","amount":12}'


@settings(max_examples=300, deadline=None)
@given(
    cards(),
    st.sampled_from(["", " ", "-"]),
    st.sampled_from(
        ["", "card ", "pan=", "card_", "PAN", "Card", '{"n":', "12 ", "order 20260302-0001 ", "ref:", "(", "0.5 ", "é"]
    ),
    st.sampled_from(["", " declined", ".", ",", "}", " 07", " 2026-03-02", "x", ")", " 1234"]),
)
def test_a_valid_card_never_survives(card, gap, before, after):
    clean = text(before + grouped(card, gap) + after)
    digits = "".join(c for c in clean if c.isdigit())
    assert "[card]" in clean
    assert card not in digits


@given(cards(), st.integers(1, 9))
def test_a_wrong_check_digit_is_no_card(card, off):
    wrong = card[:-1] + str((int(card[-1]) + off) % 10)
    assert text(f"order {wrong}") == f"order {wrong}"


@given(st.integers(1_500_000_000, 1_999_999_999), st.sampled_from([0, 3, 6, 9]), st.integers(0, 10**9 - 1))
def test_epoch_times_stay(seconds, places, fraction):
    stamp = str(seconds) + f"{fraction:09d}"[:places]
    assert text(f"at {stamp} done") == f"at {stamp} done"


@given(st.uuids())
@example(uuid.UUID("41111111-1111-4111-8111-111111111111"))
def test_uuids_stay(one):
    assert text(f"id={one} ok") == f"id={one} ok"
    assert text(str(one).upper()) == str(one).upper()


@given(st.floats(0, 1e6, allow_nan=False), st.sampled_from(["ms", "s", "", "µs"]))
def test_durations_stay(value, unit):
    line = f"took {value!r}{unit}"
    assert text(line) == line


@given(st.binary(min_size=4, max_size=4), st.binary(min_size=12, max_size=12), st.binary(min_size=8, max_size=8))
def test_trace_ids_stay(epoch, rest, span):
    line = f"Root=1-{epoch.hex()}-{rest.hex()} trace {epoch.hex()}{rest.hex()}"
    assert text(line) == line
    if not span.hex().isdigit():  # sixteen digits without a letter could be a card
        assert text(f"Parent={span.hex()};Sampled=1") == f"Parent={span.hex()};Sampled=1"


@pytest.mark.parametrize("iban", PUBLISHED_IBANS)
def test_ibans(iban):
    spaced = " ".join(iban[i : i + 4] for i in range(0, len(iban), 4))
    assert text(f"to {iban}.") == "to [iban]."
    assert text(f"to {spaced} PAID") == "to [iban] PAID"
    swapped = iban[:2] + f"{(int(iban[2:4]) + 1) % 100:02d}" + iban[4:]
    assert text(f"to {swapped}") == f"to {swapped}"


@pytest.mark.parametrize(
    ("dirty", "clean"),
    [
        ("from 10.0.0.1:443", "from [ip]:443"),
        ("peer 2001:db8::8a2e:370:7334 up", "peer [ip] up"),
        ("peer ::ffff:192.0.2.1 up", "peer [ip] up"),
        ("mail <Ana.Lucía+x@sub.example.co.uk>", "mail <[email]>"),
        ("call +44 20 7946 0958 now", "call [phone] now"),
        ("key ASIAIOSFODNN7EXAMPLE", "key [aws-key]"),
        ("secret wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "secret [aws-secret]"),
        ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P", "jwt [jwt]"),
        ("Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "Bearer [jwt]"),
        ("authorization: Bearer s3cr3t-s3cr3t", "authorization: [secret]"),
        ("sent bearer 8f14e45fceea167a", "sent bearer [token]"),
        ("login password=hunter2&next=/", "login password=[secret]&next=/"),
        ('{"user":{"Password":"a\\"b","age":4}}', '{"user":{"Password":"[secret]","age":4}}'),
        ('{"x-api-key":["a","b"],"n":1}', '{"x-api-key":"[secret]","n":1}'),
        ('{"accessToken":{"v":"abc"},"n":1}', '{"accessToken":"[secret]","n":1}'),
        ('{"client_secret":12345}', '{"client_secret":"[secret]"}'),
        ('{"body":"{\\"password\\":\\"hunter2\\",\\"n\\":1}"}', '{"body":"{\\"password\\":\\"[secret]\\",\\"n\\":1}"}'),
        ('cut off {"password":"hunt', 'cut off {"password":"[secret]"'),
    ],
)
def test_what_else_is_masked(dirty, clean):
    assert text(dirty) == clean


@pytest.mark.parametrize(
    "line",
    [
        "",
        "12:30:45",
        "std::vector",
        "x[::2]",
        "a4:5e:60:c2:00:11",
        "v1.2.3.4",
        "1.2.3.4.5",
        "300.1.1.1",
        "npm left-pad@1.3.0",
        "Basic authentication failed",
        "bearer certificate",
        '{"password":null}',
        "2026-03-02T09:00:00+01:00",
        "+15 ms",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "41111111111111111111",
        "tokens used: 12",
        "secretary",
        "START RequestId: 8f14e45f-ceea-467a-9575-5f0c1d1e2a3b Version: $LATEST",
        "REPORT RequestId: 8f14e45f-ceea-467a-9575-5f0c1d1e2a3b Duration: 12.51 ms Memory Size: 512 MB",
    ],
)
def test_what_stays(line):
    assert text(line) == line


LOGGED = st.lists(
    st.one_of(
        st.text(max_size=12),
        cards(),
        st.sampled_from(PUBLISHED_IBANS + ["password", '"token":', '"', "=", ":", " ", "\\", "@", "[", "]", "{", "}"]),
        st.sampled_from(
            ["10.0.0.1", "::1", "a@b.co", "Bearer ", "AKIAIOSFODNN7EXAMPLE", "+442079460958", "1.5", "eyJa.eyJb."]
        ),
    ),
    max_size=8,
).map("".join)


@settings(max_examples=200, deadline=None)
@given(LOGGED)
def test_twice_is_once(line):
    once = text(line)
    assert text(once) == once


@settings(max_examples=200, deadline=None)
@given(LOGGED)
def test_the_quick_pattern_misses_nothing(line):
    if text(line) != line:
        assert pl.Series([line]).str.contains(_SUSPECT).item()


def test_columns():
    messages = ["card 4111111111111111", "fine", None, "card 4111111111111111", "10.0.0.1"]
    frame = pl.DataFrame({"m": messages})
    expected = [None if m is None else text(m) for m in messages]
    assert frame.select(column(pl.col("m")))["m"].to_list() == expected
    assert frame.lazy().select(column(pl.col("m"))).collect()["m"].to_list() == expected
    assert column(frame["m"]).to_list() == expected
    assert column(frame["m"]).name == "m"
    assert frame["m"].to_list() == messages
    assert column(pl.Series([None, None])).to_list() == [None, None]
    assert column(pl.Series([], dtype=pl.String)).to_list() == []


@pytest.mark.parametrize("wrong", [b"4111", None, 4111, ["4111"]])
def test_only_text(wrong):
    with pytest.raises(InputError, match="text"):
        text(wrong)


@pytest.mark.parametrize("wrong", [pl.Series([1]), "text", None, pl.DataFrame({"a": ["x"]})])
def test_only_columns(wrong):
    with pytest.raises(InputError, match="column"):
        column(wrong)


@pytest.mark.parametrize(
    "piece", ["1", "1 ", "a", "a.", "+1", "1-", "A1", '"token":"', "\\", "=", "eyJ", "a@", "::", "(("]
)
def test_long_lines_take_no_longer_than_they_are(piece):
    import time

    line = piece * 20_000
    began = time.process_time()
    text(line)
    assert time.process_time() - began < 3
