"""Items spread over a simulated crew, and what has to hold of every spread."""

from benchmarks.cluster import Items

from elites.parallel.dispatch import Failed, Rules, spread

HOUR = 3600.0


def pair(worker, ids):
    return worker, list(ids)


def answered(crew, n, rules=Rules(), batch=1, *, until=HOUR):  # noqa: B008 (frozen)
    """{item: answer} of n items; each exactly once, before the clock of the crew says `until`, and all at rest."""
    out = {}
    for worker, said in spread(crew, Items(n), pair, rules, batch, crew.clock):
        assert crew.now < until
        for i, answer in said:
            assert i not in out, "an item was answered twice"
            assert isinstance(answer, Failed) == (worker == -1)
            assert isinstance(answer, Failed) or answer == (i, worker)
            out[i] = answer
    assert set(out) == set(range(n))
    assert not any(crew.working)
    return out


def failures(out):
    return {i: answer for i, answer in out.items() if isinstance(answer, Failed)}
