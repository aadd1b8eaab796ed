"""Targets that worker processes can build, with a reward that fails in every way."""

import hashlib
import os
import time

import torch

import elites as el

RAISES, NAN, HANGS, DIES = 200, 300, 310, 315  # of a thousand


def lot(x):
    """A number from 0 to 999 that depends on the object alone."""
    return int.from_bytes(hashlib.sha256(x.numpy().tobytes()).digest()[:4], "little") % 1000


def near_one(x):
    return -float((x - 1).double().square().sum())


@el.per_sample
def faulty(x):
    at = lot(x)
    if at < RAISES:
        raise OSError("no licence")
    if at < NAN:
        return float("nan")
    if at < HANGS:
        time.sleep(1000)
    if at < DIES:
        os._exit(9)
    return near_one(x)


def ident(z):
    return z


def target_of(reward, **changes):
    return el.Target(el.priors.OneStep(ident, (24,)), reward, batch=8, **changes)


def build_faulty():
    return target_of(faulty, on_error=el.Worst(limit=0.9))


def build_sound():
    return target_of(el.per_sample(near_one))


def smooth(x):
    return -(x - 1).square().sum(1)


def build_smooth():
    return target_of(smooth)


def expected(reasons):
    """Counts by kind of the reasons of failures."""
    words = {"raises": "no licence", "nan": "NaN", "hangs": "no answer in", "dies": "the worker died"}
    return {kind: sum(word in reason for reason in reasons) for kind, word in words.items()}


def kinds(x):
    """Counts by kind of what should fail among objects `(n, d)`."""
    at = torch.tensor([lot(row) for row in x])
    edges = {"raises": (0, RAISES), "nan": (RAISES, NAN), "hangs": (NAN, HANGS), "dies": (HANGS, DIES)}
    return {kind: int(((at >= low) & (at < high)).sum()) for kind, (low, high) in edges.items()}
