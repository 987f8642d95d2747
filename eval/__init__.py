"""Observe adapted models and score the observations: artifact → observation → scores → tables."""
