"""Which column or JSON field of an import file is which of ours, whatever the program or language that named it."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from worker.domain.errors import BadFile

COLUMNS: Final = (
    "email",
    "catalogItemId",
    "appId",
    "options",
    "itemUrl",
    "locale",
    "createdDate",
    "priority",
)
REQUIRED: Final = COLUMNS[:2]

STATUS: Final = "status"
"""Of an export: whether somebody still waits."""
TOLD: Final = "notifiedDate"
"""Of an export: when somebody was told."""
REFERENCE: Final = "catalogReference"
"""Of our own export and Wix's: an object with catalogItemId, appId and options."""
REFERENCE_FIELDS: Final = frozenset(COLUMNS[1:4])
OPTION: Final = "option."
"""A column `option.Size` holds the value of the option Size. In a row all of them together have this name."""
LEFT_OUT: Final = ""

VARIANT: Final = "variantId"
"""The option that names a variant by its id."""
_VARIANT_COLUMN: Final = f"{OPTION}{VARIANT}"

# What programs write, by what it means. Names are compared without case, accents, blanks and punctuation. A name that
# often means something else (`product` may be the product's name) is not here: it has to be said.
_SYNONYMS: Final[Mapping[str, str]] = {
    "email": """e-mail, mail, email address, mail address, customer email, customer email address, user email,
        subscriber email, subscriber, contact email, client email, billing email, account email, recipient,
        E-Mail-Adresse, Mailadresse, E-Mail des Kunden, Kunden-E-Mail, correo, correo electrónico, courriel,
        adresse e-mail, adresse email, adresse mail, adresse courriel, indirizzo email, indirizzo e-mail, e-mailadres,
        endereço de e-mail, email do cliente, adres e-mail, adres email, e-post, e-postadress, e-postadresse,
        e-mailadresse, sähköposti, почта, электронная почта, メールアドレス, メール, Eメール, 电子邮件, 邮箱, 電子郵件,
        이메일, e-posta""",
    "catalogItemId": """item id, sku, product id, product sku, item sku, id product, product number,
        item number, item no, product no, product code, item code, article number, article no, article id, prod id,
        Artikelnummer, Artikel-Nr, Art.-Nr., Artikel-ID, Produkt-ID, Produktnummer, Produkt-Nr, id producto,
        id de producto, id del producto, producto id, código de producto, référence, id produit, produit id,
        code produit, id prodotto, prodotto id, codice prodotto, codice articolo, id do produto, produto id,
        código do produto, productnummer, artikelcode, id produktu, produktid, артикул, id товара, 商品ID, 商品コード,
        商品番号, 商品编号, 상품번호, catalogReference.catalogItemId""",
    "appId": "app, catalog app id, catalogReference.appId",
    "options": """option, product options, item options, selected options, variant options, options json, Optionen,
        opciones, opzioni, catalogReference.options""",
    "itemUrl": """url, link, product url, product link, item link, permalink, page url, Produkt-URL, Produktlink,
        Artikel-URL, url du produit, url producto, url del producto, url prodotto""",
    "locale": """language, lang, language code, lang code, locale code, customer locale, customer language, Sprache,
        idioma, langue, lingua, taal, język, язык, 言語, 语言""",
    "createdDate": """created, created at, created on, created time, date, date created, date added, date add,
        add date, added, added at, added on, creation date, sign-up date, signup date, signed up at,
        subscribed at, subscribed on, subscription date, date subscribed, requested at, request date, timestamp, Datum,
        erstellt, erstellt am, angemeldet am, Anmeldedatum, fecha, fecha de creación, date de création,
        data creazione, дата, 日付, 登録日""",
    "priority": "",
    STATUS: "request status, subscription status, notification status",
    TOLD: """notified, notified at, notified on, notified date, notification date, notification sent,
        notification sent at, notification sent date, sent, sent at, sent on, sent date, send date, date sent,
        mailed at, mail sent, mail sent at, email sent, email sent at""",
    REFERENCE: "",
    _VARIANT_COLUMN: """variant id, variation id, product variant id, id product attribute, combination id,
        Varianten-ID, catalogReference.options.variantId""",
    # Of our own export. They say nothing about a new request.
    LEFT_OUT: """id, contact id, auto notified, attempts, failure code, failure reason, waiting, waiting until,
        not before""",
}
_OPTION_NAME: Final = re.compile(
    r"(?:catalogReference\.)?(?:options?|attributes?)(?:[.:](.+)|\[([^\]]+)\])"
    r"|(?:attribute_)?pa_(.+)|attribute_(.+)",  # as WooCommerce names them
    re.IGNORECASE,
)
# Names of columns that may say which variant is meant. To leave one of them out in silence would tell people about
# variants that they do not want.
_OPTION_LIKE: Final = re.compile(
    "option|variant|variation|attribut|merkmal|size|colou?r|grosse|farbe|taille|couleur|talla|taglia|tamanho"
)
# A column name that is safe to show in an error. Any other text may be a customer's data.
_NAME: Final = re.compile("[A-Za-z][A-Za-z_ ]{0,29}")

Naming = Callable[[str], str | None]
"""Returns our name for theirs: one of COLUMNS, STATUS, TOLD, REFERENCE, `option.NAME`, LEFT_OUT, or None: not known."""


def _folded(name: str) -> str:
    """Returns a name in the form in which names are compared: letters and digits only, without case and accents."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKD", name.casefold())))


_OURS: Final[Mapping[str, str]] = {
    _folded(theirs): ours for ours, names in _SYNONYMS.items() for theirs in (ours, *names.split(",")) if theirs.strip()
}


def naming(said: Mapping[str, str], unmet: set[str]) -> Naming:
    """Returns the naming of one file. `said` maps their names to ours, and is stronger than what is known.

    Names of `said` that the file turns out to have are taken out of `unmet`. Raises BadFile if `said` names something
    that we do not have.
    """
    mapped = {_folded(theirs) or theirs: _target(ours) for theirs, ours in said.items()}
    spelled = {_folded(theirs) or theirs: theirs for theirs in said}

    @lru_cache(maxsize=1000)
    def ours_of(theirs: str) -> str | None:
        folded = _folded(theirs)
        if folded in mapped:
            unmet.discard(spelled[folded])
            return mapped[folded]
        if folded in _OURS:
            return _OURS[folded]
        return _option(theirs)

    return ours_of


def check_said(said: Iterable[str], header: Sequence[str]) -> None:
    """Raises BadFile if the user named a column that the file does not have."""
    present = set(map(_folded, header))
    for theirs in said:
        if _folded(theirs) not in present:
            raise BadFile(f"--map names a column that the file does not have: {theirs}")


def _target(ours: str) -> str:
    """Returns the name of ours that the user means."""
    if ours.strip() == LEFT_OUT:
        return LEFT_OUT
    found = next((name for name in (*COLUMNS, STATUS, TOLD) if _folded(name) == _folded(ours)), None) or _option(ours)
    if found is None:
        raise BadFile(f"--map must name one of {', '.join(COLUMNS)}, {STATUS}, {TOLD}, or {OPTION}NAME, or nothing")
    return found


def _option(name: str) -> str | None:
    found = _OPTION_NAME.fullmatch(name.strip())
    option = next(filter(None, found.groups()), "").strip() if found else ""
    return f"{OPTION}{option}" if option else None


def columns_of(header: Sequence[str], ours_of: Naming, line: int) -> Sequence[str]:
    """Returns our name of each column. Columns without a name, and those that are not known, are left out.

    Raises BadFile if a required column is missing, if two columns mean the same, or if one that is not known may be an
    option.
    """
    known = [ours_of(name) if name else LEFT_OUT for name in header]
    for name in REQUIRED:
        if name not in known:
            raise BadFile(_missing(name, header, known, line))
    for ours in dict.fromkeys(filter(None, known)):
        _choose(ours, header, known, line)
    if "options" not in known and not any(ours and ours.startswith(OPTION) for ours in known):
        _check_left_out(header, known, line)
    return [ours or LEFT_OUT for ours in known]


def _missing(name: str, header: Sequence[str], known: Sequence[str | None], line: int) -> str:
    if None not in known:
        return f"line {line}: column {name} is missing"
    place = known.index(None)
    return (
        f"line {line}: unknown column {place + 1}{shown(header[place])}; the columns may be {', '.join(COLUMNS)}, "
        f"and --map tells which is which"
    )


def _choose(ours: str, header: Sequence[str], known: list[str | None], line: int) -> None:
    """Of several columns with one meaning the one with our own name counts."""
    places = [place for place, name in enumerate(known) if name == ours]
    if len(places) == 1:
        return
    exact = [place for place in places if header[place] == ours]
    if len(exact) > 1 or not exact:
        named = " and ".join(f"{place + 1}{shown(header[place])}" for place in places)
        what = f"column {ours} is there twice" if exact else f"columns {named} may both be {ours}; choose with --map"
        raise BadFile(f"line {line}: {what}")
    for place in set(places) - set(exact):
        known[place] = None


def _check_left_out(header: Sequence[str], known: Sequence[str | None], line: int) -> None:
    for place, name in enumerate(header):
        if known[place] is None and may_be_option(name):
            raise BadFile(
                f"line {line}: column {place + 1}{shown(name)} may be an option; say --map THEIRS={OPTION}NAME, or "
                f"--map THEIRS= to leave it out"
            )


def may_be_option(name: str) -> bool:
    """Whether a name that is not known may be that of an option."""
    return _OPTION_LIKE.search(_folded(name)) is not None


def shown(name: str) -> str:
    """Returns a foreign name for an error text, in parentheses, or nothing if it may be a customer's data."""
    return f" ({name})" if _NAME.fullmatch(name) else ""
