"""Each figure that the README quotes, beside its reference from the same run.

``make bench`` prints a table and writes ``build/bench.json``. Absolute times belong to the machine;
the ratios are what to compare. Nothing here asserts a threshold.
"""
