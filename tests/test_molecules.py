"""Rewards of molecules, against known values, RDKit called directly, and arithmetic on a few atoms."""

import pickle
import sys

import numpy as np
import pytest

from elites import Budget, InputError, RandomSearch, Target, run
from elites.priors import OneStep
from elites.rewards.molecules import QED, SA, LogP, Tanimoto

pytest.importorskip("rdkit")

ASPIRIN, CAFFEINE, ETHANOL = "CC(=O)OC1=CC=CC=C1C(=O)O", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C", "CCO"
SOME = [ASPIRIN, CAFFEINE, ETHANOL, "c1ccccc1", "C1CC1"]
REWARDS = [QED(), SA(), LogP(), Tanimoto(ASPIRIN)]


def test_aspirin_has_the_known_values():
    assert QED()([ASPIRIN]) == pytest.approx([0.5501], abs=5e-5)
    assert LogP()([ASPIRIN]) == pytest.approx([1.3101], abs=5e-5)
    assert SA()([ASPIRIN]) == pytest.approx([(10 - 1.580) / 9], abs=5e-5)


def test_directions_are_those_of_chemistry():
    octane, sugar = "CCCCCCCC", "OCC1OC(O)C(O)C(O)C1O"
    fat, sweet = LogP()([octane, sugar])
    assert fat > 3 > 0 > sweet
    taxol = (
        "CC1=C2C(C(=O)C3(C(CC4C(C3C(C(C2(C)C)(CC1OC(=O)C(C(C5=CC=CC=C5)NC(=O)C6=CC=CC=C6)O)O)OC(=O)C7=CC=CC=C7)"
        "(CO4)OC(=O)C)O)C)OC(=O)C"
    )
    easy, hard = SA()([ASPIRIN, taxol])
    assert 0 <= hard < 0.6 < easy <= 1
    assert QED()([ASPIRIN, octane])[0] > QED()([taxol])[0]


def test_crippens_logp_is_a_sum_over_atoms():
    methane, ethane, propane, butane = LogP()(["C", "CC", "CCC", "CCCC"])
    assert methane == pytest.approx(0.6361, abs=1e-4)  # RDKit: C1 0.1441 and four hydrogens of 0.1230
    assert butane - propane == pytest.approx(propane - ethane, abs=1e-9) == pytest.approx(0.3901, abs=1e-4)


def test_tanimoto_is_bits_shared_over_bits_set():
    from rdkit import Chem
    from rdkit.Chem import rdFingerprintGenerator

    for radius, bits in ((2, 2048), (0, 64), (3, 128)):
        make = rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=bits)
        on = [set(make.GetFingerprint(Chem.MolFromSmiles(s)).GetOnBits()) for s in SOME]
        wanted = [len(on[0] & other) / len(on[0] | other) for other in on]
        assert Tanimoto(ASPIRIN, radius, bits)(SOME) == pytest.approx(wanted)
    assert Tanimoto("OCC")([ETHANOL, "C(C)O"]) == [1, 1]  # other ways to write the same
    assert Tanimoto(ASPIRIN)(["[Na+].[Cl-]"]) == [0]


@pytest.mark.parametrize("reward", REWARDS)
def test_a_batch_is_its_singles_in_any_order(reward):
    values = reward(SOME)
    assert all(type(v) is float for v in values)
    assert [reward([s])[0] for s in SOME] == values
    assert reward(SOME[::-1]) == values[::-1]
    assert reward(tuple(SOME)) == reward(np.array(SOME)) == values
    assert pickle.loads(pickle.dumps(reward))(SOME) == values


@pytest.mark.parametrize("reward", REWARDS)
@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("CO(C)C", "Explicit valence for atom # 1 O, 3"),
        ("c1ccccc", "cannot be parsed"),
        ("not a molecule", "more than one word"),
        ("CC O", "more than one word"),  # RDKit would score ethane
        ("", "it is empty"),
        (" ", "it is empty"),
        (None, "a NoneType: give a SMILES string"),
        (7.0, "a float: give a SMILES string"),
    ],
)
def test_what_is_no_molecule_fails_alone_with_its_reason(reward, wrong, says, capfd):
    first, failed, last = reward([ASPIRIN, wrong, ETHANOL])
    assert isinstance(failed, InputError)
    assert says in str(failed)
    assert [first, last] == reward([ASPIRIN, ETHANOL])
    assert capfd.readouterr() == ("", "")


def test_rdkit_is_silenced_around_our_calls_alone(capfd):
    from rdkit import Chem

    QED()(["c1ccccc"])
    assert capfd.readouterr().err == ""
    Chem.MolFromSmiles("c1ccccc")
    assert "unclosed ring" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: QED()(ASPIRIN), "give a list of strings"),
        (lambda: Tanimoto("c1ccccc"), "cannot be parsed"),
        (lambda: Tanimoto(ASPIRIN, radius=-1), "radius from 0"),
        (lambda: Tanimoto(ASPIRIN, bits=0), "bits from 1"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, says):
    with pytest.raises(InputError, match=says):
        wrong()


@pytest.mark.parametrize("make", [QED, SA, LogP, lambda: Tanimoto("C")])
def test_without_rdkit_one_sentence_says_what_to_install(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(ImportError, match=r"pip install 'elites\[chem\]'"):
        make()


def test_without_the_contributed_score_one_sentence_says_so(monkeypatch, tmp_path):
    from rdkit import RDConfig

    from elites.rewards import molecules

    molecules._sascorer.cache_clear()
    monkeypatch.setattr(RDConfig, "RDContribDir", str(tmp_path))
    with pytest.raises(ImportError, match="no Contrib/SA_Score"):
        SA()


def test_a_run_lists_what_is_no_molecule():
    def decode(z):
        return [["C" * 8, "c1ccccc1", "C(=O)(O)(O)O"][int(3 * u)] for u in z[:, 0].sigmoid().clamp(max=0.999)]

    result = run(RandomSearch(16), Target(OneStep(decode, (2,)), LogP()), Budget(steps=3))
    assert 0 < len(result.failures) == result.meter.failures
    assert all("Explicit valence" in f.reason for f in result.failures)
    assert float(result.best.reward) == pytest.approx(LogP()(["C" * 8])[0])
