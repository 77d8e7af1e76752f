"""Two APIs, asked by clients that others wrote, and what is asked of a server besides."""

import json
import re
import threading
import urllib.error

import openai
import pytest
from libretranslatepy import LibreTranslateAPI
from prometheus_client.parser import text_string_to_metric_families

from evokd.data.prompts import PROMPTS
from evokd.errors import InputError
from evokd.export.translator import Translator
from evokd.models.saving import save_translator
from evokd.serve.instructions import read_prompt
from evokd.serve.requests import Keys
from evokd.serve.server import bind
from served import Echo, serving, until_true
from test_export import MODELS, translator


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A model that was saved and loaded."""
    folder = tmp_path_factory.mktemp("served") / "model"
    made = translator(MODELS["llama"])
    save_translator(made.model, made.tokenizer, made.prompt, folder, ["en-de", "de-en"])
    with Translator.load(folder, device="cpu") as loaded:
        yield loaded


@pytest.fixture(scope="module")
def running(real):
    with serving({"student": real}) as server:
        yield server


@pytest.fixture(scope="module")
def echo():
    with serving({"echo": Echo()}) as server:
        yield server


LINES = ["two young men", "outside, 12 men", "é 🙂 men"]


def test_libretranslates_own_client(running, real):
    client = LibreTranslateAPI(running.url)
    for line, expected in zip(LINES, real.translate(LINES, "en", "de"), strict=True):
        assert client.translate(line, "en", "de") == expected
    assert client.languages() == [
        {"code": "en", "name": "English", "targets": ["de"]},
        {"code": "de", "name": "German", "targets": ["en"]},
    ]
    (best, *_) = client.detect("Zwei junge Männer sind im Freien in der Nähe vieler Büsche.")
    assert best["language"] == "de"
    assert best["confidence"] > 90


def test_openais_own_client(running, real):
    client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0)
    assert [model.id for model in client.models.list()] == [
        *("student", "student:en-de", "student:de-en")
    ]
    (expected,) = real.translate(LINES[:1], "en", "de")
    (answer,) = real.answers(LINES[:1], "en", "de")
    user = {"role": "user", "content": LINES[0]}
    system = {"role": "system", "content": "Translate from English to German."}
    prompt = {"role": "user", "content": f"Translate to German:\n{LINES[0]}"}
    for model, messages in [
        ("student:en-de", [user]),
        ("student", [system, user]),
        ("student", [prompt]),
        ("student:en-de", [prompt]),
    ]:
        made = client.chat.completions.create(model=model, messages=messages, temperature=0.7)
        assert made.choices[0].message.content == expected
        assert made.choices[0].finish_reason == {"cap": "length"}.get(answer.stopped_by, "stop")
        assert made.usage.prompt_tokens == len(answer.job.prompt_ids)
        assert made.usage.completion_tokens == len(answer.ids)
    stream = client.chat.completions.create(
        model="student:en-de",
        messages=[user],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    parts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(parts) == expected
    assert chunks[-1].usage.total_tokens == made.usage.total_tokens
    for wrong, code in [
        ({"model": "nobody"}, 404),
        ({"model": "student"}, 400),  # two directions, and none is named
        ({"model": "student:en-fr"}, 400),
        ({"model": "student:en"}, 404),
        ({"n": 2}, 400),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, 400),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 400),
        ({"messages": [{**prompt, "content": "Translate to English: x"}]}, 400),
    ]:
        asked = {"model": "student:en-de", "messages": [user]} | wrong
        with pytest.raises(openai.APIStatusError) as refused:
            client.chat.completions.create(**asked)
        assert refused.value.status_code == code, wrong
        assert refused.value.body["message"]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        *[
            (prompt.render('Hello: "you"\nworld', "en", "de"), ("en", "de", 'Hello: "you"\nworld'))
            for prompt in PROMPTS.values()
        ],
        ("Translate the following English text to German:\nHi: a", ("en", "de", "Hi: a")),
        ("Translate from en to de: Hi", ("en", "de", "Hi")),
        ("Translate the text in English into German: Hi", ("en", "de", "Hi")),
        ("Please translate to german:\n\nHi\n\nthere", (None, "de", "Hi\n\nthere")),
        ('Translate "Hi: to French" to German', (None, "de", "Hi: to French")),
        ('Translate to German: He said "hi".', (None, "de", 'He said "hi".')),
        (
            "You are a translator. Translate English to German. Only the text.\nA translator",
            ("en", "de", "A translator"),
        ),
        ("Translate it to me: Hi", None),
        ("She translates novels into German: hard work.", None),
        ("Hello.", None),
        ("", None),
    ],
)
def test_prompts_are_understood(prompt, expected):
    found = read_prompt(prompt)
    assert (found and (found.source, found.target, found.text)) == expected


def test_lists_forms_and_a_language_that_isnt_named(echo):
    asked = {"q": ["ab", "", "c\n\nd"], "source": "en", "target": "de"}
    assert echo.post("/translate", asked) == (
        200,
        {"translatedText": ["de:ba", "", "de:c\n\nde:d"]},
    )
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    many = b"q=%C3%A9&q=b&source=en-US&target=deu"
    assert echo.post("/translate", many, **form)[1] == {"translatedText": ["de:é", "de:b"]}
    german = "Zwei junge Männer sind im Freien."
    status, found = echo.post(
        "/translate", {"q": german, "source": "auto", "target": "en", "alternatives": 3}
    )
    assert (status, found["translatedText"]) == (200, f"en:{german[::-1]}")
    assert found["detectedLanguage"]["language"] == "de"
    assert found["alternatives"] == []
    both = {"q": [german, "Two young men are outside."], "source": "auto", "target": "de"}
    status, found = echo.post("/translate", both)  # what is German already stays
    assert found["translatedText"] == [german, "de:.edistuo era nem gnuoy owT"]
    assert [one["language"] for one in found["detectedLanguage"]] == ["de", "en"]


def test_pages_keep_their_tags(echo):
    page = "<p>ab <b>cd</b></p>\n<script>x < y</script><p>3</p>"
    asked = {"q": page, "source": "en", "target": "de", "format": "html"}
    status, found = echo.post("/translate", asked)
    assert status == 200
    text = found["translatedText"]
    assert re.sub(r">[^<]+<", "><", text) == re.sub(r">[^<]+<", "><", page)
    assert "de:" in text
    assert "<script>x < y</script><p>3</p>" in text
    many = asked | {"q": ("{x}" * 1600 + "\n") * 90}
    status, found = echo.post("/translate", many)
    assert (status, "more than 131072 tags" in found["error"]) == (400, True)


def test_lines_that_are_too_long_for_the_model_are_cut_into_sentences(running, real):
    sentences = [f"Two young men are outside number {i}." for i in range(12)]
    asked = {"q": " ".join(sentences), "source": "en", "target": "de"}
    document = real.document(asked["q"], "text", "en", "de")
    assert len(document.segments) > 1
    expected = document.written(real.translations(document.segments, "en", "de").lines).text
    assert running.post("/translate", asked) == (200, {"translatedText": expected})


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"source": "en", "target": "de"}, 400),
        ({"q": 5, "source": "en", "target": "de"}, 400),
        ({"q": [], "source": "en", "target": "de"}, 400),
        ({"q": "a", "source": "en", "target": "fr"}, 400),
        ({"q": "a", "source": "auto", "target": "klingon"}, 400),
        ({"q": "a", "source": "en", "target": "de", "format": "pdf"}, 400),
        (b"{", 400),
        (b"", 400),
        (b"\xff\xfe", 400),
        (b'{"q": "\\ud800", "source": "en", "target": "de"}', 400),
        (b"[" * 100_000, 400),
        ({"q": "a\x00\u2028\x85\x1c\r\nb", "source": "en", "target": "de"}, 200),
        ({"q": "\x00\n\u2028", "source": "en", "target": "de"}, 200),
    ],
)
def test_what_is_refused_says_why(echo, body, status):
    found = echo.post("/translate", body)
    assert found[0] == status
    assert (status == 200) == ("error" not in found[1])
    assert "what nobody" not in json.dumps(found[1])


def test_other_addresses_and_methods(echo):
    assert echo.get("/nothing")[0] == 404
    assert echo.get("/translate")[0] == 405
    assert echo.get("/v1/nothing")[1]["error"]["message"] == "Not Found"
    assert echo.get("/health") == (200, {"status": "ok"})
    assert "/translate" in echo.get("/openapi.json")[1]["paths"]
    status, page = echo.get("/")
    assert status == 200
    assert "http" not in page  # nothing from elsewhere


def test_a_line_that_fails_is_nobody_elses_loss(caplog):
    model = Echo()
    with serving({"echo": model}) as server:
        model.may.clear()
        answers = {}

        def send(q):
            answers[q] = server.post("/translate", {"q": q, "source": "en", "target": "de"})

        threads = [threading.Thread(target=send, args=(q,)) for q in ("a", "b", "poison", "c")]
        threads[0].start()
        until_true(lambda: model.batches == [["a"]])
        for thread in threads[1:]:
            thread.start()
        server.waiting(3)
        model.may.set()
        for thread in threads:
            thread.join()
        assert {q: answers[q][0] for q in answers} == {"a": 200, "b": 200, "poison": 500, "c": 200}
        assert answers["poison"][1] == {"error": "an error of the server's"}
        assert server.get("/health")[0] == 200
    assert "ValueError" in caplog.text
    assert "poison" not in caplog.text


def test_keys(tmp_path):
    (tmp_path / "keys").write_text("# mine\none\n\ntwo é\n")
    keys = Keys.read(tmp_path / "keys")
    assert [keys.accept(key) for key in ("one", "two é", "", None, "on", "\ud800", "# mine")] == [
        *(True, True, False, False, False, False, False)
    ]
    assert Keys().accept(None)
    (tmp_path / "empty").write_text("")
    with pytest.raises(InputError, match="holds no key"):
        Keys.read(tmp_path / "empty")
    with serving({"echo": Echo()}, ["secret"]) as server:
        client = LibreTranslateAPI(server.url, "secret")
        assert client.translate("ab", "en", "de") == "de:ba"
        for key, status in (("wrong", 403), (None, 400)):
            with pytest.raises(urllib.error.HTTPError) as refused:
                LibreTranslateAPI(server.url, key).translate("ab", "en", "de")
            assert refused.value.code == status
        made = openai.OpenAI(base_url=f"{server.url}/v1", api_key="secret")
        assert len(made.models.list().data) == 3
        with pytest.raises(openai.AuthenticationError):
            made.with_options(api_key="wrong").models.list()
        assert server.get("/health")[0] == server.get("/languages")[0] == 200
        assert server.get("/metrics")[0] == 401
        assert server.get("/metrics", Authorization="Bearer secret")[0] == 200


def test_metrics_count_what_was_done(real):
    with serving({"student": real}) as server:
        server.post("/translate", {"q": "two men\nyoung", "source": "en", "target": "de"})
        server.post("/translate", {"q": "two men", "source": "en", "target": "fr"})
        server.get("/a-secret-path")
        answers = list(real.answers(["two men", "young"], "en", "de"))
        text = server.get("/metrics")[1]
        assert 'evokd_requests_total{endpoint="/translate",status="200"} 1.0' in text
        assert 'evokd_requests_total{endpoint="/translate",status="400"} 1.0' in text
        assert 'evokd_requests_total{endpoint="other",status="404"} 1.0' in text
        assert 'evokd_lines_total{direction="en-de"} 2.0' in text
        read = sum(len(answer.job.prompt_ids) for answer in answers)
        made = sum(len(answer.ids) for answer in answers)
        assert f'evokd_tokens_total{{direction="en-de",kind="prompt"}} {read}.0' in text
        assert f'evokd_tokens_total{{direction="en-de",kind="answer"}} {made}.0' in text
        assert 'evokd_waiting_lines{model="student"} 0.0' in text
        assert "secret" not in text
        kinds = {family.name: family.type for family in text_string_to_metric_families(text)}
        assert kinds["evokd_request_seconds"] == kinds["evokd_batch_lines"] == "histogram"


def test_models_share_directions_out():
    models = {"a": Echo("en-de"), "b": Echo("de-en", "fr-de")}
    with serving(models) as server:
        asked = {"q": "x", "source": "fr", "target": "de"}
        assert server.post("/translate", asked) == (200, {"translatedText": "de:x"})
        assert [models[name].batches for name in "ab"] == [[], [["x"]]]
        chat = {"model": "b:en-de", "messages": [{"role": "user", "content": "x"}]}
        assert server.post("/v1/chat/completions", chat)[0] == 400
    for wrong, told in (
        ({"a": Echo("en-de"), "b": Echo("eng-deu")}, "a and b both translate en-de"),
        ({"a": type("Mute", (), {"directions": []})()}, "a doesn't say"),
    ):
        with pytest.raises(InputError, match=told), serving(wrong):
            pass


def test_a_port_that_is_taken(echo):
    for host, port in (("127.0.0.1", echo.port), ("nowhere.invalid", 0)):
        with pytest.raises(InputError, match="--port 0"):
            bind(host, port)
