"""What the store says when a run cannot be read."""


class RunError(ValueError):
    """A run or a folder of runs cannot be opened; the message says what to do."""
