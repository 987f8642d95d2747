"""From scores to what tables, figures and claims say: statistics, differences, costs, lengths."""
