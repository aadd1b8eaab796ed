"""Who may ask the server of the live page, for what, and what strangers write."""

import pytest
from watching import make, no_patience, serving  # noqa: F401 (fixtures)

from elites.events.control import order
from elites.lock import Lock

HOSTILE = "<script>window.hacked=1</script>\"'\u202eevil\u2066\ud800"


def test_who_may_ask(tmp_path, served):
    page = served(make(tmp_path / "run"))
    (key,) = page.ids
    port = page.server.port
    inside = ["/live", f"/live?show={key}", "/part/list", f"/part/{key}/reward"]
    page.live(key)
    for path in inside:
        assert page.ask(path)[0] == 200
        for wrong in (None, "", "Bearer", "Bearer x", f"Bearer {page.server.token}x", page.server.token):
            assert page.ask(path, Authorization=wrong)[0] == 403
    for path in ["/", "/live.js", "/live.css", *inside]:
        for host in ("evil.example", f"evil.example:{port}", f"127.0.0.1:{port + 1}", "127.0.0.1", "", None):
            assert page.ask(path, Host=host)[0] == 403, (path, host)
        assert page.ask(path, Host=f"localhost:{port}")[0] == 200
        for origin in ("http://evil.example", "null", f"https://127.0.0.1:{port}"):
            assert page.ask(path, Origin=origin)[0] == 403
        assert page.ask(path, Origin=f"http://127.0.0.1:{port}")[0] == 200
    assert page.server._http.server_address[0] == "127.0.0.1"


def test_what_is_open_to_all_says_nothing_of_runs(tmp_path, served):
    page = served(make(tmp_path / "secret"))
    for path in ("/", "/live.js", "/live.css"):
        code, _, text = page.ask(path, Authorization=None)
        assert code == 200
        assert "secret" not in text and page.server.token not in text and str(tmp_path) not in text


@pytest.mark.parametrize(
    "path",
    [
        *("/..%2f..%2fetc/passwd", "/part/..%2f/reward", "/part/../run.json", "/part/..%2frun.json/reward"),
        *("/run.json", "//etc/passwd", "/part/run/reward", "/part/KEY/run.json", "/part/KEY/..%2frun.json"),
        *("/part/KEY/reward/x", "/part/KEY", "/live/x", "/runs/KEY/stop", "/web/live.js", "/live.js/", "/%2e%2e/"),
    ],
)
def test_no_address_is_a_path(tmp_path, served, path):
    page = served(make(tmp_path / "run"))
    assert page.ask(path.replace("KEY", page.ids[0]))[0] == 404


def test_other_methods_are_refused_and_every_answer_has_the_headers(tmp_path, served):
    page = served(make(tmp_path / "run"))
    for method in ("PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "FOO"):
        code, headers, _ = page.ask("/", method)
        assert (code, headers["Allow"]) == (405, "GET, POST")
    for path in ("/", "/live", "/nothing", "/live.js"):
        headers = page.ask(path)[1]
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "script-src 'self';" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in headers and "Set-Cookie" not in headers
        assert "Python" not in headers["Server"]
    for name in ("/", "/live.js"):
        text = page.ask(name)[2]
        assert "http:" not in text and "https:" not in text and "onclick" not in text


def test_orders(tmp_path, served):
    page = served(make(tmp_path / "run"))
    (key,) = page.ids
    assert page.ask(f"/runs/{key}/pause", "POST")[0] == 409  # nobody is at work on it
    lock = Lock(tmp_path / "run")
    for bad in ({"Authorization": None}, {"Host": "evil.example"}, {"Origin": "http://evil.example"}):
        assert page.ask(f"/runs/{key}/stop", "POST", **bad)[0] == 403
    assert order(tmp_path / "run") == ""
    for path in (f"/runs/{key}/kill", "/runs/none/stop", f"/runs/{key}", f"/runs/..%2f{key}/stop", "/"):
        assert page.ask(path, "POST")[0] == 404
    assert page.ask(f"/runs/{key}/stop", "POST", Content_Length="100000")[0] == 413
    assert page.ask(f"/runs/{key}/stop", "POST", Content_Length="-1")[0] == 413
    assert order(tmp_path / "run") == ""
    for word, told, state in (("pause", "pause", "pausing"), ("go-on", "", "running"), ("stop", "stop", "stopping")):
        assert page.ask(f"/runs/{key}/{word}", "POST")[0] == 200
        assert order(tmp_path / "run") == told
        assert page.live(key)["runs"][0]["word"] == state
    lock.close()


def test_names_of_strangers_are_escaped(tmp_path, served):
    name = "<script>window.hacked=1<\u2215script>\u202eevil"
    path = make(tmp_path / "runs" / name, result={"stopped": HOSTILE, "nfe": 99})
    for page in (served(path), served(path.parent)):
        (key,) = page.ids
        texts = [page.ask("/part/list")[2]]
        texts += [page.ask(f"/part/{key}/{part[0]}")[2] for part in page.live(key)["runs"][0]["parts"]]
        assert any("&lt;script&gt;window.hacked" in text for text in texts)
        for text in texts:
            assert "<script" not in text and "\u202e" not in text and "\u2066" not in text
        assert "\u202e" not in page.live(key)["runs"][0]["name"]
