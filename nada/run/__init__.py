"""One run: what it is told, what it may do and what it leaves."""
