import html
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evokd.data.repair import fix_mojibake, put_right, repair, strip_markup


def test_joiners_that_spelling_needs_stay():
    assert repair("می\u200cخواهم") == "می\u200cخواهم"
    assert repair("👩\u200d🔬") == "👩\u200d🔬"


@given(st.text())
def test_repair_is_idempotent_and_normal(text):
    repaired = repair(text)
    assert repair(repaired) == repaired
    assert unicodedata.is_normalized("NFC", repaired)
    assert len(repaired.splitlines()) <= 1
    assert "  " not in repaired


@pytest.mark.parametrize(
    ("text", "stripped"),
    [
        ("a <b>big</b> dog", "a big dog"),
        ("un<i>believ</i>able", "unbelievable"),
        ('press <g id="1">OK</g> <x id="2"/>now', "press OK now"),
        ("one<br>two<br/>three", "one two three"),
        ("<p>one</p><p>two</p>", " one  two "),
        ("<A HREF='http://x.org/?a=1'>here</A>", "here"),
        ("a<!-- not\nthis -->b", "ab"),
        ("<![CDATA[text]]>", "text"),
        ("5 &lt; 6 &amp;&amp; 7 &gt; 6", "5 < 6 && 7 > 6"),
        ("&lt;b&gt;bold&lt;/b&gt; &amp;quot;x&amp;quot;", 'bold "x"'),
        ("caf&eacute; &#8211; &#x20AC;5", "café – €5"),
        # not mark-up
        ("a < b and c > d", "a < b and c > d"),
        ("if x <y and z> w", "if x <y and z> w"),
        ("<name>, you have <count> messages", "<name>, you have <count> messages"),
        ("AT&T; Q&A; R&D", "AT&T; Q&A; R&D"),
        ("I <3 you", "I <3 you"),
    ],
)
def test_markup_by_hand(text, stripped):
    assert strip_markup(text) == stripped


@given(st.text(alphabet="aé<>&\"' "))
def test_what_was_escaped_comes_back(text):
    assert html.unescape(html.escape(text)) == text
    if strip_markup(text) == text:
        assert strip_markup(html.escape(text)) == text


@pytest.mark.parametrize("text", ["Der Zug fährt ab.", "příliš žluťoučký kůň", "«Où est-il ?»"])
def test_mojibake_becomes_what_it_was(text):
    assert fix_mojibake(text) == text
    assert fix_mojibake(text.encode().decode("latin1")) == text


def test_steps_that_change_nothing_are_not_named():
    assert put_right("A dog.", []) == ("A dog.", [])
    assert put_right(" A&nbsp;dog.", []) == ("A dog.", ["markup", "characters"])
    assert put_right(" A&nbsp;dog.", ["markup"]) == ("A&nbsp;dog.", ["characters"])
