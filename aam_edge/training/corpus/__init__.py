"""Readers of gaze sets in every layout they come in: all give the one `item.Item`."""
