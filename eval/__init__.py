"""Looking at adapted models and scoring what was seen: artifact → observation → scores → tables."""
