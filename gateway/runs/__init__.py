"""Step 8: Luigi's own scheduler and worker decide what runs when; an executor runs it.

``supervisor`` decides which launch runs, ``run`` carries one through, ``driver`` is Luigi in a
process of its own (it speaks ``protocol`` over ``link``), ``executor`` is the seam behind which
``local`` starts processes. What the steps outside learn, they learn from ``events``.
"""
