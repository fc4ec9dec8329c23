"""Sluice: people and AI agents launch Luigi pipelines under policy, and a log proves it.

Start with ``gateway/launch.py``: it reads as the nine steps that every launch takes.
"""

__version__ = "0.1.0"
