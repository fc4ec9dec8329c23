"""The `sluice` commands: each file a family, each command a coroutine with an exit status."""
