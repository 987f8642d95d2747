"""What a target means, in numbers of jobs: nothing when up to date, and never more than it must."""
