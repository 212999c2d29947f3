"""The camera's own motion: from a gyro, or from what its picture does."""
