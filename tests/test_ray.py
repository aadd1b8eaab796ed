"""Ray: the same results as in this process, without set-up, closed to others, and through lost workers."""

import os
import signal

import faulty
import pytest
from helpers import bits

import elites as el

ray = pytest.importorskip("ray")
STEPS = el.Budget(steps=4)


@pytest.fixture(scope="module")
def pool():
    with el.Ray(2, faulty.build_smooth) as pool:
        yield pool
    ray.shutdown()


def spent(result):
    return [getattr(result.meter, name) for name in ("nfe", "rewards", "grads", "failures")]


def run(pool=None, on=()):
    target = faulty.build_smooth()
    target.pool = pool
    return el.run(el.Elites(40), target, STEPS, 3, on=on)


def test_ray_gives_the_bits_of_one_process(pool):
    want, found = run(), run(pool)
    assert bits(found.samples) == bits(want.samples)
    assert bits(found.state) == bits(want.state)
    assert spent(found) == spent(want)


def test_a_killed_actor_is_replaced_and_its_candidates_are_drawn_again(pool):
    killed = []

    def kill(event):
        if event.step == 1 and not killed:
            (crew,) = pool._open
            killed.append(crew.pids()[0])
            os.kill(killed[0], signal.SIGKILL)

    want, found = run(), run(pool, on=[kill])
    assert killed
    assert bits(found.samples) == bits(want.samples)
    assert spent(found) == spent(want)


def test_a_cluster_that_is_started_here_asks_for_a_token_and_reports_nothing(pool):
    run(pool)
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
