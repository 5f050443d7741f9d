"""Which templates may be rendered once for all recipients: those that only print the personal variables."""

from pathlib import Path

import pytest
from jinja2 import TemplateError, TemplateNotFound

from worker.mail.sources import Sources
from worker.mail.templates import Templates

TEMPLATES = Path(__file__).resolve().parents[3] / "templates"
URL = "{{ item_url }}"

FILES = {
    "part": f"<p>{URL}</p>",
    "shouted": "{{ item_url|upper }}",
    "layout": f"<b>{{% block content %}}{URL}{{% endblock %}}</b>",
    "loud_layout": "{% filter upper %}{% block content %}{% endblock %}{% endfilter %}",
    "buttons": "{% macro button(label, url='') %}<a href='{{ url }}'>{{ label }}</a>{% endmacro %}",
    "itself": "{% if price %}{% include 'itself' %}{% endif %}{{ item_url }}",
}

PRINTING = [
    "nothing at all",
    URL,
    "{{- item_url -}}",
    "{{ item_url }}{{ item_url }}",
    f"{{% if price %}}{URL}{{% elif item_name %}}{URL}{{% else %}}{URL}{{% endif %}}",
    f"{{% for label in options %}}{{{{ loop.index }}}}: {URL}{{% else %}}{URL}{{% endfor %}}",
    f"{{% with name = item_name %}}{{{{ name }}}}{URL}{{% endwith %}}",
    f"{{% block a %}}{URL}{{% endblock %}}",
    "{% if item_url %}{{ price }}{% endif %}",
    f"{{% if price %}}a{{% elif item_url %}}{URL}{{% endif %}}",
    "{% include 'part' %}",
    "{% include 'itself' %}",
    "{% if price %}{% include 'part' %}{% include 'part' %}{% endif %}",
    f"{{% extends 'layout' %}}{{% block content %}}{URL}{{% endblock %}}",
    "{% extends 'layout' %}{% block content %}{{ super() }}{% endblock %}",
    f"{{% from 'buttons' import button %}}{{{{ button('Go') }}}}{URL}",
    f"{{% import 'buttons' as buttons %}}{{{{ buttons.button('Go') }}}}{URL}",
    f"{{% filter upper %}}x{{% endfilter %}}{{% set a = price %}}{{{{ a|length }}}}{URL}",
    f"{{% raw %}}{URL}{{% endraw %}}",
]

DOING_MORE = [
    "{{ item_url|upper }}",
    "{{ item_url|e }}",
    "{{ item_url|safe }}",
    "{{ item_url.split('/')[2] }}",
    "{{ item_url[:20] }}",
    "{{ item_url ~ '' }}",
    "{{ item_url + '?from=mail' }}",
    "{{ [item_url]|join }}",
    "{{ item_url == 'x' }}",
    "{{ 'a' if item_url else 'b' }}",
    "{{ item_url or 'x' }}",
    "{% if item_url %}{{ item_url|upper }}{% endif %}",
    "{% if item_url %}a{% else %}{{ item_url|upper }}{% endif %}",
    "{% if not item_url %}a{% endif %}",
    "{% if price %}a{% elif 'x' in item_url %}b{% endif %}",
    "{% for letter in item_url %}{{ letter }}{% endfor %}",
    "{% for item_url in options %}{{ item_url }}{% endfor %}",
    "{% for a in options if a in item_url %}{{ a }}{% endfor %}",
    "{% set url = item_url %}{{ url|upper }}",
    "{% set item_url = price %}{{ item_url }}",
    f"{{% set text %}}{URL}{{% endset %}}{{{{ text|length }}}}",
    "{% with url = item_url %}{{ url|upper }}{% endwith %}",
    f"{{% filter upper %}}{URL}{{% endfilter %}}",
    f"{{% autoescape false %}}{URL}{{% endautoescape %}}",
    "{% macro m(url) %}{{ url|upper }}{% endmacro %}{{ m(item_url) }}",
    f"{{% macro m() %}}{URL}{{% endmacro %}}{{{{ m()|upper }}}}",
    f"{{% macro m() %}}{{{{ caller()|upper }}}}{{% endmacro %}}{{% call m() %}}{URL}{{% endcall %}}",
    f"{{% block a %}}{URL}{{% endblock %}}{{{{ self.a()|upper }}}}",
    "{% filter upper %}{% block a %}{% endblock %}{% endfilter %}",
    "{% extends 'layout' %}{% block content %}{{ super()|upper }}{% endblock %}",
    f"{{% extends 'loud_layout' %}}{{% block content %}}{URL}{{% endblock %}}",
    "{% filter upper %}{% include 'part' %}{% endfilter %}",
    "{% set text %}{% include 'part' %}{% endset %}{{ text|upper }}",
    "{% include 'shouted' %}",
    "{% include price %}",
    "{% include ['part', 'shouted'] %}",
    "{% extends item_url %}",
    "{% import 'part' as part with context %}{{ part|upper }}",
    "{% from 'part' import x with context %}",
    "{% from 'buttons' import button %}{{ button('Go', item_url) }}",
    f"{{% for a in [1, [2]] recursive %}}{URL}{{{{ loop(a)|upper if a is iterable }}}}{{% endfor %}}",
]


def only_prints(folder: Path, source: str, *, escape: bool = True) -> bool:
    for name, text in {**FILES, "mail": source}.items():
        (folder / name).write_text(text)
    return Templates(Sources(folder), escape=escape).only_prints("mail", {"item_url"})


@pytest.mark.parametrize("source", PRINTING)
def test_a_template_that_prints_may_have_blanks(tmp_path: Path, source: str) -> None:
    assert only_prints(tmp_path, source)
    assert only_prints(tmp_path, source, escape=False)


@pytest.mark.parametrize("source", DOING_MORE)
def test_a_template_that_could_do_anything_else_may_not(tmp_path: Path, source: str) -> None:
    assert not only_prints(tmp_path, source)


@pytest.mark.parametrize("file", ["subject.txt", "body.txt", "body.html"])
def test_the_shipped_ones_may(file: str) -> None:
    templates = Templates(Sources(TEMPLATES), escape=file.endswith("html"))
    assert templates.only_prints(f"back_in_stock/{file}", {"item_url"})


@pytest.mark.parametrize("source", ["{% include 'none' %}", "{% extends 'none' %}", "{% if %}"])
def test_what_is_missing_or_broken_is_jinjas_error(tmp_path: Path, source: str) -> None:
    with pytest.raises(TemplateError):
        only_prints(tmp_path, source)
    with pytest.raises(TemplateNotFound):
        Templates(Sources(tmp_path), escape=True).only_prints("none", {"item_url"})


def test_it_is_proven_of_what_was_compiled_whatever_the_file_says_now(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text(URL)
    templates = Templates(Sources(tmp_path), escape=False)
    templates.get_template("mail")
    (tmp_path / "mail").write_text("{{ item_url|upper }}")
    assert templates.only_prints("mail", {"item_url"})
    assert templates.get_template("mail").render(item_url="x") == "x"
