"""Sluice: people and AI agents launch Luigi pipelines under policy, and a log proves what was allowed.

Start with ``gateway/launch.py``: it reads as the nine steps that every launch takes.
"""

__version__ = "0.1.0"
