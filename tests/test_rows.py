"""Large populations are learned from in parts, which are drawn again: the law is that of one part."""

import pytest
from helpers import hill, humps, normal, on, plane
from torch.testing import assert_close

from elites import Budget, Elites, run
from elites.search import Diagonal, Natural, Shell, elites, rows
from elites.search.rows import Rows, chunks, moments, total


def test_parts_cover_everything_once(monkeypatch):
    monkeypatch.setattr(rows, "CHUNK", 16)
    for n in (0, 1, 15, 16, 17, 160):
        parts = list(chunks(n))
        assert [i for part in parts for i in range(n)[part]] == list(range(n))
        assert all(part.stop - part.start <= 16 for part in parts)


@pytest.mark.parametrize("k", [1, 15, 16, 17, 100, 200])
def test_moments_in_parts_are_those_of_the_whole(k, monkeypatch):
    z = 3 + 2 * normal(100, 4)
    drawn = Rows(lambda which: z[which], len(z))
    monkeypatch.setattr(rows, "CHUNK", 16)
    mean, std = moments(drawn, k)
    assert_close(mean, z[:k].mean(0))
    assert_close(std, z[:k].std(0, correction=0))
    assert_close(total(drawn[part].sum(0) for part in chunks(100)), z.sum(0))


@pytest.mark.parametrize("prior", [humps(), plane()])
@pytest.mark.parametrize(
    "method",
    [
        Elites(100, Natural()),
        Elites(100, Shell(), keep=9),
        Elites(100, Diagonal(smooth=0.1), keep=40),
        Elites.published(100),
    ],
)
def test_a_search_in_parts_is_the_search_in_one(method, prior, monkeypatch):
    want = run(method, on(prior, reward=hill), Budget(steps=4)).state
    for module in (rows, elites):
        monkeypatch.setattr(module, "CHUNK", 16)
    sizes = []
    draw = Elites._candidates

    def watched(self, state, stream, ids):
        sizes.append(len(ids))
        return draw(self, state, stream, ids)

    monkeypatch.setattr(Elites, "_candidates", watched)
    got = run(method, on(prior, reward=hill), Budget(steps=4)).state
    assert max(sizes) <= max(16, method.keep)
    assert_close(got.law.mean, want.law.mean, atol=1e-5, rtol=1e-4)
    assert_close(got.law.std, want.law.std, atol=1e-5, rtol=1e-4)
    assert_close(got.law.matrix, want.law.matrix, atol=1e-5, rtol=1e-4)
    assert_close(got.elites, want.elites, atol=1e-4, rtol=1e-4)
    assert_close(got.peak, want.peak, atol=1e-4, rtol=1e-4)
