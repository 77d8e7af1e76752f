"""Documents: what a translator is given of them, and that what comes out is whole, whatever it
answers."""

import html.parser
import json
import re

import polib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from evokd.data.documents import FORMS, read_document
from evokd.data.documents.masking import restored, variants
from evokd.data.documents.numbers import missing_numbers
from evokd.data.documents.pieces import flatten, visible, with_tags
from evokd.data.documents.sentences import STRETCH, cut
from evokd.errors import InputError


def words(text):
    return len(text.split())


def document(text, form="text", source="en", longest=99, **options):
    return read_document(text, form, source, words, longest, **options)


def translated(text, form, translate, **options):
    made = document(text, form, **options)
    return made.written([translate(one) for one in made.segments])


PAGE = """<!DOCTYPE html>
<html lang="en"><head>
<title>Mice &amp; men</title>
<meta name="description" content='A "page" of 3 mice'><meta name="keywords" content="mice">
<style>p { color: red }</style></head>
<body class=plain>
  <p>Mice &lt;small&gt; eat <b title="A hint">much
    cheese</b>&nbsp;and <code>x &lt; y</code> too.<br>
  Next&eacute; <img src=a.png alt="A mouse"> line</p>
<!-- Not this --><script>if (a < b) document.write("<p>No</p>")</script>
<pre>Left  as
it is</pre><textarea placeholder=Name>kept</textarea>
<p translate="no">Evokd <b>GmbH</b></p><p>By <span class="notranslate">Evokd</span> itself
<ul><li><a href="?a=1&b=2">Home</a><li>12</ul>
</body></html>
"""
XLIFF_1 = """<?xml version="1.0" encoding="utf-8"?>
<!-- kept -->
<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2" xmlns:my="urn:my">
  <file source-language="en" datatype="plaintext" original="a.html">
    <body>
      <trans-unit id="1" my:note="x">
        <source>Press <g id="1">this <x id="2"/> key</g> for
 <bpt id="3">&lt;i&gt;</bpt>{count}<ept id="3">&lt;/i&gt;</ept> mice &amp;
 <![CDATA[<men>]]></source>
        <note>For mice</note>
      </trans-unit>
      <trans-unit id="2" translate="no"><source>Evokd</source></trans-unit>
      <trans-unit id="3"><source>Done</source><target>Fertig</target></trans-unit>
      <group translate="no"><trans-unit id="4"><source>Nor this</source></trans-unit></group>
      <trans-unit id="5"><source>Again</source><target state="new">Again</target></trans-unit>
      <trans-unit id="6" approved="yes"><source>Blank</source><target/></trans-unit>
    </body>
  </file>
</xliff>
<!-- behind -->
"""
XLIFF_2 = """<xliff version="2.1" xmlns="urn:oasis:names:tc:xliff:document:2.0" srcLang="en">
<file id="f"><unit id="u"><segment id="s"><source>A <pc id="1">big <ph id="2"/> cat</pc> of
 <mrk id="3" translate="no">Evokd</mrk>.</source></segment><ignorable><source> </source></ignorable>
<segment state="final"><source>Yes</source><target>Ja</target></segment></unit></file></xliff>
"""
CATALOGUE = """# A comment of the translator's
msgid ""
msgstr ""
"Project-Id-Version: mice\\n"
"Language: de\\n"
"Content-Type: text/plain; charset=UTF-8\\n"
"Plural-Forms: nplurals=3; plural=(n==1 ? 0 : n<5 ? 1 : 2);\\n"

#. from the code
#: mice.c:3
#, c-format
msgctxt "menu"
msgid "Feed %s with <b>%d</b> cheeses\\n"
msgstr ""

msgid "one mouse"
msgid_plural "%d mice"
msgstr[0] ""
msgstr[1] ""
msgstr[2] ""

#, fuzzy
msgid "Old guess"
msgstr "Alter Tipp"

msgid "%s: %d"
msgstr ""

#~ msgid "gone"
#~ msgstr "weg"
"""
LINES = """Hello {name}, you have %d new <b>mails</b>.

\tIndented by a tab, at https://example.org/a?b=c.  \r
One. Two!
12
"""
TABLE = 'id\ttext\n1\tHi <b>you</b>\tkept\r\n2\t\t\n3\t"quoted" text\n'
OBJECTS = """{"id": 1.0, "text": "First {x}\\nand \\u00e9", "more": {"text": "no"}, "text2": [1, 2]}

{ "text" :"Second \\"one\\"" ,"é":null}
"""
EACH = {
    "text": LINES,
    "tsv": TABLE,
    "jsonl": OBJECTS,
    "html": PAGE,
    "xliff": XLIFF_1,
    "po": CATALOGUE,
}
OPTIONS = {"tsv": {"column": 2}}


def test_every_format_is_tried_here():
    assert set(EACH) == set(FORMS)


@pytest.mark.parametrize("form", ["text", "tsv", "jsonl", "html"])
@pytest.mark.parametrize("longest", [1, 99])
def test_a_translator_that_changes_nothing_gives_back_every_byte(form, longest):
    options = OPTIONS.get(form, {}) | {"longest": longest}
    written = translated(EACH[form], form, lambda one: one, **options)
    assert written.text == EACH[form]
    assert written.lost == []


def test_lines_are_given_as_they_are():
    assert document(LINES).segments == [
        *(
            "Hello {name}, you have %d new mails.",
            "Hello (701), you have (702) new (703) mails (704).",
        ),
        *("", "Indented by a tab, at https://example.org/a?b=c.", "Indented by a tab, at (701)."),
        *("One. Two!", "12"),
    ]
    loud = translated(LINES, "text", str.upper)
    assert loud.text == (
        "HELLO {name}, YOU HAVE %d NEW <b>MAILS</b>.\n\n"
        "\tINDENTED BY A TAB, AT https://example.org/a?b=c.  \r\nONE. TWO!\n12\n"
    )
    assert document("", "text").segments == []
    assert translated("no end", "text", str.upper).text == "NO END"


def test_a_page_keeps_all_but_its_text():
    written = translated(PAGE, "html", str.upper)
    expected = PAGE
    for old, new in {
        "Mice &amp; men": "MICE &amp; MEN",
        "content='A \"page\" of 3 mice'": 'content="A &quot;PAGE&quot; OF 3 MICE"',
        'Mice &lt;small&gt; eat <b title="A hint">much\n    cheese</b>&nbsp;and <code>': (
            'MICE &lt;SMALL&gt; EAT <b title="A HINT">MUCH CHEESE</b> AND <code>'
        ),
        "</code> too.": "</code> TOO.",
        'Next&eacute; <img src=a.png alt="A mouse"> line': (
            'NEXTÉ <img src=a.png alt="A MOUSE"> LINE'
        ),
        "placeholder=Name": 'placeholder="NAME"',
        '<p>By <span class="notranslate">Evokd</span> itself': (
            '<p>BY <span class="notranslate">Evokd</span> ITSELF'
        ),
        ">Home<": ">HOME<",
    }.items():
        assert expected.count(old) == 1
        expected = expected.replace(old, new)
    assert written.text == expected
    assert written.lost == []


@pytest.mark.parametrize("page", ["<p>a</p>\n" + "<a " * 30, "\n" + "<!-- " * 30, "<b c='" * 30])
def test_a_page_of_tags_that_dont_end_is_refused_or_left(page):
    """Refused, where html.parser looks at each of them; new ones take the first as the last."""
    try:
        found = translated(page, "html", lambda one: one).text
    except InputError as error:
        found = str(error)
    line = 1 + page.count("\n")
    assert found == page or f":{line} has a tag or comment that doesn't end" in found


def test_what_only_looks_like_tags_is_no_reason_to_refuse_a_page():
    for page in ("<script>" + "a<b && " * 99 + "</script>", "3 < 4 <" * 99, "<!-- <b -->" * 99):
        assert translated(page, "html", lambda one: one).text == page
    page = "<p><![if !lists]>One<![endif]> and <![other]>two</p>"
    assert translated(page, "html", str.upper).text == page.replace("One", "ONE").replace(
        " and ", " AND "
    ).replace("two", "TWO")


def xml(text):
    return etree.fromstring(text.encode())


def targets(text):
    """{id: (target as XML, its attributes)}"""
    found = {}
    for one in xml(text).iter("{*}target"):
        attributes = dict(one.attrib)
        inner = etree.tostring(one, encoding="unicode", with_tail=False)
        inner = re.sub(r' xmlns(:\w+)?="[^"]*"', "", inner)
        found[one.getparent().get("id")] = (
            re.sub(r"^<target[^>]*?/?>|</target>$", "", inner),
            attributes,
        )
    return found


def test_xliff_gets_targets_that_wait_for_a_review():
    written = translated(XLIFF_1, "xliff", str.upper, target="de")
    new = {"state": "needs-review-translation", "state-qualifier": "leveraged-mt"}
    assert targets(written.text) == {
        "1": (
            'PRESS <g id="1">THIS <x id="2"/> KEY</g> FOR <bpt id="3">&lt;i&gt;</bpt>{count}'
            '<ept id="3">&lt;/i&gt;</ept> MICE &amp;\n &lt;men&gt;',
            new,
        ),
        "3": ("Fertig", {}),
        "5": ("AGAIN", new),
        "6": ("", {}),
    }
    assert written.lost == []
    assert xml(written.text).find("{*}file").get("target-language") == "de"
    without = re.sub(
        r' target-language="de"| state(-qualifier)?="[^"]*"|(?s:\n *<target .*?</target>)',
        "",
        written.text,
    )
    before = re.sub(r' state="new"|\n *<target .*</target>', "", XLIFF_1)
    start = '<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2" xmlns:my="urn:my">'
    assert (
        re.sub("<xliff[^>]*>", start, without).replace("<target>AGAIN", "<target>Again") == before
    )


def test_markup_that_is_written_out_in_xliff_is_no_text():
    source = "Click &lt;a href='x'&gt;here&lt;/a&gt;<x id='1'/> now"
    text = XLIFF_2[: XLIFF_2.index("<unit")] + (
        f'<unit id="1"><segment><source>{source.replace("<x id=", "<ph id=")}</source></segment>'
        "</unit></file></xliff>"
    )
    written = translated(text, "xliff", str.upper, target="de")
    target = xml(written.text).find(".//{*}target")
    assert "".join(target.itertext()) == "CLICK <a href='x'>HERE</a> NOW"
    assert [child.get("id") for child in target] == ["1"]
    gone = translated(text, "xliff", lambda _: "weg", target="de")
    assert [one.what for one in gone.lost if one.kind == "tag"][:2] == ["<a href='x'>", "</a>"]


def test_xliff_2_says_that_a_segment_is_translated():
    written = translated(XLIFF_2, "xliff", str.upper, target="de")
    root = xml(written.text)
    assert root.get("trgLang") == "de"
    first, second = root.iter("{*}segment")
    assert (first.get("state"), second.get("state")) == ("translated", "final")
    target = etree.tostring(first.find("{*}target"), encoding="unicode", with_tail=False)
    assert re.sub(r' xmlns="[^"]*"', "", target) == (
        '<target>A <pc id="1">BIG <ph id="2"/> CAT</pc> OF '
        '<mrk id="3" translate="no">Evokd</mrk>.</target>'
    )
    assert second.find("{*}target").text == "Ja"
    assert translated(XLIFF_2, "xliff", lambda one: one).text.count("<target>") == 2


def test_a_catalogue_gets_fuzzy_messages():
    written = translated(CATALOGUE, "po", str.upper, target="de")
    before, after = polib.pofile(CATALOGUE), polib.pofile(written.text)
    assert before.metadata == after.metadata
    assert [e.msgid for e in before] == [e.msgid for e in after]
    feed, mice, guess, bare, gone = after
    assert (feed.msgstr, feed.flags) == (
        "FEED %s WITH <b>%d</b> CHEESES\n",
        ["fuzzy", "c-format"],
    )
    assert (feed.msgctxt, feed.comment, feed.occurrences) == (
        *("menu", "from the code"),
        [("mice.c", "3")],
    )
    assert mice.msgstr_plural == {0: "ONE MOUSE", 1: "%d MICE", 2: "%d MICE"}
    assert (guess.msgstr, bare.msgstr, gone.msgstr) == ("Alter Tipp", "%s: %d", "weg")
    assert gone.obsolete
    one_form = CATALOGUE.replace("nplurals=3", "nplurals=1")
    one_form = one_form.replace('msgstr[1] ""\nmsgstr[2] ""\n', "")
    after = polib.pofile(translated(one_form, "po", str.upper).text)
    assert after[1].msgstr_plural == {0: "%d MICE"}
    template = CATALOGUE.replace("Language: de", "Language: ").replace("nplurals=3", "nplurals=N")
    assert polib.pofile(translated(template, "po", str.upper, target="cs").text)[1].fuzzy


@pytest.mark.parametrize(
    ("form", "text", "found"),
    [
        ("tsv", "a\tb\nc\n", ":2 has 1 column"),
        ("jsonl", '{"text": "a"}\n{"text": ', ":2 is no JSON"),
        ("jsonl", '{"text": "a"}\n\n["text"]', ":3 is a list"),
        ("jsonl", '{"txt": "a"}', "under: txt"),
        ("jsonl", '{"text": 3}', ":1 has no text"),
        ("xliff", "<xliff>\n<a></b></xliff>", ":2 is broken XML"),
        ("xliff", "<html/>", "no XLIFF"),
        ("xliff", '<!DOCTYPE x [\n<!ENTITY a "aaa">]><x>&a;</x>', ":2 defines an entity"),
        ("xliff", XLIFF_2.replace("srcLang", 'trgLang="fr" srcLang'), ":1 is translated into fr"),
        ("po", 'msgid "a"\nmsgstr "', ":2 is no line"),
        ("po", 'msgstr "a"\nmsgid "b"\nmsgid "c"\n', "no gettext catalogue"),
        ("po", CATALOGUE.replace("Language: de", "Language: fr"), "into fr, not de"),
        ("docx", "", "format 'docx' is unknown"),
    ],
)
def test_what_is_broken_is_named(form, text, found):
    with pytest.raises(InputError, match=re.escape(found)):
        document(text, form, target="de", column=2 if form == "tsv" else 1)


def test_a_file_outside_is_never_read(tmp_path):
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "in.po").write_text(CATALOGUE)
    outside = f'<!DOCTYPE xliff SYSTEM "{tmp_path}/secret">\n{XLIFF_2}'
    assert "secret" not in translated(outside, "xliff", str.upper).text.split("\n", 1)[1]
    with pytest.raises(InputError, match="no line of a gettext catalogue"):
        document(str(tmp_path / "in.po"), "po")


def test_lines_that_are_too_long_are_cut_where_sentences_end():
    text = 'Dr. Smith paid $3.50. "Was it good?"  he asked. On some Monday, e.g., it was fine\n'
    made = document(text, longest=5)
    assert made.segments == [
        *("Dr. Smith paid $3.50.", '"Was it good?"  he asked.'),
        *("On some Monday,", "e.g., it was fine"),
    ]
    assert made.written([one.upper() for one in made.segments]).text == text.upper()
    assert document(text, longest=99).segments == [text.strip()]
    assert document("one two three four", longest=2).segments == ["one two", "three four"]
    assert read_document("abcdef", "text", "en", len, 3).segments == ["abc", "def"]
    made = read_document("你好。我是学生！", "text", "zh", len, 5, target="en")
    assert made.written(["Hello.", "I am a student!"]).text == "Hello. I am a student!"
    made = read_document("Hello. I am a student!", "text", "en", words, 4, target="zh")
    assert made.written(["你好。", "我是学生！"]).text == "你好。我是学生！"


def test_paragraphs_are_given_sentence_by_sentence():
    page = "<p><b>One is</b> here. Two <i>are\n there. All</i> three.</p>"
    made = document(page, "html")
    assert [one for one in made.segments if "(70" not in one] == [
        *("One is here.", "Two are there.", "All three."),
    ]
    answers = {"One is here.": "Eins ist hier.", "Two are there.": "Zwei sind da."}
    written = made.written([answers.get(one, one.upper()) for one in made.segments])
    assert written.text == "<p><b>ONE IS</b> HERE. TWO <i>ARE THERE. ALL</i> THREE.</p>"
    written = made.written([answers.get(one, "Alle drei.") for one in made.segments])
    assert written.text == "<p><b>Eins ist</b> hier. Zwei <i>sind da. Alle</i> drei.</p>"
    assert [one.what for one in written.lost] == ["<b>", "</b>", "<i>", "</i>"]
    assert document("One. Two.\n").segments == ["One. Two."]
    assert document("One. Two.\n", "tsv").segments == ["One. Two."]


def test_sentences_of_a_long_text_are_those_of_a_short_one():
    for language, sentence in (("zh", "这是一句话。"), ("en", "A man, e.g. this one, is out. ")):
        text = sentence * (3 * STRETCH // len(sentence))
        found = cut(text, [], language, lambda one: True, is_line=False)
        assert [one.strip() for one in found] == [sentence.strip()] * text.count(sentence)


@settings(deadline=None)
@given(
    st.text(st.sampled_from("ab .,!?…。、\t<>/&{}%s" + chr(0xF0000)), max_size=80),
    st.integers(1, 9),
    st.sampled_from(["en", "de", "zh", "th"]),
)
def test_parts_are_the_text_and_short_enough(text, longest, language):
    flat, pieces = flatten(with_tags(text))
    parts = cut(flat, pieces, language, lambda one: len(one) <= longest)
    assert "".join(parts) == flat
    for part in parts:
        assert len(part) == 1 or len(visible(part, pieces).strip()) <= longest


def test_numbers_are_compared_by_their_digits():
    for source, translation, missing in [
        ("In 1,000.5 cases", "In 1.000,5 Fällen", []),
        ("1 000 mice", "1.000 Mäuse", []),
        ("12 mice and 12 men", "12 Mäuse", ["12"]),
        ("on 03/04/2021", "am 4. März 2021", []),
        ("on 03/24/2021", "am 24. März", ["2021"]),
        ("2021-03-24", "24.03.2021", []),
        ("room 007", "Zimmer 7", []),
        ("٣٤ mice", "34 Mäuse", []),
        ("v1.2.3 has 5", "v1.2.3 hat fünf", ["5"]),
    ]:
        assert missing_numbers(source, translation) == missing, source


PLACEHOLDERS = """
{name} {0} {} {{x}} ${x} #{x} %{x} %s %d %1$s %-5.2f %lu %(count)05d %05.1f %(n)s %@ %%
%1 {price:.2f} {x!r} {n,number} $t(key) $HOME &nbsp; &#8217; https://example.org/a?b=1&c=d
www.example.org/x me@x.org
"""


@pytest.mark.parametrize("text", PLACEHOLDERS.split())
def test_placeholders_are_seen(text):
    flat, pieces = flatten([f"Take {text} now, {text}."])
    assert [one.text for one in pieces] == [text, text]
    assert len(flat) == len("Take x now, x.")


@pytest.mark.parametrize(
    "text",
    ["50 % of it", "100% sure", "5 %, or $5", "a {b c} d", "at & t;", "50% discount", "a <b c> d"],
)
def test_plain_text_has_none(text):
    assert flatten(with_tags(text)) == (text, [])


def test_of_two_answers_the_one_with_every_piece_is_taken():
    flat, pieces = flatten(with_tags("Press <b>the {key}</b> now"))
    assert variants(flat, pieces) == ["Press the {key} now", "Press (701) the (702) (703) now"]

    def made(bare, masked):
        found, lost = restored(flat, pieces, [bare, masked])
        for number, piece in enumerate(pieces):
            assert found.count(chr(0xF0000 + number)) == 1
            found = found.replace(chr(0xF0000 + number), piece.text)
        return found, [one.text for one in lost]

    # Tags nest, placeholders may be in any order; spaces as they were in the source.
    assert made("", "Jetzt (701) den (702) (703) drücken") == ("Jetzt <b>den {key}</b> drücken", [])
    assert made("", "(702) (701) jetzt (703).") == ("{key} <b>jetzt</b>.", [])
    # Twice, missing, invented, crossed: the bare one, and tags at the same share of its words.
    for bad in (
        "(701) (701) (702) (703)",
        "(701) (702)",
        "(701) (702) (703) (704)",
        "(703) (702) (701)",
        "",
    ):
        assert made("Taste {key} nun mal drücken", bad) == (
            "Taste <b>{key} nun mal</b> drücken",
            ["<b>", "</b>"],
        )
    assert made("Nun diese Taste drücken", "") == (
        "Nun <b>diese {key} Taste</b> drücken",
        ["<b>", "{key}", "</b>"],
    )
    assert made("{key} {key} drücken", "") == ("<b>{key} drücken</b>", ["<b>", "</b>"])
    assert made("", "") == ("<b>{key}</b>", ["<b>", "{key}", "</b>"])


def test_masks_that_make_a_text_too_long_are_left_out():
    """A model would cut off what stands behind them, and nobody would see."""
    line = "<b>one</b> two three four"
    assert document(line, longest=6).segments == [
        "one two three four",
        "(701) one (702) two three four",
    ]
    made = document(line, longest=5)
    assert made.segments == ["one two three four"]
    assert made.written(["Eins zwei drei vier"]).text == "<b>Eins</b> zwei drei vier"


def test_a_number_of_the_text_is_never_a_mask():
    flat, pieces = flatten(["Room (701) of %s, not 703"])
    assert variants(flat, pieces)[1] == "Room (701) of (702), not 703"
    found, lost = restored(flat, pieces, ["Raum", "Raum (701) von (702), nicht 703"])
    assert (visible(found, pieces), lost) == ("Raum (701) von %s, nicht 703", [])
    found, lost = restored(flat, pieces, ["Raum 701", "Raum 701 von (702), (704)"])
    assert (visible(found, pieces), lost) == ("Raum %s 701", pieces)


def test_placeholders_alone_are_taken_as_they_came():
    flat, pieces = flatten(["%s of %s in {place}"])
    assert restored(flat, pieces, ["In {place}: %s von %s", "x"])[0] == (
        f"In {chr(0xF0002)}: {chr(0xF0000)} von {chr(0xF0001)}"
    )
    found, lost = restored(flat, pieces, ["In place", "In (703): (701) von (702)"])
    assert visible(found, pieces) == "In {place}: %s von %s"
    assert lost == []


BITS = ["\n", "\t", "\x00", "\ud800", "\\", "\u2028", " ", chr(0xF0000), chr(0xF0001)]
BITS += ["<", "&", "]]>", "&amp;", "12", "<b>", "</b>", "<!--", '"', "</source>", "Wort"]
BITS += ["%s", "%d", "{name}", "{x}", "{count}"]
BITS += [f"({number})" for number in range(700, 707)]
ANSWERS = st.text(max_size=30) | st.lists(st.sampled_from(BITS), max_size=12).map("".join)


@settings(deadline=None, max_examples=200)
@given(st.data(), st.sampled_from(sorted(EACH)), st.sampled_from([2, 99]))
def test_whatever_a_translator_answers_the_document_is_whole(data, form, longest):
    text = EACH[form]
    made = document(text, form, longest=longest, **OPTIONS.get(form, {}))
    answers = [data.draw(ANSWERS, label=segment) for segment in made.segments]
    written = made.written(answers)
    written.text.encode("utf-8")
    check = {"html": same_page, "xliff": same_xliff, "po": same_catalogue}.get(form, same_lines)
    check(text, written.text)
    for one in written.lost:
        assert one.kind in ("tag", "placeholder", "number", "text")
        assert 0 <= one.segment < len(made.segments)
        assert 1 <= one.line <= text.count("\n")


def same_lines(text, written):
    """As many lines, cells and keys; in each line the pieces that were there."""
    assert written.count("\n") == text.count("\n")
    for old, new in zip(text.split("\n"), written.split("\n"), strict=True):
        if old.startswith("{"):
            old, new = json.loads(old), json.loads(new)
            assert list(old) == list(new)
            assert {**old, "text": 0} == {**new, "text": 0}
            old, new = old["text"], new["text"]
            assert old.count("\n") == new.count("\n")
        assert old.count("\t") <= new.count("\t") if "\t" in old[:1] else True
        for piece in flatten(with_tags(old))[1]:
            assert piece.text in new


class Markup(html.parser.HTMLParser):
    """Tags of a page but for the values that are translated, and its scripts."""

    def __init__(self, page):
        super().__init__()
        self.seen = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        translated = ("alt", "title", "placeholder", "content")
        self.seen.append((tag, [(k, v) for k, v in attrs if k not in translated or k == "name"]))

    def handle_endtag(self, tag):
        self.seen.append(tag)

    def handle_comment(self, data):
        self.seen.append(data)


def same_page(text, written):
    def sorted_out(page):
        return sorted(map(str, Markup(page).seen))

    assert sorted_out(text) == sorted_out(written)
    for kept in ("script", "pre", "style", 'p translate="no"'):
        assert re.search(f"<{kept}.*?</{kept.split()[0]}>", text, re.DOTALL)[0] in written


def same_xliff(text, written):
    """Targets have the inline elements of their sources, and all else is what it was."""
    old, new = xml(text), xml(written)
    for target in list(new.iter("{*}target")):
        if target.get("state"):
            source = target.getparent().find("{*}source")
            inside = [
                sorted((one.tag, one.get("id")) for one in side.iterdescendants())
                for side in (source, target)
            ]
            assert inside[0] == inside[1]
    for one in (*new.iter("{*}target"), *old.iter("{*}target")):
        one.getparent().remove(one)
    new.find("{*}file").attrib.pop("target-language", None)
    assert "".join(new.itertext()).split() == "".join(old.itertext()).split()


def same_catalogue(text, written):
    """The same messages; what is filled in has its placeholders, tags and line ends."""
    for old, new in zip(polib.pofile(text), polib.pofile(written), strict=True):
        assert (old.msgid, old.msgctxt, old.comment) == (new.msgid, new.msgctxt, new.comment)
        if old.translated() or old.fuzzy or old.obsolete:
            assert (old.msgstr, old.flags) == (new.msgstr, new.flags)
            continue
        made = [(new.msgid, new.msgstr)]
        if old.msgid_plural:
            one, *others = new.msgstr_plural.values()
            made = [(new.msgid, one), *((new.msgid_plural, other) for other in others)]
        for source, translation in made:
            assert source.endswith("\n") == translation.endswith("\n")
            for piece in flatten(with_tags(source))[1]:
                assert piece.text in translation


MARKUP = ["<b>", "</b>", "<p>", "<i ", "a ", ">", "<br/>", "</i>", "\n", "<code>", "<!--", "-->"]
MARKUP += [
    "<![if x]>",
    "<![",
    "<script>",
    "</script>",
    "<img alt=",
    '"x y"',
    "&amp;",
    "<title>",
    "é",
    "</p",
]


@settings(deadline=None, max_examples=300)
@given(
    st.text(st.sampled_from("<>&;!-/=\"' \n\r\tabip1?[]%{}." + chr(0xF0000)), max_size=60)
    | st.lists(st.sampled_from(MARKUP)).map("".join),
    st.sampled_from(["html", "text", "tsv"]),
)
def test_any_text_comes_back_as_it_was(text, form):
    assert translated(text, form, lambda one: one).text == text
    made = document(text, form)
    assert made.written(["x"] * len(made.segments)).text.count("\n") <= text.count("\n")
    for segment in made.segments:
        assert "\n" not in segment
        assert segment == segment.strip() or form == "html"
