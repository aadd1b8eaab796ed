"""What evidence does where things go wrong: broken judges and decoders, other references, runs that were resumed."""

import json
import math

import pytest
import torch
from helpers import PRIORS
from test_alarm import FEW, along, target
from test_cli import STUDY, elites

import elites as el
from elites.copies import Copies
from elites.diagnose import Evidence, Reference, StopWhen, alarmed, readings
from elites.events import Checkpoint, resume
from elites.priors import OneStep
from elites.search import Anywhere
from elites.study import load

HACK = el.Elites(32, guard=Anywhere())


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_judge_without_a_finite_number_is_named_before_the_budget_is_spent(number):
    ours = target()
    with pytest.raises(el.InputError, match="judge fails on all 16 prior samples"):
        el.run(HACK, ours, FEW, on=[Evidence(lambda x: torch.full((len(x),), number), reference=16)])
    assert ours.meter.nfe == 4 * 16  # the probe


class Broken:
    """The mixture, where some prior samples cannot be decoded, or some latents are not finite."""

    def __init__(self, decoder=False):
        self.decoder = decoder

    def __getattr__(self, name):
        return getattr(PRIORS["mixture"], name)

    def decode(self, x):
        if self.decoder and bool((x[:, 0] > 1).any()):
            raise RuntimeError("no such colour")
        return x

    def denoise(self, x, t, z=None):
        x0 = PRIORS["mixture"].denoise(x, t, z)
        return x0 if self.decoder else torch.where(x0[:, :1] > 1.5, torch.nan, x0)


@pytest.mark.parametrize("decoder", [False, True])
def test_prior_samples_that_fail_leave_the_evidence_of_the_others(decoder):
    ours = el.Target(
        Broken(decoder), lambda x: -x[:, 0], walk=el.Plain(steps=4), decode_batch=1, on_error=el.Worst(limit=1.0)
    )
    result = el.run(el.RandomSearch(32), ours, el.Budget(steps=4), on=[Evidence(along, reference=64)], probe=None)
    assert {"judge", "loss", "alarm"} <= {r.name for r in result.evidence}


def test_evidence_that_fails_in_the_end_is_a_warning(monkeypatch):
    def fails(*given):
        raise RuntimeError("no memory")
        yield

    monkeypatch.setattr("elites.diagnose.evidence.read", fails)
    with pytest.warns(UserWarning, match="no memory"):
        result = el.run(HACK, target(), FEW, on=[Evidence(reference=16)])
    assert [r.name for r in result.evidence] == ["alarm"]


@pytest.mark.parametrize("until", [3, 10, 16])
def test_an_alarm_rings_on_after_a_resume(tmp_path, until):
    reference = Reference.of(target(), 64)
    whole = Evidence(reference=reference)
    want = el.run(HACK, target(), FEW, seed=1, on=[whole])
    assert whole.rang == 3
    events = []
    first = [Evidence(reference=reference), Checkpoint(tmp_path / "run"), events.append]
    el.run(HACK, target(), FEW, seed=1, on=first, stop=lambda: len(events) >= until)
    second = Evidence(reference=reference)
    got = resume(tmp_path / "run", HACK, target(), on=[second])
    assert (second.rang, second.began) == (whole.rang, whole.began)
    for name in ("alarm", "alarm.p"):
        assert [row.get(name) for row in got.history] == [row.get(name) for row in want.history]
    assert [r.says for r in got.evidence] == [r.says for r in want.evidence]


@pytest.mark.parametrize("first", [True, False])
def test_what_stops_a_run_may_be_listed_before_what_it_looks_at(first):
    on = [StopWhen(alarmed), Evidence(reference=64)]
    assert el.run(HACK, target(), FEW, seed=1, on=on if first else on[::-1]).stopped == "stopped: alarmed"


def test_what_stops_a_run_is_a_function():
    with pytest.raises(el.InputError, match="StopWhen has a int"):
        StopWhen(3)


def test_the_evidence_of_a_study_reads_its_judge(tmp_path):
    (tmp_path / "s.py").write_text(
        STUDY.format(pause=0, steps=4) + "distance = lambda x: x.norm(dim=1)\non = [el.Evidence(reference=16)]\n"
    )
    loaded = load(tmp_path / "s.py")
    (own,) = [f for f in loaded.on if isinstance(f, Evidence)]
    assert own.judge is not None
    assert own.distance is not None


def test_a_judge_that_is_infinite_leaves_json(tmp_path):
    text = STUDY.format(pause=0, steps=4)
    text += "judge = lambda x: torch.where(x[:, 0] > 1.9, torch.inf, x[:, 0])\non = [el.Evidence(reference=32)]\n"
    (tmp_path / "s.py").write_text("import torch\n" + text)
    _, out, _ = elites("run", "s.py", "--out", "run", "--json", "-q", cwd=tmp_path, check=0)
    assert json.loads(out)["judge"] is None

    def refuse(word):
        raise ValueError(word)

    json.loads((tmp_path / "run" / "result.json").read_text(), parse_constant=refuse)


@pytest.mark.parametrize(
    "columns", [{"best": along}, {"judge": along, "seconds": along}, [along]], ids=["one", "two", "list"]
)
def test_what_is_watched_has_names_of_its_own(columns):
    with pytest.raises(el.InputError, match=r"give what is watched another name|give a dict of names"):
        el.Watch(columns)


def test_distances_are_had_of_arrays():
    data = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    kept = el.DistanceToData(data[:4].numpy(), data[4:].numpy())
    assert torch.equal(kept(data.numpy()), el.DistanceToData(data[:4], data[4:])(data))


def test_few_honest_samples_are_warned_of():
    """Beside 128 prior samples, one in 129 is beyond all of them in a given respect, whatever its law."""
    ours = target()
    for n, most in ((16, 0.04), (128, 0.015)):
        told = []
        for seed in range(4):
            reference, own = Reference.of(ours, n, seed), Reference.of(ours, 50, seed=100 + seed)
            told += [r for i in range(50) for r in readings(own.samples[i : i + 1], reference, along)]
        assert sum(r.warns for r in told) / len(told) < most
    far = own.samples[:1]
    far.z = 3 * far.z
    assert all(r.warns for r in readings(far, Reference.of(ours, 16))[:2])


def test_a_judge_that_cannot_be_read_of_the_winner_is_said():
    def shy(x):
        return torch.where(x[:, 0] > 2.5, torch.nan, x[:, 0]) if len(x) == 1 else along(x)

    result = el.run(el.NoiseAscent(), target(), FEW, on=[Evidence(shy, reference=16)])
    alarm = result.evidence[-1]
    assert float(result.best.x[0, 0]) > 2.5
    assert "the judge of the winner could not be read" in alarm.says


def test_a_new_winner_is_decoded_and_measured_once_for_all(tmp_path):
    alone, measured = [], []

    def decode(x):
        alone.append(len(x.unique(dim=0)) == 1)  # it fills the batch
        return x

    def judge(x):
        measured.append(float(x[0, 0]))
        return x[:, 0]

    ours = el.Target(OneStep(lambda z: z, (3,), decoder=decode), lambda x: x[:, 0], decode_batch=8)
    reference = Reference.of(ours, 16)
    on = [Evidence(judge, reference=reference), el.Watch({"first": judge}), Checkpoint(tmp_path / "run")]
    bests = []

    class Count:
        def __call__(self, event):
            if event.result is None:
                bests.append((float(event.best.x[0, 0]), sum(alone)))

    alone.clear()
    measured.clear()
    el.run(el.RandomSearch(8), ours, el.Budget(steps=12), on=[*on, Count()])
    values = [value for value, _ in bests]
    changes = len(set(values))  # the best only rises
    assert 1 < changes < len(values)
    assert bests[-1][1] == changes
    assert all(measured.count(x) == 2 for x in values if x < values[-1])  # by Evidence and by Watch


@pytest.mark.parametrize("name", ["judge", "distance", "alarm"])
def test_two_subscribers_do_not_share_a_column(name):
    first = Evidence(reference=16) if name == "alarm" else el.Watch({name: along})
    second = Evidence(reference=16) if name == "alarm" else Evidence(**{name: along}, reference=16)
    ours = target()
    with pytest.raises(el.InputError, match=f"Another subscriber fills the column '{name}': list one Evidence"):
        el.run(HACK, ours, FEW, on=[first, second])
    assert ours.meter.nfe == 4 * 16  # the probe


def test_what_one_function_does_to_its_objects_no_other_sees():
    spoils = lambda x: x.zero_()[:, 1]
    ours, seen = target(), el.Watch({"spoiled": spoils, "first": lambda x: x[:, 0]})
    result = el.run(HACK, ours, FEW, on=[seen, el.Watch({"second": lambda x: x[:, 0]})])
    assert all(row["first"] == row["second"] == row["best"] for row in result.history)
    reference = Reference.of(ours, 16)
    found = reference.measured({"judge": spoils, "distance": along})
    assert torch.equal(found["distance"], reference.samples.x[:, 0].double())
    (last,) = (r for r in readings(reference.samples, reference, spoils, along) if r.name == "distance")
    assert last.value == float(reference.samples.x[0, 0])


class Uncopied:
    def __deepcopy__(self, memo):
        raise TypeError("as a lock does")


def test_objects_that_cannot_be_copied_are_made_again():
    made = Copies(Uncopied)
    assert made() is not made()
