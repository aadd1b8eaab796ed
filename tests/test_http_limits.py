"""Rewards over HTTP: limits, addresses, keys and copies."""

import gc
import math
import os
import pickle
import sys
import threading
import time

import numpy as np
import pytest
from elsewhere import endpoint, lengths

from elites.rewards import address
from elites.rewards.encoding import to_array
from elites.rewards.http import HTTP
from elites.rewards.transport import Pace
from elites.types import InputError

# limits


def test_requests_at_a_time_hold_whoever_asks():
    now, most, lock = 0, 0, threading.Lock()

    def reply(hit):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.03)
        with lock:
            now -= 1
        return lengths(hit)

    with endpoint(reply) as (url, _):
        reward, out = HTTP(url, parallel=3), {}
        asking = [threading.Thread(target=lambda i=i: out.update({i: reward(["a" * i] * 5)})) for i in range(4)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
    assert out == {i: [i] * 5 for i in range(4)}
    assert most == 3
    assert reward.width == 3
    assert HTTP(url, parallel=3, batch=4).width == 12


def test_the_pace_allows_no_minute_more_than_it_says():
    pace = Pace(3)
    assert [pace.take(now) for now in (0, 1, 2)] == [0, 0, 0]
    assert [pace.take(now) for now in (10, 10, 10, 10)] == [50, 51, 52, 110]
    assert pace.take(1000) == 0
    draws = np.random.Generator(np.random.Philox(0)).exponential(8, 200).cumsum()
    pace = Pace(5)
    sent = [now + pace.take(now) for now in draws]
    assert all(late - early >= 60 - 1e-9 for early, late in zip(sent, sent[5:], strict=False))
    assert Pace(None).take(0) == 0


def test_answers_that_nobody_waits_for_are_not_asked_for():
    with endpoint(lambda hit: time.sleep(0.1) or lengths(hit)) as (url, hits):
        reward = HTTP(url, parallel=1)
        answers = reward.each(["a"] * 50)
        next(answers)
        answers.close()
        time.sleep(0.4)
        assert len(hits) <= 3
        assert reward(["ab"]) == [2]


def test_waiting_for_others_counts_against_no_time_out():
    with endpoint(lambda hit: time.sleep(0.15) or lengths(hit)) as (url, _):
        assert HTTP(url, parallel=1, timeout=0.4, again=0)(["a"] * 5) == [1] * 5


# what it is made of


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest",
        "http://[fe80::1]/",
        "http://[::ffff:169.254.1.1]/",
        "http://[fd00:ec2::254]/",
        "http://100.100.100.200/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "127.0.0.1:8000",
        "http://",
        "http://[1",
        "http://me:secret@127.0.0.1/",
        "http://127.0.0.1/?key=secret",
    ],
)
def test_addresses_that_are_refused(url):
    with pytest.raises(InputError) as error:
        HTTP(url)
    assert "secret" not in str(error.value).replace("their secrets", "")


def test_a_name_that_leads_to_a_refused_address_is_not_sent_anything(monkeypatch):
    with endpoint(lengths) as (url, hits):
        reward = HTTP(url)
        monkeypatch.setattr(address, "_private", lambda host: host == "127.0.0.1")
        (answer,) = reward(["a"])
    assert isinstance(answer, InputError)
    assert "leads to 127.0.0.1" in str(answer)
    assert hits == []


@pytest.mark.parametrize(
    "settings",
    [{"parallel": 0}, {"batch": 0}, {"timeout": 0}, {"timeout": math.inf}, {"again": -1}, {"about": {"x": {1}}}],
)
def test_settings_that_cannot_work(settings):
    with pytest.raises(InputError):
        HTTP("http://127.0.0.1:1", **settings)


def test_the_key_comes_from_the_environment_and_is_shown_nowhere(monkeypatch):
    with pytest.raises(InputError, match="NO_SUCH_KEY is not set"):
        HTTP("http://127.0.0.1:1", key_env="NO_SUCH_KEY")
    monkeypatch.setenv("THE_KEY", "sk-secret-123")
    with endpoint(lambda hit: (401, f"no access for {hit.headers['Authorization']}")) as (url, hits):
        reward = HTTP(url, key_env="THE_KEY")
        (answer,) = reward(["a"])
    assert hits[0].headers["Authorization"] == "Bearer sk-secret-123"
    assert str(answer) == "HTTP 401: no access for Bearer ***"
    assert "sk-secret" not in repr(reward) + repr(pickle.dumps(reward))


def test_proxies_of_the_environment_are_not_used(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with endpoint(lengths) as (url, _):
        assert HTTP(url)(["ab"]) == [2]


def test_copies_work_and_look_the_same():
    with endpoint(lengths) as (url, _):
        reward = HTTP(url, about={"a": 1}, parallel=2)
        assert reward(["ab"]) == [2]
        copy = pickle.loads(pickle.dumps(reward))
        assert copy(["ab"]) == [2]
        assert repr(copy) == repr(reward)
        assert "at 0x" not in repr(HTTP(url, encode=lambda o: o))
        assert repr(HTTP(url, timeout=1, again=0, parallel=9)) == repr(HTTP(url))  # the same numbers
        assert len({repr(r) for r in (HTTP(url), HTTP(url, encode=to_array), HTTP(url, about={"a": 1}))}) == 3


def test_a_fork_has_its_own_connections():
    with endpoint(lengths) as (url, _):
        reward = HTTP(url)
        assert reward(["ab"]) == [2]
        pid = os.fork()
        if pid == 0:
            os._exit(0 if reward(["abc"]) == [3] else 1)
        end = time.monotonic() + 5
        while (done := os.waitpid(pid, os.WNOHANG))[0] == 0 and time.monotonic() < end:
            time.sleep(0.01)
        if done[0] == 0:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
        assert done == (pid, 0)
        assert reward(["a"]) == [1]


def test_the_thread_goes_with_the_reward():
    def lines():
        return [t for t in threading.enumerate() if t.name == "elites line"]

    with endpoint(lengths) as (url, _):
        gc.collect()
        before = len(lines())
        reward = HTTP(url)
        reward(["a"])
        assert len(lines()) == before + 1
        del reward
        gc.collect()
        assert len(lines()) == before


def test_what_is_missing_is_said_at_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(ImportError, match=r"pip install 'elites\[http\]'"):
        HTTP("http://127.0.0.1:1")
