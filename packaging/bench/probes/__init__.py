"""One figure each, taken in the program's own environment: `python -m bench.probes.NAME [--small]` prints JSON."""
