"""Renders small templates with Jinja in the environment that Transformers makes for chat templates.

    python make_jinja.py --repo .

Writes tests/goldens/jinja.json: per row the template, its context, and what was
rendered or the error. Needs jinja2 and transformers, no model.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import jinja2
import transformers
from transformers.utils.chat_template_utils import _compile_jinja_template

# Each is printed: "{{ ... }}".
EXPRESSIONS = [
    "'7'.zfill(3)", "'-7'.zfill(4)", "'+7'.zfill(4)", "''.zfill(2)", "'abc'.zfill(2)",
    "'é'.zfill(3)", "'--5'.zfill(5)", "'ab'.center(7)", "'ab'.center(7,'*')",
    "'abc'.center(6,'.')", "'abc'.center(2)", "''.center(3,'-')", "'a'.center(4,'xy')",
    "'ab'|center(7)", "'ab'|center", "'abc'|center(width=6)", "12|center(6)", "'ab'.ljust(4)~'|'",
    "'ab'.rjust(4,'0')", "'ab'.ljust(4,'ab')", "'abcdef'[::-1]", "'abcdef'[4:1:-1]",
    "'abcdef'[-3:-1]", "'abcdef'[:-2]", "'abcdef'[::2]", "'abcdef'[10:]", "'abcdef'[-10:3]",
    "'Zürich'[::-2]", "'abc'[5:1:-1]", "'abc'[None:None:None]", "'abc'[true:]", "'abc'[1:2:0]",
    "(1,2,3)[::-1]", "[1,2,3][-2:]", "range(5)[::-1]|list", "'a\\tb'.expandtabs()",
    "'a\\tb\\tc'.expandtabs(4)", "'abc'.isascii()", "'é'.isascii()", "''.isascii()",
    "'a1_'.isidentifier()", "'1a'.isidentifier()", "'class'.isidentifier()", "''.isidentifier()",
    "'ab c'.isprintable()", "'a\\n'.isprintable()", "''.isprintable()", "'Ab Cd'.istitle()",
    "'ab'.istitle()", "''.istitle()", "'A'.istitle()", "\"It's\".istitle()", "'²'.isdigit()",
    "'²'.isdecimal()", "'²'.isnumeric()", "'½'.isnumeric()", "'½'.isdigit()", "'٣'.isdecimal()",
    "'²'.isalnum()", "'½'.isalnum()", "'_'.isalnum()", "'{a} {b}'.format_map({'a':1,'b':2})",
    "'abab'.count('a',1)", "'abab'.count('b',0,2)", "'abab'.count('')", "'abab'.count('',1,3)",
    "'ABC'.casefold()", "'ß'.casefold()", "'Straße'.upper()", "'hello world'.capitalize()",
    "'hELLO'.swapcase()", "'ß'.swapcase()", "'a,b,c'.split(',',1)", "'a b  c'.split()",
    "'a,b'.split(',',maxsplit=-1)", "'a  b c'.rsplit(None,1)", "' a b '.split(' ')", "''.split()",
    "''.split(',')", "'a\\nb\\r\\nc'.splitlines()", "'a\\nb'.splitlines(true)",
    "'abc'.partition('b')", "'abc'.partition('x')", "'abcbd'.rpartition('b')",
    "'abc'.startswith(('x','a'))", "'abc'.startswith('b',1)", "'abc'.endswith('c',0,2)",
    "'abc'.find('c')", "'abc'.index('z')", "'abc'.rfind('a',1)", "'abc'.replace('b','')",
    "'aaa'.replace('a','b',2)", "'aaa'.replace('','-')", "'abc'.removeprefix('a')",
    "'abc'.removesuffix('c')", "'xxaxx'.strip('x')", "'-'.join(['a','b'])", "'-'.join('abc')",
    "'-'.join([1])", "'abc'.nosuch", "'abc'.nosuch()", "'%s-%d'%('a',3)", "'%05.1f'%2.25",
    "'%x'%255", "'{:>5}|{:<5}|{:^5}'.format('a','b','c')", "'{0}{1}{0}'.format('a','b')",
    "'{:,}'.format(1234567)", "'{:.2f}'.format(1.005)", "'{:05d}'.format(42)",
    "'{!r}'.format('a')", "'{:x}'.format(255)", "'{:%}'.format(0.5)",
    "'{a[k]}'.format(a={'k':1})", "[1,2,3,4,5]|slice(2)|list", "[1,2,3,4,5]|slice(3,'x')|list",
    "range(10)|slice(4)|list", "[]|slice(2)|list", "[1,2,3]|batch(2)|list",
    "[1,2,3]|batch(2,'x')|list", "'<b>hi</b> <!-- x -->there &amp; you'|striptags",
    "'a  b\\n c'|striptags", "13|filesizeformat", "1000|filesizeformat", "1234567|filesizeformat",
    "1234567|filesizeformat(true)", "1|filesizeformat", "'300'|filesizeformat",
    "0|filesizeformat", "1e12|filesizeformat", "{'class':'a','id':none,'x':1}|xmlattr",
    "{'a':'<'}|xmlattr(false)", "{}|xmlattr", "{'a b':1}|xmlattr", "'a b&c/d'|urlencode",
    "{'a':1,'b':'x y'}|urlencode", "[('a',1),('b','&')]|urlencode", "'é'|urlencode",
    "'foo bar baz qux'|truncate(9)", "'foo bar baz qux'|truncate(9,true)",
    "'foo bar baz qux'|truncate(11,false,'...',0)", "'foobar'|truncate(3)", "'a\\nb'|indent",
    "'a\\nb'|indent(2,true)", "'a\\n\\nb'|indent(2,blank=true)", "'a\\nb'|indent('> ')",
    "'x'|default('d')", "none|default('d')", "none|default('d',true)", "''|d('e',true)",
    "nope|default", "nope.x|default('d')", "['a','B','c']|sort",
    "['a','B','c']|sort(case_sensitive=true)", "[3,1,2]|sort(reverse=true)",
    "[{'a':{'b':2}},{'a':{'b':1}}]|sort(attribute='a.b')",
    "[{'a':1,'b':2},{'a':1,'b':1}]|sort(attribute='a,b')", "[1,1,2]|unique|list",
    "['a','A']|unique|list", "[1,2,3]|sum", "[{'a':1},{'a':2}]|sum(attribute='a')",
    "[1,2]|sum(start=10)", "[1,2,3]|min", "['b','A']|max", "[]|min", "{'b':1,'a':2}|dictsort",
    "{'b':1,'a':2}|dictsort(by='value')", "{'b':1,'a':2}|dictsort(reverse=true)",
    "{'b':1}|items|list", "{'a':1}|list", "[1,2,3]|reverse|list", "'abc'|reverse",
    "[1,2,3]|first", "[1,2,3]|last", "[]|first", "'abc'|first", "'abc'|last", "[1,[2]]|string",
    "'a'|upper", "'a b-c'|title", "\"it's o'neil\"|title", "'HELLO wORLD'|capitalize",
    "'  a '|trim", "'xax'|trim('x')", "[1,2]|join('-')", "[{'a':1}]|join(',',attribute='a')",
    "[1,'a']|join", "'abc'|list", "'abc'|length", "{'a':1}|length", "'a b'|wordcount",
    "42|string", "'3'|int", "'x'|int", "'x'|int(7)", "'0x1f'|int(base=16)", "'3.9'|int",
    "3.9|int", "'1e3'|int", "'abc'|float", "'1.5'|float", "'inf'|float", "true|int", "1|float",
    "-3|abs", "2.5|round", "3.14159|round(2)", "2.4|round(method='ceil')", "1234|round(-2)",
    "2.567|round(1,'floor')", "[1,2,3,4]|select('odd')|list", "[1,2,0]|select|list",
    "[1,2]|reject('even')|list", "[{'a':1},{'b':2}]|selectattr('a')|list",
    "[{'a':1},{'a':2}]|rejectattr('a','eq',1)|list",
    "[{'a':1},{}]|map(attribute='a',default=0)|list", "['a','b']|map('upper')|list",
    "[1,2]|map('string')|join", "[{'t':'a','v':1},{'t':'b','v':2},{'t':'a','v':3}]|groupby('t')",
    "[{'t':'a','v':1}]|groupby('t')|map(attribute='grouper')|list",
    "[{'t':'a','v':1}]|groupby('t')|map(attribute='list')|list", "'%s x'|format('a')",
    "'%(a)s'|format(a=1)", "'<'|escape", "'<'|e~'>'", "'<'|safe", "'a'|forceescape",
    "{'a':[1,2,none,true,1.5,'é\"']}|tojson", "{'b':1,'a':2}|tojson(sort_keys=true)",
    "{'a':1}|tojson(indent=2)", "'é'|tojson(ensure_ascii=true)",
    "[1,2]|tojson(separators=(',',':'))", "{1:2,none:3,true:4}|tojson", "(1,2)|tojson",
    "'</a>'|tojson", "{'a':1}|attr('a')", "'x'|replace('x','y')", "'aXa'|replace('a','b',1)",
    "'abc'|batch(2)|list", "1 is number", "true is number", "'a' is string", "[] is iterable",
    "{} is mapping", "1 is integer", "true is integer", "true is boolean", "1.0 is float",
    "none is none", "x is defined", "x is undefined", "'abc' is upper", "'ABC' is upper",
    "'abc' is lower", "4 is divisibleby 2", "3 is odd", "2 is even", "1 is in [1,2]",
    "'a' is in 'abc'", "1 is eq 1", "1 is ne 2", "1 is sameas 1", "true is sameas true",
    "[] is sequence", "'a' is sequence", "{} is sequence", "(1,) is sequence",
    "range(3) is sequence", "range is callable", "'upper' is filter", "'nosuch' is filter",
    "'odd' is test", "3 is gt 2", "3 is ge 3", "3 is lt 2", "3 is le 3", "3 is greaterthan 2",
    "3 is lessthan 2", "'a'|e is escaped", "1 is not none", "not 1 is none", "true is true",
    "1 is true", "false is false", "dict(a=1,b=2)", "dict([('a',1)],b=2)", "dict({'a':1})",
    "range(3)", "range(1,10,3)|list", "range(5,0,-2)|list", "dict.fromkeys(['a','b'],0)",
    "dict.fromkeys('ab')", "namespace(a=1).a", "{'a':1}.get('a')", "{'a':1}.get('b',2)",
    "{'a':1}.items()|list", "{'a':1}.keys()", "{'a':1}.values()|list", "{'a':1}.copy()",
    "{'a':1}.pop('a')", "[1,2,1].count(1)", "[1,2].index(2)", "[1,2,1].index(1,1)",
    "(1,2,1).index(2)", "(1,2,1).count(1)", "[1].copy()", "[3,1].sort()", "[1].append(2)",
    "range(5).index(3)", "range(5).count(3)", "'a' in {'a':1}", "1 in [1]", "'b' not in 'abc'",
    "{'a':1}|items|first", "{'a':1} == {'a':1.0}", "[1]+[2]", "(1,)+(2,)", "[1]*2", "'a'*3",
    "'a' ~ 1 ~ none", "1 < 2 < 3", "1 if false", "(1 if false) is undefined", "5 // 2", "-5 // 2",
    "-5 % 3", "5.5 // 2", "2**10", "2**-1", "2**0.5", "10/4", "1_000", "0x1F", "0b11", "0o17",
    "1e3", "1.5e-3", "-2**2", "not true", "true and 'x'", "'' or 'y'", "none or none", "1 == 1.0",
    "'1' == 1", "[1,2] < [1,3]", "(1,2) < (1,3)", "'a' < 'b'", "1 < 'a'", "none < 1", "true + 1",
    "{'a':{'b':[1,2]}}.a.b[1]", "{'a':1}['a']", "{'a':1}['b']", "[1,2][5]", "[1][-1]",
    "'abc'[-1]", "{'items':1}['items']", "(1.0).is_integer()", "(5).bit_length()", "1.0", "1e100",
    "123456789012345678", "0.1+0.2", "1e16", "1e15", "1.0e-5", "3.0|string",
    "100000000000000000000.0", "(1,)", "()", "[]", "{}", "none", "true", "'a\\'b'", "[\"a'b\"]",
    "['\\n\\t\\\\']", "['é\\x07']", "'a' 'b'", "{'a':1}|tojson|safe", "'%}'", "'a'|nosuch",
    "1 is nosuch", "super()", "self.x()", "cycler()", "caller()", "loop.index", "1|string|length",
    "'abc'.upper().lower()", "'a,b'.split(',')[1]", "[[1,2],[3]]|map('first')|list",
    "[[1,2],[3,4]]|sum(start=[])", "'a'.join(['x','y'])|upper", "'%s'%[1]", "'%s%%'%1",
    "'%r'%'a'", "'%5s|%-5s|'%('a','b')", "'%e'%12345.678", "'%g'%0.0001", "'%+d'%5",
    "'%(a)s'%{'a':1}", "'%d'%'x'", "'%s'%(1,2)", "'a' if 1 else 'b'", "[x for x in y]", "1;2",
    "{'a':1,}", "[1,]", "(1,2,)", "'a'is string", "1 is not odd", "1 is odd or 2 is odd",
    "2 is divisibleby(2)", "'x' is in(['x'])", "[] is defined", "none is defined",
    "none is mapping", "none is iterable", "nope is iterable", "nope|length", "nope.a",
    "nope['a']", "nope()", "nope+1", "'a'+nope", "nope~'a'", "nope==nope", "nope|upper",
    "nope|list", "nope|join", "not nope", "-nope", "nope in [1]", "1 in nope", "{}.a.b", "''.a.b",
    "{'a':1}.__class__", "''.__class__.__mro__", "[].__len__()", "{'_a':1}._a", "'x'._y",
    "'a\\u00e9\\x41\\101\\n'", "'\\q'", "\"\\\"\"", "'ab'.strip().title().swapcase()",
    "'abc' > 'abd'", "[none,true]|string", "{'a':none}|string",
    "{1:'a',2.5:'b',(1,2):'c',none:'d'}|string", "range(3)|string", "{'a':1}.items()|string",
    "{'a':1}.values()|string", "namespace(a=1)|string", "'a'|e|string", "['a'|e]|string",
    "[nope]|string", "[1.0,1e20,-0.0]|string", "self.nope()", "raise_exception('boom')",
]

TEMPLATES: list[tuple[str, dict[str, Any]]] = [
    ("{{ '{{' }}", {}),
    ("{% set c = cycler('a','b','c') %}{{ c.current }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.current }}{{ c.pos }}{{ c.items }}", {}),
    ("{% set c = cycler('odd','even') %}{% for i in range(3) %}{{ c.next() }},{% endfor %}", {}),
    ("{% set j = joiner('|') %}{% for i in range(3) %}{{ j() }}{{ i }}{% endfor %}", {}),
    ("{% set j = joiner() %}{{ j() }}{{ j() }}", {}),
    ("{% block a %}x{% endblock %}", {}),
    ("{% block a %}x{% endblock a %}{{ self.a() }}", {}),
    ("{% set v = 1 %}{% block a %}[{{ v }}]{% set v = 2 %}{{ v }}{% endblock %}{{ v }}", {}),
    ("{% for i in range(2) %}{% block a %}[{{ i }}]{% endblock %}{% endfor %}", {}),
    ("{% for i in range(2) %}{% block a scoped %}[{{ i }}]{% endblock %}{% endfor %}", {}),
    ("{% block a %}{% block b %}in{% endblock %}{% endblock %}{{ self.b() }}{{ self.a() }}", {}),
    ("{% block a required %}{% endblock %}", {}),
    ("{% block a required %}x{% endblock %}", {}),
    ("{% block a %}{% endblock %}{% block a %}{% endblock %}", {}),
    ("{{ x }}{% block a %}{{ x }}{% endblock %}", {'x': 'ctx'}),
    ("{% if true %}{% set v = 3 %}{% endif %}{% block a %}{{ v }}{% endblock %}", {}),
    ("{% for i in [1] %}{% set w = 3 %}{% block a %}[{{ w }}]{% endblock %}{% endfor %}", {}),
    ("{% for i in [1] %}{% block a %}{% break %}{% endblock %}{% endfor %}", {}),
    ("{% macro m() %}M{% endmacro %}{% block a %}{{ m() }}{% endblock %}", {}),
    ("{% macro m(x) %}{% block a scoped %}{{ x }}{% endblock %}{% endmacro %}{{ m(3) }}", {}),
    ("{% block a -%} x {%- endblock %}|", {}),
    ("{% block a %}{% endblock b %}", {}),
    ("{% block %}{% endblock %}", {}),
    ("{% block a %}x{% endblock %}{{ sel", {}),
    ("{% block a %}{{ super() }}{% endblock %}", {}),
    ("{% do 1 %}", {}),
    ("{% include 'x' %}", {}),
    ("{% extends 'x' %}", {}),
    ("{% import 'x' as y %}", {}),
    ("{% debug %}", {}),
    ("{% with %}{% set a=1 %}{{ a }}{% endwith %}{{ a }}", {}),
    ("{% with a=1, b=a %}{{ a }}{{ b }}{% endwith %}", {}),
    ("{% set a, b = 1, 2 %}{{ a }}{{ b }}", {}),
    ("{% set a = 1, 2 %}{{ a }}", {}),
    ("{% set ns = namespace() %}{% set ns.x = 1 %}{{ ns.x }}{{ ns.y is defined }}", {}),
    ("{% set ns = namespace(x=[]) %}{% for i in range(3) %}{% set ns.x = ns.x + [i] %}{% endfor %}{{ ns.x }}", {}),
    ("{% for a, b in [(1,2),(3,4)] %}{{ a }}{{ b }}{{ loop.cycle('x','y') }}{{ loop.changed(a) }}{% endfor %}", {}),
    ("{% for i in range(3) %}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.revindex0 }}{{ loop.depth }}{% else %}no{% endfor %}", {}),
    ("{% for k, v in {'a':1}.items() %}{{ k }}{{ v }}{% endfor %}{% for k in {'a':1} %}{{ k }}{% endfor %}", {}),
    ("{% for i in range(4) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}", {}),
    ("{% macro m(a, b=2, *args) %}{% endmacro %}", {}),
    ("{% macro m(a, b=2) %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, c=4) }}", {}),
    ("{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}", {}),
    ("{% macro m() %}{{ caller('x') }}{% endmacro %}{% call(y) m() %}<{{ y }}>{% endcall %}", {}),
    ("{% macro m(a) %}{{ m.name }}{{ m.arguments }}{{ m.catch_kwargs }}{{ m.caller }}{% endmacro %}{{ m() }}", {}),
    ("{% filter upper %}a{{ 'b' }}{% endfilter %}", {}),
    ("{% filter replace('a','b')|upper %}aa{% endfilter %}", {}),
    ("{% set x %}a{{ 1 }}{% endset %}{{ x }}{{ x is escaped }}", {}),
    ("{% raw %}{{ x }}{% endraw %}", {}),
    ("{#- c -#} x", {}),
    ("{%- if true -%} a {%- endif -%}\n", {}),
    ("{% if x is defined and x %}{{ x }}{% elif y %}y{% else %}n{% endif %}", {}),
    ("a\n{% if true %}\nb\n{% endif %}\nc\n", {}),
    ("  {% set a = 1 %}\n  x{{ a }}\n", {}),
    ("{{ 1 }}\n", {}),
    ("x\n\n", {}),
    ("{% for i in [1,[2,[3]]] recursive %}{% if i is iterable %}[{{ loop(i) }}]{% else %}{{ i }}{% endif %}{% endfor %}", {}),
    ("{% set x = {'a':1} %}{% set x.a = 2 %}", {}),
    ("{% for i in 5 %}{% endfor %}", {}),
    ("{% for i in none %}{% endfor %}", {}),
    ("{% for i in nope %}{% else %}e{% endfor %}", {}),
    ("{{ messages[0]['role'] }}{{ messages|length }}{{ messages[1:]|map(attribute='role')|join(',') }}", {'messages': [{'role': 'u'}, {'role': 'a'}]}),
    ("{{ x.y.z }}", {'x': {}}),
    ("{{ x['a']['b'] }}", {'x': {'a': {'b': 1}}}),
    ("{{ x.0 }}{{ x[0].a }}", {'x': [{'a': 5}]}),
    ("{{ '%.2f' | format(3.14159) }}{{ x | tojson(indent=4) }}", {'x': {'a': [1, {'b': []}], 'c': {}}}),
    ("{% set _ = namespace(a=1) %}{{ _.a }}", {}),
    ("{% for x in [1,2,3] if x > 1 %}{{ loop.index }}{{ x }}{{ loop.length }}{% endfor %}", {}),
    ("{% for x in [1,2] %}{{ x }}{{ loop.last }}{{ ', ' if not loop.last }}{% endfor %}", {}),
    ("{{ x|dictsort|tojson }}{{ x.items()|sort(attribute='1')|list }}", {'x': {'b': 1, 'a': 2}}),
]


def render(template: str, context: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"template": template, "context": context}
    try:
        row["rendered"] = _compile_jinja_template(template).render(**context)
    except Exception as error:  # whatever it is, the template is refused
        row["error"] = f"{type(error).__name__}: {error}"
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repo", type=Path, required=True)
    arguments = parser.parse_args()
    cases = [("{{ " + expression + " }}", {}) for expression in EXPRESSIONS] + TEMPLATES
    rows = ",\n".join(json.dumps(render(*case), ensure_ascii=False) for case in cases)
    versions = {"jinja2": jinja2.__version__, "transformers": transformers.__version__}
    text = f'{{"versions": {json.dumps(versions)}, "rows": [\n{rows}\n]}}\n'
    (arguments.repo / "tests/goldens/jinja.json").write_text(text)


if __name__ == "__main__":
    main()
