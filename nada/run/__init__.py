"""One run: its spec, its training loop and the files that it writes."""
