"""A server under load, with clients that mean no good, and stopped in the middle."""

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evokd.models.saving import save_translator
from served import Echo, ask, parsed, serving, until_true
from small_study import evokd
from test_export import MODELS, translator
from test_serve import real  # noqa: F401, a fixture

ASKED = {"q": "ab", "source": "en", "target": "de"}
FORM = {"Content_Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize("kind", ["model", "echo"])
def test_a_thousand_at_once(real, kind):  # noqa: F811
    """None is lost and none is swapped: each gets what its own line gives."""
    model = real if kind == "model" else Echo()
    words = ["two", "young", "men", "outside", "12", "é", "🙂"]
    lines = [f"{words[i % 7]} {words[i // 7 % 7]} {i}" for i in range(1000)]
    directions = [("en", "de") if i % 3 else ("de", "en") for i in range(1000)]
    expected = {i: f"{directions[i][1]}:{lines[i][::-1]}" for i in range(1000)}
    if kind == "model":
        for direction in sorted(set(directions)):
            places = [i for i in range(1000) if directions[i] == direction]
            made = real.translate([lines[i] for i in places], *direction, batch_size=50)
            expected.update(zip(places, made, strict=True))
        for i in range(0, 1000, 50):  # 20 of them quite alone
            assert real.translate([lines[i]], *directions[i], batch_size=1) == [expected[i]]

    def request(i: int) -> tuple[str, dict]:
        source, target = directions[i]
        if i % 2:
            return "/translate", {"q": lines[i], "source": source, "target": target}
        message = {"role": "user", "content": lines[i]}
        return "/v1/chat/completions", {"model": f"m:{source}-{target}", "messages": [message]}

    async def all_of_them(port: int):
        return await asyncio.gather(
            *(
                ask(port, "POST", path, json.dumps(body).encode())
                for path, body in map(request, range(1000))
            )
        )

    with serving({"m": model}) as server:
        found = asyncio.run(all_of_them(server.port))
        batches = server.metric("evokd_batch_lines_count")
        assert server.metric("evokd_lines_total") == 1000
    assert {status for status, _ in found} == {200}
    texts = [
        body["translatedText"] if i % 2 else body["choices"][0]["message"]["content"]
        for i, (_, body) in enumerate(found)
    ]
    assert texts == [expected[i] for i in range(1000)]
    assert len(set(texts)) > (500 if kind == "model" else 999)  # or a swap could go unseen
    if kind == "model":
        assert batches < 500  # they were translated together


def test_one_line_doesnt_wait_for_a_thousand():
    model = Echo()
    with serving({"echo": model}, batch_size=8) as server:
        model.may.clear()
        asked = [
            {"q": ["x"] * 100, "source": "en", "target": "de"},
            {"q": "one", "source": "en", "target": "de"},
            {"q": "other", "source": "de", "target": "en"},
        ]
        threads = []
        for number, body in enumerate(asked):
            threads.append(threading.Thread(target=server.post, args=("/translate", body)))
            threads[-1].start()
            server.waiting(92 + number)
        model.may.set()
        for thread in threads:
            thread.join()
    assert model.batches[0] == ["x"] * 8
    assert "one" in model.batches[1] + model.batches[2]
    assert ["other"] in model.batches[1:3]
    assert sum(map(len, model.batches)) == 102


def test_what_is_too_much_is_refused():
    model = Echo()
    most = {"body": 1000, "line": 50, "lines": 20, "waiting": 30}
    with serving({"echo": model}, **most) as server:

        def status(q, path="/translate", **headers):
            return server.post(path, {**ASKED, "q": q}, **headers)[0]

        assert status("a" * 50) == status(["a"] * 20) == 200
        assert status("a" * 51) == status(["a"] * 21) == status("\n" * 20) == 413
        assert status("a" * 2000) == 413
        many = "&".join(["q=a"] * 40) + "&source=en&target=de"
        assert server.post("/translate", many.encode(), **FORM)[0] == 413
        chat = {"model": "echo:en-de", "messages": [{"role": "user", "content": "a" * 51}]}
        assert server.post("/v1/chat/completions", chat)[0] == 413
        model.may.clear()
        held = [threading.Thread(target=status, args=(["a"] * count,)) for count in (1, 20, 10)]
        held[0].start()
        until_true(lambda: model.batches[-1] == ["a"])
        for thread in held[1:]:
            thread.start()
        server.waiting(30)
        for path, body in (("/translate", ASKED), ("/v1/chat/completions", chat)):
            body = json.loads(json.dumps(body).replace("a" * 51, "a"))
            found = asyncio.run(raw(server.port, post(path, json.dumps(body).encode())))
            assert found.startswith(b"HTTP/1.1 429")
            assert b"retry-after: 1" in found.lower()
        model.may.set()
        for thread in held:
            thread.join()
        assert status("a") == 200


def post(path: str, body: bytes) -> bytes:
    return b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (
        *(path.encode(), len(body), body),
    )


async def raw(port: int, sent: bytes, then: float = 0.0) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    await asyncio.sleep(then)
    found = await reader.read()
    writer.close()
    return found


def test_a_body_without_a_length_is_cut_off():
    chunk = b"400\r\n" + b"a" * 0x400 + b"\r\n"
    head = b"POST /translate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with serving({"echo": Echo()}, body=4096, reading=5) as server:
        found = asyncio.run(raw(server.port, head + 5 * chunk + b"0\r\n\r\n"))
        assert parsed(found)[0] == 413

        async def endless():
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(head)
            sent = 0
            try:
                while not reader.at_eof() and sent < 100_000:
                    writer.write(chunk)
                    await writer.drain()
                    sent += 1
                    await asyncio.sleep(0)
            except OSError:
                pass
            writer.close()
            return sent

        assert asyncio.run(endless()) < 100_000
        declared = b"POST /translate HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"
        assert parsed(asyncio.run(raw(server.port, declared)))[0] == 413
        assert server.post("/translate", ASKED)[0] == 200


def test_slow_clients_are_cut_off_and_others_answered():
    """A byte now and then, in the head, in the body, or an answer that isn't taken."""
    head = b"POST /translate HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n"

    async def dribble(port: int, first: bytes) -> tuple[float, bytes]:
        began = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(first)
        found = asyncio.ensure_future(reader.read())
        try:
            while not found.done():
                writer.write(b"a")
                await asyncio.sleep(0.1)
        finally:
            writer.close()
        return time.monotonic() - began, found.result()

    async def all_at_once(port: int):
        slow = asyncio.gather(dribble(port, b"GET / HT"), dribble(port, b""), dribble(port, head))
        others = [await ask(port, "POST", "/translate", json.dumps(ASKED).encode())]
        others += [await ask(port, "GET", "/health", b"")]
        assert not slow.done()
        return await slow, others

    with serving({"echo": Echo()}, reading=1.0) as server:
        slow, others = asyncio.run(all_at_once(server.port))
        until_true(lambda: not server.server.server_state.connections)
    assert [status for status, _ in others] == [200, 200]
    assert all(0.9 < seconds < 30 for seconds, _ in slow)
    assert [answer[9:12] for _, answer in slow] == [b"", b"", b"408"]


def test_an_answer_that_isnt_taken_is_thrown_away():
    body = json.dumps({**ASKED, "q": ["ab" * 2000] * 500}).encode()
    with (
        serving({"echo": Echo()}, reading=1.0, body=2**23) as server,
        socket.create_connection(("127.0.0.1", server.port)) as client,
    ):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(post("/translate", body))
        connections = server.server.server_state.connections
        until_true(lambda: server.metric('evokd_requests_total{endpoint="/translate"') == 1)
        until_true(lambda: not connections)


def test_too_many_connections_are_told_so():
    with serving({"echo": Echo()}, connections=3, reading=1.0) as server:
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
        until_true(lambda: len(server.server.server_state.connections) == 3)
        assert server.get("/health")[0] == 503
        until_true(lambda: server.get("/health")[0] == 200)  # the idle ones were cut off
        for client in idle:
            client.close()


def test_who_hangs_up_leaves_the_queue():
    model = Echo()
    with serving({"echo": model}) as server:
        model.may.clear()
        thread = threading.Thread(target=server.post, args=("/translate", ASKED))
        thread.start()
        until_true(lambda: len(model.batches) == 1)
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(post("/translate", json.dumps({**ASKED, "q": ["gone"] * 9}).encode()))
            server.waiting(9)
        server.waiting(0)
        until_true(
            lambda: server.metric('evokd_requests_total{endpoint="/translate",status="499"}') == 1
        )
        model.may.set()
        thread.join()
        assert server.post("/translate", ASKED)[0] == 200
    assert model.batches == [["ab"], ["ab"]]


def test_who_waits_too_long_is_told():
    model = Echo()
    with serving({"echo": model}, seconds=0.5) as server:
        model.may.clear()
        for q in ("at work", "waiting"):
            found = server.post("/translate", {**ASKED, "q": q})
            assert found == (503, {"error": "not translated within 0.5 seconds; come again"})
        server.waiting(0)
        model.may.set()
        until_true(lambda: server.post("/translate", ASKED)[0] == 200)
    assert ["waiting"] not in model.batches


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
KEYS = ("q", "source", "target", "format", "alternatives", "api_key")
KEYS += ("model", "messages", "stream", "stop", "n", "stream_options", "response_format")
TEXT = st.text(st.characters(codec=None), max_size=30) | st.sampled_from(["en", "de", "auto"])
MESSAGE = st.fixed_dictionaries({"role": st.sampled_from(["user", "system"]), "content": TEXT})
MARKUP = st.lists(st.sampled_from(["<b>", "</b>", "<", "{x}", "%s", "&amp;", "<!--", "a b", "\n"]))
MARKUP = MARKUP.map("".join)
LIKELY = st.fixed_dictionaries(
    {"q": TEXT | st.lists(TEXT, max_size=3) | MARKUP, "source": st.sampled_from(["en", "auto"])}
    | {"target": st.just("de"), "model": st.just("echo:en-de")},
    optional={
        **{"messages": st.lists(MESSAGE, max_size=3), "stop": TEXT | st.lists(TEXT)},
        "alternatives": JSON,
        "format": st.sampled_from(["text", "html"]),
    },
)


@pytest.fixture(scope="module")
def echo():
    with serving({"echo": Echo()}, line=200, lines=20) as server:
        yield server


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    body=JSON | LIKELY | st.dictionaries(st.sampled_from(KEYS), JSON | TEXT) | st.binary(),
    path=st.sampled_from(["/translate", "/detect", "/v1/chat/completions"]),
    form=st.booleans(),
)
def test_whatever_is_sent_is_answered(echo, body, path, form):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, answer = asyncio.run(ask(echo.port, "POST", path, data, **(FORM if form else {})))
    assert status in (200, 400, 404, 413), answer
    assert (status == 200) == ("error" not in answer)
    assert "Traceback" not in str(answer)


@pytest.mark.parametrize(
    "sent",
    [
        *(b"\x00" * 100, b"GET\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"\x16\x03\x01" + b"a" * 50),
        b"GET /%00%ff%c3 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: " + b"a" * 70_000 + b"\r\n\r\n",
        b"POST /translate HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzz",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        post("/translate", b"q=%ff%fe&source=%00&target=" + b"&" * 900),
    ],
    ids=range(10),
)
def test_what_isnt_http_is_refused(echo, sent):
    with socket.create_connection(("127.0.0.1", echo.port)) as client:
        client.sendall(sent)
        client.settimeout(20)
        found = client.recv(4096)
    assert found[9:12] in (b"400", b"404", b"200", b"405")
    assert echo.get("/health") == (200, {"status": "ok"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "student"
    made = translator(MODELS["llama"])
    save_translator(made.model, made.tokenizer, made.prompt, folder, ["en-de"])
    return folder


def test_a_process_from_its_port_to_its_end(folder, tmp_path):
    """SIGTERM in the middle: what has begun is answered, what comes then isn't."""
    command = [sys.executable, "-m", "evokd", "serve", str(folder), "--port", "0"]
    command += ["--max-lines", "5000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        said = []
        while "answering at" not in (line := process.stderr.readline()):
            assert process.poll() is None, said
            said.append(line)
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)", line)[1])
        assert asyncio.run(ask(port, "GET", "/health", b""))[0] == 200
        lines = [f"two young men {i}" for i in range(1200)]
        found: list = []

        def send():
            body = json.dumps({**ASKED, "q": lines}).encode()
            found.append(asyncio.run(ask(port, "POST", "/translate", body)))

        thread = threading.Thread(target=send)
        thread.start()
        waiting = 'evokd_waiting_lines{model="student"} '
        until_true(lambda: f"{waiting}0" not in asyncio.run(ask(port, "GET", "/metrics", b""))[1])
        process.send_signal(signal.SIGTERM)
        until_true(lambda: refused(port))
        assert not found  # it is still at work
        thread.join()
        assert found[0][0] == 200
        assert len(found[0][1]["translatedText"]) == 1200
        assert process.wait(20) == 0
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()


def refused(port: int) -> bool:
    try:
        return asyncio.run(ask(port, "GET", "/health", b""))[0] == 503
    except OSError:
        return True


def test_the_command_says_what_is_wrong(folder, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        # Before a model is looked for.
        code, _, err = evokd("serve", "no/such/model", "--port", str(taken.getsockname()[1]))
        assert (code, "already in use" in err) == (2, True), err
    code, _, err = evokd("serve", str(folder), str(folder), "--port", "0")
    assert (code, "named twice" in err) == (2, True), err
    code, _, err = evokd("serve", str(folder), "--port", "0", "--api-keys", str(tmp_path / "no"))
    assert (code, "not found" in err) == (2, True), err
    code, _, err = evokd("serve", str(folder), "--port", "0", "--prompt", "parrot")
    assert (code, "the prompt alone has" in err) == (2, True), err
    monkeypatch.setitem(sys.modules, "fastapi", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = evokd("serve", str(folder))
    assert (code, "pip install 'evokd[serve]'" in err) == (2, True), err
