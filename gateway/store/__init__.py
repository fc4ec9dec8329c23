"""Durable state: small files, and the SQLite database that log, launches and approvals share."""
