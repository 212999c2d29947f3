"""The public AAM network, written anew from a description of what it computes.

Faithful to it, faults included, so that its trained weights give the same numbers here; each fault
is named where it stands. Nothing of ours leans on these files but the engines and the trainer.
"""
