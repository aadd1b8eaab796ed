"""Workers: threads, processes, or a Ray cluster."""

from .crew import worker_number
from .dispatch import WorkerError
from .pools import Pool, Processes, Ray, Threads

__all__ = ["Pool", "Processes", "Ray", "Threads", "WorkerError", "worker_number"]
