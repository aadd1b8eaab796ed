"""Methods that end by themselves, and budgets that do not pay for their end."""

import pytest
from helpers import Count
from methods import METHODS

from elites import Budget, Checkpoint, InputError, Stream, run
from elites.events.report import write_report
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


def test_a_report_gives_the_noise_of_a_winner_that_has_some_and_of_no_other(tmp_path):
    for name, method, make in (METHODS[0], FINITE[0]):
        folder = tmp_path / name.split()[0]
        run(method, make(), Budget(steps=6), on=[Checkpoint(folder)])
        page = write_report(folder).read_text()
        assert ("|z|²/d" in page) == (method is METHODS[0][1])
