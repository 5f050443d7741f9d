"""Says why an event about one variant of an item is not about another one, in words for people. Pure."""

from worker.domain.catalog import VARIANT, Options


def options_words(options: Options) -> str:
    """Returns options as people read them: `Size="L", Color="Blue"`, or `no options`."""
    return ", ".join(f'{name}="{value}"' for name, value in options) or "no options"


def difference(wanted: Options, about: Options) -> str:
    """Returns in what way the options that people wait for differ from those of an event; "" if they do not.

    Differences in case and blanks only are told if there are no others.
    """
    said = {_folded(name): (name, value) for name, value in about}
    if VARIANT in said and (alone := [option for option in wanted if _folded(option[0]) == VARIANT]):
        wanted = tuple(alone)  # where both name a variantId, it alone decides
    unlike = [_unlike(name, value, said.get(_folded(name))) for name, value in wanted]
    real = [words for words, is_real in unlike if is_real]
    return "; ".join(real or [words for words, _ in unlike if words])


def _unlike(name: str, value: str, said: tuple[str, str] | None) -> tuple[str, bool]:
    """How an option differs from that of the event, and whether it does so in more than case and blanks."""
    if said is None:
        return f"the event does not name {name}", True
    if said == (name, value):
        return "", False
    if _folded(value) == _folded(said[1]):
        return f'{name}="{value}" is written {said[0]}="{said[1]}" in the event', False
    return f'they want {name}="{value}", the event says "{said[1]}"', True


def _folded(text: str) -> str:
    return "".join(text.split()).casefold()
