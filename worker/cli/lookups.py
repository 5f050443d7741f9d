"""The options of `doctor --dns`: whom to ask, and about which keys."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:
    from worker.dns_records import Dns
    from worker.processes.bootstrap import Parts
    from worker.services.doctor import Finding

_SELECTOR: Final = re.compile(r"(?:[A-Za-z0-9_-]{1,63}\.){0,3}[A-Za-z0-9_-]{1,63}")


@dataclass(frozen=True)
class Lookup:
    """What is looked up, and where."""

    selectors: Sequence[str]
    dns: "Dns"

    def findings(self, parts: "Parts") -> "Iterator[Finding]":
        """Yields what the DNS says of our sender."""
        from worker.services.dns_checks import Domains, examine
        from worker.services.doctor import Finding

        sender, path = parts.settings.mail_from, parts.settings.bounce_address
        if sender is None:
            yield Finding("dns", None, "not checked: MAIL_FROM is not set")
            return
        domain = path.with_token("").rpartition("@")[2] if path else sender.domain
        yield from examine(self.dns, Domains(sender.domain, domain, self.selectors))


def lookup_of(selectors: Sequence[str], name_server: str | None) -> Lookup:
    """Returns what the options ask for. Raises BadParameter."""
    from worker.dns_records import Dns, parse_name_server

    if not all(_SELECTOR.fullmatch(selector) for selector in selectors):
        raise typer.BadParameter("a selector is a name like s1, without the domain", param_hint="--dkim-selector")
    try:
        return Lookup(selectors, Dns(parse_name_server(name_server) if name_server else None))
    except ValueError as wrong:
        raise typer.BadParameter(f"a DNS server {wrong}", param_hint="--name-server") from None
