"""A run of the trainer: what it is told, what it reads, how it learns, what it leaves behind."""
