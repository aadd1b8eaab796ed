"""Search over noise, measured against everyone: see `python -m benchmarks.quality --help`."""
