"""The cost of listening, ours beside every alternative: `make bench`, or `python -m benchmarks --help`."""
