"""Methods that end by themselves, and budgets that do not pay for their end."""

import pytest
from helpers import Count
from methods import METHODS

from elites import Budget, InputError, Stream, run
from elites.templates import Finite

FINITE = [m for m in METHODS if isinstance(m[1], Finite)]


@pytest.mark.parametrize(("method", "make"), [m[1:] for m in FINITE], ids=[m[0] for m in FINITE])
def test_a_method_that_ends_is_told_what_its_end_costs(method, make):
    """A budget of exactly that is enough; one evaluation less is refused before the network is called."""
    target = make()
    whole = method.whole(target, method.init(target, Stream(0)))
    result = run(method, target, Budget(nfe=whole.nfe, rewards=whole.rewards), probe=None)
    assert result.stopped.startswith("done")
    assert len(result.best)
    for few in (Budget(nfe=whole.nfe - 1), Budget(rewards=whole.rewards - 1)):
        count = Count()
        with pytest.raises(InputError, match=r"does not pay for a whole|smaller than one step"):
            run(method, make(count=count), few, probe=None)
        assert (count.sizes, count.scored) == ([], 0)


def test_without_a_budget_it_runs_to_its_end():
    for _, method, make in FINITE:
        assert run(method, make()).stopped.startswith("done")
