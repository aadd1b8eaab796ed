"""The live page of runs: a server on this machine alone, which reads their folders."""

from .server import Server
from .watched import Watched

__all__ = ["Server", "Watched"]
