"""Networks of every kind against the law they know exactly: N(MEAN, VAR), independent numbers."""

import copy
import re
import sys
from functools import partial
from pathlib import Path

import numpy as np
import onnx.parser
import onnxruntime
import pytest
import torch
from helpers import FLOAT64, bits, hill, normal, on
from torch import nn

from elites import EDM, X0, Budget, Elites, Flow, InputError, Stream, Table, V, Velocity, VPLinear, run
from elites.priors import GaussianPrior, Onnx
from elites.priors import normal as gaussian

MEAN, VAR = torch.tensor([1.0, -0.5, 2.0]), torch.tensor([0.3, 1.0, 2.0])
KEY, BATCH, LEVELS = Stream(0), 8, 1 - torch.arange(1, 1001, **FLOAT64) / 1001
PAGE = (Path(__file__).parent.parent / "docs" / "networks.md").read_text()

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


class Denoiser(nn.Module):  # EDM: E[x0 | x] at x = x0 + sigma z
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", MEAN)
        self.register_buffer("var", VAR)

    def forward(self, x, sigma):
        s2 = (sigma * sigma)[:, None]
        return (self.var * x + s2 * self.mean) / (self.var + s2)


class Karras(nn.Module):  # k-diffusion: a denoiser that is called with what it is conditioned on
    def forward(self, input, sigma, **extra_args):
        s2 = (sigma * sigma)[:, None]
        return (VAR * input + s2 * extra_args["mean"]) / (VAR + s2)


class Discrete(nn.Module):  # DDPM: levels are looked up, so that only whole times will do
    def __init__(self):
        super().__init__()
        self.levels = nn.Embedding.from_pretrained(LEVELS[:, None].float())

    def forward(self, x, t):
        return noise(x, self.levels(t).sqrt())


def noise(x, alpha):
    """E[eps | x] of a variance-preserving law at alpha `(B, 1)`."""
    sigma2 = 1 - alpha**2
    return sigma2.sqrt() * (x - alpha * MEAN) / (alpha**2 * VAR + sigma2)


def thousand(x, t):
    """E[eps | x] of VPLinear, where times were multiplied by 1000 in training."""
    return noise(x, VPLinear()(t[:, None] / 1000)[0])


def v(x, t):
    """alpha E - sigma X0 of VPLinear."""
    alpha, sigma = VPLinear()(t[:, None])
    eps = noise(x, alpha)
    return alpha * eps - sigma * (x - sigma * eps) / alpha


def velocity(x, t):
    """E[eps - x0 | x] at x = (1 - t) x0 + t eps."""
    a, s = 1 - t[:, None], t[:, None]
    whitened = (x - a * MEAN) / (a**2 * VAR + s**2)
    return s * whitened - (MEAN + a * VAR * whitened)


def reverse(t, x):
    """A flow from noise at 0 to data at 1, which takes the time first."""
    return -velocity(x, 1 - t)


def scripted(module, path):
    """TorchScript, saved and loaded."""
    torch.jit.save(module, path / "net.ts")
    return torch.jit.load(path / "net.ts")


def exported(path, rows=None):
    """A program of torch.export, saved and loaded, for a fixed number of rows or for any."""
    free = None if rows else ({0: torch.export.Dim("rows")},) * 2
    program = torch.export.export(Denoiser(), (torch.zeros(rows or 2, 3), torch.ones(rows or 2)), dynamic_shapes=free)
    torch.export.save(program, path / "net.pt2")
    return torch.export.load(path / "net.pt2").module()


DENOISE = "s2 = Mul(t, t) vx = Mul(var, x) sm = Mul(s2, mean) a = Add(vx, sm) b = Add(var, s2) y = Div(a, b)"
NOISE = """ one = Constant<value_float = 1.0>() levels = Constant<value_float = 1001.0>() above = Add(t, one)
    s2 = Div(above, levels) a2 = Sub(one, s2) s = Sqrt(s2) a = Sqrt(a2) am = Mul(a, mean) off = Sub(x, am)
    top = Mul(s, off) va = Mul(a2, var) bottom = Add(va, s2) y = Div(top, bottom)"""
LABEL = "flat = Cast<to = 1>(label) shift = Reshape(flat, column) z = Identity(x) y = Add(z, shift)"


def graph(path, body=DENOISE, *, x="float", t="float", rows="rows", times="rows", more="", first=""):
    """An ONNX file of a network, op by op."""
    text = f"""
        <ir_version: 8, opset_import: ["": 17]>
        network ({first}{x}[{rows}, 3] sample, {t}[{times}] time{more}) => ({x}[{rows}, 3] out)
        <float[3] mean = {{1.0, -0.5, 2.0}}, float[3] var = {{0.3, 1.0, 2.0}}, int64[2] column = {{-1, 1}}>
        {{ x = Cast<to = 1>(sample) single = Cast<to = 1>(time) t = Reshape(single, column) {body}
           out = CastLike(y, sample) }}"""
    onnx.save(onnx.parser.parse_model(text), path / "net.onnx")
    return path / "net.onnx"


edm = partial(GaussianPrior, shape=(3,), schedule=EDM(sigma_max=40.0), predicts=X0())
table = partial(GaussianPrior, shape=(3,), schedule=Table(LEVELS))
flow = partial(GaussianPrior, shape=(3,), schedule=Flow(), predicts=Velocity())
EXAMPLE = torch.zeros(2, 3), torch.ones(2)
SAME = {  # forms of one network that compute the same floats
    "EDM": lambda path: edm(Denoiser()),
    "k-diffusion": lambda path: edm(lambda x, sigma: Karras()(x, sigma, mean=MEAN)),
    "TorchScript, scripted": lambda path: edm(scripted(torch.jit.script(Denoiser()), path)),
    "TorchScript, traced": lambda path: edm(scripted(torch.jit.trace(Denoiser(), EXAMPLE), path)),
    "torch.export": lambda path: edm(exported(path)),
    "torch.export, fixed rows": lambda path: edm(exported(path, BATCH)),
    "ONNX": lambda path: edm(Onnx(graph(path))),
    "ONNX, fixed rows": lambda path: edm(Onnx(graph(path, rows=BATCH, times=BATCH))),
}
FORMS = SAME | {
    "eps, whole times": lambda path: table(lambda x, t: Discrete()(x, t.long())),
    "ONNX, eps, whole times": lambda path: table(Onnx(graph(path, NOISE, t="int64"))),
    "eps": lambda path: GaussianPrior(lambda x, t: thousand(x, 1000 * t), (3,), VPLinear()),
    "v": lambda path: GaussianPrior(v, (3,), VPLinear(), V()),
    "flow": lambda path: flow(velocity),
    "flow from noise to data": lambda path: flow(lambda x, t: -reverse(1 - t, x)),
}


def walked(prior, n=20, steps=8, dtype=torch.float32, batch=BATCH):
    return on(prior, batch=batch, steps=steps).generate(prior.noise(KEY, range(n)).to(dtype), KEY, range(n))


@pytest.mark.parametrize("form", FORMS)
def test_a_network_of_any_form_walks_like_the_law_it_knows(form, tmp_path):
    prior = FORMS[form](tmp_path)
    got, want = walked(prior), walked(gaussian(MEAN, VAR.diag(), schedule=prior.schedule), dtype=torch.float64)
    assert got.dtype == torch.float32
    assert torch.allclose(got.double(), want, rtol=0, atol=2e-5)


@pytest.mark.parametrize("form", ["EDM", "ONNX", "eps, whole times", "eps", "flow"])
def test_its_samples_have_the_mean_and_the_variance_of_the_data(form, tmp_path):
    n = 1024
    x = walked(FORMS[form](tmp_path), n, steps=100, batch=n).double()
    assert ((x.mean(0) - MEAN).abs() < 4 * (VAR / n).sqrt()).all()
    assert ((x.var(0) - VAR).abs() < 4 * VAR * (2 / n) ** 0.5).all()


@pytest.mark.parametrize("form", list(SAME)[1:])
def test_a_search_finds_the_same_to_the_bit_whatever_holds_the_network(form, tmp_path):
    one, other = (
        run(Elites(10), on(SAME[name](tmp_path), reward=hill, batch=BATCH), Budget(nfe=400)) for name in ("EDM", form)
    )
    assert bits(one.best) == bits(other.best)


@pytest.mark.parametrize("form", [form for form in FORMS if "ONNX" not in form])
def test_gradients_pass_through_a_torch_network(form, tmp_path):
    prior = FORMS[form](tmp_path)
    target, x, t = on(prior, batch=BATCH), normal(BATCH, 3, seed=4), prior.grid(7)[3]

    def f(x):
        return target.denoise(x, t).square().sum(1), None

    _, _, got = target.grad(f, x)
    want = torch.stack([(f(x + h)[0] - f(x - h)[0]) / 2e-4 for h in 1e-4 * torch.eye(3, **FLOAT64)], 1)
    assert torch.allclose(got, want, rtol=1e-5, atol=1e-5)


def test_a_network_in_half_precision_walks_in_single_precision():
    net = Denoiser().half()
    got = walked(edm(lambda x, sigma: net(x.half(), sigma.half()).float()))
    assert got.dtype == torch.float32
    assert torch.allclose(got, walked(edm(Denoiser())), rtol=0, atol=0.02)


@pytest.mark.parametrize(("form", "error"), [("torch.export", AssertionError), ("ONNX", InputError)])
def test_a_network_of_fixed_rows_refuses_another_batch(form, error, tmp_path):
    prior = FORMS[f"{form}, fixed rows"](tmp_path)
    with pytest.raises(error, match=f"batch={BATCH}|== {BATCH}"):  # the latter are the words of torch
        walked(prior, batch=BATCH - 1)


def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    graph(tmp_path, NOISE, t="int64")  # net.onnx
    names = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(code, names)
    assert isinstance(names["net"], Onnx)
    assert names["result"].best.reward > names["result"].history[0]["mean"]
    assert walked(names["prior"]).shape == (20, 3)


# ONNX


@pytest.mark.parametrize("times", ["", "1", "rows"])
@pytest.mark.parametrize("t", ["float16", "float", "double", "int32", "int64"])
@pytest.mark.parametrize("x", ["float16", "float", "double"])
def test_types_and_the_rank_of_the_time_are_those_of_the_file(x, t, times, tmp_path):
    sample, time = 3 * normal(5, 3).float(), torch.full((5,), 2.0)
    got, want = Onnx(graph(tmp_path, x=x, t=t, times=times))(sample, time), Denoiser()(sample, time)
    assert got.dtype == torch.float32
    assert torch.allclose(got, want, rtol=2e-3 if x == "float16" else 0, atol=0)


def test_inputs_in_any_order_and_strides_of_any_kind_are_read(tmp_path):
    sample, time = normal(3, 5).float().T, torch.tensor(0.5).expand(5)
    net = Onnx(graph(tmp_path, LABEL, first="int64[rows] label, ", x="double"), inputs={"label": [0]})
    assert torch.equal(net(sample, time), sample)
    model = onnx.load(graph(tmp_path))
    model.graph.input.reverse()  # the time first
    onnx.save(model, tmp_path / "net.onnx")
    assert torch.equal(Onnx(tmp_path / "net.onnx")(sample, time), Denoiser()(sample, time))


@pytest.mark.parametrize("rows", ["rows", "5", "1"])  # the runtime itself insists on the last two
@pytest.mark.parametrize("label", [[4], np.array([4]), torch.full((5,), 4), [0, 1, 2, 3, 4]])
def test_constants_are_given_to_every_row(label, rows, tmp_path):
    label = label[:1] if rows == "1" else label
    net = Onnx(graph(tmp_path, LABEL, more=f", int64[{rows}] label"), inputs={"label": label})
    assert torch.equal(net(torch.zeros(5, 3), torch.ones(5)), torch.as_tensor(label)[:, None].expand(5, 3).float())


def test_a_session_of_ones_own_serves_and_so_does_a_copy(tmp_path):
    session = onnxruntime.InferenceSession(graph(tmp_path), providers=["CPUExecutionProvider"])
    for net in (Onnx(session), Onnx(str(tmp_path / "net.onnx")), copy.deepcopy(Onnx(tmp_path / "net.onnx"))):
        assert torch.equal(net(*EXAMPLE), Denoiser()(*EXAMPLE))
    assert net._session.get_session_options().intra_op_num_threads == torch.get_num_threads() == 1


def test_an_onnx_network_refuses_gradients(tmp_path):
    target, x, t = on(SAME["ONNX"](tmp_path)), normal(4, 3).float(), torch.tensor(1.0)
    with pytest.raises(InputError, match=r"has no gradients: use a method that needs none, such as Elites\."):
        target.grad(lambda x: (target.denoise(x, t).sum(1), None), x)
    assert not target.denoise(x.requires_grad_(), t).requires_grad  # gradients are off here
    frozen = {"label": nn.Parameter(torch.ones(1))}  # a constant may come from a module
    assert Onnx(graph(tmp_path, LABEL, more=", float[rows] label"), inputs=frozen)(*EXAMPLE).eq(1).all()


REFUSED = {  # a file, how it is opened, its times for five rows, and the sentence
    "rows": ({"rows": 4}, {}, torch.ones(5), "exactly 4 rows, not 5: give the target batch=4"),
    "rows of the time": ({"times": "4"}, {}, torch.ones(5), "give the target batch=4"),
    "fraction": ({"t": "int64"}, {}, torch.full((5,), 0.5), "whole times, not 0.5: use a Table"),
    "many times": ({"times": "1"}, {}, torch.arange(5.0), "one time for all rows"),
    "time of rank 2": ({"times": "rows, 1"}, {}, None, "The time is time of shape"),
    "flags as time": ({"t": "bool"}, {}, None, "a number for each row"),
    "whole objects": ({"x": "int64"}, {}, None, "export it for floats"),
    "bfloat16": ({"x": "bfloat16"}, {}, None, "float32 or float16"),
    "no constant": ({"more": ", int64[rows] label"}, {}, None, "inputs sample, time, label: give all but"),
    "no such constant": ({}, {"inputs": {"class": [1]}}, None, "inputs sample, time: give"),
    "constant's rank": ({"first": "int64[rows] label, "}, {"inputs": {"label": 1}}, None, "give that in inputs="),
    "provider": ({}, {"providers": ["CUDA"]}, None, "no CUDA: choose from .*CPUExecutionProvider"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_before_the_network_runs(case, tmp_path):
    file, options, times, sentence = REFUSED[case]
    with pytest.raises(InputError, match=sentence):
        Onnx(graph(tmp_path, **file), **options)(torch.zeros(5, 3), times)


def test_objects_of_another_shape_are_refused(tmp_path):
    for shape in [(2,), (3, 1), ()]:
        with pytest.raises(InputError, match=r"takes sample of shape \(rows, 3\): the prior has objects of shape"):
            Onnx(graph(tmp_path))(torch.zeros(5, *shape), torch.ones(5))


@pytest.mark.parametrize(("net", "sentence"), [("no.onnx", "no file"), (__file__, "cannot open"), (3, "a int: give")])
def test_what_is_no_network_is_refused(net, sentence):
    with pytest.raises(InputError, match=sentence):
        Onnx(net)


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_does_not_load_is_not_replaced_in_silence(tmp_path, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises(InputError, match="CUDAExecutionProvider does not work on this machine"):
        Onnx(graph(tmp_path), providers=["CUDAExecutionProvider"])


def test_without_onnxruntime_the_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"pip install 'elites\[onnx\]'"):
        Onnx("net.onnx")
