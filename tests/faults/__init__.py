"""Faults that robots meet, made in the running program; docs/faults.md says which and where."""
