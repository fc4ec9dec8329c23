"""Step 4: graph and principal become a ``Decision``, by Rego that the security reviewer writes.

``load_policy`` (``loading.py``) turns a folder into a ``LoadedPolicy`` (``decide.py``), and
``PolicyWatcher`` (``reload.py``) keeps the newest good one. A policy is refused at load for
whatever would make it fail open later: an unknown function, a variable that nothing defines, a
mistyped input path, a failing test of its own. What goes wrong at run time allows nothing.
"""
