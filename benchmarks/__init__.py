"""What listening costs, ours beside every alternative: `make bench`, or `python -m benchmarks --help`."""
