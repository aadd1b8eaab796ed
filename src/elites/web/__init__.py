"""The live page of runs: a server on this machine alone, which reads their folders."""

from .runs import Runs
from .server import Server

__all__ = ["Runs", "Server"]
