"""Each figure that the README quotes, beside its reference from the same run.

``make bench`` prints a table and writes ``build/bench.json``. ``make bench ARGS=cluster`` measures
what runs in pods alone, for which a real API server is brought up; ``ARGS="cluster-cut --quick"``
is one part of that, and short. Absolute times belong to the machine; the ratios are what to
compare. Nothing here asserts a threshold.
"""
