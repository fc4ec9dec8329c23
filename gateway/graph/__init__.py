"""Step 3: pipeline and parameters become a ``TaskGraph``, by asking Luigi in a sandbox.

``code`` fixes the bytes, ``resolver`` has the guest walk the tasks, ``build`` makes a graph of
what the guest says (and trusts none of it), ``yields`` admits what a running task asks for,
``classes`` lets data classes flow along the edges.

Pipeline code is never imported in this process.
"""
