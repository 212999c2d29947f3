"""Strangers at every door: malformed inputs made from valid ones (issue 15, point 4)."""
