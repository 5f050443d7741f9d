"""Files for `import` as programs write them: what is understood, what is refused, and with which words."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from worker.domain.catalog import CatalogReference, catalog_reference, item_of
from worker.domain.errors import BadFile
from worker.services.import_file import Entry, ImportFile, Limit, Rejected, Skipped, open_import
from worker.services.import_text import MAX_LINE_BYTES
from worker.store.requests import NewRequest

FIELD = Path(__file__).parents[2] / "field/imports"
CASES = json.loads((FIELD / "expected.json").read_text())
NOW = datetime(2026, 11, 28, 9, tzinfo=UTC)
JANE = "jane@example.com"
MUG = CatalogReference(item_of("mug-1"))


def opened(content: str | bytes, name: str = "requests.csv", **said: Any) -> ImportFile:
    data = content.encode() if isinstance(content, str) else content
    return open_import(BytesIO(data), name, clock=lambda: NOW, **said)


def read(content: str | bytes, name: str = "requests.csv", **said: Any) -> list[Entry]:
    return list(opened(content, name, **said).entries)


def requests(content: str | bytes, name: str = "requests.csv", **said: Any) -> list[NewRequest]:
    """Returns the requests of a file that has nothing else."""
    entries = read(content, name, **said)
    found = [entry for entry in entries if isinstance(entry, NewRequest)]
    assert found == entries
    return found


def only(content: str | bytes, name: str = "requests.csv", **said: Any) -> NewRequest:
    [request] = requests(content, name, **said)
    return request


def options(request: NewRequest) -> dict[str, str]:
    return dict(request.reference.spelled)


def refusals(content: str | bytes, name: str = "requests.csv", **said: Any) -> dict[int, str]:
    return {entry.line: entry.reason for entry in read(content, name, **said) if isinstance(entry, Rejected)}


@pytest.mark.parametrize("case", CASES, ids=[case["what"] for case in CASES])
def test_a_file_from_the_field_is_read_as_expected(case: dict[str, Any]) -> None:
    entries = read((FIELD / case["file"]).read_bytes(), case["file"])
    different = {(entry.email.lower(), entry.reference) for entry in entries if isinstance(entry, NewRequest)}
    refused = [entry.reason for entry in entries if isinstance(entry, Rejected)]
    assert (len(different), len(refused)) == (case["created"], case["rejected"]), refused
    assert not any("jane" in reason or "docomo" in reason for reason in refused)


# Separators, charsets and line ends

TWO = ("email", "sku"), (JANE, "mug-1")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
@pytest.mark.parametrize("charset", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_charsets_and_line_ends_are_found(separator: str, charset: str, end: str) -> None:
    text = "".join(separator.join(cells) + end for cells in (*TWO, ("joe@example.com", "mug-ö")))
    assert [request.reference.item.catalog_item_id for request in requests(text.encode(charset))] == ["mug-1", "mug-ö"]


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;", "sep=;;;"])
def test_a_line_that_names_the_separator_is_believed(line: str) -> None:
    assert only(f"{line}\r\nemail;sku;a,b,c,d\r\n{JANE};mug-1;\r\n").reference == MUG


def test_the_separator_is_that_by_which_names_are_known() -> None:
    assert only(f"email;sku;price, tax, shipping, all\n{JANE};mug-1;\n").reference == MUG


def test_lines_that_are_not_utf_8_are_windows_1252_and_said_so() -> None:
    found = opened(f"email;sku;option.Größe;option.Farbe\r\n{JANE};mug-1;38;Grün\r\n".encode("cp1252"))
    [request] = found.entries
    assert isinstance(request, NewRequest)
    assert options(request) == {"Größe": "38", "Farbe": "Grün"}
    [remark] = found.remarks()
    assert remark.startswith("not UTF-8, so read as Windows-1252: 2 lines, the first is 1; --charset says")
    assert found.charset == "Windows-1252"


@pytest.mark.parametrize(
    "first",
    [b"\xef\xbb\xbfemail,sku\n", "email,sku\njoe@example.com,grün\n".encode()],
    ids=["by its mark", "by a line before"],
)
def test_in_a_file_that_is_utf_8_a_broken_byte_is_damage(first: bytes) -> None:
    lines = first.count(b"\n")
    assert refusals(first + b"jane@example.com,gr\xfcn\n") == {lines + 1: "is not UTF-8"}


def test_the_user_may_say_the_charset() -> None:
    text = "メールアドレス,商品コード\njane@example.com,ア1\n"
    assert only(text.encode("shift_jis"), charset="shift_jis").reference.item.catalog_item_id == "ア1"
    assert refusals(b"email,sku\njane@example.com,gr\xfcn\n", charset="utf-8") == {2: "is not UTF-8"}


@pytest.mark.parametrize("charset", ["nope", "hex", "a\0b"])
def test_a_charset_that_is_none_is_refused(charset: str) -> None:
    with pytest.raises(BadFile, match="no such charset"):
        opened("email,sku\n", charset=charset)


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"PK\x03\x04\x14", "a ZIP file, like those of Excel"),
        (b"\xd0\xcf\x11\xe0\xa1", "an old Excel file"),
        (b"\x1f\x8b\x08", r"compressed \(gzip\)"),
        (b"<html><table>", "HTML or XML"),
        (b"-- MySQL dump 10.13", "an SQL script"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"\0\0\0\0\0\0", "no text: it has NUL bytes"),
    ],
)
def test_a_file_that_is_no_text_is_named(start: bytes, kind: str) -> None:
    for name in ("requests.csv", "requests.jsonl"):
        with pytest.raises(BadFile, match=f"^the file is {kind}"):
            opened(start + b"\n", name)


# Rows


def test_quoted_line_breaks_belong_to_their_cell_and_count_as_lines() -> None:
    text = f'email,sku,note\r\n{JANE},mug-1,"two\r\nlines, with a comma"\r\nnobody,mug-1,\r\n'
    assert refusals(text) == {4: "email has no @"}


@pytest.mark.parametrize(
    "bad",
    [
        '"jane@example.com,mug-1,',
        'jane@example.com,"mug-1,',
        'jane@example.com,mug-1,"open',
    ],
)
@pytest.mark.parametrize("last", ["jim@example.com,mug-1,", 'jim@example.com,mug-1,"x"', '"jim@example.com",mug-1,"x"'])
def test_a_quote_that_is_left_open_swallows_no_other_row(bad: str, last: str) -> None:
    entries = read(f"email,sku,note\n{bad}\njoe@example.com,mug-1,\n{last}\n")
    assert entries[0] == Rejected(2, "has a quote that is not closed, or not doubled")
    assert [entry.email for entry in entries[1:] if isinstance(entry, NewRequest)] == [
        "joe@example.com",
        "jim@example.com",
    ]


def test_a_quote_that_is_never_closed_is_looked_for_no_further_than_a_line_may_be_long() -> None:
    rows = "".join(f"customer{number}@example.com,mug-1\n" for number in range(2 * MAX_LINE_BYTES // 30))
    entries = read(f'email,sku\n"open,mug-1\n{rows}"open,mug-1\n')
    assert [entry.line for entry in entries if isinstance(entry, Rejected)] == [2, rows.count("\n") + 3]


def test_blanks_around_quotes_say_nothing() -> None:
    text = f' "email" ; "sku"; "url" ; "options" \n "{JANE}" ; "mug-1" ; "" ; "{{""Size"":""L""}}" \n'
    assert options(only(text)) == {"Size": "L"}
    assert only(f'email;sku\n"{JANE}" ;"a"" ;b"\n').reference.item.catalog_item_id == 'a" ;b'
    assert refusals(f'email;sku;url\n"{JANE}" x;mug-1;\n"" ;"mug-1" ;\n') == {
        2: "has a quote that is not closed, or not doubled",
        3: "email is missing",
    }


def test_blank_rows_and_columns_without_a_name_say_nothing() -> None:
    text = f",email,sku,,\r\n0,{JANE},mug-1,,\r\n,,,,\r\n;;\r\n\r\n  \r\n"
    assert read(text)[0] == NewRequest(JANE, MUG)
    assert refusals(text) == {4: "email is missing"}  # another separator is no blank row
    assert only(f"\r\n;;\r\nemail;sku\r\n{JANE};mug-1\r\n").reference == MUG


def test_empty_cells_at_the_end_may_be_left_out_but_not_where_a_file_may_be_cut_off() -> None:
    text = f"email,sku,locale,url\r\n{JANE},mug-1\r\n"
    assert only(text).reference == MUG
    assert refusals(text.removesuffix("\r\n")) == {2: "has 2 columns, but the header has 4"}


def test_cells_beyond_the_header_must_be_empty() -> None:
    assert refusals(f"email,sku\n{JANE},mug-1,,\n{JANE},mug-1,,x\n") == {3: "has 4 columns, but the header has 2"}


# What databases write


@pytest.mark.parametrize(
    "line",
    [
        '"jane@example.com";"mug-1";"{\\"Gr\\\\u00f6\\\\u00dfe\\":\\"L\\"}";NULL',  # phpMyAdmin
        '"jane@example.com";"mug-1";"{\\"Gr\\u00f6\\u00dfe\\":\\"L\\"}";\\N',
        '"jane@example.com";"mug-1";"{""Gr\\u00f6\\u00dfe"":""L""}";NULL',
        'jane@example.com;mug-1;{\\n  "Gr\\\\u00f6\\\\u00dfe": "L"\\n};NULL',  # mysql --batch
        'jane@example.com;mug-1;{\\\n  "Gr\\\\u00f6\\\\u00dfe": "L"\\\n};\\N',  # SELECT INTO OUTFILE
    ],
)
@pytest.mark.parametrize("separator", [";", "\t"])
def test_backslashes_of_databases_are_understood(line: str, separator: str) -> None:
    text = f"email;sku;options;locale\n{line}\n".replace(";", separator)
    request = only(text)
    assert (options(request), request.locale) == ({"Größe": "L"}, None)


@pytest.mark.parametrize("null", ["NULL", "null", "\\N", "None", "nan", "undefined", "N/A"])
def test_null_is_empty_but_where_it_would_choose_the_default_or_is_required(null: str) -> None:
    header = "email,sku,appId,options,url,locale,date,option.Size"
    assert only(f"{header}\n{JANE},mug-1,,{null},{null},{null},{null},\n") == NewRequest(JANE, MUG)
    assert only(f"email,sku,options\n{JANE},mug-1,{null}\n").reference.given is None, "nobody gave options"
    said = refusals(f"{header}\n{JANE},mug-1,{null},,,,,\n{JANE},{null},,,,,,\n{null},mug-1,,,,,,\n")
    assert said == {
        2: "appId is NULL; it must be the id of the catalog's app, or empty for Wix Stores",
        3: "catalogItemId is missing",
        4: "email is missing",
    }


def test_a_file_without_a_header_is_read_by_the_numbers_of_its_columns() -> None:
    names = {"2": "catalogItemId", "1": "email", "4": "option.Size"}
    found = opened("jane@example.com\tmug-1\tx\tL\n", names=names)
    assert [entry.email for entry in found.entries if isinstance(entry, NewRequest)] == [JANE]
    assert found.columns == (("1", "email"), ("2", "catalogItemId"), ("3", ""), ("4", "option.Size"))


def test_a_backslash_at_the_end_of_rows_does_not_join_them() -> None:
    rows = "".join(f"customer{number}@example.com,mug-1,C:\\images\\\n" for number in range(3000))
    assert len(requests(f"email,sku,picture\n{rows}")) == 3000


def test_the_separator_of_a_file_without_a_header_is_that_beside_the_address() -> None:
    text = f'mug-1|{JANE}|{{"Size": "L", "Color": "red", "x": 1}}\n'
    request = only(text, names={"1": "catalogItemId", "2": "email", "3": "options"})
    assert options(request) == {"Size": "L", "Color": "red", "x": "1"}


def test_the_first_row_of_a_file_without_a_header_may_go_over_lines() -> None:
    text = f'{JANE}\tmug-1\t{{\\\n"Size": "L"}}\njoe@example.com\tmug-1\t\\N\n'
    found = requests(text, names={"1": "email", "2": "catalogItemId", "3": "options"})
    assert [options(request) for request in found] == [{"Size": "L"}, {}]


# Names of columns


@pytest.mark.parametrize(
    "header",
    [
        "E-Mail;SKU",
        "EMAIL;CATALOGITEMID",
        " e_mail ; product_id ",
        "Email Address;Product ID",
        "customer_email;item-id",
        "E-Mail-Adresse;Artikelnummer",
        "E-Mail-Adresse;Produkt-ID",
        "Correo electrónico;ID de producto",
        "Courriel;Référence",
        "Indirizzo e-mail;Codice articolo",
        "メールアドレス;商品コード",
        "Электронная почта;Артикул",
        "email;catalogReference.catalogItemId",
    ],
)
def test_known_names_are_understood_in_any_case_and_language(header: str) -> None:
    assert only(f"{header}\n{JANE};mug-1\n") == NewRequest(JANE, MUG)


def test_optional_columns_have_known_names_too() -> None:
    header = "mail,sku,Product URL,Language,Created At"
    request = only(f"{header}\n{JANE},mug-1,https://shop.example/p/1,de,2026-11-20 09:00:00 UTC\n")
    assert (request.item_url, request.locale) == ("https://shop.example/p/1", "de")
    assert request.created_date == datetime(2026, 11, 20, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ("option.Size", "Size"),
        ("options[Size]", "Size"),
        ("Option: Size", "Size"),
        ("attribute_pa_size", "size"),
        ("pa_size", "size"),
        ("variation_id", "variantId"),
        ("Variant ID", "variantId"),
        ("id_product_attribute", "variantId"),
    ],
)
def test_an_option_may_have_a_column(header: str, named: str) -> None:
    assert options(only(f"email,sku,{header}\n{JANE},mug-1,38\n")) == {named: "38"}
    assert options(only(f'{{"email":"{JANE}","sku":"mug-1","{header}":38}}', "x.jsonl")) == {named: "38"}
    assert only(f"email,sku,{header}\n{JANE},mug-1,NULL\n").reference == MUG


def test_shops_write_variant_0_for_a_product_without_variants() -> None:
    reference = only(f"email,product_id,variation_id\n{JANE},mug-1,0\n").reference
    assert (reference, reference.given) == (MUG, None), "nobody gave options"


def test_options_and_columns_of_options_are_put_together() -> None:
    header = "email,sku,options,option.Size"
    assert options(only(f'{header}\n{JANE},mug-1,"{{""Color"":""red""}}",L\n')) == {"Color": "red", "Size": "L"}
    said = refusals(f'{header}\n{JANE},mug-1,"{{""Size"":""M""}}",L\n')
    assert said == {2: "options name one option twice with different values"}


def test_other_columns_are_left_out_and_named() -> None:
    found = opened(f"id,email,sku,Phone\x1b\n1,{JANE},mug-1,555\n")
    assert list(found.entries) == [NewRequest(JANE, MUG)]
    assert list(found.remarks()) == ["left out: id, Phone?"]
    found = opened(f'{{"email":"{JANE}","sku":"mug-1","phone":"555","{JANE}":1}}', "x.jsonl")
    assert list(found.entries) == [NewRequest(JANE, MUG)]
    assert list(found.remarks()) == ["left out: phone"]


def test_a_column_that_may_be_an_option_is_not_left_out_in_silence() -> None:
    text = f"email,sku,Colour\n{JANE},mug-1,red\n"
    with pytest.raises(BadFile, match=r"column 3 \(Colour\) may be an option"):
        opened(text)
    assert options(only(text, names={"Colour": "option.Color"})) == {"Color": "red"}
    assert only(text, names={"colour": ""}).reference == MUG
    known = only(f"email,sku,variant_id,variant_title\n{JANE},mug-1,7,red\n")
    assert options(known) == {"variantId": "7"}, "the variant is known, so its title says nothing new"


def test_the_users_names_are_stronger_than_known_ones() -> None:
    text = f"email,sku,product_id\n{JANE},mug-1,77\n"
    with pytest.raises(BadFile, match="may both be catalogItemId; choose with --map"):
        opened(text)
    assert only(text, names={"product_id": ""}).reference == MUG
    assert only(f"email,sku,catalogItemId\n{JANE},x,mug-1\n").reference == MUG, "our own name is stronger, too"
    assert only(f'{{"email":"{JANE}","Ref":"mug-1"}}', "x.jsonl", names={"ref": "catalogItemId"}).reference == MUG


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"sku": "product"}, "--map must name one of email, catalogItemId, .*"),
        ({"Ort": "locale"}, "--map names a column that the file does not have: Ort"),
    ],
)
def test_a_map_that_means_nothing_is_refused(names: Mapping[str, str], said: str) -> None:
    with pytest.raises(BadFile, match=said):
        opened(f"email,sku\n{JANE},mug-1\n", names=names)


def test_a_map_that_no_json_object_needs_is_said_at_the_end() -> None:
    text = f'{{"email":"{JANE}","sku":"mug-1","Fit":"L"}}'
    found = opened(text, names={"fitt": "option.Fit", "Sku": "catalogItemId"})
    assert list(found.entries) == [NewRequest(JANE, MUG)]
    assert list(found.remarks()) == ["--map names what no object has: fitt", "left out: Fit"]


# Damage


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("1.23457E+13", "is in scientific notation"),
        ('"1,23457E+13"', "is in scientific notation"),
        ("1E+13", "is in scientific notation"),
        ("1.2e13", "is in scientific notation"),
        ("123.0", "ends in .0"),
        ('"123,00"', "ends in .0"),
        ('"1,234,567"', "has commas between its digits"),
        ("'00123", "begins with the apostrophe"),
        ("12345678901234500000", "ends in zeros after 15 digits"),
        ("#N/A", "is an error of a spreadsheet"),
        ("#REF!", "is an error of a spreadsheet"),
        ("#NAME?", "is an error of a spreadsheet"),
        ("#DIV/0!", "is an error of a spreadsheet"),
        ("######", "is an error of a spreadsheet"),
        ("#¡REF!", "is an error of a spreadsheet"),
        ("#¿NOMBRE?", "is an error of a spreadsheet"),
        ("#ДЕЛ/0!", "is an error of a spreadsheet"),
        ("#Н/Д", "is an error of a spreadsheet"),
        ("#N/D!", "is an error of a spreadsheet"),
        ("Err:502", "is an error of a spreadsheet"),
        ("=A1&B1", "is a formula"),
        ("mug\u00a01", "has an invisible character"),
        ("\u200bmug", "has an invisible character"),
        ("mug\u00ad1", "has an invisible character"),
        ("\ufeffmug", "has an invisible character"),
        ("mug\u202e1", "has an invisible character"),
        ("mug\u31641", "has an invisible character"),
        ("GrÃ¼n", "was UTF-8 and read as Windows-1252"),
        ("gr\ufffdn", "has a character that was lost"),
    ],
)
@pytest.mark.parametrize("column", ["sku", "appId"])
def test_a_damaged_id_is_refused_with_the_kind_of_damage(column: str, cell: str, why: str) -> None:
    other = "appId" if column == "sku" else "sku"
    field = "catalogItemId" if column == "sku" else column
    [(line, reason)] = refusals(f"email,{other},{column}\n{JANE},x,{cell}\n").items()
    assert (line, reason.startswith(f"{field} {why}")) == (2, True), reason


@pytest.mark.parametrize(
    ("cell", "id_"),
    [
        ("00123", "00123"),
        ('="00123"', "00123"),
        ('"=""00123"""', "00123"),
        ("1E5", "1E5"),
        ("#1234", "#1234"),
        ("#sale!", "#sale!"),
        ("'n'", "'n'"),
        ('"12,34"', "12,34"),
        ("1.5", "1.5"),
        ("8123456789012", "8123456789012"),
        ("Größe Ü", "Größe Ü"),
        ("商品1", "商品1"),
    ],
)
def test_an_id_that_only_looks_odd_is_taken_as_it_is(cell: str, id_: str) -> None:
    assert only(f"email,sku\n{JANE},{cell}\n").reference.item.catalog_item_id == id_


@pytest.mark.parametrize("options_", ['"{""Color"":""GrÃ¼n""}"', '"{""Color"":""Gr\ufffdn""}"', "#N/A"])
def test_damaged_options_are_refused(options_: str) -> None:
    [reason] = refusals(f"email,sku,options\n{JANE},mug-1,{options_}\n").values()
    assert reason.startswith("options ")
    [reason] = refusals(f"email,sku,option.Size,variant_id\n{JANE},mug-1,#N/A,1.2E+13\n").values()
    assert reason.startswith("options is an error of a spreadsheet")


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("jane@example.com\u00a0", "it has an invisible character"),
        ("ja\u200bne@example.com", "it has an invisible character"),
        ("mailto:jane@example.com", "it begins with mailto:"),
        ("Jane <jane@example.com>", "it has a name beside the address"),
        ("jane@example.com; joe@example.com", "it has several addresses"),
        ('"jane doe"@example.com', "its part before the @ is quoted"),
        ("jane doe@example.com", "it has a blank"),
        ("a..b@example.com", "it has a dot at a place where none may be"),
        ("jane@example.com.", "it has a dot at a place where none may be"),
    ],
)
def test_a_damaged_address_is_refused_with_the_kind_of_damage(address: str, why: str) -> None:
    quoted = address.replace('"', '""')
    assert refusals(f'email,sku\n"{quoted}",mug-1\n') == {2: f"email is not a valid address: {why}"}


# Dates and languages


@pytest.mark.parametrize(
    "date",
    [
        "2026-11-20T09:00:00Z",
        "2026-11-20t09:00:00.000000000z",
        "2026-11-20 09:00:00+00:00",
        "2026-11-20 09:00:00 UTC",
        "2026-11-20 04:00:00 -0500",
        "1795165200",
        "1795165200000",
        "1795165200.25",
    ],
)
def test_dates_with_an_offset_are_understood(date: str) -> None:
    at = datetime(2026, 11, 20, 9, tzinfo=UTC)
    assert only(f"email,sku,date\n{JANE},mug-1,{date}\n").created_date == at
    if date.isdecimal():
        assert only(f'{{"email":"{JANE}","sku":"mug-1","date":{date}}}', "x.jsonl").created_date == at


@pytest.mark.parametrize(
    ("date", "said"),
    [
        ("2026-11-20 09:00:00", "createdDate has no UTC offset"),
        ("2026-11-20", "createdDate has no UTC offset"),
        ("0000-00-00 00:00:00", "createdDate is the zero date of MySQL; leave it empty"),
        ("20.11.2026 09:00", "createdDate is not an ISO 8601 time"),
        ("46346.375", "createdDate is not an ISO 8601 time"),
        ("9999999999", "createdDate is more than 5 minutes in the future"),
    ],
)
def test_other_dates_are_refused(date: str, said: str) -> None:
    assert refusals(f"email,sku,date\n{JANE},mug-1,{date}\n") == {2: said}


def test_the_user_may_say_the_time_zone_of_dates_without_an_offset() -> None:
    text = f"email,sku,date\n{JANE},mug-1,2026-11-20 10:00:00\n"
    assert only(text, zone=ZoneInfo("Europe/Berlin")).created_date == datetime(2026, 11, 20, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("locale", "tag"),
    [
        ("de_DE.UTF-8", "de_DE"),
        ("de_DE@euro", "de_DE"),
        ("pt_BR.utf8", "pt_BR"),
        ("zh_Hans_CN", "zh_Hans_CN"),
        ("C", None),
        ("C.UTF-8", None),
        ("POSIX", None),
    ],
)
def test_locales_of_operating_systems_are_understood(locale: str, tag: str | None) -> None:
    assert only(f"email,sku,locale\n{JANE},mug-1,{locale}\n").locale == tag


# Who still waits

EXPORTED = {
    "id": "0190b2a0-0000-7000-8000-000000000000",
    "catalogReference": {"catalogItemId": "mug-1", "appId": "app-1", "options": {"Size": "L"}},
    "email": JANE,
    "contactId": "0190b2a0-0000-7000-8000-000000000001",
    "createdDate": "2026-11-20T09:00:00.000Z",
    "attempts": 0,
    "failureCode": None,
    "failureReason": None,
}


@pytest.mark.parametrize("status", ["RECEIVED", "PROCESSING", "NOTIFICATION_SENT", "FAILED"])
def test_of_our_own_export_only_who_waits_is_imported(status: str) -> None:
    found = opened(json.dumps({**EXPORTED, "status": status}), "-")
    [entry] = found.entries
    if status in ("RECEIVED", "PROCESSING"):
        assert isinstance(entry, NewRequest)
        assert entry.reference == catalog_reference(item_of("mug-1", "app-1"), {"Size": "L"})
        assert entry.created_date == datetime(2026, 11, 20, 9, tzinfo=UTC)
    else:
        assert entry == Skipped(1)
    assert list(found.remarks()) == []


@pytest.mark.parametrize("told", ["", "NULL", "0000-00-00 00:00:00", "0", "No"])
def test_of_magentos_table_only_who_was_not_told_is_imported(told: str) -> None:
    text = f"email,product_id,send_date,status\n{JANE},mug-1,{told},0\n{JANE},mug-1,2026-11-21 09:00:00,1\n"
    assert read(text) == [NewRequest(JANE, MUG), Skipped(3)]


def test_a_status_that_is_not_known_is_refused_until_the_user_says_what_to_do() -> None:
    text = f"email,sku,status\n{JANE},mug-1,Subscribed\n{JANE},mug-1,cwg_mailsent\n{JANE},mug-1,1\n"
    assert read(text)[:2] == [NewRequest(JANE, MUG), Skipped(3)]
    assert list(refusals(text)) == [4]
    assert len(requests(text, names={"status": ""})) == 3


def test_a_catalog_reference_may_have_more_fields_but_not_contradict_the_request() -> None:
    reference = {"catalogItemId": "mug-1", "appId": None, "revision": 3}
    assert only(json.dumps({"email": JANE, "catalogReference": reference})).reference == MUG
    said = refusals(json.dumps({"email": JANE, "sku": "cup-1", "catalogReference": reference}))
    assert said == {1: "names catalogItemId twice, with different values"}


# JSON


def test_a_number_is_an_id_in_json() -> None:
    assert only(f'{{"email":"{JANE}","catalogItemId":4711}}').reference.item.catalog_item_id == "4711"


@pytest.mark.parametrize("empty", ["[]", "{}", "null", '""', '"[]"', '"null"'])
def test_empty_options_may_be_written_in_many_ways(empty: str) -> None:
    assert only(f'{{"email":"{JANE}","sku":"mug-1","options":{empty}}}').reference == MUG


FIRST = f'{{\n "email": "{JANE}",\n "sku": "a]}}\\"[{{"}}'
REST = '{"email": "nobody"}, 5, "x",\n {"email": "joe@example.com", "sku": "b"}'


@pytest.mark.parametrize("text", [f"[{FIRST},\n{REST}\n]", f"{FIRST}\n{REST}\n"], ids=["array", "one by one"])
@pytest.mark.parametrize("charset", ["utf-8", "utf-16"])
def test_objects_may_be_in_an_array_or_go_over_lines(text: str, charset: str) -> None:
    entries = read(text.encode(charset), "requests.json")
    assert [entry.reference.item.catalog_item_id for entry in entries if isinstance(entry, NewRequest)] == [
        'a]}"[{',
        "b",
    ]
    assert [entry for entry in entries if isinstance(entry, Rejected)] == [
        Rejected(4, "email has no @"),
        Rejected(4, "request must be a JSON object, not this number"),
        Rejected(4, "request must be a JSON object, not other text"),
    ]


def test_an_array_on_one_line_may_be_longer_than_a_line() -> None:
    entry = '{"email":"customer%d@example.com","sku":"\\"mug%s"}'
    text = f"[{','.join(entry % (number, 'x' * (number % 30)) for number in range(5000))}]"
    assert len(text) > 3 * MAX_LINE_BYTES
    assert [request.email for request in requests(text)] == [f"customer{number}@example.com" for number in range(5000)]


def test_a_quote_that_is_left_open_in_an_array_hides_no_other_object() -> None:
    text = f'[{{"email": "{JANE}", "sku: 1}},\n{{"email": x}},\n{{"email": "{JANE}", "sku": "mug-1"}}]'
    entries = read(text, "requests.json")
    assert [entry.line for entry in entries[:2] if isinstance(entry, Rejected)] == [1, 2]
    assert entries[2:] == [NewRequest(JANE, MUG)]


def test_an_object_that_is_too_long_or_cut_off_is_refused() -> None:
    long = f'{{"email": "{JANE}", "note": "{"x" * MAX_LINE_BYTES}"}}'
    said = refusals(f'[{long},\n{{"email": "{JANE}", "sku": "mug-1"}},\n{{"email": "{JANE}", "sk')
    assert said[1] == f"is over {MAX_LINE_BYTES} bytes"
    assert said[3].startswith("request is not JSON")
    assert len(said) == 2


# Dates


def test_a_line_that_would_expire_at_once_is_refused_by_its_number() -> None:
    limit = Limit(90, NOW - timedelta(days=90))
    dates = ["2026-08-30T09:00:00Z", "2026-08-30T08:59:59Z", "", "2019-01-01T00:00:00+02:00"]
    lines = "".join(f"c{place}@example.com,mug-1,{date}\n" for place, date in enumerate(dates))
    content = f"email,catalogItemId,createdDate\n{lines}"
    reason = "createdDate is over 90 days ago, which is STOCKBELL_REQUEST_TTL_DAYS"
    assert refusals(content, limit=limit) == {3: reason, 5: reason}
    assert refusals(content) == {}


def test_a_line_about_somebody_who_was_told_is_skipped_however_old_it_is() -> None:
    limit = Limit(90, NOW - timedelta(days=90))
    line = json.dumps(
        {"email": JANE, "catalogItemId": "mug-1", "status": "sent", "createdDate": "2019-01-01T00:00:00Z"}
    )
    assert read(line, "requests.jsonl", limit=limit) == [Skipped(1)]
