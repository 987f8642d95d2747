"""The time that a pre-training took, summed over its interruptions."""

import time


class Clock:
    """Counts seconds since its creation; a restored clock continues from its saved count."""

    def __init__(self) -> None:
        self._before, self._started = 0.0, time.monotonic()

    def seconds(self) -> float:
        """Seconds so far."""
        return self._before + time.monotonic() - self._started

    def state_dict(self) -> dict:
        return {"seconds": self.seconds()}

    def load_state_dict(self, state: dict) -> None:
        self._before, self._started = state["seconds"], time.monotonic()
