"""What a judge does when its endpoint fails, what it may spend, and what it keeps and hides."""

import functools
import json
import pickle
import threading

import pytest
from elsewhere import RUBRIC, chat, drip, drop, endpoint, flood, hang, judge, says, seen

from elites.rewards import transport
from elites.rewards.chat import ask
from elites.rewards.judge import Judge
from elites.types import InputError


@pytest.fixture(autouse=True)
def short_waits_and_replies(monkeypatch):
    monkeypatch.setattr(transport, "FIRST", 0.02)
    monkeypatch.setattr(transport, "LARGEST", 1_000_000)


# endpoints that fail


@pytest.mark.parametrize(
    ("behaviour", "kind", "reason", "tries"),
    [
        (hang, TimeoutError, "no whole answer", 2),
        (drip, TimeoutError, "no whole answer", 2),
        (flood, ValueError, "longer than 1,000,000 bytes", 1),
        (drop, ConnectionError, "the connection failed", 2),
        (lambda hit: (503, ""), ConnectionError, "HTTP 503, after 2 tries", 2),
        (lambda hit: (401, "no"), ConnectionError, "HTTP 401: no", 1),
        (lambda hit: (307, "", {"Location": "http://169.254.169.254/"}), ConnectionError, "not followed", 1),
        (says("no"), ValueError, "is not one JSON object: no (asked twice)", 2),
    ],
)
def test_an_endpoint_that_fails(behaviour, kind, reason, tries):
    with endpoint(behaviour) as (url, hits):
        (answer,) = judge(url, timeout=0.25, again=1)(["a"])
    assert type(answer) is kind
    assert reason in str(answer)
    assert len(hits) == tries


def test_faults_that_pass_are_survived_and_fail_no_other_object():
    faults = {"busy": (429, "", {"Retry-After": "0"}), "broken": (500, ""), "gone": (404, "what?")}
    seen_before = set()

    def reply(hit):
        (text,) = seen(hit)
        if text in faults and (text == "gone" or text not in seen_before):
            seen_before.add(text)
            return faults[text]
        return 200, chat('{"score": 4}')

    with endpoint(reply) as (url, _):
        answers = judge(url)(["fine", "busy", "gone", "broken", "fine"])
    assert answers[:2] + answers[3:] == [4, 4, 4, 4]
    assert str(answers[2]) == "HTTP 404: what?"


def no_schema(hit):
    if "response_format" in hit.body:
        return 400, '{"error": "response_format is not supported"}'
    return 200, chat('{"score": 5}')


def test_an_endpoint_without_structured_output_is_found_out_once():
    with endpoint(no_schema) as (url, hits):
        reward = judge(url, again=0)
        assert reward(["a"]) == [5]
        assert len(hits) == 2
        assert reward(["b", "c"]) == [5, 5]
        assert pickle.loads(pickle.dumps(reward))(["d"]) == [5]
        assert len(hits) == 5
        assert judge(url, parallel=4)(["a"] * 8) == [5] * 8


def test_another_400_is_the_objects_own():
    def picky(hit):
        return (400, "too long") if "long" in seen(hit) else (200, chat('{"score": 5}'))

    with endpoint(picky) as (url, hits):
        reward = judge(url, parallel=1)
        answers = reward(["long", "a", "long"])
    assert [str(answers[i]) for i in (0, 2)] == ["HTTP 400: too long"] * 2
    assert answers[1] == 5
    assert ["response_format" in hit.body for hit in hits] == [True, False, True, True]  # known by then


# limits


def test_the_budget_counts_every_request_and_then_nothing_is_sent():
    def reply(hit):
        return (500, "") if hit.number == 0 else (200, chat('{"score": 5}'))

    with endpoint(reply) as (url, hits):
        reward = judge(url, budget=3, parallel=1)
        answers = reward(["a"] * 5)
        assert answers[:2] == [5, 5]
        assert {str(a) for a in answers[2:]} == {"the budget of 3 requests is spent"}
        assert "budget" in str(reward(["b"])[0])
        assert len(hits) == reward.spent == 3
        assert "the budget of 1 requests is spent" in str(judge(url, budget=1)(["a", "b"])[1])


def test_a_budget_holds_over_threads():
    with endpoint(says('{"score": 5}')) as (url, hits):
        reward, answers = judge(url, budget=10, parallel=4), []
        asking = [threading.Thread(target=lambda: answers.extend(reward(["a"] * 6))) for _ in range(4)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
    assert len(hits) == 10
    assert sum(answer == 5 for answer in answers) == 10
    assert len(answers) == 24


def test_the_pace_holds_over_tries_and_threads(monkeypatch):
    monkeypatch.setattr(transport, "Pace", functools.partial(transport.Pace, minute=0.3))

    def reply(hit):
        return (500, "") if hit.number == 1 else (200, chat('{"score": 5}'))

    with endpoint(reply) as (url, hits):
        reward, answers = judge(url, per_minute=2, parallel=4, timeout=0.2), []
        asking = [threading.Thread(target=lambda: answers.extend(reward(["a"] * 2))) for _ in range(3)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
    assert answers == [5] * 6  # waiting for a turn counts against no time-out
    times = sorted(hit.time for hit in hits)
    assert len(times) == 7
    assert all(late - early > 0.25 for early, late in zip(times, times[2:], strict=False))


# what is kept, and what is shown


def test_every_reply_is_kept(tmp_path):
    log = tmp_path / "replies.jsonl"
    replies = [(200, chat("proße")), (200, chat('{"score": 3}')), (400, "no"), (400, "never")]
    with endpoint(lambda hit: replies[hit.number]) as (url, _):
        reward = judge(url, log=log, parallel=1)
        assert reward(["a"]) == [3]
        assert str(reward(["b"])[0]) == "HTTP 400: no"
    first, second, third = map(json.loads, log.read_text().splitlines())
    assert (first["status"], first["reply"]) == (200, chat("proße"))
    assert "not one JSON object" in first["fault"]
    assert (second["score"], second["object"]) == (3, first["object"])
    assert second["object"] == ask(RUBRIC, (0, 10), None, ["a"]).mark
    assert (third["reply"], third["fault"]) == ("no", "HTTP 400: no")


def test_a_score_outlives_its_log(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    with endpoint(says('{"score": 3}')) as (url, _):
        reward = judge(url, log=folder / "replies.jsonl")
        folder.rmdir()
        with pytest.warns(UserWarning, match="cannot be written"):
            assert reward(["a"]) == [3]


def test_the_key_is_in_no_reason_log_repr_or_pickle(monkeypatch, tmp_path):
    monkeypatch.setenv("JUDGE_KEY", "sk-secret-123")

    def echo(hit):
        said = hit.headers["Authorization"]
        return [(200, chat(said)), (200, chat(said)), (403, said), (500, said)][min(hit.number, 3)]

    log = tmp_path / "log"
    with endpoint(echo) as (url, hits):
        reward = judge(url, key_env="JUDGE_KEY", log=log, parallel=1)
        reasons = [str(answer) for answer in reward(["a", "b", "c"])]
    assert all(hit.headers["Authorization"] == "Bearer sk-secret-123" for hit in hits)
    assert all("Bearer ***" in reason for reason in reasons)
    assert len(log.read_text().splitlines()) == 3
    assert "sk-secret" not in "".join([*reasons, log.read_text(), repr(reward), repr(pickle.dumps(reward))])


def test_copies_work_and_look_the_same():
    with endpoint(says('{"score": 3}')) as (url, _):
        reward = judge(url, budget=1)
        assert reward(["a"]) == [3]
        copy = pickle.loads(pickle.dumps(reward))
        assert repr(copy) == repr(reward)
        assert copy(["a"]) == [3]  # its own budget
        assert repr(judge(url, parallel=9, timeout=1, again=1)) == repr(reward)
        assert "at 0x" not in repr(judge(url, parts=lambda o: [o]))
    others = [Judge(url, "m", "Other."), Judge(url, "n", RUBRIC), judge(url, scale=(0, 1)), judge(url, prompt="x")]
    assert len({repr(other) for other in [reward, *others]}) == 5


@pytest.mark.parametrize(
    "settings",
    [
        {"scale": (10, 0)},
        {"scale": (0, float("inf"))},
        {"scale": (0, float("nan"))},
        {"budget": 0},
        {"per_minute": 0},
        {"parallel": 0},
        {"timeout": -1},
        {"key_env": "NO_SUCH_KEY"},
        {"log": "/no/such/folder/log"},
    ],
)
def test_settings_that_cannot_work(settings):
    with pytest.raises(InputError):
        judge("http://127.0.0.1:1", **settings)
    with pytest.raises(InputError, match="say what is good"):
        Judge("http://127.0.0.1:1", "m", " ")
    with pytest.raises(InputError, match="link-local"):
        judge("http://169.254.169.254")
