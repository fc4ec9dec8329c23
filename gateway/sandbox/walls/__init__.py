"""The walls, one file each: what ``enter.py`` calls, in the process that is about to be walled in.

Standard library and ctypes only, and few of those: this is imported for every sandbox. Each
function either did what its name says or raises ``OSError``; deciding which wall may be missing
is up to ``enter.py``.
"""
