"""What breaks in the hands of users, and what is left when it does."""

import json

import pytest
import torch
from test_cli import STUDY, elites, sentence

import elites as el
from elites.packing import pack, unpack


def target(reward, **changes):
    return el.Target(el.priors.mixture(torch.eye(3), 0.4), reward, **{"walk": el.Plain(steps=3), **changes})


def first(x):
    return x[:, 0]


def test_a_reward_that_exits_is_a_failure_and_a_study_that_exits_is_bad_input(tmp_path):
    def leaves(x):
        raise SystemExit(0)

    with pytest.raises(el.RewardError, match="SystemExit"):
        el.run(el.Elites(), target(leaves), el.Budget(steps=3))
    (tmp_path / "exits.py").write_text("import sys\nsys.exit(0)\n")
    assert "SystemExit" in sentence(elites("run", "exits.py", cwd=tmp_path, check=2)[2])


def test_a_decoder_that_raises_fails_its_objects_alone():
    def decode(z):
        if (z[:, 0] > 1.5).any():
            raise ValueError("no such molecule")
        return z

    t = el.Target(el.priors.OneStep(decode, (60,)), first, batch=1, on_error=el.Worst(limit=1))
    r = el.run(el.Elites(), t, el.Budget(rewards=200), seed=1)
    assert {f.reason for f in r.failures} == {"ValueError: no such molecule"}
    assert 1 < float(r.best.reward) <= 1.5


def test_evidence_that_raises_is_missing_and_never_ends_the_run():
    def judge(x):
        raise OSError("the judge is asleep")

    with pytest.warns(UserWarning, match="the judge is asleep"):
        r = el.run(el.Elites(), target(first), el.Budget(steps=3), on=[el.Watch({"judge": judge})])
    assert all(row["judge"] != row["judge"] for row in r.history)


def test_a_raised_failure_is_counted_and_listed_with_its_key():
    t = target(lambda x: x[:, 0] * torch.nan, on_error=el.Raise())
    with pytest.raises(el.RewardError, match="candidate 0 of step 1: it is NaN"):
        el.run(el.Elites(), t, el.Budget(steps=3), probe=None)
    assert t.failures[0].candidate == 0
    assert t.meter.rewards == t.meter.failures == 8


def test_a_constant_reward_is_an_error_without_a_probe_too():
    with pytest.raises(el.RewardError, match="nothing can be selected"):
        el.run(el.Elites(), target(lambda x: x[:, 0] * 0), el.Budget(nfe=48))


def test_a_slow_probe_leaves_time_for_the_search():
    import time

    def slow(x):
        time.sleep(0.02 * len(x))
        return first(x)

    r = el.run(el.Elites(), target(slow), el.Budget(seconds=1.5))
    assert r.history[0]["count"] == 4
    assert len(r.history) > 2
    assert r.meter.seconds < 1.5


def test_finalists_are_rendered_once_and_within_the_budget(tmp_path):
    final, t = el.Final(el.Plain(steps=6), top=8), target(first)
    r = el.run(el.Elites(), t, el.Budget(nfe=400), on=[el.Checkpoint(tmp_path / "run")], final=final)
    assert r.meter.nfe <= 400
    before = (tmp_path / "run" / "result.json").read_bytes()
    with pytest.raises(el.InputError, match="has finished"):
        el.resume(tmp_path / "run", el.Elites(), t, final=final)
    assert (tmp_path / "run" / "result.json").read_bytes() == before
    for top in (0, 17):
        with pytest.raises(el.InputError, match="1 to 16"):
            el.Final(el.Plain(), top=top)


def test_options_that_cannot_work_are_refused_at_once():
    s = el.search
    for make in (
        lambda: el.Plain(steps=0),
        lambda: s.Natural(aim=1.0),
        lambda: s.Shell(elites=3.0),
        lambda: s.Restart(0),
        lambda: el.Budget(nfe=10.5),
    ):
        with pytest.raises(el.InputError):
            make()
    assert el.Budget(nfe=1e3).nfe == 1000


def test_a_network_of_another_shape_is_refused():
    prior = el.priors.GaussianPrior(lambda x, t: x[:, :1], (2,), el.Flow(), el.X0())
    with pytest.raises(el.InputError, match="they must agree"):
        el.run(el.Elites(), el.Target(prior, first), el.Budget(steps=1))


@pytest.mark.parametrize("method", [el.Elites(), el.Previews(), el.NoiseAscent(), el.Auto()])
def test_the_default_dtype_does_not_matter(method):
    def run():
        return el.run(method, target(first, walk=el.Plain(steps=50)), el.Budget(steps=3))

    one = run()
    torch.set_default_dtype(torch.float64)
    try:
        two = run()
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(one.best.x, two.best.x)
    assert one.best.z.dtype == two.best.z.dtype == torch.float32


def test_the_state_of_an_optimiser_comes_back_with_its_whole_number_keys():
    w = torch.nn.Parameter(torch.ones(3))
    adam = torch.optim.Adam([w], lr=0.1)
    w.square().sum().backward()
    adam.step()
    tensors = {}
    text = json.dumps(pack(adam, "adam", tensors))
    other = torch.optim.Adam([torch.nn.Parameter(torch.ones(3))], lr=0.5)
    unpack(json.loads(text), other, tensors)
    assert other.state_dict()["state"].keys() == adam.state_dict()["state"].keys()
    assert torch.equal(other.state_dict()["state"][0]["exp_avg"], adam.state_dict()["state"][0]["exp_avg"])


def test_what_a_study_prints_is_no_part_of_the_json(tmp_path):
    text = "print('hello')\n" + STUDY.format(pause=0, steps=3).replace("return x", "print('scoring')\n    return x")
    (tmp_path / "chatty.py").write_text(text)
    _, out, err = elites("run", "chatty.py", "--json", cwd=tmp_path, check=0)
    assert json.loads(out)["failures"] == 0
    assert "scoring" in err


def test_a_run_that_saved_nothing_leaves_no_folder(tmp_path):
    text = STUDY.format(pause=0, steps=30).replace("return x[:, 0]", "return x[:, 0] * 0")
    (tmp_path / "flat.py").write_text(text)
    elites("run", "flat.py", "--out", "o", cwd=tmp_path, check=1)
    assert not (tmp_path / "o").exists()


def test_a_state_that_was_deleted_starts_again_with_a_clean_history(tmp_path):
    count, folder = iter(range(3)), tmp_path / "run"
    stop = lambda: next(count, None) is None
    el.run(el.Elites(), target(first), el.Budget(steps=5), on=[el.Checkpoint(folder, seconds=0)], stop=stop)
    (folder / "state.safetensors").unlink()
    el.resume(folder, el.Elites(), target(first))
    steps = [json.loads(line)["step"] for line in (folder / "history.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))


def test_objects_that_are_no_images_are_saved_decoded(tmp_path):
    from safetensors.torch import load_file

    t = el.Target(el.priors.OneStep(lambda z: z.reshape(-1, 30, 2) * 2, (60,)), lambda path: path[:, -1, 0])
    r = el.run(el.Elites(), t, el.Budget(rewards=100), on=[el.Checkpoint(tmp_path / "run")])
    saved = load_file(tmp_path / "run" / "best.safetensors")
    assert torch.allclose(saved["objects"], saved["z"].reshape(-1, 30, 2) * 2)
    assert len(saved["objects"]) == len(r.samples)
