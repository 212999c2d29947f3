"""From density to targets, gaze and entropy."""
