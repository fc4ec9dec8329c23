"""The decision log: append, checkpoint, prove, verify, export."""
