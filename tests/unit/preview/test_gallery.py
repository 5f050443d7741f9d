"""The mails to look at."""

from pathlib import Path

import pytest

from tests.unit.preview.galleries import gallery_of, parts_of
from worker.domain.errors import BadSetting, Refused
from worker.domain.relays import Mailbox
from worker.mail.samples import CONFIRM, MANY, ONE, SHOWN
from worker.preview.gallery import Gallery, Shown, checked_sample
from worker.preview.shelf import Shelf
from worker.services.trying import Asked, Facts

URL = "https://shop.example/p/1"


def test_all_samples_are_made_in_all_languages() -> None:
    gallery = gallery_of()
    shown = {(name, locale): gallery.shown(name, locale) for name in gallery.names for locale in gallery.languages}
    assert [key for key, each in shown.items() if each.trouble or not (each.subject and each.text and each.html)] == []
    assert len(gallery.languages) == 10
    assert len({each.subject for (name, _), each in shown.items() if name == "usual"}) == 10


def test_what_the_checks_try_can_be_looked_at() -> None:
    tried = {*ONE, *MANY, *(f"confirm, {name}" for name in CONFIRM)} - {"all known", "20 items, nothing known"}
    assert tried - {*gallery_of().names} == set()


def test_no_name_of_a_sample_stands_twice() -> None:
    names = [name for samples in SHOWN.values() for name in samples]
    assert len(gallery_of().names) == len(names) + len(CONFIRM)


def test_pictures_of_samples_are_seen_wherever_they_are_shown() -> None:
    assert 'src="data:image/svg+xml;base64,' in gallery_of().shown("usual", "en").html


def test_a_sample_says_the_day_in_the_mails_language() -> None:
    gallery = gallery_of()
    assert "March 8, 2026" in gallery.shown("usual", "en").text
    assert "8. März 2026" in gallery.shown("usual", "de").text
    assert "8. März 2026" in gallery.shown("2 items", "de").text
    assert "2026" not in gallery.shown("nothing known", "en").text


def test_a_shop_that_has_set_nothing_sees_a_way_out_and_is_told_that_it_is_a_sample() -> None:
    gallery = gallery_of()
    assert "https://notify.shop.example/u/" in gallery.shown("usual", "en").text
    assert "https://notify.shop.example/confirm/" in gallery.shown("confirm, one item", "en").html
    assert [note.partition(" ")[0] for note in gallery.notes] == ["MAIL_FROM", "Mails"]


def test_a_shop_sees_its_own_way_out_sender_and_brand() -> None:
    gallery = gallery_of(
        mail_from=Mailbox("Shop", "hello@blue.example"),
        secret_key="0123456789" * 4,
        public_url="https://notify.blue.example",
        brand_color="#7a2e8e",
    )
    shown = gallery.shown("usual", "en")
    assert "https://notify.blue.example/u/" in shown.text
    assert b'From: "Shop" <hello@blue.example>\r\n' in shown.message
    assert "#7a2e8e" in shown.html
    assert gallery.notes == []


def test_a_way_out_by_mail_alone_is_the_shops_own() -> None:
    gallery = gallery_of(secret_key="0123456789" * 4, bounce_address="bounces+{token}@blue.example")
    assert "mailto:bounces+" in gallery.shown("usual", "en").text
    assert "https://notify.shop.example/confirm/" in gallery.shown("confirm, one item", "en").text
    assert [note.partition(" ")[0] for note in gallery.notes] == ["MAIL_FROM", "STOCKBELL_PUBLIC_URL"]


def test_no_sample_takes_the_place_of_what_is_set() -> None:
    gallery = gallery_of(mail_from=Mailbox("", "a@blue.example"), public_url="https://notify.blue.example")
    assert "https://notify.blue.example/u/" in gallery.shown("usual", "en").text
    assert [note.partition(",")[0] for note in gallery.notes] == ["Mails have no way out"]
    no_https = gallery_of(public_url="http://notify.blue.example", secret_key="0123456789" * 4)
    assert "/u/" not in no_https.shown("usual", "en").text


def test_a_sender_that_no_mail_can_be_from_is_refused() -> None:
    with pytest.raises(BadSetting, match="MAIL_FROM"):
        gallery_of(mail_from=Mailbox("", "shop"))


def test_a_shops_own_items_come_first_and_in_the_customers_language_and_options() -> None:
    mug = Facts("usual", '{"Size":"XL"}', name="Red mug", url=URL)
    items = {"item usual": [(mug, Asked())], "these 2 items": [(mug, Asked()), (mug, Asked(f"{URL}/own"))]}
    gallery = Gallery(parts_of(), items)
    assert gallery.names[:3] == ["item usual", "these 2 items", "usual"]
    assert "Size: XL" in gallery.shown("item usual", "en").text
    assert f"{URL}/own" in gallery.shown("these 2 items", "de").text
    of_jane = Gallery(parts_of(), {"item mug-1": [(mug, Asked(locale="fr"))]})
    assert b"Content-Language: fr" in of_jane.mail("item mug-1", None)[0].content


def test_of_a_mail_that_is_too_long_it_is_said_how_many_items_are_in_it(tmp_path: Path) -> None:
    (tmp_path / "back_in_stock_many").mkdir()
    padding = "{% for item in items %}<!-- " + "x" * 5_000 + " -->{% endfor %}"
    body = (
        '{% extends "shipped/back_in_stock_many/body.html" %}{% block footer %}'
        + padding
        + "{{ super() }}{% endblock %}"
    )
    (tmp_path / "back_in_stock_many" / "body.html").write_text(body)
    mug = Facts("mug-1", "{}", url=URL)
    gallery = Gallery(parts_of(tmp_path), {"these 20 items": [(mug, Asked())] * 20})
    for name in ("20 items", "these 20 items"):
        assert "it is about the first 10, and the next mail about the rest" in gallery.shown(name, "en").note
        assert gallery.shown(name, "en").kilobytes < 80
    assert gallery.shown("5 items", "en").note == ""


def test_the_language_that_suits_a_reader_best_is_shown() -> None:
    gallery = gallery_of(default_locale="de")
    assert [gallery.nearest(each) for each in ("de-AT", "PT", "en", "xx", None)] == ["de", "pt-BR", "en", "de", "de"]


def test_an_item_without_a_link_has_no_mail() -> None:
    gallery = Gallery(parts_of(), {"item mug-1": [(Facts("mug-1", "{}"), Asked())]})
    assert gallery.shown("item mug-1", "en") == Shown(trouble="no itemUrl in request or event: give --item-url")


def test_what_is_broken_says_where_and_all_else_is_made(tmp_path: Path) -> None:
    (tmp_path / "confirm").mkdir()
    (tmp_path / "confirm" / "body.txt").write_text("Hello\n{{ confirm_ur }}\nBye")
    gallery = gallery_of(tmp_path)
    broken = gallery.shown("confirm, one item", "en")
    assert "confirm/body.txt: line 2: 'confirm_ur' is undefined; the nearest name is confirm_url" in broken.trouble
    assert [(line.number, line.text) for line in broken.lines if line.is_meant] == [(2, "{{ confirm_ur }}")]
    assert not gallery.shown("usual", "en").trouble
    with pytest.raises(Refused, match="line 2"):
        gallery.mail("confirm, one item", "en")
    assert [each.is_fault for each in gallery.inspection().findings] == [True]


def test_a_link_to_nowhere_keeps_no_change_from_being_seen(tmp_path: Path) -> None:
    (tmp_path / "gone.css").symlink_to("/nowhere/mail.css")
    shelf = Shelf(parts_of(tmp_path), {})
    _, version = shelf.now()
    (tmp_path / "new.css").touch()
    assert shelf.now()[1] != version


def test_a_change_is_seen_by_the_next_gallery(tmp_path: Path) -> None:
    shelf = Shelf(parts_of(tmp_path), {})
    before, version = shelf.now()
    assert shelf.now() == (before, version)
    (tmp_path / "back_in_stock").mkdir()
    (tmp_path / "back_in_stock" / "subject.txt").write_text("It is here!")
    after, changed = shelf.now()
    assert changed != version
    assert after.shown("usual", "en").subject == "It is here!"
    assert before.shown("usual", "en").subject != "It is here!"


def test_the_directory_of_the_files_is_named_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own").mkdir()
    monkeypatch.chdir(tmp_path)
    assert gallery_of(tmp_path / "own").place == "own"
    assert gallery_of(tmp_path.parent).place == str(tmp_path.parent)


def test_an_unknown_sample_is_refused_with_the_nearest() -> None:
    assert checked_sample("long name") == "long name"
    with pytest.raises(Refused, match=r"no sample 'lon name', but 'long name'\. All: '2 items', .*, 'wide picture'$"):
        checked_sample("lon name")
    with pytest.raises(Refused, match=r"no sample 'zzz'\. All: "):
        checked_sample("zzz")
