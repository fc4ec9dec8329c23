"""Names for Luigi's objects, which ships no types: to a type checker each of them is anything."""

from __future__ import annotations

from typing import Any, TypeAlias

Task: TypeAlias = Any  # a luigi.Task
TaskClass: TypeAlias = Any  # a subclass of it
Parameter: TypeAlias = Any  # a luigi.Parameter
Value: TypeAlias = Any  # what a parameter holds, or what a pipeline declares: anything at all
