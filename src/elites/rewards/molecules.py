"""Rewards of molecules, given as SMILES strings, by RDKit.

A string that is no molecule fails, with the reason: it never gets a number.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..types import InputError
from .basic import per_sample

__all__ = ["QED", "SA", "LogP", "Tanimoto"]


def _rdkit() -> None:
    try:
        import rdkit  # noqa: F401
    except ImportError as error:
        raise ImportError("Rewards of molecules need RDKit: pip install 'elites[chem]'.") from error


def _molecule(smiles: Any) -> Any:
    """The molecule of a string.

    Raises:
        InputError: if it is no string, no molecule, or more than one word, of which RDKit would read the first alone.
    """
    from rdkit import Chem

    if not isinstance(smiles, str):
        raise InputError(f"The molecule is a {type(smiles).__name__}: give a SMILES string.")
    if len(smiles.split()) != 1:
        raise InputError(f"{smiles!r} is no molecule: it is {'more than one word' if smiles.strip() else 'empty'}.")
    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None:
        raw = Chem.MolFromSmiles(smiles, sanitize=False)
        problems = [] if raw is None else [problem.Message() for problem in Chem.DetectChemistryProblems(raw)]
        raise InputError(f"{smiles!r} is no molecule: {problems[0] if problems else 'it cannot be parsed'}.")
    return molecule


def _scored(f: Callable[[Any], float], smiles: Sequence[str]) -> list[Any]:
    """f of each molecule, or why it failed; the log of RDKit is quiet for as long."""
    from rdkit import rdBase

    if isinstance(smiles, str):
        raise InputError("The molecules are one string: give a list of strings.")
    with rdBase.BlockLogs():
        return per_sample(lambda text: float(f(_molecule(text))))(smiles)


@dataclass(frozen=True)
class QED:
    """Drug-likeness of SMILES strings, in [0, 1]: the weighted geometric mean of eight desirabilities.

    Raises:
        ImportError: without the extra `chem`.
        InputError: if the molecules are one string and not a list.

    References:
        Quantifying the chemical beauty of drugs (Bickerton et al., 2012), Nature Chemistry 4.
        Implementation: RDKit, BSD-3.
    """

    def __post_init__(self) -> None:
        _rdkit()

    def __call__(self, smiles: Sequence[str]) -> list[Any]:
        """A number, or why it failed, for each string."""
        from rdkit.Chem import QED as module

        return _scored(module.qed, smiles)


@dataclass(frozen=True)
class LogP:
    """Crippen's estimate of the logarithm of the octanol-water partition coefficient of SMILES strings.

    Raises:
        ImportError: without the extra `chem`.
        InputError: if the molecules are one string and not a list.

    References:
        Prediction of Physicochemical Parameters by Atomic Contributions (Wildman and Crippen, 1999), J. Chem. Inf.
        Comput. Sci. 39.
        Implementation: RDKit, BSD-3.
    """

    def __post_init__(self) -> None:
        _rdkit()

    def __call__(self, smiles: Sequence[str]) -> list[Any]:
        """A number, or why it failed, for each string."""
        from rdkit.Chem import rdMolDescriptors

        return _scored(lambda molecule: rdMolDescriptors.CalcCrippenDescriptors(molecule)[0], smiles)


@dataclass(frozen=True)
class SA:
    """Ease of synthesis of SMILES strings, (10 - SA) / 9 in [0, 1], where the SA score is 1 (easy) to 10 (hard).

    Raises:
        ImportError: without the extra `chem`, or if the RDKit that is there lacks its folder Contrib/SA_Score.
        InputError: if the molecules are one string and not a list.

    References:
        Estimation of synthetic accessibility score of drug-like molecules based on molecular complexity and fragment
        contributions (Ertl and Schuffenhauer, 2009), J. Cheminformatics 1.
        Implementation: RDKit, Contrib/SA_Score, BSD-3.
    """

    def __post_init__(self) -> None:
        _rdkit()
        _sascorer()

    def __call__(self, smiles: Sequence[str]) -> list[Any]:
        """A number, or why it failed, for each string."""
        return _scored(lambda molecule: (10 - _sascorer().calculateScore(molecule)) / 9, smiles)


@functools.cache
def _sascorer() -> Any:
    """The module sascorer, which is in no package."""
    from rdkit import RDConfig

    path = Path(RDConfig.RDContribDir) / "SA_Score" / "sascorer.py"
    spec = importlib.util.spec_from_file_location("sascorer", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ImportError("This RDKit has no Contrib/SA_Score: pip install 'elites[chem]', whose wheel has it.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Tanimoto:
    """Similarity of SMILES strings to a reference: bits shared over bits set in either Morgan fingerprint, in [0, 1].

    Arguments:
        reference: the SMILES string to be like.
        radius: of the fingerprint, in bonds.
        bits: of the fingerprint.

    Raises:
        ImportError: without the extra `chem`.
        InputError: if the reference is no molecule, the radius negative, or there are no bits.

    References:
        Extended-Connectivity Fingerprints (Rogers and Hahn, 2010), J. Chem. Inf. Model. 50.
        Implementation: RDKit, BSD-3.
    """

    reference: str
    radius: int = 2
    bits: int = 2048

    def __post_init__(self) -> None:
        _rdkit()
        if self.radius < 0 or self.bits < 1:
            raise InputError(f"{self}: give a radius from 0 and bits from 1.")
        for failed in _scored(lambda molecule: 0.0, [self.reference]):
            if isinstance(failed, BaseException):
                raise failed

    def __call__(self, smiles: Sequence[str]) -> list[Any]:
        """A number, or why it failed, for each string."""
        from rdkit.Chem import rdFingerprintGenerator
        from rdkit.DataStructs import TanimotoSimilarity

        fingerprint = rdFingerprintGenerator.GetMorganGenerator(radius=self.radius, fpSize=self.bits).GetFingerprint
        wanted = fingerprint(_molecule(self.reference))
        return _scored(lambda molecule: TanimotoSimilarity(wanted, fingerprint(molecule)), smiles)
