"""The `sluice` commands: each file a family, each command a coroutine that returns an exit status."""
