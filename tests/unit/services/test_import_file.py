"""Import files: what is imported, and the one line that says why something is not."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import example, given
from hypothesis import strategies as st

from worker.domain.catalog import CatalogReference, item_of
from worker.domain.errors import BadAddress, BadFile
from worker.services.addresses import checked_address
from worker.services.import_file import Entry, Rejected, read_requests
from worker.services.import_text import MAX_LINE_BYTES
from worker.store.requests import NewRequest

HEADER = "email,catalogItemId,appId,options,itemUrl,locale,createdDate,priority"
MUG = CatalogReference(item_of("mug-1"))
JANE = NewRequest("jane@example.com", MUG)
NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
SECRET = "jane.secret@example.com"


def read(content: str | bytes, name: str = "requests.csv") -> list[Entry]:
    data = content.encode() if isinstance(content, str) else content
    return list(read_requests(BytesIO(data), name, lambda: NOW))


def only(content: str | bytes, name: str = "requests.csv") -> Entry:
    [entry] = read(content, name)
    return entry


def reason(line: str | bytes) -> str:
    data = line.encode() if isinstance(line, str) else line
    entry = only(f"{HEADER}\n".encode() + data)
    assert isinstance(entry, Rejected)
    assert entry.line == 2
    return entry.reason


# CSV


def test_columns_may_come_in_any_order_and_optional_ones_be_missing() -> None:
    assert only("catalogItemId,email\nmug-1,jane@example.com\n") == JANE


def test_every_column_is_read() -> None:
    line = (
        'jane@example.com,mug-1,app-1,"{""size"":""L"",""n"":1}",https://shop.example/p/1,de,'
        "2026-11-23T10:00:00+01:00,7"
    )
    assert only(f"{HEADER}\n{line}\n") == NewRequest(
        "jane@example.com",
        CatalogReference(item_of("mug-1", "app-1"), (("n", "1"), ("size", "l"))),
        "https://shop.example/p/1",
        "de",
        datetime(2026, 11, 23, 9, tzinfo=UTC),
        7,
    )


@pytest.mark.parametrize("empty", ["", " ", '""'])
def test_empty_cells_say_nothing(empty: str) -> None:
    assert only(f"{HEADER}\njane@example.com,mug-1{6 * f',{empty}'}") == JANE


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [",", ";"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_spreadsheets_may_write_it_their_way(mark: bytes, delimiter: str, end: str) -> None:
    lines = [delimiter.join(cells) for cells in (("email", "catalogItemId"), ("jane@example.com", "mug-1"))]
    assert read(mark + end.join(lines).encode()) == [JANE]


def test_empty_lines_are_passed_over_and_counted() -> None:
    entries = read("email,catalogItemId\n\njane@example.com,mug-1\n\nno address,mug-1\n")
    assert entries == [JANE, Rejected(5, "email has no @")]


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("email,catalogItem", r"unknown column 2 \(catalogItem\); the columns may be email, catalogItemId, .*"),
        ("email", "column catalogItemId is missing"),
        ("catalogItemId", "column email is missing"),
        ("email,catalogItemId,email", "column email is there twice"),
        (f"{SECRET},mug-1", "unknown column 1; .*"),
        ("", "must be a header with columns of .*"),
        (b"\xef\xbb\xbfemail,catalogItemId,na\xefve", "is not UTF-8"),
        (
            "email,product_id,sku",
            r"columns 2 \(product_id\) and 3 \(sku\) may both be catalogItemId; choose with --map",
        ),
        ("email,catalogItemId,Colour", r"column 3 \(Colour\) may be an option; say --map THEIRS=option.NAME, or .*"),
        ('email,"catalogItemId', "has a quote .*"),
    ],
)
def test_a_wrong_header_stops_the_import_with_one_line(header: str | bytes, problem: str) -> None:
    data = header.encode() if isinstance(header, str) else header
    with pytest.raises(BadFile, match=f"^line 1:? {problem}$") as caught:
        read(data + b"\njane@example.com,mug-1\n")
    assert SECRET not in str(caught.value)


def test_a_csv_file_without_a_line_has_no_header() -> None:
    with pytest.raises(BadFile, match="line 1 must be a header"):
        read("")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (",mug-1,,,,,,", "email is missing"),
        (f"{SECRET},,,,,,,", "catalogItemId is missing"),
        (f"{SECRET}.,mug-1,,,,,,", "email is not a valid address: it has a dot at a place where none may be"),
        (f"{SECRET},{'x' * 37},,,,,,", "catalogItemId must have 1 to 36 characters"),
        (f"{SECRET},mug\x01,,,,,,", "catalogItemId has a control character"),
        (f"{SECRET},mug-1,,size,,,,", "options is not JSON: Expecting value at character 0"),
        (f'{SECRET},mug-1,,"[1]",,,,', "options must be a JSON object, not an array"),
        (f'{SECRET},mug-1,,"{{""a"":NaN}}",,,,', "options has a value that is not text, a number or a boolean"),
        (f"{SECRET},mug-1,,,javascript:alert(1),,,", "itemUrl must begin with https:// or http://"),
        (f"{SECRET},mug-1,,,https://shop.example/\x0bx,,,", "itemUrl has a control character, a space or a backslash"),
        (f"{SECRET},mug-1,,,,german please,,", "locale must be a language tag like de or de-AT"),
        (f"{SECRET},mug-1,,,,,yesterday,", "createdDate is not an ISO 8601 time"),
        (f"{SECRET},mug-1,,,,,2026-11-23T09:00:00,", "createdDate has no UTC offset"),
        (f"{SECRET},mug-1,,,,,0001-01-01T00:00:00+23:00,", "createdDate is not an ISO 8601 time"),
        (f"{SECRET},mug-1,,,,,1969-12-31T23:59:59Z,", "createdDate is before 1970"),
        (f"{SECRET},mug-1,,,,,2026-11-23T10:05:00.000001+01:00,", "createdDate is more than 5 minutes in the future"),
        (f"{SECRET},mug-1,,,,,9999-12-31T23:59:59Z,", "createdDate is more than 5 minutes in the future"),
        (f"{SECRET},mug-1", "has 2 columns, but the header has 8"),
        (f'"{SECRET},mug-1,,,,,,', "has a quote that is not closed, or not doubled"),
        (SECRET.encode() + b",mug-\xc3\xa9 mug-\xe9,,,,,,", "is not UTF-8"),
        (SECRET.encode() + b",mug-\x81,,,,,,", "is not UTF-8, and not Windows-1252 either"),
        (f"{SECRET},mug-1,,,,,,,too many", "has 9 columns, but the header has 8"),
        (f"{SECRET},{'x' * MAX_LINE_BYTES},,,,,,", f"is over {MAX_LINE_BYTES} bytes"),
    ],
)
def test_a_bad_line_is_told_by_its_column_and_without_its_value(line: str | bytes, said: str) -> None:
    assert reason(line) == said


def test_a_clock_may_be_five_minutes_ahead_of_ours() -> None:
    entry = only(f"{HEADER}\njane@example.com,mug-1,,,,,2026-11-23T09:05:00Z,\n")
    assert entry == replace(JANE, created_date=NOW + timedelta(minutes=5))


@pytest.mark.parametrize(
    "bad",
    [
        b'"jane@example.com,mug-1',
        b"jane@example.com,mug-\x81",
        b"x" * (3 * MAX_LINE_BYTES),
        b'"jane@example.com\r',
        b"\x00",
    ],
)
def test_a_bad_line_hurts_no_other(bad: bytes) -> None:
    good = b"jane@example.com,mug-1\n"
    entries = read(b"email,catalogItemId\n" + good + bad + b"\n" + good)
    assert isinstance(entries[1], Rejected)
    assert entries[1].line == 3
    assert [entries[0], entries[2]] == [JANE, JANE]


PRIORITY = "priority must be a whole number from 0 to 9"


@pytest.mark.parametrize(
    ("given", "priority"),
    [
        *((str(number), number) for number in range(10)),
        ("5.0", 5),  # as spreadsheets and pandas write it where cells are empty
        ("5,00", 5),
        *((nothing, None) for nothing in ("", "NULL", "nan", "None")),
    ],
)
def test_a_priority_is_a_whole_number(given: str, priority: int | None) -> None:
    assert only(f"email;sku;priority\njane@example.com;mug-1;{given}\n") == replace(JANE, priority=priority)


@pytest.mark.parametrize(
    "given", ["10", "-1", "1.5", "+1", "05", "1e0", "high", "VIP", "yes", "٣", "３", "5 of 9", "0x1"]
)
def test_another_priority_refuses_its_line(given: str) -> None:
    lines = f"email;sku;priority\n{SECRET};mug-1;{given}\njane@example.com;mug-1;1\n"
    assert read(lines) == [Rejected(2, PRIORITY), replace(JANE, priority=1)]


@pytest.mark.parametrize(
    ("given", "priority"), [("0", 0), ("9", 9), ("9.0", 9), ('"9"', 9), ("null", None), ('""', None)]
)
def test_a_priority_of_json_is_a_number_or_its_text(given: str, priority: int | None) -> None:
    line = f'{{"email": "jane@example.com", "catalogItemId": "mug-1", "priority": {given}}}'
    assert only(line) == replace(JANE, priority=priority)


@pytest.mark.parametrize("given", ["10", "-1", "true", "false", "1.5", "1e1", "1e400", "-1e400", "[1]", "{}", '"high"'])
def test_another_priority_of_json_refuses_its_line(given: str) -> None:
    line = f'{{"email": "jane@example.com", "catalogItemId": "mug-1", "priority": {given}}}'
    assert only(line) == Rejected(1, PRIORITY)


# JSON lines


@pytest.mark.parametrize("name", ["requests.jsonl", "requests.NDJSON", "requests.txt"])
def test_json_lines_are_known_by_the_name_or_the_first_byte(name: str) -> None:
    line = '{"email": "jane@example.com", "catalogItemId": "mug-1", "options": null, "locale": ""}'
    assert read(f"{line}\n\n{line}\n", name) == [JANE, JANE]


def test_options_of_json_lines_are_objects_or_their_text() -> None:
    start = '{"email": "jane@example.com", "catalogItemId": "mug-1", "options":'
    as_object = only(f'{start} {{"options": {{"size": "L"}}}}}}')
    assert as_object == only(f'{start} "{{\\"size\\": \\"L\\"}}"}}')
    assert isinstance(as_object, NewRequest)
    assert as_object.reference == CatalogReference(MUG.item, (("size", "l"),))


def test_a_file_of_no_json_lines_is_an_empty_one() -> None:
    assert read("", "requests.jsonl") == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"email": "jane.secret@example.com"', "request is not JSON: Expecting ',' delimiter at character 35"),
        ("[1]", "request must be a JSON object"),
        ('{"email": 1, "catalogItemId": "mug-1"}', "email must be text"),
        ('{"email": "jane.secret@example.com", "catalogItemId": true}', "catalogItemId must be text or a whole number"),
        ('{"email": "jane.secret@example.com", "catalogItemId": NaN}', "catalogItemId must be text or a whole number"),
        ('{"email": "a@b.example", "sku": "1", "sku": 2}', "must be text or a whole number, not two different values"),
        ('{"email": "jane.secret@example.com", "catalogItemId": 1.5}', "catalogItemId has a fraction or an exponent"),
        ('{"email": "jane.secret@example.com", "catalogItemId": 1.2e13}', "catalogItemId has a fraction"),
        ('{"email": "jane.secret@example.com", "catalogItemId": "1", "appId": 1}', "appId must be text"),
        ('{"requests": [{"email": "jane.secret@example.com"}]}', "has an array in a field (requests): save that array"),
        ('{"email": "jane.secret@example.com", "thing": ""}', "has an unknown field (thing)"),
        (
            '{"email": "a@example.com", "sku": "1", "fit": "", "colour": "red"}',
            "has an unknown field (colour) that may",
        ),
        ('{"email": "a@example.com", "E-Mail": "b@example.com"}', "catalogItemId is missing"),
        ('{"sku": "1", "product_id": 2}', "names catalogItemId twice, with different values"),
        ('{"email": "jane.secret@example.com", "a@b": ""}', "has an unknown field"),
        ('{"email": "a@example.com", "catalogItemId": "1", "createdDate": 1}', "createdDate must be text"),
        ('{"email": "a@example.com", "catalogItemId": "1", "options": "\\ud800"}', "options is not JSON: .*"),
        ('{"email": "\\ud800@example.com", "catalogItemId": "1"}', "email is not a valid address"),
        ("{" * 10_000, "request is .*"),
        ('{"email": ' + "1" * 5000 + "}", "email must be text"),
    ],
)
def test_a_bad_json_line_is_told_without_its_values(line: str, said: str) -> None:
    entries = read(f"{{}}\n{line}\n")
    assert entries[0] == Rejected(1, "email is missing")
    assert isinstance(entries[1], Rejected)
    assert entries[1].line == 2
    assert said.replace(".*", "") in entries[1].reason


@given(st.binary(max_size=300), st.sampled_from(["requests.csv", "requests.jsonl"]))
def test_no_bytes_break_the_import(content: bytes, name: str) -> None:
    try:
        entries = read(b"email,catalogItemId\n" + content, name)
    except BadFile:
        return
    assert all(isinstance(entry, NewRequest | Rejected) for entry in entries)


# Addresses

ATOM = "abcXYZ019.!#$%&'*+/=?^_`{|}~-\"( "
DOMAIN = "abcXYZ019.-_é"
TEXTS = st.one_of(
    st.emails(),
    st.from_regex(r"[a-zA-Z0-9.+!=_-]{1,70}@([a-zA-Z0-9-]{1,64}\.){1,4}[a-zA-Z]{2,12}", fullmatch=True),
    st.builds(
        "{}@{}.{}".format,
        st.text(ATOM, min_size=1, max_size=8),
        st.text(DOMAIN, min_size=1, max_size=8),
        st.sampled_from(["com", "COM", "test", "Local", "c", "xn--p1ai", "c0m", "example.org"]),
    ),
)


@given(TEXTS)
@example(f"{'x' * 64}@example.com")
@example(f"{'x' * 65}@example.com")
@example(f"jane@{'x.' * 110}com")
@example("jane@xn--mnchen-3ya.example.com")
@example("jane@ab--cd.example")
@example("Jane@EXAMPLE.com")
@example("jane@host.localhost")
@example("jürgen@münchen.example")
@example("jane@example.com\n")
def test_the_fast_way_agrees_with_email_validator(text: str) -> None:
    try:
        expected = validate_email(text, check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError:
        with pytest.raises(BadAddress):
            checked_address(text)
    else:
        assert checked_address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "jane@example.com\r\nBcc: joe@example.com",
        "jane@example.com,joe@example.com",
        "Jane <jane@example.com>",
        '"jane"@example.com',
        "jane@[127.0.0.1]",
        "jane\x00@example.com",
        "@" * 1_000_000,  # to say what is wrong with it would take hours
        "@example.com",
        "jane@example",
        "",
        None,
        1,
    ],
)
def test_what_is_not_one_plain_address_is_refused_without_repeating_it(text: object) -> None:
    with pytest.raises(BadAddress) as caught:
        checked_address(text)
    assert "jane" not in str(caught.value)
