"""Rewards over HTTP: the protocol, and every way in which a server can fail."""

import json
import math
import time

import pytest
import torch
from elsewhere import drip, drip_headers, drop, endpoint, flood, hang, lengths

from elites.answers import Scored, Streaming
from elites.rewards import transport
from elites.rewards.encoding import scored
from elites.rewards.http import HTTP


@pytest.fixture(autouse=True)
def short_waits_and_replies(monkeypatch):
    monkeypatch.setattr(transport, "FIRST", 0.02)
    monkeypatch.setattr(transport, "LARGEST", 1_000_000)


# the protocol


def test_scores_come_back_in_order_and_requests_say_what_they_hold():
    with endpoint(lengths) as (url, hits):
        reward = HTTP(url, batch=2, about={"prompt": "a cat"}, parallel=1)
        assert reward(["a", "", "ccc"]) == [1, 0, 3]
    assert isinstance(reward, Streaming)
    assert [hit.body["objects"] for hit in hits] == [["a", ""], ["ccc"]]
    assert all(hit.body["about"] == {"prompt": "a cat"} for hit in hits)
    keys = [key for hit in hits for key in hit.body["keys"]]
    assert len(set(keys)) == 3
    assert {len(key) for key in keys} == {32}
    assert len({hit.headers["Idempotency-Key"] for hit in hits}) == 2


def test_keys_are_of_the_contents_and_the_same_in_every_try():
    with endpoint(lambda hit: (500, "") if hit.number < 2 else lengths(hit)) as (url, hits):
        reward = HTTP(url)
        assert reward(["a"]) == [1]
        assert reward(["b", "a"]) == [1, 1]
    marks = [(hit.body["keys"][0], hit.headers["Idempotency-Key"]) for hit in hits]
    assert len(hits) == 5
    assert len(set(marks)) == 2
    assert marks[0] == marks[1] == marks[2]


def test_answers_stream_as_they_come_and_stay_with_their_objects():
    def reply(hit):
        time.sleep(0.2 if hit.body["objects"] == ["slow"] else 0)
        return lengths(hit)

    with endpoint(reply) as (url, _):
        reward = HTTP(url)
        assert list(reward.each(["slow", "a", "bb"]))[-1] == (0, 4)
        assert reward(["slow", "a", "bb"]) == [4, 1, 2]


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ([True], "the score is no number: true"),
        (["7"], 'the score is no number: "7"'),
        ([None], "the score is no number: null"),
        ([[1]], "the score is no number: [1]"),
        ([math.nan], "the score is not finite"),
        ([-math.inf], "the score is not finite"),
        ([10**400], "the score is not finite"),
        ([{"error": "no pose"}], "no pose"),
        ([1, 2], "the answer has 2 scores for 1 objects"),
        ([], "the answer has 0 scores for 1 objects"),
        ("1", "the answer is no {"),
        (None, "the answer is no {"),
    ],
)
def test_what_is_no_number_is_a_failure_with_a_reason(scores, reason):
    with endpoint(lambda hit: (200, json.dumps({"scores": scores}))) as (url, hits):
        (answer,) = HTTP(url)(["a"])
    assert isinstance(answer, Exception)
    assert reason in str(answer)
    assert len(hits) == 1  # asked once: the same question has the same answer


@pytest.mark.parametrize("text", ["<html>login</html>", "[1]", "7", "{}", "", "[" * 100_000])
def test_what_is_no_answer_is_a_failure(text):
    with endpoint(lambda hit: (200, text)) as (url, _):
        (answer,) = HTTP(url)(["a"])
    assert str(answer).startswith('the answer is no {"scores": [...]}')


def test_errors_and_terms_are_of_their_objects():
    reply = {"scores": [1, None, 3], "errors": [None, "it broke", None], "terms": {"size": [5, 6, None]}}
    with endpoint(lambda hit: (200, json.dumps(reply))) as (url, _):
        first, second, third = HTTP(url, batch=3)("abc")
    assert first == Scored(1.0, {"size": 5.0})
    assert (type(second), str(second)) == (RuntimeError, "it broke")
    assert third == 3


def test_terms_of_a_wrong_form_are_failures():
    assert "the term 'x' is no number" in str(scored(1, {"x": "a"}))
    assert "the terms are no dictionary" in str(scored(1, [2]))
    with endpoint(lambda hit: (200, '{"scores": [1], "terms": {"x": [1, 2]}}')) as (url, _):
        assert "the answer has 2 terms 'x' for 1 objects" in str(HTTP(url)(["a"])[0])


def test_an_object_that_cannot_be_sent_fails_alone():
    with endpoint(lengths) as (url, hits):
        answers = HTTP(url, batch=2)(["a", {1}, "bb", math.nan, torch.full((3, 4, 4), 1.5)])
    assert answers[::2][:2] == [1, 2]
    assert "Type set does not fit into JSON" in str(answers[1])
    assert "nan does not fit" in str(answers[3])
    assert "clamp or scale it" in str(answers[4])
    assert len(hits) == 1


# faults


@pytest.mark.parametrize(
    ("behaviour", "kind", "reason", "tries"),
    [
        (hang, TimeoutError, "no whole answer within 0.", 2),
        (drip, TimeoutError, "no whole answer", 2),
        (drip_headers, TimeoutError, "no whole answer", 2),
        (flood, ValueError, "the reply is longer than 1,000,000 bytes", 1),
        (drop, ConnectionError, "the connection failed", 2),
        (lambda hit: (503, "busy"), ConnectionError, "HTTP 503: busy, after 2 tries", 2),
        (lambda hit: (409, ""), ConnectionError, "HTTP 409, after 2 tries", 2),
        (lambda hit: (401, "who are you?"), ConnectionError, "HTTP 401: who are you?", 1),
        (lambda hit: (404, ""), ConnectionError, "HTTP 404", 1),
        (lambda hit: (302, "", {"Location": "/other"}), ConnectionError, "redirects are not followed", 1),
    ],
)
def test_a_server_that_fails(behaviour, kind, reason, tries):
    with endpoint(behaviour) as (url, hits):
        began = time.monotonic()
        (answer,) = HTTP(url, timeout=0.25, again=1)(["a"])
        seconds = time.monotonic() - began
    assert type(answer) is kind
    assert reason in str(answer)
    assert [hit.path for hit in hits] == ["/"] * tries
    assert seconds < 1.5


@pytest.mark.parametrize("fault", [lambda hit: (500, ""), lambda hit: (429, "", {"Retry-After": "0"}), drop])
def test_a_fault_that_passes_is_survived(fault):
    with endpoint(lambda hit: fault(hit) if hit.number < 2 else lengths(hit)) as (url, hits):
        assert HTTP(url, again=2)(["abc"]) == [3]
    assert len(hits) == 3


def test_the_server_says_how_long_to_wait_within_the_time_there_is():
    def reply(hit):
        return (429, "", {"Retry-After": hit.body["objects"][0]}) if hit.number == 0 else lengths(hit)

    with endpoint(reply) as (url, hits):
        assert HTTP(url, timeout=5, again=1)(["1"]) == [1]
    assert 1 <= hits[1].time - hits[0].time < 2
    with endpoint(reply) as (url, hits):
        began = time.monotonic()
        (answer,) = HTTP(url, timeout=5, again=9)(["10000"])
    assert "no time is left for the 1e+04 s to wait" in str(answer)
    assert len(hits) == 1
    assert time.monotonic() - began < 1


def test_a_wait_may_be_a_date():
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
    assert 95 < transport._seconds(date) <= 100
    assert [transport._seconds(text) for text in ("7", "soon", "-1", None)] == [7, None, None, None]


def test_nobody_answers():
    with endpoint(lengths) as (url, _):
        pass
    (answer,) = HTTP(url, again=1)(["a"])
    assert "the connection failed (ConnectError), after 2 tries" in str(answer)
